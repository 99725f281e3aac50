/* Text in columns that are as wide as their widest cell. Knows nothing of what it prints. */
#pragma once

#include <glib.h>

typedef struct VbColumns VbColumns;

/* One heading a column, ends with NULL. In front of a heading '>' aligns its column to the right.
 * Empty headings print no line. */
VbColumns *columns_new(const char *heading, ...) G_GNUC_NULL_TERMINATED;
void columns_free(VbColumns *columns);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(VbColumns, columns_free)

/* One cell a column, ends with NULL. Control characters become '?', so that a text from a host
 * cannot drive the terminal. An empty first cell and no other makes an empty line. */
void columns_row(VbColumns *columns, const char *cell, ...) G_GNUC_NULL_TERMINATED;

/* Colours the row added last: an escape sequence from style.h, of static storage. */
void columns_colour(VbColumns *columns, const char *escape);

gsize columns_rows(const VbColumns *columns);

/* All lines, each with its end. g_free. */
char *columns_text(const VbColumns *columns);
