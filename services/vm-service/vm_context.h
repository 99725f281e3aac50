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

/* What the operation's hosts and deadlines are worked out from. */
gint64 vm_timeout_or(const VmCommand *command, gint64 fallback_ms);
/* When a host must have seen a command, given the operation's deadline. */
gint64 vm_host_expiry_ms(const Operation *operation);

/* Whether this is the operation that runs. */
gboolean vm_is_operation(const VmContext *ctx, const char *operation_id);

/* Sets of statuses, one bit each. At rest: the VM exists, and no domain runs anywhere. */
#define VM_IN(status) (1u << VM_STATUS_##status)
#define VM_AT_REST    (VM_IN(CREATED) | VM_IN(STOPPED) | VM_IN(CRASHED))

/* Whether a domain runs or may run on a host while the VM has this status. */
gboolean vm_status_may_run(VmStatus status);
