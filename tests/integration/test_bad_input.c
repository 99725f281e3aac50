/* test_bad_input: K5 of the requirements, on a real broker and with both services as they are
 * shipped. A raw producer sends what no honest one would.
 *
 * Every bad record is followed by an honest request to the same partition. That one must be
 * answered; the bad one must lie in the dead letter queue, or have its own answer; and no record of
 * any VM may have changed. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/base/message.h"
#include "common/base/text.h"
#include "common/base/uuid.h"
#include "common/bus/bus_topics.h"
#include "common/bus/envelope.h"
#include "services/host-agent/agent_bus.h"
#include "tests/integration/real_services.h"
#include "tests/lib/kafka_admin.h"

enum {
    MIB = 1024 * 1024,
    HUGE_BYTES = 12 * MIB,
    TOPIC_MAX_BYTES = 16 * MIB,
    KEY_BYTES = UUID_TEXT_BYTES - 1,
};

/* What became of a record, by the client's own account. */
typedef struct {
    VbTopic topic;
    int partition;
    gint64 offset;
    gboolean delivered;
} Sent;

/* One bad record and what must become of it. */
typedef struct {
    const char *what;
    Sent sent;
    GBytes *key;
    GBytes *value;
    const char *request_id; /* Answered; NULL: dead-lettered. */
    ErrorCode code;         /* UNSPECIFIED: it is not bad, and is done. */
    const char *words;      /* In the sentence that goes with it. */
    const char *sentinel;   /* The request id of the honest one behind it. */
} Case;

typedef struct {
    World *world;
    rd_kafka_t *raw;
    pid_t services[2];
    const char *vms[WORLD_PARTITIONS]; /* One VM that exists, in each partition. */
    GPtrArray *cases;                  /* of Case: not judged yet. */
} Bad;

/* ---- Producers */

static void on_delivered(rd_kafka_t *producer, const rd_kafka_message_t *message, void *opaque)
{
    Sent *sent = message->_private;
    (void)producer;
    (void)opaque;
    sent->delivered = message->err == RD_KAFKA_RESP_ERR_NO_ERROR;
    sent->partition = message->partition;
    sent->offset = message->offset;
}

static rd_kafka_t *raw_producer(World *world)
{
    g_autoptr(GError) error = NULL;
    VbKafkaProperty large = {.name = "message.max.bytes", .value = G_STRINGIFY(16777216)};
    VbKafkaSettings settings = world->kafka;
    settings.extra = &large;
    settings.n_extra = 1;
    rd_kafka_t *raw = kafka_producer_new(&settings, on_delivered, NULL, &error);
    assert_non_null(raw);
    return raw;
}

/* To `partition`, -1: where the key belongs. NULL bytes are Kafka's own null. */
static void raw_send(Bad *bad, const char *host_uuid, int partition, GBytes *key, GBytes *value,
                     Sent *ret_sent)
{
    g_autofree char *name = topic_name(bad->world->prefix, ret_sent->topic, host_uuid);
    gsize key_bytes = 0;
    gsize value_bytes = 0;
    const void *key_data = key != NULL ? g_bytes_get_data(key, &key_bytes) : NULL;
    const void *value_data = value != NULL ? g_bytes_get_data(value, &value_bytes) : NULL;
    assert_int_equal(rd_kafka_producev(bad->raw, RD_KAFKA_V_TOPIC(name),
                                       RD_KAFKA_V_PARTITION(partition),
                                       RD_KAFKA_V_KEY(key_data, key_bytes),
                                       RD_KAFKA_V_VALUE((void *)value_data, value_bytes),
                                       RD_KAFKA_V_OPAQUE(ret_sent), RD_KAFKA_V_END),
                     RD_KAFKA_RESP_ERR_NO_ERROR);
    assert_int_equal(rd_kafka_flush(bad->raw, WORLD_WAIT_MS), RD_KAFKA_RESP_ERR_NO_ERROR);
    assert_true(ret_sent->delivered);
}

static GBytes *text_bytes(const char *text)
{
    return g_bytes_new(text, strlen(text));
}

/* ---- Answers */

/* The reply to that request among these events; NULL: none. */
static const VmEvent *reply_among(World *world, const GPtrArray *events, const char *request_id)
{
    for (guint i = 0; i < events->len; i++) {
        VmEvent *event = world_unpack(world, g_ptr_array_index(events, i), &vm_event__descriptor);
        if (event->event_case == VM_EVENT__EVENT_REPLY &&
            strcmp(event->reply->request_id, request_id) == 0) {
            return event;
        }
    }
    return NULL;
}

typedef struct {
    World *world;
    int partition;
    const char *request_id;
    const VmEvent *event;
} Awaited;

static gboolean is_answered(void *user)
{
    Awaited *awaited = user;
    g_autoptr(GPtrArray) events = world_read(awaited->world, "vm.events", awaited->partition, TRUE);
    awaited->event = reply_among(awaited->world, events, awaited->request_id);
    return awaited->event != NULL;
}

static const VmEvent *reply_await(World *world, int partition, const char *request_id)
{
    Awaited awaited = {.world = world, .partition = partition, .request_id = request_id};
    world_until(is_answered, &awaited);
    return awaited.event;
}

/* ---- The world of this program */

static VmCommand *create_command(World *world, const char *vm)
{
    VmCommand *command = world_command(world, vm, VM_COMMAND__COMMAND_CREATE_VM);
    VmSpec *spec = ARENA_MSG(world->arena, vm_spec);
    command->create_vm->spec = spec;
    spec->name = "honest";
    spec->vcpus = 1;
    spec->memory_bytes = 64 * MIB;
    return command;
}

static void topic_widen(Bad *bad, VbTopic topic, const char *host_uuid)
{
    g_autofree char *name = topic_name(bad->world->prefix, topic, host_uuid);
    admin_topic_set(bad->raw, name, "max.message.bytes", "16777216");
}

static void case_free(void *data)
{
    Case *one = data;
    g_clear_pointer(&one->key, g_bytes_unref);
    g_clear_pointer(&one->value, g_bytes_unref);
    g_free(one);
}

static int set_up(void **state)
{
    void *world = NULL;
    if (world_set_up(&world) != 0) {
        return -1;
    }
    Bad *bad = g_new0(Bad, 1);
    *state = bad;
    bad->world = world;
    bad->raw = raw_producer(world);
    bad->cases = g_ptr_array_new_with_free_func(case_free);
    topic_widen(bad, TOPIC_VM_COMMANDS, NULL);
    topic_widen(bad, TOPIC_HOST_COMMANDS, HOST_A);
    bad->services[0] = real_service_spawn(world, REAL_VM_SERVICE);
    bad->services[1] = real_service_spawn(world, REAL_VOLUME_SERVICE);
    for (int p = 0; p < WORLD_PARTITIONS; p++) {
        VmCommand *command = create_command(world, world_vm(world, p, 0));
        bad->vms[p] = command->vm_uuid;
        world_send(world, command);
        assert_null(reply_await(world, p, command->request_id)->reply->error);
    }
    return 0;
}

static int tear_down(void **state)
{
    Bad *bad = *state;
    void *world = bad->world;
    for (size_t i = 0; i < G_N_ELEMENTS(bad->services); i++) {
        int status = 0;
        if (waitpid(bad->services[i], &status, WNOHANG) != 0) {
            fail_msg("service %zu has ended, status 0x%x", i, status);
        }
    }
    rd_kafka_destroy(bad->raw);
    g_ptr_array_unref(bad->cases);
    g_free(bad);
    return world_tear_down(&world);
}

/* ---- Cases */

/* The honest one behind it asks both services: ListVolumes goes to volume-service and back. */
static Case *case_send(Bad *bad, const char *what, VbTopic topic, int partition, GBytes *key,
                       GBytes *value)
{
    Case *one = g_new0(Case, 1);
    one->what = what;
    one->sent.topic = topic;
    one->key = key;
    one->value = value;
    raw_send(bad, NULL, partition, key, value, &one->sent);
    one->sentinel =
        world_request(bad->world, bad->vms[one->sent.partition], VM_COMMAND__COMMAND_LIST_VOLUMES);
    g_ptr_array_add(bad->cases, one);
    return one;
}

static void dead(Bad *bad, const char *what, VbTopic topic, GBytes *key, GBytes *value,
                 ErrorCode code, const char *words)
{
    Case *one = case_send(bad, what, topic, 0, key, value);
    one->code = code;
    one->words = words;
}

/* These bytes with the key of the VM that exists. */
static void dead_value(Bad *bad, const char *what, VbTopic topic, GBytes *value, ErrorCode code,
                       const char *words)
{
    dead(bad, what, topic, text_bytes(bad->vms[0]), value, code, words);
}

static void answered(Bad *bad, const VmCommand *command, GBytes *value, ErrorCode code,
                     const char *words)
{
    Case *one = case_send(bad, words, TOPIC_VM_COMMANDS, -1, text_bytes(command->vm_uuid),
                          value != NULL ? value : message_pack(command));
    one->request_id = command->request_id;
    one->code = code;
    one->words = words;
}

static const VbBusRecord *dead_letter_of(World *world, const GPtrArray *letters, const Case *one)
{
    g_autofree char *topic = topic_name(world->prefix, one->sent.topic, NULL);
    g_autofree char *place =
        g_strdup_printf("%s/%d/%" G_GINT64_FORMAT, topic, one->sent.partition, one->sent.offset);
    for (guint i = 0; i < letters->len; i++) {
        const VbBusRecord *letter = g_ptr_array_index(letters, i);
        g_autofree char *found =
            g_strdup_printf("%s/%s/%s", world_header(world, letter, "__connect.errors.topic"),
                            world_header(world, letter, "__connect.errors.partition"),
                            world_header(world, letter, "__connect.errors.offset"));
        if (strcmp(place, found) == 0) {
            return letter;
        }
    }
    fail_msg("%s: %s is not in the dead letter queue", one->what, place);
    g_assert_not_reached();
}

static void expect_words(const Case *one, const char *sentence)
{
    if (strstr(sentence, one->words) == NULL) {
        fail_msg("%s: \"%s\" does not say \"%s\"", one->what, sentence, one->words);
    }
}

/* The record as it came, cut where it is too long, and where, by whom and why. */
static void expect_letter(World *world, const VbBusRecord *letter, const char *stage,
                          const char *service, const Case *one)
{
    gsize key_bytes = 0;
    gsize value_bytes = 0;
    const void *key = one->key != NULL ? g_bytes_get_data(one->key, &key_bytes) : NULL;
    const void *value = one->value != NULL ? g_bytes_get_data(one->value, &value_bytes) : NULL;
    g_autofree char *size = g_strdup_printf("%" G_GSIZE_FORMAT, value_bytes);
    g_autofree char *sha = g_compute_checksum_for_data(G_CHECKSUM_SHA256, value, value_bytes);
    assert_int_equal(letter->key_bytes, MIN(key_bytes, (gsize)ENVELOPE_DLQ_KEY_BYTES));
    assert_int_equal(letter->value_bytes, MIN(value_bytes, (gsize)ENVELOPE_DLQ_VALUE_BYTES));
    if (key_bytes > 0) {
        assert_memory_equal(letter->key, key, letter->key_bytes);
    }
    if (value_bytes > 0) {
        assert_memory_equal(letter->value, value, letter->value_bytes);
    }
    assert_string_equal(world_header(world, letter, "virtbus.value.bytes"), size);
    assert_string_equal(world_header(world, letter, "virtbus.value.sha256"), sha);
    assert_string_equal(world_header(world, letter, "__connect.errors.stage"), stage);
    assert_string_equal(world_header(world, letter, "__connect.errors.connector.name"), service);
    assert_string_equal(world_header(world, letter, "__connect.errors.exception.class.name"),
                        ENUM_CODE(error_code, one->code));
    expect_words(one, world_header(world, letter, "__connect.errors.exception.message"));
}

static void expect_reply(World *world, const GPtrArray *events, const Case *one)
{
    const VmEvent *event = reply_among(world, events, one->request_id);
    if (event == NULL) {
        fail_msg("%s: it has no answer", one->what);
    }
    const Error *error = event->reply->error;
    if (one->code == ERROR_CODE_UNSPECIFIED) {
        assert_null(error);
        return;
    }
    assert_non_null(error);
    if (error->code != one->code) {
        fail_msg("%s: answered %s, \"%s\"", one->what, ENUM_CODE(error_code, error->code),
                 error->message);
    }
    assert_true(g_utf8_validate(error->message, -1, NULL));
    expect_words(one, error->message);
}

static const char *service_of(VbTopic topic)
{
    return topic == TOPIC_VOLUME_COMMANDS || topic == TOPIC_VOLUME_REPORTS ? "volume-service"
                                                                           : "vm-service";
}

/* Nothing was recorded but the VMs of the set up, once each. */
static void expect_states_untouched(World *world)
{
    for (int p = 0; p < WORLD_PARTITIONS; p++) {
        g_autoptr(GPtrArray) vms = world_read(world, "vm.state", p, TRUE);
        g_autoptr(GPtrArray) volumes = world_read(world, "volume.state", p, TRUE);
        assert_int_equal(vms->len, 1);
        assert_int_equal(volumes->len, 0);
    }
}

static void judge_all(Bad *bad)
{
    World *world = bad->world;
    GPtrArray *events[WORLD_PARTITIONS];
    g_autoptr(GPtrArray) cases = bad->cases;
    bad->cases = g_ptr_array_new_with_free_func(case_free);
    for (guint i = 0; i < cases->len; i++) {
        const Case *one = g_ptr_array_index(cases, i);
        reply_await(world, one->sent.partition, one->sentinel);
    }
    for (int p = 0; p < WORLD_PARTITIONS; p++) {
        events[p] = world_read(world, "vm.events", p, TRUE);
    }
    g_autoptr(GPtrArray) letters = world_read(world, "dlq", 0, TRUE);
    for (guint i = 0; i < cases->len; i++) {
        const Case *one = g_ptr_array_index(cases, i);
        if (one->request_id != NULL) {
            expect_reply(world, events[one->sent.partition], one);
        } else {
            expect_letter(world, dead_letter_of(world, letters, one), "validate",
                          service_of(one->sent.topic), one);
        }
    }
    for (int p = 0; p < WORLD_PARTITIONS; p++) {
        g_ptr_array_unref(events[p]);
    }
    expect_states_untouched(world);
}

/* ---- Crafted bytes */

static void varint_add(GByteArray *bytes, guint64 value)
{
    do {
        guint8 byte = (value & 0x7f) | (value > 0x7f ? 0x80 : 0);
        g_byte_array_append(bytes, &byte, 1);
        value >>= 7;
    } while (value > 0);
}

static void field_add(GByteArray *bytes, guint32 number, const void *data, gsize size_bytes)
{
    varint_add(bytes, (guint64)number << 3 | 2);
    varint_add(bytes, size_bytes);
    g_byte_array_append(bytes, data, (guint)size_bytes);
}

/* `n` empty messages of that number. */
static GByteArray *empties(guint32 number, guint n)
{
    GByteArray *bytes = g_byte_array_new();
    for (guint i = 0; i < n; i++) {
        field_add(bytes, number, "", 0);
    }
    return bytes;
}

/* The message with these fields behind its own, which protobuf takes as part of it. */
static GBytes *packed_before(const void *message, GByteArray *fields)
{
    g_autoptr(GByteArray) taken = fields;
    g_autoptr(GBytes) packed = message_pack(message);
    GByteArray *bytes = g_byte_array_new();
    g_byte_array_append(bytes, g_bytes_get_data(packed, NULL), (guint)g_bytes_get_size(packed));
    g_byte_array_append(bytes, taken->data, taken->len);
    return g_byte_array_free_to_bytes(bytes);
}

/* The message with one more field. */
static GBytes *packed_with(const void *message, guint32 number, const void *data, gsize size_bytes)
{
    GByteArray *field = g_byte_array_new();
    field_add(field, number, data, size_bytes);
    return packed_before(message, field);
}

static GBytes *packed_with_array(const void *message, guint32 number, GByteArray *data)
{
    g_autoptr(GByteArray) taken = data;
    return packed_with(message, number, taken->data, taken->len);
}

/* A field in a field in a field ..., the outermost one opened. */
static GByteArray *nested(guint32 number, guint levels)
{
    GByteArray *inner = g_byte_array_new();
    for (guint i = 0; i < levels; i++) {
        GByteArray *outer = g_byte_array_new();
        field_add(outer, number, inner->data, inner->len);
        g_byte_array_unref(inner);
        inner = outer;
    }
    return inner;
}

static GBytes *filled(gsize size_bytes)
{
    guint8 *data = g_malloc(size_bytes);
    for (gsize i = 0; i < size_bytes; i++) {
        data[i] = (guint8)(i * 7 + i / 251);
    }
    return g_bytes_new_take(data, size_bytes);
}

static VmCommand *command_with_name(Bad *bad, const char *name)
{
    VmCommand *command = create_command(bad->world, bad->vms[0]);
    command->create_vm->spec->name = arena_strdup(bad->world->arena, name);
    return command;
}

/* ---- Bytes that are no message */

static void test_garbage_and_nothing(void **state)
{
    Bad *bad = *state;
    static const VbTopic topics[] = {TOPIC_VM_COMMANDS, TOPIC_VM_REPORTS, TOPIC_VOLUME_EVENTS,
                                     TOPIC_VOLUME_COMMANDS, TOPIC_VOLUME_REPORTS};
    for (size_t i = 0; i < G_N_ELEMENTS(topics); i++) {
        dead_value(bad, "garbage", topics[i], text_bytes("\xff\xff\xff no protobuf"),
                   ERROR_CODE_INVALID_ARGUMENT, "send the protobuf message itself");
        dead_value(bad, "a tombstone", topics[i], NULL, ERROR_CODE_INVALID_ARGUMENT, "is empty");
        dead_value(bad, "zero bytes", topics[i], g_bytes_new("", 0), ERROR_CODE_INVALID_ARGUMENT,
                   "is empty");
    }
    dead_value(bad, "JSON", TOPIC_VM_COMMANDS, text_bytes("{\"vm_uuid\": \"x\"}"),
               ERROR_CODE_INVALID_ARGUMENT, "are no VmCommand");
    dead_value(bad, "a length past the end", TOPIC_VM_COMMANDS,
               g_bytes_new("\x0a\xff\xff\xff\x7f", 5), ERROR_CODE_INVALID_ARGUMENT,
               "are no VmCommand");
    dead_value(bad, "groups, thousands deep", TOPIC_VM_COMMANDS,
               g_bytes_new_take(g_strnfill(60000, 0x0b), 60000), ERROR_CODE_INVALID_ARGUMENT,
               "are no VmCommand");
    judge_all(bad);
}

static void test_keys(void **state)
{
    Bad *bad = *state;
    World *world = bad->world;
    VmCommand *command = world_command(world, bad->vms[0], VM_COMMAND__COMMAND_DESTROY_VM);
    g_autofree char *upper = g_ascii_strup("aaaaaaaa-bbbb-4ccc-8ddd-eeeeeeeeeeee", -1);
    g_autoptr(GString) long_key = g_string_new(NULL);
    for (guint i = 0; i < 200; i++) {
        g_string_append(long_key, bad->vms[0]);
    }
    const char *keys[] = {
        "",        "web-server-1", upper, "00000000-0000-4000-8000-00000000000g", long_key->str,
        "\xff\xfe"};
    dead(bad, "no key", TOPIC_VM_COMMANDS, NULL, message_pack(command), ERROR_CODE_INVALID_ARGUMENT,
         "the key is not a VM's uuid");
    for (size_t i = 0; i < G_N_ELEMENTS(keys); i++) {
        dead(bad, "a key that is no uuid in lower case", TOPIC_VM_COMMANDS, text_bytes(keys[i]),
             message_pack(command), ERROR_CODE_INVALID_ARGUMENT, "36 characters, lower case");
    }
    command->vm_uuid = arena_printf(world->arena, "%.35sX", bad->vms[0]);
    Case *one = case_send(bad, "a key of another VM", TOPIC_VM_COMMANDS, 0, text_bytes(bad->vms[0]),
                          message_pack(command));
    one->request_id = command->request_id;
    one->code = ERROR_CODE_KEY_MISMATCH;
    one->words = bad->vms[0];
    judge_all(bad);
}

static void test_request_ids(void **state)
{
    Bad *bad = *state;
    World *world = bad->world;
    static const char *const ids[] = {"", "1", "AAAAAAAA-BBBB-4CCC-8DDD-EEEEEEEEEEEE",
                                      "\xff\xfe\xfd", "'; drop table vms; --"};
    for (size_t i = 0; i < G_N_ELEMENTS(ids); i++) {
        VmCommand *command = world_command(world, bad->vms[0], VM_COMMAND__COMMAND_DESTROY_VM);
        command->request_id = (char *)ids[i];
        dead_value(bad, "a request id that nobody could be answered by", TOPIC_VM_COMMANDS,
                   message_pack(command), ERROR_CODE_INVALID_ARGUMENT,
                   "is not a uuid in lower case");
    }
    judge_all(bad);
}

/* ---- Size */

static void test_more_than_the_limit(void **state)
{
    Bad *bad = *state;
    VmCommand *command = command_with_name(bad, "x");
    GByteArray *filler = empties(99, MESSAGE_MAX_BYTES / 2);
    dead_value(bad, "64 KiB and a little", TOPIC_VM_COMMANDS,
               packed_with_array(command, 10, filler), ERROR_CODE_TOO_LARGE,
               "at most 65536 are accepted");
    dead_value(bad, "a whole MB", TOPIC_VM_COMMANDS, filled(900 * 1024), ERROR_CODE_TOO_LARGE,
               "the VmCommand has 921600 bytes");
    dead_value(bad, "a large report", TOPIC_VM_REPORTS, filled(100 * 1024), ERROR_CODE_TOO_LARGE,
               "the HostReport has 102400 bytes");
    judge_all(bad);
}

/* The topic lets it through, so the consumer has to get past it. */
static void test_12_mib(void **state)
{
    Bad *bad = *state;
    gint64 before_bytes = real_service_peak_bytes(bad->services[0]);
    for (guint i = 0; i < 3; i++) {
        dead_value(bad, "12 MiB", TOPIC_VM_COMMANDS, filled(HUGE_BYTES), ERROR_CODE_TOO_LARGE,
                   "the VmCommand has 12582912 bytes");
    }
    /* In the wrong partition it must not be carried over to the right one. */
    dead(bad, "12 MiB in the wrong partition", TOPIC_VM_COMMANDS, text_bytes(bad->vms[1]),
         filled(HUGE_BYTES), ERROR_CODE_TOO_LARGE, "the VmCommand has 12582912 bytes");
    dead(bad, "12 MiB of key", TOPIC_VM_COMMANDS, filled(HUGE_BYTES), NULL,
         ERROR_CODE_INVALID_ARGUMENT, "the key is not a VM's uuid");
    judge_all(bad);
    gint64 grown_bytes = real_service_peak_bytes(bad->services[0]) - before_bytes;
    print_message("           VmHWM grew by %d MiB\n", (int)(grown_bytes / MIB));
    assert_true(grown_bytes < 8 * (gint64)HUGE_BYTES);
}

static void test_clients_refuse_themselves(void **state)
{
    Bad *bad = *state;
    World *world = bad->world;
    g_autoptr(GBytes) huge = filled(HUGE_BYTES);
    g_autofree char *topic = topic_name(world->prefix, TOPIC_VM_COMMANDS, NULL);
    assert_int_equal(
        rd_kafka_producev(world->producer, RD_KAFKA_V_TOPIC(topic),
                          RD_KAFKA_V_VALUE((void *)g_bytes_get_data(huge, NULL), HUGE_BYTES),
                          RD_KAFKA_V_END),
        RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE);

    g_autofree char *name = g_strnfill(70000, 'n');
    const char *argv[] = {VIRTBUSCTL,    "--bootstrap", world->bootstrap, "--topic.prefix",
                          world->prefix, "vm",          "create",         "--name",
                          name,          NULL};
    g_autofree char *words = NULL;
    int status = 0;
    assert_true(g_spawn_sync(NULL, (char **)argv, NULL, G_SPAWN_DEFAULT, NULL, NULL, NULL, &words,
                             &status, NULL));
    assert_int_not_equal(status, 0);
    if (strstr(words, "at most 65536") == NULL) {
        fail_msg("virtbusctl said: %.500s", words);
    }
    g_autoptr(GPtrArray) letters = world_read(world, "dlq", 0, TRUE);
    for (guint i = 0; i < letters->len; i++) { /* It was never sent. */
        const VbBusRecord *letter = g_ptr_array_index(letters, i);
        assert_null(memmem(letter->value, letter->value_bytes, name, 1000));
    }
}

/* The worst that the limit of bytes lets through: two bytes each make a structure. */
static void test_hostile_repetition(void **state)
{
    Bad *bad = *state;
    World *world = bad->world;
    const guint n = (MESSAGE_MAX_BYTES - 600) / 2;
    HostReport *report = ARENA_MSG(world->arena, host_report);
    report->vm_uuid = (char *)bad->vms[0];
    dead_value(bad, "32,000 volumes in a report", TOPIC_VM_REPORTS,
               packed_with_array(report, HOST_REPORT__REPORT_INVENTORY, empties(1, n)),
               ERROR_CODE_TOO_LARGE, "unpacks to more than");

    VmCommand *command = create_command(world, world_vm(world, 0, 1));
    g_autoptr(GBytes) spec = packed_before(command->create_vm->spec, empties(12, n));
    GByteArray *create = g_byte_array_new();
    field_add(create, 1, g_bytes_get_data(spec, NULL), g_bytes_get_size(spec));
    answered(bad, command, packed_with_array(command, VM_COMMAND__COMMAND_CREATE_VM, create),
             ERROR_CODE_INVALID_ARGUMENT,
             "disks, 0 CD-ROMs and 0 NICs are more than the machine has slots for");
    command = world_command(world, bad->vms[0], VM_COMMAND__COMMAND_GET_VM);
    answered(bad, command, packed_before(command, empties(99, n * 2 / 3)), ERROR_CODE_UNSPECIFIED,
             "unknown fields by the thousand");
    command = world_command(world, bad->vms[0], VM_COMMAND__COMMAND_GET_VM);
    answered(bad, command, packed_with_array(command, 99, nested(99, 9000)), ERROR_CODE_UNSPECIFIED,
             "unknown fields, thousands deep");
    command = world_command(world, bad->vms[0], VM_COMMAND__COMMAND_GET_VM);
    answered(bad, command, packed_with_array(command, VM_COMMAND__COMMAND_GET_VM, nested(1, 9000)),
             ERROR_CODE_UNSPECIFIED, "unknown fields in a known one, thousands deep");
    judge_all(bad);
}

/* ---- What a message holds */

static void test_unknown_members(void **state)
{
    Bad *bad = *state;
    World *world = bad->world;
    const char *stranger = world_vm(world, 0, 1); /* Without a record, so that none changes. */
    VmCommand *command = world_command(world, stranger, VM_COMMAND__COMMAND_GET_VM);
    command->command_case = VM_COMMAND__COMMAND__NOT_SET;
    answered(bad, command, NULL, ERROR_CODE_UNKNOWN_COMMAND, "no command that this version knows");
    command = world_command(world, stranger, VM_COMMAND__COMMAND_GET_VM);
    command->command_case = VM_COMMAND__COMMAND__NOT_SET;
    answered(bad, command, packed_with(command, 29, "", 0), ERROR_CODE_UNKNOWN_COMMAND,
             "no command that this version knows");

    HostReport *report = ARENA_MSG(world->arena, host_report);
    report->vm_uuid = (char *)bad->vms[0];
    VolumeEvent *event = ARENA_MSG(world->arena, volume_event);
    event->vm_uuid = (char *)bad->vms[0];
    VolumeCommand *ask = ARENA_MSG(world->arena, volume_command);
    ask->vm_uuid = (char *)bad->vms[0];
    dead_value(bad, "a report of nothing", TOPIC_VM_REPORTS, packed_with(report, 99, "", 0),
               ERROR_CODE_UNKNOWN_COMMAND, "HostReport");
    dead_value(bad, "a report of nothing", TOPIC_VOLUME_REPORTS, packed_with(report, 99, "", 0),
               ERROR_CODE_UNKNOWN_COMMAND, "HostReport");
    dead_value(bad, "an event of nothing", TOPIC_VOLUME_EVENTS, packed_with(event, 99, "", 0),
               ERROR_CODE_UNKNOWN_COMMAND, "VolumeEvent");
    dead_value(bad, "a volume command of nothing", TOPIC_VOLUME_COMMANDS,
               packed_with(ask, 99, "", 0), ERROR_CODE_UNKNOWN_COMMAND, "VolumeCommand");
    judge_all(bad);
}

static VmCommand *command_with_nic(Bad *bad)
{
    VmCommand *command = command_with_name(bad, "x");
    VmSpec *spec = command->create_vm->spec;
    ARENA_APPEND(bad->world->arena, spec->n_nics, spec->nics,
                 ARENA_MSG(bad->world->arena, nic_spec));
    return command;
}

static void test_enums(void **state)
{
    Bad *bad = *state;
    World *world = bad->world;
    VmCommand *command = world_command(world, bad->vms[0], VM_COMMAND__COMMAND_STOP_VM);
    command->stop_vm->mode = (StopMode)99;
    answered(bad, command, NULL, ERROR_CODE_INVALID_ARGUMENT,
             "field stop_vm.mode has the unknown value 99");
    command = command_with_name(bad, "x");
    command->create_vm->spec->firmware = (Firmware)-1;
    answered(bad, command, NULL, ERROR_CODE_INVALID_ARGUMENT,
             "field create_vm.spec.firmware has the unknown value -1");
    command = command_with_name(bad, "x");
    command->create_vm->spec->storage = ARENA_MSG(world->arena, storage_ref);
    command->create_vm->spec->storage->type = (StorageType)2147483647;
    answered(bad, command, NULL, ERROR_CODE_INVALID_ARGUMENT,
             "field create_vm.spec.storage.type has the unknown value 2147483647");
    command = command_with_nic(bad);
    command->create_vm->spec->nics[0]->model = (NicModel)77;
    answered(bad, command, NULL, ERROR_CODE_INVALID_ARGUMENT,
             "field create_vm.spec.nics[0].model has the unknown value 77");

    HostReport *report = ARENA_MSG(world->arena, host_report);
    report->vm_uuid = (char *)bad->vms[0];
    report->report_case = HOST_REPORT__REPORT_DOMAIN_STOPPED;
    report->domain_stopped = ARENA_MSG(world->arena, domain_stopped);
    report->domain_stopped->reason = (StopReason)99;
    dead_value(bad, "a report with an unknown enum", TOPIC_VM_REPORTS, message_pack(report),
               ERROR_CODE_INVALID_ARGUMENT, "field domain_stopped.reason has the unknown value 99");
    judge_all(bad);
}

static void test_strings(void **state)
{
    Bad *bad = *state;
    World *world = bad->world;
    static const char *const invalid[] = {"\xff",         "caf\xe9",          "\xc0\x80",
                                          "\xed\xa0\x80", "\xf4\x90\x80\x80", "cut \xe2\x82"};
    static const char *const control[] = {"a\nb", "\x1b[2J", "\x7f", "tab\there", "\xc2\x85"};
    for (size_t i = 0; i < G_N_ELEMENTS(invalid); i++) {
        answered(bad, command_with_name(bad, invalid[i]), NULL, ERROR_CODE_INVALID_ARGUMENT,
                 "field create_vm.spec.name is not valid UTF-8");
    }
    for (size_t i = 0; i < G_N_ELEMENTS(control); i++) {
        answered(bad, command_with_name(bad, control[i]), NULL, ERROR_CODE_INVALID_ARGUMENT,
                 "field create_vm.spec.name holds a control character");
    }
    VmCommand *command = command_with_nic(bad);
    command->create_vm->spec->nics[0]->mac = "\xfe";
    answered(bad, command, NULL, ERROR_CODE_INVALID_ARGUMENT,
             "field create_vm.spec.nics[0].mac is not valid UTF-8");
    command = world_command(world, bad->vms[0], VM_COMMAND__COMMAND_GET_VM);
    command->sender = "\xf0\x9f";
    answered(bad, command, NULL, ERROR_CODE_INVALID_ARGUMENT, "field sender is not valid UTF-8");

    /* A C string ends at the zero byte that these hold, and only looks right. */
    command = command_with_name(bad, "x");
    answered(bad, command, packed_with(command, 10, "\x0a\x0c\x0a\x0ahonest\0 it", 14),
             ERROR_CODE_INVALID_ARGUMENT, "field create_vm.spec.name holds a zero byte");
    command = world_command(world, bad->vms[0], VM_COMMAND__COMMAND_DESTROY_VM);
    g_autofree char *tail = g_strdup_printf("%s?and more", bad->vms[0]);
    tail[KEY_BYTES] = '\0';
    answered(bad, command, packed_with(command, 1, tail, KEY_BYTES + strlen("?and more")),
             ERROR_CODE_INVALID_ARGUMENT, "field vm_uuid holds a zero byte");

    /* The mismatch quotes what it was told, cut to 64 bytes: not in the middle of a character. */
    command = world_command(world, bad->vms[0], VM_COMMAND__COMMAND_DESTROY_VM);
    command->vm_uuid =
        "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx\xe2\x82\xac";
    Case *one = case_send(bad, "a long name for a uuid", TOPIC_VM_COMMANDS, 0,
                          text_bytes(bad->vms[0]), message_pack(command));
    one->request_id = command->request_id;
    one->code = ERROR_CODE_KEY_MISMATCH;
    one->words = "use the VM's uuid for both";
    judge_all(bad);
}

/* ---- The wrong place */

static void test_wrong_partition(void **state)
{
    Bad *bad = *state;
    World *world = bad->world;
    VmCommand *command = world_command(world, bad->vms[1], VM_COMMAND__COMMAND_GET_VM);
    g_autoptr(GBytes) key = text_bytes(bad->vms[1]);
    g_autoptr(GBytes) value = message_pack(command);
    Sent sent = {.topic = TOPIC_VM_COMMANDS};
    raw_send(bad, NULL, 0, key, value, &sent);
    assert_null(reply_await(world, 1, command->request_id)->reply->error);

    g_autoptr(GPtrArray) records = world_read(world, "vm.commands", 1, TRUE);
    const VbBusRecord *moved = g_ptr_array_index(records, records->len - 1);
    g_autofree char *from = g_strdup_printf("vm.commands/0/%" G_GINT64_FORMAT, sent.offset);
    assert_string_equal(world_header(world, moved, "moved-from"), from);
    assert_memory_equal(moved->value, g_bytes_get_data(value, NULL), g_bytes_get_size(value));
    g_autoptr(GPtrArray) events = world_read(world, "vm.events", 0, TRUE);
    assert_null(reply_among(world, events, command->request_id));
}

/* Messages of two topics have no oneof's number in common: none passes for another. */
static void test_wrong_type(void **state)
{
    Bad *bad = *state;
    World *world = bad->world;
    static const VmCommand__CommandCase kinds[] = {
        VM_COMMAND__COMMAND_CREATE_VM, VM_COMMAND__COMMAND_UPDATE_VM, VM_COMMAND__COMMAND_STOP_VM,
        VM_COMMAND__COMMAND_REBOOT_VM};
    for (size_t i = 0; i < G_N_ELEMENTS(kinds); i++) {
        VmCommand *command = world_command(world, bad->vms[0], kinds[i]);
        dead_value(bad, "a VmCommand on volume.commands", TOPIC_VOLUME_COMMANDS,
                   message_pack(command), ERROR_CODE_UNKNOWN_COMMAND, "VolumeCommand");
    }
    VmCommand *command = world_command(world, bad->vms[0], VM_COMMAND__COMMAND_EXPUNGE_VM);
    dead_value(bad, "an ExpungeVm on volume.commands", TOPIC_VOLUME_COMMANDS, message_pack(command),
               ERROR_CODE_UNKNOWN_COMMAND, "VolumeCommand");
    command->sender = "a client that names itself";
    dead_value(bad, "the same from a client that names itself", TOPIC_VOLUME_COMMANDS,
               message_pack(command), ERROR_CODE_INVALID_ARGUMENT, "are no VolumeCommand");

    HostReport *report = ARENA_MSG(world->arena, host_report);
    report->vm_uuid = (char *)bad->vms[0];
    report->host_uuid = HOST_A;
    report->operation_id = HOST_A;
    report->epoch = 1;
    report->report_case = HOST_REPORT__REPORT_DOMAIN_STOPPED;
    report->domain_stopped = ARENA_MSG(world->arena, domain_stopped);
    dead_value(bad, "a HostReport on vm.commands", TOPIC_VM_COMMANDS, message_pack(report),
               ERROR_CODE_INVALID_ARGUMENT, "are no VmCommand");
    judge_all(bad);
}

/* ---- The host's own topic */

static void on_report_fate(void *data, const char *vm_uuid, gboolean delivered)
{
    (void)data;
    (void)vm_uuid;
    (void)delivered;
}

typedef struct {
    VbAgentBus *bus;
    VbArena *arena;
    VbAgentCommand command;
    gint64 committed;
} Agent;

static gboolean has_command(void *user)
{
    Agent *agent = user;
    return agent_bus_serve(agent->bus, NULL) &&
           agent_bus_next(agent->bus, agent->arena, &agent->command);
}

static gboolean has_committed(void *user)
{
    Agent *agent = user;
    VbAgentCommand none;
    assert_true(agent_bus_serve(agent->bus, NULL));
    assert_false(agent_bus_next(agent->bus, agent->arena, &none));
    agent_bus_commit(agent->bus);
    return agent_bus_committed(agent->bus) == agent->committed;
}

static void host_send(Bad *bad, GPtrArray *cases, const char *what, GBytes *key, GBytes *value,
                      ErrorCode code, const char *words)
{
    Case *one = g_new0(Case, 1);
    *one = (Case){.what = what,
                  .sent = {.topic = TOPIC_HOST_COMMANDS},
                  .key = key,
                  .value = value,
                  .code = code,
                  .words = words};
    raw_send(bad, HOST_A, 0, key, value, &one->sent);
    g_ptr_array_add(cases, one);
}

static void host_cases_send(Bad *bad, GPtrArray *cases, HostCommand *command)
{
    const char *vm = bad->vms[0];
    host_send(bad, cases, "garbage", text_bytes(vm), text_bytes("\xff\xff"),
              ERROR_CODE_INVALID_ARGUMENT, "are no HostCommand");
    host_send(bad, cases, "a tombstone", text_bytes(vm), NULL, ERROR_CODE_INVALID_ARGUMENT,
              "is empty");
    host_send(bad, cases, "no key", NULL, message_pack(command), ERROR_CODE_KEY_MISMATCH,
              "key is no uuid");
    host_send(bad, cases, "a wrong key", text_bytes(bad->vms[1]), message_pack(command),
              ERROR_CODE_KEY_MISMATCH, vm);
    host_send(bad, cases, "12 MiB", text_bytes(vm), filled(HUGE_BYTES), ERROR_CODE_TOO_LARGE,
              "the HostCommand has 12582912 bytes");
    command->stop_domain->mode = (StopMode)99;
    host_send(bad, cases, "an unknown enum", text_bytes(vm), message_pack(command),
              ERROR_CODE_INVALID_ARGUMENT, "field stop_domain.mode has the unknown value 99");
    command->stop_domain->mode = STOP_MODE_FORCED;
    command->operation_id = "\xff";
    host_send(bad, cases, "invalid UTF-8", text_bytes(vm), message_pack(command),
              ERROR_CODE_INVALID_ARGUMENT, "field operation_id is not valid UTF-8");
}

/* The agent's own reader, without its libvirt: what it makes of a command that it does not know is
 * test_host_core's to show. */
static void test_host_topic(void **state)
{
    Bad *bad = *state;
    World *world = bad->world;
    g_autoptr(GPtrArray) cases = g_ptr_array_new_with_free_func(case_free);
    g_autoptr(GError) error = NULL;
    HostCommand *command = ARENA_MSG(world->arena, host_command);
    command->vm_uuid = (char *)bad->vms[0];
    command->operation_id = "honest";
    command->command_case = HOST_COMMAND__COMMAND_STOP_DOMAIN;
    command->stop_domain = ARENA_MSG(world->arena, stop_domain);
    host_cases_send(bad, cases, command);
    Case honest = {.sent = {.topic = TOPIC_HOST_COMMANDS}};
    g_autoptr(GBytes) key = text_bytes(bad->vms[0]);
    command->operation_id = "honest";
    g_autoptr(GBytes) value = message_pack(command);
    raw_send(bad, HOST_A, 0, key, value, &honest.sent);

    Agent agent = {.arena = world->arena, .committed = honest.sent.offset + 1};
    const VbAgentMark mark = {.offset = -1};
    VbAgentTopic topic;
    agent.bus = agent_bus_new(&world->kafka, world->prefix, HOST_A, on_report_fate, NULL, &error);
    assert_non_null(agent.bus);
    assert_true(agent_bus_open(agent.bus, &mark, &topic, &error));
    agent_bus_assign(agent.bus, &topic);
    world_until(has_command, &agent);
    assert_int_equal(agent.command.offset, honest.sent.offset);
    assert_string_equal(agent.command.command->operation_id, "honest");
    agent_bus_finish(agent.bus, agent.command.offset);
    world_until(has_committed, &agent); /* So every dead letter is with the broker. */
    agent_bus_end(agent.bus, 1000);

    g_autoptr(GPtrArray) letters = world_read(world, "agents.dlq", 0, TRUE);
    assert_int_equal(letters->len, cases->len);
    g_autofree char *name = topic_name(world->prefix, TOPIC_HOST_COMMANDS, HOST_A);
    for (guint i = 0; i < cases->len; i++) {
        const VbBusRecord *letter = g_ptr_array_index(letters, i);
        assert_string_equal(world_header(world, letter, "__connect.errors.topic"), name);
        expect_letter(world, letter, "validate", "host-agent", g_ptr_array_index(cases, i));
    }
}

/* I7 and I9: each bad record is explained by what it is. */
static void test_all_of_it_replays(void **state)
{
    const Bad *bad = *state;
    real_replay(bad->world);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_garbage_and_nothing),
        cmocka_unit_test(test_keys),
        cmocka_unit_test(test_request_ids),
        cmocka_unit_test(test_more_than_the_limit),
        cmocka_unit_test(test_12_mib),
        cmocka_unit_test(test_clients_refuse_themselves),
        cmocka_unit_test(test_hostile_repetition),
        cmocka_unit_test(test_unknown_members),
        cmocka_unit_test(test_enums),
        cmocka_unit_test(test_strings),
        cmocka_unit_test(test_wrong_partition),
        cmocka_unit_test(test_wrong_type),
        cmocka_unit_test(test_host_topic),
        cmocka_unit_test(test_all_of_it_replays),
    };
    return cmocka_run_group_tests_name("bad_input", tests, set_up, tear_down);
}
