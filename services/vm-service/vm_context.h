/* What the parts of vm_core share: the step in hand, and the few ways in which it may change the
 * record or speak. */
#pragma once

#include "common/base/error.h"
#include "common/base/step.h"

typedef struct {
    VbStep *step;
    VbArena *arena;
    const Settings *settings;
    const char *vm_uuid;
    gint64 now_ms;
    VmRecord *vm;    /* NULL: there is no record. */
    guint64 version; /* That events of this step carry. */
    gboolean fault;  /* An assumption broke; the step ends as STEP_FAULT. */
} VmContext;

/* An event with its common fields; the caller sets the oneof. Already among the outputs. */
VmEvent *vm_emit(VmContext *ctx);

/* The terminal reply to a request: error NULL means done. Kept in the record, where there is one.
 */
void vm_reply(VmContext *ctx, const char *request_id, Error *error);

/* The same without keeping it: reads, repeats, and what never reached the core. Already among the
 * outputs. */
Reply *vm_emit_reply(VmContext *ctx, const char *request_id, Error *error);

/* Moves the status along the picture in vm_context.c. Any other move is a fault. */
void vm_status_set(VmContext *ctx, VmStatus to, Cause cause, Error *error);

/* Begins an operation. Its id is derived from the record's version. */
Operation *vm_operation_begin(VmContext *ctx, OperationKind kind, const char *request_id,
                              const char *host_uuid, gint64 timeout_ms);

/* The next phase: told as Progress, with a deadline whose identity is the operation and the phase.
 */
void vm_operation_phase(VmContext *ctx, OperationPhase phase, gint64 deadline_ms);

/* Ends the running operation and answers its request. */
void vm_operation_end(VmContext *ctx, Error *error);

void vm_warn(VmContext *ctx, Error *error, const char *volume_uuid);

/* Commands to the others, with the operation's id, the epoch and the expiry. The caller sets the
 * oneof. */
VolumeCommand *vm_ask_volumes(VmContext *ctx, gint64 expires_ms);
HostCommand *vm_ask_host(VmContext *ctx, const char *host_uuid, gint64 expires_ms);

/* The sagas, by what drives them on. In vm_saga.c. */
void vm_start_begin(VmContext *ctx, const VmCommand *command);
void vm_stop_begin(VmContext *ctx, const VmCommand *command, OperationKind kind, StopMode mode);
void vm_expunge_begin(VmContext *ctx, const VmCommand *command);
void vm_change_volumes_begin(VmContext *ctx, const VmCommand *command);
void vm_release(VmContext *ctx, const VmCommand *command);
void vm_on_volume_event(VmContext *ctx, const VolumeEvent *event);
void vm_on_report(VmContext *ctx, const HostReport *report);
void vm_on_runtime(VmContext *ctx, const RuntimeInput *input);
