/* The agent's journal: what was saved is loaded, whatever tears, fails or lies in the folder. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <glib/gstdio.h>
#include <string.h>

#include "services/host-agent/files_posix.h"
#include "services/host-agent/journal.h"

#define VM    "6e1b4a52-9d6c-4f57-8a2b-0d5a1f2c3e4d"
#define OTHER "b7f3c2d1-0a9e-4c8b-9f6d-5e4a3b2c1d0e"

/* The real file system, until the Nth change to it: that one and all later ones fail, as if the
 * machine had died there. A write that fails writes half. */
typedef struct {
    VbFiles files;
    int changes_left; /* -1: no limit. */
    GString *calls;   /* What was done, in order. */
    GString *synced;  /* Paths of what was synced, one a line. */
} DyingFiles;

static DyingFiles dying;

static int die(void)
{
    errno = EIO;
    return -1;
}

static gboolean alive(const char *call)
{
    if (dying.changes_left == 0) {
        return FALSE;
    }
    if (dying.changes_left > 0) {
        dying.changes_left--;
    }
    g_string_append_printf(dying.calls, "%s ", call);
    return TRUE;
}

static ssize_t dying_write(VbFiles *self, int fd, const void *bytes, size_t size_bytes)
{
    (void)self;
    VbFiles *real = files_posix();
    if (alive("write")) {
        return real->write(real, fd, bytes, size_bytes);
    }
    (void)!real->write(real, fd, bytes, size_bytes / 2);
    return die();
}

static int dying_fsync(VbFiles *self, int fd)
{
    (void)self;
    g_autofree char *link = g_strdup_printf("/proc/self/fd/%d", fd);
    g_autofree char *path = g_file_read_link(link, NULL);
    g_string_append_printf(dying.synced, "%s\n", path);
    return alive("fsync") ? files_posix()->fsync(files_posix(), fd) : die();
}

static int dying_rename(VbFiles *self, const char *from, const char *to)
{
    (void)self;
    return alive("rename") ? files_posix()->rename(files_posix(), from, to) : die();
}

typedef struct {
    char *dir;
    VbJournal *journal;
    GHashTable *found; /* uuid -> GBytes, or NULL: bad. */
} World;

static int set_up(void **state)
{
    World *w = g_new0(World, 1);
    g_autofree char *parent = g_dir_make_tmp("virtbus-journal-XXXXXX", NULL);
    w->dir = g_build_filename(parent, "state", NULL);
    dying.files = *files_posix();
    dying.files.write = dying_write;
    dying.files.fsync = dying_fsync;
    dying.files.rename = dying_rename;
    dying.changes_left = -1;
    dying.calls = g_string_new(NULL);
    dying.synced = g_string_new(NULL);
    w->journal = journal_new(&dying.files, w->dir);
    w->found =
        g_hash_table_new_full(g_str_hash, g_str_equal, g_free, (GDestroyNotify)g_bytes_unref);
    *state = w;
    return 0;
}

static int tear_down(void **state)
{
    World *w = *state;
    g_auto(GStrv) names = files_posix()->list(files_posix(), w->dir);
    for (char **name = names; name != NULL && *name != NULL; name++) {
        g_autofree char *path = g_build_filename(w->dir, *name, NULL);
        g_remove(path);
    }
    g_autofree char *parent = g_path_get_dirname(w->dir);
    g_rmdir(w->dir);
    g_rmdir(parent);
    g_hash_table_unref(w->found);
    g_string_free(dying.calls, TRUE);
    g_string_free(dying.synced, TRUE);
    journal_free(w->journal);
    g_free(w->dir);
    g_free(w);
    return 0;
}

static void found(void *data, const char *vm_uuid, GBytes *packed, const char *problem)
{
    World *w = data;
    assert_true((packed == NULL) == (problem != NULL));
    g_hash_table_replace(w->found, g_strdup(vm_uuid),
                         packed != NULL ? g_bytes_ref(packed) : g_bytes_new(NULL, 0));
}

static void load(World *w)
{
    g_autoptr(GError) error = NULL;
    g_hash_table_remove_all(w->found);
    if (!journal_load(w->journal, found, w, &error)) {
        fail_msg("%s", error->message);
    }
}

static GBytes *record(const char *vm_uuid, gint64 offset)
{
    HostVm vm = HOST_VM__INIT;
    vm.vm_uuid = (char *)vm_uuid;
    vm.last_offset = offset;
    size_t size_bytes = host_vm__get_packed_size(&vm);
    uint8_t *packed = g_malloc(size_bytes);
    host_vm__pack(&vm, packed);
    return g_bytes_new_take(packed, size_bytes);
}

static gboolean save(World *w, const char *vm_uuid, gint64 offset)
{
    g_autoptr(GBytes) packed = record(vm_uuid, offset);
    g_autoptr(GError) error = NULL;
    gboolean saved = journal_save(w->journal, vm_uuid, packed, &error);
    assert_true(saved == (error == NULL));
    if (error != NULL) {
        assert_int_equal(error->code, ERROR_CODE_STORAGE_IO);
    }
    return saved;
}

enum { NOT_FOUND = -3, BAD = -2 };

static gint64 offset_found(World *w, const char *vm_uuid)
{
    GBytes *packed = g_hash_table_lookup(w->found, vm_uuid);
    if (packed == NULL) {
        return NOT_FOUND;
    }
    gsize size_bytes = 0;
    const guint8 *bytes = g_bytes_get_data(packed, &size_bytes);
    if (size_bytes == 0) {
        return BAD;
    }
    HostVm *vm = host_vm__unpack(NULL, size_bytes, bytes);
    gint64 offset = vm->last_offset;
    host_vm__free_unpacked(vm, NULL);
    return offset;
}

static char *file_of(World *w, const char *name)
{
    return g_build_filename(w->dir, name, NULL);
}

static gboolean exists(World *w, const char *name)
{
    g_autofree char *path = file_of(w, name);
    return g_file_test(path, G_FILE_TEST_EXISTS);
}

static void saved_records_are_loaded(void **state)
{
    World *w = *state;
    load(w);
    assert_int_equal(g_hash_table_size(w->found), 0);
    assert_true(save(w, VM, 1));
    assert_true(save(w, OTHER, 7));
    assert_true(save(w, VM, 2));
    load(w);
    assert_int_equal(g_hash_table_size(w->found), 2);
    assert_int_equal(offset_found(w, VM), 2);
    assert_int_equal(offset_found(w, OTHER), 7);
}

static void folder_itself_outlives_a_power_failure(void **state)
{
    World *w = *state;
    g_autofree char *parent = g_path_get_dirname(w->dir);
    g_autofree char *line = g_strdup_printf("%s\n", parent);
    load(w);
    assert_non_null(strstr(dying.synced->str, line));
    g_string_truncate(dying.synced, 0);
    load(w); /* The one before may have died between mkdir and fsync. */
    assert_non_null(strstr(dying.synced->str, line));
}

static void save_syncs_the_file_before_and_the_folder_after_the_rename(void **state)
{
    World *w = *state;
    load(w);
    g_string_truncate(dying.calls, 0);
    assert_true(save(w, VM, 1));
    assert_string_equal(dying.calls->str, "write fsync rename fsync ");
}

static void removed_record_is_gone_with_what_was_set_aside(void **state)
{
    World *w = *state;
    g_autoptr(GError) error = NULL;
    g_autofree char *bad = file_of(w, VM ".vm.bad");
    load(w);
    assert_true(save(w, VM, 1));
    assert_true(g_file_set_contents(bad, "x", 1, NULL));
    g_string_truncate(dying.calls, 0);
    assert_true(journal_remove(w->journal, VM, &error));
    assert_true(g_str_has_suffix(dying.calls->str, "fsync "));
    assert_true(journal_remove(w->journal, VM, &error));
    load(w);
    assert_int_equal(offset_found(w, VM), NOT_FOUND);
    assert_false(exists(w, VM ".vm.bad"));
}

static void save_cut_off_anywhere_leaves_the_old_or_the_new_record(void **state)
{
    World *w = *state;
    load(w);
    assert_true(save(w, VM, 1));
    gboolean saved = FALSE;
    for (int changes = 0; !saved; changes++) {
        dying.changes_left = changes;
        saved = save(w, VM, 2);
        dying.changes_left = -1;
        load(w);
        gboolean renamed = changes >= 3;
        assert_int_equal(offset_found(w, VM), renamed ? 2 : 1);
        assert_false(exists(w, VM ".vm.new"));
        assert_true(changes < 10);
    }
}

static void first_save_cut_off_leaves_nothing(void **state)
{
    World *w = *state;
    load(w);
    dying.changes_left = 0;
    assert_false(save(w, VM, 1));
    dying.changes_left = -1;
    load(w);
    assert_int_equal(offset_found(w, VM), NOT_FOUND);
}

static void expect_bad(World *w, const char *bytes, size_t size_bytes)
{
    g_autofree char *path = file_of(w, VM ".vm");
    assert_true(g_file_set_contents(path, bytes, (gssize)size_bytes, NULL));
    load(w);
    assert_int_equal(offset_found(w, VM), BAD);
    assert_int_equal(offset_found(w, OTHER), 7);
    assert_true(exists(w, VM ".vm.bad"));
    assert_false(exists(w, VM ".vm"));
    load(w); /* Until something new is saved, it stands for its VM. */
    assert_int_equal(offset_found(w, VM), BAD);
    assert_true(save(w, VM, 5));
    load(w);
    assert_int_equal(offset_found(w, VM), 5);
}

static void bad_files_are_set_aside(void **state)
{
    World *w = *state;
    load(w);
    assert_true(save(w, OTHER, 7));
    assert_true(save(w, VM, 1));
    g_autofree char *good = NULL;
    gsize size_bytes = 0;
    g_autofree char *path = file_of(w, VM ".vm");
    assert_true(g_file_get_contents(path, &good, &size_bytes, NULL));
    for (gsize cut = 0; cut < size_bytes; cut++) {
        expect_bad(w, good, cut);
    }
    for (gsize at = 0; at < size_bytes; at++) {
        good[at] ^= 0x20;
        expect_bad(w, good, size_bytes);
        good[at] ^= 0x20;
    }
    g_autofree char *longer = g_strdup_printf("%*s", (int)size_bytes + 1, "");
    memcpy(longer, good, size_bytes);
    expect_bad(w, longer, size_bytes + 1);
    g_autofree char *other = file_of(w, OTHER ".vm");
    g_autofree char *others = NULL;
    assert_true(g_file_get_contents(other, &others, &size_bytes, NULL));
    expect_bad(w, others, size_bytes); /* Whole, but another VM's. */
}

static void found_and_saved(void *data, const char *vm_uuid, GBytes *packed, const char *problem)
{
    World *w = data;
    found(w, vm_uuid, packed, problem);
    if (packed == NULL) {
        assert_true(save(w, vm_uuid, 5));
    }
}

/* Found by the simulator (seed 15751): the record that takes the place of one that was set aside
 * goes the way of the file that a crash has left. */
static void what_a_crash_left_may_be_used_while_loading(void **state)
{
    World *w = *state;
    static const char *const left[] = {VM ".vm.new", OTHER ".vm.new", VM ".vm.bad",
                                       OTHER ".vm.bad"};
    g_autoptr(GError) error = NULL;
    load(w);
    for (size_t i = 0; i < G_N_ELEMENTS(left); i++) {
        g_autofree char *path = file_of(w, left[i]);
        assert_true(g_file_set_contents(path, "x", 1, NULL));
    }
    if (!journal_load(w->journal, found_and_saved, w, &error)) {
        fail_msg("%s", error->message);
    }
    load(w);
    assert_int_equal(offset_found(w, VM), 5);
    assert_int_equal(offset_found(w, OTHER), 5);
}

static void strange_names_are_left_alone(void **state)
{
    World *w = *state;
    load(w);
    static const char *const names[] = {"host.uuid", "lock", "x.vm", ".vm", VM ".vm2"};
    for (size_t i = 0; i < G_N_ELEMENTS(names); i++) {
        g_autofree char *path = file_of(w, names[i]);
        assert_true(g_file_set_contents(path, "x", 1, NULL));
    }
    load(w);
    assert_int_equal(g_hash_table_size(w->found), 0);
    for (size_t i = 0; i < G_N_ELEMENTS(names); i++) {
        assert_true(exists(w, names[i]));
    }
}

#define ROW(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        ROW(saved_records_are_loaded),
        ROW(folder_itself_outlives_a_power_failure),
        ROW(save_syncs_the_file_before_and_the_folder_after_the_rename),
        ROW(removed_record_is_gone_with_what_was_set_aside),
        ROW(save_cut_off_anywhere_leaves_the_old_or_the_new_record),
        ROW(first_save_cut_off_leaves_nothing),
        ROW(bad_files_are_set_aside),
        ROW(what_a_crash_left_may_be_used_while_loading),
        ROW(strange_names_are_left_alone),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
