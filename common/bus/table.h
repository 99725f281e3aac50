/* The states of one partition: VM uuid -> packed StateRecord, and their deadlines in order.
 *
 * One block of memory a VM, about 300 bytes. It unpacks nothing and knows no time.
 */
#pragma once

#include <glib.h>

typedef struct VbTable VbTable;

typedef struct {
    guint8 uuid[16];
    gint64 deadline_ms; /* 0: none. */
    guint32 heap_index; /* Private. */
    guint32 size_bytes : 31;
    guint32 is_broken : 1; /* The bytes are none that this version understands. */
    guint8 bytes[];
} VbTableEntry;

VbTable *table_new(void);
void table_free(VbTable *table);

guint table_size(const VbTable *table);

/* NULL: no such VM. Valid until the table changes. `uuid` is text. */
const VbTableEntry *table_find(const VbTable *table, const char *uuid);

/* Puts a VM's state in place of the one before, with a copy of `bytes`. */
void table_put(VbTable *table, const char *uuid, const void *bytes, size_t size_bytes,
               gint64 deadline_ms);
/* The same for bytes that are not understood: they are only kept. */
void table_put_broken(VbTable *table, const char *uuid, const void *bytes, size_t size_bytes);
void table_remove(VbTable *table, const char *uuid);

/* Forgets a VM's deadline until its state is put again. */
void table_mute(VbTable *table, const char *uuid);

/* The earliest deadline; G_MAXINT64: none. */
gint64 table_first_deadline_ms(const VbTable *table);

/* Appends up to `max` entries whose deadline is not after `now_ms`, by deadline, then uuid. */
void table_due(VbTable *table, gint64 now_ms, guint max, GPtrArray *entries);

/* In no order. */
typedef void (*VbTableEach)(const char *uuid, const void *bytes, size_t size_bytes, void *user);
void table_each(const VbTable *table, VbTableEach each, void *user);
