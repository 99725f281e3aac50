/* What goes wrong on a real host, and the way back: each refusal has its own code, leaves nothing
 * behind, and loses no record. No test waits for a guest's boot: guests are stopped by force as
 * soon as they run. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "tests/lib/lab_guest.h"
#include "tests/lib/stack_vm.h"

#define PLAIN_TEMPLATE "/usr/share/OVMF/OVMF_VARS_4M.fd"
#define SHORT_DEADLINE "10s" /* The least that is allowed. */

static Stack *stack;

/* ---- VMs */

/* A Legacy BIOS guest with an empty disk; `nic` may be NULL. Its uuid (g_free). */
static char *bios_vm(const char *storage, const char *nic)
{
    return stack_vm_new(stack, "--name", "A small guest", "--platform", "windows", "--vcpus", "1",
                        "--memory", "32MiB", "--storage", storage, "--disk", "1MiB",
                        nic != NULL ? "--nic" : NULL, nic, NULL);
}

/* UEFI with firmware state, and these words. Its uuid (g_free). */
#define UEFI_VM(...)                                                                               \
    stack_vm_new(stack, "--name", "With state", "--platform", "linux", "--firmware", "uefi",       \
                 "--vcpus", "1", "--memory", "128MiB", "--storage", "local:local", "--disk",       \
                 "1MiB", __VA_ARGS__, NULL)

/* ---- Firmware state */

/* Puts something else where the variable store was, which is now at `kept`. */
typedef void (*Damage)(const char *path, const char *kept);

static void leave_nothing(const char *path, const char *kept)
{
    (void)path;
    (void)kept;
}

static void leave_half(const char *path, const char *kept)
{
    g_autofree char *bytes = NULL;
    gsize size_bytes = 0;
    assert_true(g_file_get_contents(kept, &bytes, &size_bytes, NULL));
    assert_true(g_file_set_contents(path, bytes, (gssize)size_bytes / 2, NULL));
}

static void leave_symlink(const char *path, const char *kept)
{
    assert_int_equal(symlink(kept, path), 0);
}

static void leave_hard_link(const char *path, const char *kept)
{
    assert_int_equal(link(kept, path), 0);
}

static void leave_plain_template(const char *path, const char *kept)
{
    (void)kept;
    g_autofree char *bytes = NULL;
    gsize size_bytes = 0;
    assert_true(g_file_get_contents(PLAIN_TEMPLATE, &bytes, &size_bytes, NULL));
    assert_true(g_file_set_contents(path, bytes, (gssize)size_bytes, NULL));
}

/* Its record is `volume` still: uuid, generation, path and all. */
static void assert_same_store(const char *vm, JsonNode *volume)
{
    g_autoptr(JsonNode) volume_now = stack_volume(stack, vm, "NV_RAM");
    assert_true(json_node_equal(volume_now, volume));
}

static void damage_is_refused_and_mended(Damage damage, ErrorCode code)
{
    g_autofree char *vm = stack_vm_settled(stack, UEFI_VM("--secure-boot", "on"));
    g_autoptr(JsonNode) volume = stack_volume(stack, vm, "NV_RAM");
    g_autofree char *path = stack_volume_path(stack, vm, "NV_RAM");
    g_autofree char *kept = g_strdup_printf("%s/%s.kept", stack->folder, vm);
    assert_int_equal(rename(path, kept), 0);
    damage(path, kept);
    stack_vm_start_refused_without_trace(stack, vm, code, path);
    stack_vm_shows(stack, vm, "vm.status", "VM_STATUS_STOPPED");

    unlink(path);
    assert_int_equal(rename(kept, path), 0);
    stack_vm_starts_and_stops(stack, vm);
    assert_same_store(vm, volume);
}

static void nvram_gone(void **state)
{
    (void)state;
    damage_is_refused_and_mended(leave_nothing, ERROR_CODE_NVRAM_MISSING);
}

static void nvram_truncated(void **state)
{
    (void)state;
    damage_is_refused_and_mended(leave_half, ERROR_CODE_NVRAM_CORRUPT);
}

static void nvram_is_a_symlink(void **state)
{
    (void)state;
    damage_is_refused_and_mended(leave_symlink, ERROR_CODE_NVRAM_UNSAFE_FILE);
}

static void nvram_has_two_names(void **state)
{
    (void)state;
    damage_is_refused_and_mended(leave_hard_link, ERROR_CODE_NVRAM_UNSAFE_FILE);
}

static void nvram_without_keys(void **state)
{
    (void)state;
    damage_is_refused_and_mended(leave_plain_template, ERROR_CODE_NVRAM_SECURE_BOOT_MISMATCH);
}

static void assert_status(const char *vm, const char *volume_uuid, const char *wanted)
{
    g_autoptr(JsonNode) volume = stack_volume_by(stack, vm, "uuid", volume_uuid);
    g_autofree char *status = stack_text(volume, "status");
    assert_string_equal(status, wanted);
}

static void assert_bytes(const char *path, const char *sha256)
{
    g_autofree char *found = stack_sha256(path);
    assert_string_equal(found, sha256);
}

static void starts_with_store_and_stops(const char *vm, const char *path)
{
    g_autofree char *element = g_strdup_printf(">%s</nvram>", path);
    stack_vm_start(stack, vm);
    g_autofree char *xml = stack_run(stack, STACK_VIRSH, "dumpxml", vm, NULL);
    stack_vm_force_stop(stack, vm);
    stack_vm_expect_nothing_lives(stack, vm);
    if (strstr(xml, element) == NULL) {
        stack_fail(stack, "VM %s ran with another variable store than %s: %s", vm, path, xml);
    }
}

/* Both ways out of a start that is refused for its store: a blank one now, and the old one after
 * all, once somebody has found its file. Neither deletes a file. */
static void damage_is_replaced_then_adopted(Damage damage, ErrorCode code)
{
    g_autofree char *vm = stack_vm_settled(stack, UEFI_VM("--secure-boot", "on"));
    g_autoptr(JsonNode) old = stack_volume(stack, vm, "NV_RAM");
    g_autofree char *old_uuid = stack_text(old, "uuid");
    g_autofree char *path = stack_path_of(stack, old);
    g_autofree char *kept = g_strdup_printf("%s/%s.kept", stack->folder, vm);
    g_autofree char *bytes = stack_sha256(path);
    assert_int_equal(rename(path, kept), 0);
    damage(path, kept);
    g_autofree char *damaged = stack_sha256(path);
    stack_vm_start_refused_without_trace(stack, vm, code, path);

    stack_answer_free(stack_done(stack, "vm", "reset-nvram", vm, NULL));
    assert_status(vm, old_uuid, "VOLUME_STATUS_RETAINED");
    stack_vm_starts_and_stops(stack, vm);
    g_autoptr(JsonNode) new = stack_volume_by(stack, vm, "generation", "2");
    g_autofree char *new_uuid = stack_text(new, "uuid");
    g_autofree char *new_path = stack_path_of(stack, new);
    starts_with_store_and_stops(vm, new_path);
    g_autofree char *new_bytes = stack_sha256(new_path);
    assert_status(vm, new_uuid, "VOLUME_STATUS_READY");
    assert_status(vm, old_uuid, "VOLUME_STATUS_RETAINED");
    assert_bytes(path, damaged); /* Such as it is. */

    assert_int_equal(rename(kept, path), 0);
    stack_answer_free(stack_done(stack, "vm", "adopt-volume", vm, old_uuid, NULL));
    assert_status(vm, new_uuid, "VOLUME_STATUS_RETAINED");
    g_autoptr(JsonNode) old_now = stack_volume_by(stack, vm, "uuid", old_uuid);
    assert_true(json_node_equal(old_now, old));
    assert_bytes(path, bytes);
    starts_with_store_and_stops(vm, path);
    assert_status(vm, old_uuid, "VOLUME_STATUS_READY");
    assert_bytes(new_path, new_bytes);
}

static void lost_nvram_is_replaced_then_adopted(void **state)
{
    (void)state;
    damage_is_replaced_then_adopted(leave_nothing, ERROR_CODE_NVRAM_MISSING);
}

static void torn_nvram_is_replaced_then_adopted(void **state)
{
    (void)state;
    damage_is_replaced_then_adopted(leave_half, ERROR_CODE_NVRAM_CORRUPT);
}

static void tpm_state_emptied(void **state)
{
    (void)state;
    g_autofree char *vm = stack_vm_settled(stack, UEFI_VM("--secure-boot", "off", "--tpm"));
    g_autofree char *folder = stack_volume_path(stack, vm, "TPM_STATE");
    g_autofree char *path = g_build_filename(folder, "tpm2", "tpm2-00.permall", NULL);
    g_autofree char *kept = g_strdup_printf("%s.kept", folder);
    g_free(stack_run(stack, "cp", "-p", path, kept, NULL));
    assert_int_equal(truncate(path, 0), 0);
    stack_vm_start_refused_without_trace(stack, vm, ERROR_CODE_TPM_STATE_MISSING, "");
    g_free(stack_run(stack, "cp", "-p", kept, path, NULL));
    stack_vm_starts_and_stops(stack, vm);
    unlink(kept);
}

/* ---- Open vSwitch and sockets */

static void bridge_is_unknown(void **state)
{
    (void)state;
    g_autofree char *vm = bios_vm("local:local", "vhost-user,bridge=br-none");
    stack_vm_start_refused(stack, vm, ERROR_CODE_OVS_PORT_REFUSED, "br-none");
    stack_vm_shows(stack, vm, "vm.status", "VM_STATUS_CREATED");
}

static void vswitchd_is_down(void **state)
{
    (void)state;
    g_autofree char *vm =
        stack_vm_settled(stack, UEFI_VM("--secure-boot", "on", "--nic", "vhost-user"));
    g_autoptr(JsonNode) volume = stack_volume(stack, vm, "NV_RAM");
    g_autofree char *path = stack_path_of(stack, volume);
    g_autofree char *bytes = stack_sha256(path);
    assert_string_not_equal(bytes, "");
    stack_signal_by_file(stack, lab_env("OVS_PIDFILE"), SIGKILL);
    stack_answer_free(stack_refused(stack, ERROR_CODE_OVS_UNAVAILABLE, "vm", "start", vm, "--host",
                                    stack->host_uuid, NULL));
    assert_true(lab_up("ovs"));
    stack_vm_expect_nothing_lives(stack, vm);
    assert_same_store(vm, volume);
    assert_bytes(path, bytes);
    stack_vm_starts_and_stops(stack, vm);
    assert_same_store(vm, volume);
}

static void run_folder_is_too_long(void **state)
{
    (void)state;
    g_autofree char *vm = stack_vm_settled(stack, bios_vm("local:local", "vhost-user"));
    g_autofree char *tail = g_strnfill(60, 'r');
    stack_set_run_dir(stack, tail);
    stack_restart(stack, STACK_HOST_AGENT);
    stack_vm_start_refused_without_trace(stack, vm, ERROR_CODE_SOCKET_PATH_TOO_LONG, "");
    g_autofree char *content = stack_run(stack, "find", stack->run_dir, "-mindepth", "1", NULL);
    assert_string_equal(content, "");

    stack_set_run_dir(stack, "run");
    stack_restart(stack, STACK_HOST_AGENT);
    stack_vm_starts_and_stops(stack, vm);
}

/* ---- What is not where it is looked for */

static void foreign_domain_is_left_alone(void **state)
{
    (void)state;
    g_autofree char *vm = stack_vm_settled(stack, bios_vm("local:local", "vhost-user"));
    g_autofree char *path = g_build_filename(stack->folder, "foreign.xml", NULL);
    g_autofree char *xml = g_strdup_printf(
        "<domain type='qemu'><name>foreign-%s</name><uuid>%s</uuid><memory unit='MiB'>32</memory>"
        "<os><type arch='x86_64' machine='q35'>hvm</type></os></domain>",
        vm, vm);
    assert_true(g_file_set_contents(path, xml, -1, NULL));
    g_free(stack_run(stack, STACK_VIRSH, "create", path, NULL));
    g_autofree char *id = stack_run(stack, STACK_VIRSH, "domid", vm, NULL);
    g_autofree char *live = stack_live(stack, vm);
    stack_answer_free(stack_refused(stack, ERROR_CODE_FOREIGN_DOMAIN, "vm", "start", vm, "--host",
                                    stack->host_uuid, NULL));
    g_autofree char *id_now = stack_run(stack, STACK_VIRSH, "domid", vm, NULL);
    g_autofree char *live_now = stack_live(stack, vm);
    g_free(stack_run(stack, STACK_VIRSH, "destroy", vm, NULL));
    assert_string_equal(id_now, id);
    assert_string_equal(live_now, live);
    stack_vm_starts_and_stops(stack, vm);
}

static void host_is_unknown(void **state)
{
    (void)state;
    g_autofree char *vm = bios_vm("local:local", NULL);
    char nobody[UUID_TEXT_BYTES];
    uuid_random(nobody);
    stack_answer_free(
        stack_refused(stack, ERROR_CODE_HOST_UNKNOWN, "vm", "start", vm, "--host", nobody, NULL));
    stack_vm_shows(stack, vm, "vm.status", "VM_STATUS_CREATED");
    stack_vm_starts_and_stops(stack, vm);
}

static void storage_is_unknown(void **state)
{
    (void)state;
    g_autofree char *vm = bios_vm("nowhere:local", NULL);
    stack_vm_start_refused_without_trace(stack, vm, ERROR_CODE_STORAGE_NOT_FOUND, "nowhere");
    stack_vm_shows(stack, vm, "vm.status", "VM_STATUS_CREATED");
}

/* ---- Time */

static gboolean host_said_expired(gpointer vm)
{
    g_autoptr(StackAnswer) answer = stack_done(stack, "vm", "timeline", vm, NULL);
    g_autoptr(JsonNode) codes = json_path_query("$[*].message.error.code", answer->json, NULL);
    g_autoptr(JsonNode) topics = json_path_query("$[*].topic", answer->json, NULL);
    g_autofree char *text = json_to_string(codes, FALSE);
    g_autofree char *where = json_to_string(topics, FALSE);
    return strstr(text, "ERROR_CODE_EXPIRED") != NULL && strstr(where, "volume.reports") != NULL;
}

/* One VM that still needs its volumes made, and one that has them: the agent sleeps through both
 * starts. */
static void agent_wakes_up_too_late(void **state)
{
    (void)state;
    g_autofree char *fresh = bios_vm("local:local", NULL);
    g_autofree char *old = stack_vm_settled(stack, bios_vm("local:local", "vhost-user"));
    g_autofree char *files = stack_storage(stack);
    stack_kill(stack, STACK_HOST_AGENT);
    GSubprocess *old_start = stack_begin(stack, "vm", "start", old, "--host", stack->host_uuid,
                                         "--deadline", SHORT_DEADLINE, NULL);
    stack_answer_free(stack_refused(stack, ERROR_CODE_TIMEOUT, "vm", "start", fresh, "--host",
                                    stack->host_uuid, "--deadline", SHORT_DEADLINE, NULL));
    /* A host's commands expire before the request does, so both are late by now. */
    stack_start(stack, STACK_HOST_AGENT);
    stack_await_ready(stack);
    g_autoptr(StackAnswer) answer = stack_end(stack, old_start);
    assert_int_equal(answer->code, ERROR_CODE_EXPIRED);
    stack_await(stack, "the agent says EXPIRED", host_said_expired, fresh);
    g_autofree char *files_now = stack_storage(stack);
    assert_string_equal(files_now, files);
    stack_vm_expect_nothing_lives(stack, fresh);
    stack_vm_expect_nothing_lives(stack, old);
    stack_vm_shows(stack, fresh, "vm.status", "VM_STATUS_CREATED");
    stack_vm_shows(stack, old, "vm.status", "VM_STATUS_STOPPED");
    stack_vm_starts_and_stops(stack, fresh);
    stack_vm_starts_and_stops(stack, old);
}

/* ---- Guests that end by themselves */

static void qemu_dies(void **state)
{
    (void)state;
    g_autofree char *vm = bios_vm("local:local", "vhost-user");
    stack_vm_start(stack, vm);
    stack_vm_kill_qemu(stack, vm);
    stack_vm_becomes(stack, vm, "VM_STATUS_CRASHED", "CAUSE_GUEST_CRASH");
    stack_vm_expect_nothing_lives(stack, vm);
    stack_vm_starts_and_stops(stack, vm);
}

static void domain_is_destroyed_from_outside(void **state)
{
    (void)state;
    g_autofree char *vm = bios_vm("local:local", "vhost-user");
    stack_vm_start(stack, vm);
    g_free(stack_run(stack, STACK_VIRSH, "destroy", vm, NULL));
    stack_vm_becomes(stack, vm, "VM_STATUS_STOPPED", "CAUSE_HOST_REPORT");
    stack_vm_expect_nothing_lives(stack, vm);
    stack_vm_starts_and_stops(stack, vm);
}

static void domain_ends_while_the_agent_is_dead(void **state)
{
    (void)state;
    g_autofree char *vm = bios_vm("local:local", "vhost-user");
    stack_vm_start(stack, vm);
    stack_kill(stack, STACK_HOST_AGENT);
    g_free(stack_run(stack, STACK_VIRSH, "destroy", vm, NULL));
    stack_start(stack, STACK_HOST_AGENT);
    stack_event(stack, vm, "status_changed.to", "VM_STATUS_STOPPED");
    stack_vm_expect_nothing_lives(stack, vm);
    stack_await_ready(stack);
    stack_vm_starts_and_stops(stack, vm);
}

/* ---- Requests */

static void same_request_twice(void **state)
{
    (void)state;
    g_autofree char *vm = bios_vm("local:local", NULL);
    char request[UUID_TEXT_BYTES];
    uuid_random(request);
    g_autoptr(StackAnswer) first = stack_done(stack, "--request-id", request, "vm", "start", vm,
                                              "--host", stack->host_uuid, NULL);
    stack_vm_force_stop(stack, vm);
    g_autoptr(StackAnswer) second = stack_done(stack, "--request-id", request, "vm", "start", vm,
                                               "--host", stack->host_uuid, NULL);
    g_autofree char *repeated_first = stack_text(first->json, "repeated");
    g_autofree char *repeated_second = stack_text(second->json, "repeated");
    assert_string_equal(repeated_first, "");
    assert_string_equal(repeated_second, "true");
    stack_vm_shows(stack, vm, "vm.status", "VM_STATUS_STOPPED");
    stack_vm_expect_nothing_lives(stack, vm);
}

static void vm_service_dies_between_two_requests(void **state)
{
    (void)state;
    g_autofree char *vm = stack_vm_settled(stack, bios_vm("local:local", "vhost-user"));
    g_autoptr(StackAnswer) before = stack_done(stack, "vm", "show", vm, NULL);
    stack_kill(stack, STACK_VM_SERVICE);
    stack_start(stack, STACK_VM_SERVICE);
    g_autoptr(StackAnswer) after = stack_done(stack, "vm", "show", vm, NULL);
    JsonObject *record = json_node_get_object(before->json);
    JsonObject *record_now = json_node_get_object(after->json);
    assert_true(json_node_equal(json_object_get_member(record_now, "vm"),
                                json_object_get_member(record, "vm")));
    stack_vm_starts_and_stops(stack, vm);
}

/* The agent is held still, so that the first start cannot end before the second one is there. */
static void two_starts_at_once(void **state)
{
    (void)state;
    g_autofree char *vm = bios_vm("local:local", NULL);
    stack_signal(stack, STACK_HOST_AGENT, SIGSTOP);
    GSubprocess *first = stack_vm_start_begin(stack, vm);
    stack_event(stack, vm, "status_changed.to", "VM_STATUS_STARTING");
    StackAnswer *second = stack_ask(stack, "vm", "start", vm, "--host", stack->host_uuid, NULL);
    stack_signal(stack, STACK_HOST_AGENT, SIGCONT);
    g_autoptr(StackAnswer) answer = stack_end(stack, first);
    ErrorCode code = second->code;
    stack_answer_free(second);
    assert_int_equal(code, ERROR_CODE_BUSY);
    assert_int_equal(answer->status, 0);
    stack_vm_shows(stack, vm, "vm.status", "VM_STATUS_RUNNING");
    stack_vm_force_stop(stack, vm);
}

/* What a failed test has left dead, held still or misled is as it was before the next one. */
static int heal(void **state)
{
    (void)state;
    assert_true(lab_up("ovs"));
    stack_revive(stack);
    if (!g_str_has_suffix(stack->run_dir, "/run")) {
        stack_set_run_dir(stack, "run");
        stack_restart(stack, STACK_HOST_AGENT);
    }
    stack_await_ready(stack);
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
    return 0;
}

static int group_teardown(void **state)
{
    (void)state;
    lab_up("ovs"); /* The last test may have failed too. */
    stack_free(stack);
    return 0;
}

#define TEST(name) cmocka_unit_test_setup(name, heal)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(nvram_gone),
        TEST(nvram_truncated),
        TEST(nvram_is_a_symlink),
        TEST(nvram_has_two_names),
        TEST(nvram_without_keys),
        TEST(lost_nvram_is_replaced_then_adopted),
        TEST(torn_nvram_is_replaced_then_adopted),
        TEST(tpm_state_emptied),
        TEST(bridge_is_unknown),
        TEST(vswitchd_is_down),
        TEST(run_folder_is_too_long),
        TEST(foreign_domain_is_left_alone),
        TEST(host_is_unknown),
        TEST(storage_is_unknown),
        TEST(agent_wakes_up_too_late),
        TEST(qemu_dies),
        TEST(domain_is_destroyed_from_outside),
        TEST(domain_ends_while_the_agent_is_dead),
        TEST(same_request_twice),
        TEST(vm_service_dies_between_two_requests),
        TEST(two_starts_at_once),
        TEST(all_of_it_replays_byte_for_byte),
    };
    return cmocka_run_group_tests(tests, group_setup, group_teardown);
}
