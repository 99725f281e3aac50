/* What the files agent*.c share. Private to them.
 *
 *   agent.c          the loop: what woke us, and what is due
 *   agent_vm.c       one VM: step, save, then run or send
 *   agent_work.c     what blocks: effects and chores; their results come to the inbox
 *   agent_threads.c  threads, sleep, clock
 */
#pragma once

#include "common/base/uuid.h"
#include "services/host-agent/agent.h"
#include "services/host-agent/journal.h"

/* A command that waits until its VM is idle. */
typedef struct {
    gint64 offset;
    GBytes *packed; /* HostCommand */
    gboolean preempts;
    char *traceparent;
} VbAgentWaiting;

typedef struct {
    char uuid[UUID_TEXT_BYTES];
    GBytes *packed; /* HostVm, as it is in the journal. */
    /* Copies of what `packed` says, so that the loop need not unpack it: */
    HostPhase phase;
    gboolean has_command;
    gboolean domain_expected;
    gboolean wants_look;
    gboolean forgotten;
    gint64 last_offset;
    guint64 epoch;
    guint n_outbox;
    /* What only memory knows: */
    GQueue waiting; /* of VbAgentWaiting */
    GArray *taken;  /* Offsets (gint64) that were stepped and are not finished. */
    gboolean effect_runs;
    gint preempted; /* Atomic, read by the effect: a command waits that does not want to. */
    gboolean look_wanted;
    gboolean again_wanted; /* By itself: see HOST_INPUT_AGAIN. */
    gboolean came_up;      /* A domain of it has, by whoever's doing. */
    gboolean report_out;   /* The outbox's first is with the bus. */
    char *traceparent;     /* Of the last command that was taken up. */
} VbAgentVm;

typedef enum {
    MESSAGE_EFFECT_DONE,
    MESSAGE_DOMAIN_EVENT,
    MESSAGE_LISTED,
    MESSAGE_TOPIC_OPENED,
    MESSAGE_INFO,
    MESSAGE_SYNCED,
} VbAgentMessageKind;

/* What a thread tells the loop. */
typedef struct {
    VbAgentMessageKind kind;
    char vm_uuid[UUID_TEXT_BYTES];
    VbArena *arena; /* EFFECT_DONE, INFO: where their result lies. */
    VbEffect effect;
    gint64 started_ms; /* EFFECT_DONE: by agent_threads_now_ms. */
    VbEffectResult result;
    VbDomainEventKind event;
    StopReason reason;
    guint nic_index;
    char **listed; /* VMs whose domain is up; NULL: libvirt does not tell. */
    gboolean opened;
    VbAgentTopic topic;
    HostInfo *info;
    gboolean topic_gone;
} VbAgentMessage;

void agent_message_free(VbAgentMessage *message);

/* --- agent.c */

/* What MESSAGE_TOPIC_OPENED is for. */
void agent_topic_opened(VbAgent *agent, const VbAgentMessage *message);

struct VbAgent {
    VbAgentConfig config;
    VbAgentBus *bus;
    VbJournal *journal;
    VbArena *arena;      /* Of the step in progress. */
    GHashTable *vms;     /* uuid -> VbAgentVm */
    guint n_effects;     /* That run. */
    guint n_outbox;      /* Reports of all VMs that wait for the broker. */
    gboolean topic_gone; /* Somebody deleted the command topic, and it is not open again. */
    gint64 committed;    /* When forgotten VMs were last removed. */
    gint64 started_ms;
    struct VbAgentThreads *threads;
    gboolean listed;      /* Every domain is known: commands may be taken. */
    gboolean list_wanted; /* Once more: the last one failed, or may be older than what came up. */
    gboolean listing;     /* A chore: at most one of each kind at a time. */
    gboolean opening;
    gboolean informing;
    gboolean syncing;
    GAsyncQueue *inbox; /* of VbAgentMessage */
    gboolean stopping;
    GError *failure; /* The journal or the bus failed: the loop ends. */
};

/* --- agent_vm.c */

VbAgentVm *agent_vm_get(VbAgent *agent, const char *vm_uuid);
void agent_vm_free(void *vm);
/* VbJournalFound; `agent` is a VbAgent. */
void agent_vm_found(void *agent, const char *vm_uuid, GBytes *packed, const char *problem);
/* `input` gets host and time here. */
void agent_vm_step(VbAgent *agent, VbAgentVm *vm, VbHostInput *input);
/* Does what can be done now: the look, the next command, the next report. */
void agent_vm_advance(VbAgent *agent, VbAgentVm *vm);
void agent_vm_queue(VbAgent *agent, const VbAgentCommand *command);
/* A domain of this VM has come up. */
void agent_vm_came_up(VbAgent *agent, const char *vm_uuid);
/* Drops what waits: it will be read again. */
void agent_vm_drop_waiting(VbAgentVm *vm);
/* The newest command that any VM has taken up. Its id: g_free. */
gint64 agent_vms_newest(VbAgent *agent, char **ret_operation_id);
/* Removes the VMs that were forgotten and whose offset is committed. */
void agent_vms_remove_forgotten(VbAgent *agent);
void agent_vm_metrics(void);

/* --- agent_work.c */

void agent_work_effect(VbAgent *agent, VbAgentVm *vm, VbEffect effect);
void agent_work_list(VbAgent *agent);
void agent_work_open(VbAgent *agent);
void agent_work_info(VbAgent *agent);
/* fdatasync of these files and folders (char *); takes `paths`. */
void agent_work_sync(VbAgent *agent, GPtrArray *paths);
/* Sends a message to the loop. Any thread. Takes it. */
void agent_work_tell(VbAgent *agent, VbAgentMessage *message);
const char *agent_work_effect_name(VbEffect effect);

/* --- agent_threads.c */

typedef struct VbAgentThreads VbAgentThreads;
typedef void (*VbAgentWork)(VbAgent *agent, void *data);

typedef enum {
    AGENT_LANE_EFFECTS, /* All at once. */
    AGENT_LANE_CHORES,  /* One after the other. */
    AGENT_N_LANES,
} VbAgentLane;

VbAgentThreads *agent_threads_new(VbAgent *agent);
/* Runs `work` off the loop's thread. It takes `data`. */
void agent_threads_run(VbAgent *agent, VbAgentLane lane, VbAgentWork work, void *data);
/* `wait`: for what runs; else it is left to itself. */
void agent_threads_end(VbAgent *agent, gboolean wait);
/* Ends the loop's sleep, or its next. Any thread. */
void agent_threads_wake(VbAgent *agent);
/* Sleeps until then, or until it is woken, the bus has something, or the process is asked to end. */
void agent_threads_wait(VbAgent *agent, gint64 until_ms);
/* A clock that never goes back; only differences mean something. Any thread. */
gint64 agent_threads_now_ms(VbAgent *agent);
/* Whether the process was asked to end. */
gboolean agent_threads_must_end(VbAgent *agent);
