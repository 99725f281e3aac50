/* A walk over the message collects every message in it and every string; then a few of their fields
 * are changed, with what was collected as material. */
#include "tests/fuzz/mutate_message.h"

#include <string.h>

#include "common/base/message.h"
#include "tests/fuzz/fuzz.h"

enum { CHANGES_MAX = 4, GROW_DEPTH = 3, TEXT_MAX_BYTES = 16384, REPEATS_MAX = 64 };

typedef struct {
    VbArena *arena;
    guint64 random;
    const char *const *words;
    guint n_words;
    GPtrArray *messages; /* of ProtobufCMessage: every one in the whole. */
    GPtrArray *strings;
} Mutation;

static guint64 next_random(Mutation *m)
{
    m->random ^= m->random << 13;
    m->random ^= m->random >> 7;
    m->random ^= m->random << 17;
    return m->random;
}

static guint below(Mutation *m, size_t n)
{
    return (guint)(next_random(m) % n);
}

/* ---- Fields */

static gboolean is_repeated(const ProtobufCFieldDescriptor *field)
{
    return field->label == PROTOBUF_C_LABEL_REPEATED;
}

static gboolean is_oneof(const ProtobufCFieldDescriptor *field)
{
    return (field->flags & PROTOBUF_C_FIELD_FLAG_ONEOF) != 0;
}

static void *at(ProtobufCMessage *message, const ProtobufCFieldDescriptor *field)
{
    return (char *)message + field->offset;
}

static uint32_t *case_of(ProtobufCMessage *message, const ProtobufCFieldDescriptor *field)
{
    return (void *)((char *)message + field->quantifier_offset);
}

static size_t *count_of(ProtobufCMessage *message, const ProtobufCFieldDescriptor *field)
{
    return (void *)((char *)message + field->quantifier_offset);
}

/* ---- The walk */

static void collect(Mutation *m, ProtobufCMessage *message)
{
    g_ptr_array_add(m->messages, message);
    for (unsigned i = 0; i < message->descriptor->n_fields; i++) {
        const ProtobufCFieldDescriptor *field = &message->descriptor->fields[i];
        gboolean text = field->type == PROTOBUF_C_TYPE_STRING;
        if ((!text && field->type != PROTOBUF_C_TYPE_MESSAGE) ||
            message_is_other_case(message, field)) {
            continue;
        }
        size_t n = is_repeated(field) ? *count_of(message, field) : 1;
        void **items = is_repeated(field) ? *(void ***)at(message, field) : at(message, field);
        for (size_t k = 0; k < n; k++) {
            if (text) {
                g_ptr_array_add(m->strings, items[k]);
            } else if (items[k] != NULL) {
                collect(m, items[k]);
            }
        }
    }
}

/* A message of this kind out of the whole, copied; else an empty one. */
static ProtobufCMessage *find_like(Mutation *m, const ProtobufCMessageDescriptor *descriptor)
{
    guint n = m->messages->len;
    guint from = below(m, n);
    for (guint i = 0; i < n; i++) {
        ProtobufCMessage *message = g_ptr_array_index(m->messages, (from + i) % n);
        if (message->descriptor == descriptor) {
            return arena_copy(m->arena, message);
        }
    }
    return arena_message(m->arena, descriptor);
}

/* ---- Values */

static guint64 any_number(Mutation *m, guint64 before)
{
    static const guint64 edges[] = {
        0,          1,          2,           3,          4,          16,          64,
        127,        128,        255,         256,        512,        1000,        4096,
        65535,      65536,      0x7fffffff,  0x80000000, 0xffffffff, 0x100000000, 1ull << 30,
        1ull << 40, 1ull << 50, INT64_MAX,   1ull << 63, UINT64_MAX, 10000,       60000,
        3600000,    86400000,   2592000000ul};
    switch (below(m, 6)) {
    case 0:
        return before + 1;
    case 1:
        return before - 1;
    case 2:
        return before ^ (1ull << below(m, 64));
    case 3:
        return next_random(m) >> below(m, 64);
    default:
        return edges[below(m, G_N_ELEMENTS(edges))];
    }
}

static char *any_string(Mutation *m, const char *before)
{
    guint which = below(m, 8);
    if (which < 3 && m->n_words > 0) {
        return arena_strdup(m->arena, m->words[below(m, m->n_words)]);
    }
    if (which < 6 && m->strings->len > 0) {
        return arena_strdup(m->arena, g_ptr_array_index(m->strings, below(m, m->strings->len)));
    }
    size_t length = MIN(strlen(before), (size_t)TEXT_MAX_BYTES);
    char *text = arena_alloc(m->arena, TEXT_MAX_BYTES + 1);
    memcpy(text, before, length);
    if (which == 6 && length > 0 && length * 4 < TEXT_MAX_BYTES) { /* Longer than allowed? */
        for (size_t i = length; i < length * 4; i++) {
            text[i] = text[i - length];
        }
        return text;
    }
    length = LLVMFuzzerMutate((uint8_t *)text, length, TEXT_MAX_BYTES);
    text[length] = '\0';
    return text;
}

static int any_enum(Mutation *m, const ProtobufCEnumDescriptor *descriptor)
{
    if (below(m, 32) == 0) {
        return (int)next_random(m);
    }
    return descriptor->values[below(m, descriptor->n_values)].value;
}

static void bytes_mutate(Mutation *m, ProtobufCBinaryData *bytes)
{
    size_t max_bytes = bytes->len + 64;
    uint8_t *copy = arena_alloc(m->arena, max_bytes);
    if (bytes->len > 0) {
        memcpy(copy, bytes->data, bytes->len);
    }
    bytes->len = LLVMFuzzerMutate(copy, bytes->len, max_bytes);
    bytes->data = copy;
}

static ProtobufCMessage *grown(Mutation *m, const ProtobufCMessageDescriptor *descriptor,
                               guint depth);

/* Gives one place for a value of this field's type another one. */
static void value_change(Mutation *m, const ProtobufCFieldDescriptor *field, void *value,
                         guint depth)
{
    switch (field->type) {
    case PROTOBUF_C_TYPE_BOOL:
        *(protobuf_c_boolean *)value = !*(protobuf_c_boolean *)value;
        return;
    case PROTOBUF_C_TYPE_ENUM:
        *(int *)value = any_enum(m, field->descriptor);
        return;
    case PROTOBUF_C_TYPE_STRING:
        *(char **)value = any_string(m, *(char **)value != NULL ? *(char **)value : "");
        return;
    case PROTOBUF_C_TYPE_BYTES:
        bytes_mutate(m, value);
        return;
    case PROTOBUF_C_TYPE_MESSAGE:
        *(ProtobufCMessage **)value =
            below(m, 2) == 0 ? find_like(m, field->descriptor) : grown(m, field->descriptor, depth);
        return;
    default:
        if (message_value_bytes(field->type) == 8) {
            *(guint64 *)value = any_number(m, *(guint64 *)value);
        } else {
            *(guint32 *)value = (guint32)any_number(m, *(guint32 *)value);
        }
    }
}

/* ---- Repeated fields */

static void items_insert(Mutation *m, ProtobufCMessage *message,
                         const ProtobufCFieldDescriptor *field, size_t where, const void *item,
                         guint times)
{
    size_t *n = count_of(message, field);
    size_t size_bytes = message_value_bytes(field->type);
    char *items = arena_alloc(m->arena, (*n + times) * size_bytes);
    const char *old = *(char **)at(message, field);
    if (*n > 0) {
        memcpy(items, old, where * size_bytes);
        memcpy(items + (where + times) * size_bytes, old + where * size_bytes,
               (*n - where) * size_bytes);
    }
    for (guint i = 0; i < times; i++) {
        memcpy(items + (where + i) * size_bytes, item, size_bytes);
    }
    *n += times;
    *(char **)at(message, field) = items;
}

static void item_remove(Mutation *m, ProtobufCMessage *message,
                        const ProtobufCFieldDescriptor *field)
{
    size_t *n = count_of(message, field);
    size_t size_bytes = message_value_bytes(field->type);
    char *items = *(char **)at(message, field);
    size_t where = below(m, *n);
    memmove(items + where * size_bytes, items + (where + 1) * size_bytes,
            (*n - where - 1) * size_bytes);
    (*n)--;
}

static void items_swap(Mutation *m, ProtobufCMessage *message,
                       const ProtobufCFieldDescriptor *field)
{
    size_t n = *count_of(message, field);
    size_t size_bytes = message_value_bytes(field->type);
    char *items = *(char **)at(message, field);
    char *a = items + below(m, n) * size_bytes;
    char *b = items + below(m, n) * size_bytes;
    char keep[sizeof(ProtobufCBinaryData)];
    memcpy(keep, a, size_bytes);
    memmove(a, b, size_bytes);
    memcpy(b, keep, size_bytes);
}

static void repeated_change(Mutation *m, ProtobufCMessage *message,
                            const ProtobufCFieldDescriptor *field, guint depth)
{
    size_t n = *count_of(message, field);
    guint64 item[2] = {0}; /* Large enough for every value. */
    char *items = *(char **)at(message, field);
    guint which = n > 0 ? below(m, 8) : 7;
    size_t some = n > 0 ? below(m, n) * message_value_bytes(field->type) : 0;
    if (which < 2) {
        item_remove(m, message, field);
    } else if (which < 4) {
        items_swap(m, message, field);
    } else if (which == 4) {
        memcpy(item, items + some, message_value_bytes(field->type));
        guint times = below(m, 8) == 0 ? 1 + below(m, REPEATS_MAX) : 1;
        items_insert(m, message, field, below(m, n + 1), item, times);
    } else if (which == 5 && field->type != PROTOBUF_C_TYPE_MESSAGE) {
        value_change(m, field, items + some, depth);
    } else {
        value_change(m, field, item, depth);
        items_insert(m, message, field, below(m, n + 1), item, 1);
    }
}

/* ---- Messages */

static void field_change(Mutation *m, ProtobufCMessage *message,
                         const ProtobufCFieldDescriptor *field, guint depth)
{
    if (is_repeated(field)) {
        repeated_change(m, message, field, depth);
        return;
    }
    void *value = at(message, field);
    if (message_is_other_case(message, field)) {
        memset(value, 0, message_value_bytes(field->type));
        *case_of(message, field) = field->id;
    } else if (field->type == PROTOBUF_C_TYPE_MESSAGE && below(m, 4) == 0) {
        *(ProtobufCMessage **)value = NULL;
        if (is_oneof(field)) {
            *case_of(message, field) = 0;
        }
        return;
    }
    value_change(m, field, value, depth);
}

/* A new message, some of whose fields are set. */
static ProtobufCMessage *grown(Mutation *m, const ProtobufCMessageDescriptor *descriptor,
                               guint depth)
{
    ProtobufCMessage *message = arena_message(m->arena, descriptor);
    for (unsigned i = 0; depth > 0 && i < descriptor->n_fields; i++) {
        if (below(m, 3) == 0) {
            field_change(m, message, &descriptor->fields[i], depth - 1);
        }
    }
    return message;
}

static void change_something(Mutation *m)
{
    ProtobufCMessage *message = g_ptr_array_index(m->messages, below(m, m->messages->len));
    const ProtobufCMessageDescriptor *descriptor = message->descriptor;
    if (descriptor->n_fields > 0) {
        field_change(m, message, &descriptor->fields[below(m, descriptor->n_fields)], GROW_DEPTH);
    }
}

static ProtobufCMessage *begin(Mutation *m, const ProtobufCMessageDescriptor *descriptor,
                               const uint8_t *data, size_t size_bytes, unsigned seed)
{
    *m = (Mutation){.arena = arena_new(),
                    .random = seed * G_GUINT64_CONSTANT(0x9e3779b97f4a7c15) + 1,
                    .messages = g_ptr_array_new(),
                    .strings = g_ptr_array_new()};
    return protobuf_c_message_unpack(descriptor, arena_allocator(m->arena, SIZE_MAX), size_bytes,
                                     data);
}

static void end(Mutation *m)
{
    g_ptr_array_free(m->messages, TRUE);
    g_ptr_array_free(m->strings, TRUE);
    arena_free(m->arena);
}

/* 0: it does not fit. */
static size_t pack(const ProtobufCMessage *message, uint8_t *out, size_t max_bytes)
{
    size_t size_bytes = protobuf_c_message_get_packed_size(message);
    return size_bytes <= max_bytes ? protobuf_c_message_pack(message, out) : 0;
}

size_t mutate_message(const ProtobufCMessageDescriptor *descriptor, const char *const *words,
                      uint8_t *data, size_t size_bytes, size_t max_bytes, unsigned seed)
{
    Mutation m;
    ProtobufCMessage *message = begin(&m, descriptor, data, size_bytes, seed);
    if (message == NULL) {
        message = arena_message(m.arena, descriptor);
    }
    m.words = words;
    m.n_words = g_strv_length((char **)words);
    collect(&m, message);
    for (guint n = 1 + below(&m, CHANGES_MAX); n > 0; n--) {
        change_something(&m);
    }
    size_t packed_bytes = pack(message, data, max_bytes);
    end(&m);
    return packed_bytes;
}

/* The first items of the one, then some of the other. */
static void items_cross(Mutation *m, ProtobufCMessage *into, ProtobufCMessage *from,
                        const ProtobufCFieldDescriptor *field)
{
    size_t n = *count_of(from, field);
    size_t first = below(m, n);
    size_t behind = first + 1 + below(m, n - first);
    const char *items = *(char **)at(from, field);
    *count_of(into, field) = below(m, *count_of(into, field) + 1);
    for (size_t i = first; i < behind; i++) {
        items_insert(m, into, field, *count_of(into, field),
                     items + i * message_value_bytes(field->type), 1);
    }
}

size_t mutate_cross(const ProtobufCMessageDescriptor *descriptor, const uint8_t *a, size_t a_bytes,
                    const uint8_t *b, size_t b_bytes, uint8_t *out, size_t max_bytes, unsigned seed)
{
    Mutation m;
    size_t packed_bytes = 0;
    ProtobufCMessage *into = begin(&m, descriptor, a, a_bytes, seed);
    ProtobufCMessage *from =
        protobuf_c_message_unpack(descriptor, arena_allocator(m.arena, SIZE_MAX), b_bytes, b);
    for (unsigned i = 0; into != NULL && from != NULL && i < descriptor->n_fields; i++) {
        if (is_repeated(&descriptor->fields[i]) && *count_of(from, &descriptor->fields[i]) > 0) {
            items_cross(&m, into, from, &descriptor->fields[i]);
        }
    }
    if (into != NULL && from != NULL) {
        packed_bytes = pack(into, out, max_bytes);
    }
    end(&m);
    return packed_bytes;
}
