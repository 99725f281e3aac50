/* See stack.h: the processes. */
#include "tests/lib/stack.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <arpa/inet.h>
#include <fcntl.h>
#include <glib/gstdio.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tests/lib/child.h"
#include "tests/lib/lab_guest.h"

enum { WAIT_MS = 120000, POLL_MS = 20, LOG_TAIL_BYTES = 6000, HTTP_TIMEOUT_S = 5 };

static const char *const names[STACK_N_DAEMONS] = {"vm-service", "volume-service", "host-agent"};
static const char *const programs[STACK_N_DAEMONS] = {VM_SERVICE, VOLUME_SERVICE, HOST_AGENT};

/* ---- Failing and waiting */

static void log_show(const Stack *stack, StackDaemon daemon)
{
    g_autofree char *path = g_strdup_printf("%s/%s.log", stack->folder, names[daemon]);
    g_autofree char *text = NULL;
    gsize size_bytes = 0;
    if (g_file_get_contents(path, &text, &size_bytes, NULL)) {
        gsize from = size_bytes > LOG_TAIL_BYTES ? size_bytes - LOG_TAIL_BYTES : 0;
        fprintf(stderr, "---- the end of %s's log\n%s", names[daemon], text + from);
    }
}

void stack_fail(Stack *stack, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    g_autofree char *text = g_strdup_vprintf(format, args);
    va_end(args);
    for (StackDaemon daemon = 0; daemon < STACK_N_DAEMONS; daemon++) {
        log_show(stack, daemon);
    }
    fail_msg("%s", text);
    g_assert_not_reached();
}

void stack_await(Stack *stack, const char *what, StackCondition condition, gpointer data)
{
    gint64 deadline_ms = lab_now_ms(NULL) + WAIT_MS;
    while (!condition(data)) {
        if (lab_now_ms(NULL) >= deadline_ms) {
            stack_fail(stack, "waited in vain: %s", what);
        }
        lab_wait_ms(NULL, POLL_MS);
    }
}

/* ---- Daemons */

static gboolean port_is_given(const Stack *stack, guint16 port)
{
    for (StackDaemon daemon = 0; daemon < STACK_N_DAEMONS; daemon++) {
        if (stack->ports[daemon] == port) {
            return TRUE;
        }
    }
    return FALSE;
}

/* A port below those that the kernel gives to outgoing connections, so that it stays free; and none
 * that another daemon was told and has not bound yet. */
static guint16 port_choose(const Stack *stack)
{
    for (;;) {
        guint16 port = (guint16)g_random_int_range(20000, 32000);
        struct sockaddr_in address = {.sin_family = AF_INET,
                                      .sin_port = htons(port),
                                      .sin_addr = {.s_addr = htonl(INADDR_LOOPBACK)}};
        int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        gboolean is_free = bind(fd, (struct sockaddr *)&address, sizeof(address)) == 0;
        close(fd);
        if (is_free && !port_is_given(stack, port)) {
            return port;
        }
    }
}

static GSubprocess *spawn(Stack *stack, const char *const *argv, const char *output,
                          gboolean errors_too)
{
    g_autoptr(GSubprocessLauncher) launcher = g_subprocess_launcher_new(G_SUBPROCESS_FLAGS_NONE);
    g_autoptr(GError) error = NULL;
    g_autofree char *path = g_strdup_printf("%s/%s", stack->folder, output);
    g_subprocess_launcher_set_child_setup(launcher, child_dies_with_parent, NULL, NULL);
    int fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
    if (errors_too) {
        g_subprocess_launcher_take_stderr_fd(launcher, fcntl(fd, F_DUPFD_CLOEXEC, 0));
    }
    g_subprocess_launcher_take_stdout_fd(launcher, fd);
    GSubprocess *process = g_subprocess_launcher_spawnv(launcher, argv, &error);
    if (process == NULL) {
        stack_fail(stack, "%s", error->message);
    }
    return process;
}

static void add(GPtrArray *argv, const char *flag, const char *format, ...) G_GNUC_PRINTF(3, 4);
static void add(GPtrArray *argv, const char *flag, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    g_ptr_array_add(argv, g_strdup(flag));
    g_ptr_array_add(argv, g_strdup_vprintf(format, args));
    va_end(args);
}

static void add_agent_options(const Stack *stack, GPtrArray *argv)
{
    add(argv, "--host.uuid", "%s", stack->host_uuid);
    add(argv, "--run.dir", "%s", stack->run_dir);
    add(argv, "--state.dir", "%s/agent", stack->folder);
    add(argv, "--log.dir", "%s/serial", stack->folder);
    add(argv, "--storage", "local:local:%s/storage", stack->folder);
    add(argv, "--libvirt.uri", "%s", lab_env("LIBVIRT_URI"));
    add(argv, "--swtpm.dir", "%s", lab_env("SWTPM_DIR"));
    add(argv, "--ovs.db", "%s", lab_env("OVS_DB"));
    add(argv, "--ovs.bridge", "%s", lab_env("OVS_BRIDGE"));
    add(argv, "--domain.type", "qemu");
}

void stack_start(Stack *stack, StackDaemon daemon)
{
    g_assert_null(stack->daemons[daemon]);
    g_autoptr(GPtrArray) argv = g_ptr_array_new_with_free_func(g_free);
    g_autofree char *log = g_strdup_printf("%s.log", names[daemon]);
    stack->ports[daemon] = port_choose(stack);
    g_ptr_array_add(argv, g_strdup(programs[daemon]));
    add(argv, "--bootstrap", "%s", lab_env("BOOTSTRAP"));
    add(argv, "--topic.prefix", "%s", stack->prefix);
    add(argv, "--log.format", "text");
    add(argv, "--http.listen", "127.0.0.1:%u", stack->ports[daemon]);
    if (daemon == STACK_HOST_AGENT) {
        add_agent_options(stack, argv);
    } else {
        add(argv, "--instance.id", "e2e");
    }
    for (char **word = stack->options[daemon]; word != NULL && *word != NULL; word++) {
        g_ptr_array_add(argv, g_strdup(*word));
    }
    g_ptr_array_add(argv, NULL);
    stack->daemons[daemon] = spawn(stack, (const char *const *)argv->pdata, log, TRUE);
}

void stack_set_run_dir(Stack *stack, const char *name)
{
    g_free(stack->run_dir);
    stack->run_dir = g_build_filename(stack->folder, name, NULL);
}

void stack_set_options(Stack *stack, StackDaemon daemon, ...)
{
    g_autoptr(GStrvBuilder) options = g_strv_builder_new();
    va_list words;
    va_start(words, daemon);
    for (const char *word; (word = va_arg(words, const char *)) != NULL;) {
        g_strv_builder_add(options, word);
    }
    va_end(words);
    g_strfreev(stack->options[daemon]);
    stack->options[daemon] = g_strv_builder_end(options);
}

void stack_signal(Stack *stack, StackDaemon daemon, int signal)
{
    g_assert_nonnull(stack->daemons[daemon]);
    g_subprocess_send_signal(stack->daemons[daemon], signal);
}

void stack_kill(Stack *stack, StackDaemon daemon)
{
    stack_signal(stack, daemon, SIGKILL);
    g_subprocess_wait(stack->daemons[daemon], NULL, NULL);
    gboolean killed = g_subprocess_get_if_signaled(stack->daemons[daemon]);
    g_clear_object(&stack->daemons[daemon]);
    if (!killed) {
        stack_fail(stack, "%s had ended by itself", names[daemon]);
    }
}

static gboolean has_ended(gpointer process)
{
    return g_subprocess_get_identifier(process) == NULL;
}

gboolean stack_stop(Stack *stack, StackDaemon daemon)
{
    stack_signal(stack, daemon, SIGTERM);
    stack_await(stack, "a daemon ends after SIGTERM", has_ended, stack->daemons[daemon]);
    gboolean in_order = g_subprocess_get_if_exited(stack->daemons[daemon]) &&
                        g_subprocess_get_exit_status(stack->daemons[daemon]) == 0;
    g_clear_object(&stack->daemons[daemon]);
    return in_order;
}

static gboolean says_ready(guint16 port)
{
    static const char request[] = "GET /readyz HTTP/1.0\r\n\r\n";
    char answer[64] = "";
    g_autoptr(GSocketClient) client = g_socket_client_new();
    g_socket_client_set_timeout(client, HTTP_TIMEOUT_S);
    g_autoptr(GSocketConnection) connection =
        g_socket_client_connect_to_host(client, "127.0.0.1", port, NULL, NULL);
    if (connection == NULL) {
        return FALSE;
    }
    GOutputStream *out = g_io_stream_get_output_stream(G_IO_STREAM(connection));
    GInputStream *in = g_io_stream_get_input_stream(G_IO_STREAM(connection));
    gsize n = 0;
    return g_output_stream_write_all(out, request, strlen(request), NULL, NULL, NULL) &&
           g_input_stream_read_all(in, answer, strlen("HTTP/1.1 200"), &n, NULL, NULL) &&
           g_str_has_suffix(answer, " 200");
}

static gboolean are_ready(gpointer data)
{
    Stack *stack = data;
    for (StackDaemon daemon = 0; daemon < STACK_N_DAEMONS; daemon++) {
        if (stack->daemons[daemon] == NULL) {
            continue;
        }
        if (has_ended(stack->daemons[daemon])) {
            stack_fail(stack, "%s ended instead of becoming ready", names[daemon]);
        }
        if (!says_ready(stack->ports[daemon])) {
            return FALSE;
        }
    }
    return TRUE;
}

void stack_await_ready(Stack *stack)
{
    stack_await(stack, "the daemons are ready", are_ready, stack);
}

void stack_restart(Stack *stack, StackDaemon daemon)
{
    stack_kill(stack, daemon);
    stack_start(stack, daemon);
    stack_await_ready(stack);
}

void stack_revive(Stack *stack)
{
    for (StackDaemon daemon = 0; daemon < STACK_N_DAEMONS; daemon++) {
        if (stack->daemons[daemon] == NULL) {
            stack_start(stack, daemon);
        }
        stack_signal(stack, daemon, SIGCONT);
    }
}

/* ---- From nothing to nothing */

static void folder_make(Stack *stack)
{
    static const char *const folders[] = {"storage/images", "agent", "run", "serial"};
    g_autoptr(GError) error = NULL;
    stack->folder = g_dir_make_tmp("vb-XXXXXX", &error);
    if (stack->folder == NULL) {
        fail_msg("%s", error->message);
    }
    g_chmod(stack->folder, 0755); /* QEMU's user walks through it. */
    for (guint i = 0; i < G_N_ELEMENTS(folders); i++) {
        g_autofree char *path = g_build_filename(stack->folder, folders[i], NULL);
        assert_int_equal(g_mkdir_with_parents(path, 0755), 0);
    }
}

static void follower_start(Stack *stack)
{
    const char *const argv[] = {
        VIRTBUSCTL,    "--json", "--bootstrap", lab_env("BOOTSTRAP"), "--topic.prefix",
        stack->prefix, "events", "--follow",    "--from-beginning",   NULL};
    stack->follower = spawn(stack, argv, "events.json", FALSE);
}

Stack *stack_new(void)
{
    static const char *const needed[] = {"BOOTSTRAP", "LIBVIRT_URI", "SWTPM_DIR", "OVS_DB",
                                         "OVS_BRIDGE"};
    for (guint i = 0; i < G_N_ELEMENTS(needed); i++) {
        lab_env(needed[i]); /* Ends the program where there is none, before anything is made. */
    }
    Stack *stack = g_new0(Stack, 1);
    stack->host_uuid = g_malloc(UUID_TEXT_BYTES);
    uuid_random(stack->host_uuid);
    stack->prefix = g_strdup_printf("e2e-%.8s", stack->host_uuid);
    stack->events = g_ptr_array_new_with_free_func((GDestroyNotify)json_node_unref);
    stack->cursors = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL);
    folder_make(stack);
    stack_set_run_dir(stack, "run");
    stack_answer_free(stack_done(stack, "topics", "create", "--partitions", "4", "--host",
                                 stack->host_uuid, NULL));
    for (StackDaemon daemon = 0; daemon < STACK_N_DAEMONS; daemon++) {
        stack_start(stack, daemon);
    }
    follower_start(stack);
    stack_await_ready(stack);
    return stack;
}

/* Every VM that had an event, and what a failed test may have left of it. */
static void vms_remove(Stack *stack)
{
    GHashTableIter iter;
    gpointer vm;
    stack_events_read(stack);
    g_hash_table_iter_init(&iter, stack->cursors);
    while (g_hash_table_iter_next(&iter, &vm, NULL)) {
        g_autofree char *state = g_build_filename(lab_env("SWTPM_DIR"), vm, NULL);
        g_autofree char *id = g_strdup_printf("external_ids:virtbus-vm=%s", (char *)vm);
        g_autofree char *db = g_strdup_printf("--db=%s", lab_env("OVS_DB"));
        const char *const destroy[] = {STACK_VIRSH, "destroy", vm, NULL};
        const char *const find[] = {"ovs-vsctl", "--timeout=10", db, "--bare", "--columns=name",
                                    "find",      "Interface",    id, NULL};
        g_autofree char *live = stack_live(stack, vm);
        if (*live != '\0') {
            g_free(lab_run(destroy));
        }
        g_autofree char *ports = lab_run(find);
        g_auto(GStrv) rows = g_strsplit_set(ports != NULL ? ports : "", "\n", -1);
        for (char **row = rows; *row != NULL; row++) {
            const char *const unplug[] = {"ovs-vsctl", "--timeout=10", db,  "--if-exists",
                                          "del-port",  *row,           NULL};
            if (**row != '\0') {
                g_free(lab_run(unplug));
            }
        }
        unlink(state); /* A link of the agent's; libvirt's own folders are none. */
    }
}

void stack_free(Stack *stack)
{
    for (StackDaemon daemon = 0; daemon < STACK_N_DAEMONS; daemon++) {
        if (stack->daemons[daemon] != NULL) {
            g_subprocess_force_exit(stack->daemons[daemon]);
            g_subprocess_wait(stack->daemons[daemon], NULL, NULL);
            g_clear_object(&stack->daemons[daemon]);
        }
    }
    vms_remove(stack);
    g_subprocess_force_exit(stack->follower);
    g_subprocess_wait(stack->follower, NULL, NULL);
    g_object_unref(stack->follower);
    stack_answer_free(stack_ask(stack, "topics", "delete", NULL));
    const char *const remove[] = {"rm", "-rf", stack->folder, NULL};
    g_free(lab_run(remove));
    g_hash_table_unref(stack->cursors);
    g_ptr_array_unref(stack->events);
    for (StackDaemon daemon = 0; daemon < STACK_N_DAEMONS; daemon++) {
        g_strfreev(stack->options[daemon]);
    }
    g_free(stack->run_dir);
    g_free(stack->host_uuid);
    g_free(stack->prefix);
    g_free(stack->folder);
    g_free(stack);
}
