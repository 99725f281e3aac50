/* EFFECT_STOP: asks the guest, or pulls the plug, by the command's mode. It leaves ports, sockets
 * and state alone: the core asks for EFFECT_CLEAN_UP next. */
#include "services/host-agent/effect.h"

enum {
    POLL_INTERVAL_MS = 200,
    GRACE_MS = 120000, /* Of a graceful stop that never expires. */
};

/* Whether our domain is there. What the look makes is thrown away: this is asked again and again.
 */
static gboolean is_there(VbHost *host, const char *vm_uuid, gboolean *ret_there, GError **error)
{
    g_autoptr(VbArena) arena = arena_new();
    VbDomainFacts facts;
    if (!host->hypervisor->look(host->hypervisor, arena, vm_uuid, &facts, error)) {
        return FALSE;
    }
    *ret_there = facts.presence == DOMAIN_OURS;
    return TRUE;
}

/* Asks, then waits for the end until the command expires. */
static gboolean ask_guest(VbHost *host, const HostVm *vm, gboolean *ret_there, GError **error)
{
    gint64 deadline_ms = vm->command->expires_ms != 0 ? vm->command->expires_ms
                                                      : host->now_ms(host->clock) + GRACE_MS;
    g_autoptr(GError) refusal = NULL;
    if (!host->hypervisor->shutdown(host->hypervisor, vm->vm_uuid, &refusal) &&
        !g_error_matches(refusal, VB_ERROR, ERROR_CODE_DOMAIN_NOT_RUNNING)) {
        g_propagate_error(error, g_steal_pointer(&refusal));
        return FALSE;
    }
    for (;;) {
        if (!is_there(host, vm->vm_uuid, ret_there, error)) {
            return FALSE;
        }
        if (!*ret_there || host->now_ms(host->clock) >= deadline_ms) {
            return TRUE;
        }
        host->wait_ms(host->clock, POLL_INTERVAL_MS);
    }
}

static gboolean stop_gracefully(VbHost *host, const HostVm *vm, GError **error)
{
    gboolean there = TRUE;
    if (!ask_guest(host, vm, &there, error)) {
        return FALSE;
    }
    if (there) {
        g_set_error(error, VB_ERROR, ERROR_CODE_GUEST_DID_NOT_STOP,
                    "the guest of VM %s did not power off before the deadline and still runs: stop "
                    "it by force",
                    vm->vm_uuid);
    }
    return !there;
}

/* The guest's refusal, libvirt's too, is no reason to let it run on. */
static gboolean stop_at_last(VbHost *host, const HostVm *vm, GError **error)
{
    gboolean there = TRUE;
    g_autoptr(GError) refusal = NULL;
    if (ask_guest(host, vm, &there, &refusal) && !there) {
        return TRUE;
    }
    return host->hypervisor->destroy(host->hypervisor, vm->vm_uuid, error);
}

static gboolean stop(VbHost *host, const HostVm *vm, GError **error)
{
    switch (vm->command->stop_domain->mode) {
    case STOP_MODE_UNSPECIFIED:
    case STOP_MODE_GRACEFUL:
        return stop_gracefully(host, vm, error);
    case STOP_MODE_GRACEFUL_THEN_FORCED:
        return stop_at_last(host, vm, error);
    case STOP_MODE_FORCED:
        break;
    }
    return host->hypervisor->destroy(host->hypervisor, vm->vm_uuid, error);
}

void effect_stop(VbHost *host, VbArena *arena, const HostVm *vm, VbEffectResult *ret_result)
{
    g_autoptr(GError) error = NULL;
    gboolean there = FALSE;
    if (is_there(host, vm->vm_uuid, &there, &error) && !there) {
        ret_result->stop_reason = STOP_REASON_NOT_RUNNING;
    } else if (error == NULL && stop(host, vm, &error)) {
        ret_result->stop_reason = STOP_REASON_REQUESTED;
    } else {
        ret_result->error = error_from_gerror(arena, error);
    }
}
