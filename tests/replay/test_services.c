/* A short life on a real broker, with both services and virtbusctl as they are shipped and with no
 * host: what is asked of one meets silence. It is recorded and made again (K4). */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <gio/gio.h>
#include <glib/gstdio.h>
#include <signal.h>
#include <string.h>
#include <sys/wait.h>

#include "common/base/message.h"
#include "common/base/uuid.h"
#include "tests/integration/real_services.h"

#define ANNA   "00000000-0000-4000-8000-00000000000a"
#define BERTA  "00000000-0000-4000-8000-00000000000b"
#define SMALL  "--platform", "linux", "--firmware", "uefi", "--vcpus", "1", "--memory", "64MiB"
#define NOBODY "bbbbbbbb-0000-4000-8000-000000000002"

typedef struct {
    World *world;
    char *folder;
    char *path; /* Of the recording. */
    pid_t services[2];
} Life;

/* ---- virtbusctl */

/* Its status; what it wrote for people and data, one behind the other (g_free). */
static int ask(Life *life, char **ret_words, ...)
{
    g_autoptr(GPtrArray) argv = g_ptr_array_new_with_free_func(g_free);
    g_autofree char *output = NULL;
    g_autofree char *errors = NULL;
    int status = 0;
    va_list words;
    g_ptr_array_add(argv, g_strdup(VIRTBUSCTL));
    g_ptr_array_add(argv, g_strdup_printf("--bootstrap=%s", life->world->bootstrap));
    g_ptr_array_add(argv, g_strdup_printf("--topic.prefix=%s", life->world->prefix));
    va_start(words, ret_words);
    const char *word;
    while ((word = va_arg(words, const char *)) != NULL) {
        g_ptr_array_add(argv, g_strdup(word));
    }
    va_end(words);
    g_ptr_array_add(argv, NULL);
    assert_true(g_spawn_sync(NULL, (char **)argv->pdata, NULL, G_SPAWN_DEFAULT, NULL, NULL, &output,
                             &errors, &status, NULL));
    *ret_words = g_strconcat(output, errors, NULL);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

#define ASK(expected, ...)                                                                         \
    do {                                                                                           \
        g_autofree char *said = NULL;                                                              \
        int ended = ask(life, &said, __VA_ARGS__, NULL);                                           \
        if (ended != (expected)) {                                                                 \
            fail_msg("virtbusctl ended with %d: %s", ended, said);                                 \
        }                                                                                          \
    } while (0)

/* ---- The life */

static void services_start(Life *life)
{
    life->services[0] = real_service_spawn(life->world, REAL_VM_SERVICE);
    life->services[1] = real_service_spawn(life->world, REAL_VOLUME_SERVICE);
}

static void bad_records_send(Life *life)
{
    World *world = life->world;
    int right = topic_partition(ANNA, UUID_TEXT_BYTES - 1, WORLD_PARTITIONS);
    VmCommand *command = world_command(world, ANNA, VM_COMMAND__COMMAND_GET_VM);
    g_autoptr(GBytes) bytes = message_pack(command);
    world_produce(world, TOPIC_VM_COMMANDS, right, ANNA, "\xff", 1);
    world_produce(world, TOPIC_VM_COMMANDS, -1, "no VM", "x", 1);
    world_produce(world, TOPIC_VM_COMMANDS, 1 - right, ANNA, g_bytes_get_data(bytes, NULL),
                  g_bytes_get_size(bytes));
    /* Twice the same. */
    for (int i = 0; i < 2; i++) {
        world_send(world, command);
    }
}

static void live(Life *life)
{
    ASK(0, "vm", "create", "--uuid", ANNA, "--name", "Anna", "--storage", "local:local", "--disk",
        "1GiB", SMALL, "--timeout", "2m");
    ASK(1, "vm", "start", ANNA, "--host", NOBODY, "--timeout", "1m");
    bad_records_send(life);
    /* The host does not answer: the deadline does. */
    ASK(1, "vm", "start", ANNA, "--host", HOST_A, "--deadline", "10s", "--timeout", "2m");
    kill(life->services[0], SIGKILL);
    kill(life->services[1], SIGKILL);
    services_start(life);
    ASK(0, "vm", "create", "--uuid", BERTA, "--name", "Berta", "--storage", "local:local", SMALL,
        "--timeout", "2m");
    ASK(0, "vm", "update", BERTA, "--vcpus", "3", "--timeout", "1m");
    ASK(1, "vm", "create", "--uuid", BERTA, "--name", "Berta", SMALL, "--timeout", "1m");
    ASK(0, "vm", "destroy", BERTA, "--timeout", "1m");
    ASK(0, "vm", "expunge", BERTA, "--timeout", "1m");
}

static int set_up(void **state)
{
    void *world = NULL;
    int failed = world_set_up(&world);
    Life *life = g_new0(Life, 1);
    life->world = world;
    life->folder = g_dir_make_tmp("vb-replay-XXXXXX", NULL);
    life->path = g_build_filename(life->folder, "life.recording", NULL);
    *state = life;
    return failed;
}

static int tear_down(void **state)
{
    Life *life = *state;
    void *world = life->world;
    g_unlink(life->path);
    g_rmdir(life->folder);
    g_free(life->path);
    g_free(life->folder);
    g_free(life);
    return world_tear_down(&world);
}

/* ---- Tests */

static void life_is_made_again_byte_for_byte(void **state)
{
    Life *life = *state;
    services_start(life);
    live(life);
    real_replay(life->world);
    ASK(0, "record", life->path, "--timeout", "1m");
}

static void one_vm_is_made_again_alone(void **state)
{
    Life *life = *state;
    g_autofree char *path = g_build_filename(life->folder, "anna.recording", NULL);
    g_autofree char *words = NULL;
    ASK(0, "record", path, "--vm", "Anna", "--timeout", "1m");
    assert_int_equal(ask(life, &words, "replay", path, NULL), 0);
    g_unlink(path);
    assert_non_null(strstr(words, "steps of 1 VMs"));
    assert_non_null(strstr(words, "\n0 differences\n"));
    /* The same of the whole recording. */
    ASK(0, "replay", life->path, "--vm", "Anna");
    ASK(0, "replay", life->path, "--vm", BERTA);
}

static void story_is_told_in_order(void **state)
{
    Life *life = *state;
    g_autofree char *words = NULL;
    assert_int_equal(ask(life, &words, "replay", life->path, "--vm", "Anna", "--explain", NULL), 0);
    const char *const sentences[] = {"A client asks vm-service: CreateVm, Anna",
                                     "The VM is now: Created",
                                     "A client asks vm-service: StartVm, on host bbbbbbbb",
                                     "could not ask host bbbbbbbb: it had no topic",
                                     "A client asks vm-service: StartVm, on host aaaaaaaa",
                                     "It asks volume-service: PrepareVolumes",
                                     "It asks host aaaaaaaa: CreateVolumes",
                                     "Nobody asks, but",
                                     "0 differences"};
    const char *at = words;
    for (gsize i = 0; i < G_N_ELEMENTS(sentences); i++) {
        at = strstr(at, sentences[i]);
        if (at == NULL) {
            fail_msg("\"%s\" is not told, or not there: %s", sentences[i], words);
        }
    }
}

static void wrong_words_and_files_are_refused(void **state)
{
    Life *life = *state;
    g_autofree char *bytes = NULL;
    g_autofree char *cut = g_build_filename(life->folder, "cut.recording", NULL);
    gsize size_bytes = 0;
    assert_true(g_file_get_contents(life->path, &bytes, &size_bytes, NULL));
    assert_true(g_file_set_contents(cut, bytes, (gssize)size_bytes / 2, NULL));
    g_autofree char *words = NULL;
    assert_int_equal(ask(life, &words, "replay", cut, NULL), 1);
    g_unlink(cut);
    assert_non_null(strstr(words, "is cut off"));
    ASK(1, "replay", VIRTBUSCTL);
    ASK(2, "replay", life->path, "--explain"); /* Whose? */
    ASK(2, "replay", life->path, "--vm", "Nobody");
    ASK(2, "replay", life->path, "--until", "soon");
    ASK(0, "replay", life->path, "--until", "2020-01-01T00:00:00Z");
}

static void other_logic_has_its_own_status(void **state)
{
    Life *life = *state;
    g_autofree char *words = NULL;
    const char *older = SOURCE_DIR "/tests/replay/logic-1.recording";
    assert_int_equal(ask(life, &words, "replay", older, NULL), 5);
    assert_non_null(strstr(words, "vm-service: recorded by logic 1, replayed by "));
    assert_non_null(strstr(words, "steps differ\n"));
    assert_non_null(strstr(words, "\n0 differences\n"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(life_is_made_again_byte_for_byte),
        cmocka_unit_test(one_vm_is_made_again_alone),
        cmocka_unit_test(story_is_told_in_order),
        cmocka_unit_test(wrong_words_and_files_are_refused),
        cmocka_unit_test(other_logic_has_its_own_status),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
