/* Which offsets of the command topic are read and not finished, and so which one may be committed:
 * every offset below it is finished. It counts the unfinished alone: one command that waits for
 * long keeps the committed offset back, and stops the reading of no other. */
#pragma once

#include <glib.h>

typedef struct {
    GArray *unfinished; /* of gint64, rising */
    gint64 next;        /* Behind the last record that was read. */
} VbOffsets;

void offsets_init(VbOffsets *offsets);
/* Reading begins anew at `next`. */
void offsets_begin(VbOffsets *offsets, gint64 next);
/* Offsets are read in rising order. */
void offsets_read(VbOffsets *offsets, gint64 offset);
/* One that is not known, or finished already, changes nothing. */
void offsets_finish(VbOffsets *offsets, gint64 offset);
guint offsets_n_unfinished(const VbOffsets *offsets);
/* What may be committed. */
gint64 offsets_low_water(const VbOffsets *offsets);
