/* The agent's loop: what woke us, and what is due. One thread, one wait; between two heartbeats
 * it sleeps unless something happens. See agent.h. */
#include "services/host-agent/agent_private.h"

#include "common/base/text.h"
#include "common/runtime/daemon.h"
#include "common/runtime/health.h"
#include "common/runtime/log.h"
#include "common/runtime/metrics.h"

enum {
    TICK_MS = 10000,        /* Heartbeat, and another try of what has failed. */
    OPENING_TICK_MS = 2000, /* While the command topic is not open. */
    SYNC_TICKS = 3,         /* Every third tick NVRAM and TPM state are brought to disk. */
    CHORES_MS = 1000,       /* How long the end waits for chores. */
    SLEEP_MAX_MS = 60000,   /* What the health check allows. */
};

static VbMetric effect_seconds =
    METRICS_HISTOGRAM("virtbus_agent_effect_seconds", "How long effects on the host took.",
                      metrics_seconds_bounds, "effect");

/* --- What a thread tells */

static void on_effect_done(VbAgent *agent, const VbAgentMessage *message)
{
    VbAgentVm *vm = agent_vm_get(agent, message->vm_uuid);
    const Error *error = message->result.error;
    const char *name = agent_work_effect_name(message->effect);
    gint64 spent_ms = agent_threads_now_ms(agent) - message->started_ms;
    metrics_observe(&effect_seconds, (double)spent_ms / 1000, name);
    log_event(error != NULL ? VB_LOG_WARNING : VB_LOG_INFO, "effect",
              error != NULL ? error->message : "Done on this host.", "vm", vm->uuid, "effect", name,
              "ms", log_number(spent_ms), "error",
              error != NULL ? ENUM_CODE(error_code, error->code) : NULL, NULL);
    VbHostInput input = {.kind = HOST_INPUT_DONE, .result = &message->result};
    agent->n_effects--;
    vm->effect_runs = FALSE;
    arena_reset(agent->arena);
    agent_vm_step(agent, vm, &input);
    agent_vm_advance(agent, vm);
    if (message->effect == EFFECT_START || message->effect == EFFECT_CLEAN_UP) {
        agent_work_info(agent);
    }
}

static void look_at_all(VbAgent *agent)
{
    GHashTableIter iter;
    gpointer value = NULL;
    g_hash_table_iter_init(&iter, agent->vms);
    while (g_hash_table_iter_next(&iter, NULL, &value)) {
        VbAgentVm *vm = value;
        vm->look_wanted = TRUE;
        agent_vm_advance(agent, vm);
    }
}

/* What runs is known to the journal, or the journal was lost. */
static void on_listed(VbAgent *agent, const VbAgentMessage *message)
{
    agent->listing = FALSE;
    if (message->listed == NULL) {
        agent->list_wanted = TRUE;
        return; /* Asked again from time to time, and when libvirt is back. */
    }
    if (agent->list_wanted) {
        agent_work_list(agent);
    }
    for (char **vm_uuid = message->listed; *vm_uuid != NULL; vm_uuid++) {
        if (g_hash_table_contains(agent->vms, *vm_uuid)) {
            continue;
        }
        log_event(VB_LOG_WARNING, "journal-lost",
                  "A domain of virtbus runs that no journal knows; it gets one from what runs.",
                  "vm", *vm_uuid, NULL);
        arena_reset(agent->arena);
        VbAgentVm *vm = agent_vm_get(agent, *vm_uuid);
        vm->look_wanted = TRUE;
        agent_vm_advance(agent, vm);
    }
    if (!agent->listed) {
        agent->listed = TRUE;
        agent_work_open(agent);
    }
}

static void on_domain_event(VbAgent *agent, const VbAgentMessage *message)
{
    if (message->event == DOMAIN_EVENT_RECONNECTED) {
        log_event(VB_LOG_INFO, "libvirt-back", "libvirt is back; every VM is looked at.", NULL);
        look_at_all(agent);
        agent_work_list(agent);
        agent_work_info(agent);
        return;
    }
    if (message->event == DOMAIN_EVENT_STARTED) {
        agent_vm_came_up(agent, message->vm_uuid);
        return;
    }
    VbAgentVm *vm = g_hash_table_lookup(agent->vms, message->vm_uuid);
    if (vm == NULL) {
        return;
    }
    VbHostInput input = {.kind = HOST_INPUT_DOMAIN_EVENT,
                         .event = message->event,
                         .reason = message->reason,
                         .nic_index = message->nic_index};
    arena_reset(agent->arena);
    agent_vm_step(agent, vm, &input);
    agent_vm_advance(agent, vm);
}

static void topic_replaced(VbAgent *agent, VbAgentVm *vm)
{
    VbHostInput input = {.kind = HOST_INPUT_TOPIC_REPLACED};
    log_event(VB_LOG_WARNING, "topic-replaced",
              "The command topic is not the one of this VM's last command; it is read from its "
              "begin.",
              "vm", vm->uuid, "offset", log_number(vm->last_offset), NULL);
    g_array_set_size(vm->taken, 0); /* Those offsets mean others now. */
    arena_reset(agent->arena);
    agent_vm_step(agent, vm, &input);
}

void agent_topic_opened(VbAgent *agent, const VbAgentMessage *message)
{
    GHashTableIter iter;
    gpointer value = NULL;
    agent->opening = FALSE;
    if (!message->opened) {
        health_set_condition("commands", "the host's command topic is not open");
        return;
    }
    gboolean missed = agent->topic_gone || message->topic.is_another;
    agent->topic_gone = FALSE;
    g_hash_table_iter_init(&iter, agent->vms);
    while (g_hash_table_iter_next(&iter, NULL, &value)) {
        VbAgentVm *vm = value;
        agent_vm_drop_waiting(vm);
        if (message->topic.is_another && vm->last_offset >= 0) {
            topic_replaced(agent, vm);
        }
    }
    agent_bus_assign(agent->bus, &message->topic);
    health_set_condition("commands", NULL);
    log_event(VB_LOG_INFO, "topic-open", "Commands are read.", "offset",
              log_number(message->topic.start), "end", log_number(message->topic.end), NULL);
    if (missed) {
        /* Commands went lost, and their VMs are Unknown: the services are told what runs. */
        look_at_all(agent);
    }
}

static void on_info(VbAgent *agent, const VbAgentMessage *message)
{
    agent->informing = FALSE;
    health_set_condition("libvirt",
                         message->info->hypervisor_usable ? NULL : "libvirt does not answer");
    agent_bus_info(agent->bus, message->arena, message->info);
    if (message->topic_gone && agent_bus_is_assigned(agent->bus)) {
        log_event(VB_LOG_WARNING, "topic-gone", "The command topic was deleted; it is made again.",
                  NULL);
        agent_bus_unassign(agent->bus);
        agent->topic_gone = TRUE;
    }
}

static void inbox_drain(VbAgent *agent)
{
    VbAgentMessage *message = NULL;
    while (agent->failure == NULL && (message = g_async_queue_try_pop(agent->inbox)) != NULL) {
        switch (message->kind) {
        case MESSAGE_EFFECT_DONE:
            on_effect_done(agent, message);
            break;
        case MESSAGE_DOMAIN_EVENT:
            on_domain_event(agent, message);
            break;
        case MESSAGE_LISTED:
            on_listed(agent, message);
            break;
        case MESSAGE_TOPIC_OPENED:
            agent_topic_opened(agent, message);
            break;
        case MESSAGE_INFO:
            on_info(agent, message);
            break;
        case MESSAGE_SYNCED:
            agent->syncing = FALSE;
            break;
        }
        agent_message_free(message);
    }
}

/* --- What is due */

static void state_paths_collect(const VbAgentVm *vm, GPtrArray *paths)
{
    gsize size_bytes = 0;
    const guint8 *bytes = g_bytes_get_data(vm->packed, &size_bytes);
    HostVm *unpacked = host_vm__unpack(NULL, size_bytes, bytes);
    for (size_t i = 0; i < unpacked->n_state_paths; i++) {
        g_ptr_array_add(paths, g_strdup(unpacked->state_paths[i]));
    }
    host_vm__free_unpacked(unpacked, NULL);
}

static void tick(VbAgent *agent, guint n_ticks)
{
    GHashTableIter iter;
    gpointer value = NULL;
    GPtrArray *paths = g_ptr_array_new_with_free_func(g_free);
    g_hash_table_iter_init(&iter, agent->vms);
    while (g_hash_table_iter_next(&iter, NULL, &value)) {
        VbAgentVm *vm = value;
        vm->again_wanted = vm->wants_look && !vm->effect_runs;
        agent_vm_advance(agent, vm);
        if (vm->domain_expected && n_ticks % SYNC_TICKS == 0) {
            state_paths_collect(vm, paths);
        }
    }
    agent_bus_commit(agent->bus);
    agent_vms_remove_forgotten(agent);
    agent_work_sync(agent, paths);
    agent_work_info(agent);
    if (agent->list_wanted) {
        agent_work_list(agent);
    }
}

/* --- The loop */

static void commands_take(VbAgent *agent)
{
    VbAgentCommand command;
    arena_reset(agent->arena);
    while (!agent->stopping && agent->failure == NULL &&
           agent_bus_next(agent->bus, agent->arena, &command)) {
        agent_vm_queue(agent, &command);
        arena_reset(agent->arena);
    }
    if (agent_bus_committed(agent->bus) != agent->committed) {
        agent->committed = agent_bus_committed(agent->bus);
        agent_vms_remove_forgotten(agent);
    }
}

static void sleep_until(VbAgent *agent, gint64 until_ms)
{
    health_beat("agent");
    agent_threads_wait(agent, MIN(until_ms, agent_threads_now_ms(agent) + TICK_MS));
}

static void turn(VbAgent *agent)
{
    if (agent->failure == NULL && agent_bus_serve(agent->bus, &agent->failure)) {
        inbox_drain(agent);
        commands_take(agent);
    }
}

/* Commands are read once it is known what runs: a start or a deletion would else believe a journal
 * that was lost. */
static void topic_open(VbAgent *agent)
{
    if (agent->listed) {
        agent_work_open(agent);
    } else {
        agent_work_list(agent);
    }
}

static void run_until_stop(VbAgent *agent)
{
    gint64 tick_ms = 0;
    gint64 open_ms = 0;
    for (guint n_ticks = 0; agent->failure == NULL && !agent_threads_must_end(agent);) {
        gint64 now_ms = agent_threads_now_ms(agent);
        gboolean closed = !agent_bus_is_assigned(agent->bus) && !agent->opening;
        if (closed && now_ms >= open_ms) {
            open_ms = now_ms + OPENING_TICK_MS;
            topic_open(agent);
        }
        if (now_ms >= tick_ms) {
            tick_ms = now_ms + TICK_MS;
            tick(agent, n_ticks++);
        }
        sleep_until(agent, closed ? MIN(tick_ms, open_ms) : tick_ms);
        turn(agent);
    }
}

/* Takes up nothing more and lets the effects that run come to their end; chores get a second. What
 * does not end is found by the next start in the journal. */
static void run_out(VbAgent *agent)
{
    gint64 begin_ms = agent_threads_now_ms(agent);
    gint64 deadline_ms = begin_ms;
    agent->stopping = TRUE;
    while (agent->failure == NULL && !agent_is_quiet(agent)) {
        deadline_ms =
            begin_ms + (agent->n_effects > 0 ? agent->config.drain_timeout_ms : CHORES_MS);
        if (agent_threads_now_ms(agent) >= deadline_ms) {
            break;
        }
        sleep_until(agent, deadline_ms);
        turn(agent);
    }
    if (agent->n_effects > 0) {
        log_event(VB_LOG_WARNING, "effects-left",
                  "Effects still run at the end; the next start will look after them.", "count",
                  log_number(agent->n_effects), NULL);
    }
}

gboolean agent_run(VbAgent *agent, VbAgentBus *bus, GError **error)
{
    agent->bus = bus;
    agent->started_ms = agent->config.host->now_ms(agent->config.host->clock);
    agent->committed = -1;
    if (!journal_load(agent->journal, agent_vm_found, agent, error)) {
        return FALSE;
    }
    log_event(VB_LOG_INFO, "journal-loaded", "The VMs of this host are known.", "vms",
              log_number(g_hash_table_size(agent->vms)), NULL);
    health_set_condition("commands", "the host's command topic is not open yet");
    health_set_condition("libvirt", "libvirt was not asked yet");
    health_watch("agent", SLEEP_MAX_MS);
    daemon_started();
    run_until_stop(agent);
    run_out(agent);
    health_unwatch("agent");
    agent_threads_end(agent, agent_is_quiet(agent));
    if (agent->failure != NULL) {
        g_propagate_error(error, g_steal_pointer(&agent->failure));
        return FALSE;
    }
    return TRUE;
}

/* --- Life */

VbAgent *agent_new(const VbAgentConfig *config)
{
    VbAgent *agent = g_new0(VbAgent, 1);
    metrics_register(&effect_seconds);
    agent_vm_metrics();
    agent->config = *config;
    agent->arena = arena_new();
    agent->journal = journal_new(config->host->files, config->host->config->state_dir);
    agent->vms = g_hash_table_new_full(g_str_hash, g_str_equal, NULL, agent_vm_free);
    agent->inbox = g_async_queue_new_full((GDestroyNotify)agent_message_free);
    agent->threads = agent_threads_new(agent);
    return agent;
}
