/* Every named place where a crash hurts most kills its daemon there once, on the real stack: broker,
 * libvirt, Open vSwitch, the three daemons, built with kill points (common/runtime/kill_point.h).
 *
 * The crash model: SIGKILL at that instant, of one process; what it has told the kernel, libvirt, OVS
 * and the broker stays. Whoever runs the daemon starts it again at once. A UEFI guest with NVRAM, TPM
 * and a vhost-user NIC, and a small BIOS guest whose NIC comes and goes, live from their creation to
 * their expunge, once for each group of points: neighbours are in different groups, and each daemon
 * passes its points one after the other.
 *
 * The names are read from the source. A point that is in it and kills nobody fails, so that a new one
 * is tested by itself. What must hold: each request has exactly one reply that is no repetition, and
 * what it asks for is done when it is asked often enough; the NVRAM file is one and the same, with the
 * guest's bytes, from its making to the expunge; nothing is left behind that. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <glib/gstdio.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "tests/lib/lab_guest.h"
#include "tests/lib/stack.h"

#define EXEC_AGAIN "exec-again"
#define IMAGE      "ejects.img"

enum { WAIT_MS = 120000, POLL_MS = 20, MARK_BYTES = 16, N_LIVES = 4, LEAST_POINTS = 20 };

typedef struct {
    char *name;
    gboolean is_services; /* Of both of them. Else the agent's. */
} Point;

static Stack *stack;
static GPtrArray *points; /* of Point */
static char *marks;       /* The folder where who dies leaves a file. */
static char *image;       /* That the small guest is made of. */
static char *uefi_vm;
static char *bios_vm;

static const char *const programs[STACK_N_DAEMONS] = {
    "virtbus-vm-service", "virtbus-volume-service", "virtbus-host-agent"};

/* ---- The points */

static void points_add(const char *path, gboolean is_services)
{
    g_autofree char *text = NULL;
    assert_true(g_file_get_contents(path, &text, NULL, NULL));
    g_autoptr(GRegex) call = g_regex_new("KILL_POINT\\(\"([^\"]+)\"\\)", 0, 0, NULL);
    g_autoptr(GMatchInfo) match = NULL;
    g_regex_match(call, text, 0, &match);
    for (; g_match_info_matches(match); g_match_info_next(match, NULL)) {
        Point *point = g_new0(Point, 1);
        point->name = g_match_info_fetch(match, 1);
        point->is_services = is_services;
        g_ptr_array_add(points, point);
    }
}

static void points_find(const char *folder, gboolean is_services)
{
    g_autofree char *path = g_build_filename(SOURCE_DIR, folder, NULL);
    g_autoptr(GDir) open = g_dir_open(path, 0, NULL);
    assert_non_null(open);
    for (const char *name; (name = g_dir_read_name(open)) != NULL;) {
        g_autofree char *file = g_build_filename(path, name, NULL);
        if (g_str_has_suffix(name, ".c")) {
            points_add(file, is_services);
        }
    }
}

static gint compare_points(gconstpointer a, gconstpointer b)
{
    return strcmp((*(Point *const *)a)->name, (*(Point *const *)b)->name);
}

static gboolean was_hit(StackDaemon daemon, const char *name)
{
    g_autofree char *path = g_strdup_printf("%s/%s.%s", marks, programs[daemon], name);
    return g_file_test(path, G_FILE_TEST_EXISTS);
}

static gboolean is_of(const Point *point, StackDaemon daemon)
{
    return point->is_services == (daemon != STACK_HOST_AGENT);
}

/* Points of this life that have killed nobody yet, as words (g_free). */
static char *points_left(guint life)
{
    g_autoptr(GString) left = g_string_new(NULL);
    for (guint i = life; i < points->len; i += N_LIVES) {
        const Point *point = points->pdata[i];
        for (StackDaemon daemon = 0; daemon < STACK_N_DAEMONS; daemon++) {
            if (is_of(point, daemon) && !was_hit(daemon, point->name)) {
                g_string_append_printf(left, " %s.%s", programs[daemon], point->name);
            }
        }
    }
    return g_strdup(left->str);
}

static gboolean is_armed(guint life, const char *name)
{
    for (guint i = life; i < points->len; i += N_LIVES) {
        if (strcmp(((const Point *)points->pdata[i])->name, name) == 0) {
            return TRUE;
        }
    }
    return FALSE;
}

/* ---- Daemons that die */

static guint count_marks(void)
{
    g_autoptr(GDir) open = g_dir_open(marks, 0, NULL);
    guint n = 0;
    while (g_dir_read_name(open) != NULL) {
        n++;
    }
    return n;
}

static gboolean has_ended(gpointer process)
{
    return g_subprocess_get_identifier(process) == NULL;
}

/* Starts again who has died of a point. Whoever ends otherwise fails the test. */
static void supervise(void)
{
    static guint n_deaths;
    for (StackDaemon daemon = 0; daemon < STACK_N_DAEMONS; daemon++) {
        GSubprocess *process = stack->daemons[daemon];
        if (!has_ended(process)) {
            continue;
        }
        gboolean killed =
            g_subprocess_get_if_signaled(process) && g_subprocess_get_term_sig(process) == SIGKILL;
        if (!killed || ++n_deaths > count_marks()) {
            stack_fail(stack, "%s ended, and not by a kill point", programs[daemon]);
        }
        g_clear_object(&stack->daemons[daemon]);
        stack_start(stack, daemon);
    }
}

static gboolean await_or_give_up(gboolean (*condition)(gpointer data), gpointer data)
{
    gint64 deadline_ms = lab_now_ms(NULL) + WAIT_MS;
    while (!condition(data)) {
        supervise();
        if (lab_now_ms(NULL) >= deadline_ms) {
            return FALSE;
        }
        lab_wait_ms(NULL, POLL_MS);
    }
    return TRUE;
}

static void await(const char *what, gboolean (*condition)(gpointer data), gpointer data)
{
    if (!await_or_give_up(condition, data)) {
        stack_fail(stack, "waited in vain: %s", what);
    }
}

static void arm(guint life)
{
    g_autoptr(GString) names = g_string_new(NULL);
    for (guint i = life; i < points->len; i += N_LIVES) {
        g_string_append_printf(names, " %s", ((const Point *)points->pdata[i])->name);
    }
    g_setenv("VB_KILL_POINTS", names->str, TRUE);
    for (StackDaemon daemon = 0; daemon < STACK_N_DAEMONS; daemon++) {
        stack_kill(stack, daemon);
        stack_start(stack, daemon);
    }
}

/* A second process of the same instance takes a service's place; the first one notices, and executes
 * itself anew, or would. */
static void fence(StackDaemon daemon)
{
    gint64 deadline_ms = lab_now_ms(NULL) + WAIT_MS;
    GSubprocess *first = g_steal_pointer(&stack->daemons[daemon]);
    stack_start(stack, daemon);
    GSubprocess *second = g_steal_pointer(&stack->daemons[daemon]);
    stack->daemons[daemon] = first;
    while (!has_ended(first) && lab_now_ms(NULL) < deadline_ms) {
        lab_wait_ms(NULL, POLL_MS);
    }
    g_subprocess_force_exit(second);
    g_subprocess_wait(second, NULL, NULL);
    g_object_unref(second);
    supervise();
}

/* ---- Requests */

/* Asks until it is done. That it fails because somebody died is its one reply. */
static void request(const char *verb, const char *vm, ...)
{
    const char *words[24] = {"vm", verb, vm};
    guint n = 3;
    va_list more;
    va_start(more, vm);
    while ((words[n] = va_arg(more, const char *)) != NULL) {
        g_assert_cmpuint(++n, <, G_N_ELEMENTS(words));
    }
    va_end(more);
    gint64 deadline_ms = lab_now_ms(NULL) + WAIT_MS;
    for (;;) {
        GSubprocess *process = stack_begin_words(stack, words);
        await(verb, has_ended, process);
        g_autoptr(StackAnswer) answer = stack_end(stack, process);
        if (answer->status == 0) {
            return;
        }
        print_message("%s: %s\n", verb, answer->reason);
        if (answer->code == ERROR_CODE_UNSPECIFIED || lab_now_ms(NULL) >= deadline_ms) {
            stack_fail(stack, "%s of VM %s is not done: %s %s", verb, vm, answer->reason,
                       answer->words);
        }
    }
}

/* ---- NVRAM */

typedef struct {
    char *path;
    ino_t inode;
    char *sha256;
} Nvram;

static Nvram nvram;

/* The one variable store that there is. */
static void nvram_find(void)
{
    g_autofree char *folder = g_build_filename(stack->folder, "storage", "nvRam", NULL);
    g_autofree char *found = stack_run(stack, "find", folder, "-type", "f", NULL);
    struct stat facts;
    g_strstrip(found);
    if (*found == '\0' || strchr(found, '\n') != NULL || lstat(found, &facts) != 0) {
        stack_fail(stack, "there must be one NVRAM file, and there is: %s", found);
    }
    g_free(nvram.path);
    nvram.path = g_steal_pointer(&found);
    nvram.inode = facts.st_ino;
}

static void nvram_expect_same_file(void)
{
    Nvram before = {g_strdup(nvram.path), nvram.inode, NULL};
    nvram_find();
    assert_string_equal(nvram.path, before.path);
    assert_int_equal(nvram.inode, before.inode);
    g_free(before.path);
}

static const char *nvram_mark(void)
{
    return uefi_vm + strlen(uefi_vm) - MARK_BYTES;
}

/* In the spare block at its end: no firmware writes there, and no template has it. */
static void nvram_write(void)
{
    FILE *file = fopen(nvram.path, "r+");
    assert_non_null(file);
    assert_int_equal(fseek(file, -MARK_BYTES, SEEK_END), 0);
    fputs(nvram_mark(), file);
    assert_int_equal(fclose(file), 0);
    g_free(nvram.sha256);
    nvram.sha256 = stack_sha256(nvram.path);
}

static void nvram_expect_mark(void)
{
    g_autofree char *bytes = NULL;
    gsize size_bytes = 0;
    nvram_expect_same_file();
    assert_true(g_file_get_contents(nvram.path, &bytes, &size_bytes, NULL));
    assert_memory_equal(bytes + size_bytes - MARK_BYTES, nvram_mark(), MARK_BYTES);
}

static void nvram_expect_untouched(void)
{
    nvram_expect_same_file();
    g_autofree char *found = stack_sha256(nvram.path);
    assert_string_equal(found, nvram.sha256);
}

/* ---- The life */

static void vms_name(void)
{
    g_free(uefi_vm);
    g_free(bios_vm);
    uefi_vm = g_malloc(UUID_TEXT_BYTES);
    bios_vm = g_malloc(UUID_TEXT_BYTES);
    uuid_random(uefi_vm);
    uuid_random(bios_vm);
}

static void create_both(void)
{
    lab_guest_disk(image, GUEST_EJECTS);
    request("create", "--uuid", uefi_vm, "--name", "With state", "--platform", "linux",
            "--firmware", "uefi", "--secure-boot", "off", "--tpm", "--vcpus", "1", "--memory",
            "128MiB", "--storage", "local:local", "--disk", "1MiB", "--nic", "vhost-user", NULL);
    request("create", "--uuid", bios_vm, "--name", "Ejects", "--platform", "linux", "--vcpus", "1",
            "--memory", "32MiB", "--storage", "local:local", "--disk", "image=" IMAGE, "--nic",
            "vhost-user", NULL);
}

static void start_and_stop(const char *vm)
{
    request("start", vm, "--host", stack->host_uuid, NULL);
    request("stop", vm, "--force", NULL);
}

/* `left`: what is, in the end (g_free). */
static gboolean nothing_is_left(gpointer left)
{
    g_free(*(char **)left);
    *(char **)left = stack_left(stack);
    return **(char **)left == '\0';
}

static void await_nothing_left(void)
{
    g_autofree char *left = NULL;
    if (!await_or_give_up(nothing_is_left, &left)) {
        stack_fail(stack, "this is left on the host: %s", left);
    }
}

static gboolean all_were_hit(gpointer life)
{
    g_autofree char *left = points_left(GPOINTER_TO_UINT(life));
    return *left == '\0';
}

static void live(void **state)
{
    guint life = GPOINTER_TO_UINT(*state);
    vms_name();
    arm(life);
    create_both();
    start_and_stop(uefi_vm);
    nvram_find();
    nvram_write();
    request("start", bios_vm, "--host", stack->host_uuid, NULL);
    request("attach-nic", bios_vm, "vhost-user,index=3", NULL);
    request("detach-nic", bios_vm, "3", NULL);
    request("stop", bios_vm, "--force", NULL);
    nvram_expect_untouched();
    start_and_stop(uefi_vm);
    nvram_expect_mark();
    if (is_armed(life, EXEC_AGAIN)) {
        fence(STACK_VM_SERVICE);
        fence(STACK_VOLUME_SERVICE);
    }
    request("destroy", uefi_vm, NULL);
    nvram_expect_mark();
    request("expunge", uefi_vm, NULL);
    request("destroy", bios_vm, NULL);
    request("expunge", bios_vm, NULL);
    assert_int_equal(g_unlink(image), 0);
    await_nothing_left();
    g_autofree char *left = points_left(life);
    g_autofree char *what = g_strdup_printf("these points kill their daemons:%s", left);
    await(what, all_were_hit, GUINT_TO_POINTER(life));
}

/* Behind all lives. */
static void each_request_has_one_reply(void **state)
{
    (void)state;
    g_autoptr(GHashTable) seen = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL);
    stack_events_read(stack);
    for (guint i = 0; i < stack->events->len; i++) {
        char *id = stack_text(stack->events->pdata[i], "reply.request_id");
        g_autofree char *repeated = stack_text(stack->events->pdata[i], "reply.repeated");
        if (*id != '\0' && strcmp(repeated, "true") != 0 && !g_hash_table_add(seen, id)) {
            stack_fail(stack, "request %s has two replies", id);
        }
    }
    assert_true(g_hash_table_size(seen) >= N_LIVES * 12);
}

static int group_setup(void **state)
{
    (void)state;
    points = g_ptr_array_new();
    points_find("services/host-agent", FALSE);
    points_find("common/bus", TRUE);
    g_ptr_array_sort(points, compare_points);
    assert_true(points->len >= LEAST_POINTS);
    stack = stack_new();
    marks = g_build_filename(stack->folder, "marks", NULL);
    assert_int_equal(g_mkdir(marks, 0755), 0);
    g_setenv("VB_KILL_FOLDER", marks, TRUE);
    image = g_strdup_printf("%s/storage/images/" IMAGE, stack->folder);
    return 0;
}

static int group_teardown(void **state)
{
    (void)state;
    stack_free(stack);
    return 0;
}

#define LIFE(n)                                                                                    \
    {                                                                                              \
        "life " #n, live, NULL, NULL, GUINT_TO_POINTER(n)                                          \
    }

int main(void)
{
    const struct CMUnitTest tests[] = {
        LIFE(0), LIFE(1), LIFE(2), LIFE(3), cmocka_unit_test(each_request_has_one_reply),
    };
    G_STATIC_ASSERT(G_N_ELEMENTS(tests) == N_LIVES + 1);
    return cmocka_run_group_tests(tests, group_setup, group_teardown);
}
