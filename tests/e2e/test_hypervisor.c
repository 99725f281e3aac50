/* hypervisor_libvirt.c on a real libvirtd, with small BIOS guests. The last test kills that
 * libvirtd and starts it again. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <signal.h>
#include <stdlib.h>
#include <string.h>

#include "services/host-agent/effect.h"
#include "services/host-agent/hypervisor_libvirt.h"
#include "tests/lib/lab_guest.h"

enum { CREATE_MS = 60000, STUCK_MS = 8000, N_STUCK = 6 };

typedef struct {
    char *vm_uuid; /* NULL: RECONNECTED. */
    VbDomainEventKind kind;
    StopReason reason;
} Event;

static VbHypervisor *hypervisor;
static GMutex events_lock;
static GArray *events; /* of Event */

static void on_event(void *data, const char *vm_uuid, VbDomainEventKind kind, StopReason reason,
                     guint nic_index)
{
    (void)data;
    (void)nic_index; /* tests/e2e/test_hotplug.c */
    Event event = {.vm_uuid = g_strdup(vm_uuid), .kind = kind, .reason = reason};
    g_mutex_lock(&events_lock);
    g_array_append_val(events, event);
    g_mutex_unlock(&events_lock);
}

static gboolean event_is_there(gpointer data)
{
    const Event *wanted = data;
    gboolean found = FALSE;
    g_mutex_lock(&events_lock);
    for (guint i = 0; i < events->len; i++) {
        const Event *event = &g_array_index(events, Event, i);
        found = found || (g_strcmp0(event->vm_uuid, wanted->vm_uuid) == 0 &&
                          event->kind == wanted->kind && event->reason == wanted->reason);
    }
    g_mutex_unlock(&events_lock);
    return found;
}

static void events_clear(void)
{
    g_mutex_lock(&events_lock);
    for (guint i = 0; i < events->len; i++) {
        g_free(g_array_index(events, Event, i).vm_uuid);
    }
    g_array_set_size(events, 0);
    g_mutex_unlock(&events_lock);
}

static void assert_event(const LabGuest *guest, VbDomainEventKind kind, StopReason reason)
{
    Event wanted = {
        .vm_uuid = guest != NULL ? guest->vm->vm_uuid : NULL, .kind = kind, .reason = reason};
    assert_true(lab_wait_for(event_is_there, &wanted));
}

static char *build_xml(LabGuest *guest)
{
    VbStartPlan plan;
    VbHost host = lab_host(guest, hypervisor, NULL);
    g_autoptr(GError) error = NULL;
    assert_true(start_plan_make(&host, guest->arena, guest->vm, &plan, &error));
    VbDomainPlan domain = {
        .vm_uuid = guest->vm->vm_uuid,
        .operation_id = guest->vm->command->operation_id,
        .epoch = guest->vm->command->epoch,
        .start = plan.start,
        .domain_type = "qemu",
        .volume_paths = plan.volume_paths,
        .cdrom_paths = plan.cdrom_paths,
        .socket_paths = plan.socket_paths,
        .nics = plan.nics,
    };
    char *xml = domain_xml_build(&domain, &error);
    assert_non_null(xml);
    return xml;
}

/* `xml` with each `from` made `to`, which must change something. */
static char *changed(const char *xml, const char *from, const char *to)
{
    assert_non_null(strstr(xml, from));
    g_auto(GStrv) parts = g_strsplit(xml, from, -1);
    return g_strjoinv(to, parts);
}

static gboolean create(LabGuest *guest, const char *xml, GError **error)
{
    return hypervisor->create(hypervisor, guest->vm->vm_uuid, xml, CREATE_MS, error);
}

static void create_ok(LabGuest *guest)
{
    g_autofree char *xml = build_xml(guest);
    g_autoptr(GError) error = NULL;
    if (!create(guest, xml, &error)) {
        fail_msg("%s", error->message);
    }
}

static VbDomainFacts look(LabGuest *guest)
{
    VbDomainFacts facts;
    g_autoptr(GError) error = NULL;
    if (!hypervisor->look(hypervisor, guest->arena, guest->vm->vm_uuid, &facts, &error)) {
        fail_msg("%s", error->message);
    }
    return facts;
}

static void destroy_ok(LabGuest *guest)
{
    g_autoptr(GError) error = NULL;
    if (!hypervisor->destroy(hypervisor, guest->vm->vm_uuid, &error)) {
        fail_msg("%s", error->message);
    }
}

static void assert_error(const GError *error, ErrorCode code)
{
    assert_non_null(error);
    assert_int_equal(error->code, code);
}

/* virsh with a command and its operand. */
static void virsh(const char *command, const char *operand)
{
    const char *const argv[] = {"virsh", "-q",    "-c", lab_env("LIBVIRT_URI"),
                                command, operand, NULL};
    g_autofree char *output = lab_run(argv);
    assert_non_null(output);
}

static void virsh_xml(LabGuest *guest, const char *command, const char *xml)
{
    g_autofree char *path = g_strdup_printf("%s/domain.xml", guest->folder);
    assert_true(g_file_set_contents(path, xml, -1, NULL));
    virsh(command, path);
}

/* ---- Tests */

/* Whether libvirt's list of our domains names this one. */
static gboolean is_listed(const LabGuest *guest)
{
    g_autoptr(GError) error = NULL;
    g_auto(GStrv) uuids = hypervisor->list(hypervisor, &error);
    if (uuids == NULL) {
        fail_msg("%s", error->message);
    }
    return g_strv_contains((const char *const *)uuids, guest->vm->vm_uuid);
}

static void domain_is_made_looked_at_and_destroyed(void **state)
{
    (void)state;
    LabGuest *guest = lab_guest_new(GUEST_IDLES);
    assert_int_equal(look(guest).presence, DOMAIN_NONE);
    assert_false(is_listed(guest));
    create_ok(guest);
    assert_true(is_listed(guest));
    VbDomainFacts facts = look(guest);
    assert_int_equal(facts.presence, DOMAIN_OURS);
    assert_int_equal(facts.epoch, 7);
    assert_false(facts.starting_up);
    assert_string_equal(facts.hardware->domain_type, "qemu");
    assert_true(g_str_has_prefix(facts.hardware->machine, "pc-q35-"));
    assert_true(hypervisor->count_running(hypervisor) >= 1);
    assert_event(guest, DOMAIN_EVENT_STARTED, STOP_REASON_UNSPECIFIED);
    destroy_ok(guest);
    assert_event(guest, DOMAIN_EVENT_STOPPED, STOP_REASON_OUTSIDE);
    assert_int_equal(look(guest).presence, DOMAIN_NONE);
    destroy_ok(guest);
    lab_guest_free(guest);
}

static void guests_power_off_is_told(void **state)
{
    (void)state;
    LabGuest *guest = lab_guest_new(GUEST_POWERS_OFF);
    create_ok(guest);
    assert_event(guest, DOMAIN_EVENT_SHUTDOWN, STOP_REASON_UNSPECIFIED);
    assert_event(guest, DOMAIN_EVENT_STOPPED, STOP_REASON_GUEST_SHUTDOWN);
    lab_guest_free(guest);
}

static void guests_reboot_is_told(void **state)
{
    (void)state;
    LabGuest *guest = lab_guest_new(GUEST_REBOOTS);
    create_ok(guest);
    assert_event(guest, DOMAIN_EVENT_REBOOT, STOP_REASON_UNSPECIFIED);
    assert_int_equal(look(guest).presence, DOMAIN_OURS);
    destroy_ok(guest);
    lab_guest_free(guest);
}

static void guests_panic_is_told(void **state)
{
    (void)state;
    LabGuest *guest = lab_guest_new(GUEST_PANICS);
    guest->spec->panic_device = TRUE;
    create_ok(guest);
    assert_event(guest, DOMAIN_EVENT_PANIC, STOP_REASON_UNSPECIFIED);
    assert_event(guest, DOMAIN_EVENT_STOPPED, STOP_REASON_CRASHED);
    lab_guest_free(guest);
}

/* libvirt has one event for both. */
static void reset_is_told_as_a_reboot(void **state)
{
    (void)state;
    LabGuest *guest = lab_guest_new(GUEST_IDLES);
    create_ok(guest);
    virsh("reset", guest->vm->vm_uuid);
    assert_event(guest, DOMAIN_EVENT_REBOOT, STOP_REASON_UNSPECIFIED);
    destroy_ok(guest);
    lab_guest_free(guest);
}

/* A press that comes before the guest listens is lost, so it is pressed until the guest is off. */
static gboolean press_button(gpointer data)
{
    LabGuest *guest = data;
    g_autoptr(GError) error = NULL;
    if (hypervisor->shutdown(hypervisor, guest->vm->vm_uuid, &error)) {
        return FALSE;
    }
    assert_error(error, ERROR_CODE_DOMAIN_NOT_RUNNING);
    return TRUE;
}

static void shutdown_presses_the_power_button(void **state)
{
    (void)state;
    LabGuest *guest = lab_guest_new(GUEST_HEEDS_BUTTON);
    create_ok(guest);
    assert_true(lab_wait_for(press_button, guest));
    assert_event(guest, DOMAIN_EVENT_STOPPED, STOP_REASON_GUEST_SHUTDOWN);
    lab_guest_free(guest);
}

static void death_of_qemu_is_a_crash(void **state)
{
    (void)state;
    LabGuest *guest = lab_guest_new(GUEST_IDLES);
    create_ok(guest);
    g_autofree char *folder = g_path_get_dirname(lab_env("LIBVIRT_PIDFILE"));
    g_autofree char *path =
        g_strdup_printf("%s/libvirt/qemu/vb-%s.pid", folder, guest->vm->vm_uuid);
    g_autofree char *text = NULL;
    assert_true(g_file_get_contents(path, &text, NULL, NULL));
    assert_int_equal(kill(atoi(text), SIGKILL), 0);
    assert_event(guest, DOMAIN_EVENT_STOPPED, STOP_REASON_CRASHED);
    lab_guest_free(guest);
}

static void assert_left_alone(LabGuest *guest)
{
    g_autoptr(GError) destroy_error = NULL;
    g_autoptr(GError) shutdown_error = NULL;
    assert_int_equal(look(guest).presence, DOMAIN_FOREIGN);
    assert_false(hypervisor->destroy(hypervisor, guest->vm->vm_uuid, &destroy_error));
    assert_error(destroy_error, ERROR_CODE_FOREIGN_DOMAIN);
    assert_false(hypervisor->shutdown(hypervisor, guest->vm->vm_uuid, &shutdown_error));
    assert_error(shutdown_error, ERROR_CODE_FOREIGN_DOMAIN);
    assert_int_equal(look(guest).presence, DOMAIN_FOREIGN);
}

static void domain_without_our_metadata_is_left_alone(void **state)
{
    (void)state;
    LabGuest *guest = lab_guest_new(GUEST_IDLES);
    g_autofree char *xml = build_xml(guest);
    g_autofree char *foreign = changed(xml, "urn:virtbus:", "urn:other:");
    virsh_xml(guest, "create", foreign);
    assert_false(is_listed(guest));
    assert_left_alone(guest);
    virsh("destroy", guest->vm->vm_uuid);
    lab_guest_free(guest);
}

static void definition_with_our_metadata_is_foreign(void **state)
{
    (void)state;
    LabGuest *guest = lab_guest_new(GUEST_IDLES);
    g_autofree char *xml = build_xml(guest);
    virsh_xml(guest, "define", xml);
    assert_left_alone(guest);
    virsh("undefine", guest->vm->vm_uuid);
    assert_int_equal(look(guest).presence, DOMAIN_NONE);
    lab_guest_free(guest);
}

static void xml_outside_the_schema_is_refused(void **state)
{
    (void)state;
    LabGuest *guest = lab_guest_new(GUEST_IDLES);
    g_autofree char *xml = build_xml(guest);
    g_autofree char *odd = changed(xml, "</domain>", "<nonsense/></domain>");
    g_autoptr(GError) error = NULL;
    assert_false(create(guest, odd, &error));
    assert_error(error, ERROR_CODE_HYPERVISOR);
    assert_non_null(strstr(error->message, "nonsense"));
    assert_int_equal(look(guest).presence, DOMAIN_NONE);
    lab_guest_free(guest);
}

/* ---- Starts that get stuck: nobody connects to the guest's vhost-user socket. */

typedef struct {
    LabGuest *guest;
    char *xml;
    gint64 timeout_ms;
    LabWork work;
    gboolean created;
    GError *error;
} Stuck;

static void stuck_run(gpointer data)
{
    Stuck *stuck = data;
    stuck->created = hypervisor->create(hypervisor, stuck->guest->vm->vm_uuid, stuck->xml,
                                        stuck->timeout_ms, &stuck->error);
}

static void stuck_start(Stuck *stuck, gint64 timeout_ms)
{
    *stuck = (Stuck){.guest = lab_guest_new(GUEST_IDLES), .timeout_ms = timeout_ms};
    lab_guest_add_vhost_user_nic(stuck->guest, 0);
    stuck->xml = build_xml(stuck->guest);
    VbHost host = lab_host(stuck->guest, hypervisor, NULL);
    assert_true(socket_folder_make(&host, stuck->guest->arena, stuck->guest->vm->vm_uuid, NULL));
    lab_work_begin(&stuck->work, stuck_run, stuck);
}

static void stuck_end(Stuck *stuck)
{
    g_clear_error(&stuck->error);
    g_free(stuck->xml);
    lab_guest_free(stuck->guest);
}

static gboolean is_starting_up(gpointer data)
{
    Stuck *stuck = data;
    VbDomainFacts facts = look(stuck->guest);
    return facts.presence == DOMAIN_OURS && facts.starting_up;
}

static void stuck_starts_end_at_their_deadline_and_stop_nobody(void **state)
{
    (void)state;
    Stuck stuck[N_STUCK];
    for (guint i = 0; i < N_STUCK; i++) {
        stuck_start(&stuck[i], STUCK_MS);
    }
    for (guint i = 0; i < N_STUCK; i++) {
        assert_true(lab_wait_for(is_starting_up, &stuck[i]));
    }
    LabGuest *guest = lab_guest_new(GUEST_IDLES);
    create_ok(guest);
    destroy_ok(guest);
    for (guint i = 0; i < N_STUCK; i++) {
        assert_false(lab_work_is_done(&stuck[i].work));
    }
    for (guint i = 0; i < N_STUCK; i++) {
        lab_work_end(&stuck[i].work);
        assert_false(stuck[i].created);
        assert_error(stuck[i].error, ERROR_CODE_TIMEOUT);
        assert_non_null(strstr(stuck[i].error->message, "took libvirt longer than"));
        assert_int_equal(look(stuck[i].guest).presence, DOMAIN_NONE);
        stuck_end(&stuck[i]);
    }
    lab_guest_free(guest);
}

/* The connection goes, libvirtd stays: the next attempt succeeds at once, and events may have been
 * missed all the same. */
static void lost_connection_is_told_when_it_is_back(void **state)
{
    (void)state;
    g_autofree char *folder = g_path_get_dirname(lab_env("LIBVIRT_PIDFILE"));
    g_autofree char *admin =
        g_strdup_printf("libvirtd+unix:///system?socket=%s/libvirt/libvirt-admin-sock", folder);
    const char *const list[] = {"virt-admin", "-q", "-c", admin, "client-list", "libvirtd", NULL};
    g_autofree char *version = hypervisor->version(hypervisor); /* It is connected. */
    assert_non_null(version);
    g_autofree char *clients = lab_run(list);
    assert_non_null(clients);
    g_auto(GStrv) words = g_strsplit_set(g_strstrip(clients), " ", 2);
    const char *const disconnect[] = {"virt-admin",        "-q",       "-c",     admin,
                                      "client-disconnect", "libvirtd", words[0], NULL};
    g_autofree char *output = lab_run(disconnect);
    assert_non_null(output);
    assert_event(NULL, DOMAIN_EVENT_RECONNECTED, STOP_REASON_UNSPECIFIED);
    events_clear();
}

static void libvirtd_dies_in_a_start_and_comes_back(void **state)
{
    (void)state;
    LabGuest *guest = lab_guest_new(GUEST_IDLES);
    create_ok(guest);
    Stuck stuck;
    stuck_start(&stuck, CREATE_MS);
    assert_true(lab_wait_for(is_starting_up, &stuck));

    g_autofree char *pid = NULL;
    assert_true(g_file_get_contents(lab_env("LIBVIRT_PIDFILE"), &pid, NULL, NULL));
    assert_int_equal(kill(atoi(pid), SIGKILL), 0);
    lab_work_end(&stuck.work);
    assert_false(stuck.created);
    assert_error(stuck.error, ERROR_CODE_HYPERVISOR_UNAVAILABLE);
    VbDomainFacts facts;
    g_autoptr(GError) error = NULL;
    assert_false(hypervisor->look(hypervisor, guest->arena, guest->vm->vm_uuid, &facts, &error));
    assert_error(error, ERROR_CODE_HYPERVISOR_UNAVAILABLE);
    g_clear_error(&error);
    assert_null(hypervisor->list(hypervisor, &error));
    assert_error(error, ERROR_CODE_HYPERVISOR_UNAVAILABLE);

    assert_true(lab_up("libvirt"));
    assert_event(NULL, DOMAIN_EVENT_RECONNECTED, STOP_REASON_UNSPECIFIED);
    assert_int_equal(look(guest).presence, DOMAIN_OURS);
    assert_false(look(guest).starting_up);
    assert_true(look(stuck.guest).starting_up);
    destroy_ok(stuck.guest);
    assert_int_equal(look(stuck.guest).presence, DOMAIN_NONE);
    /* Events come over the new connection. */
    destroy_ok(guest);
    assert_event(guest, DOMAIN_EVENT_STOPPED, STOP_REASON_OUTSIDE);
    stuck_end(&stuck);
    lab_guest_free(guest);
}

static int group_setup(void **state)
{
    (void)state;
    signal(SIGPIPE, SIG_IGN); /* As each daemon does: libvirt's client relies on it. */
    events = g_array_new(FALSE, FALSE, sizeof(Event));
    hypervisor = hypervisor_libvirt_new(lab_env("LIBVIRT_URI"), "auto", on_event, NULL);
    return 0;
}

static int group_teardown(void **state)
{
    (void)state;
    hypervisor_libvirt_free(hypervisor);
    events_clear();
    g_array_unref(events);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(domain_is_made_looked_at_and_destroyed),
        cmocka_unit_test(guests_power_off_is_told),
        cmocka_unit_test(guests_reboot_is_told),
        cmocka_unit_test(guests_panic_is_told),
        cmocka_unit_test(reset_is_told_as_a_reboot),
        cmocka_unit_test(shutdown_presses_the_power_button),
        cmocka_unit_test(death_of_qemu_is_a_crash),
        cmocka_unit_test(domain_without_our_metadata_is_left_alone),
        cmocka_unit_test(definition_with_our_metadata_is_foreign),
        cmocka_unit_test(xml_outside_the_schema_is_refused),
        cmocka_unit_test(stuck_starts_end_at_their_deadline_and_stop_nobody),
        cmocka_unit_test(lost_connection_is_told_when_it_is_back),
        cmocka_unit_test(libvirtd_dies_in_a_start_and_comes_back),
    };
    return cmocka_run_group_tests(tests, group_setup, group_teardown);
}
