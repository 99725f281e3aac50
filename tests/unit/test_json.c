/* Messages to JSON and back: every message type of the contract, every scalar type, every refusal.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include "common/base/error.h"
#include "common/base/json.h"
#include "common/base/message.h"
#include "json_types.pb-c.h"

/* ---- Filling any message with values that differ from field to field */

/* The contract has no recursive types: a message that nests deeper than this holds itself. */
enum { DEPTH_MAX = 16 };

typedef struct {
    VbArena *arena;
    unsigned variant; /* Which member of each oneof; small or large numbers. */
    unsigned serial;
    unsigned depth;
} Filling;

static ProtobufCMessage *filled(Filling *filling, const ProtobufCMessageDescriptor *descriptor);

static size_t size_of(ProtobufCType type)
{
    switch (type) {
    case PROTOBUF_C_TYPE_INT64:
    case PROTOBUF_C_TYPE_SINT64:
    case PROTOBUF_C_TYPE_SFIXED64:
    case PROTOBUF_C_TYPE_UINT64:
    case PROTOBUF_C_TYPE_FIXED64:
    case PROTOBUF_C_TYPE_DOUBLE:
        return 8;
    case PROTOBUF_C_TYPE_BYTES:
        return sizeof(ProtobufCBinaryData);
    case PROTOBUF_C_TYPE_STRING:
    case PROTOBUF_C_TYPE_MESSAGE:
        return sizeof(void *);
    case PROTOBUF_C_TYPE_INT32:
    case PROTOBUF_C_TYPE_SINT32:
    case PROTOBUF_C_TYPE_SFIXED32:
    case PROTOBUF_C_TYPE_UINT32:
    case PROTOBUF_C_TYPE_FIXED32:
    case PROTOBUF_C_TYPE_FLOAT:
    case PROTOBUF_C_TYPE_BOOL:
    case PROTOBUF_C_TYPE_ENUM:
        return 4;
    }
    g_assert_not_reached();
}

static void fill_value(Filling *filling, const ProtobufCFieldDescriptor *field, void *value)
{
    VbArena *arena = filling->arena;
    unsigned variant = filling->variant;
    unsigned number = ++filling->serial;
    switch (field->type) {
    case PROTOBUF_C_TYPE_INT32:
    case PROTOBUF_C_TYPE_SINT32:
    case PROTOBUF_C_TYPE_SFIXED32:
        *(int32_t *)value = variant % 2 == 0 ? (int32_t)number : G_MININT32 + (int32_t)number;
        return;
    case PROTOBUF_C_TYPE_UINT32:
    case PROTOBUF_C_TYPE_FIXED32:
        *(uint32_t *)value = variant % 2 == 0 ? number : G_MAXUINT32 - number;
        return;
    case PROTOBUF_C_TYPE_INT64:
    case PROTOBUF_C_TYPE_SINT64:
    case PROTOBUF_C_TYPE_SFIXED64:
        *(gint64 *)value = variant % 2 == 0 ? number : G_MININT64 + number;
        return;
    case PROTOBUF_C_TYPE_UINT64:
    case PROTOBUF_C_TYPE_FIXED64:
        *(guint64 *)value = variant % 2 == 0 ? number : G_MAXUINT64 - number;
        return;
    case PROTOBUF_C_TYPE_FLOAT:
        *(float *)value = (float)number / 8;
        return;
    case PROTOBUF_C_TYPE_DOUBLE:
        *(double *)value = number / 3.0;
        return;
    case PROTOBUF_C_TYPE_BOOL:
        *(protobuf_c_boolean *)value = TRUE;
        return;
    case PROTOBUF_C_TYPE_ENUM: {
        const ProtobufCEnumDescriptor *type = field->descriptor;
        *(int *)value = type->values[1 + number % (type->n_values - 1)].value;
        return;
    }
    case PROTOBUF_C_TYPE_STRING:
        *(char **)value = arena_printf(arena, "\"%s\" \\ <%u> \u00e9\u20ac", field->name, number);
        return;
    case PROTOBUF_C_TYPE_BYTES: {
        ProtobufCBinaryData *bytes = value;
        bytes->len = number % 5 + 1;
        bytes->data = (uint8_t *)arena_strdup(arena, "\xff\x01\x80\x7f\xfe");
        return;
    }
    case PROTOBUF_C_TYPE_MESSAGE:
        *(ProtobufCMessage **)value = filled(filling, field->descriptor);
        return;
    }
    g_assert_not_reached();
}

/* Of the members of a oneof, the one that `variant` chooses. */
static gboolean is_chosen(const ProtobufCMessageDescriptor *descriptor,
                          const ProtobufCFieldDescriptor *field, unsigned variant)
{
    unsigned n_members = 0;
    unsigned rank = 0;
    for (unsigned i = 0; i < descriptor->n_fields; i++) {
        const ProtobufCFieldDescriptor *other = &descriptor->fields[i];
        if ((other->flags & PROTOBUF_C_FIELD_FLAG_ONEOF) != 0 &&
            other->quantifier_offset == field->quantifier_offset) {
            rank = other == field ? n_members : rank;
            n_members++;
        }
    }
    return variant % n_members == rank;
}

static void fill_repeated(Filling *filling, const ProtobufCFieldDescriptor *field, char *base)
{
    enum { ITEMS = 2 };
    char *items = arena_alloc(filling->arena, ITEMS * size_of(field->type));
    for (size_t item = 0; item < ITEMS; item++) {
        fill_value(filling, field, items + item * size_of(field->type));
    }
    *(size_t *)(base + field->quantifier_offset) = ITEMS;
    *(char **)(base + field->offset) = items;
}

static ProtobufCMessage *filled(Filling *filling, const ProtobufCMessageDescriptor *descriptor)
{
    ProtobufCMessage *message = arena_message(filling->arena, descriptor);
    char *base = (char *)message;
    if (++filling->depth > DEPTH_MAX) {
        fail_msg("message %s holds itself", descriptor->short_name);
    }
    for (unsigned i = 0; i < descriptor->n_fields; i++) {
        const ProtobufCFieldDescriptor *field = &descriptor->fields[i];
        gboolean in_oneof = (field->flags & PROTOBUF_C_FIELD_FLAG_ONEOF) != 0;
        if (in_oneof && !is_chosen(descriptor, field, filling->variant)) {
            continue;
        }
        if (field->label == PROTOBUF_C_LABEL_REPEATED) {
            fill_repeated(filling, field, base);
            continue;
        }
        if (in_oneof) {
            *(uint32_t *)(base + field->quantifier_offset) = field->id;
        }
        fill_value(filling, field, base + field->offset);
    }
    filling->depth--;
    return message;
}

/* ---- The tests */

static void assert_round_trip(VbArena *arena, const ProtobufCMessage *message)
{
    g_autoptr(GError) error = NULL;
    g_autofree char *text = message_to_json_text(message, TRUE);
    ProtobufCMessage *back = message_from_json_text(arena, message->descriptor, text, -1, &error);
    if (back == NULL) {
        fail_msg("%s: %s\n%s", message->descriptor->short_name, error->message, text);
    }
    g_autoptr(GBytes) before = message_pack(message);
    g_autoptr(GBytes) after = message_pack(back);
    if (!g_bytes_equal(before, after)) {
        fail_msg("%s is not the same after its way through\n%s", message->descriptor->short_name,
                 text);
    }
}

static void collect(const ProtobufCMessageDescriptor *descriptor, GHashTable *found)
{
    if (!g_hash_table_insert(found, (gpointer)descriptor->short_name, (gpointer)descriptor)) {
        return;
    }
    for (unsigned i = 0; i < descriptor->n_fields; i++) {
        if (descriptor->fields[i].type == PROTOBUF_C_TYPE_MESSAGE) {
            collect(descriptor->fields[i].descriptor, found);
        }
    }
}

static GHashTable *contract(void)
{
    static const ProtobufCMessageDescriptor *const roots[] = {
        &vm_command__descriptor,   &vm_event__descriptor,        &volume_command__descriptor,
        &volume_event__descriptor, &host_command__descriptor,    &host_report__descriptor,
        &host_info__descriptor,    &host_vm__descriptor,         &state_record__descriptor,
        &journal__descriptor,      &recording_frame__descriptor,
    };
    GHashTable *found = g_hash_table_new(g_str_hash, g_str_equal);
    for (size_t i = 0; i < G_N_ELEMENTS(roots); i++) {
        collect(roots[i], found);
    }
    return found;
}

/* The list of roots above is complete: every message of the .proto files hangs from one of them. */
static void finds_every_message_of_the_contract(void **state)
{
    (void)state;
    g_autoptr(GHashTable) found = contract();
    g_autoptr(GDir) folder = g_dir_open(SOURCE_DIR "/proto/virtbus/v1", 0, NULL);
    assert_non_null(folder);
    g_autoptr(GRegex) regex =
        g_regex_new("^message (\\w+)", G_REGEX_MULTILINE, (GRegexMatchFlags)0, NULL);
    unsigned n_messages = 0;
    const char *name;
    while ((name = g_dir_read_name(folder)) != NULL) {
        g_autofree char *path = g_build_filename(SOURCE_DIR "/proto/virtbus/v1", name, NULL);
        g_autofree char *text = NULL;
        assert_true(g_file_get_contents(path, &text, NULL, NULL));
        g_autoptr(GMatchInfo) match = NULL;
        g_regex_match(regex, text, (GRegexMatchFlags)0, &match);
        for (; g_match_info_matches(match); g_match_info_next(match, NULL)) {
            g_autofree char *message = g_match_info_fetch(match, 1);
            if (!g_hash_table_contains(found, message)) {
                fail_msg("message %s of %s is not tested", message, name);
            }
            n_messages++;
        }
    }
    assert_int_equal(n_messages, g_hash_table_size(found));
}

static void round_trips_every_message(void **state)
{
    (void)state;
    enum { VARIANTS = 18 }; /* More than any oneof has members. */
    g_autoptr(GHashTable) found = contract();
    g_autoptr(VbArena) arena = arena_new();
    GHashTableIter iter;
    gpointer descriptor;
    g_hash_table_iter_init(&iter, found);
    while (g_hash_table_iter_next(&iter, NULL, &descriptor)) {
        assert_round_trip(arena, arena_message(arena, descriptor));
        for (unsigned variant = 0; variant < VARIANTS; variant++) {
            Filling filling = {.arena = arena, .variant = variant};
            assert_round_trip(arena, filled(&filling, descriptor));
        }
        arena_reset(arena);
    }
}

static void round_trips_every_type(void **state)
{
    (void)state;
    g_autoptr(VbArena) arena = arena_new();
    for (unsigned variant = 0; variant < 4; variant++) {
        Filling filling = {.arena = arena, .variant = variant};
        assert_round_trip(arena, filled(&filling, &json_types__types__descriptor));
    }
}

static void writes_names_and_strings(void **state)
{
    (void)state;
    g_autoptr(VbArena) arena = arena_new();
    VmSpec *spec = ARENA_MSG(arena, vm_spec);
    spec->name = "web \"1\"";
    spec->firmware = FIRMWARE_UEFI;
    spec->vcpus = 2;
    spec->memory_bytes = G_MAXUINT64;
    spec->serial_console = TRUE;
    spec->tpm = ARENA_MSG(arena, tpm_spec);
    g_autofree char *text = message_to_json_text(spec, FALSE);
    assert_string_equal(text, "{\"name\":\"web \\\"1\\\"\",\"firmware\":\"FIRMWARE_UEFI\","
                              "\"tpm\":{},\"vcpus\":2,"
                              "\"memory_bytes\":\"18446744073709551615\",\"serial_console\":true}");
}

static void writes_a_set_member_of_a_oneof_even_if_zero(void **state)
{
    (void)state;
    JsonTypes__Types types = JSON_TYPES__TYPES__INIT;
    g_autofree char *none = message_to_json_text(&types, FALSE);
    assert_string_equal(none, "{}");
    types.choice_case = JSON_TYPES__TYPES__CHOICE_CHOICE_NUMBER;
    g_autofree char *zero = message_to_json_text(&types, FALSE);
    assert_string_equal(zero, "{\"choice_number\":0}");
}

static void reads_what_people_write(void **state)
{
    (void)state;
    g_autoptr(VbArena) arena = arena_new();
    g_autoptr(GError) error = NULL;
    VmSpec *spec = (VmSpec *)message_from_json_text(
        arena, &vm_spec__descriptor,
        "{\"firmware\": \"uefi\", \"platform\": \"WindowsVirtio\", \"clock\": \"LOCALTIME\","
        " \"memory_bytes\": 2147483648, \"vcpus\": \"4\", \"tpm\": null,"
        " \"nics\": [{\"type\": \"VhostUser\", \"model\": \"NIC_MODEL_E1000\"}]}",
        -1, &error);
    assert_null(error);
    assert_int_equal(spec->firmware, FIRMWARE_UEFI);
    assert_int_equal(spec->platform, PLATFORM_WINDOWS_VIRTIO);
    assert_int_equal(spec->clock, CLOCK_OFFSET_LOCALTIME);
    assert_true(spec->memory_bytes == G_GUINT64_CONSTANT(2147483648));
    assert_int_equal(spec->vcpus, 4);
    assert_null(spec->tpm);
    assert_int_equal(spec->n_nics, 1);
    assert_int_equal(spec->nics[0]->type, NIC_TYPE_VHOST_USER);
    assert_int_equal(spec->nics[0]->model, NIC_MODEL_E1000);
}

static void refuses_with_the_path(void **state)
{
    (void)state;
    static const struct {
        const ProtobufCMessageDescriptor *type;
        const char *text;
        const char *names; /* What the error must hold. */
    } cases[] = {
        {&create_vm__descriptor, "{\"spec\":{\"nics\":[{},{\"modl\":1}]}}",
         "spec.nics[1].modl is unknown: NicSpec"},
        {&create_vm__descriptor, "{\"spec\":{\"nics\":{}}}", "spec.nics must be a list"},
        {&create_vm__descriptor, "{\"spec\":[]}", "spec must be an object: a VmSpec"},
        {&create_vm__descriptor, "[]", "the JSON document must be an object"},
        {&vm_spec__descriptor, "{\"name\":1}", "name must be a string"},
        {&vm_spec__descriptor, "{\"name\":\"\\337\"}", "name has an escape that makes no UTF-8"},
        {&vm_spec__descriptor, "{\"\\337\":1}", "a field whose name is no UTF-8"},
        {&vm_spec__descriptor, "{\"vcpus\":-1}",
         "vcpus must be a whole number from 0 to 4294967295"},
        {&vm_spec__descriptor, "{\"vcpus\":4294967296}", "vcpus must be a whole number"},
        {&vm_spec__descriptor, "{\"vcpus\":1.5}", "vcpus must be a whole number"},
        {&vm_spec__descriptor, "{\"memory_bytes\":\"18446744073709551616\"}",
         "memory_bytes must be"},
        {&vm_spec__descriptor, "{\"memory_bytes\":\" 1\"}", "memory_bytes must be"},
        {&vm_spec__descriptor, "{\"serial_console\":1}", "serial_console must be true or false"},
        {&vm_spec__descriptor, "{\"firmware\":\"EFI\"}",
         "firmware has the unknown value \"EFI\"; known are FIRMWARE_UNSPECIFIED, FIRMWARE_LEGACY"},
        {&vm_command__descriptor, "{\"get_vm\":{},\"start_vm\":{}}", "start_vm excludes get_vm"},
        {&json_types__types__descriptor, "{\"int32\":2147483648}", "int32 must be a whole number"},
        {&json_types__types__descriptor, "{\"double\":\"1\"}", "double must be a number"},
        {&json_types__types__descriptor, "{\"many_bytes\":[\"AA==\",\"A*A=\"]}",
         "many_bytes[1] must be base64"},
        {&vm_spec__descriptor, "{\"name\":", "this is no JSON"},
        {&vm_spec__descriptor, "", "the JSON document is empty"},
    };
    g_autoptr(VbArena) arena = arena_new();
    for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
        g_autoptr(GError) error = NULL;
        if (message_from_json_text(arena, cases[i].type, cases[i].text, -1, &error) != NULL) {
            fail_msg("%s was accepted", cases[i].text);
        }
        assert_int_equal(error->domain, VB_ERROR);
        assert_int_equal(error->code, ERROR_CODE_INVALID_ARGUMENT);
        if (strstr(error->message, cases[i].names) == NULL) {
            fail_msg("%s\nsays: %s\nnot:  %s", cases[i].text, error->message, cases[i].names);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(finds_every_message_of_the_contract),
        cmocka_unit_test(round_trips_every_message),
        cmocka_unit_test(round_trips_every_type),
        cmocka_unit_test(writes_names_and_strings),
        cmocka_unit_test(writes_a_set_member_of_a_oneof_even_if_zero),
        cmocka_unit_test(reads_what_people_write),
        cmocka_unit_test(refuses_with_the_path),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
