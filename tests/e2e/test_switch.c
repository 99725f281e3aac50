/* switch_ovs.c on a real OVS with DPDK. One test holds ovs-vswitchd still for 15 seconds. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <signal.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/uuid.h"
#include "services/host-agent/switch_ovs.h"
#include "tests/lib/lab_guest.h"

#define BROKEN_BRIDGE "br-broken"

static VbSwitch *ports;

/* One VM with ports on sockets of its own, which nobody serves. */
typedef struct {
    char uuid[UUID_TEXT_BYTES];
    char *path;
    VbPort port;
} Vm;

static Vm *vm_new(void)
{
    Vm *vm = g_new0(Vm, 1);
    uuid_random(vm->uuid);
    vm->path = g_strdup_printf("/tmp/%s.0", vm->uuid);
    vm->port = (VbPort){
        .vm_uuid = vm->uuid, .bridge = lab_env("OVS_BRIDGE"), .socket_path = vm->path, .queues = 1};
    return vm;
}

static void vm_free(Vm *vm)
{
    g_free(vm->path);
    g_free(vm);
}

static char *vsctl(const char *first, const char *second, const char *third)
{
    g_autofree char *db = g_strdup_printf("--db=%s", lab_env("OVS_DB"));
    const char *const argv[] = {"ovs-vsctl", "--timeout=10", db, first, second, third, NULL};
    return lab_run(argv);
}

static char *bridge_ports(void)
{
    char *output = vsctl("list-ports", lab_env("OVS_BRIDGE"), NULL);
    assert_non_null(output);
    return output;
}

static guint count_ports(const Vm *vm)
{
    g_autoptr(GArray) indexes = ports->ports_of(ports, vm->uuid, NULL);
    assert_non_null(indexes);
    return indexes->len;
}

static void plug_ok(const VbPort *port)
{
    g_autoptr(GError) error = NULL;
    if (!ports->plug(ports, port, &error)) {
        fail_msg("%s", error->message);
    }
}

/* The refusal's words; it must leave no row. Free with g_free. */
static char *plug_refused(const Vm *vm, ErrorCode code)
{
    g_autoptr(GError) error = NULL;
    assert_false(ports->plug(ports, &vm->port, &error));
    assert_int_equal(error->code, code);
    assert_int_equal(count_ports(vm), 0);
    return g_strdup(error->message);
}

static void unplug_ok(const Vm *vm, guint index)
{
    assert_true(ports->unplug(ports, vm->uuid, index, NULL));
}

static void port_is_plugged_found_and_unplugged(void **state)
{
    (void)state;
    Vm *vm = vm_new();
    g_autofree char *name = switch_ovs_port_name(vm->uuid, 0);
    plug_ok(&vm->port);
    plug_ok(&vm->port); /* As after a crash in between. */
    g_autofree char *with = bridge_ports();
    assert_non_null(strstr(with, name));
    assert_int_equal(count_ports(vm), 1);
    unplug_ok(vm, 0);
    unplug_ok(vm, 0);
    g_autofree char *without = bridge_ports();
    assert_null(strstr(without, name));
    assert_int_equal(count_ports(vm), 0);
    vm_free(vm);
}

static void each_nic_has_its_port(void **state)
{
    (void)state;
    Vm *vm = vm_new();
    g_autofree char *second_path = g_strdup_printf("/tmp/%s.4", vm->uuid);
    VbPort second = vm->port;
    second.nic_index = 4;
    second.socket_path = second_path;
    plug_ok(&vm->port);
    plug_ok(&second);
    assert_int_equal(count_ports(vm), 2);
    unplug_ok(vm, 0);
    g_autoptr(GArray) indexes = ports->ports_of(ports, vm->uuid, NULL);
    assert_int_equal(indexes->len, 1);
    assert_int_equal(g_array_index(indexes, guint, 0), 4);
    unplug_ok(vm, 4);
    vm_free(vm);
}

static void two_ports_on_one_socket_are_refused(void **state)
{
    (void)state;
    Vm *first = vm_new();
    Vm *second = vm_new();
    second->port.socket_path = first->path;
    plug_ok(&first->port);
    g_autofree char *words = plug_refused(second, ERROR_CODE_OVS_PORT_REFUSED);
    assert_non_null(strstr(words, first->path));
    assert_int_equal(count_ports(first), 1);
    unplug_ok(first, 0);
    vm_free(first);
    vm_free(second);
}

static void unknown_bridge_is_refused_in_ovs_words(void **state)
{
    (void)state;
    Vm *vm = vm_new();
    vm->port.bridge = "br-nowhere";
    g_autofree char *words = plug_refused(vm, ERROR_CODE_OVS_PORT_REFUSED);
    assert_non_null(strstr(words, "no bridge named br-nowhere"));
    vm_free(vm);
}

/* ovs-vsctl exits 0 here, and leaves a row without a port. */
static void port_that_ovs_does_not_take_leaves_no_row(void **state)
{
    (void)state;
    /* The kernel's datapath needs a module that the lab's network namespace never has. */
    g_free(vsctl("add-br", BROKEN_BRIDGE, NULL));
    Vm *vm = vm_new();
    vm->port.bridge = BROKEN_BRIDGE;
    g_autofree char *words = plug_refused(vm, ERROR_CODE_OVS_PORT_REFUSED);
    assert_non_null(strstr(words, "Error detected while setting up"));
    g_free(vsctl("del-br", BROKEN_BRIDGE, NULL));
    vm_free(vm);
}

static void port_of_another_is_neither_replaced_nor_removed(void **state)
{
    (void)state;
    Vm *vm = vm_new();
    g_autofree char *name = switch_ovs_port_name(vm->uuid, 0);
    g_free(vsctl("add-port", lab_env("OVS_BRIDGE"), name));
    g_autofree char *words = plug_refused(vm, ERROR_CODE_OVS_PORT_REFUSED);
    assert_non_null(strstr(words, "already exists"));
    unplug_ok(vm, 0);
    g_autofree char *left = bridge_ports();
    assert_non_null(strstr(left, name));
    g_free(vsctl("del-port", lab_env("OVS_BRIDGE"), name));
    vm_free(vm);
}

static void silent_vswitchd_leaves_no_ghost(void **state)
{
    (void)state;
    g_autofree char *pid = NULL;
    assert_true(g_file_get_contents(lab_env("OVS_PIDFILE"), &pid, NULL, NULL));
    Vm *vm = vm_new();
    Vm *earlier = vm_new();
    plug_ok(&earlier->port);
    assert_int_equal(kill(atoi(pid), SIGSTOP), 0);
    g_autoptr(GError) error = NULL;
    gboolean plugged = ports->plug(ports, &vm->port, &error);
    gboolean unplugged = ports->unplug(ports, earlier->uuid, 0, NULL);
    assert_int_equal(kill(atoi(pid), SIGCONT), 0);
    assert_false(plugged);
    assert_int_equal(error->code, ERROR_CODE_OVS_UNAVAILABLE);
    assert_int_equal(count_ports(vm), 0);
    assert_true(unplugged);
    assert_int_equal(count_ports(earlier), 0);
    vm_free(earlier);
    vm_free(vm);
}

static void ovs_and_dpdk_are_told(void **state)
{
    (void)state;
    gboolean ovs = FALSE;
    gboolean dpdk = FALSE;
    g_autofree char *problem = NULL;
    ports->probe(ports, &ovs, &dpdk, &problem);
    assert_true(ovs);
    assert_true(dpdk);
    assert_null(problem);
}

int main(void)
{
    ports = switch_ovs_new(lab_env("OVS_DB"));
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(port_is_plugged_found_and_unplugged),
        cmocka_unit_test(each_nic_has_its_port),
        cmocka_unit_test(two_ports_on_one_socket_are_refused),
        cmocka_unit_test(unknown_bridge_is_refused_in_ovs_words),
        cmocka_unit_test(port_that_ovs_does_not_take_leaves_no_row),
        cmocka_unit_test(port_of_another_is_neither_replaced_nor_removed),
        cmocka_unit_test(silent_vswitchd_leaves_no_ghost),
        cmocka_unit_test(ovs_and_dpdk_are_told),
    };
    int n_failed = cmocka_run_group_tests(tests, NULL, NULL);
    switch_ovs_free(ports);
    return n_failed;
}
