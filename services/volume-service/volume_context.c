/* A volume's status, and what is said about it.
 *
 *   NotInstantiated --> Creating --> Ready <--> Retained
 *          ^               |           |            |
 *          '-- refused ----'           '-> Deleting <'--> Deleted (it leaves the record)
 *
 * A creation that a host refused leads back; one that was not answered stays Creating until it is
 * resumed.
 */
#include "services/volume-service/volume_context.h"

#include <string.h>

#include "common/base/limits.h"
#include "common/base/text.h"
#include "common/base/uuid.h"

#define TO(status) (1u << VOLUME_STATUS_##status)
enum { ERROR_KEPT_BYTES = 256 };
static const gint64 DELETE_RETRY_MAX_MS = 60 * 60 * 1000;

static const guint32 moves[] = {
    [VOLUME_STATUS_UNSPECIFIED] = 0,
    [VOLUME_STATUS_NOT_INSTANTIATED] = TO(CREATING) | TO(DELETED),
    [VOLUME_STATUS_CREATING] = TO(READY) | TO(NOT_INSTANTIATED) | TO(DELETING),
    [VOLUME_STATUS_READY] = TO(RETAINED) | TO(DELETING),
    [VOLUME_STATUS_RETAINED] = TO(READY) | TO(DELETING),
    [VOLUME_STATUS_DELETING] = TO(DELETED),
    [VOLUME_STATUS_DELETED] = 0,
};

/* Where each type lies under a storage, and how its file is named. */
typedef struct {
    const char *folder;
    const char *extension; /* NULL: by format. */
    const char *label;
} Place;

static Place place_of(VolumeType type)
{
    switch (type) {
    case VOLUME_TYPE_ROOT:
        return (Place){"rootVolumes", NULL, "root"};
    case VOLUME_TYPE_DATA:
        return (Place){"dataVolumes", NULL, "data"};
    case VOLUME_TYPE_MEMORY:
        return (Place){"memoryVolumes", ".mem", "memory"};
    case VOLUME_TYPE_CACHE:
        return (Place){"cacheVolumes", NULL, "cache"};
    case VOLUME_TYPE_NV_RAM:
        return (Place){"nvRam", ".fd", "nvram"};
    case VOLUME_TYPE_TPM_STATE:
        return (Place){"tpmState", "", "tpm"};
    case VOLUME_TYPE_UNSPECIFIED:
        break;
    }
    return (Place){"volumes", "", "volume"};
}

VolumeRecord *volume_record(VolumeContext *ctx)
{
    if (ctx->record == NULL) {
        StateRecord *state = ARENA_MSG(ctx->arena, state_record);
        state->body_case = STATE_RECORD__BODY_VOLUMES;
        state->volumes = ARENA_MSG(ctx->arena, volume_record);
        ctx->step->state = state;
        ctx->record = state->volumes;
    }
    return ctx->record;
}

Volume *volume_add(VolumeContext *ctx, const VmSpec *spec, VolumeType type, VolumeFormat format)
{
    VbArena *arena = ctx->arena;
    Place place = place_of(type);
    Volume *volume = ARENA_MSG(arena, volume);
    char *name =
        arena_printf(arena, "volume/%" G_GUINT64_FORMAT "/%u", ctx->version, ctx->n_added++);
    volume->uuid = uuid_derive(arena, ctx->vm_uuid, name);
    volume->name = arena_printf(arena, "%s-of-VM-%s", place.label, ctx->vm_uuid);
    volume->type = type;
    volume->status = VOLUME_STATUS_NOT_INSTANTIATED;
    volume->format = format;
    volume->storage = spec->storage;
    volume->created_ms = ctx->now_ms;
    if (type == VOLUME_TYPE_NV_RAM) {
        gboolean sized = spec->nvram != NULL && spec->nvram->size_bytes != 0;
        volume->capacity_bytes = sized ? spec->nvram->size_bytes : NVRAM_DEFAULT_BYTES;
    }
    const char *extension = place.extension != NULL       ? place.extension
                            : format == VOLUME_FORMAT_RAW ? ".raw"
                                                          : ".qcow2";
    volume->install_path = arena_printf(arena, "%s/acct-%s/vol-%s/%s%s", place.folder,
                                        spec->account, volume->uuid, volume->uuid, extension);
    VolumeRecord *record = volume_record(ctx);
    ARENA_APPEND(arena, record->n_volumes, record->volumes, volume);
    return volume;
}

Volume *volume_find(const VolumeContext *ctx, const char *uuid)
{
    for (size_t i = 0; ctx->record != NULL && i < ctx->record->n_volumes; i++) {
        if (strcmp(ctx->record->volumes[i]->uuid, uuid) == 0) {
            return ctx->record->volumes[i];
        }
    }
    return NULL;
}

Error *volume_too_many(VolumeContext *ctx)
{
    return error_make(ctx->arena, ERROR_CODE_UNSUPPORTED,
                      "VM %s has %zu volumes of at most %d, with those that are retained or of "
                      "disks that it has no more: see ListVolumes; retained ones go by themselves",
                      ctx->vm_uuid, ctx->record->n_volumes, VOLUMES_MAX);
}

void volume_error_keep(VolumeContext *ctx, Volume *volume, const Error *error)
{
    volume->last_error = error_tame(ctx->arena, error);
    if (error != NULL && strlen(error->message) > ERROR_KEPT_BYTES) {
        volume->last_error->message =
            error_make(ctx->arena, error->code, "%.*s ...", ERROR_KEPT_BYTES, error->message)
                ->message;
    }
}

static void record_drop(VolumeRecord *record, const Volume *volume)
{
    size_t kept = 0;
    for (size_t i = 0; i < record->n_volumes; i++) {
        if (record->volumes[i] != volume) {
            record->volumes[kept++] = record->volumes[i];
        }
    }
    record->n_volumes = kept;
}

void volume_status_set(VolumeContext *ctx, Volume *volume, VolumeStatus to)
{
    VolumeStatus from = volume->status;
    if (from == to) {
        return;
    }
    if ((moves[from] & (1u << to)) == 0) {
        ctx->fault = TRUE;
        return;
    }
    volume->status = to;
    VolumeChanged *changed = ARENA_MSG(ctx->arena, volume_changed);
    changed->from = from;
    changed->volume = arena_copy(ctx->arena, volume);
    const VolumeOperation *operation = ctx->record->operation;
    VolumeEvent *event = volume_emit(ctx, operation != NULL ? operation->id : "");
    event->event_case = VOLUME_EVENT__EVENT_VOLUME_CHANGED;
    event->volume_changed = changed;
    if (to == VOLUME_STATUS_DELETED) {
        record_drop(ctx->record, volume);
    }
}

VolumeEvent *volume_emit(VolumeContext *ctx, const char *operation_id)
{
    VolumeEvent *event = ARENA_MSG(ctx->arena, volume_event);
    event->vm_uuid = (char *)ctx->vm_uuid;
    event->operation_id = (char *)operation_id;
    event->version = ctx->record != NULL ? ctx->version : 0;
    event->time_ms = ctx->now_ms;
    step_output(ctx->step, TOPIC_VOLUME_EVENTS, NULL, event);
    return event;
}

HostCommand *volume_ask_host(VolumeContext *ctx, const char *host_uuid, const char *what,
                             gint64 expires_ms)
{
    HostCommand *command = ARENA_MSG(ctx->arena, host_command);
    char *name =
        arena_printf(ctx->arena, "%s/%" G_GUINT64_FORMAT "/%s", what, ctx->version, host_uuid);
    command->vm_uuid = (char *)ctx->vm_uuid;
    command->operation_id = uuid_derive(ctx->arena, ctx->vm_uuid, name);
    command->epoch = ctx->record->epoch;
    command->expires_ms = expires_ms;
    step_output(ctx->step, TOPIC_HOST_COMMANDS, host_uuid, command);
    return command;
}

void volume_doom(VolumeContext *ctx, Volume *volume)
{
    if (volume->status == VOLUME_STATUS_NOT_INSTANTIATED) {
        volume_status_set(ctx, volume, VOLUME_STATUS_DELETED);
        return;
    }
    volume_status_set(ctx, volume, VOLUME_STATUS_DELETING);
    volume->next_ms = ctx->now_ms; /* Due at once. */
    volume->failures = 0;
}

static gint64 retry_after_ms(const VolumeContext *ctx, guint failures)
{
    gint64 delay_ms = ctx->settings->delete_retry_ms;
    for (guint i = 0; i < failures && delay_ms < DELETE_RETRY_MAX_MS; i++) {
        delay_ms *= 2;
    }
    return MIN(delay_ms, DELETE_RETRY_MAX_MS);
}

void volume_delete_failed(VolumeContext *ctx, Volume *volume, Error *error)
{
    volume->next_ms = ctx->now_ms + retry_after_ms(ctx, volume->failures);
    volume_error_keep(ctx, volume, error);
    VolumeWarning *warning = ARENA_MSG(ctx->arena, volume_warning);
    warning->volume_uuid = volume->uuid;
    warning->error = error;
    const VolumeOperation *operation = ctx->record->operation;
    VolumeEvent *event = volume_emit(ctx, operation != NULL ? operation->id : "");
    event->event_case = VOLUME_EVENT__EVENT_VOLUME_WARNING;
    event->volume_warning = warning;
}

static gboolean is_due(const VolumeContext *ctx, const Volume *volume)
{
    return volume->status == VOLUME_STATUS_DELETING && volume->next_ms <= ctx->now_ms;
}

/* One command with all due volumes of the host of `first`. Their next try is set, so that they are
 * not due any more: a host that stays silent is asked again then. */
static void delete_on_host(VolumeContext *ctx, const Volume *first)
{
    DeleteVolumes *delete = ARENA_MSG(ctx->arena, delete_volumes);
    HostCommand *ask = volume_ask_host(ctx, first->host_uuid, "delete", 0);
    for (size_t i = 0; i < ctx->record->n_volumes; i++) {
        Volume *volume = ctx->record->volumes[i];
        if (is_due(ctx, volume) && strcmp(volume->host_uuid, first->host_uuid) == 0) {
            ARENA_APPEND(ctx->arena, delete->n_volumes, delete->volumes, volume);
        }
    }
    for (size_t i = 0; i < delete->n_volumes; i++) {
        Volume *volume = delete->volumes[i];
        volume->next_ms = ctx->now_ms + retry_after_ms(ctx, volume->failures);
        volume->failures++; /* Until it is answered, silence counts as one. */
    }
    ask->command_case = HOST_COMMAND__COMMAND_DELETE_VOLUMES;
    ask->delete_volumes = delete;
}

void volume_delete_due(VolumeContext *ctx)
{
    for (size_t i = 0; i < ctx->record->n_volumes; i++) {
        if (is_due(ctx, ctx->record->volumes[i])) {
            delete_on_host(ctx, ctx->record->volumes[i]);
        }
    }
}
