/* test_bus_envelope: headers are derived, valid, and the same each time. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <string.h>

#include "common/base/uuid.h"
#include "common/bus/envelope.h"

#define VM    "00000000-0000-4000-8000-000000000001"
#define TRACE "0af7651916cd43dd8448eb211c80319c"

static VbArena *arena;

static int set_up(void **state)
{
    (void)state;
    arena = arena_new();
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    arena_free(arena);
    return 0;
}

static const char *text_of(const VbBusMessage *message, const char *name)
{
    VbBusRecord record = {.headers = message->headers, .n_headers = message->n_headers};
    const VbBusHeader *header = bus_record_header(&record, name);
    assert_non_null(header);
    char *text = arena_alloc(arena, header->size_bytes + 1);
    memcpy(text, header->value, header->size_bytes);
    return text;
}

static VbBusMessage output_of(const VbBusRecord *record, guint index, gint64 step_ms)
{
    VmEvent event = VM_EVENT__INIT;
    Warning warning = WARNING__INIT;
    event.event_case = VM_EVENT__EVENT_WARNING;
    event.warning = &warning;
    const char *id = envelope_record_id(arena, TOPIC_VM_COMMANDS, 3, 17);
    VbOrigin origin = envelope_origin(arena, id, VM, record);
    VbBusMessage message = {.topic = TOPIC_VM_EVENTS};
    envelope_output(arena, &origin, index, "vm-service", step_ms, &event.base, &message);
    return message;
}

static void test_output_headers(void **state)
{
    (void)state;
    VbBusMessage message = output_of(NULL, 0, G_GINT64_CONSTANT(1763794935123));
    assert_int_equal(message.n_headers, 8);
    assert_string_equal(text_of(&message, "ce_specversion"), "1.0");
    assert_string_equal(text_of(&message, "ce_source"), "/virtbus/vm-service");
    assert_string_equal(text_of(&message, "ce_type"), "virtbus.v1.VmEvent.warning");
    assert_string_equal(text_of(&message, "ce_subject"), VM);
    assert_string_equal(text_of(&message, "ce_time"), "2025-11-22T07:02:15.123Z");
    assert_string_equal(text_of(&message, "content-type"), "application/protobuf");
    const char *expected = uuid_derive(arena, VM, "vm.commands/3/17/0");
    assert_string_equal(text_of(&message, "ce_id"), expected);
}

static void test_time_stays_rfc_3339(void **state)
{
    (void)state;
    VbBusMessage before = output_of(NULL, 0, -5);
    VbBusMessage after = output_of(NULL, 0, G_MAXINT64);
    assert_string_equal(text_of(&before, "ce_time"), "1970-01-01T00:00:00.000Z");
    assert_string_equal(text_of(&after, "ce_time"), "9999-12-31T23:59:59.999Z");
}

static void test_each_output_has_its_own_id(void **state)
{
    (void)state;
    VbBusMessage first = output_of(NULL, 0, 0);
    VbBusMessage again = output_of(NULL, 0, 0);
    VbBusMessage second = output_of(NULL, 1, 0);
    assert_string_equal(text_of(&first, "ce_id"), text_of(&again, "ce_id"));
    assert_string_equal(text_of(&first, "traceparent"), text_of(&again, "traceparent"));
    assert_string_not_equal(text_of(&first, "ce_id"), text_of(&second, "ce_id"));
    /* Same trace, another span. */
    assert_memory_equal(text_of(&first, "traceparent"), text_of(&second, "traceparent"), 36);
    assert_string_not_equal(text_of(&first, "traceparent"), text_of(&second, "traceparent"));
}

static const char *trace_for(const char *traceparent)
{
    VbBusHeader header = {"traceparent", traceparent, strlen(traceparent)};
    VbBusRecord record = {.headers = &header, .n_headers = 1};
    VbBusMessage message = output_of(&record, 0, 0);
    const char *text = text_of(&message, "traceparent");
    assert_int_equal(strlen(text), 55);
    return text;
}

static void test_trace_goes_on(void **state)
{
    (void)state;
    const char *text = trace_for("00-" TRACE "-b7ad6b7169203331-00");
    assert_true(g_str_has_prefix(text, "00-" TRACE "-"));
    assert_true(g_str_has_suffix(text, "-00"));
    assert_null(strstr(text, "b7ad6b7169203331"));
}

static void test_bad_trace_is_replaced(void **state)
{
    static const char *const bad[] = {
        "",
        "00-" TRACE "-b7ad6b7169203331-0",
        "00-" TRACE "-b7ad6b7169203331-01-more",
        "ff-" TRACE "-b7ad6b7169203331-01",
        "00-0AF7651916CD43DD8448EB211C80319C-b7ad6b7169203331-01",
        "00-00000000000000000000000000000000-b7ad6b7169203331-01",
        "00-" TRACE "-0000000000000000-01",
        "00-" TRACE "-b7ad6b7169203331-xx",
        "00-" TRACE "xb7ad6b7169203331-01",
    };
    (void)state;
    VbBusMessage none = output_of(NULL, 0, 0);
    for (size_t i = 0; i < G_N_ELEMENTS(bad); i++) {
        assert_string_equal(trace_for(bad[i]), text_of(&none, "traceparent"));
    }
}

static void test_dlq_cuts_what_is_too_long(void **state)
{
    (void)state;
    g_autofree char *value = g_malloc0(ENVELOPE_DLQ_VALUE_BYTES + 1);
    g_autofree char *key = g_malloc0(ENVELOPE_DLQ_KEY_BYTES + 1);
    VbBusRecord record = {.topic = TOPIC_VM_REPORTS,
                          .partition = 2,
                          .offset = 9,
                          .key = key,
                          .key_bytes = ENVELOPE_DLQ_KEY_BYTES + 1,
                          .value = value,
                          .value_bytes = ENVELOPE_DLQ_VALUE_BYTES + 1};
    VbDlqReason reason = {.stage = "validate", .code = "TOO_LARGE", .reason = "it is too large"};
    VbBusMessage message = envelope_dlq(arena, &record, "virtbus", "vm-service", &reason);
    assert_int_equal(message.topic, TOPIC_DLQ);
    assert_int_equal(message.partition, 0);
    assert_int_equal(message.value_bytes, ENVELOPE_DLQ_VALUE_BYTES);
    assert_int_equal(message.key_bytes, ENVELOPE_DLQ_KEY_BYTES);
    assert_string_equal(text_of(&message, "__connect.errors.topic"), "virtbus.vm.reports");
    assert_string_equal(text_of(&message, "__connect.errors.partition"), "2");
    assert_string_equal(text_of(&message, "__connect.errors.offset"), "9");
    assert_string_equal(text_of(&message, "__connect.errors.stage"), "validate");
    assert_string_equal(text_of(&message, "__connect.errors.exception.class.name"), "TOO_LARGE");
    assert_string_equal(text_of(&message, "__connect.errors.exception.message"), "it is too large");
    assert_string_equal(text_of(&message, "virtbus.value.bytes"), "262145");
    /* Of 262145 zero bytes: sha256sum says so. */
    assert_string_equal(text_of(&message, "virtbus.value.sha256"),
                        "b27a032984ea8a6bec700c3d6f63f8fcfbf8ff8ef87e972891feda4eea4aad0c");
}

static void test_moved_record_keeps_its_headers(void **state)
{
    (void)state;
    VbBusHeader header = {"traceparent", "x", 1};
    VbBusRecord record = {.topic = TOPIC_VM_COMMANDS,
                          .partition = 3,
                          .offset = 17,
                          .key = VM,
                          .key_bytes = 36,
                          .value = "v",
                          .value_bytes = 1,
                          .headers = &header,
                          .n_headers = 1};
    VbBusMessage message = envelope_moved(arena, &record, 1);
    assert_int_equal(message.topic, TOPIC_VM_COMMANDS);
    assert_int_equal(message.partition, 1);
    assert_int_equal(message.n_headers, 2);
    assert_string_equal(text_of(&message, "traceparent"), "x");
    assert_string_equal(text_of(&message, "moved-from"), "vm.commands/3/17");
    assert_memory_equal(message.key, VM, 36);
}

static void test_record_is_copied_whole(void **state)
{
    (void)state;
    VbBusHeader headers[] = {{"a", "first", 5}, {"b", "", 0}, {"a", "last", 4}};
    VbBusRecord from = {.topic = TOPIC_VM_COMMANDS,
                        .partition = 3,
                        .offset = 17,
                        .time_ms = 5,
                        .key = "key",
                        .key_bytes = 3,
                        .value = "value",
                        .value_bytes = 5,
                        .headers = headers,
                        .n_headers = 3};
    g_autoptr(VbBusRecord) copy = bus_record_copy(&from);
    memset(headers, 0, sizeof(headers));
    assert_int_equal(copy->offset, 17);
    assert_memory_equal(copy->key, "key", 3);
    assert_memory_equal(copy->value, "value", 5);
    assert_memory_equal(bus_record_header(copy, "a")->value, "last", 4);
    assert_int_equal(bus_record_header(copy, "b")->size_bytes, 0);
    assert_null(bus_record_header(copy, "c"));
    from.value = NULL;
    from.value_bytes = 0;
    from.n_headers = 0;
    g_autoptr(VbBusRecord) tombstone = bus_record_copy(&from);
    assert_null(tombstone->value);
}

#define TEST(function) cmocka_unit_test_setup_teardown(function, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_output_headers),
        TEST(test_time_stays_rfc_3339),
        TEST(test_each_output_has_its_own_id),
        TEST(test_trace_goes_on),
        TEST(test_bad_trace_is_replaced),
        TEST(test_dlq_cuts_what_is_too_long),
        TEST(test_moved_record_keeps_its_headers),
        TEST(test_record_is_copied_whole),
    };
    return cmocka_run_group_tests_name("bus_envelope", tests, NULL, NULL);
}
