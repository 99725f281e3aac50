/* See outage.h. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "tests/integration/outage.h"

#include <fcntl.h>
#include <glib/gstdio.h>
#include <signal.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/base/message.h"
#include "tests/lib/child.h"

#define LAB_TOOL SOURCE_DIR "/tests/lib/lab"

enum {
    AWAIT_S = 240, /* An outage of the broker may cost a transaction's timeout and a back-off. */
    POLL_US = 100000,
    HTTP_TIMEOUT_S = 10,
};

void outage_await(const char *what, WorldCondition is_done, void *user)
{
    gint64 end_us = g_get_monotonic_time() + AWAIT_S * G_USEC_PER_SEC;
    while (!is_done(user)) {
        if (g_get_monotonic_time() > end_us) {
            fail_msg("after %d s: not %s", AWAIT_S, what);
        }
        g_usleep(POLL_US);
    }
}

static const char *lab_folder(void)
{
    const char *folder = g_getenv("VIRTBUS_LAB");
    if (folder == NULL) {
        fail_msg("VIRTBUS_LAB is not set: the folder of a lab, as `lab up` writes it to lab.env");
    }
    return folder;
}

/* ---- Processes */

Process *process_start(World *world, Program program, const char *instance_id)
{
    return process_start_with(world, program, instance_id, NULL);
}

Process *process_start_with(World *world, Program program, const char *instance_id,
                            const char *option)
{
    static const char *const paths[] = {ECHO_SERVICE, VM_SERVICE, VOLUME_SERVICE};
    g_autofree char *bootstrap = g_strdup_printf("--bootstrap=%s", world->bootstrap);
    g_autofree char *prefix = g_strdup_printf("--topic.prefix=%s", world->prefix);
    g_autofree char *instance = g_strdup_printf("--instance.id=%s", instance_id);
    const char *const argv[] = {paths[program],
                                bootstrap,
                                prefix,
                                instance,
                                "--log.format=text",
                                "--http.listen=127.0.0.1:0",
                                "--default.storage=local:Local",
                                option,
                                NULL};
    Process *process = g_new0(Process, 1);
    process->world = world;
    process->log = g_strdup_printf("%s/%s-XXXXXX.log", lab_folder(), world->prefix);
    int fd = g_mkstemp(process->log);
    assert_true(fd >= 0);
    process->pid = fork();
    assert_true(process->pid >= 0);
    if (process->pid == 0) {
        child_dies_with_parent(NULL);
        fcntl(fd, F_SETFL, O_APPEND);
        dup2(fd, STDERR_FILENO);
        execv(paths[program], (char **)argv);
        _exit(127);
    }
    close(fd);
    g_array_append_val(world->children, process->pid);
    return process;
}

void process_free(Process *process)
{
    unlink(process->log);
    g_free(process->log);
    g_free(process);
}

void process_stop(Process *process)
{
    kill(process->pid, SIGTERM);
    assert_int_equal(world_reap(process->world, process->pid), 0);
    process_free(process);
}

static gboolean has_ended(void *user)
{
    return !process_lives(user);
}

int process_wait(Process *process)
{
    outage_await("the process ended", has_ended, process);
    return world_reap(process->world, process->pid);
}

gboolean process_lives(const Process *process)
{
    siginfo_t info = {.si_pid = 0};
    return waitid(P_PID, (id_t)process->pid, &info, WEXITED | WNOHANG | WNOWAIT) == 0 &&
           info.si_pid == 0;
}

/* ---- Log */

static char *log_text(const Process *process)
{
    g_autoptr(GError) error = NULL;
    char *text = NULL;
    if (!g_file_get_contents(process->log, &text, NULL, &error)) {
        fail_msg("%s", error->message);
    }
    return text;
}

static gboolean is_of_event(const char *line, const char *event)
{
    g_auto(GStrv) words = g_strsplit_set(line, " ", 9); /* Levels are padded to seven letters. */
    g_autofree char *word = g_strdup_printf("%s:", event);
    return g_strv_contains((const char *const *)words, word);
}

guint process_log_lines(const Process *process, const char *event)
{
    g_autofree char *text = log_text(process);
    g_auto(GStrv) lines = g_strsplit(text, "\n", -1);
    guint n = 0;
    for (char **line = lines; *line != NULL; line++) {
        n += **line != '\0' && (event == NULL || is_of_event(*line, event));
    }
    return n;
}

/* The last line of an event; NULL: there is none. */
static char *log_last(const Process *process, const char *event)
{
    g_autofree char *text = log_text(process);
    g_auto(GStrv) lines = g_strsplit(text, "\n", -1);
    const char *last = NULL;
    for (char **line = lines; *line != NULL; line++) {
        last = is_of_event(*line, event) ? *line : last;
    }
    return g_strdup(last);
}

typedef struct {
    const Process *process;
    const char *name; /* Of an event, a page or a series. */
    const char *text;
    double value;
    char *found;
} Wanted;

static gboolean is_logged(void *user)
{
    Wanted *wanted = user;
    wanted->found = log_last(wanted->process, wanted->name);
    return wanted->found != NULL;
}

char *process_await_log(const Process *process, const char *event)
{
    Wanted wanted = {.process = process, .name = event};
    outage_await(event, is_logged, &wanted);
    return wanted.found;
}

/* ---- Pages */

/* The port that it listens on now: each program that the process executes says its own. */
static guint16 port_of(const Process *process)
{
    static const char key[] = " http.port=";
    g_autofree char *line = log_last(process, "started");
    const char *at = line != NULL ? strstr(line, key) : NULL;
    return at != NULL ? (guint16)g_ascii_strtoull(at + strlen(key), NULL, 10) : 0;
}

static char *http_get(guint16 port, const char *path)
{
    g_autofree char *request = g_strdup_printf("GET %s HTTP/1.0\r\n\r\n", path);
    g_autoptr(GString) answer = g_string_new(NULL);
    g_autoptr(GSocketClient) client = g_socket_client_new();
    g_socket_client_set_timeout(client, HTTP_TIMEOUT_S);
    g_autoptr(GSocketConnection) connection =
        g_socket_client_connect_to_host(client, "127.0.0.1", port, NULL, NULL);
    char part[4096];
    gssize n = 0;
    if (connection == NULL ||
        !g_output_stream_write_all(g_io_stream_get_output_stream(G_IO_STREAM(connection)), request,
                                   strlen(request), NULL, NULL, NULL)) {
        return g_strdup("");
    }
    GInputStream *in = g_io_stream_get_input_stream(G_IO_STREAM(connection));
    while ((n = g_input_stream_read(in, part, sizeof(part), NULL, NULL)) > 0) {
        g_string_append_len(answer, part, n);
    }
    return g_strdup(answer->str);
}

char *process_page(const Process *process, const char *path)
{
    guint16 port = port_of(process);
    g_autofree char *answer = port != 0 ? http_get(port, path) : g_strdup("");
    const char *status = strchr(answer, ' ');
    const char *body = strstr(answer, "\r\n\r\n");
    if (status == NULL || body == NULL) {
        return g_strdup("");
    }
    return g_strdup_printf("%.3s %s", status + 1, body + 4);
}

static gboolean is_shown(void *user)
{
    Wanted *wanted = user;
    g_free(wanted->found);
    wanted->found = process_page(wanted->process, wanted->name);
    return strstr(wanted->found, wanted->text) != NULL;
}

char *process_await_page(const Process *process, const char *path, const char *text)
{
    Wanted wanted = {.process = process, .name = path, .text = text};
    outage_await(text, is_shown, &wanted);
    return wanted.found;
}

double process_metric(const Process *process, const char *series)
{
    g_autofree char *page = process_page(process, "/metrics");
    g_autofree char *start = g_strdup_printf("\n%s ", series);
    const char *line = strstr(page, start);
    return line != NULL ? g_ascii_strtod(line + strlen(start), NULL) : -1;
}

static gboolean is_measured(void *user)
{
    const Wanted *wanted = user;
    return process_metric(wanted->process, wanted->name) >= wanted->value;
}

void process_await_metric(const Process *process, const char *series, double value)
{
    Wanted wanted = {.process = process, .name = series, .value = value};
    outage_await(series, is_measured, &wanted);
}

/* ---- Brokers */

static void lab_run(const char *command, const Broker *broker, const char *part)
{
    const char *const argv[] = {LAB_TOOL, command, broker->folder, part, NULL};
    g_autofree char *errors = NULL;
    int status = 0;
    g_autoptr(GError) error = NULL;
    if (!g_spawn_sync(NULL, (char **)argv, NULL, G_SPAWN_STDOUT_TO_DEV_NULL, child_dies_with_parent,
                      NULL, NULL, &errors, &status, &error) ||
        !g_spawn_check_wait_status(status, &error)) {
        fail_msg("lab %s: %s: %s", command, error->message, errors);
    }
}

/* Whatever becomes of this program: when it is gone, so is the broker. A killed one may hold its disk
 * for a moment still: umount -l. */
static GSubprocess *guard_new(const Broker *broker)
{
    g_autoptr(GError) error = NULL;
    GSubprocess *guard = g_subprocess_new(
        G_SUBPROCESS_FLAGS_STDIN_PIPE | G_SUBPROCESS_FLAGS_STDERR_SILENCE, &error, "setsid", "sh",
        "-c", "read _; \"$0\" down \"$1\"; umount -l \"$1\"; rmdir \"$1\"", LAB_TOOL,
        broker->folder, NULL);
    if (guard == NULL) {
        fail_msg("%s", error->message);
    }
    return guard;
}

Broker *broker_new(const char *name, guint64 disk_bytes)
{
    Broker *broker = g_new0(Broker, 1);
    broker->folder = g_strdup_printf("%s/%s", lab_folder(), name);
    assert_int_equal(g_mkdir(broker->folder, 0755), 0);
    if (disk_bytes != 0) {
        g_autofree char *size = g_strdup_printf("size=%" G_GUINT64_FORMAT, disk_bytes);
        assert_int_equal(mount("virtbus-test", broker->folder, "tmpfs", MS_NOSUID, size), 0);
    }
    broker->guard = guard_new(broker);
    lab_run("up", broker, "broker");
    g_autofree char *path = g_build_filename(broker->folder, "broker", "port", NULL);
    g_autofree char *port = NULL;
    assert_true(g_file_get_contents(path, &port, NULL, NULL));
    broker->bootstrap = g_strdup_printf("127.0.0.1:%s", g_strstrip(port));
    return broker;
}

void broker_kill(Broker *broker)
{
    lab_run("kill-broker", broker, NULL);
}

void broker_start(Broker *broker)
{
    lab_run("start-broker", broker, NULL);
}

void broker_free(Broker *broker)
{
    g_output_stream_close(g_subprocess_get_stdin_pipe(broker->guard), NULL, NULL);
    g_subprocess_wait(broker->guard, NULL, NULL);
    g_object_unref(broker->guard);
    g_free(broker->bootstrap);
    g_free(broker->folder);
    g_free(broker);
}

/* ---- Requests and their answers */

Ledger *ledger_new(World *world)
{
    Ledger *ledger = g_new0(Ledger, 1);
    ledger->world = world;
    ledger->requests = g_ptr_array_new();
    return ledger;
}

void ledger_free(Ledger *ledger)
{
    g_ptr_array_free(ledger->requests, TRUE);
    g_free(ledger);
}

static void ledger_queue(Ledger *ledger, const VmCommand *command)
{
    g_autoptr(GBytes) packed = message_pack(command);
    world_queue(ledger->world, TOPIC_VM_COMMANDS, RD_KAFKA_PARTITION_UA, command->vm_uuid,
                g_bytes_get_data(packed, NULL), g_bytes_get_size(packed));
    g_ptr_array_add(ledger->requests, command->request_id);
}

VmSpec *outage_spec(World *world)
{
    VmSpec *spec = ARENA_MSG(world->arena, vm_spec);
    DiskSpec *root = ARENA_MSG(world->arena, disk_spec);
    root->type = VOLUME_TYPE_ROOT;
    root->size_bytes = 1 << 20;
    spec->name = (char *)"A small VM";
    spec->vcpus = 1;
    spec->memory_bytes = 32 << 20;
    ARENA_APPEND(world->arena, spec->n_disks, spec->disks, root);
    return spec;
}

void ledger_send(Ledger *ledger, int n)
{
    World *world = ledger->world;
    for (int i = 0; i < n; i++) {
        int vm = ledger->next_vm++;
        const char *uuid = world_vm(world, vm % WORLD_PARTITIONS, vm / WORLD_PARTITIONS);
        VmCommand *create = world_command(world, uuid, VM_COMMAND__COMMAND_CREATE_VM);
        create->create_vm->spec = outage_spec(world);
        ledger_queue(ledger, create);
        VmCommand *start = world_command(world, uuid, VM_COMMAND__COMMAND_START_VM);
        start->start_vm->host_uuid = (char *)"dddddddd-0000-4000-8000-000000000004";
        ledger_queue(ledger, start);
    }
}

/* How often each request was answered: request id -> count. A reply is not repeated unless a
 * request was. */
static GHashTable *ledger_answers(const Ledger *ledger)
{
    GHashTable *answers = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL);
    for (int partition = 0; partition < WORLD_PARTITIONS; partition++) {
        g_autoptr(VbArena) arena = arena_new();
        g_autoptr(GPtrArray) events = world_read(ledger->world, "vm.events", partition, TRUE);
        for (guint i = 0; i < events->len; i++) {
            const VbBusRecord *record = g_ptr_array_index(events, i);
            VmEvent *event = vm_event__unpack(arena_allocator(arena, SIZE_MAX), record->value_bytes,
                                              record->value);
            assert_non_null(event);
            if (event->event_case == VM_EVENT__EVENT_REPLY) {
                const char *id = event->reply->request_id;
                guint n = GPOINTER_TO_UINT(g_hash_table_lookup(answers, id));
                g_hash_table_replace(answers, g_strdup(id), GUINT_TO_POINTER(n + 1));
            }
        }
    }
    return answers;
}

static gboolean is_answered(void *user)
{
    const Ledger *ledger = user;
    rd_kafka_poll(ledger->world->producer, 0);
    g_autoptr(GHashTable) answers = ledger_answers(ledger);
    for (guint i = 0; i < ledger->requests->len; i++) {
        if (!g_hash_table_contains(answers, g_ptr_array_index(ledger->requests, i))) {
            return FALSE;
        }
    }
    return TRUE;
}

void ledger_await(Ledger *ledger)
{
    outage_await("every request answered", is_answered, ledger);
}

void ledger_settle(Ledger *ledger)
{
    ledger_send(ledger, WORLD_PARTITIONS); /* A second answer would come before these. */
    ledger_await(ledger);
    g_autoptr(GHashTable) answers = ledger_answers(ledger);
    assert_int_equal(g_hash_table_size(answers), ledger->requests->len);
    for (guint i = 0; i < ledger->requests->len; i++) {
        const char *id = g_ptr_array_index(ledger->requests, i);
        if (GPOINTER_TO_UINT(g_hash_table_lookup(answers, id)) != 1) {
            fail_msg("request %s was answered %u times", id,
                     GPOINTER_TO_UINT(g_hash_table_lookup(answers, id)));
        }
    }
}
