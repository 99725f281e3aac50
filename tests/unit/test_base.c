/* common/base: the arena, uuids, topics and partitions, labels, the form of messages; and the rules
 * that the whole contract keeps, walked by its descriptors. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include "common/base/arena.h"
#include "common/base/error.h"
#include "common/base/message.h"
#include "common/base/message_diff.h"
#include "common/base/text.h"
#include "common/base/topics.h"
#include "common/base/uuid.h"
#include "virtbus/v1/virtbus.h"

static const char VM[] = "f47ac10b-58cc-4372-a567-0e02b2c3d479";

static int arena_setup(void **state)
{
    *state = arena_new();
    return 0;
}

static int arena_teardown(void **state)
{
    arena_free(*state);
    return 0;
}

/* --- Arena */

static gboolean is_zero(const unsigned char *bytes, size_t size_bytes)
{
    for (size_t i = 0; i < size_bytes; i++) {
        if (bytes[i] != 0) {
            return FALSE;
        }
    }
    return TRUE;
}

static void test_arena_gives_zeroed_aligned_memory(void **state)
{
    static const size_t sizes[] = {1, 7, 16, 17, 4096, 65536, 65537, 1000000};
    for (int round = 0; round < 2; round++) { /* The second time in memory that was used. */
        for (size_t i = 0; i < G_N_ELEMENTS(sizes); i++) {
            unsigned char *memory = arena_alloc(*state, sizes[i]);
            assert_int_equal((uintptr_t)memory % 16, 0);
            assert_true(is_zero(memory, sizes[i]));
            memset(memory, 0xa5, sizes[i]);
        }
        arena_reset(*state);
    }
}

static void test_arena_keeps_what_it_gave(void **state)
{
    char *first = arena_strdup(*state, "first");
    for (int i = 0; i < 10000; i++) {
        memset(arena_alloc(*state, 100), 0xff, 100);
    }
    char *text = arena_printf(*state, "%s and %d", first, 2);
    assert_string_equal(first, "first");
    assert_string_equal(text, "first and 2");
}

static void test_arena_copies_deeply(void **state)
{
    VmSpec *spec = ARENA_MSG(*state, vm_spec);
    NicSpec *nic = ARENA_MSG(*state, nic_spec);
    spec->name = arena_strdup(*state, "one");
    nic->mac = arena_strdup(*state, "52:54:00:00:00:01");
    ARENA_APPEND(*state, spec->n_nics, spec->nics, nic);
    VmSpec *copy = arena_copy(*state, spec);
    spec->name[0] = 'X';
    nic->mac[0] = 'X';
    assert_string_equal(copy->name, "one");
    assert_int_equal(copy->n_nics, 1);
    assert_string_equal(copy->nics[0]->mac, "52:54:00:00:00:01");
    assert_null(arena_copy(*state, NULL));
}

static void test_arena_append_keeps_order(void **state)
{
    VmRecord *vm = ARENA_MSG(*state, vm_record);
    for (int i = 0; i < 5; i++) {
        char *text = arena_printf(*state, "%d", i);
        ARENA_APPEND(*state, vm->n_seen_host_uuids, vm->seen_host_uuids, text);
    }
    assert_int_equal(vm->n_seen_host_uuids, 5);
    assert_string_equal(vm->seen_host_uuids[0], "0");
    assert_string_equal(vm->seen_host_uuids[4], "4");
}

static void test_arena_allocator_ends_at_its_limit(void **state)
{
    ProtobufCAllocator *allocator = arena_allocator(*state, 100);
    void *data = allocator->allocator_data;
    assert_non_null(allocator->alloc(data, 60));
    assert_non_null(allocator->alloc(data, 40));
    assert_null(allocator->alloc(data, 1));
    allocator = arena_allocator(*state, 100);
    assert_null(allocator->alloc(allocator->allocator_data, 101));
    /* Once it has refused it stays so: nobody goes on with half a message. */
    assert_null(allocator->alloc(allocator->allocator_data, 1));
    assert_non_null(arena_alloc(*state, 1000));
}

/* --- uuids */

static void test_uuid_has_one_spelling(void **state)
{
    (void)state;
    static const char *const invalid[] = {
        "",
        "00000000-0000-0000-0000-000000000000",
        "F47AC10B-58CC-4372-A567-0E02B2C3D479",
        "f47ac10b-58cc-4372-a567-0e02b2c3d47",
        "f47ac10b-58cc-4372-a567-0e02b2c3d4799",
        "f47ac10b-58cc-4372-a567-0e02b2c3d47\n",
        "f47ac10b58cc4372a5670e02b2c3d479",
        "{f47ac10b-58cc-4372-a567-0e02b2c3d4}",
        "f47ac10b-58cc-4372-a567-0e02b2c3d47g",
        "f47ac10b-58cc-4372-a56-70e02b2c3d479",
    };
    assert_true(uuid_is_valid(VM));
    assert_false(uuid_is_valid(NULL));
    for (size_t i = 0; i < G_N_ELEMENTS(invalid); i++) {
        assert_false(uuid_is_valid(invalid[i]));
    }
}

static void test_uuid_derive_is_version_5(void **state)
{
    /* The first is the example of RFC 9562, A.4: "www.example.com" in the DNS namespace. */
    static const char DNS[] = "6ba7b810-9dad-11d1-80b4-00c04fd430c8";
    assert_string_equal(uuid_derive(*state, DNS, "www.example.com"),
                        "2ed6657d-e927-568b-95e1-2665a8aea6a2");
    assert_string_equal(uuid_derive(*state, DNS, "python.org"),
                        "886313e1-3b8a-5372-9b90-0c9aee199e5d");
    assert_string_equal(uuid_derive(*state, VM, "operation/7"),
                        "def7aaf5-deb6-507c-9c15-f68d93eab46f");
    assert_string_equal(uuid_derive(*state, VM, ""), "6d508ce8-c3ee-5c94-9818-ddd1062186ec");
}

static void test_uuid_random_is_valid_and_new(void **state)
{
    (void)state;
    char one[UUID_TEXT_BYTES];
    char other[UUID_TEXT_BYTES];
    uuid_random(one);
    uuid_random(other);
    assert_true(uuid_is_valid(one));
    assert_true(uuid_is_valid(other));
    assert_string_not_equal(one, other);
}

/* --- Topics */

static void test_partition_is_javas(void **state)
{
    (void)state;
    /* From org.apache.kafka.common.utils.Utils of Kafka 3.9: toPositive(murmur2(key)) mod n. */
    static const struct {
        const char *key;
        int of_12;
        int of_1000;
    } vectors[] = {
        {"", 9, 681},
        {"a", 4, 524},
        {"ab", 2, 434},
        {"abc", 3, 107},
        {"abcd", 8, 100},
        {"21", 0, 340},
        {"foobar", 6, 166},
        {"a-little-bit-long-string", 8, 112},
        {"\xc3\xa9t\xc3\xa9", 1, 73},
        {"5f0c2ac5-9f0f-4b4e-8f51-7a6d3b0e1c11", 2, 718},
        {"00000000-0000-4000-8000-000000000001", 6, 390},
        {"f47ac10b-58cc-4372-a567-0e02b2c3d479", 2, 646},
    };
    for (size_t i = 0; i < G_N_ELEMENTS(vectors); i++) {
        const char *key = vectors[i].key;
        assert_int_equal(topic_partition(key, strlen(key), 12), vectors[i].of_12);
        assert_int_equal(topic_partition(key, strlen(key), 1000), vectors[i].of_1000);
        assert_int_equal(topic_partition(key, strlen(key), 1), 0);
    }
}

static void test_topic_names_lead_back(void **state)
{
    (void)state;
    for (int topic = 0; topic < TOPIC_COUNT; topic++) {
        const VbTopicInfo *info = topic_info((VbTopic)topic);
        assert_non_null(info->suffix);
        assert_true(info->compacted == (info->retention_days == 0));
        VbTopic found = TOPIC_COUNT;
        assert_true(topic_parse(info->suffix, &found) == (topic != TOPIC_HOST_COMMANDS));
        assert_true(topic == TOPIC_HOST_COMMANDS || (int)found == topic);
    }
    VbTopic found;
    assert_false(topic_parse("vm", &found));
    assert_false(topic_parse("virtbus.vm.commands", &found));
    g_autofree char *plain = topic_name("virtbus", TOPIC_VM_COMMANDS, NULL);
    g_autofree char *host = topic_name("lab", TOPIC_HOST_COMMANDS, VM);
    assert_string_equal(plain, "virtbus.vm.commands");
    assert_string_equal(host, "lab.host.f47ac10b-58cc-4372-a567-0e02b2c3d479.commands");
}

/* --- Labels */

static void test_labels(void **state)
{
    (void)state;
    assert_string_equal(ENUM_LABEL(volume_type, VOLUME_TYPE_NV_RAM), "NvRam");
    assert_string_equal(ENUM_LABEL(vm_status, VM_STATUS_RUNNING), "Running");
    assert_string_equal(ENUM_LABEL(storage_type, STORAGE_TYPE_SHARED_MOUNT_POINT),
                        "SharedMountPoint");
    assert_string_equal(ENUM_LABEL(nic_model, NIC_MODEL_E1000E), "E1000e");
    assert_string_equal(ENUM_CODE(error_code, ERROR_CODE_NVRAM_MISSING), "NVRAM_MISSING");
    assert_string_equal(ENUM_LABEL(vm_status, 99), "?");
    assert_string_equal(ENUM_CODE(vm_status, -1), "?");
    int value = 0;
    assert_true(enum_parse(&volume_type__descriptor, "nvram", &value));
    assert_int_equal(value, VOLUME_TYPE_NV_RAM);
    assert_true(enum_parse(&volume_type__descriptor, "NV_RAM", &value));
    assert_false(enum_parse(&volume_type__descriptor, "VOLUME_TYPE_NV_RAM", &value));
    assert_false(enum_parse(&volume_type__descriptor, "", &value));
}

/* --- The form of messages */

static VmCommand *command_new(VbArena *arena)
{
    VmCommand *command = ARENA_MSG(arena, vm_command);
    command->vm_uuid = arena_strdup(arena, VM);
    command->command_case = VM_COMMAND__COMMAND_CREATE_VM;
    command->create_vm = ARENA_MSG(arena, create_vm);
    command->create_vm->spec = ARENA_MSG(arena, vm_spec);
    for (int i = 0; i < 2; i++) {
        NicSpec *nic = ARENA_MSG(arena, nic_spec);
        ARENA_APPEND(arena, command->create_vm->spec->n_nics, command->create_vm->spec->nics, nic);
    }
    return command;
}

static void assert_refused(const void *message, const char *sentence)
{
    g_autoptr(GError) error = NULL;
    assert_false(message_check(message, &error));
    assert_true(g_error_matches(error, VB_ERROR, ERROR_CODE_INVALID_ARGUMENT));
    assert_string_equal(error->message, sentence);
}

static void test_check_names_the_path(void **state)
{
    VmCommand *command = command_new(*state);
    assert_true(message_check(&command->base, NULL));
    command->create_vm->spec->nics[1]->model = (NicModel)77;
    assert_refused(command, "field create_vm.spec.nics[1].model has the unknown value 77");
    command->create_vm->spec->nics[1]->model = NIC_MODEL_VIRTIO;
    command->create_vm->spec->nics[0]->mac = arena_strdup(*state, "\xff");
    assert_refused(command, "field create_vm.spec.nics[0].mac is not valid UTF-8");
    command->create_vm->spec->nics[0]->mac = arena_strdup(*state, "");
    command->create_vm->spec->name = arena_strdup(*state, "line\nline");
    assert_refused(command, "field create_vm.spec.name holds a control character");
    command->create_vm->spec->name = arena_strdup(*state, "one line");
    command->vm_uuid = arena_strdup(*state, "\x7f");
    assert_refused(command, "field vm_uuid holds a control character");
}

static void test_check_knows_bad_text(void **state)
{
    static const char *const bad[] = {
        "\xff", "\xc3",  "a\x80",    "\xc0\xaf", "\xe2\x82", "\xed\xa0\x80", "\xf5\x80\x80",
        "\x01", "tab\t", "\x1b[31m", "\x7f",     "\xc2\x80", "\xc2\x9f",
    };
    static const char *const good[] = {"", "a", "\xc3\xa9t\xc3\xa9", "\xf0\x9f\x90\xa7",
                                       "\xc2\xa0"};
    VmCommand *command = command_new(*state);
    for (size_t i = 0; i < G_N_ELEMENTS(bad); i++) {
        command->sender = arena_strdup(*state, bad[i]);
        assert_false(message_check(&command->base, NULL));
    }
    for (size_t i = 0; i < G_N_ELEMENTS(good); i++) {
        command->sender = arena_strdup(*state, good[i]);
        assert_true(message_check(&command->base, NULL));
    }
}

static void test_check_skips_the_other_case_of_a_oneof(void **state)
{
    VmCommand *command = command_new(*state);
    command->create_vm->spec->name = arena_strdup(*state, "\xff");
    command->command_case = VM_COMMAND__COMMAND__NOT_SET;
    assert_true(message_check(&command->base, NULL));
}

static void test_unpack_leads_back_from_pack(void **state)
{
    VmCommand *command = command_new(*state);
    g_autoptr(GBytes) packed = message_pack(command);
    gsize size_bytes;
    const void *bytes = g_bytes_get_data(packed, &size_bytes);
    ProtobufCMessage *again =
        message_unpack(*state, &vm_command__descriptor, bytes, size_bytes, NULL);
    assert_non_null(again);
    g_autoptr(GBytes) repacked = message_pack(again);
    assert_true(g_bytes_equal(packed, repacked));
}

static void assert_not_unpacked(VbArena *arena, const ProtobufCMessageDescriptor *descriptor,
                                const void *bytes, size_t size_bytes, ErrorCode code)
{
    g_autoptr(GError) error = NULL;
    assert_null(message_unpack(arena, descriptor, bytes, size_bytes, &error));
    assert_true(g_error_matches(error, VB_ERROR, (int)code));
}

static void test_unpack_refuses_garbage(void **state)
{
    assert_not_unpacked(*state, &vm_command__descriptor, "\x0a\x7f", 2,
                        ERROR_CODE_INVALID_ARGUMENT);
    assert_not_unpacked(*state, &vm_command__descriptor, "garbage", 7, ERROR_CODE_INVALID_ARGUMENT);
}

static void test_unpack_takes_64_kib_at_most(void **state)
{
    VmCommand *command = ARENA_MSG(*state, vm_command);
    char *text = arena_alloc(*state, MESSAGE_MAX_BYTES + 1);
    memset(text, 'x', MESSAGE_MAX_BYTES - 4); /* A tag and a length of three bytes go before. */
    command->sender = text;
    g_autoptr(GBytes) fits = message_pack(command);
    assert_int_equal(g_bytes_get_size(fits), MESSAGE_MAX_BYTES);
    assert_non_null(message_unpack(*state, &vm_command__descriptor, g_bytes_get_data(fits, NULL),
                                   MESSAGE_MAX_BYTES, NULL));
    text[MESSAGE_MAX_BYTES - 4] = 'x';
    g_autoptr(GBytes) over = message_pack(command);
    assert_int_equal(g_bytes_get_size(over), MESSAGE_MAX_BYTES + 1);
    assert_not_unpacked(*state, &vm_command__descriptor, g_bytes_get_data(over, NULL),
                        MESSAGE_MAX_BYTES + 1, ERROR_CODE_TOO_LARGE);
}

/* 32768 empty volumes in 64 KiB: over 8 MiB of structures. */
static void test_unpack_takes_4_mib_of_memory_at_most(void **state)
{
    unsigned char bytes[MESSAGE_MAX_BYTES];
    for (size_t i = 0; i < sizeof(bytes); i += 2) {
        bytes[i] = 0x0a;  /* Field 1, a message ... */
        bytes[i + 1] = 0; /* ... of no bytes. */
    }
    assert_not_unpacked(*state, &inventory__descriptor, bytes, sizeof(bytes), ERROR_CODE_TOO_LARGE);
    ProtobufCMessage *some = message_unpack(*state, &inventory__descriptor, bytes, 2000, NULL);
    assert_non_null(some);
    assert_int_equal(((Inventory *)some)->n_volumes, 1000);
}

static void test_zero_bytes_in_text_are_found(void **state)
{
    VmCommand *command = ARENA_MSG(*state, vm_command);
    command->sender = "abc";
    command->command_case = VM_COMMAND__COMMAND_CREATE_VM;
    command->create_vm = ARENA_MSG(*state, create_vm);
    command->create_vm->spec = ARENA_MSG(*state, vm_spec);
    command->create_vm->spec->name = "xyz";
    g_autoptr(GBytes) packed = message_pack(command);
    gsize size_bytes;
    const guint8 *good = g_bytes_get_data(packed, &size_bytes);
    assert_true(message_check_bytes(&vm_command__descriptor, good, size_bytes, NULL));

    static const struct {
        char letter;
        const char *told;
    } rows[] = {{'b', "field sender holds a zero byte"},
                {'y', "field create_vm.spec.name holds a zero byte"}};
    for (size_t i = 0; i < G_N_ELEMENTS(rows); i++) {
        g_autoptr(GError) error = NULL;
        g_autofree guint8 *bad = g_memdup2(good, size_bytes);
        *(guint8 *)memchr(bad, rows[i].letter, size_bytes) = 0;
        assert_non_null(message_unpack(*state, &vm_command__descriptor, bad, size_bytes, NULL));
        assert_false(message_check_bytes(&vm_command__descriptor, bad, size_bytes, &error));
        assert_string_equal(error->message, rows[i].told);
    }
    /* A zero that is a number, an empty field, or in one that is not known, is no text. */
    assert_true(
        message_check_bytes(&vm_command__descriptor, "\x18\0\x22\0\x9a\x06\x01\0", 8, NULL));
}

static void test_errors_keep_their_code(void **state)
{
    g_autoptr(GError) ours = g_error_new(VB_ERROR, ERROR_CODE_STORAGE_FULL, "no space on %s", "x");
    g_autoptr(GError) others = g_error_new(G_FILE_ERROR, G_FILE_ERROR_NOENT, "no such file");
    Error *error = error_from_gerror(*state, ours);
    assert_int_equal(error->code, ERROR_CODE_STORAGE_FULL);
    assert_string_equal(error->message, "no space on x");
    assert_int_equal(error_from_gerror(*state, others)->code, ERROR_CODE_INTERNAL);
}

/* --- The contract: every message that a topic or the agent's journal can hold, and every enum */

typedef struct {
    GHashTable *messages; /* of const ProtobufCMessageDescriptor */
    GHashTable *enums;    /* of const ProtobufCEnumDescriptor */
} Contract;

static void contract_add(Contract *contract, const ProtobufCMessageDescriptor *message)
{
    if (!g_hash_table_add(contract->messages, (gpointer)message)) {
        return;
    }
    for (unsigned i = 0; i < message->n_fields; i++) {
        const ProtobufCFieldDescriptor *field = &message->fields[i];
        if (field->type == PROTOBUF_C_TYPE_MESSAGE) {
            contract_add(contract, field->descriptor);
        } else if (field->type == PROTOBUF_C_TYPE_ENUM) {
            g_hash_table_add(contract->enums, (gpointer)field->descriptor);
        }
    }
}

static int contract_setup(void **state)
{
    Contract *contract = g_new0(Contract, 1);
    contract->messages = g_hash_table_new(NULL, NULL);
    contract->enums = g_hash_table_new(NULL, NULL);
    for (int topic = 0; topic < TOPIC_COUNT; topic++) {
        const ProtobufCMessageDescriptor *message = topic_info((VbTopic)topic)->message;
        if (message != NULL) {
            contract_add(contract, message);
        }
    }
    contract_add(contract, &host_vm__descriptor);
    *state = contract;
    return 0;
}

static int contract_teardown(void **state)
{
    Contract *contract = *state;
    g_hash_table_destroy(contract->messages);
    g_hash_table_destroy(contract->enums);
    g_free(contract);
    return 0;
}

/* The names behind `keyword` in all .proto files. */
static GHashTable *names_in_protos(const char *keyword)
{
    static const char FOLDER[] = SOURCE_DIR "/proto/virtbus/v1";
    GHashTable *names = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL);
    g_autofree char *pattern = g_strdup_printf("^\\s*%s (\\w+)", keyword);
    g_autoptr(GRegex) regex = g_regex_new(pattern, G_REGEX_MULTILINE, 0, NULL);
    g_autoptr(GDir) folder = g_dir_open(FOLDER, 0, NULL);
    assert_non_null(folder);
    const char *file;
    while ((file = g_dir_read_name(folder)) != NULL) {
        if (strcmp(file, "recording.proto") == 0) {
            continue; /* Frames of a file, and no records: recording_read.c judges them. */
        }
        g_autofree char *path = g_build_filename(FOLDER, file, NULL);
        g_autofree char *text = NULL;
        assert_true(g_file_get_contents(path, &text, NULL, NULL));
        g_autoptr(GMatchInfo) match = NULL;
        g_regex_match(regex, text, 0, &match);
        for (; g_match_info_matches(match); g_match_info_next(match, NULL)) {
            g_hash_table_add(names, g_match_info_fetch(match, 1));
        }
    }
    return names;
}

static void test_contract_is_reached_whole(void **state)
{
    const Contract *contract = *state;
    g_autoptr(GHashTable) messages = names_in_protos("message");
    g_autoptr(GHashTable) enums = names_in_protos("enum");
    GHashTableIter iter;
    gpointer key;
    g_hash_table_iter_init(&iter, contract->messages);
    while (g_hash_table_iter_next(&iter, &key, NULL)) {
        g_hash_table_remove(messages, ((const ProtobufCMessageDescriptor *)key)->short_name);
    }
    g_hash_table_iter_init(&iter, contract->enums);
    while (g_hash_table_iter_next(&iter, &key, NULL)) {
        g_hash_table_remove(enums, ((const ProtobufCEnumDescriptor *)key)->short_name);
    }
    g_hash_table_iter_init(&iter, messages);
    if (g_hash_table_iter_next(&iter, &key, NULL)) {
        fail_msg("message %s is in no topic and in no journal", (char *)key);
    }
    g_hash_table_iter_init(&iter, enums);
    if (g_hash_table_iter_next(&iter, &key, NULL)) {
        fail_msg("enum %s is in no message", (char *)key);
    }
}

/* A record that goes to a wrong topic must not be understood there. */
static void test_no_message_passes_for_another(void **state)
{
    (void)state;
    static const ProtobufCMessageDescriptor *const messages[] = {
        &vm_command__descriptor,   &vm_event__descriptor,     &volume_command__descriptor,
        &volume_event__descriptor, &host_command__descriptor, &host_report__descriptor};
    g_autoptr(GHashTable) taken = g_hash_table_new(NULL, NULL);
    for (size_t m = 0; m < G_N_ELEMENTS(messages); m++) {
        for (unsigned i = 0; i < messages[m]->n_fields; i++) {
            const ProtobufCFieldDescriptor *field = &messages[m]->fields[i];
            if ((field->flags & PROTOBUF_C_FIELD_FLAG_ONEOF) != 0 &&
                !g_hash_table_add(taken, GUINT_TO_POINTER(field->id))) {
                fail_msg("%s.%s has a number of another topic's message", messages[m]->short_name,
                         field->name);
            }
        }
    }
}

static void walk_down(const ProtobufCMessageDescriptor *message, GPtrArray *above)
{
    for (guint i = 0; i < above->len; i++) {
        if (g_ptr_array_index(above, i) == message) {
            fail_msg("message %s holds itself", message->short_name);
        }
    }
    g_ptr_array_add(above, (gpointer)message);
    for (unsigned i = 0; i < message->n_fields; i++) {
        if (message->fields[i].type == PROTOBUF_C_TYPE_MESSAGE) {
            walk_down(message->fields[i].descriptor, above);
        }
    }
    g_ptr_array_set_size(above, (gint)above->len - 1);
}

static void test_no_message_is_recursive(void **state)
{
    const Contract *contract = *state;
    g_autoptr(GPtrArray) above = g_ptr_array_new();
    GHashTableIter iter;
    gpointer message;
    g_hash_table_iter_init(&iter, contract->messages);
    while (g_hash_table_iter_next(&iter, &message, NULL)) {
        walk_down(message, above);
    }
}

/* A map is a nested message to protobuf-c. Bytes and floating point would pass message_check
 * unseen, and have several encodings. */
static void test_fields_are_of_plain_types(void **state)
{
    const Contract *contract = *state;
    GHashTableIter iter;
    gpointer key;
    g_hash_table_iter_init(&iter, contract->messages);
    while (g_hash_table_iter_next(&iter, &key, NULL)) {
        const ProtobufCMessageDescriptor *message = key;
        g_autofree char *plain = g_strdup_printf("virtbus.v1.%s", message->short_name);
        assert_string_equal(message->name, plain);
        for (unsigned i = 0; i < message->n_fields; i++) {
            ProtobufCType type = message->fields[i].type;
            gboolean known = type == PROTOBUF_C_TYPE_INT32 || type == PROTOBUF_C_TYPE_UINT32 ||
                             type == PROTOBUF_C_TYPE_INT64 || type == PROTOBUF_C_TYPE_UINT64 ||
                             type == PROTOBUF_C_TYPE_BOOL || type == PROTOBUF_C_TYPE_ENUM ||
                             type == PROTOBUF_C_TYPE_STRING || type == PROTOBUF_C_TYPE_MESSAGE;
            if (!known) {
                fail_msg("%s.%s is of type %d", message->short_name, message->fields[i].name, type);
            }
        }
    }
}

static void test_enums_start_unspecified_and_have_labels(void **state)
{
    const Contract *contract = *state;
    GHashTableIter iter;
    gpointer key;
    g_hash_table_iter_init(&iter, contract->enums);
    while (g_hash_table_iter_next(&iter, &key, NULL)) {
        const ProtobufCEnumDescriptor *descriptor = key;
        assert_string_equal(enum_code(descriptor, 0), "UNSPECIFIED");
        for (unsigned i = 0; i < descriptor->n_values; i++) {
            int value = descriptor->values[i].value;
            int parsed = -1;
            g_autofree char *lower = g_ascii_strdown(enum_label(descriptor, value), -1);
            assert_string_not_equal(enum_label(descriptor, value), "?");
            assert_true(g_str_has_suffix(descriptor->values[i].name, enum_code(descriptor, value)));
            assert_true(enum_parse(descriptor, lower, &parsed));
            assert_int_equal(parsed, value); /* So no two values share a label. */
            assert_true(enum_parse(descriptor, enum_code(descriptor, value), &parsed));
            assert_int_equal(parsed, value);
        }
    }
}

/* A message of which only this field is set, to `value`: a pointer to text, or to an enum's int. */
static ProtobufCMessage *with_field(VbArena *arena, const ProtobufCMessageDescriptor *descriptor,
                                    const ProtobufCFieldDescriptor *field, void *value,
                                    size_t value_bytes)
{
    ProtobufCMessage *message = arena_message(arena, descriptor);
    char *base = (char *)message;
    void *place = base + field->offset;
    if (field->label == PROTOBUF_C_LABEL_REPEATED) {
        *(size_t *)(void *)(base + field->quantifier_offset) = 1;
        *(void **)place = arena_alloc(arena, value_bytes);
        place = *(void **)place;
    } else if ((field->flags & PROTOBUF_C_FIELD_FLAG_ONEOF) != 0) {
        *(uint32_t *)(void *)(base + field->quantifier_offset) = field->id;
    }
    memcpy(place, value, value_bytes);
    return message;
}

static void test_every_string_and_enum_is_checked(void **state)
{
    const Contract *contract = *state;
    g_autoptr(VbArena) arena = arena_new();
    char *bad_text = arena_strdup(arena, "\xff");
    int bad_value = 9999;
    guint n_checked = 0;
    GHashTableIter iter;
    gpointer key;
    g_hash_table_iter_init(&iter, contract->messages);
    while (g_hash_table_iter_next(&iter, &key, NULL)) {
        const ProtobufCMessageDescriptor *descriptor = key;
        for (unsigned i = 0; i < descriptor->n_fields; i++) {
            const ProtobufCFieldDescriptor *field = &descriptor->fields[i];
            gboolean is_text = field->type == PROTOBUF_C_TYPE_STRING;
            if (!is_text && field->type != PROTOBUF_C_TYPE_ENUM) {
                continue;
            }
            void *value = is_text ? (void *)&bad_text : &bad_value;
            size_t value_bytes = is_text ? sizeof(bad_text) : sizeof(bad_value);
            ProtobufCMessage *message = with_field(arena, descriptor, field, value, value_bytes);
            g_autofree char *sentence =
                g_strdup_printf("field %s%s %s", field->name,
                                field->label == PROTOBUF_C_LABEL_REPEATED ? "[0]" : "",
                                is_text ? "is not valid UTF-8" : "has the unknown value 9999");
            assert_refused(message, sentence);
            n_checked++;
        }
    }
    assert_true(n_checked > 100);
}

#define WITH_ARENA(test)    cmocka_unit_test_setup_teardown(test, arena_setup, arena_teardown)
#define WITH_CONTRACT(test) cmocka_unit_test_setup_teardown(test, contract_setup, contract_teardown)

/* What libvirt and QEMU say goes into messages, and message_check refuses control characters. */
static void test_error_texts_are_fit_for_a_message(void **state)
{
    (void)state;
    g_autoptr(VbArena) arena = arena_new();
    g_autoptr(GError) refusal = NULL;
    Error *error = error_make(arena, ERROR_CODE_HYPERVISOR, "%s", "qemu:\r\n\tno \x1b[1mKVM\xff\n");
    assert_string_equal(error->message, "qemu:   no  [1mKVM\xef\xbf\xbd");
    assert_true(message_check(&error->base, &refusal));
    g_autofree char *long_text = g_strnfill(100000, 'x');
    error = error_make(arena, ERROR_CODE_HYPERVISOR, "%s", long_text);
    assert_true(strlen(error->message) < 1100);
}

static void test_foreign_errors_are_tamed(void **state)
{
    (void)state;
    g_autoptr(VbArena) arena = arena_new();
    g_autofree char *long_text = g_strnfill(60000, 'x');
    Error foreign = ERROR__INIT;
    foreign.code = ERROR_CODE_STORAGE_FULL;
    foreign.message = long_text;
    foreign.host_uuid = long_text;
    const Error *tamed = error_tame(arena, &foreign);
    assert_int_equal(tamed->code, ERROR_CODE_STORAGE_FULL);
    assert_true(strlen(tamed->message) < 1100);
    assert_string_equal(tamed->host_uuid, "");
    foreign.host_uuid = (char *)"5a53c80c-04bd-5592-833c-97feb0f47d5b";
    assert_string_equal(error_tame(arena, &foreign)->host_uuid, foreign.host_uuid);
    assert_null(error_tame(arena, NULL));
}

/* ---- Differences */

static void diff_take(const char *path, const char *a, const char *b, void *user)
{
    g_string_append_printf(user, "%s: %s, %s\n", path, a != NULL ? a : "-", b != NULL ? b : "-");
}

static void test_diff_names_each_field(void **state)
{
    (void)state;
    g_autoptr(VbArena) arena = arena_new();
    g_autoptr(GString) text = g_string_new(NULL);
    VmRecord *a = ARENA_MSG(arena, vm_record);
    a->status = VM_STATUS_RUNNING;
    a->spec = ARENA_MSG(arena, vm_spec);
    a->spec->name = arena_strdup(arena, "Anna");
    NicSpec *nic = ARENA_MSG(arena, nic_spec);
    ARENA_APPEND(arena, a->spec->n_nics, a->spec->nics, nic);
    VmRecord *b = arena_copy(arena, a);
    message_diff(arena, &a->base, &b->base, diff_take, text);
    assert_string_equal(text->str, "");
    b->status = VM_STATUS_STOPPED;
    b->epoch = 7;
    b->spec->nics[0]->queues = 2;
    b->operation = ARENA_MSG(arena, operation); /* It says nothing, and is there. */
    a->runs_wanted = TRUE;
    b->spec->name = arena_strdup(arena, "Berta");
    NicSpec *more = ARENA_MSG(arena, nic_spec);
    more->bridge = arena_strdup(arena, "br0");
    ARENA_APPEND(arena, b->spec->n_nics, b->spec->nics, more);
    message_diff(arena, &a->base, &b->base, diff_take, text);
    assert_string_equal(text->str, "spec.name: \"Anna\", \"Berta\"\n"
                                   "spec.nics[0].queues: 0, 2\n"
                                   "spec.nics[1].bridge: -, \"br0\"\n"
                                   "status: Running, Stopped\n"
                                   "epoch: 0, 7\n"
                                   "operation: -, {}\n"
                                   "runs_wanted: true, false\n");
    g_string_truncate(text, 0);
    message_diff(arena, NULL, &more->base, diff_take, text);
    assert_string_equal(text->str, "bridge: -, \"br0\"\n");
}

static void test_diff_can_be_shown_whatever_the_text(void **state)
{
    (void)state;
    g_autoptr(VbArena) arena = arena_new();
    g_autoptr(GString) text = g_string_new(NULL);
    NicSpec *nic = ARENA_MSG(arena, nic_spec);
    nic->mac = arena_strdup(arena, "\x1b[1m\xff");
    message_diff(arena, NULL, &nic->base, diff_take, text);
    assert_string_equal(text->str, "mac: -, \" [1m\xef\xbf\xbd\"\n");
    /* No character is cut in two. */
    g_autofree char *euros = g_strnfill(3 * 1000, '\0');
    for (int i = 0; i < 999; i++) {
        memcpy(euros + 3 * i, "\xe2\x82\xac", 3);
    }
    nic->mac = euros;
    g_string_assign(text, "x");
    message_diff(arena, NULL, &nic->base, diff_take, text);
    assert_true(text->len < 200 && g_utf8_validate(text->str, -1, NULL));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        WITH_ARENA(test_arena_gives_zeroed_aligned_memory),
        WITH_ARENA(test_arena_keeps_what_it_gave),
        WITH_ARENA(test_arena_copies_deeply),
        WITH_ARENA(test_arena_append_keeps_order),
        WITH_ARENA(test_arena_allocator_ends_at_its_limit),
        cmocka_unit_test(test_uuid_has_one_spelling),
        WITH_ARENA(test_uuid_derive_is_version_5),
        cmocka_unit_test(test_uuid_random_is_valid_and_new),
        cmocka_unit_test(test_partition_is_javas),
        cmocka_unit_test(test_topic_names_lead_back),
        cmocka_unit_test(test_labels),
        cmocka_unit_test(test_error_texts_are_fit_for_a_message),
        cmocka_unit_test(test_foreign_errors_are_tamed),
        WITH_ARENA(test_check_names_the_path),
        WITH_ARENA(test_check_knows_bad_text),
        WITH_ARENA(test_check_skips_the_other_case_of_a_oneof),
        WITH_ARENA(test_unpack_leads_back_from_pack),
        WITH_ARENA(test_unpack_refuses_garbage),
        WITH_ARENA(test_unpack_takes_64_kib_at_most),
        WITH_ARENA(test_unpack_takes_4_mib_of_memory_at_most),
        WITH_ARENA(test_zero_bytes_in_text_are_found),
        WITH_ARENA(test_errors_keep_their_code),
        cmocka_unit_test(test_no_message_passes_for_another),
        cmocka_unit_test(test_diff_names_each_field),
        cmocka_unit_test(test_diff_can_be_shown_whatever_the_text),
        WITH_CONTRACT(test_contract_is_reached_whole),
        WITH_CONTRACT(test_no_message_is_recursive),
        WITH_CONTRACT(test_fields_are_of_plain_types),
        WITH_CONTRACT(test_enums_start_unspecified_and_have_labels),
        WITH_CONTRACT(test_every_string_and_enum_is_checked),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
