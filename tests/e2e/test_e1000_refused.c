/* Why the coercion exists (N1): libvirt itself refuses a vhost-user NIC that is no virtio, and
 * takes the same domain once the NIC is coerced. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <glib/gstdio.h>
#include <libvirt/libvirt.h>
#include <libvirt/virterror.h>
#include <pwd.h>
#include <string.h>
#include <unistd.h>

#include "tests/lib/lab_guest.h"
#include "tests/golden/plans.h"

#define REFUSAL                                                                                    \
    "internal error: Wrong or no <model> 'type' attribute specified with <interface "              \
    "type='vhostuser'/>. vhostuser requires the virtio-net* frontend"

#define PORT "vb-e1000-refused"

enum { CREATE_S = 60 };

static virConnectPtr connection;

static void be_silent(void *data, virErrorPtr error)
{
    (void)data;
    (void)error;
}

static int set_up(void **state)
{
    (void)state;
    virSetErrorFunc(NULL, be_silent);
    connection = virConnectOpen(lab_env("LIBVIRT_URI"));
    return connection != NULL ? 0 : -1;
}

static int tear_down(void **state)
{
    (void)state;
    return virConnectClose(connection);
}

/* A Windows guest with a vhost-user NIC of no particular model. */
static VbTestPlan *windows_plan(const char *folder)
{
    VbTestPlan *plan = plan_new(folder, PLATFORM_WINDOWS);
    plan_add_nic(plan, NIC_TYPE_VHOST_USER, NIC_MODEL_UNSPECIFIED);
    return plan;
}

static void libvirt_refuses_e1000_on_vhost_user(void **state)
{
    (void)state;
    g_autoptr(VbTestPlan) plan = windows_plan("/run/virtbus");
    g_autofree char *coerced = plan_build(plan, NULL);
    assert_non_null(coerced);
    plan->plan.nics[0]->effective_model = plan->plan.nics[0]->asked_model;
    g_autofree char *xml = domain_xml_build(&plan->plan, NULL);
    assert_non_null(strstr(xml, "<model type=\"e1000\"/>"));

    virDomainPtr domain = virDomainCreateXML(connection, xml, VIR_DOMAIN_START_VALIDATE);
    assert_null(domain);
    assert_string_equal(virGetLastErrorMessage(), REFUSAL);
}

/* The port that the NIC's socket leads to: a create waits until something connects. */
static gboolean plug(const char *socket_path)
{
    g_autofree char *db = g_strconcat("--db=", lab_env("OVS_DB"), NULL);
    g_autofree char *option = g_strconcat("options:vhost-server-path=", socket_path, NULL);
    const char *const argv[] = {
        "ovs-vsctl", "--timeout=10", db,          "add-port", lab_env("OVS_BRIDGE"),      PORT,
        "--",        "set",          "Interface", PORT,       "type=dpdkvhostuserclient", option,
        NULL};
    g_autofree char *output = lab_run(argv);
    return output != NULL;
}

static void unplug(void)
{
    g_autofree char *db = g_strconcat("--db=", lab_env("OVS_DB"), NULL);
    const char *const argv[] = {"ovs-vsctl", "--timeout=10",        db,   "--if-exists",
                                "del-port",  lab_env("OVS_BRIDGE"), PORT, NULL};
    g_autofree char *output = lab_run(argv);
    assert_non_null(output);
}

static void libvirt_takes_the_coerced_nic(void **state)
{
    (void)state;
    const struct passwd *qemu = getpwnam("libvirt-qemu");
    assert_non_null(qemu);
    g_autofree char *folder = g_dir_make_tmp("vb-e1000-XXXXXX", NULL);
    assert_int_equal(chown(folder, qemu->pw_uid, qemu->pw_gid), 0);
    g_autoptr(VbTestPlan) plan = windows_plan(folder);
    g_autofree char *xml = plan_build(plan, NULL);
    assert_true(plug(plan->plan.socket_paths[0]));

    alarm(CREATE_S); /* It would block for ever. */
    virDomainPtr domain = virDomainCreateXML(connection, xml, VIR_DOMAIN_START_VALIDATE);
    alarm(0);
    unplug();
    if (domain == NULL) {
        fail_msg("libvirt says: %s", virGetLastErrorMessage());
    }
    char *live = virDomainGetXMLDesc(domain, 0);
    assert_int_equal(virDomainDestroy(domain), 0);
    virDomainFree(domain);
    g_unlink(plan->plan.socket_paths[0]);
    g_rmdir(folder);
    assert_non_null(strstr(live, "<interface type='vhostuser'>"));
    assert_non_null(strstr(live, "<model type='virtio'/>"));
    free(live);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(libvirt_refuses_e1000_on_vhost_user),
        cmocka_unit_test(libvirt_takes_the_coerced_nic),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
