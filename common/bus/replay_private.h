/* What the files of the replay share: replay.c, replay_visit.c, replay_bus.c, replay_judge.c,
 * replay_index.c, replay_vm.c. */
#pragma once

#include "common/bus/loop_private.h"
#include "common/bus/replay.h"

/* A VM as one service knows it. */
typedef struct {
    char *uuid;
    GPtrArray *states;  /* of VbBusRecord, recorded, by offset. */
    guint next;         /* The first of them that is not accounted for. */
    gboolean is_known;  /* Its state in the table is the one that it had. */
    gboolean is_broken; /* Its state cannot be read, as it was when this was recorded. */
    gboolean was_unknown;
    gboolean is_stepped;
    /* In this transaction: */
    gboolean is_touched;
    gboolean is_different;
    gboolean is_made;           /* A state of it was. */
    gboolean is_too_much;       /* It was not recorded. */
    const VbBusRecord *correct; /* What it goes on from behind this; NULL: as it is. */
    void *bytes_before;         /* NULL: there was no state. */
    size_t size_bytes_before;
} ReplayVm;

/* A recorded record that a service must have made. */
typedef struct {
    const VbBusRecord *record;
    const VbRecordedLog *log;
    size_t service;
    int partition; /* Of what made it. */
    gint64 cause;  /* Offset of the record that a dead or moved one is of; else -1. */
    VbTopic cause_topic;
    gboolean is_made;
} ReplayOutput;

/* What the step loop is given at one time. */
typedef struct {
    VbReplayVisit told;
    gboolean is_fault; /* The core failed at it: it is poison for that reason. */
    const char *origin;
    guint steps_before;
    guint outputs_before;
    guint outputs_after;
} ReplayVisit;

typedef struct {
    VbBus bus; /* First: a VbBus is a Replay. */
    const VbRecording *recording;
    const VbReplayConfig *config;
    VbReplayResult *result;
    GPtrArray *outputs;  /* of ReplayOutput */
    GHashTable *by_name; /* name -> GPtrArray of ReplayOutput, borrowed */
    GHashTable *streams; /* name -> offset of the last output that was made. */
    GHashTable *begun;   /* the same names -> offset of the first. */
    GHashTable *vms_seen;
    GHashTable *unknown; /* "vm-service/UUID": VMs that were unknown at some time. */

    /* The service and partition at hand. */
    size_t service_index;
    VbService service; /* With the logic version of the journal at hand. */
    int partition;
    VbLoop *loop;
    const VbRecordedLog *journals;
    const VbRecordedLog *states;
    const VbRecordedLog **inputs; /* In the service's order; NULL: not recorded. */
    gint64 *last;                 /* Of each input, the last offset that was taken. */
    GHashTable *vms;              /* uuid -> ReplayVm */

    /* The transaction at hand. */
    VbArena *arena;
    const VbBusRecord *journal_record; /* NULL: behind the last. */
    Journal *journal;
    gboolean is_whole;    /* All that it wrote is recorded. */
    gboolean is_filtered; /* Not all of its steps are made. */
    gboolean is_told;     /* The journal was made again. */
    GPtrArray *steps;     /* of JournalStep: those that are made. */
    GArray *visits;       /* of ReplayVisit */
    ReplayVisit *visit;
} Replay;

enum { REPLAY_UNKNOWN_OFFSET = -2 };

/* Whether another logic version made the journal at hand. */
gboolean replay_is_logic(const Replay *replay);

/* The recording starts in the middle of this partition's journal. */
gboolean replay_is_in_the_middle(const Replay *replay);

/* replay_bus.c */
void replay_bus_init(Replay *replay);

/* replay_visit.c: the next visit of the transaction's journal, with the records before it that led
 * to no step. */
typedef enum { VISIT_DONE, VISIT_BEYOND } ReplayVisitResult;
/* VISIT_BEYOND: it is about a record behind the recording's end. */
ReplayVisitResult replay_visit_steps(Replay *replay, JournalStep **steps, size_t n_steps);
/* Inputs behind the last that a journal names. */
void replay_visit_rest(Replay *replay);
/* How many of `steps` are one visit. */
size_t replay_visit_length(JournalStep **steps, size_t n_steps);
/* "vm.commands/3/17" */
const char *replay_record_id(const Replay *replay, const VbBusRecord *record);
/* Index among the service's inputs of the topic of this name; -1: none. */
int replay_input_index(const Replay *replay, const char *topic);

/* replay_index.c: which recorded records services made. */
void replay_index_make(Replay *replay);
/* The one of them that `message` must be; NULL: it is not recorded. It is made then. */
ReplayOutput *replay_index_take(Replay *replay, const VbBusMessage *message);
/* Whether its place among the others of its partition is the one that it was made in. */
gboolean replay_index_order(Replay *replay, const ReplayOutput *output);
/* A dead or moved record that `record` led to; NULL: none. */
const ReplayOutput *replay_index_fate(const Replay *replay, const VbBusRecord *record);
/* Those of the first `n_outputs` that this origin led to and that were not made are found now. */
void replay_index_unmade(Replay *replay, const char *vm_uuid, const char *origin, guint n_outputs);
/* Judges all that were not made. */
void replay_index_end(Replay *replay);

/* replay_judge.c */
void replay_judge(Replay *replay, const VbBusMessage *message);
typedef struct {
    const char *place;
    const char *vm_uuid;
    const char *path;
    const char *recorded;
    const char *replayed;
} ReplayFinding;
/* Takes a copy. */
void replay_find(Replay *replay, const ReplayFinding *finding);
/* "vm.events/2@17", in the result's arena. */
const char *replay_place(const Replay *replay, VbTopic topic, const char *host_uuid, int partition,
                         gint64 offset);

/* replay_vm.c */
void replay_vms_make(Replay *replay);
ReplayVm *replay_vm(Replay *replay, const char *uuid);
/* Before the transaction: where a recorded state belongs, the VM begins. */
void replay_vm_begin(Replay *replay, ReplayVm *vm);
/* Behind the transaction: whether a state was recorded that was not made. */
void replay_vm_judge(Replay *replay, ReplayVm *vm);
/* Behind the transaction: what is unknown may be known now, what differed is corrected. */
void replay_vm_end(Replay *replay, ReplayVm *vm);
/* Whether the state's own words say that a step of this transaction made it. */
gboolean replay_vm_is_made_here(const Replay *replay, const ReplayVm *vm, const StateRecord *state);
/* It is not known any more. */
void replay_vm_forget(ReplayVm *vm);
gboolean replay_vm_is_wanted(const Replay *replay, const char *uuid);
/* The recorded state that is next cannot be read: it is the VM's now. */
void replay_vm_break(Replay *replay, ReplayVm *vm);
/* NULL: it is none of this service. In the transaction's arena. */
StateRecord *replay_state(Replay *replay, const VbBusRecord *record);
/* What the table holds, as it is in the transaction so far; NULL: none. In the transaction's arena.
 */
StateRecord *replay_vm_state(Replay *replay, const char *uuid);
/* Judges what was not accounted for. */
void replay_vms_end(Replay *replay);
