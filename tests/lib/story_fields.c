#include "tests/lib/story_fields.h"

#include <string.h>

#include "common/base/error.h"
#include "common/base/text.h"

static gboolean G_GNUC_PRINTF(2, 3) refuse(GError **error, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    g_autofree char *text = g_strdup_vprintf(format, args);
    va_end(args);
    g_set_error_literal(error, VB_ERROR, ERROR_CODE_INVALID_ARGUMENT, text);
    return FALSE;
}

gboolean field_parse_number(const char *text, gint64 *ret_number)
{
    static const struct {
        const char *unit;
        gint64 factor;
    } units[] = {
        {"", 1},
        {"KiB", G_GINT64_CONSTANT(1) << 10},
        {"MiB", G_GINT64_CONSTANT(1) << 20},
        {"GiB", G_GINT64_CONSTANT(1) << 30},
        {"TiB", G_GINT64_CONSTANT(1) << 40},
        {"ms", 1},
        {"s", 1000},
        {"m", 60 * 1000},
        {"h", 60 * 60 * 1000},
        {"d", 24 * 60 * 60 * 1000},
    };
    char *end;
    gint64 number = g_ascii_strtoll(text, &end, 10);
    if (end == text) {
        return FALSE;
    }
    for (size_t i = 0; i < G_N_ELEMENTS(units); i++) {
        if (strcmp(end, units[i].unit) == 0) {
            *ret_number = number * units[i].factor;
            return TRUE;
        }
    }
    return FALSE;
}

static gboolean bool_parse(const char *text, protobuf_c_boolean *ret_value)
{
    *ret_value = strcmp(text, "true") == 0;
    return *ret_value || strcmp(text, "false") == 0;
}

/* "n*30000" is thirty thousand n. */
static char *text_parse(VbArena *arena, StoryNames *names, const char *text)
{
    gint64 times;
    if (*text == '$') {
        return arena_strdup(arena, names_uuid(names, text));
    }
    if (*text != '\0' && text[1] == '*' && field_parse_number(text + 2, &times)) {
        g_autofree char *filled = g_strnfill((gsize)times, *text);
        return arena_strdup(arena, filled);
    }
    return arena_strdup(arena, text);
}

static gboolean scalar_set(VbArena *arena, StoryNames *names, const ProtobufCFieldDescriptor *field,
                           void *place, const char *text)
{
    gint64 number = 0;
    switch (field->type) {
    case PROTOBUF_C_TYPE_STRING:
        *(char **)place = text_parse(arena, names, text);
        return TRUE;
    case PROTOBUF_C_TYPE_BOOL:
        return bool_parse(text, place);
    case PROTOBUF_C_TYPE_ENUM:
        if (enum_parse(field->descriptor, text, place)) {
            return TRUE;
        }
        /* A bare number is for values that the contract does not know. */
        if (!field_parse_number(text, &number)) {
            return FALSE;
        }
        *(int *)place = (int)number;
        return TRUE;
    case PROTOBUF_C_TYPE_INT32:
    case PROTOBUF_C_TYPE_SINT32:
    case PROTOBUF_C_TYPE_SFIXED32:
    case PROTOBUF_C_TYPE_UINT32:
    case PROTOBUF_C_TYPE_FIXED32:
        *(guint32 *)place = field_parse_number(text, &number) ? (guint32)number : 0;
        return field_parse_number(text, &number);
    case PROTOBUF_C_TYPE_INT64:
    case PROTOBUF_C_TYPE_SINT64:
    case PROTOBUF_C_TYPE_SFIXED64:
    case PROTOBUF_C_TYPE_UINT64:
    case PROTOBUF_C_TYPE_FIXED64:
        return field_parse_number(text, place);
    case PROTOBUF_C_TYPE_FLOAT:
    case PROTOBUF_C_TYPE_DOUBLE:
    case PROTOBUF_C_TYPE_BYTES:
    case PROTOBUF_C_TYPE_MESSAGE:
        return FALSE;
    }
    g_assert_not_reached();
}

/* "nics[2]" -> "nics" and 2; "nics" -> "nics" and -1. */
static char *segment_split(const char *segment, gint64 *ret_index)
{
    const char *bracket = strchr(segment, '[');
    *ret_index = -1;
    if (bracket == NULL) {
        return g_strdup(segment);
    }
    *ret_index = g_ascii_strtoll(bracket + 1, NULL, 10);
    return g_strndup(segment, (gsize)(bracket - segment));
}

/* Where the field's value lies; of a repeated one the item, made if it is one past the end. */
static void *place_of(VbArena *arena, ProtobufCMessage *message,
                      const ProtobufCFieldDescriptor *field, gint64 index)
{
    char *base = (char *)message;
    if (field->label != PROTOBUF_C_LABEL_REPEATED) {
        if ((field->flags & PROTOBUF_C_FIELD_FLAG_ONEOF) != 0) {
            uint32_t *oneof_case = (uint32_t *)(base + field->quantifier_offset);
            if (*oneof_case != field->id) {
                *oneof_case = field->id;
                *(void **)(base + field->offset) = NULL;
            }
        }
        return index < 0 ? base + field->offset : NULL;
    }
    size_t *n_items = (size_t *)(base + field->quantifier_offset);
    void ***items = (void ***)(base + field->offset);
    gboolean by_pointer =
        field->type == PROTOBUF_C_TYPE_MESSAGE || field->type == PROTOBUF_C_TYPE_STRING;
    if (index < 0 || (size_t)index > *n_items || !by_pointer) {
        return NULL;
    }
    if ((size_t)index == *n_items) {
        ARENA_APPEND(arena, *n_items, *items, NULL);
    }
    return &(*items)[index];
}

static gboolean take_away(ProtobufCMessage *message, const ProtobufCFieldDescriptor *field)
{
    char *base = (char *)message;
    if (field->label == PROTOBUF_C_LABEL_REPEATED) {
        *(size_t *)(base + field->quantifier_offset) = 0;
        return TRUE;
    }
    if (field->type == PROTOBUF_C_TYPE_MESSAGE &&
        (field->flags & PROTOBUF_C_FIELD_FLAG_ONEOF) == 0) {
        *(void **)(base + field->offset) = NULL;
        return TRUE;
    }
    return FALSE;
}

static gboolean last_set(VbArena *arena, StoryNames *names, const ProtobufCFieldDescriptor *field,
                         void *place, const char *value)
{
    if (strcmp(value, "{}") == 0 && field->type == PROTOBUF_C_TYPE_MESSAGE) {
        *(void **)place = arena_message(arena, field->descriptor);
        return TRUE;
    }
    return scalar_set(arena, names, field, place, value);
}

gboolean field_set(VbArena *arena, StoryNames *names, ProtobufCMessage *message,
                   const char *assignment, GError **error)
{
    const char *equals = strchr(assignment, '=');
    if (equals == NULL) {
        return refuse(error, "%s is no assignment: write path=value", assignment);
    }
    const char *value = equals + 1;
    g_autofree char *path = g_strndup(assignment, (gsize)(equals - assignment));
    g_auto(GStrv) segments = g_strsplit(path, ".", -1);
    for (guint i = 0; segments[i] != NULL; i++) {
        gint64 index;
        g_autofree char *name = segment_split(segments[i], &index);
        const ProtobufCFieldDescriptor *field =
            protobuf_c_message_descriptor_get_field_by_name(message->descriptor, name);
        if (field == NULL) {
            return refuse(error, "%s has no field %s", message->descriptor->short_name, name);
        }
        gboolean last = segments[i + 1] == NULL;
        if (last && strcmp(value, "none") == 0 && take_away(message, field)) {
            return TRUE;
        }
        void *place = place_of(arena, message, field, index);
        if (place == NULL) {
            return refuse(error, "%s: the index fits no list, or is past its end", segments[i]);
        }
        if (last) {
            return last_set(arena, names, field, place, value) ||
                   refuse(error, "%s cannot be %s", path, value);
        }
        if (field->type != PROTOBUF_C_TYPE_MESSAGE) {
            return refuse(error, "%s is no message", name);
        }
        if (*(void **)place == NULL) {
            *(void **)place = arena_message(arena, field->descriptor);
        }
        message = *(void **)place;
    }
    return refuse(error, "%s names no field", assignment);
}
