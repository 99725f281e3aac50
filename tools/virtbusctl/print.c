/* See print.h. */
#include "tools/virtbusctl/print.h"

#include <stdio.h>

#include "common/base/json.h"
#include "common/base/text.h"
#include "tools/virtbusctl/error_table.h"
#include "tools/virtbusctl/style.h"

const char *print_colour(VbTone tone)
{
    switch (tone) {
    case TONE_PLAIN:
        return NULL;
    case TONE_GOOD:
        return STYLE_GREEN;
    case TONE_WARNING:
        return STYLE_YELLOW;
    case TONE_BAD:
        return STYLE_RED;
    }
    g_assert_not_reached();
}

void print_progress(gint64 elapsed_us, VbDescription description)
{
    g_autofree char *safe = style_safe(description.text);
    g_autofree char *text = style_coloured(print_colour(description.tone), safe);
    g_autofree char *elapsed = style_duration(elapsed_us / 1000);
    /* A warning is said as one, also where there are no colours. */
    fprintf(stderr, "%10s  %s%s\n", elapsed, description.tone == TONE_WARNING ? "warning: " : "",
            text);
}

static const char *code_text(ErrorCode code)
{
    for (size_t i = 0; i < error_table_n; i++) {
        if (error_table[i].code == code) {
            return error_table[i].text;
        }
    }
    return "A code of a newer version. Update virtbusctl.";
}

void print_refusal(const Error *error)
{
    print_failure(error->message);
    g_autofree char *code = style_coloured(STYLE_BOLD, ENUM_CODE(error_code, error->code));
    fprintf(stderr, "  %s: %s\n", code, code_text(error->code));
    if (*error->host_uuid != '\0') {
        g_autofree char *host = style_safe(error->host_uuid);
        fprintf(stderr, "  on host %s\n", host);
    }
}

void print_failure(const char *message)
{
    g_autofree char *safe = style_safe(message);
    g_autofree char *text = style_coloured(STYLE_RED, safe);
    fprintf(stderr, "virtbusctl: %s\n", text);
}

void print_json(JsonNode *node)
{
    g_autofree char *text = json_to_string(node, TRUE);
    printf("%s\n", text);
    json_node_unref(node);
}

void print_json_message(const void *message)
{
    print_json(message_to_json(message));
}

void print_columns(const VbColumns *columns)
{
    g_autofree char *text = columns_text(columns);
    fputs(text, stdout);
}

gint64 print_now_ms(void)
{
    return g_get_real_time() / 1000;
}
