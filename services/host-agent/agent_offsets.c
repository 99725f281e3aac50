/* The window of unfinished commands; see agent_offsets.h. */
#include "services/host-agent/agent_offsets.h"

void offsets_init(VbOffsets *offsets)
{
    offsets->unfinished = g_array_new(FALSE, FALSE, sizeof(gint64));
    offsets->next = 0;
}

void offsets_begin(VbOffsets *offsets, gint64 next)
{
    g_array_set_size(offsets->unfinished, 0);
    offsets->next = next;
}

void offsets_read(VbOffsets *offsets, gint64 offset)
{
    g_array_append_val(offsets->unfinished, offset);
    offsets->next = offset + 1;
}

void offsets_finish(VbOffsets *offsets, gint64 offset)
{
    for (guint i = 0; i < offsets->unfinished->len; i++) {
        if (g_array_index(offsets->unfinished, gint64, i) == offset) {
            g_array_remove_index(offsets->unfinished, i);
            return;
        }
    }
}

guint offsets_n_unfinished(const VbOffsets *offsets)
{
    return offsets->unfinished->len;
}

gint64 offsets_low_water(const VbOffsets *offsets)
{
    return offsets->unfinished->len > 0 ? g_array_index(offsets->unfinished, gint64, 0)
                                        : offsets->next;
}
