/* Walks a message by its descriptor. Output and input are two halves of one table of types. */
#include "common/base/json.h"

#include <string.h>

#include "common/base/error.h"
#include "common/base/message.h"
#include "common/base/text.h"

/* ---- Output */

static JsonNode *node_of_string(const char *text)
{
    return json_node_init_string(json_node_alloc(), text);
}

static JsonNode *node_of_int(gint64 number)
{
    return json_node_init_int(json_node_alloc(), number);
}

static JsonNode *node_of_enum(const ProtobufCEnumDescriptor *descriptor, int number)
{
    const ProtobufCEnumValue *value = protobuf_c_enum_descriptor_get_value(descriptor, number);
    return value != NULL ? node_of_string(value->name) : node_of_int(number);
}

static JsonNode *value_to_json(const ProtobufCFieldDescriptor *field, const void *value)
{
    g_autofree char *text = NULL;
    switch (field->type) {
    case PROTOBUF_C_TYPE_INT32:
    case PROTOBUF_C_TYPE_SINT32:
    case PROTOBUF_C_TYPE_SFIXED32:
        return node_of_int(*(const int32_t *)value);
    case PROTOBUF_C_TYPE_UINT32:
    case PROTOBUF_C_TYPE_FIXED32:
        return node_of_int(*(const uint32_t *)value);
    case PROTOBUF_C_TYPE_INT64:
    case PROTOBUF_C_TYPE_SINT64:
    case PROTOBUF_C_TYPE_SFIXED64:
        text = g_strdup_printf("%" G_GINT64_FORMAT, *(const gint64 *)value);
        return node_of_string(text);
    case PROTOBUF_C_TYPE_UINT64:
    case PROTOBUF_C_TYPE_FIXED64:
        text = g_strdup_printf("%" G_GUINT64_FORMAT, *(const guint64 *)value);
        return node_of_string(text);
    case PROTOBUF_C_TYPE_FLOAT:
        return json_node_init_double(json_node_alloc(), *(const float *)value);
    case PROTOBUF_C_TYPE_DOUBLE:
        return json_node_init_double(json_node_alloc(), *(const double *)value);
    case PROTOBUF_C_TYPE_BOOL:
        return json_node_init_boolean(json_node_alloc(), *(const protobuf_c_boolean *)value);
    case PROTOBUF_C_TYPE_ENUM:
        return node_of_enum(field->descriptor, *(const int *)value);
    case PROTOBUF_C_TYPE_STRING:
        return node_of_string(*(const char *const *)value);
    case PROTOBUF_C_TYPE_BYTES: {
        const ProtobufCBinaryData *bytes = value;
        text = g_base64_encode(bytes->data, bytes->len);
        return node_of_string(text);
    }
    case PROTOBUF_C_TYPE_MESSAGE:
        return message_to_json(*(const void *const *)value);
    }
    g_assert_not_reached();
}

/* Whether a field that is neither repeated nor in a oneof has nothing to say. */
static gboolean is_default(const ProtobufCFieldDescriptor *field, const void *value)
{
    switch (field->type) {
    case PROTOBUF_C_TYPE_STRING: {
        const char *text = *(const char *const *)value;
        return text == NULL || *text == '\0';
    }
    case PROTOBUF_C_TYPE_MESSAGE:
        return *(const void *const *)value == NULL;
    case PROTOBUF_C_TYPE_BYTES:
        return ((const ProtobufCBinaryData *)value)->len == 0;
    case PROTOBUF_C_TYPE_INT32:
    case PROTOBUF_C_TYPE_SINT32:
    case PROTOBUF_C_TYPE_SFIXED32:
    case PROTOBUF_C_TYPE_UINT32:
    case PROTOBUF_C_TYPE_FIXED32:
    case PROTOBUF_C_TYPE_INT64:
    case PROTOBUF_C_TYPE_SINT64:
    case PROTOBUF_C_TYPE_SFIXED64:
    case PROTOBUF_C_TYPE_UINT64:
    case PROTOBUF_C_TYPE_FIXED64:
    case PROTOBUF_C_TYPE_FLOAT:
    case PROTOBUF_C_TYPE_DOUBLE:
    case PROTOBUF_C_TYPE_BOOL:
    case PROTOBUF_C_TYPE_ENUM: {
        static const char zeroes[sizeof(uint64_t)];
        return memcmp(value, zeroes, message_value_bytes(field->type)) == 0;
    }
    }
    g_assert_not_reached();
}

static JsonNode *repeated_to_json(const ProtobufCFieldDescriptor *field, const char *items,
                                  size_t n_items)
{
    JsonArray *array = json_array_sized_new((guint)n_items);
    for (size_t i = 0; i < n_items; i++) {
        json_array_add_element(array,
                               value_to_json(field, items + i * message_value_bytes(field->type)));
    }
    JsonNode *node = json_node_init_array(json_node_alloc(), array);
    json_array_unref(array);
    return node;
}

JsonNode *message_to_json(const void *message)
{
    const char *base = message;
    const ProtobufCMessageDescriptor *descriptor = ((const ProtobufCMessage *)message)->descriptor;
    JsonObject *object = json_object_new();
    for (unsigned i = 0; i < descriptor->n_fields; i++) {
        const ProtobufCFieldDescriptor *field = &descriptor->fields[i];
        const char *value = base + field->offset;
        if (field->label == PROTOBUF_C_LABEL_REPEATED) {
            size_t n_items = *(const size_t *)(base + field->quantifier_offset);
            if (n_items > 0) {
                json_object_set_member(
                    object, field->name,
                    repeated_to_json(field, *(const char *const *)value, n_items));
            }
            continue;
        }
        gboolean in_oneof = (field->flags & PROTOBUF_C_FIELD_FLAG_ONEOF) != 0;
        if (in_oneof ? !message_is_other_case(message, field) : !is_default(field, value)) {
            json_object_set_member(object, field->name, value_to_json(field, value));
        }
    }
    JsonNode *node = json_node_init_object(json_node_alloc(), object);
    json_object_unref(object);
    return node;
}

char *message_to_json_text(const void *message, gboolean pretty)
{
    g_autoptr(JsonNode) node = message_to_json(message);
    return json_to_string(node, pretty);
}

/* ---- Input */

/* Where the walk is: the arena that everything goes to, and the path that an error names. */
typedef struct {
    VbArena *arena;
    GString *path;
    GError **error;
} Walk;

static gboolean refuse(Walk *walk, const char *format, ...) G_GNUC_PRINTF(2, 3);
static gboolean refuse(Walk *walk, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    g_autofree char *what = g_strdup_vprintf(format, args);
    va_end(args);
    gboolean at_top = walk->path->len == 0;
    g_set_error(walk->error, VB_ERROR, ERROR_CODE_INVALID_ARGUMENT, "%s%s %s",
                at_top ? "the JSON document" : "JSON field ", walk->path->str, what);
    return FALSE;
}

static gboolean fields_from_json(Walk *walk, ProtobufCMessage *message, JsonNode *node);

static gboolean is_of(JsonNode *node, GType type)
{
    return JSON_NODE_HOLDS_VALUE(node) && json_node_get_value_type(node) == type;
}

static gboolean signed_from_json(Walk *walk, JsonNode *node, gint64 min, gint64 max,
                                 gint64 *ret_number)
{
    if (is_of(node, G_TYPE_INT64)) {
        *ret_number = json_node_get_int(node);
        if (*ret_number >= min && *ret_number <= max) {
            return TRUE;
        }
    } else if (is_of(node, G_TYPE_STRING) &&
               g_ascii_string_to_signed(json_node_get_string(node), 10, min, max, ret_number,
                                        NULL)) {
        return TRUE;
    }
    return refuse(walk,
                  "must be a whole number from %" G_GINT64_FORMAT " to %" G_GINT64_FORMAT
                  " (a large one as a string)",
                  min, max);
}

static gboolean unsigned_from_json(Walk *walk, JsonNode *node, guint64 max, guint64 *ret_number)
{
    if (is_of(node, G_TYPE_INT64)) {
        *ret_number = (guint64)json_node_get_int(node);
        if (json_node_get_int(node) >= 0 && *ret_number <= max) {
            return TRUE;
        }
    } else if (is_of(node, G_TYPE_STRING) &&
               g_ascii_string_to_unsigned(json_node_get_string(node), 10, 0, max, ret_number,
                                          NULL)) {
        return TRUE;
    }
    return refuse(
        walk, "must be a whole number from 0 to %" G_GUINT64_FORMAT " (a large one as a string)",
        max);
}

static gboolean double_from_json(Walk *walk, JsonNode *node, double *ret_number)
{
    if (!is_of(node, G_TYPE_DOUBLE) && !is_of(node, G_TYPE_INT64)) {
        return refuse(walk, "must be a number");
    }
    *ret_number = json_node_get_double(node);
    return TRUE;
}

static gboolean string_from_json(Walk *walk, JsonNode *node, const char **ret_text)
{
    if (!is_of(node, G_TYPE_STRING)) {
        return refuse(walk, "must be a string");
    }
    *ret_text = json_node_get_string(node);
    /* json-glib also reads \337 and half a surrogate pair, and makes such bytes of them. */
    return g_utf8_validate(*ret_text, -1, NULL) ||
           refuse(walk, "has an escape that makes no UTF-8: write the character itself");
}

static gboolean enum_from_json(Walk *walk, const ProtobufCEnumDescriptor *descriptor,
                               JsonNode *node, int *ret_value)
{
    const char *text;
    if (!string_from_json(walk, node, &text)) {
        return FALSE;
    }
    const ProtobufCEnumValue *value =
        protobuf_c_enum_descriptor_get_value_by_name(descriptor, text);
    if (value != NULL) {
        *ret_value = value->value;
        return TRUE;
    }
    if (enum_parse(descriptor, text, ret_value)) {
        return TRUE;
    }
    g_autoptr(GString) known = g_string_new(NULL);
    for (unsigned i = 0; i < descriptor->n_values; i++) {
        g_string_append_printf(known, "%s%s", i > 0 ? ", " : "", descriptor->values[i].name);
    }
    return refuse(walk, "has the unknown value \"%s\"; known are %s", text, known->str);
}

static gboolean bytes_from_json(Walk *walk, JsonNode *node, ProtobufCBinaryData *ret_bytes)
{
    const char *text;
    if (!string_from_json(walk, node, &text)) {
        return FALSE;
    }
    gsize length;
    g_autofree guchar *decoded = g_base64_decode(text, &length);
    g_autofree char *again = g_base64_encode(decoded, length);
    if (strcmp(again, text) != 0) { /* GLib skips what is no base64. */
        return refuse(walk, "must be base64");
    }
    ret_bytes->len = length;
    ret_bytes->data = arena_alloc(walk->arena, length);
    memcpy(ret_bytes->data, decoded, length);
    return TRUE;
}

static gboolean text_from_json(Walk *walk, JsonNode *node, char **ret_text)
{
    const char *text;
    if (!string_from_json(walk, node, &text)) {
        return FALSE;
    }
    *ret_text = arena_strdup(walk->arena, text);
    return TRUE;
}

static gboolean submessage_from_json(Walk *walk, const ProtobufCMessageDescriptor *descriptor,
                                     JsonNode *node, ProtobufCMessage **ret_message)
{
    *ret_message = arena_message(walk->arena, descriptor);
    return fields_from_json(walk, *ret_message, node);
}

static gboolean number_from_json(Walk *walk, ProtobufCType type, JsonNode *node, void *ret_value)
{
    gboolean is_signed = type == PROTOBUF_C_TYPE_INT32 || type == PROTOBUF_C_TYPE_SINT32 ||
                         type == PROTOBUF_C_TYPE_SFIXED32 || type == PROTOBUF_C_TYPE_INT64 ||
                         type == PROTOBUF_C_TYPE_SINT64 || type == PROTOBUF_C_TYPE_SFIXED64;
    gboolean is_short = message_value_bytes(type) == sizeof(uint32_t);
    if (is_signed) {
        gint64 number;
        if (!signed_from_json(walk, node, is_short ? G_MININT32 : G_MININT64,
                              is_short ? G_MAXINT32 : G_MAXINT64, &number)) {
            return FALSE;
        }
        if (is_short) {
            *(int32_t *)ret_value = (int32_t)number;
        } else {
            *(gint64 *)ret_value = number;
        }
        return TRUE;
    }
    guint64 number;
    if (!unsigned_from_json(walk, node, is_short ? G_MAXUINT32 : G_MAXUINT64, &number)) {
        return FALSE;
    }
    if (is_short) {
        *(uint32_t *)ret_value = (uint32_t)number;
    } else {
        *(guint64 *)ret_value = number;
    }
    return TRUE;
}

static gboolean value_from_json(Walk *walk, const ProtobufCFieldDescriptor *field, JsonNode *node,
                                void *ret_value)
{
    double number;
    switch (field->type) {
    case PROTOBUF_C_TYPE_INT32:
    case PROTOBUF_C_TYPE_SINT32:
    case PROTOBUF_C_TYPE_SFIXED32:
    case PROTOBUF_C_TYPE_UINT32:
    case PROTOBUF_C_TYPE_FIXED32:
    case PROTOBUF_C_TYPE_INT64:
    case PROTOBUF_C_TYPE_SINT64:
    case PROTOBUF_C_TYPE_SFIXED64:
    case PROTOBUF_C_TYPE_UINT64:
    case PROTOBUF_C_TYPE_FIXED64:
        return number_from_json(walk, field->type, node, ret_value);
    case PROTOBUF_C_TYPE_FLOAT:
        if (!double_from_json(walk, node, &number)) {
            return FALSE;
        }
        *(float *)ret_value = (float)number;
        return TRUE;
    case PROTOBUF_C_TYPE_DOUBLE:
        return double_from_json(walk, node, ret_value);
    case PROTOBUF_C_TYPE_BOOL:
        if (!is_of(node, G_TYPE_BOOLEAN)) {
            return refuse(walk, "must be true or false");
        }
        *(protobuf_c_boolean *)ret_value = json_node_get_boolean(node);
        return TRUE;
    case PROTOBUF_C_TYPE_ENUM:
        return enum_from_json(walk, field->descriptor, node, ret_value);
    case PROTOBUF_C_TYPE_STRING:
        return text_from_json(walk, node, ret_value);
    case PROTOBUF_C_TYPE_BYTES:
        return bytes_from_json(walk, node, ret_value);
    case PROTOBUF_C_TYPE_MESSAGE:
        return submessage_from_json(walk, field->descriptor, node, ret_value);
    }
    g_assert_not_reached();
}

static gboolean repeated_from_json(Walk *walk, const ProtobufCFieldDescriptor *field, char *base,
                                   JsonNode *node)
{
    if (!JSON_NODE_HOLDS_ARRAY(node)) {
        return refuse(walk, "must be a list");
    }
    JsonArray *array = json_node_get_array(node);
    guint n_items = json_array_get_length(array);
    size_t size_bytes = message_value_bytes(field->type);
    char *items = arena_alloc(walk->arena, n_items * size_bytes);
    gsize path_length = walk->path->len;
    for (guint i = 0; i < n_items; i++) {
        g_string_append_printf(walk->path, "[%u]", i);
        if (!value_from_json(walk, field, json_array_get_element(array, i),
                             items + i * size_bytes)) {
            return FALSE;
        }
        g_string_truncate(walk->path, path_length);
    }
    *(char **)(base + field->offset) = items;
    *(size_t *)(base + field->quantifier_offset) = n_items;
    return TRUE;
}

static gboolean field_from_json(Walk *walk, ProtobufCMessage *message, const char *name,
                                JsonNode *node)
{
    char *base = (char *)message;
    const ProtobufCFieldDescriptor *field =
        protobuf_c_message_descriptor_get_field_by_name(message->descriptor, name);
    if (field == NULL) {
        return refuse(walk, "is unknown: %s has no such field", message->descriptor->short_name);
    }
    if (JSON_NODE_HOLDS_NULL(node)) {
        return TRUE;
    }
    if (field->label == PROTOBUF_C_LABEL_REPEATED) {
        return repeated_from_json(walk, field, base, node);
    }
    if ((field->flags & PROTOBUF_C_FIELD_FLAG_ONEOF) != 0) {
        uint32_t *which = (uint32_t *)(base + field->quantifier_offset);
        if (*which != 0) {
            const ProtobufCFieldDescriptor *other =
                protobuf_c_message_descriptor_get_field(message->descriptor, *which);
            return refuse(walk, "excludes %s: only one of the two may be set", other->name);
        }
        *which = field->id;
    }
    return value_from_json(walk, field, node, base + field->offset);
}

static gboolean fields_from_json(Walk *walk, ProtobufCMessage *message, JsonNode *node)
{
    if (!JSON_NODE_HOLDS_OBJECT(node)) {
        return refuse(walk, "must be an object: a %s", message->descriptor->short_name);
    }
    gsize path_length = walk->path->len;
    JsonObjectIter iter;
    const char *name;
    JsonNode *member;
    json_object_iter_init_ordered(&iter, json_node_get_object(node));
    while (json_object_iter_next_ordered(&iter, &name, &member)) {
        if (!g_utf8_validate(name, -1, NULL)) {
            return refuse(walk, "has a field whose name is no UTF-8");
        }
        g_string_append_printf(walk->path, "%s%s", path_length > 0 ? "." : "", name);
        if (!field_from_json(walk, message, name, member)) {
            return FALSE;
        }
        g_string_truncate(walk->path, path_length);
    }
    return TRUE;
}

ProtobufCMessage *message_from_json(VbArena *arena, const ProtobufCMessageDescriptor *descriptor,
                                    JsonNode *node, GError **error)
{
    g_autoptr(GString) path = g_string_new(NULL);
    Walk walk = {.arena = arena, .path = path, .error = error};
    ProtobufCMessage *message = arena_message(arena, descriptor);
    return fields_from_json(&walk, message, node) ? message : NULL;
}

ProtobufCMessage *message_from_json_text(VbArena *arena,
                                         const ProtobufCMessageDescriptor *descriptor,
                                         const char *text, gssize length, GError **error)
{
    g_autoptr(JsonParser) parser = json_parser_new_immutable();
    g_autoptr(GError) cause = NULL;
    if (!json_parser_load_from_data(parser, text, length, &cause)) {
        g_autofree char *why = g_utf8_make_valid(cause->message, -1); /* It shows what it found. */
        g_set_error(error, VB_ERROR, ERROR_CODE_INVALID_ARGUMENT, "this is no JSON: %s", why);
        return NULL;
    }
    JsonNode *root = json_parser_get_root(parser);
    if (root == NULL) {
        g_set_error_literal(error, VB_ERROR, ERROR_CODE_INVALID_ARGUMENT,
                            "the JSON document is empty");
        return NULL;
    }
    return message_from_json(arena, descriptor, root, error);
}
