/* test_sim_bus: the simulated broker keeps Kafka's word, and the real step loop over it applies
 * each input in exactly one committed transaction, whatever dies. Hosts, watchers: the test's. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <string.h>

#include "common/base/message.h"
#include "common/runtime/log.h"
#include "tests/lib/echo_service.h"
#include "tests/sim/sim_bus.h"

enum { VMS = 8, PARTITIONS = 4, HOSTS = 2, INSTANCES = 3, MAX_LATE_S = 900, SKEW_MS = 1000 };

/* A host with an agent that answers every command, and remembers the newest on its disk. */
struct SimHost {
    struct World *world;
    char uuid[UUID_TEXT_BYTES];
    SimProcess *process;
    VbAgentBus *bus;
    SimCondition wake;
    GQueue todo; /* of Todo: what the agent has in memory */
    gint64 mark_offset;
    char mark_id[UUID_TEXT_BYTES];
    gint64 silent_until_us;
};

typedef struct {
    gint64 offset;
    char vm_uuid[UUID_TEXT_BYTES];
    char operation_id[UUID_TEXT_BYTES];
    gboolean is_out;
} Todo;

typedef enum { ASKS_NOTHING, ASKS_GET, ASKS_CHANGE, ASKS_START, ASKS_EXPUNGE } Asks;

typedef struct World {
    SimWorld world; /* First. */
    SimPlan plan;
    VbArena *arena;
    SimHost own_hosts[HOSTS];
    SimHost *host_list[HOSTS];
    SimService *own_services[INSTANCES];
    gboolean is_feeding;
    guint n_requests;
    /* What the watchers were told. */
    GHashTable *asked;    /* request id -> Asks */
    GHashTable *replies;  /* request id -> count */
    GHashTable *reported; /* operation id -> count */
    gint64 consumed[PARTITIONS][TOPIC_COUNT];
    gint64 elapsed_ms[PARTITIONS];  /* When the deadline of the transaction passed; 0: none did. */
    GArray *visible_ms[PARTITIONS]; /* of gint64: when readers could first see each command. */
    guint64 changes[VMS];           /* That events tell of. */
    guint n_dead_letters;
    guint n_moved;
    GString *told; /* "vm.commands/0@3:7 ": each committed record and its transaction */
    guint n_crashes;
    guint trace;
} World;

static World *the_world; /* For the watchers: the simulator hands them no data of the test's. */

static guint count(GHashTable *table, const char *key, guint more)
{
    guint n = GPOINTER_TO_UINT(g_hash_table_lookup(table, key)) + more;
    if (more > 0) {
        g_hash_table_replace(table, g_strdup(key), GUINT_TO_POINTER(n));
    }
    return n;
}

/* ---- In the place of sim_world.c and sim_check.c */

const char *sim_world_name(const SimWorld *world, const char *uuid)
{
    (void)world;
    return uuid;
}

static guint vm_index(const VbBusRecord *record)
{
    for (guint i = 0; i < VMS; i++) {
        if (record->key_bytes == UUID_TEXT_BYTES - 1 &&
            memcmp(record->key, the_world->world.vm_uuids[i], record->key_bytes) == 0) {
            return i;
        }
    }
    g_assert_not_reached(); /* A record of a VM that is none of the run's. */
}

static void event_watch(World *world, const VbBusRecord *record)
{
    VmEvent *event = vm_event__unpack(NULL, record->value_bytes, record->value);
    if (event->event_case == VM_EVENT__EVENT_WARNING) {
        world->changes[vm_index(record)]++;
        if (event->warning->error->code == ERROR_CODE_TIMEOUT) {
            world->elapsed_ms[record->partition] = event->time_ms;
        }
    } else {
        const char *id = event->reply->request_id;
        Asks asks = GPOINTER_TO_INT(g_hash_table_lookup(world->asked, id));
        count(world->replies, id, 1);
        if (event->reply->error == NULL && asks == ASKS_EXPUNGE) {
            world->changes[vm_index(record)] = 0;
        } else if (event->reply->error == NULL && asks != ASKS_GET) {
            world->changes[vm_index(record)]++;
        }
    }
    vm_event__free_unpacked(event, NULL);
}

/* A state follows the events of its transaction: it counts what all events so far tell of. */
static void state_watch(World *world, const VbBusRecord *record)
{
    guint64 changes = world->changes[vm_index(record)];
    guint64 epoch = 0;
    if (record->value != NULL) {
        StateRecord *state = state_record__unpack(NULL, record->value_bytes, record->value);
        epoch = state->vm->epoch;
        state_record__free_unpacked(state, NULL);
    }
    if (epoch != changes) {
        sim_fail(world->world.sim, "states", world->world.vm_uuids[vm_index(record)],
                 "%s/%d@%d counts %d changes, its events %d", topic_info(record->topic)->suffix,
                 record->partition, (int)record->offset, (int)epoch, (int)changes);
    }
}

static void report_watch(World *world, const VbBusRecord *record)
{
    HostReport *report = host_report__unpack(NULL, record->value_bytes, record->value);
    count(world->reported, report->operation_id, 1);
    host_report__free_unpacked(report, NULL);
}

void sim_check_committed(SimCheck *check, const VbBusRecord *record, const char *host_uuid,
                         guint64 transaction)
{
    World *world = the_world;
    (void)check;
    (void)host_uuid;
    g_string_append_printf(world->told, "%s/%d@%d:%d ", topic_info(record->topic)->suffix,
                           record->partition, (int)record->offset, (int)transaction);
    if (record->topic == TOPIC_VM_EVENTS) {
        event_watch(world, record);
    } else if (record->topic == TOPIC_VM_STATE) {
        state_watch(world, record);
    } else if (record->topic == TOPIC_VM_REPORTS) {
        report_watch(world, record);
    } else if (record->topic == TOPIC_DLQ) {
        world->n_dead_letters++;
    } else if (record->topic == TOPIC_VM_COMMANDS && transaction != 0) {
        world->n_moved++;
    }
}

/* After each step: a record that lies in an open transaction, or behind one, is there for nobody
 * yet, however old it is. A broker that is away for long makes that long. */
static void visible_note(void *data)
{
    World *world = data;
    gint64 now_ms = sim_now_ms(world->world.sim);
    for (int p = 0; p < PARTITIONS; p++) {
        SimLog *log = sim_broker_log(world->world.broker, TOPIC_VM_COMMANDS, NULL, p);
        while (world->visible_ms[p]->len < sim_log_stable(log)) {
            g_array_append_val(world->visible_ms[p], now_ms);
        }
    }
}

/* Queued answers win: a deadline does not pass while a command waits that was to be seen before. */
static void deadline_watch(World *world, VbTopic topic, int partition, gint64 next)
{
    const VbBusRecord *waits = sim_broker_read(world->world.broker, topic, NULL, partition, &next);
    gint64 elapsed_ms = world->elapsed_ms[partition];
    world->elapsed_ms[partition] = 0;
    if (waits == NULL || waits->offset >= world->visible_ms[partition]->len) {
        return; /* It has come to be seen in this very step. */
    }
    gint64 since_ms = g_array_index(world->visible_ms[partition], gint64, waits->offset);
    if (since_ms + SKEW_MS < elapsed_ms) {
        sim_fail(world->world.sim, "deadline", NULL,
                 "a deadline of partition %d passed at %d, and %s@%d waits since %d", partition,
                 (int)elapsed_ms, topic_info(topic)->suffix, (int)waits->offset, (int)since_ms);
    }
}

void sim_check_consumed(SimCheck *check, const char *group, VbTopic topic, int partition,
                        gint64 next, guint64 transaction)
{
    gint64 *before = &the_world->consumed[partition][topic];
    (void)check;
    g_string_append_printf(the_world->told, "%s/%s/%d<%d:%d ", group, topic_info(topic)->suffix,
                           partition, (int)next, (int)transaction);
    if (next < *before) {
        sim_fail(the_world->world.sim, "offsets", NULL,
                 "%s/%d was consumed up to %d, and then up to %d", topic_info(topic)->suffix,
                 partition, (int)*before, (int)next);
    }
    *before = next;
    if (topic == TOPIC_VM_COMMANDS) {
        deadline_watch(the_world, topic, partition, next);
    }
}

void sim_check_taken(SimCheck *check, SimHost *host, const HostCommand *command)
{
    (void)check;
    (void)host;
    (void)command;
}

void sim_check_lost(SimCheck *check, const char *host_uuid, guint64 transaction)
{
    (void)check;
    (void)host_uuid;
    (void)transaction;
}

void sim_check_topic_deleted(SimCheck *check, const char *host_uuid)
{
    (void)check;
    (void)host_uuid;
}

/* ---- In the place of sim_host.c: agents */

const char *sim_host_uuid(const SimHost *host)
{
    return host->uuid;
}

SimProcess *sim_host_agent(SimHost *host)
{
    return host->process;
}

gboolean sim_host_is_silent(const SimHost *host)
{
    return sim_now_us(host->world->world.sim) < host->silent_until_us;
}

void sim_host_wake(SimHost *host)
{
    sim_signal(host->world->world.sim, &host->wake);
}

static void on_fate(void *data, const char *vm_uuid, gboolean delivered)
{
    SimHost *host = data;
    for (GList *at = host->todo.head; at != NULL; at = at->next) {
        Todo *todo = at->data;
        if (todo->is_out && strcmp(todo->vm_uuid, vm_uuid) == 0) {
            todo->is_out = FALSE;
            if (delivered) {
                agent_bus_finish(host->bus, todo->offset);
                g_free(todo);
                g_queue_delete_link(&host->todo, at);
            }
            return;
        }
    }
    sim_fail(host->world->world.sim, "fate", vm_uuid, "of a report that nobody has sent");
}

static void agent_send(SimHost *host, VbArena *arena)
{
    g_autoptr(GHashTable) busy = g_hash_table_new(g_str_hash, g_str_equal);
    for (GList *at = host->todo.head; at != NULL; at = at->next) {
        Todo *todo = at->data;
        gboolean is_first = g_hash_table_add(busy, todo->vm_uuid);
        if (is_first && !todo->is_out) {
            HostReport *report = ARENA_MSG(arena, host_report);
            report->vm_uuid = todo->vm_uuid;
            report->host_uuid = host->uuid;
            report->operation_id = todo->operation_id;
            report->report_case = HOST_REPORT__REPORT_VM_FORGOTTEN;
            report->vm_forgotten = ARENA_MSG(arena, vm_forgotten);
            todo->is_out = TRUE;
            agent_bus_report(host->bus, arena, report, NULL);
        }
    }
}

static void agent_take(SimHost *host, VbArena *arena)
{
    VbAgentCommand command;
    while (agent_bus_next(host->bus, arena, &command)) {
        Todo *todo = g_new0(Todo, 1);
        todo->offset = command.offset;
        g_strlcpy(todo->vm_uuid, command.command->vm_uuid, UUID_TEXT_BYTES);
        g_strlcpy(todo->operation_id, command.command->operation_id, UUID_TEXT_BYTES);
        g_queue_push_tail(&host->todo, todo);
        host->mark_offset = command.offset;
        g_strlcpy(host->mark_id, command.command->operation_id, UUID_TEXT_BYTES);
    }
}

static void agent_open(SimHost *host)
{
    VbAgentMark mark = {.offset = host->mark_offset, .operation_id = host->mark_id};
    VbAgentTopic topic;
    if (agent_bus_open(host->bus, &mark, &topic, NULL)) {
        g_queue_clear_full(&host->todo, g_free);
        agent_bus_assign(host->bus, &topic);
    }
}

static void agent_run_here(void *data)
{
    SimHost *host = data;
    Sim *sim = host->world->world.sim;
    gboolean lives = TRUE;
    while (lives && agent_bus_serve(host->bus, NULL)) {
        g_autoptr(VbArena) arena = arena_new();
        if (!agent_bus_is_assigned(host->bus)) {
            agent_open(host);
        } else if (!agent_bus_check(host->bus)) {
            agent_bus_unassign(host->bus);
        }
        agent_take(host, arena);
        agent_send(host, arena);
        agent_bus_commit(host->bus);
        lives = sim_wait(host->process, &host->wake, sim_now_us(sim) + 10 * SIM_S);
    }
    sim_process_kill(host->process);
}

static void agent_gone(void *data);

static void agent_start(void *data)
{
    SimHost *host = data;
    host->process = sim_process_new(host->world->world.sim, "agent", agent_gone, host);
    host->bus = sim_agent_bus_new(&host->world->world, host, on_fate, host);
    sim_task_start(host->process, agent_run_here, host);
}

static void agent_free(SimHost *host)
{
    if (host->process != NULL) {
        sim_agent_bus_free(host->bus);
        g_clear_pointer(&host->process, sim_process_free);
        g_queue_clear_full(&host->todo, g_free);
    }
}

static void agent_gone(void *data)
{
    SimHost *host = data;
    agent_free(host);
    sim_after(host->world->world.sim, 3 * SIM_S, agent_start, host);
}

/* ---- The world */

static void hear(void *data, const char *vm_uuid, const char *who, const char *sentence)
{
    World *world = data;
    (void)vm_uuid;
    g_autofree char *line =
        g_strdup_printf("%d %s %s", (int)sim_now_ms(world->world.sim), who, sentence);
    world->n_crashes += strcmp(sentence, "is dead") == 0;
    world->trace = world->trace * 31 + g_str_hash(line);
}

static World *world_new(guint64 seed)
{
    World *world = g_new0(World, 1);
    SimWorld *base = &world->world;
    log_start("test", VB_LOG_ERROR + 1, VB_LOG_TEXT);
    the_world = world;
    world->arena = arena_new();
    world->plan = (SimPlan){.seed = seed,
                            .tombstone_keep_ms = 600 * 1000,
                            .horizon_ms = 180 * 1000,
                            .n_vms = VMS,
                            .n_hosts = HOSTS,
                            .n_partitions = PARTITIONS,
                            .n_instances = INSTANCES,
                            .skew_ms = SKEW_MS};
    base->plan = &world->plan;
    base->sim = sim_new(seed);
    sim_listen(base->sim, hear, world);
    settings__init(&base->settings);
    base->vm_uuids = g_malloc_n(VMS, UUID_TEXT_BYTES);
    base->host_uuids = g_malloc_n(HOSTS, UUID_TEXT_BYTES);
    for (guint i = 0; i < VMS; i++) {
        g_snprintf(base->vm_uuids[i], UUID_TEXT_BYTES, "00000000-0000-4000-8000-%012x", i + 1);
    }
    for (guint i = 0; i < HOSTS; i++) {
        SimHost *host = &world->own_hosts[i];
        g_snprintf(base->host_uuids[i], UUID_TEXT_BYTES, "aaaaaaaa-0000-4000-8000-%012x", i + 1);
        g_strlcpy(host->uuid, base->host_uuids[i], UUID_TEXT_BYTES);
        host->world = world;
        host->mark_offset = -1;
        world->host_list[i] = host;
    }
    base->hosts = world->host_list;
    base->broker = sim_broker_new(base);
    for (int p = 0; p < PARTITIONS; p++) {
        world->visible_ms[p] = g_array_new(FALSE, FALSE, sizeof(gint64));
    }
    world->told = g_string_new(NULL);
    world->asked = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL);
    world->replies = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL);
    world->reported = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL);
    return world;
}

static void world_free(World *world)
{
    sim_unwind(world->world.sim);
    for (guint i = 0; i < INSTANCES; i++) {
        g_clear_pointer(&world->own_services[i], sim_service_free);
    }
    for (guint i = 0; i < HOSTS; i++) {
        agent_free(&world->own_hosts[i]);
    }
    for (int p = 0; p < PARTITIONS; p++) {
        g_array_unref(world->visible_ms[p]);
    }
    sim_broker_free(world->world.broker);
    sim_free(world->world.sim);
    g_hash_table_unref(world->asked);
    g_hash_table_unref(world->replies);
    g_hash_table_unref(world->reported);
    g_string_free(world->told, TRUE);
    g_free(world->world.vm_uuids);
    g_free(world->world.host_uuids);
    arena_free(world->arena);
    g_free(world);
}

static void run_for(World *world, gint64 duration_us)
{
    sim_run(world->world.sim, sim_now_us(world->world.sim) + duration_us, G_MAXUINT64 / 2,
            visible_note, world);
    if (sim_has_failed(world->world.sim)) {
        fail_msg("%s", sim_failure_text(world->world.sim));
    }
}

/* ---- The broker by itself */

static VbBusMessage message_to(VbTopic topic, int partition, const char *key)
{
    return (VbBusMessage){.topic = topic,
                          .partition = partition,
                          .key = key,
                          .key_bytes = strlen(key),
                          .value = key,
                          .value_bytes = strlen(key)};
}

static SimProducer *producer(World *world, const char *id)
{
    return sim_producer_get(sim_broker_transactions(world->world.broker), id);
}

/* Journals are watched by nobody here: any bytes will do. */
static SimAnswer write_to(SimProducer *from, guint epoch, int partition, const char *key)
{
    VbBusMessage message = message_to(TOPIC_VM_JOURNAL, partition, key);
    return sim_producer_write(from, epoch, &message);
}

/* "@0 b@2 |3": what a read-committed reader gets from the beginning, and where it stands then. */
static const char *seen(World *world, int partition)
{
    static char text[256];
    gint64 offset = 0;
    const VbBusRecord *record;
    text[0] = '\0';
    while ((record = sim_broker_read(world->world.broker, TOPIC_VM_JOURNAL, NULL, partition,
                                     &offset)) != NULL) {
        g_snprintf(text + strlen(text), sizeof(text) - strlen(text), "%.*s@%d ",
                   (int)record->value_bytes, (const char *)record->value, (int)record->offset);
    }
    g_snprintf(text + strlen(text), sizeof(text) - strlen(text), "|%d", (int)offset);
    return text;
}

static void aborted_records_are_never_seen(void **state)
{
    World *world = world_new(1);
    (void)state;
    SimProducer *a = producer(world, "a");
    guint epoch = 0;
    assert_int_equal(sim_producer_init(a, &epoch), SIM_DONE);
    assert_int_equal(write_to(a, epoch, 0, "gone"), SIM_DONE);
    assert_int_equal(write_to(a, epoch, 1, "gone too"), SIM_DONE);
    assert_int_equal(sim_producer_end(a, epoch, FALSE), SIM_DONE);
    run_for(world, 5 * SIM_S);
    VbBusMessage plain = message_to(TOPIC_VM_JOURNAL, 0, "b");
    assert_int_equal(sim_broker_append(world->world.broker, &plain), 2); /* 1 is the marker. */
    assert_string_equal(seen(world, 0), "b@2 |3");
    assert_string_equal(seen(world, 1), "|2");
    assert_string_equal(world->told->str, "vm.journal/0@2:0 ");
    world_free(world);
}

static void an_open_transaction_holds_back_what_is_behind_it(void **state)
{
    World *world = world_new(2);
    (void)state;
    SimProducer *a = producer(world, "a");
    guint epoch = 0;
    sim_producer_init(a, &epoch);
    assert_int_equal(write_to(a, epoch, 0, "first"), SIM_DONE);
    VbBusMessage plain = message_to(TOPIC_VM_JOURNAL, 0, "second");
    sim_broker_append(world->world.broker, &plain);
    assert_string_equal(seen(world, 0), "|0");
    SimLog *log = sim_broker_log(world->world.broker, TOPIC_VM_JOURNAL, NULL, 0);
    assert_int_equal(sim_log_next(log), 2);
    assert_int_equal(sim_log_stable(log), 0);
    assert_int_equal(sim_producer_end(a, epoch, TRUE), SIM_DONE);
    run_for(world, 5 * SIM_S);
    assert_string_equal(seen(world, 0), "first@0 second@1 |3");
    world_free(world);
}

static void a_new_epoch_fences_the_old_and_ends_its_transaction(void **state)
{
    World *world = world_new(3);
    (void)state;
    SimProducer *a = producer(world, "a");
    guint old = 0;
    guint new = 0;
    sim_producer_init(a, &old);
    write_to(a, old, 0, "left open");
    while (sim_producer_init(a, &new) == SIM_LATER) {
        run_for(world, SIM_S);
    }
    assert_string_equal(seen(world, 0), "|2");
    assert_int_equal(write_to(a, old, 0, "late"), SIM_FENCED);
    assert_int_equal(sim_producer_end(a, old, TRUE), SIM_FENCED);
    assert_int_equal(write_to(a, new, 0, "new"), SIM_DONE);
    world_free(world);
}

static void a_transaction_that_is_open_too_long_is_aborted(void **state)
{
    World *world = world_new(4);
    (void)state;
    SimProducer *a = producer(world, "a");
    guint epoch = 0;
    sim_producer_init(a, &epoch);
    write_to(a, epoch, 0, "slow");
    run_for(world, 9 * SIM_S);
    assert_string_equal(seen(world, 0), "|0");
    run_for(world, 20 * SIM_S);
    assert_string_equal(seen(world, 0), "|2");
    assert_int_equal(sim_producer_end(a, epoch, TRUE), SIM_FENCED);
    world_free(world);
}

typedef struct {
    guint generation;
    int first;
    int n;
} Client;

static void on_assigned(void *data, guint generation, int first, int n)
{
    *(Client *)data = (Client){.generation = generation, .first = first, .n = n};
}

static void offsets_are_pending_until_the_transaction_is_over(void **state)
{
    World *world = world_new(5);
    (void)state;
    SimProducer *a = producer(world, "a");
    SimGroup *group = sim_broker_group(world->world.broker, &echo_service);
    Client client = {.n = 0};
    gint64 next[] = {7, 9};
    VbBusOffsets offsets = {.partition = 2, .next = next};
    guint epoch = 0;
    guint incarnation = 0;
    SimMember *member = sim_group_join(group, "1", on_assigned, &client, &incarnation);
    assert_int_equal(client.n, PARTITIONS);
    sim_producer_init(a, &epoch);
    assert_int_equal(
        sim_producer_send_offsets(a, epoch, member, incarnation, client.generation, &offsets, 1),
        SIM_DONE);
    assert_true(sim_group_is_pending(group, 2));
    assert_false(sim_group_is_pending(group, 1));
    assert_int_equal(sim_group_committed(group, 2, 0), -1);
    sim_producer_end(a, epoch, TRUE);
    run_for(world, 5 * SIM_S);
    assert_false(sim_group_is_pending(group, 2));
    assert_int_equal(sim_group_committed(group, 2, 0), 7);
    assert_int_equal(sim_group_committed(group, 2, 1), 9);
    world_free(world);
}

static void a_member_that_was_silent_is_refused_by_its_generation(void **state)
{
    World *world = world_new(6);
    (void)state;
    SimProducer *a = producer(world, "a");
    SimGroup *group = sim_broker_group(world->world.broker, &echo_service);
    Client clients[2];
    guint incarnations[2];
    gint64 next[] = {1, 1};
    VbBusOffsets offsets = {.partition = 0, .next = next};
    guint epoch = 0;
    SimMember *silent = sim_group_join(group, "1", on_assigned, &clients[0], &incarnations[0]);
    SimMember *other = sim_group_join(group, "2", on_assigned, &clients[1], &incarnations[1]);
    guint generation = clients[0].generation;
    assert_int_equal(sim_member_beat(silent, incarnations[0]), SIM_BEAT_REBALANCE);
    run_for(world, 7 * SIM_S);
    assert_int_equal(clients[1].n, PARTITIONS);
    assert_int_equal(sim_member_beat(other, incarnations[1]), SIM_BEAT_GOOD);
    assert_int_equal(sim_member_beat(silent, incarnations[0]), SIM_BEAT_UNKNOWN);
    sim_producer_init(a, &epoch);
    assert_int_equal(
        sim_producer_send_offsets(a, epoch, silent, incarnations[0], generation, &offsets, 1),
        SIM_REJECTED);
    /* Back again, it shares. */
    sim_group_join(group, "1", on_assigned, &clients[0], &incarnations[0]);
    sim_group_join(group, "2", on_assigned, &clients[1], &incarnations[1]);
    assert_int_equal(clients[0].first, 0);
    assert_int_equal(clients[0].n, PARTITIONS / 2);
    assert_int_equal(clients[1].first, PARTITIONS / 2);
    world_free(world);
}

static void a_member_that_comes_back_in_time_takes_its_partitions_back(void **state)
{
    World *world = world_new(7);
    (void)state;
    SimGroup *group = sim_broker_group(world->world.broker, &echo_service);
    Client before = {.n = 0};
    Client after = {.n = 0};
    guint old = 0;
    guint new = 0;
    SimMember *member = sim_group_join(group, "1", on_assigned, &before, &old);
    run_for(world, 3 * SIM_S);
    sim_group_join(group, "1", on_assigned, &after, &new);
    assert_int_equal(after.generation, before.generation);
    assert_int_equal(after.n, PARTITIONS);
    assert_false(sim_member_is_current(member, old, before.generation));
    assert_true(sim_member_is_current(member, new, after.generation));
    world_free(world);
}

/* ---- The loop over it */

static void feed_one(World *world)
{
    static const VmCommand__CommandCase cases[] = {
        VM_COMMAND__COMMAND_CREATE_VM, VM_COMMAND__COMMAND_CREATE_VM,
        VM_COMMAND__COMMAND_STOP_VM,   VM_COMMAND__COMMAND_START_VM,
        VM_COMMAND__COMMAND_GET_VM,    VM_COMMAND__COMMAND_EXPUNGE_VM};
    static const Asks asks[] = {ASKS_CHANGE, ASKS_CHANGE, ASKS_CHANGE,
                                ASKS_START,  ASKS_GET,    ASKS_EXPUNGE};
    Sim *sim = world->world.sim;
    guint drawn = sim_below(sim, G_N_ELEMENTS(cases));
    VmCommand__CommandCase which = cases[drawn];
    const char *vm = world->world.vm_uuids[sim_below(sim, VMS)];
    arena_reset(world->arena);
    VmCommand *command = ARENA_MSG(world->arena, vm_command);
    command->vm_uuid = (char *)vm;
    command->request_id =
        arena_printf(world->arena, "11111111-0000-4000-8000-%012x", ++world->n_requests);
    command->timeout_ms = sim_between(sim, 1000, 30000);
    command->command_case = which;
    command->create_vm = (void *)arena_message(
        world->arena,
        protobuf_c_message_descriptor_get_field(&vm_command__descriptor, which)->descriptor);
    if (which == VM_COMMAND__COMMAND_START_VM) {
        command->start_vm->host_uuid = world->world.host_uuids[sim_below(sim, HOSTS)];
    }
    g_autoptr(GBytes) packed = message_pack(command);
    int partition = topic_partition(vm, UUID_TEXT_BYTES - 1, PARTITIONS);
    VbBusMessage message = {.topic = TOPIC_VM_COMMANDS,
                            .partition = sim_chance(sim, 50000) ? (int)sim_below(sim, PARTITIONS)
                                                                : partition,
                            .key = vm,
                            .key_bytes = UUID_TEXT_BYTES - 1,
                            .value = g_bytes_get_data(packed, NULL),
                            .value_bytes = g_bytes_get_size(packed)};
    if (sim_broker_append(world->world.broker, &message) >= 0) {
        g_hash_table_replace(world->asked, g_strdup(command->request_id),
                             GINT_TO_POINTER(asks[drawn]));
    }
}

static void feed(void *data)
{
    World *world = data;
    SimHost *host = &world->own_hosts[sim_below(world->world.sim, HOSTS)];
    if (world->is_feeding) {
        feed_one(world);
        if (sim_fault(world->world.sim, FAULT_HOST_SILENT)) {
            host->silent_until_us = sim_now_us(world->world.sim) + 60 * SIM_S;
        }
        sim_after(world->world.sim, sim_between(world->world.sim, 10 * SIM_MS, 400 * SIM_MS), feed,
                  world);
    }
}

static void everything_is_consumed(World *world)
{
    SimGroup *group = sim_broker_group(world->world.broker, &echo_service);
    for (int p = 0; p < PARTITIONS; p++) {
        for (size_t i = 0; i < echo_service.n_inputs; i++) {
            SimLog *log = sim_broker_log(world->world.broker, echo_service.inputs[i], NULL, p);
            gint64 offset = sim_group_committed(group, p, i);
            assert_null(sim_log_read(log, &offset));
            assert_int_equal(sim_log_stable(log), sim_log_next(log));
        }
    }
}

static void each_request_has_its_one_effect(World *world)
{
    GHashTableIter iter;
    gpointer id;
    gpointer asks;
    g_hash_table_iter_init(&iter, world->asked);
    while (g_hash_table_iter_next(&iter, &id, &asks)) {
        guint n = count(world->replies, id, 0);
        /* A start on a host without a topic is answered twice by this service. */
        if (n != 1 && !(n == 2 && GPOINTER_TO_INT(asks) == ASKS_START)) {
            fail_msg("request %s has %u replies", (const char *)id, n);
        }
    }
}

static void storm(World *world, guint n_crashes, guint times)
{
    static const SimFault faults[] = {FAULT_CRASH,        FAULT_FREEZE,         FAULT_BROKER_DOWN,
                                      FAULT_BROKER_SLOW,  FAULT_TXN_ABORT,      FAULT_TXN_FATAL,
                                      FAULT_REBALANCE,    FAULT_COMMIT_UNKNOWN, FAULT_RETENTION,
                                      FAULT_DELIVER_LATE, FAULT_REPORT_LOST,    FAULT_REPORT_TWICE,
                                      FAULT_LATE_OFFSET,  FAULT_COMPACTION,     FAULT_HOST_SILENT};
    Sim *sim = world->world.sim;
    for (guint i = 0; i < G_N_ELEMENTS(faults); i++) {
        sim_set_rate(sim, faults[i], sim_fault_info(faults[i])->per_million * times);
    }
    for (guint i = 0; i < HOSTS; i++) {
        agent_start(&world->own_hosts[i]);
    }
    for (guint i = 0; i < INSTANCES; i++) {
        world->own_services[i] = sim_service_new(&world->world, &echo_service, i);
    }
    world->is_feeding = TRUE;
    sim_after(sim, SIM_S, feed, world);
    sim_set_faults(sim, TRUE);
    while (world->n_crashes < n_crashes) {
        run_for(world, 10 * SIM_S);
    }
    world->is_feeding = FALSE;
    sim_set_faults(sim, FALSE);
    sim_broker_calm(world->world.broker);
    run_for(world, MAX_LATE_S * SIM_S);
}

static void each_input_is_in_one_committed_transaction(void **state)
{
    World *world = world_new(8);
    (void)state;
    storm(world, 1000, 8);
    everything_is_consumed(world);
    each_request_has_its_one_effect(world);
    assert_true(world->n_moved > 0);
    assert_int_equal(world->n_dead_letters, 0);
    print_message("%u requests, %u crashes, %d steps, %d s\n", world->n_requests, world->n_crashes,
                  (int)sim_step(world->world.sim),
                  (int)(sim_now_us(world->world.sim) / SIM_S - 1767225600));
    world_free(world);
}

/* A command in a host's topic is answered, again and again if need be. */
static void each_host_command_is_reported(void **state)
{
    World *world = world_new(9);
    guint n = 0;
    (void)state;
    storm(world, 200, 8);
    for (guint i = 0; i < HOSTS; i++) {
        const VbBusRecord *record;
        gint64 offset = 0;
        while ((record = sim_broker_read(world->world.broker, TOPIC_HOST_COMMANDS,
                                         world->own_hosts[i].uuid, 0, &offset)) != NULL) {
            HostCommand *command = host_command__unpack(NULL, record->value_bytes, record->value);
            assert_true(count(world->reported, command->operation_id, 0) > 0);
            host_command__free_unpacked(command, NULL);
            n++;
        }
        gint64 committed = sim_broker_host_offset(world->world.broker, world->own_hosts[i].uuid);
        assert_true(committed > 0);
        assert_null(sim_broker_read(world->world.broker, TOPIC_HOST_COMMANDS,
                                    world->own_hosts[i].uuid, 0, &committed));
    }
    assert_true(n > 0);
    world_free(world);
}

static void a_host_topic_that_is_deleted_is_made_again(void **state)
{
    World *world = world_new(10);
    (void)state;
    guint64 before = sim_mark_hits(MARK_TOPIC_REPLACED);
    sim_set_rate(world->world.sim, FAULT_TOPIC_DELETED, 1000);
    storm(world, 100, 2);
    assert_true(sim_mark_hits(MARK_TOPIC_REPLACED) > before);
    everything_is_consumed(world);
    each_request_has_its_one_effect(world);
    for (guint i = 0; i < HOSTS; i++) {
        assert_non_null(
            sim_broker_log(world->world.broker, TOPIC_HOST_COMMANDS, world->own_hosts[i].uuid, 0));
    }
    world_free(world);
}

static void the_same_seed_is_the_same_run(void **state)
{
    guint traces[3];
    (void)state;
    for (guint i = 0; i < G_N_ELEMENTS(traces); i++) {
        World *world = world_new(i < 2 ? 11 : 12);
        storm(world, 50, 8);
        traces[i] = world->trace ^ g_str_hash(world->told->str);
        world_free(world);
    }
    assert_int_equal(traces[0], traces[1]);
    assert_int_not_equal(traces[0], traces[2]);
}

static void every_path_of_the_broker_was_taken(void **state)
{
    static const SimMark marks[] = {MARK_ZOMBIE_FENCED, MARK_RESTORE_WAITED, MARK_BATCH_REPEATED,
                                    MARK_RECORD_MOVED,  MARK_UNDELIVERABLE,  MARK_DEADLINE_ELAPSED,
                                    MARK_TOPIC_REPLACED};
    (void)state;
    for (guint i = 0; i < G_N_ELEMENTS(marks); i++) {
        if (sim_mark_hits(marks[i]) == 0) {
            fail_msg("never: %s", sim_mark_sentence(marks[i]));
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(aborted_records_are_never_seen),
        cmocka_unit_test(an_open_transaction_holds_back_what_is_behind_it),
        cmocka_unit_test(a_new_epoch_fences_the_old_and_ends_its_transaction),
        cmocka_unit_test(a_transaction_that_is_open_too_long_is_aborted),
        cmocka_unit_test(offsets_are_pending_until_the_transaction_is_over),
        cmocka_unit_test(a_member_that_was_silent_is_refused_by_its_generation),
        cmocka_unit_test(a_member_that_comes_back_in_time_takes_its_partitions_back),
        cmocka_unit_test(each_input_is_in_one_committed_transaction),
        cmocka_unit_test(each_host_command_is_reported),
        cmocka_unit_test(a_host_topic_that_is_deleted_is_made_again),
        cmocka_unit_test(the_same_seed_is_the_same_run),
        cmocka_unit_test(every_path_of_the_broker_was_taken),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
