/* See sim_disk.h. */
#include "tests/sim/sim_disk.h"

#include <string.h>

enum {
    SECTOR_BYTES = 512,
    PENDING_MAX = 64, /* Older ones are on disk: a folder that nobody ever syncs stays small. */
    DIRTY_MAX = 64,   /* Before those that nobody needs any more are looked for. */
    INODE_BITS = 24,
};

typedef enum { OP_LINK, OP_UNLINK, OP_RENAME } OpKind;

/* Something that was done to a folder and is not on disk. */
typedef struct {
    OpKind kind;
    guint writer;
    GRefString *name;
    GRefString *to; /* RENAME */
    SimNode *node;  /* LINK */
} Op;

struct SimDisk {
    Sim *sim;
    SimNode *root;
    GPtrArray *dirty; /* Of SimNode, referenced, in the order in which they became so. */
    gboolean is_volatile;
    guint64 next_inode;
};

/* ---- Content: shared until it is written to */

static SimContent *content_new(gsize n_bytes)
{
    SimContent *content = g_malloc(sizeof(SimContent) + n_bytes);
    content->refs = 1;
    content->size_bytes = n_bytes;
    content->n_bytes = n_bytes;
    return content;
}

static SimContent *content_ref(SimContent *content)
{
    if (content != NULL) {
        content->refs++;
    }
    return content;
}

static void content_unref(SimContent *content)
{
    if (content != NULL && --content->refs == 0) {
        g_free(content);
    }
}

static guint64 content_size(const SimContent *content)
{
    return content != NULL ? content->size_bytes : 0;
}

static gsize content_read(const SimContent *content, guint64 at, void *bytes, gsize size_bytes)
{
    guint64 end = content_size(content);
    if (at >= end) {
        return 0;
    }
    gsize n = (gsize)MIN((guint64)size_bytes, end - at);
    gsize n_real = at < content->n_bytes ? MIN(n, content->n_bytes - (gsize)at) : 0;
    if (n_real > 0) {
        memcpy(bytes, content->bytes + at, n_real);
    }
    memset((guint8 *)bytes + n_real, 0, n - n_real);
    return n;
}

/* One that nobody else has, with room for so many bytes. Takes `content`. */
static SimContent *content_own(SimContent *content, gsize n_bytes)
{
    gsize n_before = content != NULL ? content->n_bytes : 0;
    if (content != NULL && content->refs == 1 && n_before >= n_bytes) {
        return content;
    }
    SimContent *own = content_new(MAX(n_before, n_bytes));
    if (n_before > 0) {
        memcpy(own->bytes, content->bytes, n_before);
    }
    memset(own->bytes + n_before, 0, own->n_bytes - n_before);
    own->size_bytes = content_size(content);
    content_unref(content);
    return own;
}

static void content_set(SimContent **at, SimContent *content)
{
    content_ref(content);
    content_unref(*at);
    *at = content;
}

/* ---- Entries */

/* Where it is, or would be. */
static gboolean entries_find(const GArray *entries, const char *name, guint *ret_at)
{
    guint low = 0;
    guint high = entries->len;
    while (low < high) {
        guint middle = (low + high) / 2;
        int order = strcmp(g_array_index(entries, SimEntry, middle).name, name);
        if (order == 0) {
            *ret_at = middle;
            return TRUE;
        }
        low = order < 0 ? middle + 1 : low;
        high = order < 0 ? high : middle;
    }
    *ret_at = low;
    return FALSE;
}

static void entries_insert(GArray *entries, GRefString *name, SimNode *node)
{
    guint at = 0;
    gboolean found = entries_find(entries, name, &at);
    g_assert(!found);
    SimEntry entry = {.name = g_ref_string_acquire(name), .node = sim_node_ref(node)};
    g_array_insert_val(entries, at, entry);
}

static void entries_remove(GArray *entries, guint at)
{
    SimEntry entry = g_array_index(entries, SimEntry, at);
    g_array_remove_index(entries, at);
    g_ref_string_release(entry.name);
    sim_node_unref(entry.node);
}

static void entries_clear(GArray *entries)
{
    while (entries->len > 0) {
        entries_remove(entries, entries->len - 1);
    }
}

/* ---- What is not on disk */

static void op_clear(void *data)
{
    Op *op = data;
    g_ref_string_release(op->name);
    if (op->to != NULL) {
        g_ref_string_release(op->to);
    }
    if (op->node != NULL) {
        sim_node_unref(op->node);
    }
}

/* One that cannot be done, because another before it was lost, is none. */
static void op_apply(const Op *op, GArray *entries)
{
    guint at = 0;
    guint at_to = 0;
    gboolean found = entries_find(entries, op->name, &at);
    switch (op->kind) {
    case OP_LINK:
        if (!found) {
            entries_insert(entries, op->name, op->node);
        }
        return;
    case OP_UNLINK:
        if (found) {
            entries_remove(entries, at);
        }
        return;
    case OP_RENAME:
        if (found) {
            SimNode *node = sim_node_ref(g_array_index(entries, SimEntry, at).node);
            entries_remove(entries, at);
            if (entries_find(entries, op->to, &at_to)) {
                entries_remove(entries, at_to);
            }
            entries_insert(entries, op->to, node);
            sim_node_unref(node);
        }
        return;
    }
}

/* Those that only this list still holds are gone for good. */
static void dirty_tidy(SimDisk *disk)
{
    guint n = 0;
    for (guint i = 0; i < disk->dirty->len; i++) {
        SimNode *node = g_ptr_array_index(disk->dirty, i);
        if (node->refs > 1) {
            disk->dirty->pdata[n++] = node;
        } else {
            node->dirty = FALSE;
            sim_node_unref(node);
        }
    }
    g_ptr_array_set_size(disk->dirty, (int)n);
}

static void node_set_dirty(SimNode *node, guint writer)
{
    SimDisk *disk = node->disk;
    node->writer = writer;
    if (node->dirty || disk->is_volatile) {
        return;
    }
    if (disk->dirty->len >= DIRTY_MAX) {
        dirty_tidy(disk);
    }
    node->dirty = TRUE;
    node->least_bytes = content_size(node->disk_content);
    g_ptr_array_add(disk->dirty, sim_node_ref(node));
}

static void folder_add_op(SimNode *folder, Op op)
{
    if (folder->disk->is_volatile) {
        op_clear(&op);
        return;
    }
    if (folder->pending->len >= PENDING_MAX) {
        op_apply(&g_array_index(folder->pending, Op, 0), folder->disk_entries);
        g_array_remove_index(folder->pending, 0);
    }
    g_array_append_val(folder->pending, op);
    node_set_dirty(folder, op.writer);
}

/* ---- Nodes */

SimNode *sim_node_new(SimDisk *disk, SimNodeKind kind, guint mode, guint writer)
{
    SimNode *node = g_new0(SimNode, 1);
    node->inode = disk->next_inode++;
    node->kind = kind;
    node->refs = 1;
    node->disk = disk;
    node->owner.mode = mode;
    node->disk_owner = node->owner;
    node->writer = writer;
    if (kind == SIM_NODE_FOLDER) {
        node->entries = g_array_new(FALSE, FALSE, sizeof(SimEntry));
        node->disk_entries = g_array_new(FALSE, FALSE, sizeof(SimEntry));
        node->pending = g_array_new(FALSE, FALSE, sizeof(Op));
        g_array_set_clear_func(node->pending, op_clear);
    }
    return node;
}

SimNode *sim_node_ref(SimNode *node)
{
    node->refs++;
    return node;
}

void sim_node_unref(SimNode *node)
{
    if (node == NULL || --node->refs > 0) {
        return;
    }
    if (node->kind == SIM_NODE_FOLDER) {
        g_array_unref(node->pending);
        entries_clear(node->entries);
        entries_clear(node->disk_entries);
        g_array_unref(node->entries);
        g_array_unref(node->disk_entries);
    }
    content_unref(node->content);
    content_unref(node->disk_content);
    if (node->name != NULL) {
        g_ref_string_release(node->name);
    }
    g_free(node);
}

gboolean sim_node_is_durable(const SimNode *node)
{
    return !node->disk->is_volatile && !node->dirty;
}

guint64 sim_node_size(const SimNode *node)
{
    return content_size(node->content);
}

gsize sim_node_read(const SimNode *node, guint64 at, void *bytes, gsize size_bytes)
{
    return content_read(node->content, at, bytes, size_bytes);
}

void sim_node_write(SimNode *node, guint64 at, const void *bytes, gsize size_bytes, guint writer)
{
    guint64 end = at + size_bytes;
    node->content = content_own(node->content, (gsize)end);
    memcpy(node->content->bytes + at, bytes, size_bytes);
    node->content->size_bytes = MAX(node->content->size_bytes, end);
    node->forgotten = FALSE; /* Files that matter have one page. */
    node_set_dirty(node, writer);
}

void sim_node_truncate(SimNode *node, guint64 size_bytes, guint writer)
{
    SimContent *before = node->content;
    gsize n_bytes = before != NULL ? (gsize)MIN((guint64)before->n_bytes, size_bytes) : 0;
    SimContent *content = content_new(n_bytes);
    if (n_bytes > 0) {
        memcpy(content->bytes, before->bytes, n_bytes);
    }
    content->size_bytes = size_bytes;
    content_unref(before);
    node->content = content;
    node_set_dirty(node, writer);
    node->least_bytes = MIN(node->least_bytes, size_bytes);
}

void sim_node_set_owner(SimNode *node, SimOwner owner, guint writer)
{
    if (memcmp(&node->owner, &owner, sizeof(owner)) != 0) {
        node->owner = owner;
        node_set_dirty(node, writer);
    }
}

void sim_node_sync(SimNode *node)
{
    if (!node->dirty) {
        return;
    }
    node->disk_owner = node->owner;
    if (node->forgotten) {
        return;
    }
    content_set(&node->disk_content, node->content);
    for (guint i = 0; node->kind == SIM_NODE_FOLDER && i < node->pending->len; i++) {
        op_apply(&g_array_index(node->pending, Op, i), node->disk_entries);
    }
    if (node->kind == SIM_NODE_FOLDER) {
        g_array_set_size(node->pending, 0);
    }
    node->dirty = FALSE;
    g_ptr_array_remove(node->disk->dirty, node);
    sim_node_unref(node);
}

gboolean sim_node_forget(SimNode *node)
{
    node->forgotten =
        node->kind == SIM_NODE_FILE && node->dirty && node->content != node->disk_content;
    return node->forgotten;
}

/* ---- Folders */

SimNode *sim_folder_find(const SimNode *folder, const char *name)
{
    guint at = 0;
    return entries_find(folder->entries, name, &at)
               ? g_array_index(folder->entries, SimEntry, at).node
               : NULL;
}

gboolean sim_folder_is_durable(const SimNode *folder, const char *name)
{
    guint at = 0;
    return !folder->disk->is_volatile && entries_find(folder->disk_entries, name, &at) &&
           g_array_index(folder->disk_entries, SimEntry, at).node == sim_folder_find(folder, name);
}

static void node_set_name(SimNode *node, GRefString *name)
{
    g_ref_string_acquire(name);
    if (node->name != NULL) {
        g_ref_string_release(node->name);
    }
    node->name = name;
}

static void folder_insert(SimNode *folder, GRefString *name, SimNode *node)
{
    entries_insert(folder->entries, name, node);
    node->n_links++;
    node_set_name(node, name);
}

static void folder_remove(SimNode *folder, const char *name)
{
    guint at = 0;
    if (entries_find(folder->entries, name, &at)) {
        g_array_index(folder->entries, SimEntry, at).node->n_links--;
        entries_remove(folder->entries, at);
    }
}

void sim_folder_link(SimNode *folder, const char *name, SimNode *node, guint writer)
{
    GRefString *text = g_ref_string_new(name);
    folder_insert(folder, text, node);
    folder_add_op(
        folder, (Op){.kind = OP_LINK, .writer = writer, .name = text, .node = sim_node_ref(node)});
}

void sim_folder_unlink(SimNode *folder, const char *name, guint writer)
{
    GRefString *text = g_ref_string_new(name);
    folder_remove(folder, name);
    folder_add_op(folder, (Op){.kind = OP_UNLINK, .writer = writer, .name = text});
}

void sim_folder_rename(SimNode *folder, const char *from, SimNode *to_folder, const char *to,
                       guint writer)
{
    SimNode *node = sim_node_ref(sim_folder_find(folder, from));
    if (folder == to_folder) {
        GRefString *name = g_ref_string_new(from);
        GRefString *new_name = g_ref_string_new(to);
        folder_remove(folder, from);
        folder_remove(folder, to);
        folder_insert(folder, new_name, node);
        folder_add_op(folder,
                      (Op){.kind = OP_RENAME, .writer = writer, .name = name, .to = new_name});
    } else {
        if (sim_folder_find(to_folder, to) != NULL) {
            sim_folder_unlink(to_folder, to, writer);
        }
        sim_folder_link(to_folder, to, node, writer);
        sim_folder_unlink(folder, from, writer);
    }
    sim_node_unref(node);
}

/* ---- Power loss */

/* Some sectors of the new, some of the old. It has one of the sizes that the file went through: one
 * that was never made shorter or longer stays as long as it was. */
static SimContent *content_tear(Sim *sim, const SimNode *node)
{
    const SimContent *old = node->disk_content;
    const SimContent *new = node->content;
    gint64 least = (gint64)MIN(node->least_bytes, content_size(old));
    gint64 most = (gint64)MAX(content_size(old), content_size(new));
    guint64 size_bytes = (guint64)(sim_below(sim, 2) == 0 ? least : sim_between(sim, least, most));
    gsize n_old = old != NULL ? old->n_bytes : 0;
    gsize n_new = new != NULL ? new->n_bytes : 0;
    SimContent *torn = content_new((gsize)MIN((guint64)MAX(n_old, n_new), size_bytes));
    torn->size_bytes = size_bytes;
    for (gsize at = 0; at < torn->n_bytes; at += SECTOR_BYTES) {
        gsize n = MIN((gsize)SECTOR_BYTES, torn->n_bytes - at);
        memset(torn->bytes + at, 0, n);
        content_read(sim_below(sim, 2) == 0 ? old : new, at, torn->bytes + at, n);
    }
    return torn;
}

static gboolean file_lose(Sim *sim, SimNode *node)
{
    if (node->content == node->disk_content || (!node->forgotten && sim_below(sim, 3) == 0)) {
        content_set(&node->disk_content, node->content);
        return FALSE;
    }
    if (!node->forgotten && sim_below(sim, 2) == 0) {
        SimContent *torn = content_tear(sim, node);
        content_unref(node->disk_content);
        node->disk_content = torn;
        sim_mark(MARK_WRITE_TORN);
    }
    content_set(&node->content, node->disk_content);
    return TRUE;
}

/* What is there now is what is on disk, and what other hosts have not synced. */
static void folder_go_back(SimNode *folder)
{
    for (guint i = 0; i < folder->entries->len; i++) {
        g_array_index(folder->entries, SimEntry, i).node->n_links--;
    }
    entries_clear(folder->entries);
    for (guint i = 0; i < folder->disk_entries->len; i++) {
        const SimEntry *entry = &g_array_index(folder->disk_entries, SimEntry, i);
        entries_insert(folder->entries, entry->name, entry->node);
    }
    for (guint i = 0; i < folder->pending->len; i++) {
        op_apply(&g_array_index(folder->pending, Op, i), folder->entries);
    }
    for (guint i = 0; i < folder->entries->len; i++) {
        const SimEntry *entry = &g_array_index(folder->entries, SimEntry, i);
        entry->node->n_links++;
        node_set_name(entry->node, entry->name);
    }
}

/* Which of the folder's operations by this writer reached the disk: the first few, or any. */
static guint folder_lose(Sim *sim, SimNode *folder, guint writer)
{
    gboolean in_order = sim_below(sim, 2) == 0;
    guint n_kept = in_order ? sim_below(sim, folder->pending->len + 1) : 0;
    guint n_lost = 0;
    for (guint i = 0; i < folder->pending->len;) {
        const Op *op = &g_array_index(folder->pending, Op, i);
        if (writer != SIM_ALL_WRITERS && op->writer != writer) {
            i++;
            continue;
        }
        gboolean kept = in_order ? n_kept > 0 : sim_below(sim, 2) == 0;
        n_kept -= n_kept > 0 ? 1 : 0;
        if (kept) {
            op_apply(op, folder->disk_entries);
        } else {
            n_lost++;
            if (op->kind == OP_RENAME) {
                sim_mark(MARK_RENAME_LOST);
            }
        }
        g_array_remove_index(folder->pending, i);
    }
    folder_go_back(folder);
    return n_lost;
}

static void node_lose(Sim *sim, SimNode *node, guint writer, SimLoss *loss)
{
    gboolean own = writer == SIM_ALL_WRITERS || node->writer == writer;
    if (own) {
        if (sim_below(sim, 2) == 0) {
            node->disk_owner = node->owner;
        }
        node->owner = node->disk_owner;
    }
    if (node->kind == SIM_NODE_FOLDER) {
        loss->n_names += folder_lose(sim, node, writer);
        node->dirty = node->pending->len > 0;
    } else if (own) {
        loss->n_writes += file_lose(sim, node) ? 1 : 0;
        node->dirty = FALSE;
        node->forgotten = FALSE;
    }
}

SimLoss sim_disk_power_loss(SimDisk *disk, guint writer)
{
    SimLoss loss = {0};
    if (disk->is_volatile) {
        entries_clear(disk->root->entries);
        return loss;
    }
    GPtrArray *dirty = disk->dirty;
    disk->dirty = g_ptr_array_new();
    for (guint i = 0; i < dirty->len; i++) {
        SimNode *node = g_ptr_array_index(dirty, i);
        node_lose(disk->sim, node, writer, &loss);
        if (node->dirty) {
            g_ptr_array_add(disk->dirty, node);
        } else {
            sim_node_unref(node);
        }
    }
    g_ptr_array_unref(dirty);
    return loss;
}

/* ---- The whole */

SimDisk *sim_disk_new(Sim *sim)
{
    SimDisk *disk = g_new0(SimDisk, 1);
    disk->sim = sim;
    /* Drawn, so that no two disks of a world have a number in common. */
    disk->next_inode = ((sim_random(sim) >> 33) << INODE_BITS) + 1;
    disk->dirty = g_ptr_array_new();
    disk->root = sim_node_new(disk, SIM_NODE_FOLDER, 0755, 0);
    disk->root->n_links = 1;
    return disk;
}

void sim_disk_make_volatile(SimDisk *disk)
{
    disk->is_volatile = TRUE;
}

void sim_disk_free(SimDisk *disk)
{
    if (disk != NULL) {
        g_ptr_array_set_free_func(disk->dirty, (GDestroyNotify)sim_node_unref);
        g_ptr_array_unref(disk->dirty);
        sim_node_unref(disk->root);
        g_free(disk);
    }
}

SimNode *sim_disk_root(SimDisk *disk)
{
    return disk->root;
}

void sim_disk_sync(SimDisk *disk)
{
    while (disk->dirty->len > 0) {
        g_assert(!((SimNode *)g_ptr_array_index(disk->dirty, disk->dirty->len - 1))->forgotten);
        sim_node_sync(g_ptr_array_index(disk->dirty, disk->dirty->len - 1));
    }
}
