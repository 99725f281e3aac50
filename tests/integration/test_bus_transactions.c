/* test_bus_transactions: exactly once, on a real broker. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <string.h>

#include "tests/integration/kafka_world.h"

/* ---- A commit that fails now and then, before the real one */

typedef struct {
    gboolean (*real_commit)(VbBus *bus, GError **error);
    int n_failures;
} FailingCommit;

static FailingCommit failing;

/* Everything of the transaction is at the broker, offsets included, when it fails. */
static gboolean failing_commit(VbBus *bus, GError **error)
{
    if (failing.n_failures > 0) {
        failing.n_failures--;
        g_set_error(error, BUS_ERROR, BUS_ERROR_ABORT, "injected");
        return FALSE;
    }
    return failing.real_commit(bus, error);
}

static void fail_commits(Service *service, int n)
{
    failing.n_failures = n;
    failing.real_commit = service->bus->commit;
    service->bus->commit = failing_commit;
}

static void test_aborted_transaction_is_seen_once(void **state)
{
    World *world = *state;
    const char *vm = world_vm(world, 1, 0);
    Service *service = service_new(world, "i1", NULL, NULL);
    service_restore(service);
    fail_commits(service, 3);
    const char *first = world_request(world, vm, VM_COMMAND__COMMAND_CREATE_VM);
    service_serve(service, "vm.events", 1, 1);
    const char *second = world_request(world, vm, VM_COMMAND__COMMAND_CREATE_VM);
    service_serve(service, "vm.events", 1, 2);

    g_autoptr(GPtrArray) all = world_read(world, "vm.events", 1, FALSE);
    g_autoptr(GPtrArray) events = world_read(world, "vm.events", 1, TRUE);
    g_autoptr(GPtrArray) states = world_read(world, "vm.state", 1, TRUE);
    g_autoptr(GPtrArray) journal = world_read(world, "vm.journal", 1, TRUE);
    assert_int_equal(all->len, 5); /* The aborted ones are really there. */
    assert_int_equal(events->len, 2);
    assert_int_equal(states->len, 2);
    assert_int_equal(journal->len, 2);
    const char *requests[] = {first, second};
    for (guint i = 0; i < 2; i++) {
        VmEvent *event = world_unpack(world, g_ptr_array_index(events, i), &vm_event__descriptor);
        assert_string_equal(event->reply->request_id, requests[i]);
        assert_int_equal(event->version, i + 1);
    }
    /* What was written again is the same, byte for byte, headers included. */
    const VbBusRecord *aborted = g_ptr_array_index(all, 0);
    const VbBusRecord *committed = g_ptr_array_index(all, 3);
    assert_int_equal(aborted->value_bytes, committed->value_bytes);
    assert_memory_equal(aborted->value, committed->value, aborted->value_bytes);
    assert_string_equal(world_header(world, aborted, "ce_id"),
                        world_header(world, committed, "ce_id"));
    service_free(service);

    /* And the offsets were committed with it: a new start steps nothing again. */
    Service *next = service_new(world, "i1", NULL, NULL);
    world_request(world, vm, VM_COMMAND__COMMAND_GET_VM);
    service_serve(next, "vm.events", 1, 3);
    g_autoptr(GPtrArray) after = world_read(world, "vm.events", 1, TRUE);
    assert_int_equal(after->len, 3);
    service_free(next);
}

static void test_refused_record_is_poison(void **state)
{
    World *world = *state;
    const char *good = world_vm(world, 1, 0);
    const char *bad = world_vm(world, 1, 1);
    world_request(world, good, VM_COMMAND__COMMAND_CREATE_VM);
    world_request(world, bad, VM_COMMAND__COMMAND_CREATE_VM);
    world_request(world, bad, VM_COMMAND__COMMAND_RESET_NVRAM); /* A reply over the limit. */
    const char *last = world_request(world, good, VM_COMMAND__COMMAND_CREATE_VM);
    Service *service = service_new(world, "i1", NULL, NULL);
    service_serve(service, "vm.events", 1, 4);

    g_autoptr(GPtrArray) dead = world_read(world, "dlq", 0, TRUE);
    assert_int_equal(dead->len, 1);
    const VbBusRecord *record = g_ptr_array_index(dead, 0);
    assert_string_equal(world_header(world, record, "__connect.errors.stage"), "transaction");
    assert_string_equal(world_header(world, record, "__connect.errors.offset"), "2");
    g_autoptr(GPtrArray) events = world_read(world, "vm.events", 1, TRUE);
    assert_int_equal(events->len, 4);
    VmEvent *warning = world_unpack(world, g_ptr_array_index(events, 2), &vm_event__descriptor);
    VmEvent *reply = world_unpack(world, g_ptr_array_index(events, 3), &vm_event__descriptor);
    assert_int_equal(warning->warning->error->code, ERROR_CODE_QUARANTINED);
    assert_string_equal(reply->reply->request_id, last);
    service_free(service);
}

static gboolean turn_fails(void *user)
{
    Service *service = user;
    g_autoptr(GError) error = NULL;
    if (loop_turn(service->loop, 100, &error)) {
        return FALSE;
    }
    assert_true(g_error_matches(error, BUS_ERROR, BUS_ERROR_FENCED));
    return TRUE;
}

/* Two processes of one name: the older one can commit nothing any more. */
static void test_zombie_is_fenced(void **state)
{
    World *world = *state;
    const char *vm = world_vm(world, 1, 0);
    Service *zombie = service_new(world, "i1", NULL, NULL);
    world_request(world, vm, VM_COMMAND__COMMAND_CREATE_VM);
    service_serve(zombie, "vm.events", 1, 1);
    world_request(world, vm, VM_COMMAND__COMMAND_CREATE_VM);
    fail_commits(zombie, 1); /* The zombie has read the record when the other one starts. */
    g_autoptr(GError) error = NULL;
    while (failing.n_failures > 0) {
        assert_true(loop_turn(zombie->loop, 100, &error));
    }
    zombie->bus->commit = failing.real_commit;
    Service *living = service_new(world, "i1", NULL, NULL);
    world_until(turn_fails, zombie);
    service_serve(living, "vm.events", 1, 2);
    service_free(zombie);

    world_request(world, vm, VM_COMMAND__COMMAND_CREATE_VM);
    service_serve(living, "vm.events", 1, 3);
    g_autoptr(GPtrArray) events = world_read(world, "vm.events", 1, TRUE);
    assert_int_equal(events->len, 3);
    for (guint i = 0; i < events->len; i++) {
        VmEvent *event = world_unpack(world, g_ptr_array_index(events, i), &vm_event__descriptor);
        assert_int_equal(event->version, i + 1);
    }
    service_free(living);
}

#define TEST(function) cmocka_unit_test_setup_teardown(function, world_set_up, world_tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_aborted_transaction_is_seen_once),
        TEST(test_refused_record_is_poison),
        TEST(test_zombie_is_fenced),
    };
    return cmocka_run_group_tests_name("bus_transactions", tests, NULL, NULL);
}
