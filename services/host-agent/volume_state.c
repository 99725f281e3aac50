/* NVRAM and TPM state made durable, and the memory of which files could not be.
 *
 * It writes to a file only when its domain is gone, a sync of it may have failed before, and nothing else
 * can mean it by another name: one link, and real folders all the way from its storage. It refuses
 * to follow a link.
 */
#include <errno.h>
#include <fcntl.h>
#include <string.h>

#include "services/host-agent/volume_files.h"
#include "services/host-agent/volumes.h"

enum {
    /* The volume's folder and its tpm2/. Of what is in tpm2/ swtpm's user could make a link at any
     * moment, so no path goes through it. */
    STATE_MAX_DEPTH = 1,
    AGAIN_MAX_BYTES = 16 * 1024 * 1024, /* NVRAM and TPM state are far smaller. */
};

/* ---- What came of the syncs */

typedef enum {
    SYNC_UNKNOWN, /* None by this agent. One before it may have seen one fail, and have died of it. */
    SYNC_GOOD,
    SYNC_FAILED, /* Since the bytes were last written. */
} Synced;

struct VbFailedSyncs {
    GMutex lock;       /* The chore that syncs while guests run has a thread of its own. */
    GHashTable *paths; /* -> Synced */
};

VbFailedSyncs *failed_syncs_new(void)
{
    VbFailedSyncs *failed = g_new0(VbFailedSyncs, 1);
    g_mutex_init(&failed->lock);
    failed->paths = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL);
    return failed;
}

void failed_syncs_free(VbFailedSyncs *failed)
{
    g_hash_table_unref(failed->paths);
    g_mutex_clear(&failed->lock);
    g_free(failed);
}

static void synced_set(VbFailedSyncs *failed, const char *path, Synced synced)
{
    if (failed != NULL) {
        g_autoptr(GMutexLocker) locker G_GNUC_UNUSED = g_mutex_locker_new(&failed->lock);
        g_hash_table_insert(failed->paths, g_strdup(path), GINT_TO_POINTER(synced));
    }
}

static Synced synced_get(VbFailedSyncs *failed, const char *path)
{
    if (failed == NULL) {
        return SYNC_GOOD;
    }
    g_autoptr(GMutexLocker) locker G_GNUC_UNUSED = g_mutex_locker_new(&failed->lock);
    return (Synced)GPOINTER_TO_INT(g_hash_table_lookup(failed->paths, path));
}

/* ---- Writing again */

/* Opens the regular file that `facts` are of, and no other that somebody put in its place. */
static int open_same(VbFiles *files, const char *path, int flags, const struct stat *facts)
{
    struct stat found;
    int fd = files->open(files, path, flags | O_NOFOLLOW | O_NONBLOCK, 0);
    if (fd < 0) {
        return -1;
    }
    int result = files->fstat(files, fd, &found);
    if (result == 0 && found.st_dev == facts->st_dev && found.st_ino == facts->st_ino) {
        return fd;
    }
    int cause = result != 0 ? errno : ESTALE;
    files->close(files, fd);
    errno = cause;
    return -1;
}

static gboolean read_same(VbFiles *files, VbArena *arena, const char *path,
                          const struct stat *facts, void **ret_bytes, size_t *ret_size_bytes,
                          GError **error)
{
    int fd = open_same(files, path, O_RDONLY, facts);
    if (fd < 0) {
        store_error(error, "open", path);
        return FALSE;
    }
    gboolean ok = store_read(files, arena, fd, path, (size_t)facts->st_size, ret_bytes,
                             ret_size_bytes, error);
    files->close(files, fd);
    return ok;
}

/* See state_settle. What it writes is what is there, so it may be cut off anywhere. */
static gboolean write_again(VbFiles *files, const char *path, const struct stat *facts,
                            gboolean may_be_full, GError **error)
{
    g_autoptr(VbArena) arena = arena_new();
    void *bytes = NULL;
    size_t size_bytes = 0;
    if (!read_same(files, arena, path, facts, &bytes, &size_bytes, error)) {
        return FALSE;
    }
    int fd = open_same(files, path, O_WRONLY, facts);
    if (fd < 0) {
        store_error(error, "open", path);
        return FALSE;
    }
    gboolean ok = store_write_all(files, fd, bytes, size_bytes) ||
                  (may_be_full && (errno == ENOSPC || errno == EDQUOT));
    if (!ok) {
        store_error(error, "write", path);
    } else if (files->fsync(files, fd) != 0) {
        store_error(error, "sync", path);
        ok = FALSE;
    }
    files->close(files, fd);
    return ok;
}

/* Whether each folder from a storage of this host's down to `path` is a real one. */
static gboolean way_is_real(VbHost *host, const char *path)
{
    const GPtrArray *storages = host->config->storages;
    for (guint i = 0; i < storages->len; i++) {
        const char *root = ((const VbStorage *)storages->pdata[i])->path;
        if (!g_str_has_prefix(path, root) || path[strlen(root)] != '/') {
            continue;
        }
        g_autofree char *folder = g_path_get_dirname(path);
        while (strlen(folder) > strlen(root)) {
            struct stat facts;
            if (host->files->lstat(host->files, folder, &facts) != 0 || !S_ISDIR(facts.st_mode)) {
                return FALSE;
            }
            *strrchr(folder, '/') = '\0';
        }
        return TRUE;
    }
    return FALSE;
}

/* ---- Syncing */

typedef enum {
    AGAIN_NEVER,
    AGAIN_DOUBTED, /* Of which this agent does not know that every sync was good. */
    AGAIN_ALL,
} Again;

static gboolean is_written_again(const struct stat *facts, Synced before, Again again)
{
    gboolean wanted = again == AGAIN_ALL || (again == AGAIN_DOUBTED && before != SYNC_GOOD);
    return wanted && facts->st_nlink == 1 && facts->st_size <= AGAIN_MAX_BYTES;
}

static gboolean sync_file(VbHost *host, const char *path, const struct stat *facts, Again again,
                          GError **error)
{
    Synced before = synced_get(host->failed_syncs, path);
    gboolean ok = store_sync(host->files, path, O_NOFOLLOW, error);
    gboolean rewrite = ok && is_written_again(facts, before, again);
    if (rewrite) {
        gboolean may_be_full = before == SYNC_UNKNOWN && again != AGAIN_ALL;
        ok = write_again(host->files, path, facts, may_be_full, error);
    }
    if (!ok) {
        synced_set(host->failed_syncs, path, SYNC_FAILED);
    } else if (rewrite || before == SYNC_UNKNOWN) {
        synced_set(host->failed_syncs, path, SYNC_GOOD);
    }
    return ok;
}

static gboolean sync_below(VbHost *host, const char *path, guint depth, Again again, GError **error)
{
    struct stat facts;
    gboolean there = FALSE;
    VbFiles *files = host->files;
    if (!store_look(files, path, &there, &facts, error)) {
        return FALSE;
    }
    /* swtpm replaces its files: one that was listed may be gone by now. */
    if (!there) {
        return TRUE;
    }
    if (S_ISREG(facts.st_mode)) {
        return sync_file(host, path, &facts, again, error);
    }
    /* A link is not state. */
    if (!S_ISDIR(facts.st_mode) || depth > STATE_MAX_DEPTH) {
        return TRUE;
    }
    g_auto(GStrv) names = files->list(files, path);
    if (names == NULL) {
        store_error(error, "list", path);
        return FALSE;
    }
    for (guint i = 0; names[i] != NULL; i++) {
        g_autofree char *below = g_build_filename(path, names[i], NULL);
        if (!sync_below(host, below, depth + 1, again, error)) {
            return FALSE;
        }
    }
    return store_sync(files, path, O_NOFOLLOW, error);
}

static gboolean sync_all(VbHost *host, const char *path, Again again, GError **error)
{
    struct stat facts;
    if (host->files->lstat(host->files, path, &facts) != 0) {
        store_error(error, "sync", path);
        return FALSE;
    }
    return sync_below(host, path, 0, again, error);
}

gboolean state_sync(VbHost *host, const char *path, GError **error)
{
    return sync_all(host, path, AGAIN_NEVER, error);
}

gboolean state_settle(VbHost *host, const char *path, gboolean has_failed, GError **error)
{
    Again again = !way_is_real(host, path) ? AGAIN_NEVER : has_failed ? AGAIN_ALL : AGAIN_DOUBTED;
    return sync_all(host, path, again, error);
}
