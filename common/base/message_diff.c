/* See message_diff.h. Messages are walked by protobuf-c's descriptors, side by side. */
#include "common/base/message_diff.h"

#include <string.h>

#include "common/base/message.h"
#include "common/base/text.h"

enum { TEXT_MAX = 120, BYTES_MAX = 24 };

typedef struct {
    VbArena *arena;
    VbMessageDiff each;
    void *user;
} Walk;

/* A field or item of one side; NULL: it is not there. */
typedef const void *Value;

/* ---- Words */

static const char *bytes_words(VbArena *arena, const ProtobufCBinaryData *bytes)
{
    g_autoptr(GString) text = g_string_new(NULL);
    for (size_t i = 0; i < MIN(bytes->len, (size_t)BYTES_MAX); i++) {
        g_string_append_printf(text, "%02x", bytes->data[i]);
    }
    return arena_printf(arena, "%s%s (%zu bytes)", text->str, bytes->len > BYTES_MAX ? "..." : "",
                        bytes->len);
}

static const char *value_words(VbArena *arena, const ProtobufCFieldDescriptor *field, Value value)
{
    if (value == NULL) {
        return NULL;
    }
    switch (field->type) {
    case PROTOBUF_C_TYPE_INT32:
    case PROTOBUF_C_TYPE_SINT32:
    case PROTOBUF_C_TYPE_SFIXED32:
        return arena_printf(arena, "%d", *(const int32_t *)value);
    case PROTOBUF_C_TYPE_UINT32:
    case PROTOBUF_C_TYPE_FIXED32:
        return arena_printf(arena, "%u", *(const uint32_t *)value);
    case PROTOBUF_C_TYPE_INT64:
    case PROTOBUF_C_TYPE_SINT64:
    case PROTOBUF_C_TYPE_SFIXED64:
        return arena_printf(arena, "%" G_GINT64_FORMAT, *(const gint64 *)value);
    case PROTOBUF_C_TYPE_UINT64:
    case PROTOBUF_C_TYPE_FIXED64:
        return arena_printf(arena, "%" G_GUINT64_FORMAT, *(const guint64 *)value);
    case PROTOBUF_C_TYPE_FLOAT:
        return arena_printf(arena, "%.9g", (double)*(const float *)value);
    case PROTOBUF_C_TYPE_DOUBLE:
        return arena_printf(arena, "%.17g", *(const double *)value);
    case PROTOBUF_C_TYPE_BOOL:
        return *(const protobuf_c_boolean *)value ? "true" : "false";
    case PROTOBUF_C_TYPE_ENUM:
        return enum_label(field->descriptor, *(const int *)value);
    case PROTOBUF_C_TYPE_STRING:
        return arena_printf(arena, "\"%s\"",
                            text_tame(arena, *(const char *const *)value, TEXT_MAX));
    case PROTOBUF_C_TYPE_BYTES:
        return bytes_words(arena, value);
    case PROTOBUF_C_TYPE_MESSAGE:
        return "{}";
    }
    g_assert_not_reached();
}

/* ---- The walk */

static gboolean values_are_equal(const ProtobufCFieldDescriptor *field, Value a, Value b)
{
    if (a == NULL || b == NULL) {
        return a == b;
    }
    if (field->type == PROTOBUF_C_TYPE_STRING) {
        return strcmp(*(const char *const *)a, *(const char *const *)b) == 0;
    }
    if (field->type == PROTOBUF_C_TYPE_BYTES) {
        const ProtobufCBinaryData *left = a;
        const ProtobufCBinaryData *right = b;
        return left->len == right->len &&
               (left->len == 0 || memcmp(left->data, right->data, left->len) == 0);
    }
    return memcmp(a, b, message_value_bytes(field->type)) == 0;
}

/* Whether a message says nothing: none of its fields is there. */
static gboolean is_bare(const ProtobufCMessage *message)
{
    return message != NULL && protobuf_c_message_get_packed_size(message) == 0;
}

static void messages_walk(const Walk *walk, const char *parent, const ProtobufCMessage *a,
                          const ProtobufCMessage *b);

static void values_walk(const Walk *walk, const char *path, const ProtobufCFieldDescriptor *field,
                        Value a, Value b)
{
    if (field->type == PROTOBUF_C_TYPE_MESSAGE) {
        const ProtobufCMessage *left = a != NULL ? *(ProtobufCMessage *const *)a : NULL;
        const ProtobufCMessage *right = b != NULL ? *(ProtobufCMessage *const *)b : NULL;
        if ((left == NULL && is_bare(right)) || (right == NULL && is_bare(left))) {
            walk->each(path, left != NULL ? "{}" : NULL, right != NULL ? "{}" : NULL, walk->user);
        } else {
            messages_walk(walk, path, left, right);
        }
    } else if (!values_are_equal(field, a, b)) {
        walk->each(path, value_words(walk->arena, field, a), value_words(walk->arena, field, b),
                   walk->user);
    }
}

/* A string that is not set, in a message that is there, is "": protobuf does not tell the two. */
static Value field_of(const ProtobufCFieldDescriptor *field, const ProtobufCMessage *message)
{
    if (message == NULL || message_is_other_case(message, field)) {
        return NULL;
    }
    return (const char *)message + field->offset;
}

static Value item_of(const ProtobufCFieldDescriptor *field, const ProtobufCMessage *message,
                     size_t index, size_t *ret_n)
{
    const char *base = (const char *)message;
    *ret_n = message != NULL ? *(const size_t *)(const void *)(base + field->quantifier_offset) : 0;
    if (index >= *ret_n) {
        return NULL;
    }
    const char *items = *(char *const *)(const void *)(base + field->offset);
    return items + index * message_value_bytes(field->type);
}

static void items_walk(const Walk *walk, const char *path, const ProtobufCFieldDescriptor *field,
                       const ProtobufCMessage *a, const ProtobufCMessage *b)
{
    size_t n_a;
    size_t n_b;
    item_of(field, a, 0, &n_a);
    item_of(field, b, 0, &n_b);
    for (size_t i = 0; i < MAX(n_a, n_b); i++) {
        values_walk(walk, arena_printf(walk->arena, "%s[%zu]", path, i), field,
                    item_of(field, a, i, &n_a), item_of(field, b, i, &n_b));
    }
}

/* A field of a message that is there on one side only is not worth a word when it has its default.
 */
static gboolean is_silent(const ProtobufCFieldDescriptor *field, Value value)
{
    static const char zeroes[sizeof(ProtobufCBinaryData)];
    if (value == NULL || (field->flags & PROTOBUF_C_FIELD_FLAG_ONEOF) != 0) {
        return value == NULL;
    }
    if (field->type == PROTOBUF_C_TYPE_STRING) {
        return **(const char *const *)value == '\0';
    }
    return memcmp(value, zeroes, message_value_bytes(field->type)) == 0;
}

static void messages_walk(const Walk *walk, const char *parent, const ProtobufCMessage *a,
                          const ProtobufCMessage *b)
{
    const ProtobufCMessageDescriptor *descriptor = (a != NULL ? a : b)->descriptor;
    for (unsigned i = 0; i < descriptor->n_fields; i++) {
        const ProtobufCFieldDescriptor *field = &descriptor->fields[i];
        const char *path =
            *parent == '\0' ? field->name : arena_printf(walk->arena, "%s.%s", parent, field->name);
        if (field->label == PROTOBUF_C_LABEL_REPEATED) {
            items_walk(walk, path, field, a, b);
            continue;
        }
        Value left = field_of(field, a);
        Value right = field_of(field, b);
        if (!is_silent(field, left) || !is_silent(field, right)) {
            values_walk(walk, path, field, left, right);
        }
    }
}

void message_diff(VbArena *arena, const ProtobufCMessage *a, const ProtobufCMessage *b,
                  VbMessageDiff each, void *user)
{
    Walk walk = {.arena = arena, .each = each, .user = user};
    if (a != NULL || b != NULL) {
        g_assert(a == NULL || b == NULL || a->descriptor == b->descriptor);
        messages_walk(&walk, "", a, b);
    }
}
