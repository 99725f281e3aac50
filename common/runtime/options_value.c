/*
 * options_value: turns the text of one option into its value and describes what is allowed.
 * Pure: it knows no source and keeps nothing.
 */
#include "common/runtime/options_private.h"

#include <string.h>

typedef struct {
    const char *suffix;
    gint64 factor;
} Unit;

/* Largest first: a bound is described in the largest unit that divides it. */
static const Unit duration_units[] = {
    {"d", 86400000}, {"h", 3600000}, {"m", 60000}, {"s", 1000}, {"ms", 1}, {NULL, 0},
};
static const Unit size_units[] = {
    {"TiB", 1ll << 40}, {"GiB", 1ll << 30}, {"MiB", 1ll << 20}, {"KiB", 1ll << 10}, {"", 1},
    {NULL, 0},
};

static const Unit *units_of(const VbOption *option)
{
    return option->type == VB_OPTION_DURATION ? duration_units : size_units;
}

static char *format_number(const VbOption *option, gint64 number)
{
    if (option->type == VB_OPTION_INT || number == 0)
        return g_strdup_printf("%" G_GINT64_FORMAT, number);
    const Unit *unit = units_of(option);
    while (number % unit->factor != 0)
        unit++;
    return g_strdup_printf("%" G_GINT64_FORMAT "%s", number / unit->factor, unit->suffix);
}

static bool has_bounds(const VbOption *option)
{
    return option->min != 0 || option->max != 0;
}

static bool is_within_bounds(const VbOption *option, gint64 number)
{
    return !has_bounds(option) || (number >= option->min && number <= option->max);
}

static bool parse_int(const char *text, gint64 *ret_number)
{
    return g_ascii_string_to_signed(text, 10, G_MININT64, G_MAXINT64, ret_number, NULL);
}

static bool parse_with_unit(const Unit *units, const char *text, gint64 *ret_number)
{
    size_t digits = strspn(text, "0123456789");
    g_autofree char *head = g_strndup(text, digits);
    gint64 count;
    if (!parse_int(head, &count))
        return false;
    const char *suffix = text + digits;
    if (count == 0 && *suffix == '\0') {
        *ret_number = 0;
        return true;
    }
    for (const Unit *unit = units; unit->suffix; unit++)
        if (strcmp(unit->suffix, suffix) == 0)
            return !__builtin_mul_overflow(count, unit->factor, ret_number);
    return false;
}

static bool parse_word(const char *const *words, const char *text, gint64 *ret_number)
{
    for (gint64 i = 0; words[i]; i++) {
        if (strcmp(words[i], text) == 0) {
            *ret_number = i;
            return true;
        }
    }
    return false;
}

static bool parse_number(const VbOption *option, const char *text, gint64 *ret_number)
{
    static const char *const bool_words[] = {"false", "true", NULL};
    switch (option->type) {
    case VB_OPTION_STRING:
        *ret_number = 0;
        return true;
    case VB_OPTION_INT:
        return parse_int(text, ret_number) && is_within_bounds(option, *ret_number);
    case VB_OPTION_BOOL:
        return parse_word(bool_words, text, ret_number);
    case VB_OPTION_DURATION:
    case VB_OPTION_SIZE:
        return parse_with_unit(units_of(option), text, ret_number) &&
               is_within_bounds(option, *ret_number);
    case VB_OPTION_ENUM:
        return parse_word(option->words, text, ret_number);
    }
    g_assert_not_reached();
}

bool options_value_parse(const VbOption *option, const char *text, gint64 *ret_number,
                         char **ret_allowed)
{
    if (!g_utf8_validate(text, -1, NULL)) {
        *ret_allowed = g_strdup("text in UTF-8");
        return false;
    }
    if (!parse_number(option, text, ret_number)) {
        *ret_allowed = options_value_describe(option);
        return false;
    }
    return true;
}

char *options_value_describe(const VbOption *option)
{
    g_autofree char *bounds = NULL;
    if (has_bounds(option)) {
        g_autofree char *min = format_number(option, option->min);
        g_autofree char *max = format_number(option, option->max);
        bounds = g_strdup_printf(" from %s to %s", min, max);
    }
    const char *range = bounds ? bounds : "";
    switch (option->type) {
    case VB_OPTION_STRING:
        return g_strdup(option->flags & VB_OPTION_REPEATABLE ? "string, repeatable" : "string");
    case VB_OPTION_INT:
        return g_strdup_printf("integer%s", range);
    case VB_OPTION_BOOL:
        return g_strdup("true or false");
    case VB_OPTION_DURATION:
        return g_strdup_printf("duration%s (such as 500ms, 30s, 5m, 12h, 30d)", range);
    case VB_OPTION_SIZE:
        return g_strdup_printf("size%s (such as 512, 64KiB, 16MiB, 1GiB)", range);
    case VB_OPTION_ENUM: {
        g_autofree char *words = g_strjoinv(", ", (char **)option->words);
        return g_strdup_printf("one of %s", words);
    }
    }
    g_assert_not_reached();
}
