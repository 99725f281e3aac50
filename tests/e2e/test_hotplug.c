/* NICs that come and go while a guest runs, on a real libvirt and a real OVS with DPDK: what is
 * there afterwards, what a guest refuses, what gets stuck and how it ends, and that each NIC is at
 * the same place after the next start. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <signal.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/model.h"
#include "tests/lib/lab_effects.h"

enum {
    FIRST_NIC = 1, /* vhost-user, there from the start. */
    NIC = 7,       /* Comes and goes. */
    LIMIT_MS = 60000,
    DEAF_MS = 1500,
    SPARE_PORTS = 4,
};

static LabEffects host;
static LabEffects freezing; /* The same host, but OVS stands still once a port is plugged. */

static void signal_ovs(int number)
{
    g_autofree char *pid = NULL;
    assert_true(g_file_get_contents(lab_env("OVS_PIDFILE"), &pid, NULL, NULL));
    assert_int_equal(kill(atoi(pid), number), 0);
}

static gboolean plug_and_freeze(VbSwitch *self, const VbPort *port, GError **error)
{
    (void)self;
    if (!host.ports->plug(host.ports, port, error)) {
        return FALSE;
    }
    signal_ovs(SIGSTOP);
    return TRUE;
}

static gboolean unplug(VbSwitch *self, const char *vm_uuid, guint nic_index, GError **error)
{
    (void)self;
    return host.ports->unplug(host.ports, vm_uuid, nic_index, error);
}

static void probe(VbSwitch *self, gboolean *ret_ovs, gboolean *ret_dpdk, char **ret_problem)
{
    (void)self;
    host.ports->probe(host.ports, ret_ovs, ret_dpdk, ret_problem);
}

/* --- A guest and its effects */

typedef struct {
    LabGuest *guest;
    HostCommand *start;
    Hardware *hardware; /* As last reported. */
} Running;

static void start(Running *running)
{
    running->guest->vm->command = running->start;
    running->start->start_domain->hardware = running->hardware;
    running->hardware =
        lab_effect_done(&host, running->guest, EFFECT_START).report->domain_started->hardware;
}

/* With one vhost-user NIC, and so shared memory, or with none. */
static Running running_new(LabGuestProgram program, const char *machine, gboolean vhost_user)
{
    Running running = {.guest = lab_guest_new(program)};
    running.guest->spec->machine = arena_strdup(running.guest->arena, machine);
    if (vhost_user) {
        lab_guest_add_vhost_user_nic(running.guest, FIRST_NIC);
    }
    running.start = running.guest->vm->command;
    start(&running);
    assert_int_equal(running.hardware->shared_memory, vhost_user);
    return running;
}

static void running_end(Running *running)
{
    running->guest->vm->command = NULL;
    lab_effect_done(&host, running->guest, EFFECT_CLEAN_UP);
    lab_guest_free(running->guest);
}

static HostCommand *command_new(Running *running, gint64 limit_ms)
{
    HostCommand *command = ARENA_MSG(running->guest->arena, host_command);
    command->vm_uuid = running->guest->vm->vm_uuid;
    command->operation_id = running->guest->vm->vm_uuid;
    command->epoch = running->guest->vm->epoch;
    command->expires_ms = lab_now_ms(NULL) + limit_ms;
    running->guest->vm->command = command;
    return command;
}

static NicSpec *nic_new(Running *running, guint32 index, NicType type)
{
    NicSpec *nic = ARENA_MSG(running->guest->arena, nic_spec);
    nic->index = index;
    nic->type = type;
    return nic;
}

static void command_attach(Running *running, guint32 index, NicType type)
{
    HostCommand *command = command_new(running, LIMIT_MS);
    command->command_case = HOST_COMMAND__COMMAND_ATTACH_DEVICE;
    command->attach_device = ARENA_MSG(running->guest->arena, attach_device);
    command->attach_device->nic = nic_new(running, index, type);
    command->attach_device->spec = running->guest->spec;
    command->attach_device->hardware = running->hardware;
}

static void command_detach(Running *running, guint32 index, NicType type, gint64 limit_ms)
{
    HostCommand *command = command_new(running, limit_ms);
    command->command_case = HOST_COMMAND__COMMAND_DETACH_DEVICE;
    command->detach_device = ARENA_MSG(running->guest->arena, detach_device);
    command->detach_device->nic = nic_new(running, index, type);
    command->detach_device->spec = running->guest->spec;
    command->detach_device->hardware = running->hardware;
}

static void attach(Running *running, guint32 index, NicType type)
{
    command_attach(running, index, type);
    running->hardware =
        lab_effect_done(&host, running->guest, EFFECT_ATTACH).report->device_changed->hardware;
}

static void detach(Running *running, guint32 index, NicType type)
{
    command_detach(running, index, type, LIMIT_MS);
    running->hardware =
        lab_effect_done(&host, running->guest, EFFECT_DETACH).report->device_changed->hardware;
}

/* --- What is there */

static gboolean port_is_there(const Running *running, guint index)
{
    g_autoptr(GArray) indexes = host.ports->ports_of(host.ports, running->guest->vm->vm_uuid, NULL);
    gboolean found = FALSE;
    assert_non_null(indexes);
    for (guint i = 0; i < indexes->len; i++) {
        found = found || g_array_index(indexes, guint, i) == index;
    }
    return found;
}

static gboolean socket_is_there(const Running *running, guint index)
{
    g_autofree char *path = g_strdup_printf("%s/%s/%u", running->guest->config.run_dir,
                                            running->guest->vm->vm_uuid, index);
    return g_file_test(path, G_FILE_TEST_EXISTS);
}

static gboolean nic_runs(const Running *running, guint32 index)
{
    VbDomainFacts facts;
    assert_true(host.hypervisor->look(host.hypervisor, running->guest->arena,
                                      running->guest->vm->vm_uuid, &facts, NULL));
    return facts.presence == DOMAIN_OURS && model_nic(facts.hardware, index) != NULL;
}

static void assert_nic(const Running *running, guint32 index, gboolean there)
{
    assert_int_equal(nic_runs(running, index), there);
    assert_int_equal(port_is_there(running, index), there);
    assert_int_equal(socket_is_there(running, index), there);
}

/* "bus:slot" of a NIC. */
static char *place_of(const Running *running, guint32 index)
{
    g_autofree char *device = g_strdup_printf("nic/%u", index);
    for (size_t i = 0; i < running->hardware->n_addresses; i++) {
        const DeviceAddress *address = running->hardware->addresses[i];
        if (strcmp(address->device, device) == 0) {
            return arena_printf(running->guest->arena, "%u:%u", address->bus, address->slot);
        }
    }
    fail_msg("no address of %s", device);
    return NULL;
}

static guint count_free_places(const Running *running)
{
    VbArena *arena = running->guest->arena;
    Hardware *hardware = arena_copy(arena, running->hardware);
    guint n_places = 0;
    DeviceAddress *place = NULL;
    while ((place = domain_xml_free_place(arena, hardware)) != NULL) {
        ARENA_APPEND(arena, hardware->n_addresses, hardware->addresses, place);
        n_places++;
    }
    return n_places;
}

/* --- Tests */

static const char *const machines[] = {"q35", "pc"};

static void nics_come_and_go(void **state)
{
    (void)state;
    for (size_t i = 0; i < G_N_ELEMENTS(machines); i++) {
        Running running = running_new(GUEST_EJECTS, machines[i], TRUE);
        attach(&running, NIC, NIC_TYPE_VHOST_USER);
        const EffectiveNic *nic = model_nic(running.hardware, NIC);
        assert_int_equal(nic->asked_model, NIC_MODEL_E1000); /* The guest is a Windows. */
        assert_int_equal(nic->effective_model, NIC_MODEL_VIRTIO);
        assert_true(nic->coerced);
        assert_nic(&running, NIC, TRUE);
        g_autofree char *place = g_strdup(place_of(&running, NIC));

        attach(&running, NIC, NIC_TYPE_VHOST_USER); /* Twice is once. */
        assert_string_equal(place_of(&running, NIC), place);
        attach(&running, NIC + 1, NIC_TYPE_USER);
        assert_int_equal(model_nic(running.hardware, NIC + 1)->effective_model, NIC_MODEL_E1000);
        assert_true(nic_runs(&running, NIC + 1));
        assert_int_equal(running.hardware->n_nics, 3);

        detach(&running, NIC, NIC_TYPE_VHOST_USER);
        assert_nic(&running, NIC, FALSE);
        detach(&running, NIC, NIC_TYPE_VHOST_USER);
        detach(&running, NIC + 1, NIC_TYPE_USER);
        assert_int_equal(running.hardware->n_nics, 1);
        assert_nic(&running, FIRST_NIC, TRUE); /* Untouched all the while. */
        attach(&running, NIC, NIC_TYPE_VHOST_USER);
        assert_string_equal(place_of(&running, NIC), place); /* A freed place is a spare again. */
        running_end(&running);
    }
}

static void vhost_user_without_shared_memory_is_refused(void **state)
{
    (void)state;
    Running running = running_new(GUEST_IDLES, "q35", FALSE);
    command_attach(&running, NIC, NIC_TYPE_VHOST_USER);
    VbEffectResult result = lab_effect(&host, running.guest, EFFECT_ATTACH);
    assert_int_equal(result.error->code, ERROR_CODE_UNSUPPORTED);
    assert_non_null(strstr(result.error->message, "UpdateVm"));
    assert_int_equal(result.nic, NIC_NOTHING);
    assert_nic(&running, NIC, FALSE);
    attach(&running, NIC, NIC_TYPE_USER);
    running_end(&running);
}

static void deaf_guest_keeps_its_nic(void **state)
{
    (void)state;
    for (size_t i = 0; i < G_N_ELEMENTS(machines); i++) {
        Running running = running_new(GUEST_IDLES, machines[i], TRUE);
        attach(&running, NIC, NIC_TYPE_VHOST_USER);
        for (int times = 0; times < 2; times++) {
            command_detach(&running, NIC, NIC_TYPE_VHOST_USER, DEAF_MS);
            VbEffectResult result = lab_effect(&host, running.guest, EFFECT_DETACH);
            assert_int_equal(result.error->code, ERROR_CODE_GUEST_KEEPS_DEVICE);
            assert_nic(&running, NIC, TRUE);
        }
        running_end(&running);
    }
}

static gboolean is_removed(gpointer index)
{
    return ((guint)g_atomic_int_get(&host.removed) & 1u << GPOINTER_TO_UINT(index)) != 0;
}

/* The reset ends what the guest was asked for in vain. */
static void nic_that_is_let_go_of_later_is_told(void **state)
{
    (void)state;
    Running running = running_new(GUEST_IDLES, "q35", TRUE);
    g_autofree char *name = g_strdup_printf("vb-%s", running.guest->vm->vm_uuid);
    const char *const reset[] = {"virsh", "-c", lab_env("LIBVIRT_URI"), "reset", name, NULL};
    g_atomic_int_set(&host.removed, 0);
    attach(&running, NIC, NIC_TYPE_VHOST_USER);
    command_detach(&running, NIC, NIC_TYPE_VHOST_USER, DEAF_MS);
    VbEffectResult result = lab_effect(&host, running.guest, EFFECT_DETACH);
    assert_int_equal(result.error->code, ERROR_CODE_GUEST_KEEPS_DEVICE);
    assert_false(is_removed(GUINT_TO_POINTER(NIC)));
    g_autofree char *words = lab_run(reset);
    assert_non_null(words);
    assert_true(lab_wait_for(is_removed, GUINT_TO_POINTER(NIC)));
    assert_false(nic_runs(&running, NIC));
    assert_true(port_is_there(&running, NIC));
    uint32_t loose[] = {NIC};
    running.guest->vm->command = NULL;
    running.guest->vm->loose_ports = loose;
    running.guest->vm->n_loose_ports = 1;
    lab_effect_done(&host, running.guest, EFFECT_UNPLUG);
    running.guest->vm->n_loose_ports = 0;
    assert_nic(&running, NIC, FALSE);
    assert_nic(&running, FIRST_NIC, TRUE);
    running_end(&running);
}

/* Of one that a forced stop cut short, say, and that no record knows. */
static void nic_of_another_kind_is_no_success(void **state)
{
    (void)state;
    Running running = running_new(GUEST_EJECTS, "q35", TRUE);
    attach(&running, NIC, NIC_TYPE_VHOST_USER);
    command_attach(&running, NIC, NIC_TYPE_USER);
    VbEffectResult result = lab_effect(&host, running.guest, EFFECT_ATTACH);
    assert_int_equal(result.error->code, ERROR_CODE_UNSUPPORTED);
    assert_non_null(strstr(result.error->message, "VhostUser, Virtio"));
    assert_nic(&running, NIC, TRUE);
    detach(&running, NIC, NIC_TYPE_VHOST_USER);
    attach(&running, NIC, NIC_TYPE_USER);
    running_end(&running);
}

/* Whatever comes or goes, after the next start each NIC is where it was, and there is room again. */
static void nics_stay_where_they_are_over_a_start(void **state)
{
    (void)state;
    for (size_t i = 0; i < G_N_ELEMENTS(machines); i++) {
        Running running = running_new(GUEST_EJECTS, machines[i], TRUE);
        assert_true(count_free_places(&running) >= SPARE_PORTS);
        attach(&running, NIC, NIC_TYPE_VHOST_USER);
        attach(&running, NIC + 1, NIC_TYPE_USER);
        attach(&running, NIC + 2, NIC_TYPE_USER);
        detach(&running, NIC + 1, NIC_TYPE_USER);
        char *first = place_of(&running, FIRST_NIC);
        char *vhost_user = place_of(&running, NIC);
        char *user = place_of(&running, NIC + 2);

        running.guest->vm->command = NULL;
        lab_effect_done(&host, running.guest, EFFECT_CLEAN_UP);
        lab_guest_add_vhost_user_nic(running.guest, NIC);
        VmSpec *spec = running.guest->spec;
        NicSpec *nic = nic_new(&running, NIC + 2, NIC_TYPE_USER);
        ARENA_APPEND(running.guest->arena, spec->n_nics, spec->nics, nic);
        nic = nic_new(&running, NIC + 3, NIC_TYPE_USER); /* And a new one. */
        ARENA_APPEND(running.guest->arena, spec->n_nics, spec->nics, nic);
        start(&running);
        assert_string_equal(place_of(&running, FIRST_NIC), first);
        assert_string_equal(place_of(&running, NIC), vhost_user);
        assert_string_equal(place_of(&running, NIC + 2), user);
        assert_true(count_free_places(&running) >= SPARE_PORTS);
        running_end(&running);
    }
}

static void nics_beyond_the_last_slot_are_refused(void **state)
{
    (void)state;
    Running running = running_new(GUEST_IDLES, "q35", FALSE);
    guint n_places = count_free_places(&running);
    assert_true(n_places >= SPARE_PORTS);
    for (guint32 i = 0; i < n_places; i++) {
        attach(&running, i, NIC_TYPE_USER);
    }
    command_attach(&running, n_places, NIC_TYPE_USER);
    VbEffectResult result = lab_effect(&host, running.guest, EFFECT_ATTACH);
    assert_int_equal(result.error->code, ERROR_CODE_UNSUPPORTED);
    assert_non_null(strstr(result.error->message, "no free slot"));
    running_end(&running);
}

/* --- Attaches that get stuck: OVS does not connect to the NIC's socket. */

/* These outlive a test that fails in the midst of one. */
typedef struct {
    Running running;
    LabEffects *on;
    LabWork work;
    VbEffectResult result;
} Stuck;

static Stuck stuck;
static Stuck again;

static void stuck_run(gpointer data)
{
    Stuck *attach = data;
    attach->result = lab_effect(attach->on, attach->running.guest, EFFECT_ATTACH);
}

typedef struct {
    const Running *running;
    gboolean looked;
} Look;

/* The NIC is in the XML and not in the guest. Looks go on all the while; one that fails is the end
 * of the wait. */
static gboolean is_changing(gpointer data)
{
    Look *look = data;
    g_autoptr(VbArena) arena = arena_new();
    VbDomainFacts facts;
    look->looked = host.hypervisor->look(host.hypervisor, arena, look->running->guest->vm->vm_uuid,
                                         &facts, NULL);
    return !look->looked || (facts.presence == DOMAIN_OURS && facts.changing &&
                             model_nic(facts.hardware, NIC) != NULL);
}

static void stuck_start(void)
{
    stuck = (Stuck){.running = running_new(GUEST_IDLES, "q35", TRUE), .on = &freezing};
    command_attach(&stuck.running, NIC, NIC_TYPE_VHOST_USER);
    stuck.running.guest->vm->command->expires_ms = lab_now_ms(NULL) + 2 * DEAF_MS;
    lab_work_begin(&stuck.work, stuck_run, &stuck);
    Look look = {.running = &stuck.running};
    gboolean changing = lab_wait_for(is_changing, &look);
    assert_true(changing && look.looked);
}

static gboolean is_past(gpointer deadline_ms)
{
    return lab_now_ms(NULL) > *(const gint64 *)deadline_ms;
}

static void stuck_attach_goes_on_when_ovs_is_back(void **state)
{
    (void)state;
    stuck_start();
    /* The agent dies, comes back and does it again: it does not believe the XML. */
    again = (Stuck){.running = stuck.running, .on = &host};
    lab_work_begin(&again.work, stuck_run, &again);
    gint64 expires_ms = stuck.running.guest->vm->command->expires_ms;
    assert_true(lab_wait_for(is_past, &expires_ms));
    assert_false(lab_work_is_done(&stuck.work)); /* It has expired, and is not ended. */
    assert_false(lab_work_is_done(&again.work));
    signal_ovs(SIGCONT);
    lab_work_end(&stuck.work);
    lab_work_end(&again.work);
    assert_null(stuck.result.error);
    assert_null(again.result.error);
    assert_non_null(again.result.report->device_changed->attached);
    assert_nic(&stuck.running, NIC, TRUE);
    running_end(&stuck.running);
}

static void stuck_attach_ends_for_a_command_that_ends_the_domain(void **state)
{
    (void)state;
    stuck_start();
    g_atomic_int_set(&freezing.preempted, TRUE);
    assert_true(lab_wait_for(lab_work_is_done, &stuck.work));
    signal_ovs(SIGCONT);
    lab_work_end(&stuck.work);
    assert_int_equal(stuck.result.error->code, ERROR_CODE_PREEMPTED);
    assert_int_equal(stuck.result.stop_reason, STOP_REASON_REQUESTED);
    assert_int_equal(lab_effect_done(&host, stuck.running.guest, EFFECT_LOOK).facts.presence,
                     DOMAIN_NONE);
    stuck.running.guest->vm->command = NULL;
    lab_effect_done(&host, stuck.running.guest, EFFECT_CLEAN_UP);
    assert_nic(&stuck.running, NIC, FALSE);
    running_end(&stuck.running);
}

/* A test that failed leaves neither OVS standing still nor an attach at work. */
static int thaw(void **state)
{
    (void)state;
    gboolean is_up = lab_up("ovs");
    lab_work_end(&stuck.work);
    lab_work_end(&again.work);
    g_atomic_int_set(&freezing.preempted, FALSE);
    return is_up ? 0 : -1;
}

int main(void)
{
    signal(SIGPIPE, SIG_IGN); /* As each daemon does: libvirt's client relies on it. */
    VbSwitch freezer = {.plug = plug_and_freeze, .unplug = unplug, .probe = probe};
    lab_effects_open(&host);
    freezing = (LabEffects){.hypervisor = host.hypervisor, .ports = &freezer};
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nics_come_and_go),
        cmocka_unit_test(vhost_user_without_shared_memory_is_refused),
        cmocka_unit_test(deaf_guest_keeps_its_nic),
        cmocka_unit_test(nic_that_is_let_go_of_later_is_told),
        cmocka_unit_test(nic_of_another_kind_is_no_success),
        cmocka_unit_test(nics_stay_where_they_are_over_a_start),
        cmocka_unit_test(nics_beyond_the_last_slot_are_refused),
        cmocka_unit_test_teardown(stuck_attach_goes_on_when_ovs_is_back, thaw),
        cmocka_unit_test_teardown(stuck_attach_ends_for_a_command_that_ends_the_domain, thaw),
    };
    int n_failed = cmocka_run_group_tests(tests, NULL, NULL);
    lab_effects_close(&host);
    return n_failed;
}
