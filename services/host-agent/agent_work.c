/* What blocks, off the loop's thread: each effect on its own, chores one after the other. Such a
 * thread touches nothing of the agent but its configuration, the bus where that is allowed, and the
 * inbox. */
#include "services/host-agent/agent_private.h"

#include "common/base/message.h"
#include "common/runtime/kill_point.h"
#include "common/runtime/log.h"
#include "services/host-agent/heartbeat.h"
#include "services/host-agent/volumes.h"

typedef struct {
    VbEffect effect;
    const gint *preempted;
    char vm_uuid[UUID_TEXT_BYTES];
    GBytes *packed; /* HostVm */
} EffectJob;

typedef enum {
    CHORE_LIST,
    CHORE_OPEN,
    CHORE_INFO,
    CHORE_SYNC,
} ChoreKind;

typedef struct {
    ChoreKind kind;
    GPtrArray *paths; /* SYNC: of char * */
    gint64 offset;    /* OPEN: a VbAgentMark. */
    char *operation_id;
} Chore;

const char *agent_work_effect_name(VbEffect effect)
{
    switch (effect) {
    case EFFECT_NONE:
        return "none";
    case EFFECT_LOOK:
        return "look";
    case EFFECT_CREATE_VOLUMES:
        return "create-volumes";
    case EFFECT_DELETE_VOLUMES:
        return "delete-volumes";
    case EFFECT_START:
        return "start";
    case EFFECT_STOP:
        return "stop";
    case EFFECT_ATTACH:
        return "attach";
    case EFFECT_DETACH:
        return "detach";
    case EFFECT_UNPLUG:
        return "unplug";
    case EFFECT_CLEAN_UP:
        return "clean-up";
    case EFFECT_FORGET:
        return "forget";
    }
    g_assert_not_reached();
}

/* --- The inbox */

void agent_message_free(VbAgentMessage *message)
{
    g_strfreev(message->listed);
    if (message->arena != NULL) {
        arena_free(message->arena);
    }
    g_free(message);
}

void agent_work_tell(VbAgent *agent, VbAgentMessage *message)
{
    g_async_queue_push(agent->inbox, message);
    agent_threads_wake(agent);
}

void agent_domain_event(void *data, const char *vm_uuid, VbDomainEventKind kind, StopReason reason,
                        guint nic_index)
{
    VbAgentMessage *message = g_new0(VbAgentMessage, 1);
    message->kind = MESSAGE_DOMAIN_EVENT;
    message->event = kind;
    message->reason = reason;
    message->nic_index = nic_index;
    g_strlcpy(message->vm_uuid, vm_uuid != NULL ? vm_uuid : "", sizeof(message->vm_uuid));
    agent_work_tell(data, message);
}

/* --- Effects */

static void effect_work(VbAgent *agent, void *data)
{
    EffectJob *job = data;
    VbAgentMessage *message = g_new0(VbAgentMessage, 1);
    message->kind = MESSAGE_EFFECT_DONE;
    message->arena = arena_new();
    message->effect = job->effect;
    message->started_ms = agent_threads_now_ms(agent);
    g_strlcpy(message->vm_uuid, job->vm_uuid, sizeof(message->vm_uuid));
    gsize size_bytes = 0;
    const guint8 *bytes = g_bytes_get_data(job->packed, &size_bytes);
    VbEffectRequest request = {
        .kind = job->effect,
        .preempted = job->preempted,
        .vm = host_vm__unpack(arena_allocator(message->arena, SIZE_MAX), size_bytes, bytes),
    };
    effect_run(agent->config.host, message->arena, &request, &message->result);
    KILL_POINT("effect-done");
    g_bytes_unref(job->packed);
    g_free(job);
    agent_work_tell(agent, message);
}

void agent_work_effect(VbAgent *agent, VbAgentVm *vm, VbEffect effect)
{
    EffectJob *job = g_new0(EffectJob, 1);
    job->effect = effect;
    job->preempted = &vm->preempted; /* A VM whose effect runs is never removed. */
    job->packed = g_bytes_ref(vm->packed);
    g_strlcpy(job->vm_uuid, vm->uuid, sizeof(job->vm_uuid));
    agent->n_effects++;
    agent_threads_run(agent, AGENT_LANE_EFFECTS, effect_work, job);
}

/* --- Chores */

static void chore_list(VbAgent *agent)
{
    g_autoptr(GError) error = NULL;
    VbHypervisor *hypervisor = agent->config.host->hypervisor;
    VbAgentMessage *message = g_new0(VbAgentMessage, 1);
    message->kind = MESSAGE_LISTED;
    message->listed = hypervisor->list(hypervisor, &error);
    if (message->listed == NULL) {
        log_event(VB_LOG_WARNING, "list-failed", error->message, NULL);
    }
    agent_work_tell(agent, message);
}

static void chore_open(VbAgent *agent, const Chore *chore)
{
    VbAgentMark mark = {.offset = chore->offset, .operation_id = chore->operation_id};
    g_autoptr(GError) error = NULL;
    VbAgentMessage *message = g_new0(VbAgentMessage, 1);
    message->kind = MESSAGE_TOPIC_OPENED;
    message->opened = agent_bus_open(agent->bus, &mark, &message->topic, &error);
    if (!message->opened) {
        log_event(VB_LOG_WARNING, "topic-closed",
                  "The host's command topic is not open; it is tried again.", "error",
                  error->message, NULL);
    }
    agent_work_tell(agent, message);
}

static void chore_info(VbAgent *agent)
{
    VbAgentMessage *message = g_new0(VbAgentMessage, 1);
    message->kind = MESSAGE_INFO;
    message->arena = arena_new();
    message->info = heartbeat_collect(agent->config.host, message->arena);
    message->info->agent_version = arena_strdup(message->arena, agent->config.version);
    message->info->started_ms = agent->started_ms;
    message->topic_gone = !agent_bus_check(agent->bus);
    agent_work_tell(agent, message);
}

static void chore_sync(VbAgent *agent, const GPtrArray *paths)
{
    for (guint i = 0; i < paths->len; i++) {
        g_autoptr(GError) error = NULL;
        if (!state_sync(agent->config.host, g_ptr_array_index(paths, i), &error)) {
            log_event(VB_LOG_WARNING, "sync-failed", error->message, NULL);
        }
    }
    VbAgentMessage *message = g_new0(VbAgentMessage, 1);
    message->kind = MESSAGE_SYNCED;
    agent_work_tell(agent, message);
}

static void chore_work(VbAgent *agent, void *data)
{
    Chore *chore = data;
    switch (chore->kind) {
    case CHORE_LIST:
        chore_list(agent);
        break;
    case CHORE_OPEN:
        chore_open(agent, chore);
        g_free(chore->operation_id);
        break;
    case CHORE_INFO:
        chore_info(agent);
        break;
    case CHORE_SYNC:
        chore_sync(agent, chore->paths);
        g_ptr_array_unref(chore->paths);
        break;
    }
    g_free(chore);
}

static void chore_push(VbAgent *agent, ChoreKind kind, GPtrArray *paths)
{
    Chore *chore = g_new0(Chore, 1);
    chore->kind = kind;
    chore->paths = paths;
    agent_threads_run(agent, AGENT_LANE_CHORES, chore_work, chore);
}

void agent_work_list(VbAgent *agent)
{
    agent->list_wanted = agent->listing;
    if (!agent->listing) {
        agent->listing = TRUE;
        chore_push(agent, CHORE_LIST, NULL);
    }
}

void agent_work_open(VbAgent *agent)
{
    if (!agent->opening) {
        agent->opening = TRUE;
        Chore *chore = g_new0(Chore, 1);
        chore->kind = CHORE_OPEN;
        chore->offset = agent_vms_newest(agent, &chore->operation_id);
        agent_threads_run(agent, AGENT_LANE_CHORES, chore_work, chore);
    }
}

void agent_work_info(VbAgent *agent)
{
    if (!agent->informing) {
        agent->informing = TRUE;
        chore_push(agent, CHORE_INFO, NULL);
    }
}

void agent_work_sync(VbAgent *agent, GPtrArray *paths)
{
    if (agent->syncing || paths->len == 0) {
        g_ptr_array_unref(paths);
        return;
    }
    agent->syncing = TRUE;
    chore_push(agent, CHORE_SYNC, paths);
}

/* --- Life */

gboolean agent_is_quiet(VbAgent *agent)
{
    return agent->n_effects == 0 && !agent->listing && !agent->opening && !agent->informing &&
           !agent->syncing;
}
