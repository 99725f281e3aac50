/* See kafka_world.h. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "tests/integration/kafka_world.h"

#include <signal.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/base/message.h"
#include "common/base/uuid.h"
#include "common/bus/bus_topics.h"
#include "common/runtime/log.h"
#include "tests/lib/echo_service.h"
#include "tests/lib/kafka_admin.h"

/* ---- Set up */

static void on_delivered(rd_kafka_t *producer, const rd_kafka_message_t *message, void *opaque)
{
    (void)producer;
    (void)opaque;
    if (message->err != RD_KAFKA_RESP_ERR_NO_ERROR) {
        fail_msg("the client's record was not taken: %s", rd_kafka_err2str(message->err));
    }
}

World *world_new(const char *bootstrap)
{
    /* What a client queued while its broker was gone is sent afterwards. */
    static const VbKafkaProperty patience = {"message.timeout.ms", "900000"};
    World *world = g_new0(World, 1);
    char uuid[UUID_TEXT_BYTES];
    g_autoptr(GError) error = NULL;
    world->bootstrap = g_strdup(bootstrap);
    log_start("test", VB_LOG_WARNING, VB_LOG_TEXT);
    uuid_random(uuid);
    world->prefix = g_strdup_printf("test-%.8s", uuid);
    world->group = g_strdup_printf("%s.echo-service", world->prefix);
    world->arena = arena_new();
    world->kafka = (VbKafkaSettings){.bootstrap = world->bootstrap, .client_id = "test"};
    world->children = g_array_new(FALSE, FALSE, sizeof(pid_t));
    VbKafkaSettings patient = world->kafka;
    patient.extra = &patience;
    patient.n_extra = 1;
    world->producer = kafka_producer_new(&patient, on_delivered, NULL, &error);
    if (world->producer == NULL) {
        fail_msg("%s", error->message);
    }
    return world;
}

int world_set_up_bare(void **state)
{
    const char *bootstrap = g_getenv("BOOTSTRAP");
    if (bootstrap == NULL) {
        print_error("BOOTSTRAP is not set: the address of a Kafka broker\n");
        return -1;
    }
    *state = world_new(bootstrap);
    return 0;
}

void world_topics(World *world)
{
    g_autoptr(GError) error = NULL;
    VbTopicPlan plan = {.prefix = world->prefix, .partitions = WORLD_PARTITIONS, .replication = 1};
    if (!bus_topics_create(world->producer, &plan, NULL, &error) ||
        !bus_topics_create_host(world->producer, world->prefix, HOST_A, 1, NULL, &error)) {
        fail_msg("%s", error->message);
    }
}

int world_set_up(void **state)
{
    if (world_set_up_bare(state) != 0) {
        return -1;
    }
    world_topics(*state);
    return 0;
}

int world_tear_down(void **state)
{
    world_free(*state);
    return 0;
}

void world_free(World *world)
{
    for (guint i = 0; i < world->children->len; i++) {
        pid_t pid = g_array_index(world->children, pid_t, i);
        kill(pid, SIGKILL);
        waitpid(pid, NULL, 0);
    }
    rd_kafka_destroy(world->producer);
    g_array_free(world->children, TRUE);
    arena_free(world->arena);
    g_free(world->prefix);
    g_free(world->group);
    g_free(world->bootstrap);
    g_free(world);
}

typedef struct {
    World *world;
    char *name;
} Shown;

static gboolean is_shown(void *user)
{
    Shown *shown = user;
    return kafka_partitions(shown->world->producer, shown->name, WORLD_WAIT_MS, NULL) > 0;
}

void world_topic(World *world, VbTopic topic, int n_partitions)
{
    char text[256];
    g_autofree char *name = topic_name(world->prefix, topic, NULL);
    rd_kafka_queue_t *queue = rd_kafka_queue_new(world->producer);
    rd_kafka_NewTopic_t *new_topic =
        rd_kafka_NewTopic_new(name, n_partitions, 1, text, sizeof(text));
    rd_kafka_CreateTopics(world->producer, &new_topic, 1, NULL, queue);
    rd_kafka_event_destroy(rd_kafka_queue_poll(queue, WORLD_WAIT_MS));
    rd_kafka_NewTopic_destroy(new_topic);
    rd_kafka_queue_destroy(queue);
    Shown shown = {world, name};
    world_until(is_shown, &shown);
}

void world_topic_delete(World *world, VbTopic topic, const char *host_uuid)
{
    g_autofree char *name = topic_name(world->prefix, topic, host_uuid);
    admin_topic_delete(world->producer, name);
}

/* ---- The client */

const char *world_vm(World *world, int partition, int n)
{
    for (int i = 1;; i++) {
        char *uuid = arena_printf(world->arena, "00000000-0000-4000-8000-%012x", i);
        if (topic_partition(uuid, 36, WORLD_PARTITIONS) == partition && n-- == 0) {
            return uuid;
        }
    }
}

VmCommand *world_command(World *world, const char *vm, VmCommand__CommandCase which)
{
    VmCommand *command = ARENA_MSG(world->arena, vm_command);
    command->vm_uuid = (char *)vm;
    command->request_id =
        arena_printf(world->arena, "11111111-0000-4000-8000-%012x", ++world->next_request);
    command->command_case = which;
    /* Every command of the oneof is a message; an empty one of the right kind will do. */
    const ProtobufCFieldDescriptor *field =
        protobuf_c_message_descriptor_get_field(&vm_command__descriptor, which);
    command->create_vm = (void *)arena_message(world->arena, field->descriptor);
    return command;
}

static char *topic_of(const World *world, const char *topic_suffix)
{
    return g_strdup_printf("%s.%s", world->prefix, topic_suffix);
}

void world_queue(World *world, VbTopic topic, int partition, const char *key, const void *value,
                 size_t value_bytes)
{
    g_autofree char *name = topic_name(world->prefix, topic, NULL);
    size_t key_bytes = key != NULL ? strlen(key) : 0;
    rd_kafka_resp_err_t code = rd_kafka_producev(
        world->producer, RD_KAFKA_V_TOPIC(name), RD_KAFKA_V_PARTITION(partition),
        RD_KAFKA_V_KEY(key, key_bytes), RD_KAFKA_V_VALUE((void *)value, value_bytes),
        RD_KAFKA_V_MSGFLAGS(RD_KAFKA_MSG_F_COPY), RD_KAFKA_V_END);
    assert_int_equal(code, RD_KAFKA_RESP_ERR_NO_ERROR);
}

void world_flush(World *world)
{
    assert_int_equal(rd_kafka_flush(world->producer, WORLD_WAIT_MS), RD_KAFKA_RESP_ERR_NO_ERROR);
}

void world_produce(World *world, VbTopic topic, int partition, const char *key, const void *value,
                   size_t value_bytes)
{
    world_queue(world, topic, partition, key, value, value_bytes);
    world_flush(world);
}

void world_send(World *world, const VmCommand *command)
{
    g_autoptr(GBytes) packed = message_pack(command);
    world_produce(world, TOPIC_VM_COMMANDS, RD_KAFKA_PARTITION_UA, command->vm_uuid,
                  g_bytes_get_data(packed, NULL), g_bytes_get_size(packed));
}

const char *world_request(World *world, const char *vm, VmCommand__CommandCase which)
{
    VmCommand *command = world_command(world, vm, which);
    world_send(world, command);
    return command->request_id;
}

static rd_kafka_t *reader_new(World *world, const char *topic, int partition, gboolean committed)
{
    g_autoptr(GError) error = NULL;
    const VbKafkaPair pairs[] = {
        {"group.id", "test"},
        {"isolation.level", committed ? "read_committed" : "read_uncommitted"},
        {"enable.partition.eof", "true"},
        {"enable.auto.commit", "false"},
        {"fetch.wait.max.ms", "10"}, /* An end is known by a fetch that came back empty. */
        {NULL, NULL}};
    rd_kafka_conf_t *conf = kafka_conf_new(&world->kafka, pairs, &error);
    assert_non_null(conf);
    rd_kafka_t *reader = kafka_handle_new(RD_KAFKA_CONSUMER, conf, &error);
    assert_non_null(reader);
    assert_true(kafka_partitions(reader, topic, WORLD_WAIT_MS, &error) > partition);
    g_autoptr(rd_kafka_topic_partition_list_t) list = rd_kafka_topic_partition_list_new(1);
    rd_kafka_topic_partition_list_add(list, topic, partition)->offset = RD_KAFKA_OFFSET_BEGINNING;
    rd_kafka_assign(reader, list);
    return reader;
}

static VbBusRecord *record_of(World *world, const rd_kafka_message_t *message)
{
    size_t n = 0;
    rd_kafka_headers_t *list = NULL;
    VbBusHeader *headers = NULL;
    if (rd_kafka_message_headers(message, &list) == RD_KAFKA_RESP_ERR_NO_ERROR) {
        headers = arena_alloc(world->arena, rd_kafka_header_cnt(list) * sizeof(*headers));
        while (n < rd_kafka_header_cnt(list)) {
            rd_kafka_header_get_all(list, n, &headers[n].name, &headers[n].value,
                                    &headers[n].size_bytes);
            n++;
        }
    }
    VbBusRecord record = {.partition = message->partition,
                          .offset = message->offset,
                          .time_ms = rd_kafka_message_timestamp(message, NULL),
                          .key = message->key,
                          .key_bytes = message->key_len,
                          .value = message->payload,
                          .value_bytes = message->len,
                          .headers = headers,
                          .n_headers = n};
    return bus_record_copy(&record);
}

typedef void (*Take)(World *world, const rd_kafka_message_t *message, void *user);

static void messages_read(World *world, const char *topic_suffix, int partition, gboolean committed,
                          Take take, void *user)
{
    g_autofree char *topic = topic_of(world, topic_suffix);
    rd_kafka_t *reader = reader_new(world, topic, partition, committed);
    for (gboolean at_end = FALSE; !at_end;) {
        rd_kafka_message_t *message = rd_kafka_consumer_poll(reader, WORLD_WAIT_MS);
        assert_non_null(message);
        at_end = message->err == RD_KAFKA_RESP_ERR__PARTITION_EOF;
        if (message->err == RD_KAFKA_RESP_ERR_NO_ERROR) {
            take(world, message, user);
        } else if (!at_end) {
            fail_msg("%s: %s", topic, rd_kafka_message_errstr(message));
        }
        rd_kafka_message_destroy(message);
    }
    rd_kafka_destroy_flags(reader, RD_KAFKA_DESTROY_F_NO_CONSUMER_CLOSE);
}

static void record_add(World *world, const rd_kafka_message_t *message, void *user)
{
    g_ptr_array_add(user, record_of(world, message));
}

GPtrArray *world_read(World *world, const char *topic_suffix, int partition, gboolean committed)
{
    GPtrArray *records = g_ptr_array_new_with_free_func((GDestroyNotify)bus_record_free);
    messages_read(world, topic_suffix, partition, committed, record_add, records);
    return records;
}

void world_until(WorldCondition is_done, void *user)
{
    gint64 end_us = g_get_monotonic_time() + WORLD_WAIT_MS * G_GINT64_CONSTANT(1000);
    while (!is_done(user)) {
        if (g_get_monotonic_time() > end_us) {
            fail_msg("the condition did not come true within %d ms", WORLD_WAIT_MS);
        }
        g_usleep(20000);
    }
}

typedef struct {
    World *world;
    const char *topic_suffix;
    int partition;
    guint n;
    GPtrArray *records;
} Awaited;

static gboolean is_there(void *user)
{
    Awaited *awaited = user;
    g_clear_pointer(&awaited->records, g_ptr_array_unref);
    awaited->records = world_read(awaited->world, awaited->topic_suffix, awaited->partition, TRUE);
    return awaited->records->len >= awaited->n;
}

typedef struct {
    World *world;
    VbTopic topic;
    int partition;
    rd_kafka_timestamp_type_t type; /* Of the last record. */
} Probe;

static void type_take(World *world, const rd_kafka_message_t *message, void *user)
{
    Probe *probe = user;
    (void)world;
    rd_kafka_message_timestamp(message, &probe->type);
}

static gboolean is_of_producers_time(void *user)
{
    Probe *probe = user;
    const char *vm = world_vm(probe->world, probe->partition, 0);
    world_produce(probe->world, probe->topic, probe->partition, vm, "\xff\xff\xff", 3);
    messages_read(probe->world, topic_info(probe->topic)->suffix, probe->partition, TRUE, type_take,
                  probe);
    return probe->type == RD_KAFKA_TIMESTAMP_CREATE_TIME;
}

void world_topic_keep_times(World *world, VbTopic topic, int partition)
{
    Probe probe = {.world = world, .topic = topic, .partition = partition};
    g_autofree char *name = topic_name(world->prefix, topic, NULL);
    admin_topic_set(world->producer, name, "message.timestamp.type", "CreateTime");
    world_until(is_of_producers_time, &probe);
}

GPtrArray *world_wait(World *world, const char *topic_suffix, int partition, guint n)
{
    Awaited awaited = {world, topic_suffix, partition, n, NULL};
    world_until(is_there, &awaited);
    return awaited.records;
}

void *world_unpack(World *world, const VbBusRecord *record,
                   const ProtobufCMessageDescriptor *descriptor)
{
    void *message = protobuf_c_message_unpack(descriptor, arena_allocator(world->arena, SIZE_MAX),
                                              record->value_bytes, record->value);
    assert_non_null(message);
    return message;
}

const char *world_header(World *world, const VbBusRecord *record, const char *name)
{
    const VbBusHeader *header = bus_record_header(record, name);
    assert_non_null(header);
    char *text = arena_alloc(world->arena, header->size_bytes + 1);
    memcpy(text, header->value, header->size_bytes);
    return text;
}

rd_kafka_t *world_transaction(World *world, const char *id)
{
    g_autoptr(GError) error = NULL;
    g_autofree char *full_id = g_strdup_printf("%s-%s", world->prefix, id);
    const VbKafkaPair pairs[] = {{"transactional.id", full_id}, {NULL, NULL}};
    rd_kafka_conf_t *conf = kafka_conf_new(&world->kafka, pairs, &error);
    assert_non_null(conf);
    rd_kafka_t *producer = kafka_handle_new(RD_KAFKA_PRODUCER, conf, &error);
    assert_non_null(producer);
    assert_null(rd_kafka_init_transactions(producer, WORLD_WAIT_MS));
    assert_null(rd_kafka_begin_transaction(producer));
    return producer;
}

/* ---- The service in this process */

static gboolean on_tick(void *user)
{
    Service *service = user;
    if (service->on_tick != NULL) {
        service->on_tick(service->user);
    }
    return FALSE;
}

Service *service_new(World *world, const char *instance_id, void (*tick)(void *user), void *user)
{
    g_autoptr(GError) error = NULL;
    Service *service = g_new0(Service, 1);
    service->world = world;
    service->on_tick = tick;
    service->user = user;
    service->instance_id = g_strdup(instance_id);
    settings__init(&service->settings);
    service->bus_config = (VbBusKafkaConfig){.kafka = world->kafka,
                                             .service = &echo_service,
                                             .prefix = world->prefix,
                                             .group_id = world->group,
                                             .instance_id = service->instance_id,
                                             .tick = on_tick,
                                             .user = service};
    service->loop_config = (VbLoopConfig){.service = &echo_service,
                                          .settings = &service->settings,
                                          .group_id = world->group,
                                          .prefix = world->prefix,
                                          .instance_id = service->instance_id};
    service->bus = bus_kafka_open(&service->bus_config, &service->loop_config.n_partitions, &error);
    if (service->bus == NULL) {
        fail_msg("the bus does not open: %s", error->message);
    }
    assert_int_equal(service->loop_config.n_partitions, WORLD_PARTITIONS);
    service->loop = loop_new(service->bus, &service->loop_config);
    return service;
}

void service_free(Service *service)
{
    loop_free(service->loop);
    bus_kafka_close(service->bus);
    g_free(service->instance_id);
    g_free(service);
}

static void service_turn(Service *service)
{
    g_autoptr(GError) error = NULL;
    if (!loop_turn(service->loop, 100, &error)) {
        fail_msg("the loop ended: %s", error->message);
    }
}

static gboolean is_restored(void *user)
{
    Service *service = user;
    service_turn(service);
    return loop_partitions(service->loop) == WORLD_PARTITIONS;
}

void service_restore(Service *service)
{
    world_until(is_restored, service);
}

typedef struct {
    Service *service;
    Awaited awaited;
} Served;

static gboolean is_served(void *user)
{
    Served *served = user;
    service_turn(served->service);
    return is_there(&served->awaited);
}

void service_serve(Service *service, const char *topic_suffix, int partition, guint n)
{
    Served served = {service, {service->world, topic_suffix, partition, n, NULL}};
    world_until(is_served, &served);
    g_ptr_array_unref(served.awaited.records);
}

static void each_state(const char *vm_uuid, const void *bytes, size_t size_bytes, void *user)
{
    g_autofree char *text = g_base64_encode(bytes, size_bytes);
    g_ptr_array_add(user, g_strdup_printf("%s %s", vm_uuid, text));
}

static gint compare_text(gconstpointer a, gconstpointer b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

char *service_states(const Service *service)
{
    g_autoptr(GPtrArray) lines = g_ptr_array_new_with_free_func(g_free);
    loop_each_state(service->loop, each_state, lines);
    g_ptr_array_sort(lines, compare_text);
    g_ptr_array_add(lines, NULL);
    return g_strjoinv("\n", (char **)lines->pdata);
}

/* ---- The service as a process */

pid_t world_spawn(World *world, const char *instance_id, const char *const *arguments)
{
    g_autoptr(GPtrArray) argv = g_ptr_array_new_with_free_func(g_free);
    g_ptr_array_add(argv, g_strdup(ECHO_SERVICE));
    g_ptr_array_add(argv, g_strdup_printf("--bootstrap=%s", world->bootstrap));
    g_ptr_array_add(argv, g_strdup_printf("--topic.prefix=%s", world->prefix));
    g_ptr_array_add(argv, g_strdup("--log.level=warning"));
    if (instance_id != NULL) {
        g_ptr_array_add(argv, g_strdup_printf("--instance.id=%s", instance_id));
    }
    for (; arguments != NULL && *arguments != NULL; arguments++) {
        g_ptr_array_add(argv, g_strdup(*arguments));
    }
    g_ptr_array_add(argv, NULL);
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        execv(ECHO_SERVICE, (char **)argv->pdata);
        _exit(127);
    }
    g_array_append_val(world->children, pid);
    return pid;
}

int world_reap(World *world, pid_t pid)
{
    int status;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    for (guint i = 0; i < world->children->len; i++) {
        if (g_array_index(world->children, pid_t, i) == pid) {
            g_array_remove_index(world->children, i);
            break;
        }
    }
    return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
}
