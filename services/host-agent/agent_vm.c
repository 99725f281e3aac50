/* One VM in the shell: step, save, then run or send. The order is what makes a crash harmless: an
 * intent is durable before its effect, a report before it is sent. */
#include "services/host-agent/agent_private.h"

#include <string.h>

#include "common/base/message.h"
#include "common/base/text.h"
#include "common/bus/envelope.h"
#include "common/runtime/kill_point.h"
#include "common/runtime/log.h"
#include "common/runtime/metrics.h"

static VbMetric commands =
    METRICS_COUNTER("virtbus_agent_commands_total", "Commands answered.", "report", "outcome");
static VbMetric vms = METRICS_GAUGE("virtbus_agent_vms", "VMs in the journal.");
static VbMetric outbox =
    METRICS_GAUGE("virtbus_agent_outbox", "Reports that the broker has not acknowledged.");

void agent_vm_metrics(void)
{
    metrics_register(&commands);
    metrics_register(&vms);
    metrics_register(&outbox);
}

/* --- The table */

static void waiting_free(VbAgentWaiting *waiting)
{
    g_bytes_unref(waiting->packed);
    g_free(waiting->traceparent);
    g_free(waiting);
}

void agent_vm_drop_waiting(VbAgentVm *vm)
{
    VbAgentWaiting *waiting = NULL;
    while ((waiting = g_queue_pop_head(&vm->waiting)) != NULL) {
        waiting_free(waiting);
    }
    g_atomic_int_set(&vm->preempted, FALSE);
}

void agent_vm_free(void *data)
{
    VbAgentVm *vm = data;
    agent_vm_drop_waiting(vm);
    g_array_unref(vm->taken);
    g_bytes_unref(vm->packed);
    g_free(vm->traceparent);
    g_free(vm);
}

static HostVm *vm_unpack(VbArena *arena, const VbAgentVm *vm)
{
    gsize size_bytes = 0;
    const guint8 *bytes = g_bytes_get_data(vm->packed, &size_bytes);
    HostVm *unpacked = host_vm__unpack(arena_allocator(arena, SIZE_MAX), size_bytes, bytes);
    g_assert(unpacked != NULL); /* We packed it, or the journal has checked it. */
    return unpacked;
}

/* Takes over what a HostVm says; `packed` is it. */
static void vm_set(VbAgent *agent, VbAgentVm *vm, const HostVm *unpacked, GBytes *packed)
{
    if (vm->packed != NULL) {
        g_bytes_unref(vm->packed);
    }
    vm->packed = packed;
    vm->phase = unpacked->phase;
    vm->has_command = unpacked->command != NULL;
    vm->domain_expected = unpacked->domain_expected;
    vm->wants_look = host_vm_wants_look(unpacked);
    vm->forgotten = unpacked->forgotten && !unpacked->domain_expected;
    vm->last_offset = unpacked->last_offset;
    vm->epoch = unpacked->epoch;
    agent->n_outbox += (guint)unpacked->n_outbox - vm->n_outbox;
    vm->n_outbox = (guint)unpacked->n_outbox;
    metrics_set(&outbox, agent->n_outbox);
}

static VbAgentVm *vm_add(VbAgent *agent, const HostVm *unpacked, GBytes *packed)
{
    VbAgentVm *vm = g_new0(VbAgentVm, 1);
    g_strlcpy(vm->uuid, unpacked->vm_uuid, sizeof(vm->uuid));
    g_queue_init(&vm->waiting);
    vm->taken = g_array_new(FALSE, FALSE, sizeof(gint64));
    vm_set(agent, vm, unpacked, packed);
    g_hash_table_replace(agent->vms, vm->uuid, vm);
    metrics_set(&vms, g_hash_table_size(agent->vms));
    return vm;
}

VbAgentVm *agent_vm_get(VbAgent *agent, const char *vm_uuid)
{
    VbAgentVm *vm = g_hash_table_lookup(agent->vms, vm_uuid);
    if (vm == NULL) {
        HostVm *unpacked = host_vm_new(agent->arena, vm_uuid);
        vm = vm_add(agent, unpacked, message_pack(unpacked));
    }
    return vm;
}

static gboolean vm_save(VbAgent *agent, VbAgentVm *vm)
{
    return agent->failure == NULL &&
           journal_save(agent->journal, vm->uuid, vm->packed, &agent->failure);
}

void agent_vm_found(void *data, const char *vm_uuid, GBytes *packed, const char *problem)
{
    VbAgent *agent = data;
    VbAgentVm *vm = NULL;
    arena_reset(agent->arena);
    if (packed != NULL) {
        VbAgentVm borrowed = {.packed = packed};
        HostVm *unpacked = vm_unpack(agent->arena, &borrowed);
        vm = vm_add(agent, unpacked, g_bytes_ref(packed));
    } else {
        log_event(VB_LOG_ERROR, "journal-bad",
                  "A VM's journal was set aside; the VM gets a new one from what runs.", "vm",
                  vm_uuid, "error", problem, NULL);
        vm = agent_vm_get(agent, vm_uuid);
        vm_save(agent, vm);
    }
    vm->look_wanted = TRUE;
}

gint64 agent_vms_newest(VbAgent *agent, char **ret_operation_id)
{
    GHashTableIter iter;
    gpointer value = NULL;
    const VbAgentVm *newest = NULL;
    *ret_operation_id = NULL;
    g_hash_table_iter_init(&iter, agent->vms);
    while (g_hash_table_iter_next(&iter, NULL, &value)) {
        const VbAgentVm *vm = value;
        if (vm->last_offset >= 0 && (newest == NULL || vm->last_offset > newest->last_offset)) {
            newest = vm;
        }
    }
    if (newest == NULL) {
        return -1;
    }
    g_autoptr(VbArena) arena = arena_new();
    const HostVm *vm = vm_unpack(arena, newest);
    *ret_operation_id = g_strdup(vm->command != NULL       ? vm->command->operation_id
                                 : vm->last_report != NULL ? vm->last_report->operation_id
                                                           : "");
    return newest->last_offset;
}

static gboolean is_removable(gpointer key, gpointer value, gpointer data)
{
    VbAgent *agent = data;
    VbAgentVm *vm = value;
    (void)key;
    if (!vm->forgotten || vm->has_command || vm->effect_runs || vm->n_outbox > 0 ||
        !g_queue_is_empty(&vm->waiting) || vm->last_offset >= agent_bus_committed(agent->bus) ||
        agent->failure != NULL || !journal_remove(agent->journal, vm->uuid, &agent->failure)) {
        return FALSE;
    }
    log_event(VB_LOG_INFO, "vm-forgotten", "Nothing is kept of this VM any more.", "vm", vm->uuid,
              NULL);
    return TRUE;
}

void agent_vms_remove_forgotten(VbAgent *agent)
{
    g_hash_table_foreach_remove(agent->vms, is_removable, agent);
    metrics_set(&vms, g_hash_table_size(agent->vms));
}

/* --- Step */

static void report_log(VbAgent *agent, const HostReport *report)
{
    const Error *error = report->error;
    const char *body = strrchr(envelope_type(agent->arena, &report->base), '.') + 1;
    const char *outcome = error != NULL ? ENUM_CODE(error_code, error->code) : "OK";
    gboolean answers = report->operation_id[0] != '\0';
    if (answers) {
        metrics_add(&commands, 1, body, outcome);
    }
    log_event(error != NULL ? VB_LOG_WARNING : VB_LOG_INFO, "report",
              error != NULL ? error->message : "The host tells the services.", "vm",
              report->vm_uuid, "report", body, "outcome", outcome, "operation",
              answers ? report->operation_id : NULL, "epoch", log_number((gint64)report->epoch),
              NULL);
}

/* Tells the bus of the commands that need nothing more. */
static void taken_finish(VbAgent *agent, VbAgentVm *vm)
{
    if (vm->has_command || vm->n_outbox > 0) {
        return;
    }
    KILL_POINT("acknowledgement-saved");
    for (guint i = 0; i < vm->taken->len; i++) {
        agent_bus_finish(agent->bus, g_array_index(vm->taken, gint64, i));
    }
    g_array_set_size(vm->taken, 0);
}

void agent_vm_step(VbAgent *agent, VbAgentVm *vm, VbHostInput *input)
{
    HostVm *unpacked = vm_unpack(agent->arena, vm);
    VbHostStep step = {.arena = agent->arena, .vm = unpacked};
    size_t n_before = unpacked->n_outbox;
    input->host_uuid = agent->config.host->config->host_uuid;
    input->time_ms = agent->config.host->now_ms(agent->config.host->clock);
    host_step(&step, input);
    GBytes *packed = message_pack(unpacked);
    gboolean changed = !g_bytes_equal(packed, vm->packed);
    vm_set(agent, vm, unpacked, packed);
    if (changed && !vm_save(agent, vm)) {
        return; /* Nothing that is not durable may have an effect. */
    }
    for (size_t i = n_before; i < unpacked->n_outbox; i++) {
        report_log(agent, unpacked->outbox[i]);
    }
    taken_finish(agent, vm);
    if (step.effect != EFFECT_NONE) {
        KILL_POINT("intent-saved");
        vm->effect_runs = TRUE;
        agent_work_effect(agent, vm, step.effect);
    }
}

/* --- What can be done now */

static gboolean waits_preempting(const VbAgentVm *vm)
{
    gboolean preempts = FALSE;
    for (const GList *at = vm->waiting.head; at != NULL; at = at->next) {
        preempts = preempts || ((const VbAgentWaiting *)at->data)->preempts;
    }
    return preempts;
}

void agent_vm_queue(VbAgent *agent, const VbAgentCommand *command)
{
    VbAgentVm *vm = agent_vm_get(agent, command->command->vm_uuid);
    VbAgentWaiting *waiting = g_new0(VbAgentWaiting, 1);
    waiting->offset = command->offset;
    waiting->packed = message_pack(command->command);
    /* One that is read again was handled long ago. */
    waiting->preempts =
        command->offset > vm->last_offset && host_command_preempts(command->command, vm->epoch);
    waiting->traceparent = g_strdup(command->traceparent);
    g_queue_push_tail(&vm->waiting, waiting);
    g_atomic_int_set(&vm->preempted, waits_preempting(vm));
    log_event(VB_LOG_INFO, "command", "A command for a VM.", "vm", vm->uuid, "command",
              strrchr(envelope_type(agent->arena, &command->command->base), '.') + 1, "operation",
              command->command->operation_id, "epoch", log_number((gint64)command->command->epoch),
              "offset", log_number(command->offset), NULL);
    agent_vm_advance(agent, vm);
}

static void take_next(VbAgent *agent, VbAgentVm *vm)
{
    VbAgentWaiting *waiting = g_queue_pop_head(&vm->waiting);
    g_atomic_int_set(&vm->preempted, waits_preempting(vm));
    gsize size_bytes = 0;
    const guint8 *bytes = g_bytes_get_data(waiting->packed, &size_bytes);
    VbHostInput input = {
        .kind = HOST_INPUT_COMMAND,
        .command = host_command__unpack(arena_allocator(agent->arena, SIZE_MAX), size_bytes, bytes),
        .offset = waiting->offset,
    };
    g_array_append_val(vm->taken, waiting->offset);
    g_free(vm->traceparent);
    vm->traceparent = g_steal_pointer(&waiting->traceparent);
    agent_vm_step(agent, vm, &input);
    waiting_free(waiting);
}

/* Only the oldest report is out at a time: so the services get them in order, on whichever topic.
 */
static void send_next(VbAgent *agent, VbAgentVm *vm)
{
    if (vm->report_out || vm->n_outbox == 0 || agent->failure != NULL) {
        return;
    }
    arena_reset(agent->arena);
    HostVm *unpacked = vm_unpack(agent->arena, vm);
    const HostReport *report = unpacked->outbox[0];
    gboolean answers_last = unpacked->last_report != NULL && report->operation_id[0] != '\0' &&
                            g_str_equal(report->operation_id, unpacked->last_report->operation_id);
    vm->report_out = TRUE;
    KILL_POINT("report-saved");
    agent_bus_report(agent->bus, agent->arena, report, answers_last ? vm->traceparent : NULL);
    KILL_POINT("report-sent");
}

void agent_vm_advance(VbAgent *agent, VbAgentVm *vm)
{
    while (agent->failure == NULL && !vm->effect_runs && !agent->stopping) {
        arena_reset(agent->arena);
        vm->look_wanted = vm->look_wanted || (vm->came_up && !vm->domain_expected);
        vm->came_up = FALSE;
        if (vm->look_wanted || vm->again_wanted) {
            VbHostInput input = {.kind = vm->look_wanted ? HOST_INPUT_LOOK : HOST_INPUT_AGAIN};
            vm->look_wanted = FALSE;
            vm->again_wanted = FALSE;
            agent_vm_step(agent, vm, &input);
        } else if (vm->phase == HOST_PHASE_IDLE && !g_queue_is_empty(&vm->waiting)) {
            take_next(agent, vm);
        } else {
            break;
        }
    }
    send_next(agent, vm);
}

/* Mostly it is the one that a start of ours makes: once that has succeeded, its domain is expected.
 * But libvirtd may begin with a create when its agent is dead, and the next one has looked for it. */
void agent_vm_came_up(VbAgent *agent, const char *vm_uuid)
{
    VbAgentVm *vm = g_hash_table_lookup(agent->vms, vm_uuid);
    if (vm == NULL) {
        agent_work_list(agent);
        return;
    }
    vm->came_up = TRUE;
    agent_vm_advance(agent, vm);
}

void agent_report_fate(void *data, const char *vm_uuid, gboolean delivered)
{
    VbAgent *agent = data;
    VbAgentVm *vm = g_hash_table_lookup(agent->vms, vm_uuid);
    if (vm == NULL) {
        return;
    }
    vm->report_out = FALSE;
    KILL_POINT("report-acknowledged");
    if (delivered && agent->failure == NULL) {
        VbHostInput input = {.kind = HOST_INPUT_ACKNOWLEDGED};
        arena_reset(agent->arena);
        agent_vm_step(agent, vm, &input);
        agent_vm_advance(agent, vm);
    } /* Else it is sent again when the loop comes round. */
}
