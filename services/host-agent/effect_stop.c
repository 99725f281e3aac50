/* EFFECT_STOP: asks the guest, or pulls the plug, by the command's mode. It leaves ports, sockets
 * and state alone: the core asks for EFFECT_CLEAN_UP next. It refuses to stop a domain that a newer
 * epoch than the command's has started, and one that has expired, as after a crash, only looks. */
#include "services/host-agent/audit.h"
#include "services/host-agent/effect.h"

enum {
    POLL_INTERVAL_MS = 200,
    GRACE_MS = 120000,     /* Of a graceful stop that never expires. */
    FORCE_ROOM_MS = 12000, /* What pulling the plug may take: libvirt gives QEMU 10 s to end. */
};

typedef struct {
    VbHost *host;
    const HostVm *vm;
    const gint *preempted; /* As in VbEffectRequest. */
    gboolean there;        /* Our domain was, at the last look. */
} Stop;

/* What the look makes is thrown away: this is asked again and again. */
static gboolean look(Stop *s, GError **error)
{
    g_autoptr(VbArena) arena = arena_new();
    VbDomainFacts facts;
    VbHypervisor *hypervisor = s->host->hypervisor;
    const HostCommand *command = s->vm->command;
    if (!hypervisor->look(hypervisor, arena, s->vm->vm_uuid, &facts, error)) {
        return FALSE;
    }
    s->there = facts.presence == DOMAIN_OURS;
    if (s->there && facts.epoch > command->epoch) {
        g_set_error(error, VB_ERROR, ERROR_CODE_STALE_EPOCH,
                    "VM %s runs here at epoch %" G_GUINT64_FORMAT
                    ", the stop %s is of %" G_GUINT64_FORMAT
                    ": it came too late; nothing was stopped",
                    s->vm->vm_uuid, facts.epoch, command->operation_id, command->epoch);
        return FALSE;
    }
    return TRUE;
}

/* Until when the guest is asked. What comes after it by force needs some of the time that is left,
 * at most half. */
static gint64 ask_deadline_ms(const Stop *s)
{
    gint64 now_ms = s->host->now_ms(s->host->clock);
    gint64 expires_ms = s->vm->command->expires_ms;
    if (expires_ms == 0) {
        return now_ms + GRACE_MS;
    }
    if (s->vm->command->stop_domain->mode != STOP_MODE_GRACEFUL_THEN_FORCED) {
        return expires_ms;
    }
    return MAX(expires_ms - FORCE_ROOM_MS, now_ms + (expires_ms - now_ms) / 2);
}

/* Asks, then waits for the end until the deadline. */
static gboolean ask_guest(Stop *s, GError **error)
{
    VbHost *host = s->host;
    gint64 deadline_ms = ask_deadline_ms(s);
    g_autoptr(GError) refusal = NULL;
    if (!host->hypervisor->shutdown(host->hypervisor, s->vm->vm_uuid, &refusal) &&
        !g_error_matches(refusal, VB_ERROR, ERROR_CODE_DOMAIN_NOT_RUNNING)) {
        g_propagate_error(error, g_steal_pointer(&refusal));
        return FALSE;
    }
    for (;;) {
        if (!look(s, error)) {
            return FALSE;
        }
        if (!s->there || host->now_ms(host->clock) >= deadline_ms) {
            return TRUE;
        }
        if (s->preempted != NULL && g_atomic_int_get(s->preempted) != 0) {
            g_set_error(error, VB_ERROR, ERROR_CODE_PREEMPTED,
                        "the guest of VM %s was asked to power off; a command that does not wait "
                        "for it took the place of this stop",
                        s->vm->vm_uuid);
            return FALSE;
        }
        host->wait_ms(host->clock, POLL_INTERVAL_MS);
    }
}

static gboolean stop_gracefully(Stop *s, GError **error)
{
    if (!ask_guest(s, error)) {
        return FALSE;
    }
    if (s->there) {
        g_set_error(error, VB_ERROR, ERROR_CODE_GUEST_DID_NOT_STOP,
                    "the guest of VM %s did not power off before the deadline and still runs: stop "
                    "it by force",
                    s->vm->vm_uuid);
    }
    return !s->there;
}

static gboolean stop_by_force(Stop *s, GError **error)
{
    if (!s->host->hypervisor->destroy(s->host->hypervisor, s->vm->vm_uuid, error)) {
        return FALSE;
    }
    audit_add(s->host, s->vm, AUDIT_DOMAIN_DESTROYED, NULL);
    return TRUE;
}

/* The guest's refusal, libvirt's too, is no reason to let it run on; another command's turn, and a
 * newer domain, are. */
static gboolean stop_at_last(Stop *s, GError **error)
{
    g_autoptr(GError) refusal = NULL;
    if (ask_guest(s, &refusal) && !s->there) {
        return TRUE;
    }
    if (g_error_matches(refusal, VB_ERROR, ERROR_CODE_PREEMPTED) ||
        g_error_matches(refusal, VB_ERROR, ERROR_CODE_STALE_EPOCH)) {
        g_propagate_error(error, g_steal_pointer(&refusal));
        return FALSE;
    }
    return stop_by_force(s, error);
}

/* The core lets no expired stop begin: this one was cut off, and nobody waits for it any more. What
 * runs now may have been left running on purpose. */
static gboolean refuse_late(const Stop *s, GError **error)
{
    gint64 expires_ms = s->vm->command->expires_ms;
    if (expires_ms == 0 || s->host->now_ms(s->host->clock) < expires_ms) {
        return FALSE;
    }
    g_set_error(error, VB_ERROR, ERROR_CODE_GUEST_DID_NOT_STOP,
                "the stop %s of VM %s was cut off and has expired; the VM still runs: ask again",
                s->vm->command->operation_id, s->vm->vm_uuid);
    return TRUE;
}

static gboolean stop(Stop *s, GError **error)
{
    if (refuse_late(s, error)) {
        return FALSE;
    }
    switch (s->vm->command->stop_domain->mode) {
    case STOP_MODE_UNSPECIFIED:
    case STOP_MODE_GRACEFUL:
        return stop_gracefully(s, error);
    case STOP_MODE_GRACEFUL_THEN_FORCED:
        return stop_at_last(s, error);
    case STOP_MODE_FORCED:
        break;
    }
    return stop_by_force(s, error);
}

void effect_stop(VbHost *host, VbArena *arena, const VbEffectRequest *request,
                 VbEffectResult *ret_result)
{
    Stop s = {.host = host, .vm = request->vm, .preempted = request->preempted};
    g_autoptr(GError) error = NULL;
    if (look(&s, &error) && !s.there) {
        ret_result->stop_reason = STOP_REASON_NOT_RUNNING;
    } else if (error == NULL && stop(&s, &error)) {
        ret_result->stop_reason = STOP_REASON_REQUESTED;
    } else {
        ret_result->error = error_from_gerror(arena, error);
    }
}
