/* Linux with Secure Boot on the real everything: Debian's signed shim, grub and kernel, a TPM 2.0
 * and a vhost-user NIC asked as e1000. The guest counts its boots in a variable of its own; the
 * count has to outlive a stop, the death of every process, a reboot from outside and one from
 * inside. Its firmware boots five times, and once more for a disk that nobody has signed. What the
 * guest finds is read from the log of its serial console (tests/lib/linux-guest says what it
 * writes there). */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tests/lib/lab_guest.h"
#include "tests/lib/stack_vm.h"

#define GUEST_LINE  "virtbus-guest: "
#define POWERED_OFF "reboot: Power down"

enum {
    BOOT_WAIT_MS = 300000, /* An idle machine needs 20 s. */
    POLL_MS = 500,
    LOG_TAIL_BYTES = 4000,
    VARIABLE_NAME_OFFSET = 60, /* In edk2's authenticated variable header ... */
    VARIABLE_GUID_BYTES = 16,  /* ... whose last field this is. */
    VARIABLE_STATE_OFFSET = 2,
    VARIABLE_ADDED = 0x3f, /* Written completely and not deleted. */
};

static Stack *stack;
static char *images; /* Made by tests/lib/linux-guest. */
static char *vm;
static int n_boots; /* Of `vm`; and so what the guest must have counted. */
static char *pcr7;  /* What the TPM measured of Secure Boot at the first boot. */
static char *nvram; /* The NVRAM volume's uuid and generation after the first boot. */

/* ---- The serial console */

/* All that the guest has ever written; "" before its first word. */
static char *serial_log(const char *uuid)
{
    g_autofree char *path = g_strdup_printf("%s/serial/%s.serial.log", stack->folder, uuid);
    g_autofree char *text = NULL;
    gsize size_bytes = 0;
    if (!g_file_get_contents(path, &text, &size_bytes, NULL)) {
        return g_strdup("");
    }
    for (gsize i = 0; i < size_bytes; i++) {
        text[i] = text[i] != '\0' ? text[i] : '?';
    }
    return g_steal_pointer(&text);
}

/* The whole line in which `what` stands for the n-th time (g_free); NULL: it is not there yet. */
static char *serial_line(const char *uuid, const char *what, int n)
{
    g_autofree char *text = serial_log(uuid);
    const char *at = text;
    for (int i = 0; i < n; i++) {
        at = strstr(i == 0 ? at : at + 1, what);
        if (at == NULL) {
            return NULL;
        }
    }
    const char *end = strpbrk(at, "\r\n");
    return end != NULL ? g_strndup(at, (gsize)(end - at)) : NULL;
}

static gboolean domain_is_gone(gpointer uuid)
{
    g_autofree char *domains = stack_run(stack, STACK_VIRSH, "list", "--all", "--uuid", NULL);
    return strstr(domains, uuid) == NULL;
}

static char *await_serial_line(char *uuid, const char *what, int n)
{
    gint64 deadline_ms = lab_now_ms(NULL) + BOOT_WAIT_MS;
    char *line;
    while ((line = serial_line(uuid, what, n)) == NULL) {
        if (lab_now_ms(NULL) >= deadline_ms || domain_is_gone(uuid)) {
            g_autofree char *text = serial_log(uuid);
            gsize length = strlen(text);
            fprintf(stderr, "---- the end of the serial log\n%s\n",
                    text + (length > LOG_TAIL_BYTES ? length - LOG_TAIL_BYTES : 0));
            stack_fail(stack, "no \"%s\" number %d on VM %s's serial console", what, n, uuid);
        }
        lab_wait_ms(NULL, POLL_MS);
    }
    return line;
}

/* ---- The guest's word */

/* The value of KEY=VALUE in the guest's line (g_free); "": there is none. */
static char *told(const char *line, const char *key)
{
    g_auto(GStrv) words = g_strsplit(line, " ", -1);
    g_autofree char *prefix = g_strdup_printf("%s=", key);
    for (char **word = words; *word != NULL; word++) {
        if (g_str_has_prefix(*word, prefix)) {
            return g_strdup(*word + strlen(prefix));
        }
    }
    return g_strdup("");
}

static void assert_told(const char *line, const char *key, const char *value)
{
    g_autofree char *found = told(line, key);
    if (strcmp(found, value) != 0) {
        stack_fail(stack, "the guest should say %s=%s, but says: %s", key, value, line);
    }
}

/* One more boot has come up, has the same keys, devices and TPM as all before, and has counted. */
static void await_one_more_boot(void)
{
    n_boots++;
    g_autofree char *count = g_strdup_printf("%d", n_boots);
    g_autofree char *line = await_serial_line(vm, GUEST_LINE, n_boots);
    assert_told(line, "counter", count);
    assert_told(line, "secure_boot", "1");
    assert_told(line, "lockdown", "integrity");
    assert_told(line, "tpm", "2");
    assert_told(line, "nics", "eth0:virtio_net");
    if (pcr7 == NULL) {
        pcr7 = told(line, "pcr7");
        assert_int_equal(strlen(pcr7), 64);
        assert_true(strspn(pcr7, "0") < 64);
    }
    assert_told(line, "pcr7", pcr7);
}

/* ---- The variable store on disk */

/* The guest's variable, as edk2 keeps it in flash: header, name in UCS-2, data. An older value
 * stays there too, in another state, until the firmware makes room. */
static int count_on_disk(void)
{
    static const guint8 guid[VARIABLE_GUID_BYTES] = {0x0e, 0x7c, 0x1f, 0x7d, 0x2b, 0x5f,
                                                     0x8e, 0x4c, 0x9a, 0x54, 0x2f, 0x1d,
                                                     0x3c, 0x6b, 0x8e, 0x90};
    static const char name[] = "V\0i\0r\0t\0b\0u\0s\0C\0o\0u\0n\0t\0e\0r\0\0";
    g_autofree char *path = stack_volume_path(stack, vm, "NV_RAM");
    g_autofree char *bytes = NULL;
    gsize size_bytes = 0;
    int count = 0;
    assert_true(g_file_get_contents(path, &bytes, &size_bytes, NULL));
    const gsize header = VARIABLE_NAME_OFFSET;
    for (gsize i = header; i + sizeof(name) + 1 < size_bytes; i++) {
        if (memcmp(bytes + i, name, sizeof(name)) == 0 &&
            memcmp(bytes + i - sizeof(guid), guid, sizeof(guid)) == 0 &&
            bytes[i - header + VARIABLE_STATE_OFFSET] == VARIABLE_ADDED) {
            assert_int_equal(count, 0);
            count = bytes[i + sizeof(name)] - '0';
        }
    }
    return count;
}

/* "UUID generation N" (g_free). */
static char *nvram_identity(void)
{
    g_autoptr(JsonNode) volume = stack_volume(stack, vm, "NV_RAM");
    g_autofree char *uuid = stack_text(volume, "uuid");
    g_autofree char *generation = stack_text(volume, "generation");
    g_autofree char *status = stack_text(volume, "status");
    assert_string_equal(status, "VOLUME_STATUS_READY");
    return g_strdup_printf("%s generation %s", uuid, generation);
}

/* While nothing runs: what the guest wrote last is in the file, and it is still the same volume. */
static void assert_kept(void)
{
    stack_vm_expect_nothing_lives(stack, vm);
    g_autofree char *identity = nvram_identity();
    assert_string_equal(identity, nvram);
    assert_int_equal(count_on_disk(), n_boots);
}

/* ---- The VM */

/* Its uuid (g_free). `tpm` is "--tpm" or NULL; then there is no NIC either. */
static char *signed_linux(const char *image, const char *tpm, const char *nic)
{
    g_autofree char *disk = g_strdup_printf("type=root,image=%s,format=qcow2", image);
    return stack_vm_new(stack, "--name", "Signed Linux", "--platform", "linux", "--firmware",
                        "uefi", "--secure-boot", "on", "--vcpus", "1", "--memory", "1GiB",
                        "--storage", "local:local", "--serial", "--disk", disk, tpm, "--nic", nic,
                        NULL);
}

static char *record_text(const char *path)
{
    g_autoptr(StackAnswer) answer = stack_done(stack, "vm", "show", vm, NULL);
    return stack_text(answer->json, path);
}

/* Ends by the guest's own power-off, asked for by ACPI. */
static void stop_gracefully(void)
{
    g_autofree char *before = serial_log(vm);
    stack_answer_free(stack_done(stack, "vm", "stop", vm, NULL));
    g_autofree char *after = serial_log(vm);
    assert_non_null(strstr(after + strlen(before), POWERED_OFF));
    stack_vm_shows(stack, vm, "vm.status", "VM_STATUS_STOPPED");
    stack_vm_becomes(stack, vm, "VM_STATUS_STOPPED", "CAUSE_OPERATION_DONE");
}

/* ---- The life, in order */

static void linux_boots_with_secure_boot(void **unused)
{
    (void)unused;
    vm = signed_linux("debian-secure-boot.qcow2", "--tpm", "vhost-user,model=e1000");
    stack_vm_start(stack, vm);
    await_one_more_boot();
    stack_vm_shows(stack, vm, "vm.hardware.nics[0].asked_model", "NIC_MODEL_E1000");
    stack_vm_shows(stack, vm, "vm.hardware.nics[0].effective_model", "NIC_MODEL_VIRTIO");
}

static void guest_powers_off_when_asked(void **unused)
{
    (void)unused;
    stop_gracefully();
    nvram = nvram_identity();
    assert_kept();
}

static gboolean has_ended(gpointer unused)
{
    (void)unused;
    g_autofree char *status = record_text("vm.status");
    return strcmp(status, "VM_STATUS_STOPPED") == 0 || strcmp(status, "VM_STATUS_CRASHED") == 0;
}

/* Every process dies, QEMU too, and the run folder goes: to virtbus the host has restarted. */
static void counter_outlives_every_process(void **unused)
{
    (void)unused;
    stack_vm_start(stack, vm);
    await_one_more_boot();
    for (StackDaemon daemon = 0; daemon < STACK_N_DAEMONS; daemon++) {
        stack_kill(stack, daemon);
    }
    stack_vm_kill_qemu(stack, vm);
    stack_await(stack, "libvirt has seen QEMU's end", domain_is_gone, vm);
    g_free(stack_run(stack, "rm", "-rf", stack->run_dir, NULL));
    for (StackDaemon daemon = 0; daemon < STACK_N_DAEMONS; daemon++) {
        stack_start(stack, daemon);
    }
    stack_await_ready(stack);
    stack_await(stack, "the VM is known to have ended", has_ended, NULL);
    assert_kept();
}

static void counter_outlives_a_reboot(void **unused)
{
    (void)unused;
    stack_vm_start(stack, vm);
    await_one_more_boot();
    g_autofree char *epoch = record_text("vm.epoch");
    stack_answer_free(stack_done(stack, "vm", "reboot", vm, NULL));
    await_one_more_boot();
    g_autofree char *epoch_now = record_text("vm.epoch");
    g_autofree char *identity = nvram_identity();
    assert_true(strtoll(epoch_now, NULL, 10) > strtoll(epoch, NULL, 10));
    assert_string_equal(identity, nvram);
    stack_vm_shows(stack, vm, "vm.status", "VM_STATUS_RUNNING");
}

/* The line "r" on its console. QEMU reads the pty only while somebody holds it open. */
static void ask_guest_to_reboot(void)
{
    g_autofree char *pty = stack_run(stack, STACK_VIRSH, "ttyconsole", vm, NULL);
    int fd = open(g_strstrip(pty), O_RDWR | O_NOCTTY | O_CLOEXEC);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, "r\n", 2), 2);
    stack_event(stack, vm, "guest_event.type", "GUEST_EVENT_TYPE_REBOOT");
    close(fd);
}

/* The domain stays the same, and so does the VM's status. */
static void counter_outlives_a_reboot_from_inside(void **unused)
{
    (void)unused;
    g_autofree char *id = stack_run(stack, STACK_VIRSH, "domid", vm, NULL);
    ask_guest_to_reboot();
    await_one_more_boot();
    g_autofree char *id_now = stack_run(stack, STACK_VIRSH, "domid", vm, NULL);
    assert_string_equal(id_now, id);
    stack_vm_shows(stack, vm, "vm.status", "VM_STATUS_RUNNING");
    stop_gracefully();
    assert_kept();
}

/* The same disk, whose first program has lost its signature, and nothing else to boot from. */
static void unsigned_program_is_refused(void **unused)
{
    (void)unused;
    g_autofree char *other = signed_linux("debian-unsigned.qcow2", NULL, NULL);
    stack_vm_start(stack, other);
    g_autofree char *line = await_serial_line(other, "failed to load Boot", 1);
    g_autofree char *text = serial_log(other);
    stack_vm_force_stop(stack, other);
    assert_non_null(strstr(line, "from PciRoot"));
    assert_true(g_str_has_suffix(line, ": Access Denied"));
    assert_null(strstr(text, "Welcome to GRUB"));
    stack_answer_free(stack_done(stack, "vm", "destroy", other, NULL));
    stack_answer_free(stack_done(stack, "vm", "expunge", other, NULL));
}

static void expunge_takes_the_counter(void **unused)
{
    (void)unused;
    stack_answer_free(stack_done(stack, "vm", "destroy", vm, NULL));
    assert_kept();
    stack_answer_free(stack_done(stack, "vm", "expunge", vm, NULL));
    g_free(stack_run(stack, "rm", "-rf", images, NULL));
    stack_await_nothing_left(stack);
}

static int group_setup(void **unused)
{
    (void)unused;
    stack = stack_new();
    images = g_build_filename(stack->folder, "storage", "images", NULL);
    g_free(stack_run(stack, SOURCE_DIR "/tests/lib/linux-guest", images, NULL));
    return 0;
}

static int group_teardown(void **unused)
{
    (void)unused;
    stack_free(stack);
    g_free(vm);
    g_free(images);
    g_free(pcr7);
    g_free(nvram);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(linux_boots_with_secure_boot),
        cmocka_unit_test(guest_powers_off_when_asked),
        cmocka_unit_test(counter_outlives_every_process),
        cmocka_unit_test(counter_outlives_a_reboot),
        cmocka_unit_test(counter_outlives_a_reboot_from_inside),
        cmocka_unit_test(unsigned_program_is_refused),
        cmocka_unit_test(expunge_takes_the_counter),
    };
    return cmocka_run_group_tests(tests, group_setup, group_teardown);
}
