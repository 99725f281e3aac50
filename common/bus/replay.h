/* A recording, stepped again: inputs and journals go in, and what comes out is compared byte for
 * byte with the outputs, states and journals that were recorded. Off-line: no clock, no Kafka.
 *
 * The steps are made by the very loop that made them (batch.c, visit.c, transaction.c), over a bus
 * whose answers come from the recording. Each journal record is one batch of one partition. After a
 * difference the VM goes on from what was recorded, so that each step is judged on its own.
 *
 *     what had led to                        where replay knows it from
 *     a record's step                        journal: topic, offset; the record itself
 *     a deadline's step                      journal: its time; the state has its identity
 *     the time of a step                     the record's, from the broker; else journal
 *     a host without a topic                 journal: the Undeliverable steps behind the step
 *     an input that the broker refused       journal: Poisoned with that reason; else the DLQ
 *     a record without a step                nothing: it must be explained by what it is (a dead
 *                                            letter, a moved record, one that was applied before)
 *     a state whose making is not recorded   the first one that there is, where it is certain
 *                                            between which two steps it belongs
 */
#pragma once

#include "common/base/step.h"
#include "common/bus/recording.h"

/* One input and what came of it. Everything is valid during the call only. */
typedef struct {
    const VbService *service;
    const VbBusRecord *journal; /* That names it; NULL: it led to no step. */
    const char *vm_uuid;
    gint64 time_ms;
    const VbBusRecord *record;   /* NULL: the runtime made the input. */
    const RuntimeInput *runtime; /* Deadline or poison; else NULL. */
    JournalStep **more;          /* Steps that the runtime added: Undeliverable. */
    size_t n_more;
    const StateRecord *before; /* NULL: there was none. */
    const StateRecord *after;
    const VbBusMessage *outputs; /* In the order in which they were made. */
    size_t n_outputs;
} VbReplayVisit;

typedef struct {
    const VbService *const *services;
    size_t n_services;
    const char *vm_uuid; /* Only this VM; NULL: all that were recorded. */
    gint64 until_ms;     /* Later steps are not made. G_MAXINT64: all are. */
    void (*visit)(const VbReplayVisit *visit, void *user); /* May be NULL. */
    void *user;
} VbReplayConfig;

typedef struct {
    const char *place;    /* "vm.events/2@17", or what else there is to name. */
    const char *step;     /* What was stepped: "vm.journal/2@9"; "": nothing was. */
    const char *vm_uuid;  /* "": of no VM. */
    const char *path;     /* Of a field: "reply.error.code", "header ce_time"; "": the whole. */
    const char *recorded; /* Words; NULL: it is not in the recording. */
    const char *replayed; /* Words; NULL: the replay did not make it. */
    gboolean is_logic;    /* Another logic version made the recording. */
} VbReplayDifference;

/* Steps of one service that one logic version made. */
typedef struct {
    const VbService *service;
    guint32 recorded_version;
    guint64 n_steps;
    guint64 n_different;
} VbReplayLogic;

enum { REPLAY_MAX_DIFFERENCES = 100 };

typedef struct {
    VbArena *arena;
    guint64 n_records;      /* Inputs that were taken. */
    guint64 n_transactions; /* Of one partition: as many as journal records. */
    guint64 n_steps;
    guint64 n_vms;
    guint64 n_states;  /* Compared. */
    guint64 n_outputs; /* Compared: also dead letters and moved records. */
    /* What could not be compared, and why. */
    guint64 n_vms_unknown; /* Their beginning is not recorded; n_steps_unknown are theirs. */
    guint64 n_steps_unknown;
    guint64 n_states_compacted; /* A later one took their place. */
    guint64 n_before;           /* Outputs and inputs from before the journals begin. */
    guint64 n_beyond;           /* Made, but written behind the recording's end. */
    guint64 n_unconsumed;       /* Inputs that no recorded transaction took. */
    guint64 n_differences;      /* All but those of another logic version. */
    guint64 n_logic_differences;
    GPtrArray *differences; /* of VbReplayDifference, the first REPLAY_MAX_DIFFERENCES. */
    GArray *logic;          /* of VbReplayLogic, by service and version. */
} VbReplayResult;

VbReplayResult *replay_run(const VbRecording *recording, const VbReplayConfig *config);
void replay_result_free(VbReplayResult *result);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(VbReplayResult, replay_result_free)
