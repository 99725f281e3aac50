/* See columns.h. */
#include "tools/virtbusctl/columns.h"

#include <string.h>

#include "tools/virtbusctl/style.h"

typedef struct {
    GPtrArray *cells; /* of char *; may be shorter than the headings */
    const char *colour;
} Row;

struct VbColumns {
    GPtrArray *headings; /* of char * */
    GArray *rows;        /* of Row */
};

static void row_clear(gpointer data)
{
    g_ptr_array_unref(((Row *)data)->cells);
}

static GPtrArray *texts_collect(const char *first, va_list args)
{
    GPtrArray *texts = g_ptr_array_new_with_free_func(g_free);
    for (const char *text = first; text != NULL; text = va_arg(args, const char *)) {
        g_ptr_array_add(texts, style_safe(text));
    }
    return texts;
}

VbColumns *columns_new(const char *heading, ...)
{
    VbColumns *columns = g_new0(VbColumns, 1);
    va_list args;
    va_start(args, heading);
    columns->headings = texts_collect(heading, args);
    va_end(args);
    columns->rows = g_array_new(FALSE, TRUE, sizeof(Row));
    g_array_set_clear_func(columns->rows, row_clear);
    return columns;
}

void columns_free(VbColumns *columns)
{
    if (columns != NULL) {
        g_ptr_array_unref(columns->headings);
        g_array_unref(columns->rows);
        g_free(columns);
    }
}

void columns_row(VbColumns *columns, const char *cell, ...)
{
    va_list args;
    va_start(args, cell);
    Row row = {.cells = texts_collect(cell, args)};
    va_end(args);
    g_assert(row.cells->len <= columns->headings->len);
    g_array_append_val(columns->rows, row);
}

void columns_colour(VbColumns *columns, const char *escape)
{
    g_array_index(columns->rows, Row, columns->rows->len - 1).colour = escape;
}

gsize columns_rows(const VbColumns *columns)
{
    return columns->rows->len;
}

static gboolean is_right(const VbColumns *columns, guint column)
{
    return *(const char *)g_ptr_array_index(columns->headings, column) == '>';
}

static const char *heading_at(const VbColumns *columns, guint column)
{
    const char *heading = g_ptr_array_index(columns->headings, column);
    return is_right(columns, column) ? heading + 1 : heading;
}

static const char *cell_at(const Row *row, guint column)
{
    return column < row->cells->len ? g_ptr_array_index(row->cells, column) : "";
}

/* In places of a terminal: wide characters take two, combining ones none. */
static glong text_width(const char *text)
{
    glong width = 0;
    for (; *text != '\0'; text = g_utf8_next_char(text)) {
        gunichar character = g_utf8_get_char(text);
        width += g_unichar_iszerowidth(character) ? 0 : g_unichar_iswide(character) ? 2 : 1;
    }
    return width;
}

static void spaces_append(GString *text, glong n)
{
    for (; n > 0; n--) {
        g_string_append_c(text, ' ');
    }
}

static void line_append(const VbColumns *columns, const Row *row, const glong *widths,
                        GString *text)
{
    g_autoptr(GString) line = g_string_new(NULL);
    for (guint i = 0; i < columns->headings->len; i++) {
        const char *cell = row != NULL ? cell_at(row, i) : heading_at(columns, i);
        glong padding = widths[i] - text_width(cell);
        spaces_append(line, i > 0 ? 2 : 0);
        spaces_append(line, is_right(columns, i) ? padding : 0);
        g_string_append(line, cell);
        spaces_append(line, is_right(columns, i) ? 0 : padding);
    }
    g_strchomp(line->str);
    const char *colour = row != NULL ? row->colour : STYLE_BOLD;
    g_autofree char *coloured = style_coloured(colour, line->str);
    g_string_append_printf(text, "%s\n", coloured);
}

char *columns_text(const VbColumns *columns)
{
    guint n = columns->headings->len;
    g_autofree glong *widths = g_new0(glong, n);
    gboolean has_headings = FALSE;
    for (guint i = 0; i < n; i++) {
        widths[i] = text_width(heading_at(columns, i));
        has_headings = has_headings || widths[i] > 0;
        for (guint r = 0; r < columns->rows->len; r++) {
            const Row *row = &g_array_index(columns->rows, Row, r);
            widths[i] = MAX(widths[i], text_width(cell_at(row, i)));
        }
    }
    GString *text = g_string_new(NULL);
    if (has_headings) {
        line_append(columns, NULL, widths, text);
    }
    for (guint r = 0; r < columns->rows->len; r++) {
        line_append(columns, &g_array_index(columns->rows, Row, r), widths, text);
    }
    return g_string_free(text, FALSE);
}
