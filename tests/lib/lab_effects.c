/* See lab_effects.h. */
#include "tests/lib/lab_effects.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "services/host-agent/hypervisor_libvirt.h"
#include "services/host-agent/switch_ovs.h"

static void on_event(void *data, const char *vm_uuid, VbDomainEventKind kind, StopReason reason,
                     guint nic_index)
{
    LabEffects *effects = data;
    (void)vm_uuid;
    (void)reason;
    if (kind == DOMAIN_EVENT_DEVICE_REMOVED) {
        g_atomic_int_or((guint *)&effects->removed, 1u << nic_index);
    }
}

void lab_effects_open(LabEffects *effects)
{
    *effects = (LabEffects){
        .hypervisor = hypervisor_libvirt_new(lab_env("LIBVIRT_URI"), "qemu", on_event, effects),
        .ports = switch_ovs_new(lab_env("OVS_DB")),
    };
}

void lab_effects_close(LabEffects *effects)
{
    switch_ovs_free(effects->ports);
    hypervisor_libvirt_free(effects->hypervisor);
}

VbEffectResult lab_effect(LabEffects *effects, LabGuest *guest, VbEffect kind)
{
    VbHost host = lab_host(guest, effects->hypervisor, effects->ports);
    VbEffectRequest request = {.kind = kind, .vm = guest->vm, .preempted = &effects->preempted};
    VbEffectResult result;
    effect_run(&host, guest->arena, &request, &result);
    return result;
}

VbEffectResult lab_effect_done(LabEffects *effects, LabGuest *guest, VbEffect kind)
{
    VbEffectResult result = lab_effect(effects, guest, kind);
    if (result.error != NULL) {
        fail_msg("%s", result.error->message);
    }
    return result;
}
