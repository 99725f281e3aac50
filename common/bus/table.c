/* A hash set of entries, and a binary heap over those that have a deadline. Each entry knows its
 * place in the heap, so that a changed state leaves nothing stale behind. */
#include "common/bus/table.h"

#include <string.h>
#include <uuid/uuid.h>

enum { NOT_IN_HEAP = G_MAXUINT32 };

struct VbTable {
    GHashTable *entries; /* of VbTableEntry, which is its own key. */
    GPtrArray *heap;     /* of VbTableEntry; the earliest first. */
};

/* A uuid's bits are well mixed already, but for hostile ones: fold all of them. */
static guint entry_hash(gconstpointer key)
{
    const VbTableEntry *entry = key;
    guint hash = 5381;
    for (size_t i = 0; i < sizeof(entry->uuid); i++) {
        hash = hash * 33 + entry->uuid[i];
    }
    return hash;
}

static gboolean entry_equal(gconstpointer a, gconstpointer b)
{
    const VbTableEntry *left = a;
    const VbTableEntry *right = b;
    return memcmp(left->uuid, right->uuid, sizeof(left->uuid)) == 0;
}

VbTable *table_new(void)
{
    VbTable *table = g_new0(VbTable, 1);
    table->entries = g_hash_table_new_full(entry_hash, entry_equal, g_free, NULL);
    table->heap = g_ptr_array_new();
    return table;
}

void table_free(VbTable *table)
{
    if (table != NULL) {
        g_ptr_array_free(table->heap, TRUE);
        g_hash_table_destroy(table->entries);
        g_free(table);
    }
}

guint table_size(const VbTable *table)
{
    return g_hash_table_size(table->entries);
}

/* ---- The heap. */

static VbTableEntry *heap_at(const VbTable *table, guint index)
{
    return g_ptr_array_index(table->heap, index);
}

static void heap_set(VbTable *table, guint index, VbTableEntry *entry)
{
    table->heap->pdata[index] = entry;
    entry->heap_index = index;
}

static gboolean is_before(const VbTableEntry *a, const VbTableEntry *b)
{
    if (a->deadline_ms != b->deadline_ms) {
        return a->deadline_ms < b->deadline_ms;
    }
    return memcmp(a->uuid, b->uuid, sizeof(a->uuid)) < 0;
}

static void heap_up(VbTable *table, VbTableEntry *entry, guint index)
{
    while (index > 0 && is_before(entry, heap_at(table, (index - 1) / 2))) {
        heap_set(table, index, heap_at(table, (index - 1) / 2));
        index = (index - 1) / 2;
    }
    heap_set(table, index, entry);
}

static void heap_down(VbTable *table, VbTableEntry *entry, guint index)
{
    for (;;) {
        guint child = 2 * index + 1;
        if (child >= table->heap->len) {
            break;
        }
        if (child + 1 < table->heap->len &&
            is_before(heap_at(table, child + 1), heap_at(table, child))) {
            child++;
        }
        if (!is_before(heap_at(table, child), entry)) {
            break;
        }
        heap_set(table, index, heap_at(table, child));
        index = child;
    }
    heap_set(table, index, entry);
}

static void heap_add(VbTable *table, VbTableEntry *entry)
{
    g_ptr_array_add(table->heap, entry);
    heap_up(table, entry, table->heap->len - 1);
}

static void heap_remove(VbTable *table, VbTableEntry *entry)
{
    guint index = entry->heap_index;
    if (index == NOT_IN_HEAP) {
        return;
    }
    VbTableEntry *last = heap_at(table, table->heap->len - 1);
    g_ptr_array_set_size(table->heap, (gint)table->heap->len - 1);
    entry->heap_index = NOT_IN_HEAP;
    if (last != entry) {
        heap_down(table, last, index);
        heap_up(table, last, last->heap_index);
    }
}

/* ---- The set. */

static VbTableEntry *find(const VbTable *table, const char *uuid)
{
    VbTableEntry probe;
    return uuid_parse(uuid, probe.uuid) == 0 ? g_hash_table_lookup(table->entries, &probe) : NULL;
}

const VbTableEntry *table_find(const VbTable *table, const char *uuid)
{
    return find(table, uuid);
}

static VbTableEntry *put(VbTable *table, const char *uuid, const void *bytes, size_t size_bytes)
{
    g_assert(size_bytes <= G_MAXINT32);
    VbTableEntry *entry = g_malloc(sizeof(*entry) + size_bytes);
    *entry =
        (VbTableEntry){.heap_index = NOT_IN_HEAP, .size_bytes = (guint32)size_bytes & 0x7fffffff};
    g_assert(uuid_parse(uuid, entry->uuid) == 0);
    memcpy(entry->bytes, bytes, size_bytes);
    VbTableEntry *before = g_hash_table_lookup(table->entries, entry);
    if (before != NULL) {
        heap_remove(table, before);
    }
    g_hash_table_add(table->entries, entry);
    return entry;
}

void table_put(VbTable *table, const char *uuid, const void *bytes, size_t size_bytes,
               gint64 deadline_ms)
{
    VbTableEntry *entry = put(table, uuid, bytes, size_bytes);
    entry->deadline_ms = deadline_ms;
    if (deadline_ms != 0) {
        heap_add(table, entry);
    }
}

void table_put_broken(VbTable *table, const char *uuid, const void *bytes, size_t size_bytes)
{
    put(table, uuid, bytes, size_bytes)->is_broken = 1;
}

void table_remove(VbTable *table, const char *uuid)
{
    VbTableEntry *entry = find(table, uuid);
    if (entry != NULL) {
        heap_remove(table, entry);
        g_hash_table_remove(table->entries, entry);
    }
}

void table_mute(VbTable *table, const char *uuid)
{
    VbTableEntry *entry = find(table, uuid);
    if (entry != NULL) {
        heap_remove(table, entry);
    }
}

gint64 table_first_deadline_ms(const VbTable *table)
{
    return table->heap->len > 0 ? heap_at(table, 0)->deadline_ms : G_MAXINT64;
}

void table_due(VbTable *table, gint64 now_ms, guint max, GPtrArray *entries)
{
    guint first = entries->len;
    while (entries->len - first < max && table_first_deadline_ms(table) <= now_ms) {
        VbTableEntry *entry = heap_at(table, 0);
        heap_remove(table, entry);
        g_ptr_array_add(entries, entry);
    }
    for (guint i = first; i < entries->len; i++) {
        heap_add(table, g_ptr_array_index(entries, i));
    }
}

void table_each(const VbTable *table, VbTableEach each, void *user)
{
    GHashTableIter iter;
    gpointer key;
    g_hash_table_iter_init(&iter, table->entries);
    while (g_hash_table_iter_next(&iter, &key, NULL)) {
        const VbTableEntry *entry = key;
        char uuid[UUID_STR_LEN];
        uuid_unparse_lower(entry->uuid, uuid);
        each(uuid, entry->bytes, entry->size_bytes, user);
    }
}
