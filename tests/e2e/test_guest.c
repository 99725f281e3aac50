/* What guests do by themselves, and what is done to them while they run: every test boots a guest
 * of one boot sector, which obeys the keyboard and the power button. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <string.h>

#include "tests/lib/boot_media.h"
#include "tests/lib/lab_guest.h"
#include "tests/lib/stack_vm.h"

#define IMAGE "obeys-keys.img"

static Stack *stack;

/* ---- VMs */

/* Recorded, with up to four more words; its uuid (g_free). */
static char *guest_new(const char *a, const char *b, const char *c, const char *d)
{
    return stack_vm_new(stack, "--name", "Obeys keys", "--platform", "windows", "--vcpus", "1",
                        "--memory", "32MiB", "--storage", "local:local", "--disk", "image=" IMAGE,
                        "--serial", a, b, c, d, NULL);
}

typedef struct {
    const char *vm;
    gsize n_boots;
} Boots;

/* The guest prints one letter at each boot. */
static gboolean has_booted(gpointer data)
{
    const Boots *boots = data;
    g_autofree char *path = g_strdup_printf("%s/serial/%s.serial.log", stack->folder, boots->vm);
    g_autofree char *text = NULL;
    gsize n = 0;
    if (g_file_get_contents(path, &text, NULL, NULL)) {
        for (const char *at = strchr(text, 'K'); at != NULL; at = strchr(at + 1, 'K')) {
            n++;
        }
    }
    return n >= boots->n_boots;
}

static void await_boots(const char *vm, gsize n_boots)
{
    Boots boots = {vm, n_boots};
    stack_await(stack, "the guest's letter on the serial console", has_booted, &boots);
}

static char *guest_running(const char *first)
{
    char *vm = guest_new(first, NULL, NULL, NULL);
    stack_vm_start(stack, vm);
    await_boots(vm, 1);
    return vm;
}

static void press(const char *vm, const char *key)
{
    g_free(stack_run(stack, STACK_VIRSH, "send-key", vm, key, NULL));
}

/* ---- By itself */

static void guest_powers_off(void **state)
{
    (void)state;
    g_autofree char *vm = guest_running(NULL);
    press(vm, "KEY_O");
    stack_event(stack, vm, "guest_event.type", "GUEST_EVENT_TYPE_SHUTDOWN");
    stack_vm_becomes(stack, vm, "VM_STATUS_STOPPED", "CAUSE_GUEST_SHUTDOWN");
    stack_vm_expect_nothing_lives(stack, vm);
    stack_vm_start(stack, vm);
    await_boots(vm, 2);
    stack_vm_force_stop(stack, vm);
}

/* The domain is the same, and so are epoch and volumes. */
static void reboots_by(const char *key)
{
    g_autofree char *vm = guest_running(NULL);
    press(vm, key);
    stack_event(stack, vm, "guest_event.type", "GUEST_EVENT_TYPE_REBOOT");
    await_boots(vm, 2);
    stack_vm_shows(stack, vm, "vm.status", "VM_STATUS_RUNNING");
    stack_vm_shows(stack, vm, "vm.epoch", "1");
    stack_vm_force_stop(stack, vm);
}

static void guest_reboots(void **state)
{
    (void)state;
    reboots_by("KEY_R");
}

static void guest_resets_by_a_triple_fault(void **state)
{
    (void)state;
    reboots_by("KEY_T");
}

static void guest_panics(void **state)
{
    (void)state;
    g_autofree char *vm = guest_running("--panic-device");
    press(vm, "KEY_P");
    stack_event(stack, vm, "guest_event.type", "GUEST_EVENT_TYPE_PANIC");
    stack_vm_becomes(stack, vm, "VM_STATUS_CRASHED", "CAUSE_GUEST_CRASH");
    stack_vm_expect_nothing_lives(stack, vm);
    stack_vm_start(stack, vm);
    stack_vm_force_stop(stack, vm);
}

/* ---- Stop and reboot */

static void graceful_stop_asks_the_guest(void **state)
{
    (void)state;
    g_autofree char *vm = guest_running(NULL);
    stack_answer_free(stack_done(stack, "vm", "stop", vm, NULL));
    stack_vm_becomes(stack, vm, "VM_STATUS_STOPPED", "CAUSE_OPERATION_DONE");
    stack_vm_expect_nothing_lives(stack, vm);
}

static void reboot_stops_and_starts(void **state)
{
    (void)state;
    g_autofree char *vm = guest_new("--nic", "vhost-user", NULL, NULL);
    stack_vm_start(stack, vm);
    await_boots(vm, 1);
    g_autofree char *root = stack_volume_path(stack, vm, "ROOT");
    stack_answer_free(stack_done(stack, "vm", "reboot", vm, NULL));
    await_boots(vm, 2);
    stack_vm_shows(stack, vm, "vm.status", "VM_STATUS_RUNNING");
    stack_vm_shows(stack, vm, "vm.epoch", "2");
    stack_vm_shows(stack, vm, "vm.hardware.nics[0].effective_model", "NIC_MODEL_VIRTIO");
    stack_answer_free(stack_done(stack, "vm", "reboot", vm, "--force", NULL));
    await_boots(vm, 3);
    stack_vm_shows(stack, vm, "vm.epoch", "3");
    g_autofree char *root_after = stack_volume_path(stack, vm, "ROOT");
    assert_string_equal(root_after, root);
    stack_vm_force_stop(stack, vm);
    stack_vm_expect_nothing_lives(stack, vm);
}

/* ---- The host goes away */

/* As a host that lost its power: no agent, no domain, no sockets. */
static void host_dies(const char *vm)
{
    stack_kill(stack, STACK_HOST_AGENT);
    g_free(stack_run(stack, STACK_VIRSH, "destroy", vm, NULL));
    g_free(stack_run(stack, "rm", "-rf", stack->run_dir, NULL));
    g_free(stack_run(stack, "mkdir", stack->run_dir, NULL));
}

static void restart_policy_restarts(void **state)
{
    (void)state;
    g_autofree char *vm = guest_new("--nic", "vhost-user", "--restart-policy", "restart");
    stack_vm_start(stack, vm);
    await_boots(vm, 1);
    host_dies(vm);
    stack_start(stack, STACK_HOST_AGENT);
    stack_vm_becomes(stack, vm, "VM_STATUS_STARTING", "CAUSE_REQUEST");
    stack_vm_becomes(stack, vm, "VM_STATUS_STARTING", "CAUSE_RESTART_POLICY");
    stack_event(stack, vm, "status_changed.to", "VM_STATUS_RUNNING");
    await_boots(vm, 2);
    stack_vm_shows(stack, vm, "vm.epoch", "2");
    stack_vm_force_stop(stack, vm);
    stack_vm_expect_nothing_lives(stack, vm);
}

static void restart_policy_leaves(void **state)
{
    (void)state;
    g_autofree char *vm = guest_running(NULL);
    host_dies(vm);
    stack_start(stack, STACK_HOST_AGENT);
    stack_vm_becomes(stack, vm, "VM_STATUS_STOPPED", "CAUSE_HOST_REPORT");
    stack_await_ready(stack);
    stack_vm_shows(stack, vm, "vm.status", "VM_STATUS_STOPPED");
    stack_vm_expect_nothing_lives(stack, vm);
}

/* The operator was wrong: the host comes back with the domain, which the VM has left. */
static void confirmed_host_comes_back(void **state)
{
    (void)state;
    g_autofree char *vm = guest_running(NULL);
    stack_kill(stack, STACK_HOST_AGENT);
    stack_answer_free(stack_refused(stack, ERROR_CODE_HOST_SILENT, "vm", "stop", vm, "--force",
                                    "--deadline", "10s", NULL));
    stack_vm_shows(stack, vm, "vm.status", "VM_STATUS_UNKNOWN");
    stack_answer_free(stack_refused(stack, ERROR_CODE_ILLEGAL_STATUS, "vm", "start", vm, "--host",
                                    stack->host_uuid, NULL));
    stack_answer_free(
        stack_done(stack, "vm", "confirm-host-down", vm, "--host", stack->host_uuid, NULL));
    stack_vm_shows(stack, vm, "vm.status", "VM_STATUS_STOPPED");
    stack_start(stack, STACK_HOST_AGENT);
    stack_event(stack, vm, "warning.error.code", "ERROR_CODE_STALE_EPOCH");
    stack_await_ready(stack);
    stack_vm_start(stack, vm);
    await_boots(vm, 2);
    stack_vm_shows(stack, vm, "vm.epoch", "2");
    stack_vm_force_stop(stack, vm);
    stack_vm_expect_nothing_lives(stack, vm);
}

/* ---- Devices */

static void nic_comes_and_the_next_start_has_it(void **state)
{
    (void)state;
    g_autofree char *vm = guest_new("--nic", "vhost-user", NULL, NULL);
    stack_vm_start(stack, vm);
    await_boots(vm, 1);
    stack_answer_free(
        stack_done(stack, "vm", "attach-nic", vm, "vhost-user,model=e1000,index=3", NULL));
    JsonNode *event = stack_event(stack, vm, "nic_coerced.index", "3");
    g_autofree char *asked = stack_text(event, "nic_coerced.asked_model");
    assert_string_equal(asked, "NIC_MODEL_E1000");
    stack_vm_shows(stack, vm, "vm.spec.nics[1].index", "3");
    stack_vm_shows(stack, vm, "vm.hardware.nics[1].effective_model", "NIC_MODEL_VIRTIO");
    g_autofree char *live = stack_live(stack, vm);
    stack_answer_free(stack_refused(stack, ERROR_CODE_INVALID_ARGUMENT, "vm", "attach-nic", vm,
                                    "vhost-user,index=3", NULL));
    stack_answer_free(stack_done(stack, "vm", "reboot", vm, NULL));
    await_boots(vm, 2);
    g_autofree char *live_after = stack_live(stack, vm);
    assert_string_equal(live_after, live);
    stack_vm_force_stop(stack, vm);
    stack_vm_expect_nothing_lives(stack, vm);
}

static void guest_that_keeps_its_nic(void **state)
{
    (void)state;
    g_autofree char *vm = guest_new("--nic", "vhost-user", NULL, NULL);
    stack_vm_start(stack, vm);
    await_boots(vm, 1);
    stack_answer_free(stack_refused(stack, ERROR_CODE_GUEST_KEEPS_DEVICE, "vm", "detach-nic", vm,
                                    "0", "--deadline", "10s", NULL));
    stack_vm_shows(stack, vm, "vm.status", "VM_STATUS_RUNNING");
    stack_vm_shows(stack, vm, "vm.spec.nics[0].type", "NIC_TYPE_VHOST_USER");
    stack_vm_force_stop(stack, vm);
    stack_vm_expect_nothing_lives(stack, vm);
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
    g_autofree char *path = g_strdup_printf("%s/storage/images/" IMAGE, stack->folder);
    boot_media_disk(path, BOOT_OBEYS_KEYS, 'K');
    return 0;
}

static int group_teardown(void **state)
{
    (void)state;
    stack_free(stack);
    return 0;
}

static int heal(void **state)
{
    (void)state;
    stack_revive(stack);
    stack_await_ready(stack);
    return 0;
}

#define TEST(name) cmocka_unit_test_setup(name, heal)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(guest_powers_off),
        TEST(guest_reboots),
        TEST(guest_resets_by_a_triple_fault),
        TEST(guest_panics),
        TEST(graceful_stop_asks_the_guest),
        TEST(reboot_stops_and_starts),
        TEST(restart_policy_restarts),
        TEST(restart_policy_leaves),
        TEST(confirmed_host_comes_back),
        TEST(nic_comes_and_the_next_start_has_it),
        TEST(guest_that_keeps_its_nic),
        TEST(all_of_it_replays_byte_for_byte),
    };
    return cmocka_run_group_tests(tests, group_setup, group_teardown);
}
