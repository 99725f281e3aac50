/* test_outages: what the shipped services say and do when Kafka or their deployment fails, and that
 * they recover; by themselves where that is safe, by the way that the log names elsewhere.
 *
 * The long outage begins first, on a broker of its own, and lasts while the other tests run; after
 * each of them its services are looked at. Its own test is the last. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <fcntl.h>
#include <glib/gstdio.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <unistd.h>

#include "common/base/message.h"
#include "common/bus/bus_topics.h"
#include "tests/integration/outage.h"
#include "tests/integration/real_services.h"

/* ---- A broker that is gone */

enum {
    SHORT_OUTAGE_S = 60,
    LONG_OUTAGE_S = 300,
    LOOK_S = 2,
    LOG_LINES_MAX = 30, /* Of one service for one outage, however long, its end included. */
};

typedef struct {
    guint all; /* But those that a command of the ledger makes. */
    guint lost;
    guint back;
} Lines;

typedef struct {
    Broker *broker;
    World *world;
    Process *services[2];
    Ledger *ledger;
    Lines before[2]; /* What each service had logged before the broker went. */
    gint64 begin_us;
} Outage;

static void outage_services_start(Outage *outage)
{
    outage->services[0] = process_start(outage->world, PROGRAM_VM_SERVICE, "i1");
    outage->services[1] = process_start(outage->world, PROGRAM_VOLUME_SERVICE, "i1");
}

static Lines lines_of(const Process *service)
{
    return (Lines){.all = process_log_lines(service, NULL) -
                          process_log_lines(service, "undeliverable"),
                   .lost = process_log_lines(service, "broker-lost"),
                   .back = process_log_lines(service, "broker-back")};
}

static Outage *outage_new(const char *name, guint64 disk_bytes)
{
    Outage *outage = g_new0(Outage, 1);
    outage->broker = broker_new(name, disk_bytes);
    outage->world = world_new(outage->broker->bootstrap);
    world_topics(outage->world);
    outage->ledger = ledger_new(outage->world);
    outage_services_start(outage);
    ledger_send(outage->ledger, 10);
    ledger_await(outage->ledger);
    for (int i = 0; i < 2; i++) {
        g_free(process_await_page(outage->services[i], "/readyz", "200 ok"));
        assert_true(process_metric(outage->services[i], "virtbus_broker_up") == 1);
        outage->before[i] = lines_of(outage->services[i]);
    }
    return outage;
}

static void outage_free(Outage *outage)
{
    process_stop(outage->services[0]);
    process_stop(outage->services[1]);
    ledger_free(outage->ledger);
    world_free(outage->world);
    broker_free(outage->broker);
    g_free(outage);
}

/* With work on its way. */
static Outage *outage_begin(const char *name)
{
    Outage *outage = outage_new(name, 0);
    ledger_send(outage->ledger, 40);
    broker_kill(outage->broker);
    outage->begin_us = g_get_monotonic_time();
    ledger_send(outage->ledger, 10);
    return outage;
}

static void outage_expect_few_lines(const Outage *outage, int i)
{
    guint n = lines_of(outage->services[i]).all - outage->before[i].all;
    if (n > LOG_LINES_MAX) {
        fail_msg("%u lines in %s", n, outage->services[i]->log);
    }
}

/* The broker is gone: each service lives, is not ready, says why once, and does not call itself
 * stuck. */
static void outage_look(const Outage *outage)
{
    for (int i = 0; i < 2; i++) {
        const Process *service = outage->services[i];
        assert_true(process_lives(service));
        g_autofree char *ready = process_await_page(service, "/readyz", "broker: ");
        assert_true(g_str_has_prefix(ready, "503 "));
        g_free(process_await_page(service, "/healthz", "200 "));
        process_await_metric(service, "virtbus_broker_outages_total", 1);
        assert_true(process_metric(service, "virtbus_broker_up") == 0);
        Lines lines = lines_of(service);
        assert_int_equal(lines.lost, outage->before[i].lost + 1);
        assert_int_equal(lines.back, outage->before[i].back);
        outage_expect_few_lines(outage, i);
    }
}

/* Looks again and again until it has lasted that long. */
static void outage_last(const Outage *outage, int seconds)
{
    while (g_get_monotonic_time() - outage->begin_us < seconds * G_USEC_PER_SEC) {
        outage_look(outage);
        rd_kafka_poll(outage->world->producer, 0);
        g_usleep(LOOK_S * G_USEC_PER_SEC);
    }
}

/* The broker is back: every request of before, meanwhile and after is answered once, and each step
 * of the services can be made again. */
static void outage_end(Outage *outage)
{
    broker_start(outage->broker);
    ledger_send(outage->ledger, 10);
    ledger_settle(outage->ledger);
    for (int i = 0; i < 2; i++) {
        const Process *service = outage->services[i];
        assert_true(process_lives(service));
        g_free(process_await_page(service, "/readyz", "200 ok"));
        assert_true(process_metric(service, "virtbus_broker_up") == 1);
        Lines lines = lines_of(service);
        assert_int_equal(lines.lost, outage->before[i].lost + 1);
        assert_int_equal(lines.back, outage->before[i].back + 1);
        outage_expect_few_lines(outage, i);
    }
    real_replay(outage->world);
    outage_free(outage);
}

static Outage *long_outage;

static void broker_gone_for_a_minute(void **state)
{
    (void)state;
    Outage *outage = outage_begin("minute");
    outage_last(outage, SHORT_OUTAGE_S);
    outage_end(outage);
}

static void broker_gone_for_five_minutes(void **state)
{
    (void)state;
    outage_last(long_outage, LONG_OUTAGE_S);
    outage_end(long_outage);
}

/* ---- A broker whose disk is full */

enum { DISK_BYTES = 96 << 20, BALLAST_PART_BYTES = 64 << 10 };

/* A file that takes all the room there is. Its path (g_free). */
static char *disk_fill(const Broker *broker)
{
    char *path = g_build_filename(broker->folder, "ballast", NULL);
    g_autofree char *part = g_malloc0(BALLAST_PART_BYTES);
    int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    assert_true(fd >= 0);
    for (size_t size_bytes = BALLAST_PART_BYTES; size_bytes > 0;) {
        if (write(fd, part, size_bytes) <= 0) {
            size_bytes /= 2;
        }
    }
    close(fd);
    return path;
}

static void full_disk_at_the_broker(void **state)
{
    (void)state;
    Outage *outage = outage_new("disk", DISK_BYTES);
    g_autofree char *ballast = disk_fill(outage->broker);
    ledger_send(outage->ledger, 40); /* More than the broker has room for: it gives up. */
    outage_look(outage);
    assert_int_equal(g_unlink(ballast), 0);
    broker_kill(outage->broker);
    outage_end(outage);
}

/* ---- Two instances of one id */

static void await_events(World *world, guint n)
{
    g_ptr_array_unref(world_wait(world, "vm.events", 1, n));
}

/* The older one is shut out, says what to do, and is back when the newer one is gone. */
static void two_instances_with_one_id(void **state)
{
    World *world = *state;
    const char *vm = world_vm(world, 1, 0);
    Process *older = process_start(world, PROGRAM_ECHO, "twin");
    for (guint i = 1; i <= 5; i++) {
        world_request(world, vm, VM_COMMAND__COMMAND_CREATE_VM);
        await_events(world, i);
    }
    Process *newer = process_start(world, PROGRAM_ECHO, "twin");
    g_autofree char *line = process_await_log(older, "fenced");
    assert_non_null(strstr(line, "\\\"twin\\\""));
    assert_non_null(strstr(line, "stop one or give it an id of its own"));
    for (guint i = 0; i < 20; i++) { /* While each of them shuts out the other. */
        world_request(world, vm, VM_COMMAND__COMMAND_CREATE_VM);
    }
    await_events(world, 25);
    process_stop(newer);
    world_request(world, vm, VM_COMMAND__COMMAND_CREATE_VM);
    await_events(world, 26);
    g_free(process_await_page(older, "/readyz", "200 ok"));
    process_await_metric(older, "virtbus_restarts_total{cause=\"fenced\"}", 1);
    process_stop(older);

    /* One instance would have made the same. */
    g_autoptr(GPtrArray) events = world_read(world, "vm.events", 1, TRUE);
    assert_int_equal(events->len, 26);
    for (guint i = 0; i < events->len; i++) {
        VmEvent *event = world_unpack(world, g_ptr_array_index(events, i), &vm_event__descriptor);
        g_autofree char *id = g_strdup_printf("11111111-0000-4000-8000-%012x", i + 1);
        assert_string_equal(event->reply->request_id, id);
        assert_int_equal(event->version, i + 1);
    }
    g_autoptr(GPtrArray) states = world_read(world, "vm.state", 1, TRUE);
    StateRecord *last =
        world_unpack(world, g_ptr_array_index(states, states->len - 1), &state_record__descriptor);
    assert_int_equal(last->vm->epoch, 26);
}

/* ---- States without offsets */

typedef struct {
    World *world;
    char *id;
    rd_kafka_topic_partition_list_t *offsets; /* To be set. */
} Group;

/* A group can be deleted once its last member is forgotten. */
static gboolean is_deleted(void *user)
{
    const Group *group = user;
    rd_kafka_DeleteGroup_t *deletion = rd_kafka_DeleteGroup_new(group->id);
    rd_kafka_queue_t *queue = rd_kafka_queue_new(group->world->producer);
    rd_kafka_DeleteGroups(group->world->producer, &deletion, 1, NULL, queue);
    rd_kafka_event_t *event = rd_kafka_queue_poll(queue, WORLD_WAIT_MS);
    assert_non_null(event);
    size_t n = 0;
    const rd_kafka_group_result_t **results =
        rd_kafka_DeleteGroups_result_groups(rd_kafka_event_DeleteGroups_result(event), &n);
    gboolean is_done = n == 1 && rd_kafka_group_result_error(results[0]) == NULL;
    rd_kafka_event_destroy(event);
    rd_kafka_queue_destroy(queue);
    rd_kafka_DeleteGroup_destroy(deletion);
    return is_done;
}

/* "TOPIC:PARTITION to OFFSET" after "says:", as a person would read it. */
static rd_kafka_topic_partition_list_t *instructions_read(const char *line)
{
    rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new(4);
    g_autoptr(GRegex) regex = g_regex_new(" ([^ ]+):([0-9]+) to ([0-9]+)", 0, 0, NULL);
    g_autoptr(GMatchInfo) match = NULL;
    g_regex_match(regex, strstr(line, "says:"), 0, &match);
    for (; g_match_info_matches(match); g_match_info_next(match, NULL)) {
        g_autofree char *topic = g_match_info_fetch(match, 1);
        g_autofree char *partition = g_match_info_fetch(match, 2);
        g_autofree char *offset = g_match_info_fetch(match, 3);
        rd_kafka_topic_partition_list_add(list, topic, atoi(partition))->offset = atoi(offset);
    }
    return list;
}

/* What kafka-consumer-groups.sh --reset-offsets --execute does. It is refused while there are
 * members. */
static gboolean are_offsets_set(void *user)
{
    const Group *group = user;
    rd_kafka_AlterConsumerGroupOffsets_t *change =
        rd_kafka_AlterConsumerGroupOffsets_new(group->id, group->offsets);
    rd_kafka_queue_t *queue = rd_kafka_queue_new(group->world->producer);
    rd_kafka_AlterConsumerGroupOffsets(group->world->producer, &change, 1, NULL, queue);
    rd_kafka_event_t *event = rd_kafka_queue_poll(queue, WORLD_WAIT_MS);
    assert_non_null(event);
    size_t n = 0;
    const rd_kafka_group_result_t **results = rd_kafka_AlterConsumerGroupOffsets_result_groups(
        rd_kafka_event_AlterConsumerGroupOffsets_result(event), &n);
    gboolean is_done = n == 1 && rd_kafka_group_result_error(results[0]) == NULL;
    const rd_kafka_topic_partition_list_t *set =
        is_done ? rd_kafka_group_result_partitions(results[0]) : NULL;
    for (int i = 0; set != NULL && i < set->cnt; i++) {
        is_done = is_done && set->elems[i].err == RD_KAFKA_RESP_ERR_NO_ERROR;
    }
    rd_kafka_event_destroy(event);
    rd_kafka_queue_destroy(queue);
    rd_kafka_AlterConsumerGroupOffsets_destroy(change);
    return is_done;
}

static guint count_events(World *world)
{
    guint n = 0;
    for (int partition = 0; partition < WORLD_PARTITIONS; partition++) {
        g_autoptr(GPtrArray) events = world_read(world, "vm.events", partition, TRUE);
        n += events->len;
    }
    return n;
}

/* It halts, and says where in /readyz, in its log and as a metric. The instructions (g_free). */
static char *expect_halt(World *world, const Process *service)
{
    static const char *const inputs[] = {"vm.commands", "vm.reports", "volume.events"};
    g_autofree char *ready = process_await_page(service, "/readyz", "halted: ");
    char *line = process_await_log(service, "halted");
    assert_true(g_str_has_prefix(ready, "503 "));
    assert_true(process_metric(service, "virtbus_halted") == 1);
    assert_non_null(strstr(line, "kafka-consumer-groups.sh --bootstrap-server"));
    assert_non_null(strstr(line, "--reset-offsets"));
    for (guint i = 0; i < G_N_ELEMENTS(inputs); i++) {
        for (int partition = 0; partition < WORLD_PARTITIONS; partition++) {
            g_autofree char *words =
                g_strdup_printf(" %s.%s:%d to ", world->prefix, inputs[i], partition);
            assert_non_null(strstr(line, words));
            assert_non_null(strstr(ready, words));
        }
    }
    return line;
}

static void states_without_offsets(void **state)
{
    World *world = *state;
    Ledger *ledger = ledger_new(world);
    Group group = {.world = world, .id = g_strdup_printf("%s.vm-service", world->prefix)};
    Process *volumes = process_start(world, PROGRAM_VOLUME_SERVICE, "i1");
    Process *service = process_start(world, PROGRAM_VM_SERVICE, "i1");
    ledger_send(ledger, 10);
    ledger_await(ledger);
    process_stop(service);
    outage_await("the group deleted", is_deleted, &group);

    guint n_events = count_events(world);
    ledger_send(ledger, 4);
    service = process_start(world, PROGRAM_VM_SERVICE, "i1");
    g_autofree char *line = expect_halt(world, service);
    assert_int_equal(count_events(world), n_events); /* Nothing is consumed. */

    /* The way out that it names; then it goes on by itself. */
    group.offsets = instructions_read(line);
    assert_int_equal(group.offsets->cnt, 3 * WORLD_PARTITIONS);
    outage_await("the offsets set", are_offsets_set, &group);
    ledger_settle(ledger);
    g_free(process_await_page(service, "/readyz", "200 ok"));
    assert_true(process_metric(service, "virtbus_halted") == 0);
    assert_true(process_metric(service, "virtbus_restarts_total{cause=\"halted\"}") >= 1);
    process_stop(service);
    process_stop(volumes);
    rd_kafka_topic_partition_list_destroy(group.offsets);
    g_free(group.id);
    ledger_free(ledger);
}

/* ---- Topics that are not as they must be */

static void topics_make(World *world, int n_vm, int n_volume, VbTopic missing)
{
    for (int topic = 0; topic < TOPIC_COUNT; topic++) {
        if (topic != TOPIC_HOST_COMMANDS && topic != (int)missing) {
            gboolean is_volume = g_str_has_prefix(topic_info((VbTopic)topic)->suffix, "volume.");
            world_topic(world, (VbTopic)topic, is_volume ? n_volume : n_vm);
        }
    }
}

/* A start that is refused: exit status 1, and one line that says why. */
static void expect_refusal(World *world, Program program, const char *words)
{
    Process *service = process_start(world, program, "i1");
    assert_int_equal(process_wait(service), 1);
    g_autofree char *line = process_await_log(service, "refused");
    if (strstr(line, words) == NULL) {
        fail_msg("\"%s\" is not in: %s", words, line);
    }
    assert_int_equal(process_log_lines(service, "refused"), 1);
    process_free(service);
}

static void unequal_partition_counts(void **state)
{
    World *world = *state;
    g_autofree char *words =
        g_strdup_printf("topic %s.vm.commands has 4 partitions and %s.volume.commands 3",
                        world->prefix, world->prefix);
    topics_make(world, 4, 3, TOPIC_HOST_COMMANDS);
    expect_refusal(world, PROGRAM_VM_SERVICE, words);
    expect_refusal(world, PROGRAM_VOLUME_SERVICE, words);
}

static void missing_topic(void **state)
{
    World *world = *state;
    g_autofree char *words =
        g_strdup_printf("topic %s.volume.events does not exist", world->prefix);
    topics_make(world, 4, 4, TOPIC_VOLUME_EVENTS);
    expect_refusal(world, PROGRAM_VM_SERVICE, words);
    expect_refusal(world, PROGRAM_VOLUME_SERVICE, words);
}

/* ---- States that cannot be used */

typedef struct {
    World *world;
    int partition;
    const char *request;
    VmEvent *answer;
} Asked;

static gboolean is_replied(void *user)
{
    Asked *asked = user;
    g_autoptr(GPtrArray) events = world_read(asked->world, "vm.events", asked->partition, TRUE);
    for (guint i = 0; i < events->len && asked->answer == NULL; i++) {
        VmEvent *event =
            world_unpack(asked->world, g_ptr_array_index(events, i), &vm_event__descriptor);
        if (event->event_case == VM_EVENT__EVENT_REPLY &&
            strcmp(event->reply->request_id, asked->request) == 0) {
            asked->answer = event;
        }
    }
    return asked->answer != NULL;
}

/* The answer to a request of the VM that lies in this partition. */
static VmEvent *await_answer(World *world, int partition, const char *request)
{
    Asked asked = {world, partition, request, NULL};
    outage_await("the request answered", is_replied, &asked);
    return asked.answer;
}

static ErrorCode ask(World *world, int partition, const char *vm)
{
    const char *request = world_request(world, vm, VM_COMMAND__COMMAND_GET_VM);
    const Reply *reply = await_answer(world, partition, request)->reply;
    return reply->error != NULL ? reply->error->code : ERROR_CODE_UNSPECIFIED;
}

static void create(World *world, int partition, const char *vm)
{
    VmCommand *command = world_command(world, vm, VM_COMMAND__COMMAND_CREATE_VM);
    command->create_vm->spec = outage_spec(world);
    world_send(world, command);
    assert_null(await_answer(world, partition, command->request_id)->reply->error);
}

static Process *restarted(World *world, Process *service)
{
    if (service != NULL) {
        process_stop(service);
    }
    return process_start(world, PROGRAM_VM_SERVICE, "i1");
}

static void expect_broken(World *world, const Process *service, const char *vm, int partition,
                          guint offset)
{
    g_autofree char *text = NULL;
    g_autofree char *record =
        g_strdup_printf("vm=%s error=\"%s.vm.state-%d@%u: ", vm, world->prefix, partition, offset);
    assert_true(g_file_get_contents(service->log, &text, NULL, NULL));
    if (strstr(text, record) == NULL) {
        fail_msg("\"%s\" is not in: %s", record, text);
    }
}

/* One is garbage, one is another service's: each is known as broken, and nothing else is. */
static void states_that_do_not_parse(void **state)
{
    World *world = *state;
    const char *garbled = world_vm(world, 0, 0);
    const char *foreign = world_vm(world, 1, 0);
    const char *good = world_vm(world, 1, 1);
    Process *service = restarted(world, NULL);
    create(world, 0, garbled);
    create(world, 1, foreign);
    create(world, 1, good);
    g_autoptr(GPtrArray) states = world_read(world, "vm.state", 0, TRUE);
    const VbBusRecord *before = g_ptr_array_index(states, states->len - 1);
    StateRecord record = STATE_RECORD__INIT;
    VolumeRecord volumes = VOLUME_RECORD__INIT;
    record.version = 7;
    record.body_case = STATE_RECORD__BODY_VOLUMES;
    record.volumes = &volumes;
    g_autoptr(GBytes) other = message_pack(&record);
    world_produce(world, TOPIC_VM_STATE, 0, garbled, "\xff\xff\xff", 3);
    world_produce(world, TOPIC_VM_STATE, 1, foreign, g_bytes_get_data(other, NULL),
                  g_bytes_get_size(other));
    g_autoptr(GPtrArray) last = world_read(world, "vm.state", 1, TRUE);
    const VbBusRecord *last_foreign = g_ptr_array_index(last, last->len - 1);

    service = restarted(world, service);
    assert_int_equal(ask(world, 0, garbled), ERROR_CODE_INTERNAL);
    assert_int_equal(ask(world, 1, foreign), ERROR_CODE_INTERNAL);
    assert_int_equal(ask(world, 1, good), ERROR_CODE_UNSPECIFIED);
    assert_true(process_metric(service, "virtbus_broken_states") == 2);
    assert_int_equal(process_log_lines(service, "state-broken"), 2);
    expect_broken(world, service, garbled, 0, (guint)before->offset + 2); /* A commit's mark. */
    expect_broken(world, service, foreign, 1, (guint)last_foreign->offset);
    g_free(process_await_page(service, "/readyz", "200 ok")); /* The others are served. */

    /* The way out: mend the record, or delete it, and start again. */
    world_produce(world, TOPIC_VM_STATE, 0, garbled, before->value, before->value_bytes);
    world_produce(world, TOPIC_VM_STATE, 1, foreign, NULL, 0);
    service = restarted(world, service);
    assert_int_equal(ask(world, 0, garbled), ERROR_CODE_UNSPECIFIED);
    assert_int_equal(ask(world, 1, foreign), ERROR_CODE_VM_NOT_FOUND);
    assert_int_equal(ask(world, 1, good), ERROR_CODE_UNSPECIFIED);
    assert_true(process_metric(service, "virtbus_broken_states") == 0);
    process_stop(service);
}

/* A topic that goes while the service runs: the service waits for a person, and goes on once the
 * topic is there again. librdkafka asks for topics anew every five minutes; here more often. */
static void topic_deleted_under_a_service(void **state)
{
    World *world = *state;
    const char *vm = world_vm(world, 1, 0);
    g_autofree char *words = g_strdup_printf("topic %s.vm.reports does not exist", world->prefix);
    Process *service = process_start_with(world, PROGRAM_VM_SERVICE, "i1",
                                          "--kafka.topic.metadata.refresh.interval.ms=2000");
    assert_int_equal(ask(world, 1, vm), ERROR_CODE_VM_NOT_FOUND);
    world_topic_delete(world, TOPIC_VM_REPORTS, NULL);
    g_autofree char *ready = process_await_page(service, "/readyz", words);
    assert_non_null(strstr(ready, "halted: "));
    assert_true(process_metric(service, "virtbus_halted") == 1);

    world_topics(world);
    assert_int_equal(ask(world, 1, vm), ERROR_CODE_VM_NOT_FOUND);
    g_free(process_await_page(service, "/readyz", "200 ok"));
    assert_true(process_lives(service));
    assert_true(process_metric(service, "virtbus_halted") == 0);
    assert_true(process_metric(service, "virtbus_restarts_total{cause=\"halted\"}") >= 1);
    assert_int_equal(process_log_lines(service, "refused"), 0);
    process_stop(service);
}

/* ---- Time */

static const char *send_dated(World *world, const char *vm, gint64 time_ms)
{
    VmCommand *command = world_command(world, vm, VM_COMMAND__COMMAND_CREATE_VM);
    command->create_vm->spec = outage_spec(world);
    g_autoptr(GBytes) packed = message_pack(command);
    g_autofree char *topic = topic_name(world->prefix, TOPIC_VM_COMMANDS, NULL);
    size_t size_bytes = g_bytes_get_size(packed);
    void *bytes = (void *)g_bytes_get_data(packed, NULL);
    assert_int_equal(rd_kafka_producev(world->producer, RD_KAFKA_V_TOPIC(topic),
                                       RD_KAFKA_V_PARTITION(1), RD_KAFKA_V_KEY(vm, 36),
                                       RD_KAFKA_V_VALUE(bytes, size_bytes),
                                       RD_KAFKA_V_MSGFLAGS(RD_KAFKA_MSG_F_COPY),
                                       RD_KAFKA_V_TIMESTAMP(time_ms), RD_KAFKA_V_END),
                     0);
    world_flush(world);
    return command->request_id;
}

/* The topic's own setting makes it harmless; where that is missing, the service says so. */
static void command_dated_1970(void **state)
{
    static const char series[] = "virtbus_producer_times_total{topic=\"vm.commands\"}";
    World *world = *state;
    gint64 now_ms = g_get_real_time() / 1000;
    Process *service = restarted(world, NULL);
    const char *request = send_dated(world, world_vm(world, 1, 0), 1000);
    assert_true(await_answer(world, 1, request)->time_ms >= now_ms);
    assert_true(process_metric(service, series) < 0);
    assert_int_equal(process_log_lines(service, "timestamp-type"), 0);

    world_topic_keep_times(world, TOPIC_VM_COMMANDS, 1);
    for (int i = 1; i <= 3; i++) {
        request = send_dated(world, world_vm(world, 1, i), 1000);
        assert_true(await_answer(world, 1, request)->time_ms >= now_ms);
    }
    g_autofree char *line = process_await_log(service, "timestamp-type");
    g_autofree char *topic = g_strdup_printf("topic=%s.vm.commands", world->prefix);
    assert_non_null(strstr(line, topic));
    assert_non_null(strstr(line, "LogAppendTime"));
    assert_int_equal(process_log_lines(service, "timestamp-type"), 1);
    assert_true(process_metric(service, series) == 4); /* With the one that keep_times left. */
    process_stop(service);
}

/* ---- The group */

/* The mounts of this program are its own. */
static int group_set_up(void **state)
{
    (void)state;
    assert_int_equal(unshare(CLONE_NEWNS), 0);
    assert_int_equal(mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL), 0);
    long_outage = outage_begin("long");
    return 0;
}

static int look_at_the_long_one(void)
{
    outage_look(long_outage);
    return 0;
}

static int tear_down(void **state)
{
    return world_tear_down(state) | look_at_the_long_one();
}

static int tear_down_bare(void **state)
{
    (void)state;
    return look_at_the_long_one();
}

#define TEST(function) cmocka_unit_test_setup_teardown(function, world_set_up, tear_down)
#define TEST_WITHOUT_TOPICS(function)                                                              \
    cmocka_unit_test_setup_teardown(function, world_set_up_bare, tear_down)
#define TEST_WITH_A_BROKER(function) cmocka_unit_test_teardown(function, tear_down_bare)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(two_instances_with_one_id),
        TEST(states_without_offsets),
        TEST_WITHOUT_TOPICS(unequal_partition_counts),
        TEST_WITHOUT_TOPICS(missing_topic),
        TEST(states_that_do_not_parse),
        TEST(topic_deleted_under_a_service),
        TEST(command_dated_1970),
        TEST_WITH_A_BROKER(full_disk_at_the_broker),
        TEST_WITH_A_BROKER(broker_gone_for_a_minute),
        cmocka_unit_test(broker_gone_for_five_minutes),
    };
    return cmocka_run_group_tests_name("outages", tests, group_set_up, NULL);
}
