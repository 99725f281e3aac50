/* Zombies: an instance of vm-service that is held amid a transaction, for longer than the broker
 * lets one last. When it goes on, the broker has ended its transaction and given its partitions to
 * the other instance, and must fence it. A hold at any time hardly ever falls into a transaction, so
 * it is looked for: the process is stopped, and goes on at once when the broker has no open one.
 *
 * That one is open shows in the journal's partitions: their last stable offset is behind the end. */
#include "tests/soak/soak.h"

#include <signal.h>

enum {
    ZOMBIES_IN_TWO_MINUTES = 2,
    HOLD_S = 14, /* A transaction may last 10 s; see check.py's HELD_MS. */
    AWAKE_S = 2, /* By then the broker has told it. */
    QUERY_MS = 500,
    SETTLE_US = 400000, /* The other instance has ended its transaction by then. */
};

typedef struct {
    rd_kafka_t *stable; /* Sees the end of what is committed. */
    rd_kafka_t *all;
    char *journal;
} Ends;

static rd_kafka_t *handle_new(const Soak *soak, const char *isolation)
{
    VbKafkaSettings settings = {.bootstrap = soak->bootstrap, .client_id = "soak-zombie"};
    const VbKafkaPair pairs[] = {{"isolation.level", isolation}, {NULL, NULL}};
    g_autoptr(GError) error = NULL;
    rd_kafka_conf_t *conf = kafka_conf_new(&settings, pairs, &error);
    rd_kafka_t *handle = conf != NULL ? kafka_handle_new(RD_KAFKA_CONSUMER, conf, &error) : NULL;
    if (handle == NULL) {
        soak_die("%s", error->message);
    }
    return handle;
}

static const Ends *ends_of(const Soak *soak)
{
    static Ends ends;
    if (ends.journal == NULL) {
        ends.stable = handle_new(soak, "read_committed");
        ends.all = handle_new(soak, "read_uncommitted");
        ends.journal = topic_name(soak->prefix, TOPIC_VM_JOURNAL, NULL);
    }
    return &ends;
}

/* The offset of the end, or -1: the broker does not say. */
static gint64 end_of(rd_kafka_t *handle, const char *topic, int partition)
{
    gint64 begin = -1;
    gint64 end = -1;
    return rd_kafka_query_watermark_offsets(handle, topic, partition, &begin, &end, QUERY_MS) ==
                   RD_KAFKA_RESP_ERR_NO_ERROR
               ? end
               : -1;
}

/* Where the first open transaction of a partition of the journal begins; -1: none is open. */
static gint64 open_at(const Ends *ends, int partition)
{
    gint64 stable = end_of(ends->stable, ends->journal, partition);
    return stable >= 0 && end_of(ends->all, ends->journal, partition) > stable ? stable : -1;
}

/* Whether a transaction is open that was not so `before`, and stays so for a while: that of somebody
 * who is held, and not the rest of one who was killed. */
static gboolean is_new_one_open(const Ends *ends, const gint64 *before)
{
    for (int p = 0; p < SOAK_PARTITIONS; p++) {
        gint64 offset = open_at(ends, p);
        if (offset >= 0 && offset != before[p]) {
            g_usleep(SETTLE_US);
            return open_at(ends, p) == offset;
        }
    }
    return FALSE;
}

guint soak_zombies_floor(const Soak *soak)
{
    return (guint)(ZOMBIES_IN_TWO_MINUTES * soak->chaos_s / 120);
}

void soak_zombie_turn(Soak *soak, SoakProcess *process)
{
    const Ends *ends = ends_of(soak);
    gint64 before[SOAK_PARTITIONS];
    for (int p = 0; p < SOAK_PARTITIONS; p++) {
        before[p] = open_at(ends, p);
    }
    kill(process->pid, SIGSTOP);
    if (!is_new_one_open(ends, before)) {
        kill(process->pid, SIGCONT);
        return;
    }
    soak_chaos_note(soak, "zombie", process->target, process->name, HOLD_S * G_USEC_PER_SEC);
    process->wake_us = g_get_monotonic_time() + HOLD_S * G_USEC_PER_SEC;
    soak->holds[process->target]++;
    soak->n_zombies++;
    soak->zombie_us = process->wake_us + AWAKE_S * G_USEC_PER_SEC;
}
