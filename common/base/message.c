#include "common/base/message.h"

#include <string.h>

#include "common/base/error.h"

ProtobufCMessage *message_unpack(VbArena *arena, const ProtobufCMessageDescriptor *descriptor,
                                 const void *bytes, size_t size_bytes, GError **error)
{
    if (size_bytes > MESSAGE_MAX_BYTES) {
        g_set_error(error, VB_ERROR, ERROR_CODE_TOO_LARGE,
                    "the %s has %zu bytes, at most %d are accepted", descriptor->short_name,
                    size_bytes, MESSAGE_MAX_BYTES);
        return NULL;
    }
    ProtobufCMessage *message = protobuf_c_message_unpack(
        descriptor, arena_allocator(arena, MESSAGE_MAX_ARENA_BYTES), size_bytes, bytes);
    if (message == NULL && arena_limit_is_reached(arena)) {
        g_set_error(error, VB_ERROR, ERROR_CODE_TOO_LARGE,
                    "the %s of %zu bytes unpacks to more than %d bytes: it repeats a field far too "
                    "often",
                    descriptor->short_name, size_bytes, MESSAGE_MAX_ARENA_BYTES);
    } else if (message == NULL) {
        g_set_error(error, VB_ERROR, ERROR_CODE_INVALID_ARGUMENT,
                    "the %zu bytes are no %s: send the protobuf message itself", size_bytes,
                    descriptor->short_name);
    }
    return message;
}

/* The way from the outermost message to a field. It lives on the stack of the walk. */
typedef struct Path {
    const struct Path *parent;
    const ProtobufCFieldDescriptor *field;
    gssize index; /* Of a repeated field; -1: not repeated. */
} Path;

static void path_append(const Path *path, GString *text)
{
    if (path->parent != NULL) {
        path_append(path->parent, text);
        g_string_append_c(text, '.');
    }
    g_string_append(text, path->field->name);
    if (path->index >= 0) {
        g_string_append_printf(text, "[%zd]", path->index);
    }
}

static gboolean refuse(const Path *path, GError **error, const char *what)
{
    g_autoptr(GString) text = g_string_new(NULL);
    path_append(path, text);
    g_set_error(error, VB_ERROR, ERROR_CODE_INVALID_ARGUMENT, "field %s %s", text->str, what);
    return FALSE;
}

static gboolean string_check(const char *text, const Path *path, GError **error)
{
    if (!g_utf8_validate(text, -1, NULL)) {
        return refuse(path, error, "is not valid UTF-8");
    }
    for (const char *at = text; *at != '\0'; at = g_utf8_next_char(at)) {
        if (g_unichar_iscntrl(g_utf8_get_char(at))) {
            return refuse(path, error, "holds a control character");
        }
    }
    return TRUE;
}

static gboolean fields_check(const ProtobufCMessage *message, const Path *parent, GError **error);

static gboolean value_check(const void *value, const Path *path, GError **error)
{
    const ProtobufCFieldDescriptor *field = path->field;
    if (field->type == PROTOBUF_C_TYPE_STRING) {
        const char *text = *(char *const *)value;
        return text == NULL || string_check(text, path, error);
    }
    if (field->type == PROTOBUF_C_TYPE_ENUM) {
        int number = *(const int *)value;
        if (protobuf_c_enum_descriptor_get_value(field->descriptor, number) == NULL) {
            g_autofree char *what = g_strdup_printf("has the unknown value %d", number);
            return refuse(path, error, what);
        }
        return TRUE;
    }
    if (field->type == PROTOBUF_C_TYPE_MESSAGE) {
        const ProtobufCMessage *sub = *(ProtobufCMessage *const *)value;
        return sub == NULL || fields_check(sub, path, error);
    }
    return TRUE;
}

size_t message_value_bytes(ProtobufCType type)
{
    switch (type) {
    case PROTOBUF_C_TYPE_INT32:
    case PROTOBUF_C_TYPE_SINT32:
    case PROTOBUF_C_TYPE_SFIXED32:
    case PROTOBUF_C_TYPE_UINT32:
    case PROTOBUF_C_TYPE_FIXED32:
        return sizeof(uint32_t);
    case PROTOBUF_C_TYPE_INT64:
    case PROTOBUF_C_TYPE_SINT64:
    case PROTOBUF_C_TYPE_SFIXED64:
    case PROTOBUF_C_TYPE_UINT64:
    case PROTOBUF_C_TYPE_FIXED64:
        return sizeof(uint64_t);
    case PROTOBUF_C_TYPE_FLOAT:
        return sizeof(float);
    case PROTOBUF_C_TYPE_DOUBLE:
        return sizeof(double);
    case PROTOBUF_C_TYPE_BOOL:
        return sizeof(protobuf_c_boolean);
    case PROTOBUF_C_TYPE_ENUM:
        return sizeof(int);
    case PROTOBUF_C_TYPE_STRING:
    case PROTOBUF_C_TYPE_MESSAGE:
        return sizeof(void *);
    case PROTOBUF_C_TYPE_BYTES:
        return sizeof(ProtobufCBinaryData);
    }
    g_assert_not_reached();
}

gboolean message_is_other_case(const ProtobufCMessage *message,
                               const ProtobufCFieldDescriptor *field)
{
    const char *base = (const char *)message;
    return (field->flags & PROTOBUF_C_FIELD_FLAG_ONEOF) != 0 &&
           *(const uint32_t *)(const void *)(base + field->quantifier_offset) != field->id;
}

static gboolean fields_check(const ProtobufCMessage *message, const Path *parent, GError **error)
{
    const ProtobufCMessageDescriptor *descriptor = message->descriptor;
    const char *base = (const char *)message;
    for (unsigned i = 0; i < descriptor->n_fields; i++) {
        const ProtobufCFieldDescriptor *field = &descriptor->fields[i];
        Path path = {.parent = parent, .field = field, .index = -1};
        if (message_is_other_case(message, field)) {
            continue;
        }
        if (field->label != PROTOBUF_C_LABEL_REPEATED) {
            if (!value_check(base + field->offset, &path, error)) {
                return FALSE;
            }
            continue;
        }
        size_t n_items = *(const size_t *)(base + field->quantifier_offset);
        const char *items = *(char *const *)(base + field->offset);
        for (path.index = 0; (size_t)path.index < n_items; path.index++) {
            const char *item = items + (size_t)path.index * message_value_bytes(field->type);
            gboolean checked = field->type == PROTOBUF_C_TYPE_STRING ||
                               field->type == PROTOBUF_C_TYPE_ENUM ||
                               field->type == PROTOBUF_C_TYPE_MESSAGE;
            if (checked && !value_check(item, &path, error)) {
                return FALSE;
            }
        }
    }
    return TRUE;
}

gboolean message_check(const ProtobufCMessage *message, GError **error)
{
    return fields_check(message, NULL, error);
}

/* ---- The bytes themselves */

typedef struct {
    const guint8 *at;
    const guint8 *end;
} Wire;

static guint64 varint_read(Wire *wire)
{
    guint64 value = 0;
    for (guint shift = 0; wire->at < wire->end && shift < 64; shift += 7) {
        guint8 byte = *wire->at++;
        value |= (guint64)(byte & 0x7f) << shift;
        if (byte < 0x80) {
            break;
        }
    }
    return value;
}

/* Past a field's value; of one with a length, `ret_inside` is what it holds. */
static gboolean value_skip(Wire *wire, guint wire_type, Wire *ret_inside)
{
    gboolean has_length = wire_type == PROTOBUF_C_WIRE_TYPE_LENGTH_PREFIXED;
    guint64 size_bytes = wire_type == PROTOBUF_C_WIRE_TYPE_64BIT   ? 8
                         : wire_type == PROTOBUF_C_WIRE_TYPE_32BIT ? 4
                                                                   : varint_read(wire);
    if (wire_type == PROTOBUF_C_WIRE_TYPE_VARINT) {
        return FALSE;
    }
    size_bytes = MIN(size_bytes, (guint64)(wire->end - wire->at));
    *ret_inside = (Wire){.at = wire->at, .end = wire->at + size_bytes};
    wire->at += size_bytes;
    return has_length;
}

static gboolean wire_check(const ProtobufCMessageDescriptor *descriptor, Wire wire,
                           const Path *parent, GError **error)
{
    while (wire.at < wire.end) {
        Wire inside = {.at = NULL};
        guint64 tag = varint_read(&wire);
        gboolean has_length = value_skip(&wire, tag & 7, &inside);
        const ProtobufCFieldDescriptor *field =
            protobuf_c_message_descriptor_get_field(descriptor, (unsigned)(tag >> 3));
        if (!has_length || field == NULL) {
            continue;
        }
        Path path = {.parent = parent, .field = field, .index = -1};
        if (field->type == PROTOBUF_C_TYPE_STRING &&
            memchr(inside.at, '\0', (size_t)(inside.end - inside.at)) != NULL) {
            return refuse(&path, error, "holds a zero byte");
        }
        if (field->type == PROTOBUF_C_TYPE_MESSAGE &&
            !wire_check(field->descriptor, inside, &path, error)) {
            return FALSE;
        }
    }
    return TRUE;
}

gboolean message_check_bytes(const ProtobufCMessageDescriptor *descriptor, const void *bytes,
                             size_t size_bytes, GError **error)
{
    if (memchr(bytes, '\0', size_bytes) == NULL) {
        return TRUE; /* As nearly all are: proto3 writes no zero. */
    }
    Wire wire = {.at = bytes, .end = (const guint8 *)bytes + size_bytes};
    return wire_check(descriptor, wire, NULL, error);
}

GBytes *message_pack(const void *message)
{
    if (message == NULL) {
        return NULL;
    }
    size_t size_bytes = protobuf_c_message_get_packed_size(message);
    uint8_t *packed = g_malloc(size_bytes);
    protobuf_c_message_pack(message, packed);
    return g_bytes_new_take(packed, size_bytes);
}

gboolean message_is_packed(const void *message, const GBytes *packed)
{
    if (message == NULL || packed == NULL) {
        return message == NULL && packed == NULL;
    }
    g_autoptr(GBytes) now = message_pack(message);
    return g_bytes_equal(now, packed);
}
