/* The audit file: a line for each effect, whole and alone, and no word of it changes what an effect
 * does. That each effect has its line is shown by test_effects.c. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <fcntl.h>
#include <glib/gstdio.h>
#include <json-glib/json-glib.h>
#include <signal.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "services/host-agent/audit.h"

#define VM   "6f1c2a34-7d1e-4a55-9c1b-0123456789ab"
#define HOST "11111111-2222-4333-8444-555555555555"

enum { N_THREADS = 8, N_LINES = 200 };

typedef struct {
    char *folder;
    char *path; /* Of the audit file. */
    VbHost host;
    HostVm vm;
    HostCommand command;
} World;

static gint64 now_ms(void *clock)
{
    (void)clock;
    return 1795354530744;
}

static int setup(void **state)
{
    World *world = g_new0(World, 1);
    world->folder = g_dir_make_tmp("vb-audit-XXXXXX", NULL);
    world->path = g_build_filename(world->folder, "audit.jsonl", NULL);
    host_vm__init(&world->vm);
    host_command__init(&world->command);
    world->vm.vm_uuid = (char *)VM;
    world->vm.domain_epoch = 3;
    world->vm.command = &world->command;
    world->command.epoch = 4;
    world->command.operation_id = (char *)"an-operation";
    world->host.now_ms = now_ms;
    world->host.audit = audit_new(world->path, HOST, NULL);
    assert_non_null(world->host.audit);
    *state = world;
    return 0;
}

static int teardown(void **state)
{
    World *world = *state;
    g_autoptr(GDir) dir = g_dir_open(world->folder, 0, NULL);
    for (const char *name; (name = g_dir_read_name(dir)) != NULL;) {
        g_autofree char *path = g_build_filename(world->folder, name, NULL);
        g_remove(path);
    }
    g_rmdir(world->folder);
    audit_free(world->host.audit);
    g_free(world->folder);
    g_free(world->path);
    g_free(world);
    return 0;
}

/* Of JsonObject; each line must be one. */
static GPtrArray *read_lines(const char *path)
{
    GPtrArray *objects = g_ptr_array_new_with_free_func((GDestroyNotify)json_object_unref);
    g_autofree char *text = NULL;
    assert_true(g_file_get_contents(path, &text, NULL, NULL));
    g_auto(GStrv) lines = g_strsplit(text, "\n", -1);
    for (char **line = lines; *line != NULL && **line != '\0'; line++) {
        g_autoptr(JsonNode) node = json_from_string(*line, NULL);
        assert_non_null(node);
        g_ptr_array_add(objects, json_node_dup_object(node));
    }
    return objects;
}

static const char *text_of(JsonObject *line, const char *name)
{
    return json_object_get_string_member_with_default(line, name, "(none)");
}

static gint64 number_of(JsonObject *line, const char *name)
{
    return json_object_get_int_member_with_default(line, name, -1);
}

static void a_line_says_who_what_where(void **state)
{
    World *world = *state;
    g_autofree char *file = g_build_filename(world->folder, "a \"file\"\n", NULL);
    GStatBuf facts;
    assert_true(g_file_set_contents(file, "abc", 3, NULL));
    assert_int_equal(g_stat(file, &facts), 0);
    audit_add(&world->host, &world->vm, AUDIT_NVRAM_VERIFIED, file);
    g_autoptr(GPtrArray) lines = read_lines(world->path);
    assert_int_equal(lines->len, 1);
    JsonObject *line = g_ptr_array_index(lines, 0);
    assert_int_equal(number_of(line, "time_ms"), 1795354530744);
    assert_string_equal(text_of(line, "host"), HOST);
    assert_string_equal(text_of(line, "vm"), VM);
    assert_int_equal(number_of(line, "epoch"), 4);
    assert_string_equal(text_of(line, "operation"), "an-operation");
    assert_string_equal(text_of(line, "effect"), "nvram-verified");
    assert_string_equal(text_of(line, "path"), file);
    assert_int_equal(number_of(line, "inode"), (gint64)facts.st_ino);
    assert_int_equal(number_of(line, "size_bytes"), 3);
    assert_string_equal(text_of(line, "sha256"),
                        "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
}

static void without_a_command_it_is_the_domains_epoch(void **state)
{
    World *world = *state;
    world->vm.command = NULL;
    audit_add(&world->host, &world->vm, AUDIT_DOMAIN_GONE, NULL);
    audit_add_nic(&world->host, &world->vm, AUDIT_PORT_UNPLUGGED, 7);
    g_autoptr(GPtrArray) lines = read_lines(world->path);
    assert_int_equal(number_of(lines->pdata[0], "epoch"), 3);
    assert_string_equal(text_of(lines->pdata[0], "operation"), "");
    assert_string_equal(text_of(lines->pdata[0], "path"), "(none)");
    assert_string_equal(text_of(lines->pdata[1], "path"), "nic/7");
}

static void a_deletion_tells_the_inode_that_was_there(void **state)
{
    World *world = *state;
    struct stat facts = {.st_ino = 99, .st_mode = S_IFREG, .st_size = 5};
    audit_add_deleted(&world->host, &world->vm, "/no/such", TRUE, &facts);
    audit_add_deleted(&world->host, &world->vm, "/no/such", FALSE, &facts);
    g_autoptr(GPtrArray) lines = read_lines(world->path);
    assert_int_equal(number_of(lines->pdata[0], "inode"), 99);
    assert_int_equal(number_of(lines->pdata[1], "inode"), -1);
}

static void a_link_is_not_followed_and_no_disk_is_read(void **state)
{
    World *world = *state;
    g_autofree char *link = g_build_filename(world->folder, "link", NULL);
    g_autofree char *disk = g_build_filename(world->folder, "disk", NULL);
    assert_int_equal(symlink("/etc/hostname", link), 0);
    assert_true(g_file_set_contents(disk, "", 0, NULL));
    assert_int_equal(truncate(disk, 8 * 1024 * 1024 + 1), 0);
    audit_add(&world->host, &world->vm, AUDIT_VOLUME_FOUND, link);
    audit_add(&world->host, &world->vm, AUDIT_VOLUME_FOUND, disk);
    g_autoptr(GPtrArray) lines = read_lines(world->path);
    assert_int_equal(number_of(lines->pdata[0], "inode"), -1);
    assert_int_equal(number_of(lines->pdata[1], "size_bytes"), 8 * 1024 * 1024 + 1);
    assert_string_equal(text_of(lines->pdata[1], "sha256"), "(none)");
}

static gpointer write_many(gpointer data)
{
    World *world = data;
    for (int i = 0; i < N_LINES; i++) {
        audit_add_nic(&world->host, &world->vm, AUDIT_PORT_PLUGGED, (guint)i);
    }
    return NULL;
}

static void lines_of_threads_do_not_mix(void **state)
{
    GThread *threads[N_THREADS];
    World *world = *state;
    for (int i = 0; i < N_THREADS; i++) {
        threads[i] = g_thread_new(NULL, write_many, world);
    }
    for (int i = 0; i < N_THREADS; i++) {
        g_thread_join(threads[i]);
    }
    g_autoptr(GPtrArray) lines = read_lines(world->path);
    assert_int_equal(lines->len, N_THREADS * N_LINES);
}

static void a_file_that_was_renamed_away_is_left_alone(void **state)
{
    World *world = *state;
    g_autofree char *old = g_strconcat(world->path, ".1", NULL);
    audit_add(&world->host, &world->vm, AUDIT_DOMAIN_CREATED, NULL);
    assert_int_equal(g_rename(world->path, old), 0);
    audit_add(&world->host, &world->vm, AUDIT_DOMAIN_GONE, NULL);
    g_autoptr(GPtrArray) before = read_lines(old);
    g_autoptr(GPtrArray) after = read_lines(world->path);
    assert_int_equal(before->len, 1);
    assert_int_equal(after->len, 1);
}

static void one_that_cannot_be_written_stops_nothing(void **state)
{
    World *world = *state;
    g_autofree char *beside = g_build_filename(world->folder, "no", "audit", NULL);
    g_autoptr(GError) error = NULL;
    assert_null(audit_new(beside, HOST, &error));
    assert_true(g_error_matches(error, VB_ERROR, ERROR_CODE_INVALID_ARGUMENT));
    assert_non_null(strstr(error->message, beside));
    /* A folder in its place: it can be written no more. */
    assert_int_equal(g_remove(world->path), 0);
    assert_int_equal(g_mkdir(world->path, 0755), 0);
    audit_add(&world->host, &world->vm, AUDIT_DOMAIN_CREATED, NULL);
    assert_int_equal(g_rmdir(world->path), 0);
}

static void refused_in_its_place(World *world)
{
    g_autoptr(GError) error = NULL;
    assert_null(audit_new(world->path, HOST, &error));
    assert_true(g_error_matches(error, VB_ERROR, ERROR_CODE_INVALID_ARGUMENT));
    audit_add(&world->host, &world->vm, AUDIT_DOMAIN_CREATED, NULL);
}

/* Nobody reads the pipe at first: an open that waits for a reader never comes back. */
static void only_a_regular_file_is_written(void **state)
{
    World *world = *state;
    g_autofree char *target = g_build_filename(world->folder, "target", NULL);
    char bytes[16];
    assert_int_equal(g_remove(world->path), 0);
    assert_int_equal(mkfifo(world->path, 0600), 0);
    refused_in_its_place(world);
    int reader = open(world->path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
    assert_true(reader >= 0);
    refused_in_its_place(world);
    assert_int_equal(read(reader, bytes, sizeof(bytes)), 0);
    close(reader);
    assert_int_equal(g_remove(world->path), 0);
    assert_int_equal(symlink(target, world->path), 0);
    refused_in_its_place(world);
    assert_false(g_file_test(target, G_FILE_TEST_EXISTS));
}

/* No file may grow beyond this. */
static void limit_set(rlim_t max_bytes)
{
    struct rlimit limit;
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &limit), 0);
    limit.rlim_cur = max_bytes;
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &limit), 0);
}

static void a_line_that_was_cut_short_spoils_no_other(void **state)
{
    enum { CUT_BYTES = 10 };
    World *world = *state;
    GStatBuf facts;
    audit_add(&world->host, &world->vm, AUDIT_DOMAIN_CREATED, NULL);
    assert_int_equal(g_stat(world->path, &facts), 0);
    signal(SIGXFSZ, SIG_IGN);
    limit_set((rlim_t)facts.st_size + CUT_BYTES);
    audit_add(&world->host, &world->vm, AUDIT_DOMAIN_DESTROYED, NULL);
    limit_set(RLIM_INFINITY);
    signal(SIGXFSZ, SIG_DFL);
    audit_add(&world->host, &world->vm, AUDIT_DOMAIN_GONE, NULL);
    audit_add(&world->host, &world->vm, AUDIT_DOMAIN_GONE, NULL);
    g_autofree char *text = NULL;
    assert_true(g_file_get_contents(world->path, &text, NULL, NULL));
    g_auto(GStrv) lines = g_strsplit(text, "\n", -1);
    assert_int_equal(g_strv_length(lines), 5);
    assert_int_equal(strlen(lines[1]), CUT_BYTES);
    for (int i = 2; i < 4; i++) {
        g_autoptr(JsonNode) node = json_from_string(lines[i], NULL);
        assert_string_equal(text_of(json_node_get_object(node), "effect"), "domain-gone");
    }
    assert_string_equal(lines[4], "");
}

static void nobody_wants_to_know(void **state)
{
    World *world = *state;
    audit_free(world->host.audit);
    world->host.audit = NULL;
    struct stat facts = {.st_ino = 1};
    audit_add(&world->host, &world->vm, AUDIT_DOMAIN_CREATED, NULL);
    audit_add_nic(&world->host, &world->vm, AUDIT_NIC_ATTACHED, 1);
    audit_add_deleted(&world->host, &world->vm, "/x", TRUE, &facts);
    g_autoptr(GPtrArray) lines = read_lines(world->path);
    assert_int_equal(lines->len, 0);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(a_line_says_who_what_where),
        TEST(without_a_command_it_is_the_domains_epoch),
        TEST(a_deletion_tells_the_inode_that_was_there),
        TEST(a_link_is_not_followed_and_no_disk_is_read),
        TEST(lines_of_threads_do_not_mix),
        TEST(a_file_that_was_renamed_away_is_left_alone),
        TEST(one_that_cannot_be_written_stops_nothing),
        TEST(only_a_regular_file_is_written),
        TEST(a_line_that_was_cut_short_spoils_no_other),
        TEST(nobody_wants_to_know),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
