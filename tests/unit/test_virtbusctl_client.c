/* Reading up to an end that was known before: how long it may take, and what is said when it takes
 * longer. The broker is librdkafka's own double. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <librdkafka/rdkafka.h>
#include <librdkafka/rdkafka_mock.h>
#include <string.h>

#include "tools/virtbusctl/args.h"
#include "tools/virtbusctl/client.h"
#include "virtbus/v1/virtbus.h"

#define VM "11111111-0000-4000-8000-000000000001"

enum { N_RECORDS = 3, TIMEOUT_MS = 3000 };

typedef struct {
    rd_kafka_t *ground;
    rd_kafka_mock_cluster_t *cluster;
    char *argv[6];
    char *used[6];
    Ctl ctl;
    VbClient *client;
    guint n_taken;
    gulong pause_us; /* What each record keeps its reader for. */
} World;

static int set_up(void **state)
{
    World *world = g_new0(World, 1);
    char text[256];
    world->ground = rd_kafka_new(RD_KAFKA_PRODUCER, rd_kafka_conf_new(), text, sizeof(text));
    world->cluster = rd_kafka_mock_cluster_new(world->ground, 1);
    rd_kafka_mock_topic_create(world->cluster, "virtbus.vm.commands", 1, 1);
    const char *words[] = {"virtbusctl", "--bootstrap",
                           rd_kafka_mock_cluster_bootstraps(world->cluster), "record", "x"};
    for (gsize i = 0; i < G_N_ELEMENTS(words); i++) {
        world->used[i] = world->argv[i] = g_strdup(words[i]);
    }
    const GOptionEntry flags[] = {{0}};
    g_auto(GStrv) rest = NULL;
    assert_true(args_begin(&world->ctl, G_N_ELEMENTS(words), world->used, NULL) &&
                args_parse(&world->ctl, flags, 1, &rest, NULL));
    world->ctl.timeout_ms = 60000;
    world->client = client_open(&world->ctl, NULL);
    assert_non_null(world->client);
    VmCommand command = VM_COMMAND__INIT;
    for (int i = 0; i < N_RECORDS; i++) {
        assert_true(client_produce(world->client, TOPIC_VM_COMMANDS, VM, &command, NULL));
    }
    *state = world;
    return 0;
}

static int tear_down(void **state)
{
    World *world = *state;
    client_close(world->client);
    args_clear(&world->ctl);
    rd_kafka_mock_cluster_destroy(world->cluster);
    rd_kafka_destroy(world->ground);
    for (gsize i = 0; i < G_N_ELEMENTS(world->argv); i++) {
        g_free(world->argv[i]);
    }
    g_free(world);
    return 0;
}

static gboolean take(const ClientRecord *record, gpointer data)
{
    World *world = data;
    assert_int_equal(record->offset, world->n_taken);
    world->n_taken++;
    g_usleep(world->pause_us);
    return TRUE;
}

static gboolean read_up_to(World *world, gint64 to, GError **error)
{
    assert_true(client_read_range(world->client, TOPIC_VM_COMMANDS, NULL, 0, 0, to, NULL) &&
                client_read_start(world->client, NULL));
    gboolean done = client_read_to_end(world->client, TIMEOUT_MS, take, world, error);
    client_read_stop(world->client);
    return done;
}

/* As an open transaction, whose records are never given. */
static void what_does_not_come_is_named(void **state)
{
    World *world = *state;
    g_autoptr(GError) error = NULL;
    assert_false(read_up_to(world, N_RECORDS + 1, &error));
    assert_int_equal(error->code, CTL_UNREACHABLE);
    assert_non_null(strstr(error->message, "virtbus.vm.commands/0"));
    assert_int_equal(world->n_taken, N_RECORDS);
}

static void while_records_come_there_is_time(void **state)
{
    World *world = *state;
    world->pause_us = TIMEOUT_MS * 1000 / 2;
    assert_true(read_up_to(world, N_RECORDS, NULL));
    assert_int_equal(world->n_taken, N_RECORDS);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(what_does_not_come_is_named, set_up, tear_down),
        cmocka_unit_test_setup_teardown(while_records_come_there_is_time, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
