/* One Windows VM's whole life on the real everything: UEFI, Secure Boot, TPM 2.0, and a vhost-user
 * NIC asked as e1000. All three daemons are killed in the middle of its second start. Its firmware
 * boots twice. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <string.h>
#include <sys/stat.h>

#include "services/host-agent/nvram_vars.h"
#include "tests/lib/lab_guest.h"
#include "tests/lib/stack_vm.h"

enum { NVRAM_BYTES = 540672 };

static Stack *stack;
static char *vm;

/* What must stay the same from one stop to the next, and what must grow. */
typedef struct {
    char *uuid; /* Of the NVRAM volume. */
    char *path;
    ino_t inode;
    guint32 mtc; /* The firmware's own counter of boots. */
    char *tpm_key;
    int tpm_resets;
} State;

static void state_clear(State *state)
{
    g_free(state->uuid);
    g_free(state->path);
    g_free(state->tpm_key);
}
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(State, state_clear)

/* ---- Firmware state */

static VbNvramFacts variables(const char *path)
{
    g_autofree char *bytes = NULL;
    gsize size_bytes = 0;
    VbNvramFacts facts;
    g_autoptr(GError) error = NULL;
    if (!g_file_get_contents(path, &bytes, &size_bytes, &error) ||
        !nvram_vars_read(bytes, size_bytes, &facts, &error)) {
        stack_fail(stack, "%s", error->message);
    }
    return facts;
}

typedef struct {
    const char *path;
    guint32 before;
} Boot;

static gboolean has_booted(gpointer data)
{
    const Boot *boot = data;
    VbNvramFacts facts = variables(boot->path);
    return facts.has_mtc && facts.mtc > boot->before;
}

static gboolean is_connected(gpointer data)
{
    (void)data;
    g_autofree char *db = g_strdup_printf("--db=%s", lab_env("OVS_DB"));
    g_autofree char *id = g_strdup_printf("external_ids:virtbus-vm=%s", vm);
    g_autofree char *status = stack_run(stack, "ovs-vsctl", "--timeout=10", db, "--bare",
                                        "--columns=status", "find", "Interface", id, NULL);
    return strstr(status, "status=connected") != NULL;
}

/* The firmware counts the boot in the variable store, and its own virtio driver has met OVS. */
static void await_boot(guint32 mtc_before)
{
    g_autofree char *path = stack_volume_path(stack, vm, "NV_RAM");
    Boot boot = {.path = path, .before = mtc_before};
    stack_await(stack, "the firmware counts one more boot", has_booted, &boot);
    stack_await(stack, "OVS is connected to the guest's NIC", is_connected, NULL);
}

/* All that is looked at while the VM is stopped. */
static State state_read(void)
{
    State state = {.path = stack_volume_path(stack, vm, "NV_RAM")};
    struct stat facts;
    assert_int_equal(lstat(state.path, &facts), 0);
    assert_true(S_ISREG(facts.st_mode));
    assert_int_equal(facts.st_mode & 07777, 0600);
    assert_int_equal(facts.st_nlink, 1);
    assert_int_equal(facts.st_size, NVRAM_BYTES);
    state.inode = facts.st_ino;
    VbNvramFacts found = variables(state.path);
    assert_true(found.has_pk);
    assert_true(found.secure_boot);
    state.mtc = found.mtc;

    g_autoptr(JsonNode) volume = stack_volume(stack, vm, "NV_RAM");
    g_autofree char *size = stack_text(volume, "actual_size_bytes");
    g_autofree char *status = stack_text(volume, "status");
    state.uuid = stack_text(volume, "uuid");
    assert_string_equal(size, G_STRINGIFY(540672));
    assert_string_equal(status, "VOLUME_STATUS_READY");

    g_autofree char *tpm = stack_volume_path(stack, vm, "TPM_STATE");
    g_autofree char *folder = g_build_filename(tpm, "tpm2", NULL);
    g_autofree char *text = stack_run(stack, SOURCE_DIR "/tests/lib/tpm-identity", folder, NULL);
    g_autoptr(JsonNode) identity = json_from_string(text, NULL);
    g_autofree char *resets = stack_text(identity, "resets");
    state.tpm_key = stack_text(identity, "key");
    state.tpm_resets = (int)g_ascii_strtoll(resets, NULL, 10);
    assert_true(strlen(state.tpm_key) > 0);
    return state;
}

/* ---- The life, in order */

static void first_start_makes_everything(void **unused)
{
    (void)unused;
    vm = stack_vm_new(stack, "--name", "A whole life", "--platform", "windows", "--firmware",
                      "uefi", "--secure-boot", "on", "--tpm", "--vcpus", "1", "--memory", "256MiB",
                      "--storage", "local:local", "--disk", "1GiB", "--nic", "vhost-user", NULL);
    g_autofree char *before = stack_storage(stack);
    assert_string_equal(before, "");
    stack_vm_start(stack, vm);
    await_boot(0);
}

static void nic_is_virtio_and_recorded_so(void **unused)
{
    (void)unused;
    stack_vm_shows(stack, vm, "vm.hardware.nics[0].asked_model", "NIC_MODEL_E1000");
    stack_vm_shows(stack, vm, "vm.hardware.nics[0].effective_model", "NIC_MODEL_VIRTIO");
    stack_vm_shows(stack, vm, "vm.hardware.nics[0].coerced", "true");
    JsonNode *event = stack_event(stack, vm, "nic_coerced.effective_model", "NIC_MODEL_VIRTIO");
    g_autofree char *told = stack_text(event, "nic_coerced.asked_model");
    assert_string_equal(told, "NIC_MODEL_E1000");
    g_autofree char *xml = stack_run(stack, STACK_VIRSH, "dumpxml", vm, NULL);
    assert_non_null(strstr(xml, "<model type='virtio'/>"));
    assert_null(strstr(xml, "e1000"));
}

/* Waits until the second start is with the host, then kills everything. */
static StackAnswer *start_under_fire(void)
{
    stack_event(stack, vm, "status_changed.to", "VM_STATUS_STOPPED");
    GSubprocess *request = stack_vm_start_begin(stack, vm);
    stack_event(stack, vm, "progress.phase", "OPERATION_PHASE_STARTING_DOMAIN");
    for (StackDaemon daemon = 0; daemon < STACK_N_DAEMONS; daemon++) {
        stack_kill(stack, daemon);
    }
    for (StackDaemon daemon = 0; daemon < STACK_N_DAEMONS; daemon++) {
        stack_start(stack, daemon);
    }
    stack_await_ready(stack);
    return stack_end(stack, request);
}

static void second_start_survives_the_death_of_all(void **unused)
{
    (void)unused;
    stack_vm_force_stop(stack, vm);
    g_auto(State) first = state_read();
    g_autofree char *files = stack_storage(stack);

    g_autoptr(StackAnswer) answer = start_under_fire();
    if (answer->code == ERROR_CODE_INTERRUPTED) {
        stack_vm_expect_nothing_lives(stack, vm);
        stack_vm_start(stack, vm);
    } else if (answer->status != 0) {
        stack_fail(stack, "neither done nor INTERRUPTED: %s", answer->words);
    }
    stack_vm_shows(stack, vm, "vm.status", "VM_STATUS_RUNNING");
    await_boot(first.mtc);
    stack_vm_force_stop(stack, vm);

    g_auto(State) second = state_read();
    assert_string_equal(second.uuid, first.uuid);
    assert_string_equal(second.path, first.path);
    assert_int_equal(second.inode, first.inode);
    assert_true(second.mtc > first.mtc);
    assert_string_equal(second.tpm_key, first.tpm_key);
    assert_true(second.tpm_resets > first.tpm_resets);
    g_autofree char *files_now = stack_storage(stack);
    assert_string_equal(files_now, files);
}

/* The list of volumes, as text (g_free). */
static char *volumes(void)
{
    g_autoptr(StackAnswer) answer = stack_done(stack, "volume", "list", vm, NULL);
    return stack_text(answer->json, "volumes");
}

static void destroyed_vm_is_recovered_with_its_volumes(void **unused)
{
    (void)unused;
    g_auto(State) before = state_read();
    g_autofree char *bytes = stack_sha256(before.path);
    g_autofree char *files = stack_storage(stack);
    g_autofree char *list = volumes();
    stack_answer_free(stack_done(stack, "vm", "destroy", vm, NULL));
    stack_vm_shows(stack, vm, "vm.status", "VM_STATUS_DESTROYED");
    stack_vm_start_refused(stack, vm, ERROR_CODE_ILLEGAL_STATUS, "Destroyed");
    stack_answer_free(stack_done(stack, "vm", "recover", vm, NULL));
    stack_vm_shows(stack, vm, "vm.status", "VM_STATUS_STOPPED");

    g_auto(State) after = state_read();
    g_autofree char *bytes_now = stack_sha256(after.path);
    g_autofree char *files_now = stack_storage(stack);
    g_autofree char *list_now = volumes();
    assert_string_equal(list_now, list);
    assert_string_equal(files_now, files);
    assert_string_equal(bytes_now, bytes);
    assert_int_equal(after.inode, before.inode);
    assert_string_equal(after.tpm_key, before.tpm_key);
}

static void expunge_leaves_nothing(void **unused)
{
    (void)unused;
    g_autofree char *files = stack_storage(stack);
    stack_answer_free(stack_done(stack, "vm", "destroy", vm, NULL));
    g_autofree char *files_now = stack_storage(stack);
    assert_string_equal(files_now, files);
    stack_answer_free(stack_done(stack, "vm", "expunge", vm, NULL));
    stack_await_nothing_left(stack);
}

static void daemons_end_in_order(void **unused)
{
    (void)unused;
    for (StackDaemon daemon = 0; daemon < STACK_N_DAEMONS; daemon++) {
        assert_true(stack_stop(stack, daemon));
    }
}

static void all_of_it_replays_byte_for_byte(void **unused)
{
    (void)unused;
    stack_replay(stack);
}

static int group_setup(void **unused)
{
    (void)unused;
    stack = stack_new();
    return 0;
}

static int group_teardown(void **unused)
{
    (void)unused;
    stack_free(stack);
    g_free(vm);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(first_start_makes_everything),
        cmocka_unit_test(nic_is_virtio_and_recorded_so),
        cmocka_unit_test(second_start_survives_the_death_of_all),
        cmocka_unit_test(destroyed_vm_is_recovered_with_its_volumes),
        cmocka_unit_test(expunge_leaves_nothing),
        cmocka_unit_test(daemons_end_in_order),
        cmocka_unit_test(all_of_it_replays_byte_for_byte),
    };
    return cmocka_run_group_tests(tests, group_setup, group_teardown);
}
