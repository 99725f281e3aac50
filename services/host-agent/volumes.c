/* Volumes on this host: makes all that a command names, or says why not. All are checked before the
 * first is made, so that a refusal leaves nothing behind. */
#include "services/host-agent/volumes.h"

#include <string.h>

#include "common/base/text.h"
#include "common/runtime/kill_point.h"
#include "services/host-agent/audit.h"
#include "services/host-agent/volume_files.h"
#include "services/host-agent/volume_make.h"

enum {
    LATER_ERROR_BYTES = 240, /* Of a report's errors after the first. */
    STAT_BLOCK_BYTES = 512,  /* The unit of st_blocks. */
};

char *volume_path(VbHost *host, VbArena *arena, const Volume *volume, GError **error)
{
    VolumePlace place;
    return place_find(host, arena, volume, &place, error) ? place.path : NULL;
}

char *volume_image_path(VbHost *host, VbArena *arena, const StorageRef *storage, const char *image,
                        GError **error)
{
    const VbStorage *found = NULL;
    if (!place_find_storage(host, storage, &found, error)) {
        return NULL;
    }
    if (image[0] == '\0' || image[0] == '.' || strchr(image, '/') != NULL) {
        g_set_error(error, VB_ERROR, ERROR_CODE_INVALID_ARGUMENT,
                    "image \"%s\" must be the plain name of a file in the images/ folder of "
                    "storage %s; mend the name",
                    image, found->ref.name);
        return NULL;
    }
    return arena_printf(arena, "%s/images/%s", found->path, image);
}

void volume_result_fail(VbArena *arena, VbEffectResult *whole, VolumeResult *one,
                        const GError *cause)
{
    g_autoptr(GError) named = g_error_copy(cause);
    g_prefix_error(&named, "%s volume %s: ", ENUM_LABEL(volume_type, one->volume->type),
                   one->volume->uuid);
    if (whole->error == NULL) {
        one->error = error_from_gerror(arena, named);
        whole->error = one->error;
        return;
    }
    if (strlen(named->message) > LATER_ERROR_BYTES) {
        named->message[LATER_ERROR_BYTES] = '\0';
    }
    one->error = error_from_gerror(arena, named);
}

static void add_result(VbArena *arena, VbEffectResult *result, const VolumePlan *plan,
                       const GError *error)
{
    VolumesCreated *body = result->report->volumes_created;
    VolumeResult *one = ARENA_MSG(arena, volume_result);
    one->volume = plan->volume;
    one->reused = plan->there && error == NULL;
    if (error != NULL) {
        volume_result_fail(arena, result, one, error);
    }
    ARENA_APPEND(arena, body->n_results, body->results, one);
}

/* What an earlier try left half made is removed before the next one. 0: nothing is there. */
static guint64 half_made_bytes(VbHost *host, const VolumePlan *plan)
{
    struct stat facts;
    gboolean frees = host->files->lstat(host->files, plan->place.temporary, &facts) == 0 &&
                     S_ISREG(facts.st_mode) && facts.st_nlink == 1;
    return frees ? (guint64)facts.st_blocks * STAT_BLOCK_BYTES : 0;
}

/* Whether the storage has room for this volume and for those of the plan before it. */
static gboolean check_room(VbHost *host, const VolumePlan *plans, size_t index, GError **error)
{
    const VbStorage *storage = plans[index].place.storage;
    guint64 need_bytes = 0;
    guint64 half_made = 0;
    for (size_t i = 0; i <= index; i++) {
        if (plans[i].place.storage == storage && !plans[i].there) {
            need_bytes += plans[i].need_bytes;
            half_made += half_made_bytes(host, &plans[i]);
        }
    }
    guint64 total_bytes = 0;
    guint64 free_bytes = 0;
    if (host->files->free_bytes(host->files, storage->path, &total_bytes, &free_bytes) != 0) {
        store_error(error, "ask for the free space of", storage->path);
        return FALSE;
    }
    free_bytes += half_made;
    if (!plans[index].there && need_bytes > free_bytes) {
        g_set_error(error, VB_ERROR, ERROR_CODE_STORAGE_FULL,
                    "storage %s (%s) has %" G_GUINT64_FORMAT " bytes left, %" G_GUINT64_FORMAT
                    " are needed; free space, then ask again",
                    storage->ref.name, storage->path, free_bytes, need_bytes);
        return FALSE;
    }
    return TRUE;
}

static void plan_all(VbHost *host, VbArena *arena, const CreateVolumes *command,
                     VolumePlan *ret_plans, VbEffectResult *result)
{
    for (size_t i = 0; i < command->n_volumes; i++) {
        g_autoptr(GError) error = NULL;
        if (!volume_plan(host, arena, command, command->volumes[i], &ret_plans[i], &error) ||
            !check_room(host, ret_plans, i, &error)) {
            add_result(arena, result, &ret_plans[i], error);
        }
    }
}

/* Whether no try of this host's can have left any of the volume, whatever became of it: neither the
 * whole nor the half made one. It is assumed that whoever takes a storage out of this host's
 * configuration has given up what lies on it: a volume of it has no place here. */
static gboolean is_certainly_absent(VbHost *host, VbArena *arena, const Volume *volume)
{
    VolumePlace place;
    struct stat facts;
    gboolean there = FALSE;
    if (!place_find(host, arena, volume, &place, NULL)) {
        return TRUE;
    }
    return store_look(host->files, place.storage->path, &there, &facts, NULL) && there &&
           place_look(host, &place, ERROR_CODE_STORAGE_IO, &there, &facts, NULL) && !there &&
           store_look(host->files, place.temporary, &there, &facts, NULL) && !there;
}

static void add_not_made(VbHost *host, VbArena *arena, const CreateVolumes *command,
                         VolumesCreated *created)
{
    for (size_t i = 0; i < command->n_volumes; i++) {
        if (is_certainly_absent(host, arena, command->volumes[i])) {
            ARENA_APPEND(arena, created->n_not_made, created->not_made, command->volumes[i]->uuid);
        }
    }
}

void volumes_create(VbHost *host, VbArena *arena, const HostVm *vm, VbEffectResult *ret_result)
{
    const CreateVolumes *command = vm->command->create_volumes;
    VolumePlan *plans = arena_alloc(arena, sizeof(VolumePlan) * (command->n_volumes + 1));
    ret_result->report = ARENA_MSG(arena, host_report);
    ret_result->report->report_case = HOST_REPORT__REPORT_VOLUMES_CREATED;
    ret_result->report->volumes_created = ARENA_MSG(arena, volumes_created);
    plan_all(host, arena, command, plans, ret_result);
    for (size_t i = 0; i < command->n_volumes && ret_result->error == NULL; i++) {
        g_autoptr(GError) error = NULL;
        if (volume_make(host, &plans[i], &error)) {
            audit_add(host, vm, plans[i].there ? AUDIT_VOLUME_FOUND : AUDIT_VOLUME_CREATED,
                      plans[i].place.path);
        }
        KILL_POINT("volume-durable");
        add_result(arena, ret_result, &plans[i], error);
    }
    if (ret_result->error != NULL) {
        add_not_made(host, arena, command, ret_result->report->volumes_created);
    }
}
