/* One file per VM, replaced whole: see journal.h. All access goes through the files vtable, so that
 * a test can tear a write or lose a rename. */
#include "services/host-agent/journal.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>

#include "common/base/uuid.h"
#include "common/runtime/kill_point.h"
#include "services/host-agent/volume_files.h"

enum { MAGIC_BYTES = 8, DIGEST_BYTES = 32, HEADER_BYTES = MAGIC_BYTES + 4 + DIGEST_BYTES };
enum { FILE_MAX_BYTES = 16 * 1024 * 1024 };

static const char magic[MAGIC_BYTES] = "VBHVM1\n";

struct VbJournal {
    VbFiles *files;
    char *dir;
};

VbJournal *journal_new(VbFiles *files, const char *state_dir)
{
    VbJournal *journal = g_new0(VbJournal, 1);
    journal->files = files;
    journal->dir = g_strdup(state_dir);
    return journal;
}

void journal_free(VbJournal *journal)
{
    if (journal != NULL) {
        g_free(journal->dir);
        g_free(journal);
    }
}

static gboolean fail(GError **error, const char *verb, const char *path)
{
    int cause = errno;
    g_set_error(error, VB_ERROR, ERROR_CODE_STORAGE_IO,
                "cannot %s the journal %s: %s; mend the file system of the agent's state folder",
                verb, path, g_strerror(cause));
    return FALSE;
}

static char *path_of(VbJournal *journal, const char *vm_uuid, const char *suffix)
{
    return g_strdup_printf("%s/%s.vm%s", journal->dir, vm_uuid, suffix);
}

static gboolean folder_sync(VbJournal *journal, const char *path, GError **error)
{
    VbFiles *files = journal->files;
    int fd = files->open(files, path, O_RDONLY | O_DIRECTORY | O_CLOEXEC, 0);
    if (fd < 0) {
        return fail(error, "open the folder of", path);
    }
    gboolean synced = files->fsync(files, fd) == 0 || fail(error, "sync", path);
    files->close(files, fd);
    return synced;
}

static gboolean dir_sync(VbJournal *journal, GError **error)
{
    return folder_sync(journal, journal->dir, error);
}

/* The folder's own name, too, must outlive a power failure: all that is in it goes with it. */
static gboolean dir_make(VbJournal *journal, GError **error)
{
    g_autofree char *parent = g_path_get_dirname(journal->dir);
    if (journal->files->mkdir(journal->files, journal->dir, 0700) != 0 && errno != EEXIST) {
        return fail(error, "make the folder of", journal->dir);
    }
    return folder_sync(journal, parent, error);
}

/* --- Save */

static void digest_of(const void *bytes, size_t size_bytes, guint8 ret_digest[DIGEST_BYTES])
{
    g_autoptr(GChecksum) checksum = g_checksum_new(G_CHECKSUM_SHA256);
    gsize length = DIGEST_BYTES;
    g_checksum_update(checksum, bytes, (gssize)size_bytes);
    g_checksum_get_digest(checksum, ret_digest, &length);
}

static GByteArray *encode(GBytes *packed)
{
    gsize size_bytes = 0;
    const guint8 *bytes = g_bytes_get_data(packed, &size_bytes);
    guint32 length = GUINT32_TO_LE((guint32)size_bytes);
    guint8 digest[DIGEST_BYTES];
    digest_of(bytes, size_bytes, digest);
    GByteArray *file = g_byte_array_new();
    g_byte_array_append(file, (const guint8 *)magic, MAGIC_BYTES);
    g_byte_array_append(file, (const guint8 *)&length, sizeof(length));
    g_byte_array_append(file, digest, DIGEST_BYTES);
    g_byte_array_append(file, bytes, (guint)size_bytes);
    return file;
}

static gboolean write_new(VbJournal *journal, const char *path, const GByteArray *bytes,
                          GError **error)
{
    VbFiles *files = journal->files;
    int fd = files->open(files, path, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (fd < 0) {
        return fail(error, "make", path);
    }
    gboolean written =
        store_write_all(files, fd, bytes->data, bytes->len) || fail(error, "write", path);
    written = written && (files->fsync(files, fd) == 0 || fail(error, "sync", path));
    if (files->close(files, fd) != 0 && written) {
        return fail(error, "close", path);
    }
    return written;
}

gboolean journal_save(VbJournal *journal, const char *vm_uuid, GBytes *packed, GError **error)
{
    g_autofree char *path = path_of(journal, vm_uuid, "");
    g_autofree char *new_path = path_of(journal, vm_uuid, ".new");
    g_autoptr(GByteArray) bytes = encode(packed);
    if (!write_new(journal, new_path, bytes, error)) {
        return FALSE;
    }
    KILL_POINT("journal-written");
    if (journal->files->rename(journal->files, new_path, path) != 0) {
        return fail(error, "replace", path);
    }
    KILL_POINT("journal-renamed");
    return dir_sync(journal, error);
}

gboolean journal_remove(VbJournal *journal, const char *vm_uuid, GError **error)
{
    static const char *const suffixes[] = {".bad", ""};
    for (size_t i = 0; i < G_N_ELEMENTS(suffixes); i++) {
        g_autofree char *path = path_of(journal, vm_uuid, suffixes[i]);
        if (journal->files->unlink(journal->files, path) != 0 && errno != ENOENT) {
            return fail(error, "remove", path);
        }
    }
    KILL_POINT("journal-removed");
    return dir_sync(journal, error);
}

/* --- Load */

static gboolean read_all(VbJournal *journal, const char *path, GByteArray *bytes, GError **error)
{
    VbFiles *files = journal->files;
    int fd = files->open(files, path, O_RDONLY | O_NOFOLLOW | O_CLOEXEC, 0);
    if (fd < 0) {
        return fail(error, "open", path);
    }
    guint8 chunk[4096];
    ssize_t got = 0;
    do {
        got = files->read(files, fd, chunk, sizeof(chunk));
        if (got > 0) {
            g_byte_array_append(bytes, chunk, (guint)got);
        }
    } while ((got > 0 && bytes->len < FILE_MAX_BYTES) || (got < 0 && errno == EINTR));
    gboolean read = got >= 0 || fail(error, "read", path);
    files->close(files, fd);
    return read;
}

/* NULL and the reason when the bytes are no whole journal of that VM. */
static GBytes *decode(const GByteArray *file, const char *vm_uuid, const char **ret_problem)
{
    guint32 length = 0;
    guint8 digest[DIGEST_BYTES];
    if (file->len < HEADER_BYTES || memcmp(file->data, magic, MAGIC_BYTES) != 0) {
        *ret_problem = "it does not begin as a journal does";
        return NULL;
    }
    memcpy(&length, file->data + MAGIC_BYTES, sizeof(length));
    if (GUINT32_FROM_LE(length) != file->len - HEADER_BYTES) {
        *ret_problem = "it is torn: its length is not the one it names";
        return NULL;
    }
    digest_of(file->data + HEADER_BYTES, file->len - HEADER_BYTES, digest);
    if (memcmp(digest, file->data + MAGIC_BYTES + sizeof(length), DIGEST_BYTES) != 0) {
        *ret_problem = "it is damaged: its checksum does not fit";
        return NULL;
    }
    HostVm *vm = host_vm__unpack(NULL, file->len - HEADER_BYTES, file->data + HEADER_BYTES);
    gboolean sound = vm != NULL && g_str_equal(vm->vm_uuid, vm_uuid);
    if (vm != NULL) {
        host_vm__free_unpacked(vm, NULL);
    }
    if (!sound) {
        *ret_problem = "it holds no record of the VM that its name says";
        return NULL;
    }
    return g_bytes_new(file->data + HEADER_BYTES, file->len - HEADER_BYTES);
}

static gboolean load_one(VbJournal *journal, const char *vm_uuid, VbJournalFound found, void *data,
                         GError **error)
{
    g_autofree char *path = path_of(journal, vm_uuid, "");
    g_autofree char *bad_path = path_of(journal, vm_uuid, ".bad");
    g_autoptr(GByteArray) file = g_byte_array_new();
    const char *problem = NULL;
    if (!read_all(journal, path, file, error)) {
        return FALSE;
    }
    g_autoptr(GBytes) packed = decode(file, vm_uuid, &problem);
    if (packed == NULL && journal->files->rename(journal->files, path, bad_path) != 0) {
        return fail(error, "set aside", path);
    }
    found(data, vm_uuid, packed, problem);
    return TRUE;
}

/* A file that was set aside stands for its VM as long as no new one does: a crash may have come
 * between the two. */
static gboolean load_bad(VbJournal *journal, const char *vm_uuid, VbJournalFound found, void *data,
                         GError **error)
{
    g_autofree char *path = path_of(journal, vm_uuid, "");
    struct stat status;
    if (journal->files->lstat(journal->files, path, &status) == 0) {
        return TRUE;
    }
    if (errno != ENOENT) {
        return fail(error, "look at", path);
    }
    found(data, vm_uuid, NULL, "it was set aside before");
    return TRUE;
}

/* The VM's uuid when the name is <uuid><suffix>, else NULL. Free with g_free. */
static char *uuid_of(const char *name, const char *suffix)
{
    if (!g_str_has_suffix(name, suffix)) {
        return NULL;
    }
    g_autofree char *uuid = g_strndup(name, strlen(name) - strlen(suffix));
    return uuid_is_valid(uuid) ? g_steal_pointer(&uuid) : NULL;
}

static gboolean entry_load(VbJournal *journal, const char *name, VbJournalFound found, void *data,
                           GError **error)
{
    g_autofree char *vm_uuid = uuid_of(name, ".vm");
    g_autofree char *bad_uuid = uuid_of(name, ".vm.bad");
    g_autofree char *left_uuid = uuid_of(name, ".vm.new");
    if (vm_uuid != NULL) {
        return load_one(journal, vm_uuid, found, data, error);
    }
    if (bad_uuid != NULL) {
        return load_bad(journal, bad_uuid, found, data, error);
    }
    if (left_uuid != NULL) {
        g_autofree char *path = path_of(journal, left_uuid, ".new");
        /* Gone where the record of a file that was set aside has been saved meanwhile. */
        return journal->files->unlink(journal->files, path) == 0 || errno == ENOENT ||
               fail(error, "remove", path);
    }
    return TRUE;
}

gboolean journal_load(VbJournal *journal, VbJournalFound found, void *data, GError **error)
{
    VbFiles *files = journal->files;
    if (!dir_make(journal, error)) {
        return FALSE;
    }
    g_auto(GStrv) names = files->list(files, journal->dir);
    if (names == NULL) {
        return fail(error, "list", journal->dir);
    }
    for (char **name = names; *name != NULL; name++) {
        if (!entry_load(journal, *name, found, data, error)) {
            return FALSE;
        }
    }
    return dir_sync(journal, error);
}
