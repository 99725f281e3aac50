/* Effects on the real libvirt and the real Open vSwitch of the lab, for guests of lab_guest.h. What
 * libvirt tells by itself is not heeded here, but for the end of a device. */
#pragma once

#include "services/host-agent/effect.h"
#include "tests/lib/lab_guest.h"

typedef struct {
    VbHypervisor *hypervisor;
    VbSwitch *ports;
    gint preempted; /* Set, atomically, for an effect that a later command ends. */
    gint
        removed; /* Atomic; bits by the index of NICs of which libvirt has said that they are gone. */
} LabEffects;

void lab_effects_open(LabEffects *effects);
void lab_effects_close(LabEffects *effects);

/* Runs one effect. The result lives as long as the guest. */
VbEffectResult lab_effect(LabEffects *effects, LabGuest *guest, VbEffect kind);
/* The same, which must be done. */
VbEffectResult lab_effect_done(LabEffects *effects, LabGuest *guest, VbEffect kind);
