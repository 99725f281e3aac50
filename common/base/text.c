#include "common/base/text.h"

#include <string.h>

/* Length of the prefix that all values of an enum share: "VOLUME_TYPE_" of VolumeType. */
static size_t prefix_length(const ProtobufCEnumDescriptor *descriptor)
{
    size_t length = 1; /* The underscore behind it. */
    for (const char *at = descriptor->short_name; *at != '\0'; at++) {
        length += (at != descriptor->short_name && g_ascii_isupper(*at)) ? 2 : 1;
    }
    return length;
}

const char *enum_code(const ProtobufCEnumDescriptor *descriptor, int value)
{
    const ProtobufCEnumValue *found = protobuf_c_enum_descriptor_get_value(descriptor, value);
    if (found == NULL || strlen(found->name) <= prefix_length(descriptor)) {
        return "?";
    }
    return found->name + prefix_length(descriptor);
}

const char *enum_label(const ProtobufCEnumDescriptor *descriptor, int value)
{
    g_autoptr(GString) label = g_string_new(NULL);
    gboolean upper = TRUE;
    for (const char *at = enum_code(descriptor, value); *at != '\0'; at++) {
        if (*at == '_') {
            upper = TRUE;
            continue;
        }
        g_string_append_c(label, upper ? *at : g_ascii_tolower(*at));
        upper = FALSE;
    }
    return g_intern_string(label->str);
}

gboolean enum_parse(const ProtobufCEnumDescriptor *descriptor, const char *text, int *ret_value)
{
    for (unsigned i = 0; i < descriptor->n_values; i++) {
        int value = descriptor->values[i].value;
        if (g_ascii_strcasecmp(text, enum_label(descriptor, value)) == 0 ||
            g_ascii_strcasecmp(text, enum_code(descriptor, value)) == 0) {
            *ret_value = value;
            return TRUE;
        }
    }
    return FALSE;
}

char *text_tame(VbArena *arena, const char *raw, size_t max_bytes)
{
    g_autofree char *valid = g_utf8_make_valid(raw, -1);
    g_autoptr(GString) text = g_string_new(NULL);
    for (const char *at = valid; *at != '\0'; at = g_utf8_next_char(at)) {
        if (text->len >= max_bytes) {
            g_string_append(text, " ...");
            break;
        }
        gunichar c = g_utf8_get_char(at);
        g_string_append_unichar(text, g_unichar_iscntrl(c) ? ' ' : c);
    }
    return arena_strdup(arena, text->str);
}
