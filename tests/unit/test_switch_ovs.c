/* switch_ovs.c without an OVS: names, and what it says when nobody answers. With a real OVS:
 * tests/e2e/test_switch.c. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <string.h>

#include "services/host-agent/switch_ovs.h"

#define VM_A "0190f5e6-0000-7000-8000-00000000000a"
#define VM_B "0190f5e6-0000-7000-8000-00000000000b"

enum { IFNAMSIZ_TEXT = 15 };

static VbSwitch *ports;

static void port_names_are_short_and_unlike(void **state)
{
    (void)state;
    /* Uuids of one moment share their first half, as UUIDv7 does. */
    g_autofree char *a0 = switch_ovs_port_name(VM_A, 0);
    g_autofree char *a1 = switch_ovs_port_name(VM_A, 1);
    g_autofree char *b0 = switch_ovs_port_name(VM_B, 0);
    g_autofree char *last = switch_ovs_port_name(VM_A, G_MAXUINT32);
    g_autofree char *a0_again = switch_ovs_port_name(VM_A, 0);
    assert_true(strlen(a0) <= IFNAMSIZ_TEXT && strlen(last) <= IFNAMSIZ_TEXT);
    assert_string_not_equal(a0, a1);
    assert_string_not_equal(a0, b0);
    assert_string_equal(a0, a0_again);
}

static void assert_plug_fails(const char *bridge, ErrorCode code)
{
    VbPort port = {.vm_uuid = VM_A, .bridge = bridge, .socket_path = "/tmp/none", .queues = 1};
    g_autoptr(GError) error = NULL;
    assert_false(ports->plug(ports, &port, &error));
    assert_int_equal(error->domain, VB_ERROR);
    assert_int_equal(error->code, code);
}

/* It would be an option or a command of ovs-vsctl. */
static void bridge_that_is_no_name_is_refused(void **state)
{
    (void)state;
    assert_plug_fails("--may-exist", ERROR_CODE_INVALID_ARGUMENT);
    assert_plug_fails("--", ERROR_CODE_INVALID_ARGUMENT);
    assert_plug_fails("", ERROR_CODE_INVALID_ARGUMENT);
    assert_plug_fails("br 0", ERROR_CODE_INVALID_ARGUMENT);
    assert_plug_fails("br0\n", ERROR_CODE_INVALID_ARGUMENT);
    assert_plug_fails("br-0.5_x", ERROR_CODE_OVS_UNAVAILABLE);
}

static void absent_ovs_is_said(void **state)
{
    (void)state;
    g_autoptr(GError) unplug_error = NULL;
    g_autoptr(GError) ports_error = NULL;
    assert_false(ports->unplug(ports, VM_A, 0, &unplug_error));
    assert_int_equal(unplug_error->code, ERROR_CODE_OVS_UNAVAILABLE);
    assert_null(ports->ports_of(ports, VM_A, &ports_error));
    assert_int_equal(ports_error->code, ERROR_CODE_OVS_UNAVAILABLE);
    gboolean ovs = TRUE;
    gboolean dpdk = TRUE;
    g_autofree char *problem = NULL;
    ports->probe(ports, &ovs, &dpdk, &problem);
    assert_false(ovs);
    assert_false(dpdk);
    assert_non_null(strstr(problem, "/none/ovs.sock"));
}

int main(void)
{
    ports = switch_ovs_new("unix:/none/ovs.sock");
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(port_names_are_short_and_unlike),
        cmocka_unit_test(bridge_that_is_no_name_is_refused),
        cmocka_unit_test(absent_ovs_is_said),
    };
    int n_failed = cmocka_run_group_tests(tests, NULL, NULL);
    switch_ovs_free(ports);
    return n_failed;
}
