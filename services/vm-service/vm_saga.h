/* The operations that take several steps, and what drives them on. Private to the core.
 *
 *   start     PreparingVolumes --VolumesPrepared--> StartingDomain --DomainStarted--> Running
 *   stop      StoppingDomain --DomainStopped--> Stopped
 *   reboot    StoppingDomain --DomainStopped--> PreparingVolumes ... as a start, at a new epoch
 *   destroy   StoppingDomain --DomainStopped--> Destroyed          (at rest: at once)
 *   expunge   ExpungingVolumes --VolumesExpunged--> Expunged
 *   attach and detach of a NIC   ChangingDevice --DeviceChanged--> Running
 *   ResetNvram, AdoptVolume      ChangingVolumes --NvramReplaced, VolumeChosen--> at rest, as before
 *
 * An answer is matched by operation, host and epoch; what does not match is late and changes
 * nothing, but for what a host says about a domain that runs: that is the truth. */
#pragma once

#include "services/vm-service/vm_context.h"

/* ---- vm_start.c */

void vm_start_begin(VmContext *ctx, const VmCommand *command);
/* The start of an operation whose domain is gone: of a reboot. */
void vm_start_go_on(VmContext *ctx);
/* Nobody asked but the VM's restart policy. One that fails is tried again later. */
void vm_restart(VmContext *ctx);
/* The time for that has come. */
void vm_restart_due(VmContext *ctx);
/* Ends a start that failed, with its first cause. */
void vm_start_fail(VmContext *ctx, Error *error);
void vm_on_volumes_prepared(VmContext *ctx, const VolumesPrepared *prepared);
void vm_on_domain_started(VmContext *ctx, const HostReport *report);
/* What a host says of the hardware, into the record. Of one that is too large the devices' addresses
 * are left out, and a warning says so. */
void vm_hardware_take(VmContext *ctx, Hardware *hardware);
/* N4: what was changed about a NIC is said, and why. Nothing where nothing was. */
void vm_tell_coercion(VmContext *ctx, const EffectiveNic *nic);

/* ---- vm_stop.c */

void vm_stop_begin(VmContext *ctx, const VmCommand *command, OperationKind kind, StopMode mode);
void vm_reboot_begin(VmContext *ctx, const VmCommand *command);
/* Ends a stop that failed, with its first cause. */
void vm_stop_fail(VmContext *ctx, Error *error);
void vm_on_domain_stopped(VmContext *ctx, const HostReport *report);
void vm_on_domain_observed(VmContext *ctx, const HostReport *report);
/* Whether a report of a stop says that the domain is gone, for whatever else it complains of. */
gboolean vm_report_says_gone(const HostReport *report);

/* ---- vm_nic.c */

void vm_attach_nic_begin(VmContext *ctx, const VmCommand *command);
void vm_detach_nic_begin(VmContext *ctx, const VmCommand *command);
void vm_on_device_changed(VmContext *ctx, const HostReport *report);

/* ---- vm_volumes.c */

void vm_expunge_begin(VmContext *ctx, const VmCommand *command);
/* Asks for the deletion, also again. */
void vm_expunge_ask(VmContext *ctx);
void vm_change_volumes_begin(VmContext *ctx, const VmCommand *command);
void vm_on_volume_event(VmContext *ctx, const VolumeEvent *event);

/* ---- vm_reports.c */

void vm_on_report(VmContext *ctx, const HostReport *report);
/* Whether a domain runs, by what this report says. */
gboolean vm_report_says_running(const HostReport *report);

/* ---- vm_runtime.c */

void vm_on_runtime(VmContext *ctx, const RuntimeInput *input);

/* ---- vm_quarantine.c */

void vm_on_poisoned(VmContext *ctx, const Poisoned *poisoned);
/* A report about the current domain of a VM that is Quarantined. */
void vm_note_while_quarantined(VmRecord *vm, const HostReport *report);
void vm_release(VmContext *ctx, const VmCommand *command);
