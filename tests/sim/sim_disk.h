/* A file system in memory: what is there now, and what a power loss leaves of it.
 *
 *   content, mode, owner   on disk as of the last sync of that file
 *   names                  on disk as of the last sync of that folder; all names of one folder that
 *                          are not synced yet are kept as a list of operations
 *
 * A power loss goes back to that, except that whatever was not synced may have reached the disk by
 * chance: of a folder's operations the first few (a journal in order) or any of them (what POSIX
 * lets happen), of a write all, nothing, or some of its sectors. A rename within a folder is atomic.
 *
 * It leaves out: write-back after half a minute (what is not synced stays so for ever), hard links
 * but for what a rename over two folders leaves, quotas, and times. It knows no paths: those are a
 * host's, see sim_files.c. */
#pragma once

#include "tests/sim/sim_world.h"

typedef enum {
    SIM_NODE_FILE,
    SIM_NODE_FOLDER,
    SIM_NODE_LINK,
    SIM_NODE_SOCKET,
} SimNodeKind;

typedef struct {
    guint mode; /* Of permissions. */
    guint uid;
    guint gid;
} SimOwner;

typedef struct {
    guint refs;
    guint64 size_bytes; /* Behind `bytes` all is zero. */
    gsize n_bytes;
    guint8 bytes[];
} SimContent;

typedef struct {
    GRefString *name;
    struct SimNode *node;
} SimEntry;

/* Counted: names, open files and whoever else holds it. */
typedef struct SimNode {
    guint64 inode; /* Unique in the world. */
    SimNodeKind kind;
    guint refs;
    guint n_links;
    SimDisk *disk;
    SimOwner owner;
    SimOwner disk_owner;
    SimContent *content; /* FILE; LINK: its target, with a zero. */
    SimContent *disk_content;
    GArray *entries; /* FOLDER: of SimEntry, by name. */
    GArray *disk_entries;
    GArray *pending;     /* FOLDER: what makes `entries` of `disk_entries`. */
    guint64 least_bytes; /* FILE: its smallest size since the last sync. */
    gboolean dirty;
    gboolean forgotten; /* FILE: its bytes count as written, and are not. */
    guint writer;       /* Which host wrote it last. */
    guint agent;        /* Which of its host's agents made it, if one did. */
    GRefString *name;   /* The last it had, for the trace; NULL: none yet. */
} SimNode;

/* A tmpfs: a power loss leaves nothing, and nothing needs a sync. */
void sim_disk_make_volatile(SimDisk *disk);
SimNode *sim_disk_root(SimDisk *disk);
/* All of it is on disk. */
void sim_disk_sync(SimDisk *disk);

typedef struct {
    guint n_writes; /* That did not survive whole. */
    guint n_names;
} SimLoss;

enum { SIM_ALL_WRITERS = G_MAXUINT };
/* Of what this host has written; nobody may have a file of it open to write. */
SimLoss sim_disk_power_loss(SimDisk *disk, guint writer);

/* With one reference, and no name. */
SimNode *sim_node_new(SimDisk *disk, SimNodeKind kind, guint mode, guint writer);
SimNode *sim_node_ref(SimNode *node);
void sim_node_unref(SimNode *node);
gboolean sim_node_is_durable(const SimNode *node); /* Itself, not its name. */

guint64 sim_node_size(const SimNode *node);
/* How many were there to be read. */
gsize sim_node_read(const SimNode *node, guint64 at, void *bytes, gsize size_bytes);
void sim_node_write(SimNode *node, guint64 at, const void *bytes, gsize size_bytes, guint writer);
void sim_node_truncate(SimNode *node, guint64 size_bytes, guint writer);
void sim_node_set_owner(SimNode *node, SimOwner owner, guint writer);
void sim_node_sync(SimNode *node);
/* A sync of this file that fails as in Linux: what is in the page cache stays there, counts as
 * written, and no later sync writes it. Only what is written anew is. FALSE: all of it is on disk. */
gboolean sim_node_forget(SimNode *node);

/* NULL: there is none of that name. Borrowed. */
SimNode *sim_folder_find(const SimNode *folder, const char *name);
gboolean sim_folder_is_durable(const SimNode *folder, const char *name);
/* There is none of that name. */
void sim_folder_link(SimNode *folder, const char *name, SimNode *node, guint writer);
/* There is one. */
void sim_folder_unlink(SimNode *folder, const char *name, guint writer);
/* There is one; another that had the new name loses it. */
void sim_folder_rename(SimNode *folder, const char *from, SimNode *to_folder, const char *to,
                       guint writer);
