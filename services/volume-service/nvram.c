/* The variable store of a VM: needed x exists. The only place that decides about one.
 *
 *   needed  exists                              action
 *   yes     none                                a new one, of the next generation
 *   yes     one Ready or Retained, same class   reuse it
 *   yes     one Ready or Retained, other class  refuse NVRAM_TEMPLATE_MISMATCH (way out: ResetNvram)
 *   yes     one NotInstantiated or Creating     resume it; never a second
 *   yes     one Deleting, no other              wait until it is gone, then as none
 *   yes     several                             refuse NVRAM_AMBIGUOUS (way out: AdoptVolume)
 *   no      Ready                               Retained, until its retention ends
 *   no      none, or not Ready                  nothing
 *
 * A Retained one beside one that is not Retained is an older generation (ResetNvram keeps it so):
 * it does not count.
 */
#include "services/volume-service/volume_context.h"

#include "common/base/model.h"
#include "common/base/text.h"

typedef struct {
    Volume *current; /* NotInstantiated, Creating or Ready. */
    guint n_current;
    Volume *retained;
    guint n_retained;
    guint n_deleting;
} Found;

static Found find_all(const VolumeContext *ctx)
{
    Found found = {0};
    for (size_t i = 0; ctx->record != NULL && i < ctx->record->n_volumes; i++) {
        Volume *volume = ctx->record->volumes[i];
        if (volume->type != VOLUME_TYPE_NV_RAM) {
            continue;
        }
        switch (volume->status) {
        case VOLUME_STATUS_NOT_INSTANTIATED:
        case VOLUME_STATUS_CREATING:
        case VOLUME_STATUS_READY:
            found.current = volume;
            found.n_current++;
            break;
        case VOLUME_STATUS_RETAINED:
            found.retained = volume;
            found.n_retained++;
            break;
        case VOLUME_STATUS_DELETING:
            found.n_deleting++;
            break;
        case VOLUME_STATUS_DELETED:
        case VOLUME_STATUS_UNSPECIFIED:
            break;
        }
    }
    return found;
}

static Error *ambiguous(VolumeContext *ctx)
{
    g_autoptr(GString) names = g_string_new(NULL);
    for (size_t i = 0; i < ctx->record->n_volumes; i++) {
        const Volume *volume = ctx->record->volumes[i];
        if (volume->type == VOLUME_TYPE_NV_RAM && volume->status != VOLUME_STATUS_DELETING) {
            g_string_append_printf(names, "%s%s (%s)", names->len > 0 ? ", " : "", volume->uuid,
                                   ENUM_LABEL(volume_status, volume->status));
        }
    }
    return error_make(
        ctx->arena, ERROR_CODE_NVRAM_AMBIGUOUS,
        "VM %s has several variable stores: %s; AdoptVolume says which one is its own",
        ctx->vm_uuid, names->str);
}

/* An imported one is of no known class: whoever adopted it answers for it, and the host looks at its
 * variables before each start anyway. */
static gboolean fits(const Volume *volume, const FirmwareClass *wanted)
{
    return volume->firmware == NULL || model_is_same_class(volume->firmware->class_, wanted);
}

static Error *mismatch(VolumeContext *ctx, const Volume *volume, const FirmwareClass *wanted)
{
    return error_make(ctx->arena, ERROR_CODE_NVRAM_TEMPLATE_MISMATCH,
                      "variable store %s of VM %s was made for another firmware class; the VM now "
                      "wants %s with Secure Boot %s: ResetNvram makes a new one and keeps the old",
                      volume->uuid, ctx->vm_uuid, ENUM_LABEL(firmware, wanted->firmware),
                      wanted->secure_boot ? "on" : "off");
}

static void pin_class(VolumeContext *ctx, Volume *volume, const FirmwareClass *wanted)
{
    volume->firmware = ARENA_MSG(ctx->arena, firmware_ref);
    volume->firmware->class_ = arena_copy(ctx->arena, wanted);
}

static Volume *make_new(VolumeContext *ctx, const VmSpec *spec, const FirmwareClass *wanted)
{
    Volume *volume = volume_add(ctx, spec, VOLUME_TYPE_NV_RAM, VOLUME_FORMAT_RAW);
    volume->generation = ++ctx->record->nvram_generation;
    pin_class(ctx, volume, wanted);
    return volume;
}

/* Not needed any more: kept for its retention, or not at all. */
static void retire(VolumeContext *ctx, Volume *volume)
{
    if (ctx->settings->nvram_retain_ms == 0) {
        volume_doom(ctx, volume);
        return;
    }
    volume_status_set(ctx, volume, VOLUME_STATUS_RETAINED);
    volume->retained_ms = ctx->now_ms;
    volume->next_ms = ctx->now_ms + ctx->settings->nvram_retain_ms;
}

static void take_back(VolumeContext *ctx, Volume *volume)
{
    if (volume->status == VOLUME_STATUS_RETAINED) {
        volume_status_set(ctx, volume, VOLUME_STATUS_READY);
        volume->retained_ms = 0;
        volume->next_ms = 0;
    }
}

/* One that is the VM's no longer. What was never whole is of no use to anybody. */
static void displace(VolumeContext *ctx, Volume *volume)
{
    switch (volume->status) {
    case VOLUME_STATUS_READY:
        retire(ctx, volume);
        return;
    case VOLUME_STATUS_NOT_INSTANTIATED:
    case VOLUME_STATUS_CREATING:
        volume_doom(ctx, volume);
        return;
    case VOLUME_STATUS_RETAINED:
    case VOLUME_STATUS_DELETING:
    case VOLUME_STATUS_DELETED:
    case VOLUME_STATUS_UNSPECIFIED:
        return;
    }
}

static Volume *reuse(VolumeContext *ctx, Volume *volume, const FirmwareClass *wanted,
                     Error **ret_error)
{
    if (!fits(volume, wanted)) {
        if (volume->status != VOLUME_STATUS_NOT_INSTANTIATED) {
            *ret_error = mismatch(ctx, volume, wanted);
            return NULL;
        }
        pin_class(ctx, volume, wanted); /* Nothing is on disk yet. */
    }
    take_back(ctx, volume);
    return volume;
}

gboolean nvram_is_missing(const VolumeContext *ctx)
{
    Found found = find_all(ctx);
    return found.n_current + found.n_retained + found.n_deleting == 0;
}

Volume *nvram_settle(VolumeContext *ctx, const PrepareVolumes *prepare, gboolean *ret_wait,
                     Error **ret_error)
{
    Found found = find_all(ctx);
    if (!prepare->nvram_needed) {
        for (size_t i = 0; found.n_current > 0 && i < ctx->record->n_volumes; i++) {
            Volume *volume = ctx->record->volumes[i];
            if (volume->type == VOLUME_TYPE_NV_RAM && volume->status == VOLUME_STATUS_READY) {
                retire(ctx, volume);
            }
        }
        return NULL;
    }
    if (found.n_current > 1 || (found.n_current == 0 && found.n_retained > 1)) {
        *ret_error = ambiguous(ctx);
        return NULL;
    }
    if (found.n_current == 1) {
        return reuse(ctx, found.current, prepare->firmware_class, ret_error);
    }
    if (found.n_retained == 1) {
        return reuse(ctx, found.retained, prepare->firmware_class, ret_error);
    }
    if (found.n_deleting > 0) {
        *ret_wait = TRUE;
        return NULL;
    }
    return make_new(ctx, prepare->spec, prepare->firmware_class);
}

const char *nvram_replace(VolumeContext *ctx, const VmSpec *spec, const FirmwareClass *wanted)
{
    const char *retired = "";
    for (size_t i = ctx->record->n_volumes; i > 0; i--) { /* A Deleted one leaves the list. */
        Volume *volume = ctx->record->volumes[i - 1];
        if (volume->type == VOLUME_TYPE_NV_RAM) {
            retired = volume->status == VOLUME_STATUS_READY ? volume->uuid : retired;
            displace(ctx, volume);
        }
    }
    make_new(ctx, spec, wanted);
    volume_delete_due(ctx);
    return retired;
}

Error *nvram_choose(VolumeContext *ctx, const char *volume_uuid)
{
    Volume *chosen = volume_find(ctx, volume_uuid);
    gboolean whole =
        chosen != NULL && chosen->type == VOLUME_TYPE_NV_RAM &&
        (chosen->status == VOLUME_STATUS_READY || chosen->status == VOLUME_STATUS_RETAINED);
    if (!whole) {
        return error_make(
            ctx->arena, ERROR_CODE_VOLUME_NOT_FOUND,
            "VM %s has no variable store %s that is Ready or Retained: see ListVolumes",
            ctx->vm_uuid, volume_uuid);
    }
    for (size_t i = ctx->record->n_volumes; i > 0; i--) {
        Volume *volume = ctx->record->volumes[i - 1];
        if (volume->type == VOLUME_TYPE_NV_RAM && volume != chosen) {
            displace(ctx, volume);
        }
    }
    take_back(ctx, chosen);
    volume_delete_due(ctx);
    return NULL;
}
