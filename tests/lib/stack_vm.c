/* See stack_vm.h. */
#include "tests/lib/stack_vm.h"

#include <signal.h>
#include <stdarg.h>
#include <string.h>

#include "common/base/uuid.h"
#include "tests/lib/lab_guest.h"

char *stack_vm_new(Stack *stack, ...)
{
    char *vm = g_malloc(UUID_TEXT_BYTES);
    uuid_random(vm);
    const char *const first[] = {"vm", "create", "--uuid", vm, NULL};
    va_list words;
    va_start(words, stack);
    stack_answer_free(stack_done_with(stack, first, words));
    va_end(words);
    return vm;
}

/* ---- Start and stop */

void stack_vm_start(Stack *stack, const char *vm)
{
    stack_answer_free(stack_done(stack, "vm", "start", vm, "--host", stack->host_uuid, NULL));
}

GSubprocess *stack_vm_start_begin(Stack *stack, const char *vm)
{
    return stack_begin(stack, "vm", "start", vm, "--host", stack->host_uuid, NULL);
}

void stack_vm_force_stop(Stack *stack, const char *vm)
{
    stack_answer_free(stack_done(stack, "vm", "stop", vm, "--force", NULL));
}

void stack_vm_starts_and_stops(Stack *stack, const char *vm)
{
    stack_vm_start(stack, vm);
    stack_vm_shows(stack, vm, "vm.status", "VM_STATUS_RUNNING");
    stack_vm_force_stop(stack, vm);
    stack_vm_expect_nothing_lives(stack, vm);
}

char *stack_vm_settled(Stack *stack, char *vm)
{
    stack_vm_starts_and_stops(stack, vm);
    return vm;
}

/* Does not look at what lives. */
static void start_refused(Stack *stack, const char *vm, ErrorCode code, const char *words)
{
    g_autoptr(StackAnswer) answer =
        stack_refused(stack, code, "vm", "start", vm, "--host", stack->host_uuid, NULL);
    if (strstr(answer->reason, words) == NULL) {
        stack_fail(stack, "\"%s\" does not name %s", answer->reason, words);
    }
}

void stack_vm_start_refused(Stack *stack, const char *vm, ErrorCode code, const char *words)
{
    start_refused(stack, vm, code, words);
    stack_vm_expect_nothing_lives(stack, vm);
}

void stack_vm_start_refused_without_trace(Stack *stack, const char *vm, ErrorCode code,
                                          const char *words)
{
    g_autofree char *before = stack_storage(stack);
    start_refused(stack, vm, code, words);
    g_autofree char *after = stack_storage(stack);
    if (strcmp(after, before) != 0) {
        stack_fail(stack, "the refused start of VM %s changed the storage from\n%sto\n%s", vm,
                   before, after);
    }
    stack_vm_expect_nothing_lives(stack, vm);
}

/* ---- What is so */

void stack_vm_shows(Stack *stack, const char *vm, const char *path, const char *value)
{
    g_autoptr(StackAnswer) answer = stack_done(stack, "vm", "show", vm, NULL);
    g_autofree char *found = stack_text(answer->json, path);
    if (strcmp(found, value) != 0) {
        stack_fail(stack, "VM %s has %s = \"%s\" instead of \"%s\"", vm, path, found, value);
    }
}

void stack_vm_becomes(Stack *stack, const char *vm, const char *status, const char *cause)
{
    JsonNode *event = stack_event(stack, vm, "status_changed.to", status);
    g_autofree char *found = stack_text(event, "status_changed.cause");
    if (strcmp(found, cause) != 0) {
        stack_fail(stack, "VM %s became %s by %s instead of %s", vm, status, found, cause);
    }
}

void stack_vm_expect_nothing_lives(Stack *stack, const char *vm)
{
    g_autofree char *live = stack_live(stack, vm);
    if (*live != '\0') {
        stack_fail(stack, "VM %s should have nothing on the host, but has: %s", vm, live);
    }
}

/* ---- QEMU */

char *stack_vm_libvirt_file(const char *vm, const char *suffix)
{
    g_autofree char *run = g_path_get_dirname(lab_env("LIBVIRT_PIDFILE"));
    return g_strdup_printf("%s/libvirt/qemu/vb-%s.%s", run, vm, suffix);
}

void stack_vm_kill_qemu(Stack *stack, const char *vm)
{
    g_autofree char *path = stack_vm_libvirt_file(vm, "pid");
    stack_signal_by_file(stack, path, SIGKILL);
}
