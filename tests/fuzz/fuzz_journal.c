/* fuzz_journal: the agent's journal file of one VM. A first byte of 1 stands for a right header in
 * front of the rest, or no mutation would ever get past the checksum.
 *
 * A file is believed whole or set aside as it is; what is believed is saved and loaded as the same;
 * and the core can look after whatever was believed. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/message.h"
#include "services/host-agent/host_core.h"
#include "services/host-agent/journal.h"
#include "tests/fuzz/fuzz.h"
#include "tests/fuzz/mutate_message.h"

#define VM_UUID "7c9e6679-7425-40de-944b-e07fc1f90ae7"
#define FILE_OK VM_UUID ".vm"

static G_NORETURN void broken(const char *what)
{
    fprintf(stderr, "BROKEN: %s\n", what);
    abort();
}

/* ---- A folder in memory: file descriptor 1 is the folder, 2 the one open file. */

typedef struct {
    VbFiles files;
    GHashTable *contents; /* name -> GByteArray */
    GByteArray *open;
    size_t at;
} Memory;

static const char *name_of(const char *path)
{
    return strrchr(path, '/') + 1;
}

static int memory_open(VbFiles *self, const char *path, int flags, mode_t mode)
{
    Memory *memory = (Memory *)self;
    (void)mode;
    if ((flags & O_DIRECTORY) != 0) {
        return 1;
    }
    if ((flags & O_CREAT) != 0) {
        g_hash_table_replace(memory->contents, g_strdup(name_of(path)), g_byte_array_new());
    }
    memory->open = g_hash_table_lookup(memory->contents, name_of(path));
    memory->at = 0;
    errno = ENOENT;
    return memory->open != NULL ? 2 : -1;
}

static ssize_t memory_read(VbFiles *self, int fd, void *bytes, size_t size_bytes)
{
    Memory *memory = (Memory *)self;
    (void)fd;
    size_t n = MIN(size_bytes, memory->open->len - memory->at);
    if (n > 0) {
        memcpy(bytes, memory->open->data + memory->at, n);
    }
    memory->at += n;
    return (ssize_t)n;
}

static ssize_t memory_write(VbFiles *self, int fd, const void *bytes, size_t size_bytes)
{
    (void)fd;
    g_byte_array_append(((Memory *)self)->open, bytes, (guint)size_bytes);
    return (ssize_t)size_bytes;
}

static int memory_no_op(VbFiles *self, int fd)
{
    (void)self;
    (void)fd;
    return 0;
}

static int memory_rename(VbFiles *self, const char *from, const char *to)
{
    Memory *memory = (Memory *)self;
    GByteArray *bytes = g_hash_table_lookup(memory->contents, name_of(from));
    g_hash_table_replace(memory->contents, g_strdup(name_of(to)), g_byte_array_ref(bytes));
    g_hash_table_remove(memory->contents, name_of(from));
    return 0;
}

static int memory_lstat(VbFiles *self, const char *path, struct stat *ret_stat)
{
    memset(ret_stat, 0, sizeof(*ret_stat));
    errno = ENOENT;
    return g_hash_table_contains(((Memory *)self)->contents, name_of(path)) ? 0 : -1;
}

static int memory_mkdir(VbFiles *self, const char *path, mode_t mode)
{
    (void)self;
    (void)path;
    (void)mode;
    return 0;
}

static char **memory_list(VbFiles *self, const char *path)
{
    (void)path;
    gboolean there = g_hash_table_contains(((Memory *)self)->contents, FILE_OK);
    char *names[] = {there ? FILE_OK : NULL, NULL};
    return g_strdupv(names);
}

/* ---- The judge */

typedef struct {
    guint n;
    GBytes *packed;
} Found;

static void found_one(void *data, const char *vm_uuid, GBytes *packed, const char *problem)
{
    Found *found = data;
    found->n++;
    if (strcmp(vm_uuid, VM_UUID) != 0 || (packed == NULL) == (problem == NULL)) {
        broken("a VM of another name, or neither bytes nor a reason");
    }
    found->packed = packed != NULL ? g_bytes_ref(packed) : NULL;
}

static GBytes *load(VbJournal *journal)
{
    Found found = {0};
    if (!journal_load(journal, found_one, &found, NULL) || found.n != 1) {
        broken("the file was not found once");
    }
    return found.packed;
}

/* As the agent does at its start. */
static void core_look(GBytes *packed)
{
    g_autoptr(VbArena) arena = arena_new();
    HostVm *vm = host_vm__unpack(arena_allocator(arena, SIZE_MAX), g_bytes_get_size(packed),
                                 g_bytes_get_data(packed, NULL));
    VbHostStep step = {.arena = arena, .vm = vm};
    VbHostInput input = {.kind = HOST_INPUT_LOOK,
                         .host_uuid = "5a53c80c-04bd-5592-833c-97feb0f47d5b",
                         .time_ms = G_GINT64_CONSTANT(1704067200000)};
    host_step(&step, &input);
}

static void judge(Memory *memory, const GByteArray *before)
{
    g_autoptr(VbJournal) journal = journal_new(&memory->files, "/state");
    g_autoptr(GBytes) packed = load(journal);
    const GByteArray *after =
        g_hash_table_lookup(memory->contents, packed != NULL ? FILE_OK : FILE_OK ".bad");
    if (after == NULL || after->len != before->len ||
        (before->len > 0 && memcmp(after->data, before->data, after->len) != 0)) {
        broken("the file is not what it was");
    }
    if (packed == NULL) {
        return;
    }
    g_assert(journal_save(journal, VM_UUID, packed, NULL));
    g_autoptr(GBytes) again = load(journal);
    if (again == NULL || !g_bytes_equal(packed, again)) {
        broken("what was saved is not what is loaded");
    }
    core_look(packed);
}

static GByteArray *file_make(const uint8_t *data, size_t size_bytes)
{
    GByteArray *file = g_byte_array_new();
    if (data[0] == 1) {
        guint32 length = GUINT32_TO_LE((guint32)size_bytes - 1);
        guint8 digest[32];
        gsize digest_bytes = sizeof(digest);
        g_autoptr(GChecksum) checksum = g_checksum_new(G_CHECKSUM_SHA256);
        g_checksum_update(checksum, data + 1, (gssize)size_bytes - 1);
        g_checksum_get_digest(checksum, digest, &digest_bytes);
        g_byte_array_append(file, (const guint8 *)"VBHVM1\n", 8);
        g_byte_array_append(file, (const guint8 *)&length, sizeof(length));
        g_byte_array_append(file, digest, sizeof(digest));
    }
    g_byte_array_append(file, data + 1, (guint)size_bytes - 1);
    return file;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size_bytes)
{
    Memory memory = {.files = {.open = memory_open,
                               .read = memory_read,
                               .write = memory_write,
                               .fsync = memory_no_op,
                               .close = memory_no_op,
                               .lstat = memory_lstat,
                               .rename = memory_rename,
                               .mkdir = memory_mkdir,
                               .list = memory_list}};
    if (size_bytes == 0) {
        return 0;
    }
    memory.contents =
        g_hash_table_new_full(g_str_hash, g_str_equal, g_free, (GDestroyNotify)g_byte_array_unref);
    g_autoptr(GByteArray) file = file_make(data, size_bytes);
    GByteArray *copy = g_byte_array_new();
    g_byte_array_append(copy, file->data, file->len);
    g_hash_table_insert(memory.contents, g_strdup(FILE_OK), copy);
    judge(&memory, file);
    g_hash_table_destroy(memory.contents);
    return 0;
}

static const char *const words[] = {VM_UUID, "", "/var/lib/virtbus/x", "\xff", NULL};

size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size_bytes, size_t max_bytes, unsigned seed)
{
    size_t mutated = 0;
    if (size_bytes > 0 && data[0] == 1 && seed % 8 != 0) {
        mutated = mutate_message(&host_vm__descriptor, words, data + 1, size_bytes - 1,
                                 max_bytes - 1, seed);
    }
    return mutated > 0 ? mutated + 1 : LLVMFuzzerMutate(data, size_bytes, max_bytes);
}
