/* What e2e tests do to the VMs of a stack again and again, and how they look at them. Each function
 * fails the running test when it does not come about. What a VM is made of is its test's own: this
 * has no VM of its own and no defaults. */
#pragma once

#include "tests/lib/stack.h"

/* `vm create` with a new uuid and these words, up to NULL. The uuid (g_free). */
char *stack_vm_new(Stack *stack, ...) G_GNUC_NULL_TERMINATED;

/* ---- Start and stop */

/* On this stack's host, until it is done. */
void stack_vm_start(Stack *stack, const char *vm);
/* In the background; for stack_end. */
GSubprocess *stack_vm_start_begin(Stack *stack, const char *vm);
void stack_vm_force_stop(Stack *stack, const char *vm);
/* Starts, shows that it is running, is stopped by force, and nothing of it lives then. */
void stack_vm_starts_and_stops(Stack *stack, const char *vm);
/* The same VM after it has started and stopped once: its volumes are there. */
char *stack_vm_settled(Stack *stack, char *vm);

/* The start is refused with this code and a reason that holds `words` ("" for any), and nothing of
 * the VM lives. */
void stack_vm_start_refused(Stack *stack, const char *vm, ErrorCode code, const char *words);
/* The same, and the storage has the files that it had before. */
void stack_vm_start_refused_without_trace(Stack *stack, const char *vm, ErrorCode code,
                                          const char *words);

/* ---- What is so */

/* The member `path` of `vm show` is `value`: "vm.status", "VM_STATUS_RUNNING". */
void stack_vm_shows(Stack *stack, const char *vm, const char *path, const char *value);
/* Waits for the next event in which it comes to this status, which must be for this cause. */
void stack_vm_becomes(Stack *stack, const char *vm, const char *status, const char *cause);
/* No domain, no port, no socket folder. */
void stack_vm_expect_nothing_lives(Stack *stack, const char *vm);

/* ---- QEMU */

/* The file in which libvirt keeps this of a running domain, "pid" or "xml" (g_free). */
char *stack_vm_libvirt_file(const char *vm, const char *suffix);
void stack_vm_kill_qemu(Stack *stack, const char *vm);
