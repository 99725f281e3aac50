/* The agent's Kafka over the simulated broker: agent_bus.h, in place of agent_bus.c. It judges
 * and writes records with the product's own agent_records.h and counts offsets with its agent_offsets.h.
 *
 * What librdkafka's threads do, sending and committing, is a task of the agent's process: reports
 * reach the broker a while after they were sent, and the agent hears of it a while later still.
 * While the host is silent nothing gets through in either direction.
 *
 * Left out: heartbeats (nobody decides from them) and the eventfd:
 * sim_host_wake takes its place. */
#include "services/host-agent/agent_bus.h"

#include <string.h>

#include "services/host-agent/agent_offsets.h"
#include "tests/sim/sim_broker.h"

enum {
    UNFINISHED_MAX = 256,
    OPEN_TIMEOUT_US = 10 * SIM_S,
    CHECK_TIMEOUT_US = 2 * SIM_S,
    SEND_TIMEOUT_US = 300 * SIM_S, /* librdkafka's message.timeout.ms */
    RETRY_US = SIM_S,
    ACK_US = 20 * SIM_MS,
    LATE_US = 20 * SIM_S,
};

struct VbAgentBus {
    SimWorld *world;
    Sim *sim;
    SimBroker *broker;
    SimHost *host;
    SimProcess *process;
    const char *host_uuid;
    VbReportFate fate;
    void *data;
    guint n_users; /* The owner and the client's task. */
    gboolean is_closed;
    SimLog *log;
    SimWatcher watcher;
    /* Reading. */
    gboolean assigned;
    gboolean made;
    VbOffsets offsets;
    gint64 position;
    gint64 late_until_us;
    gboolean is_held; /* The agent wanted to read and could not. */
    /* The offset. */
    gint64 committed;
    gint64 commit_asked;
    gint64 commit_offset;
    gboolean commit_waits; /* For the client's task: commit_offset. */
    gint64 commit_done;    /* For the agent to hear: what was committed; -1: nothing. */
    gboolean commit_failed;
    /* Writing. */
    SimCondition kick;
    GQueue unsent; /* of Sent */
    GQueue fates;  /* of Sent: the agent has not heard yet */
    gboolean is_fatal;
};

/* What is out, and what it stands for: its VM's report, or a dead letter's offset. */
typedef struct {
    VbBusRecord *record;
    char *vm_uuid;
    gint64 offset;
    gint64 sent_us;
    gboolean delivered;
} Sent;

static void sent_free(void *data)
{
    Sent *sent = data;
    bus_record_free(sent->record);
    g_free(sent->vm_uuid);
    g_free(sent);
}

static gboolean is_reachable(const VbAgentBus *bus)
{
    return !sim_broker_is_down(bus->broker) && !sim_host_is_silent(bus->host);
}

/* ---- The client's task */

static void sent_write(VbAgentBus *bus, Sent *sent)
{
    gboolean is_report = sent->vm_uuid != NULL;
    if (sim_now_us(bus->sim) - sent->sent_us > SEND_TIMEOUT_US ||
        (is_report && sim_fault(bus->sim, FAULT_REPORT_LOST))) {
        return;
    }
    VbBusMessage message = sim_message_of(sent->record);
    gboolean is_written = sim_broker_append(bus->broker, &message) >= 0;
    sent->delivered = is_written && !(is_report && sim_fault(bus->sim, FAULT_REPORT_TWICE));
}

/* FALSE: dead. Those that were written are in `written`, to be told. */
static gboolean client_send(VbAgentBus *bus)
{
    GQueue written = G_QUEUE_INIT;
    Sent *sent;
    while ((sent = g_queue_pop_head(&bus->unsent)) != NULL) {
        sent_write(bus, sent);
        g_queue_push_tail(&written, sent);
    }
    gboolean lives =
        g_queue_is_empty(&written) || sim_sleep(bus->process, sim_delay_us(bus->sim, ACK_US));
    while ((sent = g_queue_pop_head(&written)) != NULL) {
        g_queue_push_tail(&bus->fates, sent);
    }
    return lives;
}

static void client_commit(VbAgentBus *bus)
{
    if (!bus->commit_waits) {
        return;
    }
    bus->commit_waits = FALSE;
    if (sim_log_exists(bus->log) && !sim_fault(bus->sim, FAULT_LATE_OFFSET)) {
        sim_broker_commit_host_offset(bus->broker, bus->host_uuid, bus->commit_offset);
        bus->commit_done = bus->commit_offset;
    } else {
        bus->commit_failed = TRUE;
    }
}

/* When there is something to do for the client's task. */
static gint64 client_next_us(const VbAgentBus *bus)
{
    gboolean writes = bus->unsent.length > 0 || bus->commit_waits;
    if (!writes && !bus->is_held) {
        return G_MAXINT64;
    }
    if (!is_reachable(bus)) {
        return sim_now_us(bus->sim) + RETRY_US;
    }
    return writes ? sim_now_us(bus->sim) : bus->late_until_us;
}

/* FALSE: dead. */
static gboolean client_write(VbAgentBus *bus)
{
    if (!sim_broker_request(bus->broker, bus->process)) {
        return FALSE;
    }
    if (!is_reachable(bus)) {
        return TRUE;
    }
    if (bus->unsent.length > 0 && sim_fault(bus->sim, FAULT_TXN_FATAL)) {
        bus->is_fatal = TRUE;
        return TRUE;
    }
    client_commit(bus);
    return client_send(bus);
}

/* FALSE: dead. */
static gboolean client_turn(VbAgentBus *bus)
{
    gint64 next_us = client_next_us(bus);
    if (next_us > sim_now_us(bus->sim)) {
        return sim_wait(bus->process, &bus->kick, next_us);
    }
    if ((bus->unsent.length > 0 || bus->commit_waits) && !client_write(bus)) {
        return FALSE;
    }
    bus->is_held = FALSE;
    sim_host_wake(bus->host);
    return !bus->is_fatal || sim_wait(bus->process, &bus->kick, G_MAXINT64);
}

static void bus_unref(VbAgentBus *bus)
{
    if (--bus->n_users > 0) {
        return;
    }
    g_queue_clear_full(&bus->unsent, sent_free);
    g_queue_clear_full(&bus->fates, sent_free);
    g_array_unref(bus->offsets.unfinished);
    g_free(bus);
}

static void client_run(void *data)
{
    VbAgentBus *bus = data;
    gboolean lives = !sim_process_is_dead(bus->process);
    while (lives && !bus->is_closed) {
        lives = client_turn(bus);
    }
    bus_unref(bus);
}

/* ---- The offset */

void agent_bus_commit(VbAgentBus *bus)
{
    gint64 offset = offsets_low_water(&bus->offsets);
    if (!bus->assigned || offset <= bus->commit_asked) {
        return;
    }
    bus->commit_asked = offset;
    bus->commit_offset = offset;
    bus->commit_waits = TRUE;
    sim_signal(bus->sim, &bus->kick);
}

void agent_bus_finish(VbAgentBus *bus, gint64 offset)
{
    offsets_finish(&bus->offsets, offset);
    agent_bus_commit(bus);
}

gint64 agent_bus_committed(VbAgentBus *bus)
{
    return bus->committed;
}

static void commit_hear(VbAgentBus *bus)
{
    if (bus->commit_failed) {
        bus->commit_asked = bus->committed;
        bus->commit_failed = FALSE;
    }
    bus->committed = MAX(bus->committed, bus->commit_done);
    bus->commit_done = -1;
}

/* ---- Out */

/* Takes `vm_uuid`. */
static void sent_queue(VbAgentBus *bus, const VbBusRecord *record, char *vm_uuid, gint64 offset)
{
    Sent *sent = g_new0(Sent, 1);
    sent->record = bus_record_copy(record);
    sent->vm_uuid = vm_uuid;
    sent->offset = offset;
    sent->sent_us = sim_now_us(bus->sim);
    g_queue_push_tail(&bus->unsent, sent);
    sim_signal(bus->sim, &bus->kick);
}

void agent_bus_report(VbAgentBus *bus, VbArena *arena, const HostReport *report,
                      const char *traceparent)
{
    if (!sim_call(bus->process)) {
        return;
    }
    VbBusMessage message = agent_record_report(arena, bus->host_uuid, report, traceparent);
    message.partition =
        topic_partition(message.key, message.key_bytes, (int)bus->world->plan->n_partitions);
    VbBusRecord record = sim_record_of(&message);
    sent_queue(bus, &record, g_strdup(report->vm_uuid), -1);
}

void agent_bus_info(VbAgentBus *bus, VbArena *arena, const HostInfo *info)
{
    (void)arena;
    (void)info;
    sim_call(bus->process);
}

static void sent_tell(VbAgentBus *bus, const Sent *sent)
{
    if (sent->vm_uuid != NULL) {
        bus->fate(bus->data, sent->vm_uuid, sent->delivered);
    } else if (sent->delivered) {
        agent_bus_finish(bus, sent->offset);
    } else {
        bus->assigned = FALSE;
    }
}

gboolean agent_bus_serve(VbAgentBus *bus, GError **error)
{
    Sent *sent;
    while (sim_call(bus->process) && (sent = g_queue_pop_head(&bus->fates)) != NULL) {
        sent_tell(bus, sent);
        sent_free(sent);
    }
    if (!bus->is_fatal) {
        return TRUE;
    }
    g_set_error_literal(error, BUS_ERROR, BUS_ERROR_FATAL,
                        "the producer of reports has failed for good");
    return FALSE;
}

int agent_bus_fd(VbAgentBus *bus)
{
    (void)bus;
    return -1;
}

/* ---- In */

static void dead_letter(VbAgentBus *bus, VbArena *arena, const VbBusRecord *record,
                        const Error *error)
{
    VbBusMessage message = agent_record_dlq(arena, SIM_PREFIX, bus->host_uuid, record, error);
    VbBusRecord letter = sim_record_of(&message);
    sim_mark(MARK_DEAD_LETTER);
    sent_queue(bus, &letter, NULL, record->offset);
}

/* TRUE: a command for the caller. */
static gboolean record_take(VbAgentBus *bus, VbArena *arena, const VbBusRecord *record,
                            VbAgentCommand *ret_command)
{
    offsets_read(&bus->offsets, record->offset);
    const Error *error = NULL;
    if (!agent_record_read(arena, record, ret_command, &error)) {
        dead_letter(bus, arena, record, error);
        return FALSE;
    }
    sim_check_taken(bus->world->check, bus->host, ret_command->command);
    return TRUE;
}

static gboolean is_late(const VbAgentBus *bus)
{
    return bus->late_until_us > sim_now_us(bus->sim) && sim_faults_are_on(bus->sim);
}

/* TRUE: nothing comes in now; the client's task wakes the agent once that is over. */
static gboolean is_held_back(VbAgentBus *bus)
{
    if (bus->position < sim_log_stable(bus->log) && sim_fault(bus->sim, FAULT_DELIVER_LATE)) {
        bus->late_until_us = sim_now_us(bus->sim) + sim_silence_us(bus->sim, LATE_US);
    }
    bus->is_held = !is_reachable(bus) || is_late(bus);
    if (bus->is_held) {
        sim_signal(bus->sim, &bus->kick);
    }
    return bus->is_held;
}

/* A topic that was made anew may end before, one that was emptied begin behind. librdkafka says
 * nothing of one that is gone. */
static gboolean is_out_of_range(const VbAgentBus *bus)
{
    return sim_log_exists(bus->log) &&
           (bus->position > sim_log_next(bus->log) || bus->position < sim_log_first(bus->log));
}

gboolean agent_bus_next(VbAgentBus *bus, VbArena *arena, VbAgentCommand *ret_command)
{
    while (bus->assigned && offsets_n_unfinished(&bus->offsets) < UNFINISHED_MAX) {
        if (!sim_call(bus->process)) {
            return FALSE;
        }
        commit_hear(bus);
        if (is_held_back(bus)) {
            return FALSE;
        }
        if (is_out_of_range(bus)) {
            bus->assigned = FALSE;
            return FALSE;
        }
        const VbBusRecord *record = sim_log_read(bus->log, &bus->position);
        if (record == NULL) {
            return FALSE;
        }
        if (record_take(bus, arena, record, ret_command)) {
            return TRUE;
        }
    }
    return FALSE;
}

/* ---- The topic */

static gboolean fail(GError **error, const char *what)
{
    g_set_error(error, BUS_ERROR, BUS_ERROR_ABORT, "the host's command topic: %s", what);
    return FALSE;
}

/* One question to a broker, by a worker. */
static gboolean question(VbAgentBus *bus, gint64 timeout_us, GError **error)
{
    gint64 end_us = sim_now_us(bus->sim) + timeout_us;
    if (!sim_call(bus->process)) {
        return fail(error, "the process is dead");
    }
    while (!is_reachable(bus) && sim_now_us(bus->sim) < end_us) {
        if (!sim_sleep(bus->process, MIN(RETRY_US, end_us - sim_now_us(bus->sim)))) {
            return fail(error, "the process is dead");
        }
    }
    if (!is_reachable(bus)) {
        return fail(error, "no broker answers");
    }
    return sim_broker_request(bus->broker, bus->process) || fail(error, "the process is dead");
}

static gboolean is_marked(const VbBusRecord *record, const VbAgentMark *mark)
{
    HostCommand *command = host_command__unpack(NULL, record->value_bytes, record->value);
    gboolean is = command != NULL && strcmp(command->operation_id, mark->operation_id) == 0;
    if (command != NULL) {
        host_command__free_unpacked(command, NULL);
    }
    return is;
}

/* Whether the topic does not hold the mark's command where the journal knows it. */
static gboolean topic_compare(VbAgentBus *bus, const VbAgentMark *mark, gint64 first, gint64 end,
                              gboolean *ret_is_another, GError **error)
{
    if (*ret_is_another || mark->offset < first) {
        return TRUE;
    }
    *ret_is_another = TRUE;
    if (mark->offset < end) {
        if (!question(bus, OPEN_TIMEOUT_US, error)) {
            return FALSE;
        }
        gint64 offset = mark->offset;
        const VbBusRecord *record = sim_log_read(bus->log, &offset);
        *ret_is_another = record == NULL || record->offset != mark->offset ||
                          record->value == NULL || !is_marked(record, mark);
    }
    return TRUE;
}

static gboolean topic_ensure(VbAgentBus *bus, GError **error)
{
    if (!question(bus, OPEN_TIMEOUT_US, error)) {
        return FALSE;
    }
    if (!sim_log_exists(bus->log)) {
        if (!question(bus, OPEN_TIMEOUT_US, error)) {
            return FALSE;
        }
        sim_broker_make_host_topic(bus->broker, bus->host_uuid);
        bus->made = TRUE;
        sim_say(bus->sim, NULL, sim_process_name(bus->process), "makes its command topic");
    }
    return TRUE;
}

gboolean agent_bus_open(VbAgentBus *bus, const VbAgentMark *mark, VbAgentTopic *ret_topic,
                        GError **error)
{
    /* That the topics of reports are there is asked, too. */
    if (!question(bus, OPEN_TIMEOUT_US, error) || !topic_ensure(bus, error)) {
        return FALSE;
    }
    ret_topic->is_another = bus->made;
    if (!question(bus, OPEN_TIMEOUT_US, error)) {
        return FALSE;
    }
    /* Ends are those that a read-committed reader gets to. */
    gint64 first = sim_log_first(bus->log);
    gint64 end = sim_log_stable(bus->log);
    if (!topic_compare(bus, mark, first, end, &ret_topic->is_another, error) ||
        !question(bus, OPEN_TIMEOUT_US, error)) {
        return FALSE;
    }
    gint64 committed = sim_broker_host_offset(bus->broker, bus->host_uuid);
    gboolean usable = !ret_topic->is_another && committed >= first && committed <= end;
    ret_topic->start = usable ? committed : first;
    ret_topic->end = end;
    bus->made = FALSE;
    if (ret_topic->is_another && mark->offset >= 0) {
        sim_mark(MARK_TOPIC_REPLACED);
    }
    return TRUE;
}

void agent_bus_assign(VbAgentBus *bus, const VbAgentTopic *topic)
{
    offsets_begin(&bus->offsets, topic->start);
    bus->committed = topic->start;
    bus->commit_asked = topic->start;
    bus->position = topic->start;
    bus->assigned = TRUE;
}

gboolean agent_bus_is_assigned(VbAgentBus *bus)
{
    return bus->assigned;
}

gboolean agent_bus_check(VbAgentBus *bus)
{
    return !question(bus, CHECK_TIMEOUT_US, NULL) || sim_log_exists(bus->log);
}

void agent_bus_unassign(VbAgentBus *bus)
{
    bus->assigned = FALSE;
}

/* ---- Life */

static void wake(void *data)
{
    const VbAgentBus *bus = data;
    if (bus->assigned && is_reachable(bus) && !is_late(bus)) {
        sim_host_wake(bus->host);
    }
}

VbAgentBus *sim_agent_bus_new(SimWorld *world, SimHost *host, VbReportFate fate, void *data)
{
    VbAgentBus *bus = g_new0(VbAgentBus, 1);
    bus->world = world;
    bus->sim = world->sim;
    bus->broker = world->broker;
    bus->host = host;
    bus->process = sim_host_agent(host);
    bus->host_uuid = sim_host_uuid(host);
    bus->fate = fate;
    bus->data = data;
    bus->n_users = 2;
    bus->committed = -1;
    bus->commit_done = -1;
    bus->log = sim_broker_host_log(bus->broker, bus->host_uuid);
    bus->watcher = (SimWatcher){.wake = wake, .data = bus};
    offsets_init(&bus->offsets);
    g_queue_init(&bus->unsent);
    g_queue_init(&bus->fates);
    sim_log_watch(bus->log, &bus->watcher);
    sim_task_start(bus->process, client_run, bus);
    return bus;
}

void sim_agent_bus_free(VbAgentBus *bus)
{
    bus->is_closed = TRUE;
    sim_log_unwatch(bus->log, &bus->watcher);
    bus_unref(bus);
}

void agent_bus_end(VbAgentBus *bus, int timeout_ms)
{
    gint64 end_us = sim_now_us(bus->sim) + (gint64)timeout_ms * SIM_MS;
    agent_bus_commit(bus);
    while ((bus->unsent.length > 0 || bus->commit_waits) && sim_now_us(bus->sim) < end_us &&
           sim_sleep(bus->process, ACK_US)) {
        /* The client's task works. */
    }
}
