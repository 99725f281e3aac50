/* A NIC is removed and nothing else moves, on a real libvirt: firmware boot entries and BitLocker
 * name devices by address. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <glib/gstdio.h>
#include <libvirt/libvirt.h>
#include <libvirt/virterror.h>
#include <string.h>

#include "tests/lib/lab_guest.h"
#include "tests/golden/plans.h"

enum { N_DISKS = 3 };

static virConnectPtr connection;
static char *folder;

static int set_up(void **state)
{
    (void)state;
    connection = virConnectOpen(lab_env("LIBVIRT_URI"));
    folder = g_dir_make_tmp("vb-pins-XXXXXX", NULL);
    /* QEMU's user must be able to walk through it. */
    if (connection == NULL || folder == NULL || g_chmod(folder, 0755) != 0) {
        return -1;
    }
    for (guint i = 0; i < N_DISKS; i++) {
        g_autofree char *path = g_strdup_printf("%s/disk-%u.qcow2", folder, i);
        const char *const argv[] = {"qemu-img", "create", "-f", "qcow2", path, "16M", NULL};
        g_autofree char *output = lab_run(argv);
        if (output == NULL) {
            return -1;
        }
    }
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    for (guint i = 0; i < N_DISKS; i++) {
        g_autofree char *path = g_strdup_printf("%s/disk-%u.qcow2", folder, i);
        g_unlink(path);
    }
    g_rmdir(folder);
    g_free(folder);
    return virConnectClose(connection);
}

static VbTestPlan *new_plan(void)
{
    VbTestPlan *plan = plan_new(folder, PLATFORM_WINDOWS);
    plan_add_disk(plan, VOLUME_TYPE_ROOT, VOLUME_FORMAT_QCOW2)->bus = DISK_BUS_VIRTIO;
    plan_add_disk(plan, VOLUME_TYPE_DATA, VOLUME_FORMAT_QCOW2)->bus = DISK_BUS_SATA;
    plan_add_disk(plan, VOLUME_TYPE_DATA, VOLUME_FORMAT_QCOW2)->bus = DISK_BUS_SCSI;
    plan_add_cdrom(plan, NULL);
    plan_add_nic(plan, NIC_TYPE_USER, NIC_MODEL_VIRTIO);
    plan_add_nic(plan, NIC_TYPE_USER, NIC_MODEL_VIRTIO);
    plan_add_nic(plan, NIC_TYPE_USER, NIC_MODEL_E1000);
    plan->spec->graphics = ARENA_MSG(plan->arena, graphics_spec);
    plan->spec->graphics->type = GRAPHICS_TYPE_VNC;
    return plan;
}

/* Starts the domain and ends it; what libvirt made of it, in the plan's arena. */
static Hardware *run(VbTestPlan *plan)
{
    g_autofree char *xml = plan_build(plan, NULL);
    assert_non_null(xml);
    virDomainPtr domain = virDomainCreateXML(connection, xml, VIR_DOMAIN_START_VALIDATE);
    if (domain == NULL) {
        fail_msg("libvirt says: %s", virGetLastErrorMessage());
    }
    char *live = virDomainGetXMLDesc(domain, 0);
    assert_int_equal(virDomainDestroy(domain), 0);
    virDomainFree(domain);
    guint64 epoch = 0;
    assert_true(domain_xml_is_ours(live, PLAN_VM_UUID, &epoch));
    assert_int_equal(epoch, plan->plan.epoch);
    Hardware *hardware = domain_xml_read_hardware(plan->arena, live, NULL);
    assert_non_null(hardware);
    free(live);
    return hardware;
}

static gint compare_lines(gconstpointer a, gconstpointer b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

/* The addresses as text, one a line, without nic/0. */
static char *describe_others(const Hardware *hardware)
{
    g_autoptr(GPtrArray) lines = g_ptr_array_new_with_free_func(g_free);
    for (size_t i = 0; i < hardware->n_addresses; i++) {
        const DeviceAddress *at = hardware->addresses[i];
        if (strcmp(at->device, "nic/0") == 0) {
            continue;
        }
        g_ptr_array_add(
            lines, g_strdup_printf("%s %s %s %x:%x:%x.%x drive %u/%u/%u chassis %u port %x %s",
                                   at->device, at->model, at->type, at->domain, at->bus, at->slot,
                                   at->function, at->controller, at->target, at->unit, at->chassis,
                                   at->port, at->multifunction ? "multifunction" : ""));
    }
    g_ptr_array_sort(lines, compare_lines);
    g_ptr_array_add(lines, NULL);
    return g_strjoinv("\n", (char **)lines->pdata);
}

static void a_removed_nic_moves_no_other_device(void **state)
{
    (void)state;
    g_autoptr(VbTestPlan) plan = new_plan();
    const Hardware *first = run(plan);
    g_autofree char *before = describe_others(first);
    assert_int_equal(first->n_nics, 3);

    plan_remove_first_nic(plan);
    const Hardware *moved = run(plan);
    g_autofree char *without_pins = describe_others(moved);
    assert_string_not_equal(without_pins, before);

    plan->start->hardware = (Hardware *)first;
    const Hardware *second = run(plan);
    g_autofree char *after = describe_others(second);
    assert_string_equal(after, before);
    assert_int_equal(second->n_nics, 2);
    assert_string_equal(second->machine, first->machine);

    /* And what was read from a pinned domain pins the next one just as well. */
    plan->start->hardware = (Hardware *)second;
    g_autofree char *again = describe_others(run(plan));
    assert_string_equal(again, before);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_removed_nic_moves_no_other_device),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
