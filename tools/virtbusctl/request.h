/* One request and its reply: the way of every command that changes or asks about a VM.
 *
 * The end of the VM's event partition is asked for first and read from, so that no reply can be
 * missed; then the request is produced; then events are read until the reply to it arrives, and
 * shown on standard error meanwhile. It never sends a request twice.
 */
#pragma once

#include "tools/virtbusctl/client.h"
#include "virtbus/v1/virtbus.h"

/* Sets request_id and sender of `command`, whose vm_uuid is set; `what` names the request in the
 * first line of progress. The event that carries the reply, in the arena; NULL and CTL_ERROR. */
const VmEvent *request_run(Ctl *ctl, VbClient *client, VmCommand *command, const char *what,
                           GError **error);

/* Asks vm-service for the VM's record: the event whose reply has it, with a spec. NULL: why is said
 * already, with *ret_status. In the arena. */
const VmEvent *request_record(Ctl *ctl, VbClient *client, const char *vm_uuid,
                              CtlStatus *ret_status);

/* Prints the outcome: with --json the Reply; a refusal; or `done` (NULL: the caller prints). */
CtlStatus request_finish(const Ctl *ctl, const VmEvent *event, const char *done);

/* "VM <uuid> is Running on host <uuid>", in the arena. */
const char *request_outcome(const Ctl *ctl, const VmEvent *event);

/* A command in the arena for that VM. */
VmCommand *request_new(Ctl *ctl, const char *vm_uuid);
