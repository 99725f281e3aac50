/* hypervisor_libvirt.c over libvirt's own test driver, which lives in this process: what is handed
 * to libvirt, and what is left alone. The real thing: tests/e2e/test_hypervisor.c. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <libvirt/libvirt.h>

#include "common/base/error.h"
#include "services/host-agent/domain_xml_private.h"
#include "services/host-agent/hypervisor_libvirt.h"

#define VM  "0190f5e6-0000-7000-8000-00000000000a"
#define URI "test:///default"
#define DOMAIN(metadata, more)                                                                     \
    "<domain type='test'><name>vb-" VM "</name><uuid>" VM "</uuid>" metadata                       \
    "<memory unit='MiB'>8</memory><vcpu>1</vcpu><os><type>hvm</type></os>" more "</domain>"
#define OURS                                                                                       \
    "<metadata><virtbus:vm xmlns:virtbus='" DOMAIN_XML_NAMESPACE "' epoch='3' operation='op'/>"    \
    "</metadata>"

enum { TIMEOUT_MS = 60000 };

static VbHypervisor *hypervisor;
static virConnectPtr libvirt;

/* ---- What only a driver behind a socket has */

int virConnectSetKeepAlive(virConnectPtr connection, int interval, unsigned int count)
{
    (void)connection;
    (void)interval;
    (void)count;
    return 0;
}

int virConnectRegisterCloseCallback(virConnectPtr connection, virConnectCloseFunc function,
                                    void *data, virFreeCallback free_data)
{
    (void)connection;
    (void)function;
    (void)data;
    (void)free_data;
    return 0;
}

int virConnectUnregisterCloseCallback(virConnectPtr connection, virConnectCloseFunc function)
{
    (void)connection;
    (void)function;
    return 0;
}

/* ---- The world: no domain of the VM */

static void on_event(void *data, const char *vm_uuid, VbDomainEventKind kind, StopReason reason,
                     guint nic_index)
{
    (void)data;
    (void)vm_uuid;
    (void)kind;
    (void)reason;
    (void)nic_index;
}

static int set_up_all(void **state)
{
    (void)state;
    hypervisor = hypervisor_libvirt_new(URI, "qemu", on_event, NULL);
    libvirt = virConnectOpen(URI);
    return libvirt != NULL ? 0 : -1;
}

static int tear_down_all(void **state)
{
    (void)state;
    virConnectClose(libvirt);
    hypervisor_libvirt_free(hypervisor);
    return 0;
}

static gboolean is_there(void)
{
    virDomainPtr domain = virDomainLookupByUUIDString(libvirt, VM);
    gboolean there = domain != NULL;
    if (there) {
        virDomainFree(domain);
    }
    return there;
}

static int tear_down(void **state)
{
    (void)state;
    virDomainPtr domain = virDomainLookupByUUIDString(libvirt, VM);
    if (domain != NULL) {
        virDomainDestroy(domain);
        virDomainFree(domain);
    }
    return 0;
}

static void expect_error(GError *error, ErrorCode code)
{
    assert_non_null(error);
    assert_int_equal(error->code, code);
    g_error_free(error);
}

/* ---- Tests */

static void domain_is_transient(void **state)
{
    (void)state;
    assert_true(hypervisor->create(hypervisor, VM, DOMAIN(OURS, ""), TIMEOUT_MS, NULL));
    virDomainPtr domain = virDomainLookupByUUIDString(libvirt, VM);
    assert_int_equal(virDomainIsPersistent(domain), 0);
    virDomainFree(domain);
    assert_true(hypervisor->destroy(hypervisor, VM, NULL));
    assert_false(is_there());
    assert_true(hypervisor->destroy(hypervisor, VM, NULL)); /* What is gone is gone. */
}

/* libvirt would leave out what it does not know, and start a guest without it. */
static void xml_that_libvirts_schema_does_not_know_is_refused(void **state)
{
    (void)state;
    GError *error = NULL;
    assert_false(
        hypervisor->create(hypervisor, VM, DOMAIN(OURS, "<no-such-element/>"), TIMEOUT_MS, &error));
    expect_error(error, ERROR_CODE_HYPERVISOR);
    assert_false(is_there());
}

static void epoch_of_what_runs_is_told(void **state)
{
    (void)state;
    VbDomainFacts facts;
    g_autoptr(VbArena) arena = arena_new();
    assert_true(hypervisor->look(hypervisor, arena, VM, &facts, NULL));
    assert_int_equal(facts.presence, DOMAIN_NONE);
    assert_true(hypervisor->create(hypervisor, VM, DOMAIN(OURS, ""), TIMEOUT_MS, NULL));
    assert_true(hypervisor->look(hypervisor, arena, VM, &facts, NULL));
    assert_int_equal(facts.presence, DOMAIN_OURS);
    assert_int_equal(facts.epoch, 3);
}

static void foreign_domain_is_left_alone(void **state)
{
    (void)state;
    VbDomainFacts facts;
    GError *error = NULL;
    g_autoptr(VbArena) arena = arena_new();
    virDomainPtr foreign = virDomainCreateXML(libvirt, DOMAIN("", ""), 0);
    assert_non_null(foreign);
    assert_true(hypervisor->look(hypervisor, arena, VM, &facts, NULL));
    assert_int_equal(facts.presence, DOMAIN_FOREIGN);
    assert_false(hypervisor->destroy(hypervisor, VM, &error));
    expect_error(g_steal_pointer(&error), ERROR_CODE_FOREIGN_DOMAIN);
    assert_false(hypervisor->shutdown(hypervisor, VM, &error));
    expect_error(g_steal_pointer(&error), ERROR_CODE_FOREIGN_DOMAIN);
    assert_int_equal(virDomainIsActive(foreign), 1);
    virDomainFree(foreign);
}

#define TEST(function) cmocka_unit_test_teardown(function, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(domain_is_transient),
        TEST(xml_that_libvirts_schema_does_not_know_is_refused),
        TEST(epoch_of_what_runs_is_told),
        TEST(foreign_domain_is_left_alone),
    };
    return cmocka_run_group_tests_name("hypervisor_libvirt", tests, set_up_all, tear_down_all);
}
