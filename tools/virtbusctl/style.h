/* How text looks: colours, times, sizes. Colours only where standard output and standard error are
 * both terminals, and never with NO_COLOR in the environment. */
#pragma once

#include <glib.h>

#define STYLE_BOLD   "\033[1m"
#define STYLE_DIM    "\033[2m"
#define STYLE_RED    "\033[31m"
#define STYLE_GREEN  "\033[32m"
#define STYLE_YELLOW "\033[33m"

/* Call first in main. */
void style_start(void);

/* All return new text: g_free. */

/* `text` in that colour, where colours are on; colour NULL: as it is. */
char *style_coloured(const char *colour, const char *text);

/* Valid UTF-8 without control characters: nothing in it can drive a terminal. */
char *style_safe(const char *text);

/* "0 ms", "128 ms", "1.28 s", "12.8 s", "2 min 8 s", "3 h 4 min", "5 d 6 h". Negative: with "-". */
char *style_duration(gint64 duration_ms);

/* "3 s ago", "2 min ago", "5 d ago"; "-" for 0. */
char *style_ago(gint64 then_ms, gint64 now_ms);

/* "528 KiB", "1.5 GiB", "1000 B"; a crooked size over 10 MiB is rounded: "11.3 GiB". "-" for 0. */
char *style_size(guint64 size_bytes);

/* "12:34:56.789", local time. */
char *style_clock(gint64 time_ms);

/* The first 8 characters of a uuid. */
char *style_short_uuid(const char *uuid);
