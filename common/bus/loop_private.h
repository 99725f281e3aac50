/* What the files of the step loop share: loop.c, restore.c, batch.c, visit.c, transaction.c. */
#pragma once

#include "common/bus/envelope.h"
#include "common/bus/step_loop.h"
#include "common/bus/table.h"

/* A partition that is ours. */
typedef struct {
    int number;
    VbTable *table;
    gint64 *next;    /* Committed position in each input, in the service's order. */
    guint64 at_end;  /* One bit for each input whose end was reached. */
    gint64 *applied; /* The highest applied offset that the restored states name; -1: none. */
    guint n_broken;  /* VMs whose state record cannot be used. */
} VbPartition;

/* What a batch does to one VM. Never changed once made. */
typedef struct {
    VbPartition *partition;
    const char *vm_uuid;
    const void *bytes; /* NULL: deleted. */
    size_t size_bytes;
    gint64 deadline_ms;
} VbOverlay;

/* What a batch does to one partition. */
typedef struct {
    VbPartition *partition;
    gint64 *next;
    GPtrArray *steps; /* of JournalStep */
} VbBatchPart;

/* The work of one transaction, ready to be written, and written again. */
typedef struct {
    VbArena *arena;      /* Of the batch. */
    VbArena *scratch;    /* Of one input. */
    GArray *messages;    /* of VbBusMessage: outputs, moved and dead records. */
    GHashTable *overlay; /* vm uuid -> VbOverlay */
    GPtrArray *parts;    /* of VbBatchPart, in the order of their first input. */
    VbBatchPart **by_number;
    GHashTable *hosts; /* Uuids of hosts that have a topic and are written to. */
    GPtrArray *mutes;  /* of VbOverlay: VMs whose deadline led nowhere. */
    guint n_records;
    guint n_inputs;    /* Records and deadlines. */
    size_t size_bytes; /* Of what is to be written. */
    const char *last_origin;
} VbBatch;

struct VbLoop {
    VbBus *bus;
    VbLoopConfig config;
    VbPartition **partitions; /* NULL: not ours. */
    GQueue pending;           /* of VbBusRecord: read, not committed. */
    size_t pending_bytes;
    GString *missing;    /* Offsets that a person must set, as words for the log; mostly empty. */
    gboolean is_drained; /* The last poll found nothing more. */
    VbBatch batch;
    guint n_aborts;   /* In a row. */
    guint n_refusals; /* In a row, of batches. */
    guint n_single;   /* Inputs that are still to be written one at a time. */
    /* The input that was alone in a refused transaction, and how often. */
    char *suspect;
    char *suspect_reason;
    guint n_suspect;
};

/* Index of an input topic. A topic that is none of the service's ends the process. */
size_t loop_input_index(const VbLoop *loop, VbTopic topic);

/* restore.c */
gboolean restore_partition(VbLoop *loop, int number, GError **error);
/* BUS_ERROR_SETUP if a partition cannot be consumed because its offsets are missing. */
gboolean restore_check(const VbLoop *loop, GError **error);
void partition_free(VbPartition *partition);

/* batch.c: what becomes of one input. Purely, but for the host look-ups. */
void batch_init(VbLoop *loop);
void batch_clear(VbLoop *loop);
void batch_reset(VbLoop *loop);
gboolean batch_add_record(VbLoop *loop, const VbBusRecord *record, GError **error);
gboolean batch_add_deadline(VbLoop *loop, VbPartition *partition, const VbTableEntry *entry,
                            gint64 now_ms, GError **error);
VbBatchPart *batch_part(VbLoop *loop, VbPartition *partition);
void batch_add_message(VbBatch *batch, const VbBusMessage *message);
void batch_dead_letter(VbLoop *loop, const VbBusRecord *record, const VbDlqReason *reason);
/* Committed: what the batch did is the truth now. */
void batch_apply(VbLoop *loop);

/* visit.c: the steps that one input leads to. `record` NULL: the deadline of `deadline_id` passed.
 * `poison`: the input cannot be written for this reason; the VM is told instead. `is_broken`: the
 * VM's state cannot be read, so the record is refused. */
typedef struct {
    VbPartition *partition;
    const char *vm_uuid;
    const char *origin_id;
    const VbBusRecord *record;
    const char *deadline_id;
    gint64 time_ms;
    const char *poison;
    gboolean is_broken;
} VbVisitInput;
gboolean visit_input(VbLoop *loop, const VbVisitInput *input, StateRecord *state, GError **error);
/* A VM's state as the batch sees it, in the scratch arena; NULL: none. */
StateRecord *visit_load_state(VbLoop *loop, const VbPartition *partition, const char *vm_uuid);

/* Whether an input is poison for this reason because the core failed, not the broker. */
gboolean visit_is_fault(const char *reason);

/* transaction.c */
gboolean transaction_write(VbLoop *loop, GError **error);
