/* See echo_service.h. Pure, as any core. */
#include "tests/lib/echo_service.h"

#include <string.h>

#include "common/base/error.h"

enum { HUGE_TEXT_BYTES = 3 * 512 * 1024 };

static VmRecord *vm_of(VbStep *step)
{
    return step->state != NULL ? step->state->vm : NULL;
}

static VmEvent *event_new(VbStep *step)
{
    VmEvent *event = ARENA_MSG(step->arena, vm_event);
    event->vm_uuid = arena_strdup(step->arena, step->input->vm_uuid);
    event->version = step_version(step);
    event->time_ms = step->input->time_ms;
    event->epoch = vm_of(step) != NULL ? vm_of(step)->epoch : 0;
    return event;
}

static void reply(VbStep *step, const char *request_id, Error *error)
{
    VmEvent *event = event_new(step);
    event->event_case = VM_EVENT__EVENT_REPLY;
    event->reply = ARENA_MSG(step->arena, reply);
    event->reply->request_id = arena_strdup(step->arena, request_id);
    event->reply->error = error;
    step_output(step, TOPIC_VM_EVENTS, NULL, event);
}

static void warn(VbStep *step, ErrorCode code, const char *text)
{
    VmEvent *event = event_new(step);
    event->event_case = VM_EVENT__EVENT_WARNING;
    event->warning = ARENA_MSG(step->arena, warning);
    event->warning->error = error_make(step->arena, code, "%s", text);
    step_output(step, TOPIC_VM_EVENTS, NULL, event);
}

static void command_host(VbStep *step, const char *host_uuid, const char *operation_id)
{
    HostCommand *command = ARENA_MSG(step->arena, host_command);
    command->vm_uuid = arena_strdup(step->arena, step->input->vm_uuid);
    command->operation_id = arena_strdup(step->arena, operation_id);
    command->command_case = HOST_COMMAND__COMMAND_FORGET_VM;
    command->forget_vm = ARENA_MSG(step->arena, forget_vm);
    step_output(step, TOPIC_HOST_COMMANDS, arena_strdup(step->arena, host_uuid), command);
}

static void reply_huge(VbStep *step, const char *request_id)
{
    char *text = arena_alloc(step->arena, HUGE_TEXT_BYTES + 1);
    memset(text, 'x', HUGE_TEXT_BYTES);
    Error *error = ARENA_MSG(step->arena, error);
    error->message = text;
    reply(step, request_id, error);
}

static VbStepResult changed(VbStep *step, const VmCommand *command)
{
    vm_of(step)->epoch++;
    vm_of(step)->changed_ms = step->input->time_ms;
    reply(step, command->request_id, NULL);
    step->state->version = 999; /* Not a core's to set: the runtime must undo it. */
    return STEP_OK;
}

static VbStepResult create(VbStep *step, const VmCommand *command)
{
    if (step->state == NULL) {
        step->state = ARENA_MSG(step->arena, state_record);
        step->state->body_case = STATE_RECORD__BODY_VM;
        step->state->vm = ARENA_MSG(step->arena, vm_record);
        step->state->vm->spec = arena_copy(step->arena, command->create_vm->spec);
    }
    return changed(step, command);
}

static void deadline_set(VbStep *step, const VmCommand *command, VmStatus status)
{
    step->state->deadline_ms = step->input->time_ms + command->timeout_ms;
    step->state->deadline_id = arena_strdup(step->arena, command->request_id);
    step->state->vm->status = status;
}

static VbStepResult command_step(VbStep *step, const VmCommand *command)
{
    if (command->command_case == VM_COMMAND__COMMAND_CREATE_VM) {
        return create(step, command);
    }
    if (command->command_case == VM_COMMAND__COMMAND_DESTROY_VM) {
        if (step->state != NULL) {
            step->state->vm->epoch = 666; /* Must be thrown away. */
        }
        step_output(step, TOPIC_VM_EVENTS, NULL, event_new(step));
        return STEP_FAULT;
    }
    if (step->state == NULL || command->command_case == VM_COMMAND__COMMAND_GET_VM) {
        reply(step, command->request_id,
              step->state == NULL
                  ? error_make(step->arena, ERROR_CODE_VM_NOT_FOUND, "there is no such VM")
                  : NULL);
        return STEP_OK;
    }
    if (command->command_case == VM_COMMAND__COMMAND_START_VM) {
        command_host(step, command->start_vm->host_uuid, command->request_id);
    } else if (command->command_case == VM_COMMAND__COMMAND_STOP_VM) {
        deadline_set(step, command, VM_STATUS_STOPPING);
    } else if (command->command_case == VM_COMMAND__COMMAND_REBOOT_VM) {
        deadline_set(step, command, VM_STATUS_REBOOTING);
    } else if (command->command_case == VM_COMMAND__COMMAND_EXPUNGE_VM) {
        reply(step, command->request_id, NULL);
        step->state = NULL;
        return STEP_OK;
    } else if (command->command_case == VM_COMMAND__COMMAND_RESET_NVRAM) {
        reply_huge(step, command->request_id);
    } else if (command->command_case == VM_COMMAND__COMMAND_ADOPT_VOLUME) {
        step->state->vm->status = VM_STATUS_UNKNOWN;
        command_host(step, command->adopt_volume->volume_uuid, command->request_id);
    }
    return changed(step, command);
}

static VbStepResult deadline_step(VbStep *step, const DeadlineElapsed *elapsed)
{
    if (vm_of(step) == NULL || vm_of(step)->status == VM_STATUS_REBOOTING) {
        return STEP_OK;
    }
    if (strcmp(step->state->deadline_id, elapsed->deadline_id) == 0) {
        step->state->deadline_ms = 0;
        step->state->deadline_id = arena_strdup(step->arena, "");
        vm_of(step)->epoch++;
        warn(step, ERROR_CODE_TIMEOUT, elapsed->deadline_id);
    }
    return STEP_OK;
}

static VbStepResult undeliverable_step(VbStep *step, const Undeliverable *undeliverable)
{
    if (vm_of(step)->status == VM_STATUS_UNKNOWN) {
        vm_of(step)->epoch++;
        command_host(step, undeliverable->host_uuid, undeliverable->operation_id);
        return STEP_OK;
    }
    vm_of(step)->host_uuid = arena_strdup(step->arena, undeliverable->host_uuid);
    reply(step, undeliverable->operation_id,
          error_make(step->arena, ERROR_CODE_HOST_UNKNOWN, "there is no host %s",
                     undeliverable->host_uuid));
    return STEP_OK;
}

static VbStepResult runtime_step(VbStep *step, const RuntimeInput *input)
{
    if (input->input_case == RUNTIME_INPUT__INPUT_DEADLINE_ELAPSED) {
        return deadline_step(step, input->deadline_elapsed);
    }
    if (input->input_case == RUNTIME_INPUT__INPUT_UNDELIVERABLE) {
        return undeliverable_step(step, input->undeliverable);
    }
    if (vm_of(step) == NULL) {
        return STEP_FAULT; /* The loop must live with that, too. */
    }
    vm_of(step)->status = VM_STATUS_QUARANTINED;
    warn(step, ERROR_CODE_QUARANTINED, input->poisoned->reason);
    return STEP_OK;
}

static VbStepResult echo_step(VbStep *step)
{
    if (step->input->runtime != NULL) {
        return runtime_step(step, step->input->runtime);
    }
    if (step->input->topic == TOPIC_VM_COMMANDS) {
        return command_step(step, (const VmCommand *)step->input->record);
    }
    if (step->state != NULL) {
        vm_of(step)->epoch++; /* A report. */
        warn(step, ERROR_CODE_UNSPECIFIED, "report");
    }
    return STEP_OK;
}

static void echo_refuse(VbStep *step, const char *request_id, const Error *error)
{
    reply(step, request_id, arena_copy(step->arena, error));
}

static const VbTopic inputs[] = {TOPIC_VM_COMMANDS, TOPIC_VM_REPORTS};

const VbService echo_service = {.name = "echo-service",
                                .logic_version = 1,
                                .inputs = inputs,
                                .n_inputs = G_N_ELEMENTS(inputs),
                                .state_topic = TOPIC_VM_STATE,
                                .state_body = STATE_RECORD__BODY_VM,
                                .journal_topic = TOPIC_VM_JOURNAL,
                                .step = echo_step,
                                .refuse = echo_refuse};
