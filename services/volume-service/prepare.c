/* First everything that can refuse, then what records, then the one command to the host: a refusal
 * makes nothing. */
#include "services/volume-service/prepare.h"

#include <string.h>

#include "common/base/limits.h"
#include "common/base/model.h"
#include "common/base/text.h"

/* The volumes that the VM of this operation needs, in the order of its spec. */
typedef struct {
    Volume **volumes;
    size_t n_volumes;
} Wanted;

static void want(VolumeContext *ctx, Wanted *wanted, Volume *volume)
{
    ARENA_APPEND(ctx->arena, wanted->n_volumes, wanted->volumes, volume);
}

/* S16: by type and index, never by position. One that is being deleted does not count. */
static Volume *find_by_type(const VolumeContext *ctx, VolumeType type, guint disk_index)
{
    for (size_t i = 0; i < ctx->record->n_volumes; i++) {
        Volume *volume = ctx->record->volumes[i];
        if (volume->type == type && volume->disk_index == disk_index &&
            volume->status != VOLUME_STATUS_DELETING) {
            return volume;
        }
    }
    return NULL;
}

/* S13. Other back ends are refused here, before anything is made. */
static Error *check_storage(VolumeContext *ctx, const PrepareVolumes *prepare)
{
    const VmSpec *spec = prepare->spec;
    if (!model_has_disk_volume(spec) && !prepare->nvram_needed && spec->tpm == NULL) {
        return NULL;
    }
    if (spec->storage == NULL) {
        return error_make(ctx->arena, ERROR_CODE_INVALID_ARGUMENT,
                          "VM %s needs volumes and names no storage", ctx->vm_uuid);
    }
    if (spec->storage->type != STORAGE_TYPE_LOCAL) {
        return error_make(ctx->arena, ERROR_CODE_UNSUPPORTED_STORAGE,
                          "storage %s of VM %s is of type %s; this version keeps volumes on Local "
                          "storage only",
                          spec->storage->name, ctx->vm_uuid,
                          ENUM_LABEL(storage_type, spec->storage->type));
    }
    return NULL;
}

/* vm-service allows none of it. A disk that were a variable store would be a second one, and two
 * disks of one index would share a volume. */
static Error *check_disks(VolumeContext *ctx, const VmSpec *spec)
{
    for (size_t i = 0; i < spec->n_disks; i++) {
        const DiskSpec *disk = spec->disks[i];
        if (disk->type != VOLUME_TYPE_ROOT && disk->type != VOLUME_TYPE_DATA) {
            return error_make(ctx->arena, ERROR_CODE_INVALID_ARGUMENT,
                              "disk %u of VM %s is of type %s: Root or Data is allowed",
                              disk->index, ctx->vm_uuid, ENUM_LABEL(volume_type, disk->type));
        }
        for (size_t j = 0; j < i; j++) {
            if (spec->disks[j]->index == disk->index) {
                return error_make(ctx->arena, ERROR_CODE_INVALID_ARGUMENT,
                                  "disk %u stands twice in the specification of VM %s", disk->index,
                                  ctx->vm_uuid);
            }
        }
    }
    return NULL;
}

/* A volume on local storage is where it was made, or where a host was asked to make it and has not
 * answered. */
static Error *check_place(VolumeContext *ctx, const Volume *volume, const char *host_uuid)
{
    if (*volume->host_uuid == '\0' || strcmp(volume->host_uuid, host_uuid) == 0) {
        return NULL;
    }
    return error_make(ctx->arena, ERROR_CODE_STORAGE_NOT_FOUND,
                      "volume %s (%s) of VM %s is on local storage of host %s: start the VM there",
                      volume->uuid, ENUM_LABEL(volume_type, volume->type), ctx->vm_uuid,
                      volume->host_uuid);
}

static Error *check_places(VolumeContext *ctx, const char *host_uuid)
{
    for (size_t i = 0; i < ctx->record->n_volumes; i++) {
        const Volume *volume = ctx->record->volumes[i];
        Error *error =
            volume->status == VOLUME_STATUS_DELETING ? NULL : check_place(ctx, volume, host_uuid);
        if (error != NULL) {
            return error;
        }
    }
    return NULL;
}

/* Of what would be recorded anew: a VM that has all its volumes starts, however many there are. */
static Error *check_number(VolumeContext *ctx, const PrepareVolumes *prepare)
{
    const VmSpec *spec = prepare->spec;
    size_t n_new = prepare->nvram_needed && nvram_is_missing(ctx);
    n_new += spec->tpm != NULL && find_by_type(ctx, VOLUME_TYPE_TPM_STATE, 0) == NULL;
    for (size_t i = 0; i < spec->n_disks; i++) {
        const DiskSpec *disk = spec->disks[i];
        n_new +=
            disk->bus != DISK_BUS_VHOST_USER && find_by_type(ctx, disk->type, disk->index) == NULL;
    }
    return n_new > 0 && ctx->record->n_volumes + n_new > VOLUMES_MAX ? volume_too_many(ctx) : NULL;
}

/* What a volume that no host was asked for yet is going to be. */
static void describe(Volume *volume, const DiskSpec *disk)
{
    volume->format = model_disk_format(disk);
    volume->capacity_bytes = disk->size_bytes;
    volume->disk_index = disk->index;
    volume->image = disk->image;
    volume->image_mode = model_image_mode(disk);
}

/* The bytes of an older disk are no answer to the wish for a new one, nor is its size. A size of 0
 * is the image's, whatever that is. */
static Error *check_made(VolumeContext *ctx, const Volume *volume, const DiskSpec *disk)
{
    gboolean fits = volume->format == model_disk_format(disk) &&
                    (disk->size_bytes == 0 || disk->size_bytes == volume->capacity_bytes) &&
                    strcmp(volume->image, disk->image) == 0 &&
                    (*disk->image == '\0' || volume->image_mode == model_image_mode(disk));
    if (fits) {
        return NULL;
    }
    return error_make(ctx->arena, ERROR_CODE_UNSUPPORTED,
                      "disk %u of VM %s has the volume %s already (%s, %" G_GUINT64_FORMAT
                      " bytes%s%s), which cannot become another one: ask for it as it is, or give "
                      "the new disk an index of its own",
                      disk->index, ctx->vm_uuid, volume->uuid,
                      ENUM_LABEL(volume_format, volume->format), volume->capacity_bytes,
                      *volume->image != '\0' ? ", of image " : "", volume->image);
}

static void want_disk(VolumeContext *ctx, Wanted *wanted, const VmSpec *spec, const DiskSpec *disk,
                      Error **ret_error)
{
    if (disk->bus == DISK_BUS_VHOST_USER) {
        return; /* Its back end owns the bytes. */
    }
    Volume *volume = find_by_type(ctx, disk->type, disk->index);
    if (volume == NULL) {
        volume = volume_add(ctx, spec, disk->type, model_disk_format(disk));
        describe(volume, disk);
    } else if (volume->status == VOLUME_STATUS_NOT_INSTANTIATED) {
        describe(volume, disk);
    } else if (*ret_error == NULL) {
        *ret_error = check_made(ctx, volume, disk);
    }
    want(ctx, wanted, volume);
}

static Wanted want_all(VolumeContext *ctx, const PrepareVolumes *prepare, Volume *nvram,
                       Error **ret_error)
{
    Wanted wanted = {0};
    const VmSpec *spec = prepare->spec;
    for (size_t i = 0; i < spec->n_disks; i++) {
        want_disk(ctx, &wanted, spec, spec->disks[i], ret_error);
    }
    if (nvram != NULL) {
        want(ctx, &wanted, nvram);
    }
    if (spec->tpm != NULL) {
        Volume *tpm = find_by_type(ctx, VOLUME_TYPE_TPM_STATE, 0);
        if (tpm == NULL) {
            tpm = volume_add(ctx, spec, VOLUME_TYPE_TPM_STATE, VOLUME_FORMAT_DIRECTORY);
        }
        want(ctx, &wanted, tpm);
    }
    return wanted;
}

static void ask_create(VolumeContext *ctx, const Wanted *missing)
{
    VolumeOperation *operation = ctx->record->operation;
    CreateVolumes *create = ARENA_MSG(ctx->arena, create_volumes);
    for (size_t i = 0; i < missing->n_volumes; i++) {
        Volume *volume = missing->volumes[i];
        if (volume->status == VOLUME_STATUS_NOT_INSTANTIATED) {
            ARENA_APPEND(ctx->arena, operation->n_fresh, operation->fresh, volume->uuid);
        }
        volume->host_uuid = operation->host_uuid;
        volume->last_error = NULL; /* A new try. */
        volume_status_set(ctx, volume, VOLUME_STATUS_CREATING);
    }
    create->n_volumes = missing->n_volumes;
    create->volumes = missing->volumes;
    create->firmware_class = operation->prepare->firmware_class;
    create->pinned_firmware = operation->prepare->pinned_firmware;
    HostCommand *ask = volume_ask_host(ctx, operation->host_uuid, "create",
                                       operation->expires_ms - DEADLINE_MARGIN_MS);
    ask->command_case = HOST_COMMAND__COMMAND_CREATE_VOLUMES;
    ask->create_volumes = create;
    operation->host_operation_id = ask->operation_id;
}

static void answer(VolumeContext *ctx, Error *error, const Wanted *wanted)
{
    VolumeOperation *operation = ctx->record->operation;
    VolumesPrepared *prepared = ARENA_MSG(ctx->arena, volumes_prepared);
    prepared->error = error;
    if (error == NULL) {
        prepared->n_volumes = wanted->n_volumes;
        prepared->volumes = wanted->volumes;
    }
    VolumeEvent *event = volume_emit(ctx, operation->id);
    event->event_case = VOLUME_EVENT__EVENT_VOLUMES_PREPARED;
    event->volumes_prepared = prepared;
    ctx->record->last_operation_id = operation->id;
    ctx->record->operation = NULL;
}

void prepare_end(VolumeContext *ctx, Error *error)
{
    answer(ctx, error, NULL);
}

Error *prepare_too_late(VolumeContext *ctx)
{
    return error_make(ctx->arena, ERROR_CODE_TIMEOUT,
                      "the volumes of VM %s were not ready in time: ask again", ctx->vm_uuid);
}

Error *prepare_check_time(VolumeContext *ctx, gint64 expires_ms)
{
    return expires_ms - DEADLINE_MARGIN_MS <= ctx->now_ms ? prepare_too_late(ctx) : NULL;
}

void prepare_plan(VolumeContext *ctx)
{
    VolumeOperation *operation = ctx->record->operation;
    const PrepareVolumes *prepare = operation->prepare;
    gboolean wait = FALSE;
    Error *error = prepare_check_time(ctx, operation->expires_ms);
    error = error != NULL ? error : check_disks(ctx, prepare->spec);
    error = error != NULL ? error : check_storage(ctx, prepare);
    error = error != NULL ? error : check_places(ctx, operation->host_uuid);
    error = error != NULL ? error : check_number(ctx, prepare);
    Volume *nvram = error == NULL ? nvram_settle(ctx, prepare, &wait, &error) : NULL;
    if (error != NULL) {
        prepare_end(ctx, error);
        return;
    }
    if (wait) {
        volume_delete_due(ctx);
        return;
    }
    Wanted wanted = want_all(ctx, prepare, nvram, &error);
    if (error != NULL) {
        prepare_end(ctx, error);
        return;
    }
    Wanted missing = {0};
    for (size_t i = 0; i < wanted.n_volumes; i++) {
        if (wanted.volumes[i]->status != VOLUME_STATUS_READY) {
            want(ctx, &missing, wanted.volumes[i]);
        }
    }
    if (missing.n_volumes > 0) {
        ask_create(ctx, &missing);
    } else {
        answer(ctx, NULL, &wanted);
    }
    volume_delete_due(ctx); /* What the four-way table has just doomed. */
}

static gboolean is_fresh(const VolumeOperation *operation, const Volume *volume)
{
    for (size_t i = 0; i < operation->n_fresh; i++) {
        if (strcmp(operation->fresh[i], volume->uuid) == 0) {
            return TRUE;
        }
    }
    return FALSE;
}

static gboolean is_not_made(const VolumesCreated *created, const Volume *volume)
{
    for (size_t i = 0; i < created->n_not_made; i++) {
        if (strcmp(created->not_made[i], volume->uuid) == 0) {
            return TRUE;
        }
    }
    return FALSE;
}

/* Only this operation asked for the volume, and nothing of it is there: any host may be asked
 * next. Else only the same host is. `created` NULL: it was never asked. */
static void give_back(VolumeContext *ctx, Volume *volume, const VolumesCreated *created)
{
    if (is_fresh(ctx->record->operation, volume) &&
        (created == NULL || is_not_made(created, volume))) {
        volume->host_uuid = arena_strdup(ctx->arena, "");
        volume_status_set(ctx, volume, VOLUME_STATUS_NOT_INSTANTIATED);
    }
}

/* A success counts whenever it comes. */
static void apply_success(VolumeContext *ctx, const HostReport *report, const Volume *made)
{
    Volume *volume = made != NULL ? volume_find(ctx, made->uuid) : NULL;
    if (volume == NULL || volume->status != VOLUME_STATUS_CREATING ||
        strcmp(volume->host_uuid, report->host_uuid) != 0) {
        return;
    }
    volume->actual_size_bytes = made->actual_size_bytes;
    if (made->capacity_bytes != 0) {
        volume->capacity_bytes = made->capacity_bytes;
    }
    if (made->firmware != NULL &&
        firmware_ref__get_packed_size(made->firmware) <= FIRMWARE_MAX_BYTES) {
        volume->firmware = made->firmware;
    }
    volume->ever_ready = TRUE;
    volume->last_error = NULL;
    volume_status_set(ctx, volume, VOLUME_STATUS_READY);
}

/* What the operation in hand did not get. A volume without a result of its own fared as the whole
 * command. `created` NULL: no host was asked. */
static void apply_failure(VolumeContext *ctx, const VolumesCreated *created, Error *whole)
{
    for (size_t i = 0; i < ctx->record->n_volumes; i++) {
        Volume *volume = ctx->record->volumes[i];
        Error *error = whole;
        for (size_t j = 0; created != NULL && j < created->n_results; j++) {
            const Volume *about = created->results[j]->volume;
            if (about != NULL && strcmp(about->uuid, volume->uuid) == 0) {
                error = created->results[j]->error;
            }
        }
        if (volume->status == VOLUME_STATUS_CREATING) {
            volume_error_keep(ctx, volume, error);
            give_back(ctx, volume, created);
        }
    }
}

static Error *first_error(const HostReport *report)
{
    if (report->error != NULL) {
        return report->error;
    }
    const VolumesCreated *created = report->volumes_created;
    for (size_t i = 0; i < created->n_results; i++) {
        if (created->results[i]->error != NULL) {
            return created->results[i]->error;
        }
    }
    return NULL;
}

void prepare_on_created(VolumeContext *ctx, const HostReport *report)
{
    const VolumeOperation *operation = ctx->record->operation;
    gboolean current = operation != NULL && operation->kind == VOLUME_OPERATION_KIND_PREPARE &&
                       strcmp(operation->host_operation_id, report->operation_id) == 0;
    const VolumesCreated *created = report->volumes_created;
    for (size_t i = 0; i < created->n_results; i++) {
        if (created->results[i]->error == NULL) {
            apply_success(ctx, report, created->results[i]->volume);
        }
    }
    if (!current) {
        return;
    }
    Error *error = first_error(report);
    if (error != NULL) {
        apply_failure(ctx, created, report->error);
        prepare_end(ctx, error);
        return;
    }
    Volume *nvram = NULL;
    for (size_t i = 0; operation->prepare->nvram_needed && i < ctx->record->n_volumes; i++) {
        Volume *volume = ctx->record->volumes[i];
        if (volume->type == VOLUME_TYPE_NV_RAM && volume->status == VOLUME_STATUS_READY) {
            nvram = volume;
        }
    }
    Wanted wanted = want_all(ctx, operation->prepare, nvram, &error); /* Checked when planned. */
    for (size_t i = 0; i < wanted.n_volumes; i++) {
        if (wanted.volumes[i]->status != VOLUME_STATUS_READY) {
            prepare_end(ctx, error_make(ctx->arena, ERROR_CODE_INTERNAL,
                                        "host %s said nothing of volume %s", report->host_uuid,
                                        wanted.volumes[i]->uuid));
            return;
        }
    }
    answer(ctx, NULL, &wanted);
}

void prepare_on_undeliverable(VolumeContext *ctx, const Undeliverable *undeliverable)
{
    Error *error = error_make(ctx->arena, ERROR_CODE_HOST_UNKNOWN,
                              "host %s has no command topic: see `virtbusctl host list`",
                              undeliverable->host_uuid);
    apply_failure(ctx, NULL, error);
    prepare_end(ctx, error);
}
