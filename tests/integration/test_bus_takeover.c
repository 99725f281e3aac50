/* test_bus_takeover: restarts, kills and take-overs lose nothing and do nothing twice. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <signal.h>
#include <string.h>

#include "common/base/message.h"
#include "tests/integration/kafka_world.h"

static void test_restore_equals_live_state(void **state)
{
    World *world = *state;
    for (int i = 0; i < 20; i++) {
        world_request(world, world_vm(world, i % 2, i), VM_COMMAND__COMMAND_CREATE_VM);
    }
    for (int i = 0; i < 20; i += 4) {
        world_request(world, world_vm(world, i % 2, i), VM_COMMAND__COMMAND_STOP_VM);
    }
    world_request(world, world_vm(world, 0, 0), VM_COMMAND__COMMAND_EXPUNGE_VM);
    Service *service = service_new(world, "i1", NULL, NULL);
    service_serve(service, "vm.events", 1, 10);
    service_serve(service, "vm.events", 0, 16 + 4); /* Four deadlines pass at once. */
    g_autofree char *live = service_states(service);
    assert_non_null(strstr(live, world_vm(world, 1, 1)));
    assert_null(strstr(live, world_vm(world, 0, 0)));
    service_free(service);

    Service *same = service_new(world, "i1", NULL, NULL);
    service_restore(same);
    g_autofree char *restored = service_states(same);
    assert_string_equal(live, restored);
    service_free(same);
}

/* ---- Kill and take over */

static void await_events(World *world, guint n)
{
    g_ptr_array_unref(world_wait(world, "vm.events", 1, n));
}

enum { KILL_COMMANDS = 300 };

/* Exactly one reply to each request, in order, and each step on top of the one before. */
static void expect_one_reply_each(World *world, const char *vm, const GPtrArray *requests)
{
    g_autoptr(GPtrArray) events = world_read(world, "vm.events", 1, TRUE);
    guint n = 0;
    assert_int_equal(events->len, requests->len);
    for (guint i = 0; i < events->len; i++) {
        VmEvent *event = world_unpack(world, g_ptr_array_index(events, i), &vm_event__descriptor);
        assert_string_equal(event->vm_uuid, vm);
        assert_string_equal(event->reply->request_id, g_ptr_array_index(requests, n));
        assert_int_equal(event->version, ++n);
    }
    g_autoptr(GPtrArray) states = world_read(world, "vm.state", 1, TRUE);
    StateRecord *last =
        world_unpack(world, g_ptr_array_index(states, states->len - 1), &state_record__descriptor);
    assert_int_equal(last->version, requests->len);
    assert_int_equal(last->vm->epoch, requests->len);
    assert_int_equal(last->applied[0]->offset, requests->len - 1);
}

/* Two instances of different names; the one that works is killed again and again while it does. */
static void test_killed_processes_lose_nothing(void **state)
{
    static const char *const names[] = {"i1", "i2"};
    World *world = *state;
    const char *vm = world_vm(world, 1, 0);
    g_autoptr(GPtrArray) requests = g_ptr_array_new();
    pid_t pids[] = {world_spawn(world, names[0], NULL), world_spawn(world, names[1], NULL)};
    for (int i = 0; i < KILL_COMMANDS; i++) {
        g_ptr_array_add(requests,
                        (gpointer)world_request(world, vm, VM_COMMAND__COMMAND_CREATE_VM));
        if (i % 60 == 59) {
            int which = i / 60 % 2;
            await_events(world, (guint)i / 2);
            kill(pids[which], SIGKILL);
            assert_int_equal(world_reap(world, pids[which]), -SIGKILL);
            pids[which] = world_spawn(world, names[which], NULL);
        }
    }
    await_events(world, KILL_COMMANDS);
    expect_one_reply_each(world, vm, requests);
}

/* The one that works is killed for good; another one, of another name, takes its partitions. */
static void test_second_instance_takes_over(void **state)
{
    World *world = *state;
    const char *vm = world_vm(world, 1, 0);
    g_autoptr(GPtrArray) requests = g_ptr_array_new();
    pid_t first = world_spawn(world, "i1", NULL);
    for (int i = 0; i < 20; i++) {
        g_ptr_array_add(requests,
                        (gpointer)world_request(world, vm, VM_COMMAND__COMMAND_CREATE_VM));
    }
    await_events(world, 1);
    kill(first, SIGKILL);
    world_reap(world, first);
    pid_t second = world_spawn(world, "i2", NULL);
    g_ptr_array_add(requests, (gpointer)world_request(world, vm, VM_COMMAND__COMMAND_CREATE_VM));
    await_events(world, requests->len);
    expect_one_reply_each(world, vm, requests);
    kill(second, SIGTERM);
    assert_int_equal(world_reap(world, second), 0);
}

/* ---- The take-over race */

typedef struct {
    World *world;
    rd_kafka_t *dead; /* A predecessor whose transaction has not ended yet. */
    Service *service;
    int ticks;
} Race;

/* The loop waits inside the restore: the predecessor's transaction ends now. */
static void race_tick(void *user)
{
    Race *race = user;
    if (race->service != NULL && ++race->ticks == 3) {
        assert_int_equal(loop_partitions(race->service->loop), 1); /* Partition 0 is through. */
        assert_null(rd_kafka_commit_transaction(race->dead, WORLD_WAIT_MS));
    }
}

/* What a predecessor wrote for the first command of `vm`: state 41. */
static void race_write_state(Race *race, const char *vm)
{
    g_autofree char *topic = g_strdup_printf("%s.vm.state", race->world->prefix);
    StateRecord record = STATE_RECORD__INIT;
    VmRecord body = VM_RECORD__INIT;
    record.version = 41;
    record.logic_version = 1;
    record.body_case = STATE_RECORD__BODY_VM;
    record.vm = &body;
    body.epoch = 41;
    g_autoptr(GBytes) packed = message_pack(&record);
    size_t size_bytes = g_bytes_get_size(packed);
    void *bytes = (void *)g_bytes_get_data(packed, NULL);
    assert_int_equal(rd_kafka_producev(race->dead, RD_KAFKA_V_TOPIC(topic), RD_KAFKA_V_PARTITION(1),
                                       RD_KAFKA_V_KEY(vm, 36), RD_KAFKA_V_VALUE(bytes, size_bytes),
                                       RD_KAFKA_V_MSGFLAGS(RD_KAFKA_MSG_F_COPY), RD_KAFKA_V_END),
                     0);
    assert_int_equal(rd_kafka_flush(race->dead, WORLD_WAIT_MS), 0);
}

static void race_write_offsets(Race *race, rd_kafka_t *producer)
{
    g_autofree char *commands = g_strdup_printf("%s.vm.commands", race->world->prefix);
    g_autofree char *reports = g_strdup_printf("%s.vm.reports", race->world->prefix);
    g_autoptr(rd_kafka_topic_partition_list_t) list = rd_kafka_topic_partition_list_new(2);
    rd_kafka_topic_partition_list_add(list, commands, 1)->offset = 1;
    rd_kafka_topic_partition_list_add(list, reports, 1)->offset = 0;
    rd_kafka_consumer_group_metadata_t *group =
        rd_kafka_consumer_group_metadata_new(race->world->group);
    assert_null(rd_kafka_send_offsets_to_transaction(producer, list, group, WORLD_WAIT_MS));
    rd_kafka_consumer_group_metadata_destroy(group);
}

static void race_finish(Race *race, const char *vm)
{
    const char *request = world_request(race->world, vm, VM_COMMAND__COMMAND_CREATE_VM);
    race->service = service_new(race->world, "i2", race_tick, race);
    service_restore(race->service);
    assert_true(race->ticks >= 3);
    service_serve(race->service, "vm.events", 1, 1);
    g_autoptr(GPtrArray) events = world_read(race->world, "vm.events", 1, TRUE);
    VmEvent *event = world_unpack(race->world, g_ptr_array_index(events, 0), &vm_event__descriptor);
    assert_string_equal(event->reply->request_id, request);
    assert_int_equal(event->version, 42);
    service_free(race->service);
    rd_kafka_destroy(race->dead);
}

/* State and offsets are both in the open transaction: the restore waits for the offsets. */
static void test_restore_waits_for_pending_offsets(void **state)
{
    Race race = {.world = *state};
    const char *vm = world_vm(race.world, 1, 0);
    world_request(race.world, vm, VM_COMMAND__COMMAND_CREATE_VM);
    race.dead = world_transaction(race.world, "dead");
    race_write_state(&race, vm);
    race_write_offsets(&race, race.dead);
    race_finish(&race, vm);
}

/* The offsets are committed already, the state's commit is not visible yet: a restore that asked
 * for the end as a reader of committed records does would begin without it. */
static void test_restore_waits_for_open_states(void **state)
{
    Race race = {.world = *state};
    const char *vm = world_vm(race.world, 1, 0);
    world_request(race.world, vm, VM_COMMAND__COMMAND_CREATE_VM);
    rd_kafka_t *other = world_transaction(race.world, "other");
    race_write_offsets(&race, other);
    assert_null(rd_kafka_commit_transaction(other, WORLD_WAIT_MS));
    rd_kafka_destroy(other);
    race.dead = world_transaction(race.world, "dead");
    race_write_state(&race, vm);
    race_finish(&race, vm);
}

/* ---- One process */

static void test_fenced_process_starts_itself_again(void **state)
{
    World *world = *state;
    const char *vm = world_vm(world, 1, 0);
    pid_t pid = world_spawn(world, "i1", NULL);
    world_request(world, vm, VM_COMMAND__COMMAND_CREATE_VM);
    await_events(world, 1);
    Service *rival = service_new(world, "i1", NULL, NULL);
    service_free(rival);
    world_request(world, vm, VM_COMMAND__COMMAND_CREATE_VM);
    g_autoptr(GPtrArray) second = world_wait(world, "vm.events", 1, 2);
    assert_int_equal(second->len, 2);
    kill(pid, SIGTERM);
    assert_int_equal(world_reap(world, pid), 0);
}

#define TEST(function) cmocka_unit_test_setup_teardown(function, world_set_up, world_tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_restore_equals_live_state),     TEST(test_killed_processes_lose_nothing),
        TEST(test_second_instance_takes_over),    TEST(test_restore_waits_for_pending_offsets),
        TEST(test_restore_waits_for_open_states), TEST(test_fenced_process_starts_itself_again),
    };
    return cmocka_run_group_tests_name("bus_takeover", tests, NULL, NULL);
}
