/* What goes wrong beneath a running agent: libvirt and QEMU die, Open vSwitch runs without DPDK,
 * storage fills up, firmware packages go, the host sleeps or reboots, the journal is damaged. Each
 * ends in a plain refusal or in the truth, loses nothing, and the VM starts again afterwards.
 *
 * This program lives in the mount namespace of the lab's libvirt. What it mounts there is seen by
 * the agent, libvirt and QEMU, not by Open vSwitch and not by the machine, and ends with the lab.
 * So a socket folder can be hidden from Open vSwitch alone: a start then hangs in QEMU for as long
 * as a test wants.
 *
 * No test waits for a guest's boot: guests are stopped by force as soon as they run. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "services/host-agent/switch_ovs.h"
#include "tests/lib/child.h"
#include "tests/lib/lab_guest.h"
#include "tests/lib/stack_vm.h"

#define PLAIN_CODE        "/usr/share/OVMF/OVMF_CODE_4M.fd"
#define PLAIN_TEMPLATE    "/usr/share/OVMF/OVMF_VARS_4M.fd"
#define ENROLLED_TEMPLATE "/usr/share/OVMF/OVMF_VARS_4M.ms.fd"
#define SHORT_DEADLINE    "10s" /* The least that is allowed. */

enum { IMAGE_BYTES = 3 * 1024 * 1024, FILL_CHUNK_BYTES = 4096, HTTP_TIMEOUT_S = 5 };

static Stack *stack;
static GPtrArray *mounts; /* of char *: what a test has mounted, newest last. */
static int hidden_fd;     /* The socket folder as Open vSwitch sees it. */
static gsize log_from;    /* Where the agent's log of this test begins. */

/* ---- VMs */

/* What each VM here is made of, beyond its own words. */
#define COMMON                                                                                     \
    "--name", "To fail", "--platform", "linux", "--vcpus", "1", "--storage", "local:local"

/* Its uuid (g_free); `nic` may be NULL. */
static char *bios_vm(const char *nic)
{
    return stack_vm_new(stack, COMMON, "--memory", "32MiB", "--disk", "1MiB",
                        nic != NULL ? "--nic" : NULL, nic, NULL);
}

/* With a variable store; `tpm` is "--tpm" or NULL. */
static char *uefi_vm(const char *secure_boot, const char *tpm)
{
    return stack_vm_new(stack, COMMON, "--memory", "128MiB", "--disk", "1MiB", "--firmware", "uefi",
                        "--secure-boot", secure_boot, tpm, NULL);
}

/* ---- The agent and what is under it */

/* The agent's log since the test began (g_free). */
static char *agent_log(void)
{
    g_autofree char *path = g_build_filename(stack->folder, "host-agent.log", NULL);
    g_autofree char *text = NULL;
    assert_true(g_file_get_contents(path, &text, NULL, NULL));
    return g_strdup(text + log_from);
}

static gboolean agent_says(gpointer words)
{
    g_autofree char *log = agent_log();
    return strstr(log, words) != NULL;
}

static void await_log(const char *words)
{
    g_autofree char *what = g_strdup_printf("the agent says \"%s\"", words);
    stack_await(stack, what, agent_says, (gpointer)words);
}

static void libvirtd_kill(void)
{
    stack_signal_by_file(stack, lab_env("LIBVIRT_PIDFILE"), SIGKILL);
}

static void libvirtd_start(void)
{
    assert_true(lab_up("libvirt"));
}

/* The answer of the agent's /readyz (g_free); "": none. */
static char *agent_readiness(void)
{
    static const char request[] = "GET /readyz HTTP/1.0\r\n\r\n";
    g_autoptr(GSocketClient) client = g_socket_client_new();
    g_socket_client_set_timeout(client, HTTP_TIMEOUT_S);
    g_autoptr(GSocketConnection) connection = g_socket_client_connect_to_host(
        client, "127.0.0.1", stack->ports[STACK_HOST_AGENT], NULL, NULL);
    char answer[1024] = "";
    gsize n = 0;
    if (connection != NULL &&
        g_output_stream_write_all(g_io_stream_get_output_stream(G_IO_STREAM(connection)), request,
                                  strlen(request), NULL, NULL, NULL)) {
        g_input_stream_read_all(g_io_stream_get_input_stream(G_IO_STREAM(connection)), answer,
                                sizeof(answer) - 1, &n, NULL, NULL);
    }
    return g_strdup(answer);
}

/* ---- Mounts */

static void mount_add(const char *type, const char *source, const char *path, const char *options)
{
    unsigned long flags = type == NULL ? MS_BIND : 0;
    if (mount(source, path, type, flags, options) != 0) {
        stack_fail(stack, "mount on %s: %s", path, g_strerror(errno));
    }
    g_ptr_array_add(mounts, g_strdup(path));
}

static void mounts_remove(void)
{
    while (mounts->len > 0) {
        g_autofree char *path = g_ptr_array_steal_index(mounts, mounts->len - 1);
        umount2(path, MNT_DETACH);
    }
}

static char *folder_of(const char *name)
{
    char *path = g_build_filename(stack->folder, name, NULL);
    assert_int_equal(g_mkdir_with_parents(path, 0755), 0);
    return path;
}

/* ---- Starts that hang */

static void show_to_ovs(const char *vm)
{
    g_autofree char *target = g_strdup_printf("../sockets/%s", vm);
    assert_int_equal(symlinkat(target, hidden_fd, vm), 0);
}

/* virsh would complain of a domain that is not there yet. */
static gboolean domain_is(const char *vm, const char *wanted)
{
    const char *const list[] = {STACK_VIRSH, "list", "--all", "--uuid", NULL};
    const char *const tell[] = {STACK_VIRSH, "domstate", "--reason", vm, NULL};
    g_autofree char *uuids = lab_run(list);
    g_autofree char *state = uuids != NULL && strstr(uuids, vm) != NULL ? lab_run(tell) : NULL;
    return state != NULL && g_str_has_prefix(state, wanted);
}

static char *domain_id(const char *vm)
{
    return stack_run(stack, STACK_VIRSH, "domid", vm, NULL);
}

static gboolean is_starting_up(gpointer vm)
{
    return domain_is(vm, "paused (starting up)");
}

/* A VM, and its start, which hangs in QEMU. */
static char *start_hangs(GSubprocess **ret_request)
{
    char *vm = bios_vm("vhost-user");
    *ret_request = stack_vm_start_begin(stack, vm);
    stack_await(stack, "QEMU waits in its start", is_starting_up, vm);
    return vm;
}

/* The start has failed with `code`, all of it is gone, and the next one succeeds. */
static void ends_and_starts_again(const char *vm, GSubprocess *request, ErrorCode code)
{
    g_autoptr(StackAnswer) answer = stack_end(stack, request);
    if (answer->code != code) {
        stack_fail(stack, "the start ended with %s", answer->reason);
    }
    stack_vm_expect_nothing_lives(stack, vm);
    stack_vm_shows(stack, vm, "vm.status", "VM_STATUS_CREATED");
    show_to_ovs(vm);
    stack_vm_starts_and_stops(stack, vm);
}

static void stuck_start_ends_at_its_deadline_and_stops_nobody(void **state)
{
    (void)state;
    g_autofree char *vm = bios_vm("vhost-user");
    g_autofree char *other = bios_vm(NULL);
    GSubprocess *request = stack_begin(stack, "vm", "start", vm, "--host", stack->host_uuid,
                                       "--deadline", SHORT_DEADLINE, NULL);
    stack_await(stack, "QEMU waits in its start", is_starting_up, vm);
    stack_vm_starts_and_stops(stack, other);
    ends_and_starts_again(vm, request, ERROR_CODE_VHOST_USER_NOT_CONNECTED);
}

static void libvirtd_dies_in_a_start(void **state)
{
    (void)state;
    GSubprocess *request;
    g_autofree char *vm = start_hangs(&request);
    libvirtd_kill();
    libvirtd_start();
    ends_and_starts_again(vm, request, ERROR_CODE_HYPERVISOR_UNAVAILABLE);
}

static void libvirtd_and_agent_die_in_a_start(void **state)
{
    (void)state;
    GSubprocess *request;
    g_autofree char *vm = start_hangs(&request);
    stack_kill(stack, STACK_HOST_AGENT);
    libvirtd_kill();
    stack_start(stack, STACK_HOST_AGENT);
    libvirtd_start();
    ends_and_starts_again(vm, request, ERROR_CODE_INTERRUPTED);
}

static void agent_dies_in_a_start_that_hangs(void **state)
{
    (void)state;
    GSubprocess *request;
    g_autofree char *vm = start_hangs(&request);
    stack_kill(stack, STACK_HOST_AGENT);
    stack_start(stack, STACK_HOST_AGENT);
    ends_and_starts_again(vm, request, ERROR_CODE_INTERRUPTED);
}

static gboolean runs(gpointer vm)
{
    return domain_is(vm, "running");
}

static void agent_dies_in_a_start_that_succeeds(void **state)
{
    (void)state;
    GSubprocess *request;
    g_autofree char *vm = start_hangs(&request);
    stack_kill(stack, STACK_HOST_AGENT);
    show_to_ovs(vm);
    stack_await(stack, "the domain runs without an agent", runs, vm);
    g_autofree char *id = domain_id(vm);
    stack_start(stack, STACK_HOST_AGENT);
    g_autoptr(StackAnswer) answer = stack_end(stack, request);
    assert_int_equal(answer->status, 0);
    stack_vm_shows(stack, vm, "vm.status", "VM_STATUS_RUNNING");
    g_autofree char *id_now = domain_id(vm);
    assert_string_equal(id_now, id);
    stack_vm_force_stop(stack, vm);
    stack_vm_expect_nothing_lives(stack, vm);
    stack_vm_starts_and_stops(stack, vm);
}

static char *journal_path(const char *vm, const char *suffix)
{
    return g_strdup_printf("%s/agent/%s.vm%s", stack->folder, vm, suffix);
}

static void journal_cut(const char *vm)
{
    g_autofree char *path = journal_path(vm, "");
    struct stat facts;
    assert_int_equal(stat(path, &facts), 0);
    assert_int_equal(truncate(path, facts.st_size / 2), 0);
}

typedef struct {
    const char *vm;
    const char *id;
} Earlier;

static gboolean is_starting_up_anew(gpointer data)
{
    const Earlier *earlier = data;
    if (!domain_is(earlier->vm, "paused (starting up)")) {
        return FALSE;
    }
    const char *const argv[] = {STACK_VIRSH, "domid", earlier->vm, NULL};
    g_autofree char *id = lab_run(argv);
    return id != NULL && strcmp(id, earlier->id) != 0;
}

/* Without its intent the half-started domain goes, and the command is carried out once more. */
static void journal_is_damaged_in_a_start(void **state)
{
    (void)state;
    GSubprocess *request;
    g_autofree char *vm = start_hangs(&request);
    g_autofree char *id = domain_id(vm);
    Earlier earlier = {.vm = vm, .id = id};
    stack_kill(stack, STACK_HOST_AGENT);
    journal_cut(vm);
    stack_start(stack, STACK_HOST_AGENT);
    stack_await(stack, "the start is made anew", is_starting_up_anew, &earlier);
    show_to_ovs(vm);
    g_autoptr(StackAnswer) answer = stack_end(stack, request);
    assert_int_equal(answer->status, 0);
    stack_vm_shows(stack, vm, "vm.status", "VM_STATUS_RUNNING");
    stack_vm_force_stop(stack, vm);
    stack_vm_expect_nothing_lives(stack, vm);
}

/* ---- libvirt away */

static gboolean agent_misses_libvirt(gpointer data)
{
    (void)data;
    g_autofree char *answer = agent_readiness();
    return strstr(answer, " 503") != NULL && strstr(answer, "libvirt does not answer") != NULL;
}

/* What `host list` tells of this host (g_free). */
static char *host_text(const char *member)
{
    g_autoptr(StackAnswer) answer = stack_done(stack, "host", "list", NULL);
    JsonArray *hosts = json_node_get_array(answer->json);
    assert_int_equal(json_array_get_length(hosts), 1);
    return stack_text(json_array_get_element(hosts, 0), member);
}

static gboolean host_list_says(gpointer usable)
{
    g_autofree char *found = host_text("hypervisor_usable");
    return strcmp(found, usable) == 0;
}

static void libvirtd_dies_and_comes_back(void **state)
{
    (void)state;
    g_autofree char *vm = bios_vm("vhost-user");
    g_autofree char *other = stack_vm_settled(stack, bios_vm("vhost-user"));
    stack_vm_start(stack, vm);
    g_autofree char *id = domain_id(vm);
    libvirtd_kill();
    StackAnswer *answer = stack_ask(stack, "vm", "start", other, "--host", stack->host_uuid, NULL);
    stack_await(stack, "/readyz says that libvirt is away", agent_misses_libvirt, NULL);
    stack_await(stack, "host list says so", host_list_says, (gpointer) "");
    stack_vm_shows(stack, vm, "vm.status", "VM_STATUS_RUNNING");
    libvirtd_start();
    ErrorCode code = answer->code;
    stack_answer_free(answer);
    assert_int_equal(code, ERROR_CODE_HYPERVISOR_UNAVAILABLE);
    stack_vm_expect_nothing_lives(stack, other);

    stack_await_ready(stack);
    stack_await(stack, "host list says that it is back", host_list_says, (gpointer) "true");
    await_log("libvirt-back");
    stack_vm_shows(stack, vm, "vm.status", "VM_STATUS_RUNNING");
    g_autofree char *id_now = domain_id(vm);
    assert_string_equal(id_now, id);
    assert_null(stack_event_seen(stack, vm, "status_changed.from", "VM_STATUS_RUNNING"));
    stack_vm_starts_and_stops(stack, other);
    stack_vm_force_stop(stack, vm);
    stack_vm_expect_nothing_lives(stack, vm);
}

/* ---- Open vSwitch and sockets */

/* A daemon of Open vSwitch whose files are in `folder`; free with ovs_daemon_end. */
static GSubprocess *ovs_daemon(const char *folder, const char *const *argv)
{
    static const char *const variables[] = {"OVS_RUNDIR", "OVS_LOGDIR", "OVS_DBDIR",
                                            "OVS_SYSCONFDIR"};
    g_autoptr(GSubprocessLauncher) launcher =
        g_subprocess_launcher_new(G_SUBPROCESS_FLAGS_STDERR_SILENCE);
    for (guint i = 0; i < G_N_ELEMENTS(variables); i++) {
        g_subprocess_launcher_setenv(launcher, variables[i], folder, TRUE);
    }
    g_subprocess_launcher_set_child_setup(launcher, child_dies_with_parent, NULL, NULL);
    g_autoptr(GError) error = NULL;
    GSubprocess *process = g_subprocess_launcher_spawnv(launcher, argv, &error);
    if (process == NULL) {
        stack_fail(stack, "%s", error->message);
    }
    return process;
}

static void ovs_daemon_end(GSubprocess *process)
{
    g_subprocess_force_exit(process);
    g_subprocess_wait(process, NULL, NULL);
    g_object_unref(process);
}

/* ovs-vswitchd has taken in the whole database. */
static gboolean ovs_answers(gpointer db)
{
    g_autofree char *option = g_strdup_printf("--db=%s", (char *)db);
    const char *const argv[] = {"ovs-vsctl",    "--timeout=5",         option, "set",
                                "Open_vSwitch", "external_ids:test=1", NULL};
    const char *const init[] = {"ovs-vsctl", "--timeout=5", option, "--no-wait", "init", NULL};
    const char *const full[] = {argv[0], argv[1], argv[2], argv[3], argv[4], ".", argv[5], NULL};
    g_autofree char *made = lab_run(init);
    g_autofree char *done = made != NULL ? lab_run(full) : NULL;
    return done != NULL;
}

static gboolean host_has_no_dpdk(gpointer data)
{
    (void)data;
    g_autofree char *ovs = host_text("ovs");
    g_autofree char *problem = host_text("ovs_problem");
    return strcmp(ovs, "true") == 0 && strstr(problem, "without DPDK") != NULL;
}

/* A second Open vSwitch beside the lab's, which nobody has told to use DPDK. */
static void ovs_runs_without_dpdk(void **state)
{
    (void)state;
    g_autofree char *vm = stack_vm_settled(stack, bios_vm("vhost-user"));
    g_autofree char *plain = stack_vm_settled(stack, bios_vm(NULL));
    g_autofree char *folder = folder_of("ovs");
    g_autofree char *file = g_build_filename(folder, "conf.db", NULL);
    g_autofree char *socket = g_strdup_printf("unix:%s/db.sock", folder);
    g_autofree char *remote = g_strdup_printf("--remote=p%s", socket);
    g_autofree char *control = g_strdup_printf("--unixctl=%s/server.ctl", folder);
    g_autofree char *switch_control = g_strdup_printf("--unixctl=%s/switch.ctl", folder);
    g_free(stack_run(stack, "ovsdb-tool", "create", file,
                     "/usr/share/openvswitch/vswitch.ovsschema", NULL));
    const char *const server[] = {"ovsdb-server", file, remote, control, "--no-chdir", NULL};
    const char *const vswitchd[] = {"unshare",    "-n", "ovs-vswitchd", socket, switch_control,
                                    "--no-chdir", NULL};
    GSubprocess *ovsdb_server = ovs_daemon(folder, server);
    GSubprocess *ovs_vswitchd = ovs_daemon(folder, vswitchd);
    stack_await(stack, "the second Open vSwitch answers", ovs_answers, socket);

    stack_set_options(stack, STACK_HOST_AGENT, "--ovs.db", socket, NULL);
    stack_restart(stack, STACK_HOST_AGENT);
    stack_vm_start_refused_without_trace(stack, vm, ERROR_CODE_OVS_UNAVAILABLE, "dpdk-init");
    stack_vm_starts_and_stops(stack, plain);
    stack_await(stack, "host list says so", host_has_no_dpdk, NULL);
    ovs_daemon_end(ovs_vswitchd);
    ovs_daemon_end(ovsdb_server);

    stack_set_options(stack, STACK_HOST_AGENT, NULL);
    stack_restart(stack, STACK_HOST_AGENT);
    stack_vm_starts_and_stops(stack, vm);
}

/* The row of a port as an ovs-vsctl leaves it that gave up before ovs-vswitchd answered. */
static gboolean ghost_leave(const char *vm, guint nic_index)
{
    g_autofree char *name = switch_ovs_port_name(vm, nic_index);
    g_autofree char *db = g_strdup_printf("--db=%s", lab_env("OVS_DB"));
    g_autofree char *whose = g_strdup_printf("external_ids:virtbus-vm=%s", vm);
    g_autofree char *which = g_strdup_printf("external_ids:virtbus-nic=%u", nic_index);
    g_autofree char *path = g_strdup_printf("options:vhost-server-path=/tmp/%s.%u", vm, nic_index);
    const char *const argv[] = {
        "ovs-vsctl", "--timeout=1", db,          "add-port", lab_env("OVS_BRIDGE"),      name,
        "--",        "set",         "Interface", name,       "type=dpdkvhostuserclient", path,
        whose,       which,         NULL};
    g_autofree char *done = lab_run(argv);
    return done == NULL;
}

/* One ghost has the name of the VM's port, the other belongs to a NIC that it has no more. */
static void ghost_rows_do_no_harm(void **state)
{
    (void)state;
    g_autofree char *vm = stack_vm_settled(stack, bios_vm("vhost-user"));
    stack_signal_by_file(stack, lab_env("OVS_PIDFILE"), SIGSTOP);
    assert_true(ghost_leave(vm, 0));
    assert_true(ghost_leave(vm, 5));
    stack_signal_by_file(stack, lab_env("OVS_PIDFILE"), SIGCONT);
    g_autofree char *ghosts = stack_live(stack, vm);
    assert_non_null(strstr(ghosts, "port "));

    stack_vm_start(stack, vm);
    g_autofree char *name = switch_ovs_port_name(vm, 0);
    g_autofree char *db = g_strdup_printf("--db=%s", lab_env("OVS_DB"));
    g_autofree char *wanted = g_strdup_printf("%s/%s/0", stack->run_dir, vm);
    g_autofree char *options = stack_run(stack, "ovs-vsctl", "--timeout=10", db, "get", "Interface",
                                         name, "options", NULL);
    assert_non_null(strstr(options, wanted));
    stack_vm_force_stop(stack, vm);
    stack_vm_expect_nothing_lives(stack, vm);
}

static void stale_sockets_are_removed(void **state)
{
    (void)state;
    g_autofree char *vm = stack_vm_settled(stack, bios_vm("vhost-user"));
    g_autofree char *folder = g_build_filename(stack->run_dir, vm, NULL);
    assert_int_equal(mkdir(folder, 0755), 0);
    for (guint i = 0; i < 2; i++) {
        struct sockaddr_un address = {.sun_family = AF_UNIX};
        g_snprintf(address.sun_path, sizeof(address.sun_path), "%s/%u", folder, i);
        int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
        assert_int_equal(bind(fd, (struct sockaddr *)&address, sizeof(address)), 0);
        close(fd);
    }
    stack_vm_start(stack, vm);
    g_autofree char *content = stack_run(stack, "ls", folder, NULL);
    assert_string_equal(content, "0\n");
    stack_vm_force_stop(stack, vm);
    stack_vm_expect_nothing_lives(stack, vm);
}

/* ---- TPM */

static void swtpm_is_missing(void **state)
{
    (void)state;
    g_autofree char *vm = stack_vm_settled(stack, uefi_vm("off", "--tpm"));
    g_autofree char *fresh = uefi_vm("off", "--tpm");
    mount_add(NULL, "/dev/null", "/usr/bin/swtpm", NULL);
    stack_vm_start_refused_without_trace(stack, vm, ERROR_CODE_TPM_UNAVAILABLE, "swtpm");
    stack_vm_start_refused_without_trace(stack, fresh, ERROR_CODE_TPM_UNAVAILABLE, "swtpm");
    mounts_remove();
    stack_vm_starts_and_stops(stack, vm);
    stack_vm_starts_and_stops(stack, fresh);
}

/* The program is there, so the agent lets it pass; libvirt finds out. */
static void swtpm_does_not_run(void **state)
{
    (void)state;
    g_autofree char *vm = stack_vm_settled(stack, uefi_vm("off", "--tpm"));
    mount_add(NULL, "/bin/false", "/usr/bin/swtpm", NULL);
    stack_vm_start_refused_without_trace(stack, vm, ERROR_CODE_HYPERVISOR, "swtpm");
    mounts_remove();
    stack_vm_starts_and_stops(stack, vm);
}

/* ---- Variable stores */

static void content_copy(const char *from, const char *to)
{
    g_autofree char *bytes = NULL;
    gsize size_bytes = 0;
    assert_true(g_file_get_contents(from, &bytes, &size_bytes, NULL));
    assert_true(g_file_set_contents(to, bytes, (gssize)size_bytes, NULL));
}

/* As large as `like`; every byte is `value`, or its own low byte times `value` when that is odd. */
static void content_fill(const char *path, const char *like, guint8 value)
{
    g_autofree char *bytes = NULL;
    gsize size_bytes = 0;
    assert_true(g_file_get_contents(like, &bytes, &size_bytes, NULL));
    for (gsize i = 0; i < size_bytes; i++) {
        bytes[i] = (char)(value % 2 == 0 ? value : (guint8)(i * value));
    }
    assert_true(g_file_set_contents(path, bytes, (gssize)size_bytes, NULL));
}

static void what_is_no_variable_store_is_refused(void **state)
{
    (void)state;
    g_autofree char *vm = stack_vm_settled(stack, uefi_vm("on", NULL));
    g_autoptr(JsonNode) volume = stack_volume(stack, vm, "NV_RAM");
    g_autofree char *path = stack_volume_path(stack, vm, "NV_RAM");
    g_autofree char *kept = g_strdup_printf("%s/%s.kept", stack->folder, vm);
    assert_int_equal(rename(path, kept), 0);
    assert_int_equal(mkdir(path, 0700), 0);
    stack_vm_start_refused_without_trace(stack, vm, ERROR_CODE_NVRAM_UNSAFE_FILE, path);
    assert_int_equal(rmdir(path), 0);
    content_fill(path, kept, 0);
    stack_vm_start_refused_without_trace(stack, vm, ERROR_CODE_NVRAM_CORRUPT, path);
    content_fill(path, kept, 167);
    stack_vm_start_refused_without_trace(stack, vm, ERROR_CODE_NVRAM_CORRUPT, path);
    assert_int_equal(rename(kept, path), 0);
    stack_vm_starts_and_stops(stack, vm);
    g_autoptr(JsonNode) volume_now = stack_volume(stack, vm, "NV_RAM");
    assert_true(json_node_equal(volume_now, volume));
}

static void two_vms_never_share_a_variable_store(void **state)
{
    (void)state;
    g_autofree char *vm = stack_vm_settled(stack, uefi_vm("on", NULL));
    g_autofree char *other = stack_vm_settled(stack, uefi_vm("on", NULL));
    g_autofree char *path = stack_volume_path(stack, vm, "NV_RAM");
    g_autofree char *others = stack_volume_path(stack, other, "NV_RAM");
    g_autofree char *kept = g_strdup_printf("%s/%s.kept", stack->folder, vm);
    assert_int_equal(rename(path, kept), 0);
    assert_int_equal(link(others, path), 0);
    stack_vm_start_refused_without_trace(stack, vm, ERROR_CODE_NVRAM_UNSAFE_FILE, path);
    stack_vm_start_refused_without_trace(stack, other, ERROR_CODE_NVRAM_UNSAFE_FILE, others);
    assert_int_equal(rename(kept, path), 0);
    stack_vm_starts_and_stops(stack, other);
    stack_vm_starts_and_stops(stack, vm);
}

static void keys_where_secure_boot_is_off_are_refused(void **state)
{
    (void)state;
    g_autofree char *vm = stack_vm_settled(stack, uefi_vm("off", "--tpm"));
    g_autofree char *path = stack_volume_path(stack, vm, "NV_RAM");
    g_autofree char *kept = g_strdup_printf("%s/%s.kept", stack->folder, vm);
    assert_int_equal(rename(path, kept), 0);
    content_copy(ENROLLED_TEMPLATE, path);
    stack_vm_start_refused_without_trace(stack, vm, ERROR_CODE_NVRAM_SECURE_BOOT_MISMATCH, path);
    assert_int_equal(rename(kept, path), 0);
    stack_vm_starts_and_stops(stack, vm);
}

/* ---- Full storage */

/* The storage becomes a file system of this size, with an image that is small and makes a disk of
 * IMAGE_BYTES: the agent cannot know beforehand that it does not fit. */
static void storage_make_small(const char *options)
{
    g_autofree char *storage = folder_of("storage");
    g_autofree char *raw = g_build_filename(stack->folder, "small.raw", NULL);
    g_autofree char *bytes = g_malloc(IMAGE_BYTES);
    memset(bytes, 'A', IMAGE_BYTES);
    assert_true(g_file_set_contents(raw, bytes, IMAGE_BYTES, NULL));
    mount_add("tmpfs", "virtbus-test", storage, options);
    g_autofree char *images = folder_of("storage/images");
    g_autofree char *image = g_build_filename(images, "small.qcow2", NULL);
    g_free(stack_run(stack, "qemu-img", "convert", "-c", "-O", "qcow2", raw, image, NULL));
    unlink(raw);
}

static void storage_make_large(void)
{
    g_autofree char *storage = folder_of("storage");
    assert_int_equal(mount("virtbus-test", storage, "tmpfs", MS_REMOUNT, "size=64m"), 0);
}

/* A file of the storage whose name ends so, whole or half-made. */
static gboolean storage_has(const char *suffix)
{
    g_autofree char *files = stack_storage(stack);
    g_auto(GStrv) lines = g_strsplit(files, "\n", -1);
    for (char **line = lines; *line != NULL; line++) {
        if (g_str_has_suffix(*line, suffix)) {
            return TRUE;
        }
    }
    return FALSE;
}

static char *volume_uuid(const char *vm, const char *type)
{
    g_autoptr(JsonNode) volume = stack_volume(stack, vm, type);
    return stack_text(volume, "uuid");
}

/* The start of this VM fills the storage in the midst of the volume `type`, which would be a file
 * with this suffix. */
static void fills_the_storage(const char *vm, const char *type, const char *suffix)
{
    g_autoptr(StackAnswer) answer = stack_refused(stack, ERROR_CODE_STORAGE_FULL, "vm", "start", vm,
                                                  "--host", stack->host_uuid, NULL);
    g_autofree char *uuid = volume_uuid(vm, type);
    g_autofree char *name = g_strdup_printf("%s%s", uuid, suffix);
    assert_non_null(strstr(answer->reason, uuid));
    assert_non_null(strstr(answer->reason, g_strerror(ENOSPC)));
    assert_false(storage_has(name));
    assert_false(storage_has(".new"));
    stack_vm_expect_nothing_lives(stack, vm);

    storage_make_large();
    stack_vm_start(stack, vm);
    assert_true(storage_has(name));
    g_autofree char *uuid_now = volume_uuid(vm, type);
    assert_string_equal(uuid_now, uuid);
    stack_vm_force_stop(stack, vm);
    stack_answer_free(stack_done(stack, "vm", "destroy", vm, NULL));
    stack_answer_free(stack_done(stack, "vm", "expunge", vm, NULL));
    mounts_remove();
}

static void storage_fills_while_the_template_is_copied(void **state)
{
    (void)state;
    storage_make_small("size=3800k");
    g_autofree char *vm =
        stack_vm_new(stack, COMMON, "--memory", "128MiB", "--disk", "3MiB,image=small.qcow2",
                     "--firmware", "uefi", "--secure-boot", "on", NULL);
    fills_the_storage(vm, "NV_RAM", ".fd");
}

static void storage_fills_while_a_data_disk_is_made(void **state)
{
    (void)state;
    storage_make_small("size=2500k");
    g_autofree char *vm = stack_vm_new(stack, COMMON, "--memory", "32MiB", "--disk", "1MiB",
                                       "--disk", "3MiB,image=small.qcow2", NULL);
    fills_the_storage(vm, "DATA", ".qcow2");
}

/* ---- Firmware */

/* One build of plain UEFI: its files, and the descriptor that QEMU's packages would bring. */
static void build_install(const char *folder, const char *name)
{
    g_autofree char *code = g_strdup_printf("%s/%s.code.fd", folder, name);
    g_autofree char *template = g_strdup_printf("%s/%s.vars.fd", folder, name);
    g_autofree char *path = g_strdup_printf("%s/%s.json", folder, name);
    g_autofree char *json = g_strdup_printf(
        "{\"description\": \"%s\", \"interface-types\": [\"uefi\"], \"mapping\": {\"device\": "
        "\"flash\", \"executable\": {\"filename\": \"%s\", \"format\": \"raw\"}, "
        "\"nvram-template\": {\"filename\": \"%s\", \"format\": \"raw\"}}, \"targets\": "
        "[{\"architecture\": \"x86_64\", \"machines\": [\"pc-q35-*\"]}], \"features\": [], "
        "\"tags\": []}",
        name, code, template);
    content_copy(PLAIN_CODE, code);
    content_copy(PLAIN_TEMPLATE, template);
    assert_true(g_file_set_contents(path, json, -1, NULL));
}

static void build_remove(const char *folder, const char *name)
{
    static const char *const suffixes[] = {"code.fd", "vars.fd", "json"};
    for (guint i = 0; i < G_N_ELEMENTS(suffixes); i++) {
        g_autofree char *path = g_strdup_printf("%s/%s.%s", folder, name, suffixes[i]);
        assert_int_equal(unlink(path), 0);
    }
}

static void firmware_package_is_removed(void **state)
{
    (void)state;
    g_autofree char *folder = folder_of("firmware");
    g_autofree char *torn = g_build_filename(folder, "10-torn.json", NULL);
    assert_true(g_file_set_contents(torn, "{\"description\":", -1, NULL));
    build_install(folder, "50-first");
    build_install(folder, "60-second");
    stack_set_options(stack, STACK_HOST_AGENT, "--firmware.dirs", folder, NULL);
    stack_restart(stack, STACK_HOST_AGENT);
    await_log("firmware descriptor 10-torn.json is left out");
    g_autofree char *vm = stack_vm_settled(stack, uefi_vm("off", "--tpm"));
    g_autoptr(JsonNode) volume = stack_volume(stack, vm, "NV_RAM");
    g_autofree char *path = stack_volume_path(stack, vm, "NV_RAM");

    build_remove(folder, "50-first");
    stack_vm_start(stack, vm);
    JsonNode *event =
        stack_event(stack, vm, "firmware_replaced.after.descriptor", "60-second.json");
    g_autofree char *before = stack_text(event, "firmware_replaced.before.descriptor");
    assert_string_equal(before, "50-first.json");
    stack_vm_force_stop(stack, vm);
    g_autofree char *path_now = stack_volume_path(stack, vm, "NV_RAM");
    assert_string_equal(path_now, path);

    build_remove(folder, "60-second");
    stack_vm_start_refused_without_trace(stack, vm, ERROR_CODE_FIRMWARE_NOT_FOUND, "10-torn.json");
    build_install(folder, "60-second");
    stack_vm_starts_and_stops(stack, vm);
    g_autofree char *uuid = stack_text(volume, "uuid");
    g_autofree char *uuid_now = volume_uuid(vm, "NV_RAM");
    assert_string_equal(uuid_now, uuid);
}

/* ---- A host that sleeps, and one that reboots */

/* The agent is held still for longer than the command lives and than anybody waits for it. */
static void host_sleeps_and_wakes_up_too_late(void **state)
{
    (void)state;
    g_autofree char *vm = stack_vm_settled(stack, bios_vm("vhost-user"));
    stack_set_options(stack, STACK_VM_SERVICE, "--start.timeout", SHORT_DEADLINE, NULL);
    stack_restart(stack, STACK_VM_SERVICE);
    stack_signal(stack, STACK_HOST_AGENT, SIGSTOP);
    StackAnswer *answer = stack_ask(stack, "vm", "start", vm, "--host", stack->host_uuid, NULL);
    stack_signal(stack, STACK_HOST_AGENT, SIGCONT);
    ErrorCode code = answer->code;
    stack_answer_free(answer);
    assert_int_equal(code, ERROR_CODE_HOST_SILENT);
    stack_event(stack, vm, "status_changed.to", "VM_STATUS_UNKNOWN");
    JsonNode *event = stack_event(stack, vm, "status_changed.from", "VM_STATUS_UNKNOWN");
    g_autofree char *to = stack_text(event, "status_changed.to");
    g_autofree char *cause = stack_text(event, "status_changed.cause");
    assert_string_equal(to, "VM_STATUS_STOPPED");
    assert_string_equal(cause, "CAUSE_HOST_REPORT");
    await_log("outcome=EXPIRED");
    stack_vm_expect_nothing_lives(stack, vm);

    stack_set_options(stack, STACK_VM_SERVICE, NULL);
    stack_restart(stack, STACK_VM_SERVICE);
    stack_vm_starts_and_stops(stack, vm);
}

static void host_goes(char *const *vms)
{
    stack_kill(stack, STACK_HOST_AGENT);
    libvirtd_kill();
    for (; *vms != NULL; vms++) {
        g_autofree char *pid = stack_vm_libvirt_file(*vms, "pid");
        g_autofree char *xml = stack_vm_libvirt_file(*vms, "xml");
        stack_vm_kill_qemu(stack, *vms);
        unlink(pid);
        unlink(xml);
    }
    g_free(stack_run(stack, "rm", "-rf", stack->run_dir, NULL));
}

static void host_comes_back(void)
{
    stack_start(stack, STACK_HOST_AGENT);
    libvirtd_start();
    stack_await_ready(stack);
}

static void host_reboots(void **state)
{
    (void)state;
    char *vms[] = {bios_vm("vhost-user"), bios_vm("vhost-user"), uefi_vm("on", NULL), NULL};
    for (guint i = 0; vms[i] != NULL; i++) {
        stack_vm_start(stack, vms[i]);
    }
    g_autoptr(JsonNode) store = stack_volume(stack, vms[2], "NV_RAM");
    g_autofree char *path = stack_path_of(stack, store);
    host_goes(vms);
    g_autofree char *bytes = stack_sha256(path); /* With what the guest has written by now. */
    assert_string_not_equal(bytes, "");
    host_comes_back();
    for (guint i = 0; vms[i] != NULL; i++) {
        stack_vm_becomes(stack, vms[i], "VM_STATUS_STOPPED", "CAUSE_HOST_REPORT");
        stack_vm_expect_nothing_lives(stack, vms[i]);
    }
    g_autofree char *bytes_now = stack_sha256(path);
    assert_string_equal(bytes_now, bytes);
    for (guint i = 0; vms[i] != NULL; i++) {
        stack_vm_starts_and_stops(stack, vms[i]);
    }
    g_autoptr(JsonNode) store_now = stack_volume(stack, vms[2], "NV_RAM");
    assert_true(json_node_equal(store_now, store)); /* uuid, generation, path and all. */
    for (guint i = 0; vms[i] != NULL; i++) {
        g_free(vms[i]);
    }
}

/* ---- The agent's journal */

static void assert_set_aside(const char *vm)
{
    g_autofree char *path = journal_path(vm, ".bad");
    assert_true(g_file_test(path, G_FILE_TEST_EXISTS));
}

/* A journal that is cut off in the middle, of a VM that runs, and one of garbage. */
static void damaged_journals_are_made_anew_from_what_runs(void **state)
{
    (void)state;
    g_autofree char *vm = bios_vm("vhost-user");
    g_autofree char *other = stack_vm_settled(stack, bios_vm("vhost-user"));
    g_autofree char *others = journal_path(other, "");
    stack_vm_start(stack, vm);
    g_autofree char *id = domain_id(vm);
    stack_kill(stack, STACK_HOST_AGENT);
    journal_cut(vm);
    content_fill(others, others, 167);
    stack_start(stack, STACK_HOST_AGENT);
    stack_await_ready(stack);
    await_log("journal-loaded");
    assert_true(agent_says((gpointer) "journal-bad"));
    assert_set_aside(vm);
    assert_set_aside(other);

    stack_vm_starts_and_stops(stack, other);
    stack_vm_shows(stack, vm, "vm.status", "VM_STATUS_RUNNING");
    g_autofree char *id_now = domain_id(vm);
    assert_string_equal(id_now, id);
    stack_vm_force_stop(stack, vm);
    stack_vm_expect_nothing_lives(stack, vm);
    stack_vm_starts_and_stops(stack, vm);
}

static gboolean agent_has_ended(gpointer data)
{
    (void)data;
    return g_subprocess_get_identifier(stack->daemons[STACK_HOST_AGENT]) == NULL;
}

/* Waits for the agent to end by itself, with an error. */
static void agent_ends(void)
{
    stack_await(stack, "the agent ends", agent_has_ended, NULL);
    GSubprocess *agent = stack->daemons[STACK_HOST_AGENT];
    gboolean in_order = g_subprocess_get_if_exited(agent);
    int status = in_order ? g_subprocess_get_exit_status(agent) : -1;
    g_clear_object(&stack->daemons[STACK_HOST_AGENT]);
    assert_int_equal(status, EXIT_FAILURE);
}

static void fill(const char *path)
{
    char bytes[FILL_CHUNK_BYTES] = "";
    int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    while (write(fd, bytes, sizeof(bytes)) > 0) {
    }
    assert_int_equal(errno, ENOSPC);
    close(fd);
}

/* A start whose intent cannot be written has no effect: the agent ends instead, saying why, and the
 * next one carries it out. `mend` undoes what was done to the folder. */
static void start_waits_for_a_journal(const char *vm, int cause, void (*mend)(void))
{
    GSubprocess *request = stack_vm_start_begin(stack, vm);
    agent_ends();
    await_log(g_strerror(cause));
    stack_vm_expect_nothing_lives(stack, vm);
    mend();
    stack_start(stack, STACK_HOST_AGENT);
    g_autoptr(StackAnswer) answer = stack_end(stack, request);
    assert_int_equal(answer->status, 0);
    stack_vm_force_stop(stack, vm);
    stack_vm_expect_nothing_lives(stack, vm);
}

static void filler_remove(void)
{
    g_autofree char *path = g_build_filename(stack->folder, "agent", "filler", NULL);
    assert_int_equal(unlink(path), 0);
}

static void journal_is_on_a_full_disk(void **state)
{
    (void)state;
    g_autofree char *folder = folder_of("agent");
    g_autofree char *filler = g_build_filename(folder, "filler", NULL);
    assert_true(stack_stop(stack, STACK_HOST_AGENT));
    mount_add("tmpfs", "virtbus-test", folder, "size=256k");
    stack_start(stack, STACK_HOST_AGENT);
    g_autofree char *vm = stack_vm_settled(stack, bios_vm("vhost-user"));
    fill(filler);
    start_waits_for_a_journal(vm, ENOSPC, filler_remove);
}

static void journal_is_read_only(void **state)
{
    (void)state;
    g_autofree char *folder = folder_of("agent");
    g_autofree char *vm = stack_vm_settled(stack, bios_vm("vhost-user"));
    mount_add(NULL, folder, folder, NULL);
    assert_int_equal(mount(NULL, folder, NULL, MS_REMOUNT | MS_BIND | MS_RDONLY, NULL), 0);
    start_waits_for_a_journal(vm, EROFS, mounts_remove);
}

static void second_agent_on_one_journal_is_refused(void **state)
{
    (void)state;
    g_autofree char *vm = stack_vm_settled(stack, bios_vm("vhost-user"));
    GSubprocess *first = stack->daemons[STACK_HOST_AGENT];
    guint16 port = stack->ports[STACK_HOST_AGENT];
    stack->daemons[STACK_HOST_AGENT] = NULL;
    stack_start(stack, STACK_HOST_AGENT);
    agent_ends();
    stack->daemons[STACK_HOST_AGENT] = first;
    stack->ports[STACK_HOST_AGENT] = port;
    await_log("does another agent run on this state.dir?");
    stack_vm_starts_and_stops(stack, vm);
}

/* ---- From test to test */

static gboolean has_options(StackDaemon daemon)
{
    return stack->options[daemon] != NULL && *stack->options[daemon] != NULL;
}

/* What a failed test has left mounted, dead, held still or misled is as it was before the next. The
 * agent's sockets are in this folder. */
static void revive(const char *run_dir)
{
    g_autofree char *folder = g_build_filename(stack->folder, run_dir, NULL);
    gboolean misled =
        mounts->len > 0 || has_options(STACK_HOST_AGENT) || strcmp(stack->run_dir, folder) != 0;
    libvirtd_start();
    assert_true(lab_up("ovs"));
    stack_revive(stack);
    if (misled) {
        mounts_remove();
        stack_set_options(stack, STACK_HOST_AGENT, NULL);
        stack_set_run_dir(stack, run_dir);
        stack_restart(stack, STACK_HOST_AGENT);
    }
    if (has_options(STACK_VM_SERVICE)) {
        stack_set_options(stack, STACK_VM_SERVICE, NULL);
        stack_restart(stack, STACK_VM_SERVICE);
    }
    stack_await_ready(stack);
    g_autofree char *log = agent_log();
    log_from += strlen(log);
}

static int heal(void **state)
{
    (void)state;
    revive("run");
    return 0;
}

/* Open vSwitch sees only the sockets of a VM that was shown to it. */
static int in_hiding(void **state)
{
    (void)state;
    revive("hidden");
    return 0;
}

static void all_of_it_replays_byte_for_byte(void **state)
{
    (void)state;
    stack_replay(stack);
}

static int group_setup(void **state)
{
    (void)state;
    stack = stack_new();
    mounts = g_ptr_array_new_with_free_func(g_free);
    g_autofree char *hidden = folder_of("hidden");
    g_autofree char *sockets = folder_of("sockets");
    hidden_fd = open(hidden, O_PATH | O_DIRECTORY | O_CLOEXEC);
    assert_true(hidden_fd >= 0);
    assert_int_equal(mount(sockets, hidden, NULL, MS_BIND, NULL), 0);
    return 0;
}

static int group_teardown(void **state)
{
    (void)state;
    g_autofree char *hidden = folder_of("hidden");
    lab_up("ovs"); /* The last test may have failed too. */
    mounts_remove();
    g_ptr_array_unref(mounts);
    umount2(hidden, MNT_DETACH);
    close(hidden_fd);
    stack_free(stack);
    return 0;
}

/* Before there is a second thread, which would forbid it. */
static void enter_libvirts_mounts(void)
{
    g_autofree char *pid = NULL;
    gboolean known = g_file_get_contents(lab_env("LIBVIRT_PIDFILE"), &pid, NULL, NULL);
    g_autofree char *path = g_strdup_printf("/proc/%d/ns/mnt", known ? atoi(pid) : 0);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0 || setns(fd, CLONE_NEWNS) != 0) {
        fprintf(stderr, "cannot enter %s: %s\n", path, g_strerror(errno));
        exit(EXIT_FAILURE);
    }
    close(fd);
}

#define TEST(name)           cmocka_unit_test_setup(name, heal)
#define TEST_IN_HIDING(name) cmocka_unit_test_setup(name, in_hiding)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST_IN_HIDING(stuck_start_ends_at_its_deadline_and_stops_nobody),
        TEST_IN_HIDING(libvirtd_dies_in_a_start),
        TEST_IN_HIDING(libvirtd_and_agent_die_in_a_start),
        TEST_IN_HIDING(agent_dies_in_a_start_that_hangs),
        TEST_IN_HIDING(agent_dies_in_a_start_that_succeeds),
        TEST_IN_HIDING(journal_is_damaged_in_a_start),
        TEST(libvirtd_dies_and_comes_back),
        TEST(ovs_runs_without_dpdk),
        TEST(ghost_rows_do_no_harm),
        TEST(stale_sockets_are_removed),
        TEST(swtpm_is_missing),
        TEST(swtpm_does_not_run),
        TEST(what_is_no_variable_store_is_refused),
        TEST(two_vms_never_share_a_variable_store),
        TEST(keys_where_secure_boot_is_off_are_refused),
        TEST(storage_fills_while_the_template_is_copied),
        TEST(storage_fills_while_a_data_disk_is_made),
        TEST(firmware_package_is_removed),
        TEST(host_sleeps_and_wakes_up_too_late),
        TEST(host_reboots),
        TEST(damaged_journals_are_made_anew_from_what_runs),
        TEST(journal_is_on_a_full_disk),
        TEST(journal_is_read_only),
        TEST(second_agent_on_one_journal_is_refused),
        TEST(all_of_it_replays_byte_for_byte),
    };
    enter_libvirts_mounts();
    return cmocka_run_group_tests(tests, group_setup, group_teardown);
}
