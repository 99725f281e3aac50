/* What a configuration promises, looked at where it counts: in QEMU's own words, in the running
 * domain, in files, sockets and OVS. Guests are boot sectors that print a letter; the few UEFI
 * guests are stopped as soon as they run, and no firmware's boot is waited for. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <arpa/inet.h>
#include <fcntl.h>
#include <glib/gstdio.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tests/lib/boot_media.h"
#include "tests/lib/child.h"
#include "tests/lib/lab_guest.h"
#include "tests/lib/stack_vm.h"

enum { SECTOR_BYTES = 512, SOCKET_TIMEOUT_S = 30 };

static Stack *stack;

/* ---- VMs */

#define NAME "--name", "A configuration"
/* A VM of these words; its uuid (g_free). */
#define VM_NEW(...) stack_vm_new(stack, NAME, __VA_ARGS__, NULL)
/* Such a VM is refused; the answer. */
#define VM_REFUSED(code, ...) stack_refused(stack, code, "vm", "create", NAME, __VA_ARGS__, NULL)
#define SMALL                 "--platform", "linux", "--vcpus", "1", "--memory", "64MiB", "--storage", "local:local"
#define UEFI                                                                                       \
    "--platform", "linux", "--firmware", "uefi", "--vcpus", "1", "--memory", "128MiB",             \
        "--storage", "local:local", "--disk", "1MiB"

/* Changes a specification in place. */
typedef void (*Edit)(JsonObject *spec);

static void update(const char *vm, Edit edit)
{
    g_autoptr(StackAnswer) answer = stack_done(stack, "vm", "show", vm, NULL);
    JsonObject *shown = json_node_get_object(answer->json);
    JsonObject *record = json_object_get_object_member(shown, "vm");
    JsonNode *spec = json_object_get_member(record, "spec");
    edit(json_node_get_object(spec));
    g_autofree char *text = json_to_string(spec, FALSE);
    g_autofree char *path = g_build_filename(stack->folder, "spec.json", NULL);
    assert_true(g_file_set_contents(path, text, -1, NULL));
    stack_answer_free(stack_done(stack, "vm", "update", vm, "--spec", path, NULL));
}

static JsonObject *nth(JsonObject *spec, const char *list, guint i)
{
    return json_array_get_object_element(json_object_get_array_member(spec, list), i);
}

/* ---- The running guest */

static char *virsh(const char *vm, const char *verb)
{
    return stack_run(stack, STACK_VIRSH, verb, vm, NULL);
}

static char *monitor(const char *vm, const char *command)
{
    return stack_run(stack, STACK_VIRSH, "qemu-monitor-command", "--hmp", vm, command, NULL);
}

/* A NUL-terminated copy of QEMU's command line, its words apart by spaces. */
static char *command_line(const char *vm)
{
    g_autofree char *file = stack_vm_libvirt_file(vm, "pid");
    g_autofree char *pid = NULL;
    char *line = NULL;
    gsize size_bytes = 0;
    assert_true(g_file_get_contents(file, &pid, NULL, NULL));
    g_autofree char *path = g_strdup_printf("/proc/%s/cmdline", g_strstrip(pid));
    assert_true(g_file_get_contents(path, &line, &size_bytes, NULL));
    for (gsize i = 0; i < size_bytes; i++) {
        line[i] = line[i] == '\0' ? ' ' : line[i];
    }
    return line;
}

/* What QEMU says of one device and of what is on it, "nic/0" as "nic-0". */
static char *device(const char *vm, const char *name)
{
    g_autofree char *tree = monitor(vm, "info qtree");
    g_autofree char *id = g_strdup_printf(", id \"ua-%s\"", name);
    char *found = strstr(tree, id);
    if (found == NULL) {
        stack_fail(stack, "QEMU has no device %s: %s", name, tree);
    }
    char *end = found + strlen(id);
    while ((end = strstr(end, ", id \"")) != NULL && end[6] == '"') {
        end += 6; /* Below it: without a name. */
    }
    if (end != NULL) {
        *end = '\0';
    }
    while (found > tree && found[-1] != '\n') {
        found--;
    }
    return g_strdup(g_strchug(found));
}

static void assert_has(const char *text, const char *part)
{
    if (strstr(text, part) == NULL) {
        stack_fail(stack, "\"%s\" is missing in: %s", part, text);
    }
}

static void assert_lacks(const char *text, const char *part)
{
    if (strstr(text, part) != NULL) {
        stack_fail(stack, "\"%s\" must not be in: %s", part, text);
    }
}

static char *serial_path(const char *vm)
{
    return g_strdup_printf("%s/serial/%s.serial.log", stack->folder, vm);
}

typedef struct {
    char *path;
    const char *text;
} Printed;

static gboolean is_printed(gpointer data)
{
    const Printed *printed = data;
    g_autofree char *text = NULL;
    return g_file_get_contents(printed->path, &text, NULL, NULL) &&
           strcmp(text, printed->text) == 0;
}

/* Until the log of the serial console holds just this. */
static void await_serial(const char *vm, const char *text)
{
    g_autofree char *path = serial_path(vm);
    g_autofree char *what = g_strdup_printf("the serial log is \"%s\"", text);
    Printed printed = {.path = path, .text = text};
    stack_await(stack, what, is_printed, &printed);
}

/* ---- Files */

/* Of the storage's images/ folder (g_free). */
static char *image_path(const char *name)
{
    return g_strdup_printf("%s/storage/images/%s", stack->folder, name);
}

static void image_disk(const char *name, BootProgram program, char letter)
{
    g_autofree char *path = image_path(name);
    boot_media_disk(path, program, letter);
}

static GBytes *content(const char *path)
{
    char *bytes = NULL;
    gsize size_bytes = 0;
    g_autoptr(GError) error = NULL;
    if (!g_file_get_contents(path, &bytes, &size_bytes, &error)) {
        stack_fail(stack, "%s", error->message);
    }
    return g_bytes_new_take(bytes, size_bytes);
}

/* The volume of disk `index`. */
static JsonNode *disk_volume(const char *vm, const char *index)
{
    g_autoptr(StackAnswer) answer = stack_done(stack, "volume", "list", vm, NULL);
    g_autoptr(JsonNode) all = json_path_query("$.volumes[*]", answer->json, NULL);
    JsonArray *volumes = json_node_get_array(all);
    for (guint i = 0; i < json_array_get_length(volumes); i++) {
        JsonNode *volume = json_array_get_element(volumes, i);
        g_autofree char *its = stack_text(volume, "disk_index");
        if (strcmp(*its != '\0' ? its : "0", index) == 0) {
            return json_node_copy(volume);
        }
    }
    stack_fail(stack, "VM %s has no volume for disk %s", vm, index);
}

/* Checks that the volume lies where S13 says, and that qemu-img finds this in it. Its path. */
static char *assert_disk(const char *vm, const char *index, const char *folder, const char *format,
                         const char *size_bytes)
{
    g_autoptr(JsonNode) volume = disk_volume(vm, index);
    g_autofree char *uuid = stack_text(volume, "uuid");
    g_autofree char *install_path = stack_text(volume, "install_path");
    g_autofree char *wanted =
        g_strdup_printf("%s/acct-default/vol-%s/%s.%s", folder, uuid, uuid, format);
    assert_string_equal(install_path, wanted);
    char *path = g_strdup_printf("%s/storage/%s", stack->folder, install_path);
    g_autofree char *text = stack_run(stack, "qemu-img", "info", "--output=json", path, NULL);
    g_autoptr(JsonNode) info = json_from_string(text, NULL);
    g_autofree char *its_format = stack_text(info, "format");
    g_autofree char *its_size = stack_text(info, "virtual-size");
    assert_string_equal(its_format, format);
    assert_string_equal(its_size, size_bytes);
    return path;
}

static GBytes *as_raw(const char *path)
{
    g_autofree char *raw = g_build_filename(stack->folder, "as.raw", NULL);
    g_free(stack_run(stack, "qemu-img", "convert", "-O", "raw", path, raw, NULL));
    return content(raw);
}

/* ---- Boot order, CD-ROM, serial console */

static void swap_disks(JsonObject *spec)
{
    json_object_set_int_member(nth(spec, "disks", 0), "boot_order", 2);
    json_object_set_int_member(nth(spec, "disks", 1), "boot_order", 1);
}

static void boot_order_chooses_the_disk(void **state)
{
    (void)state;
    image_disk("a.img", BOOT_PRINTS, 'A');
    image_disk("b.img", BOOT_PRINTS, 'B');
    g_autofree char *vm =
        VM_NEW(SMALL, "--serial", "--disk", "image=a.img,boot=1", "--disk", "image=b.img,boot=2");
    stack_vm_start(stack, vm);
    await_serial(vm, "A");
    stack_vm_force_stop(stack, vm);
    update(vm, swap_disks);
    stack_vm_start(stack, vm);
    await_serial(vm, "AB");
    stack_vm_force_stop(stack, vm);
}

static void disk_first(JsonObject *spec)
{
    json_object_set_int_member(nth(spec, "disks", 0), "boot_order", 1);
    json_object_set_int_member(nth(spec, "cdroms", 0), "boot_order", 2);
}

static void cdrom_boots_by_its_order_and_is_readonly(void **state)
{
    (void)state;
    g_autofree char *iso = image_path("boot.iso");
    boot_media_iso(iso, 'C');
    image_disk("a.img", BOOT_PRINTS, 'A');
    g_autoptr(GBytes) before = content(iso);
    g_autofree char *vm =
        VM_NEW(SMALL, "--serial", "--disk", "image=a.img,boot=2", "--cdrom", "boot.iso,boot=1");
    stack_vm_start(stack, vm);
    await_serial(vm, "C");
    g_autofree char *blocks = monitor(vm, "info block");
    g_autofree char *line = g_strdup_printf("%s (raw, read-only)", iso);
    assert_has(blocks, line);
    g_autofree char *drive = device(vm, "cdrom-0");
    assert_true(g_str_has_prefix(drive, "dev: ide-cd,"));
    stack_vm_force_stop(stack, vm);
    update(vm, disk_first);
    stack_vm_start(stack, vm);
    await_serial(vm, "CA");
    stack_vm_force_stop(stack, vm);
    g_autoptr(GBytes) after = content(iso);
    assert_true(g_bytes_equal(after, before));
}

static void empty_drive_and_raw_image_in_a_drive(void **state)
{
    (void)state;
    image_disk("a.img", BOOT_PRINTS, 'A');
    image_disk("raw.img", BOOT_PRINTS, 'R');
    g_autofree char *vm =
        VM_NEW(SMALL, "--serial", "--disk", "image=a.img", "--cdrom", "", "--cdrom", "raw.img");
    stack_vm_start(stack, vm);
    await_serial(vm, "A");
    g_autofree char *blocks = monitor(vm, "info block");
    assert_has(blocks, "ua-cdrom-0: [not inserted]");
    assert_has(blocks, "images/raw.img (raw, read-only)");
    stack_vm_force_stop(stack, vm);
}

static void missing_image_of_a_drive_is_refused(void **state)
{
    (void)state;
    g_autofree char *vm = VM_NEW(SMALL, "--disk", "1MiB", "--cdrom", "nowhere.iso");
    stack_vm_start_refused(stack, vm, ERROR_CODE_IMAGE_NOT_FOUND, "images/nowhere.iso");
}

static void serial_console_has_a_pty_and_a_log(void **state)
{
    (void)state;
    image_disk("a.img", BOOT_PRINTS, 'A');
    g_autofree char *vm = VM_NEW(SMALL, "--serial", "--disk", "image=a.img");
    stack_vm_start(stack, vm);
    await_serial(vm, "A");
    g_autofree char *tty = virsh(vm, "ttyconsole");
    struct stat facts;
    assert_int_equal(stat(g_strstrip(tty), &facts), 0);
    assert_true(S_ISCHR(facts.st_mode));
    stack_vm_force_stop(stack, vm);
    stack_vm_start(stack, vm);
    await_serial(vm, "AA"); /* The log goes on. */
    stack_vm_force_stop(stack, vm);
}

/* ---- Disks */

static void data_disks_are_made_as_asked(void **state)
{
    (void)state;
    image_disk("a.img", BOOT_PRINTS, 'A');
    g_autofree char *vm =
        VM_NEW(SMALL, "--serial", "--disk", "3MiB,type=data", "--disk", "image=a.img,type=root",
               "--disk", "2MiB,format=raw", "--disk", "4MiB,image=a.img,bus=sata", "--disk",
               "1MiB,bus=scsi,iops=100", "--disk", "image=a.img,format=raw");
    stack_vm_start(stack, vm);
    await_serial(vm, "A"); /* The root disk boots, though it is the second one. */
    g_autofree char *targets = stack_run(stack, STACK_VIRSH, "domblklist", vm, NULL);
    g_autofree char *blocks = monitor(vm, "info qtree");
    g_autofree char *throttle = monitor(vm, "info block");
    assert_has(throttle, " iops=100 ");
    stack_vm_force_stop(stack, vm);
    g_autofree char *empty = assert_disk(vm, "0", "dataVolumes", "qcow2", "3145728");
    g_autofree char *root = assert_disk(vm, "1", "rootVolumes", "qcow2", "1048576");
    g_autofree char *raw = assert_disk(vm, "2", "dataVolumes", "raw", "2097152");
    g_autofree char *grown = assert_disk(vm, "3", "dataVolumes", "qcow2", "4194304");
    g_autofree char *scsi = assert_disk(vm, "4", "dataVolumes", "qcow2", "1048576");
    g_autofree char *raw_copy = assert_disk(vm, "5", "dataVolumes", "raw", "1048576");
    const char *const order[] = {"vda", empty, "vdb", root, "vdc", raw, "sda", grown, "sdb", scsi};
    for (guint i = 0; i < G_N_ELEMENTS(order); i++) {
        assert_has(targets, order[i]);
    }
    assert_has(blocks, "dev: scsi-hd, id \"ua-disk-4\"");
    assert_has(blocks, "dev: ide-hd, id \"ua-disk-3\"");
    assert_has(blocks, "dev: virtio-blk-pci, id \"ua-disk-1\"");
    g_autofree char *image = image_path("a.img");
    g_autoptr(GBytes) source = content(image);
    g_autoptr(GBytes) copy = as_raw(root);
    g_autoptr(GBytes) second = content(raw_copy);
    assert_true(g_bytes_equal(copy, source));
    assert_true(g_bytes_equal(second, source));
}

static void assert_backed_by(const char *overlay, const char *image, const char *image_format)
{
    g_autofree char *text = stack_run(stack, "qemu-img", "info", "--output=json", overlay, NULL);
    g_autoptr(JsonNode) info = json_from_string(text, NULL);
    g_autofree char *backing = stack_text(info, "full-backing-filename");
    g_autofree char *format = stack_text(info, "backing-filename-format");
    assert_string_equal(backing, image);
    assert_string_equal(format, image_format);
}

static void overlay_takes_the_writes_and_the_image_stays(void **state)
{
    (void)state;
    image_disk("w.img", BOOT_WRITES, 'W');
    g_autofree char *image = image_path("w.img");
    g_autoptr(GBytes) before = content(image);
    g_autofree char *vm = VM_NEW(SMALL, "--serial", "--disk", "image=w.img,mode=overlay");
    g_autofree char *copied = VM_NEW(SMALL, "--serial", "--disk", "image=w.img,mode=copy");
    stack_vm_start(stack, vm);
    stack_vm_start(stack, copied);
    await_serial(vm, "W");
    await_serial(copied, "W");
    stack_vm_force_stop(stack, vm);
    stack_vm_force_stop(stack, copied);
    g_autofree char *overlay = assert_disk(vm, "0", "rootVolumes", "qcow2", "1048576");
    g_autofree char *copy = assert_disk(copied, "0", "rootVolumes", "qcow2", "1048576");
    g_autofree char *about_copy = stack_run(stack, "qemu-img", "info", copy, NULL);
    assert_backed_by(overlay, image, "raw");
    assert_lacks(about_copy, "backing file");
    g_autoptr(GBytes) after = content(image);
    g_autoptr(GBytes) written = as_raw(overlay);
    g_autoptr(GBytes) written_copy = as_raw(copy);
    assert_true(g_bytes_equal(after, before));
    assert_true(g_bytes_equal(written_copy, written));
    const guint8 *bytes = g_bytes_get_data(written, NULL);
    assert_memory_equal(bytes + SECTOR_BYTES, bytes, SECTOR_BYTES);
    assert_false(g_bytes_equal(written, before));
}

static void overlay_may_be_larger_than_its_qcow2_image(void **state)
{
    (void)state;
    image_disk("a.img", BOOT_PRINTS, 'A');
    g_autofree char *raw = image_path("a.img");
    g_autofree char *image = image_path("a.qcow2");
    g_free(stack_run(stack, "qemu-img", "convert", "-O", "qcow2", raw, image, NULL));
    g_autofree char *vm = VM_NEW(SMALL, "--serial", "--disk", "5MiB,image=a.qcow2,mode=overlay");
    stack_vm_start(stack, vm);
    await_serial(vm, "A");
    stack_vm_force_stop(stack, vm);
    g_autofree char *overlay = assert_disk(vm, "0", "rootVolumes", "qcow2", "5242880");
    assert_backed_by(overlay, image, "qcow2");
}

static void bus_boots(const char *platform, const char *disk, const char *model)
{
    image_disk("a.img", BOOT_PRINTS, 'A');
    g_autofree char *vm = VM_NEW("--platform", platform, "--vcpus", "1", "--memory", "64MiB",
                                 "--storage", "local:local", "--serial", "--disk", disk);
    stack_vm_start(stack, vm);
    await_serial(vm, "A");
    g_autofree char *found = device(vm, "disk-0");
    g_autofree char *begin = g_strdup_printf("dev: %s,", model);
    assert_true(g_str_has_prefix(found, begin));
    stack_vm_force_stop(stack, vm);
}

static void each_bus_boots_and_the_platform_has_a_default(void **state)
{
    (void)state;
    bus_boots("linux", "image=a.img", "virtio-blk-pci");
    bus_boots("windows", "image=a.img", "ide-hd");
    bus_boots("linux", "image=a.img,bus=scsi", "scsi-hd");
    bus_boots("windows", "image=a.img,bus=virtio", "virtio-blk-pci");
}

static void missing_image_of_a_disk_is_refused(void **state)
{
    (void)state;
    g_autofree char *vm = VM_NEW(SMALL, "--disk", "1MiB", "--disk", "image=nowhere.img");
    stack_vm_start_refused_without_trace(stack, vm, ERROR_CODE_IMAGE_NOT_FOUND, "nowhere.img");
}

/* ---- NICs */

static void assert_nic(const char *vm, const char *name, const char *model)
{
    g_autofree char *nic = device(vm, name);
    g_autofree char *begin = g_strdup_printf("dev: %s,", model);
    if (!g_str_has_prefix(nic, begin)) {
        stack_fail(stack, "%s is not %s: %s", name, model, nic);
    }
}

static void default_model(const char *flag, const char *platform, const char *model)
{
    g_autofree char *vm =
        VM_NEW("--vcpus", "1", "--memory", "32MiB", "--nic", "user", flag, platform);
    stack_vm_start(stack, vm);
    assert_nic(vm, "nic-0", model);
    stack_vm_force_stop(stack, vm);
}

static void default_model_follows_the_platform(void **state)
{
    (void)state;
    default_model("--platform", "linux", "virtio-net-pci");
    default_model("--platform", "windows", "e1000");
    default_model("--platform", "windows-virtio", "virtio-net-pci");
    default_model("--platform", "paravirtualization", "virtio-net-pci");
    default_model("--platform", "other", "e1000");
}

static void image_platform_counts_where_the_vm_has_none(void **state)
{
    (void)state;
    default_model("--image-platform", "linux", "virtio-net-pci");
    default_model("--image-platform", "windows", "e1000");
    g_autofree char *vm = VM_NEW("--vcpus", "1", "--memory", "32MiB", "--nic", "user", "--platform",
                                 "windows", "--image-platform", "linux");
    stack_vm_start(stack, vm);
    assert_nic(vm, "nic-0", "e1000");
    stack_vm_force_stop(stack, vm);
}

static void explicit_model_is_kept(void **state)
{
    (void)state;
    g_autofree char *vm =
        VM_NEW("--platform", "linux", "--vcpus", "1", "--memory", "32MiB", "--nic",
               "user,model=e1000", "--nic", "user,model=e1000e", "--nic", "user,model=rtl8139",
               "--nic", "user,model=virtio-non-transitional,mac=52:54:00:12:34:56,mtu=1400");
    stack_vm_start(stack, vm);
    assert_nic(vm, "nic-0", "e1000");
    assert_nic(vm, "nic-1", "e1000e");
    assert_nic(vm, "nic-2", "rtl8139");
    assert_nic(vm, "nic-3", "virtio-net-pci-non-transitional");
    g_autofree char *nic = device(vm, "nic-3");
    assert_has(nic, "mac = \"52:54:00:12:34:56\"");
    assert_has(nic, "host_mtu = 1400 ");
    stack_vm_force_stop(stack, vm);
}

/* Of the one port of this VM. */
static char *port_column(const char *vm, const char *column)
{
    g_autofree char *db = g_strdup_printf("--db=%s", lab_env("OVS_DB"));
    g_autofree char *id = g_strdup_printf("external_ids:virtbus-vm=%s", vm);
    g_autofree char *columns = g_strdup_printf("--columns=%s", column);
    return stack_run(stack, "ovs-vsctl", "--timeout=10", db, "--bare", columns, "find", "Interface",
                     id, NULL);
}

static void vhost_user_nic_has_its_queues_and_mtu(void **state)
{
    (void)state;
    g_autofree char *vm = VM_NEW("--platform", "linux", "--vcpus", "2", "--memory", "64MiB",
                                 "--nic", "vhost-user,queues=8,mtu=1450");
    stack_vm_start(stack, vm);
    g_autofree char *nic = device(vm, "nic-0");
    assert_true(g_str_has_prefix(nic, "dev: virtio-net-pci,"));
    assert_has(nic, "mq = true");
    assert_has(nic, "vectors = 6 "); /* Two for each queue pair, and two more. */
    assert_has(nic, "host_mtu = 1450 ");
    g_autofree char *line = command_line(vm);
    assert_has(line, "\"queues\":2");
    g_autofree char *options = port_column(vm, "options");
    g_autofree char *mtu = port_column(vm, "mtu_request");
    assert_has(options, vm);
    assert_string_equal(g_strstrip(mtu), "1450");
    stack_vm_shows(stack, vm, "vm.hardware.nics[0].queues", "2");
    stack_vm_force_stop(stack, vm);
}

static void one_queue_unless_asked(void **state)
{
    (void)state;
    g_autofree char *vm =
        VM_NEW("--platform", "linux", "--vcpus", "2", "--memory", "64MiB", "--nic", "vhost-user");
    stack_vm_start(stack, vm);
    g_autofree char *nic = device(vm, "nic-0");
    assert_has(nic, "mq = false");
    stack_vm_force_stop(stack, vm);
}

/* A bridge would be on the machine itself, so the test makes none: golden XML shows the rest. */
static void unknown_bridge_is_refused_by_name(void **state)
{
    (void)state;
    g_autofree char *vm = VM_NEW("--platform", "linux", "--vcpus", "1", "--memory", "32MiB",
                                 "--nic", "bridge,bridge=vb-nowhere");
    stack_vm_start_refused(stack, vm, ERROR_CODE_HYPERVISOR, "vb-nowhere");
}

/* ---- Memory that a vhost-user back end can map */

static void vhost_user_shares_the_guests_memory(void **state)
{
    (void)state;
    g_autofree char *with =
        VM_NEW("--platform", "linux", "--vcpus", "1", "--memory", "64MiB", "--nic", "vhost-user");
    g_autofree char *without =
        VM_NEW("--platform", "linux", "--vcpus", "1", "--memory", "64MiB", "--nic", "user");
    stack_vm_start(stack, with);
    stack_vm_start(stack, without);
    g_autofree char *line = command_line(with);
    assert_has(line, "\"qom-type\":\"memory-backend-memfd\"");
    assert_has(line, "\"share\":true");
    g_autofree char *plain = command_line(without);
    assert_lacks(plain, "memory-backend-memfd");
    stack_vm_force_stop(stack, with);
    stack_vm_force_stop(stack, without);
}

static void huge_pages_that_are_not_there_are_refused(void **state)
{
    (void)state;
    g_autofree char *path = g_build_filename(stack->folder, "huge.json", NULL);
    assert_true(g_file_set_contents(path, "{\"huge_page_bytes\": 1073741824}", -1, NULL));
    g_autofree char *vm = VM_NEW("--spec", path, "--platform", "linux", "--vcpus", "1", "--memory",
                                 "1GiB", "--nic", "user");
    stack_vm_start_refused(stack, vm, ERROR_CODE_HYPERVISOR, "huge");
}

/* ---- Graphics and clock */

static guint16 vnc_port(const char *vm, const char *listen)
{
    g_autofree char *xml = virsh(vm, "dumpxml");
    const char *graphics = strstr(xml, "<graphics type='vnc' port='");
    assert_non_null(graphics);
    g_autofree char *address = g_strdup_printf("listen='%s'", listen);
    assert_has(graphics, address);
    return (guint16)g_ascii_strtoull(graphics + strlen("<graphics type='vnc' port='"), NULL, 10);
}

/* The addresses that listen on this port, as the kernel writes them. */
static char *listeners(guint16 port)
{
    static const char *const tables[] = {"/proc/net/tcp", "/proc/net/tcp6"};
    g_autoptr(GString) found = g_string_new(NULL);
    for (guint i = 0; i < G_N_ELEMENTS(tables); i++) {
        g_autofree char *text = NULL;
        if (!g_file_get_contents(tables[i], &text, NULL, NULL)) {
            continue; /* No IPv6 here. */
        }
        g_auto(GStrv) lines = g_strsplit(text, "\n", -1);
        for (char **line = lines; *line != NULL; line++) {
            char address[33];
            guint its_port = 0;
            guint status = 0;
            if (sscanf(*line, " %*u: %32[0-9A-F]:%x %*[0-9A-F]:%*x %x", address, &its_port,
                       &status) == 3 &&
                its_port == port && status == 0x0a) {
                g_string_append_printf(found, "%s\n", address);
            }
        }
    }
    return g_strdup(found->str);
}

static void assert_rfb(const char *address, guint16 port)
{
    char greeting[8] = "";
    gsize n = 0;
    g_autoptr(GSocketClient) client = g_socket_client_new();
    g_socket_client_set_timeout(client, SOCKET_TIMEOUT_S);
    g_autoptr(GSocketConnection) connection =
        g_socket_client_connect_to_host(client, address, port, NULL, NULL);
    assert_non_null(connection);
    GInputStream *in = g_io_stream_get_input_stream(G_IO_STREAM(connection));
    assert_true(g_input_stream_read_all(in, greeting, 7, &n, NULL, NULL));
    assert_string_equal(greeting, "RFB 003");
}

static void vnc_answers_on(const char *graphics, const char *address)
{
    g_autofree char *vm =
        VM_NEW("--platform", "linux", "--vcpus", "1", "--memory", "32MiB", "--graphics", graphics);
    stack_vm_start(stack, vm);
    guint16 port = vnc_port(vm, address);
    assert_rfb(address, port);
    g_autofree char *found = listeners(port);
    g_autofree char *wanted = g_strdup_printf("%08X\n", inet_addr(address));
    assert_string_equal(found, wanted);
    stack_vm_force_stop(stack, vm);
}

static void vnc_listens_on_loopback_alone(void **state)
{
    (void)state;
    vnc_answers_on("vnc", "127.0.0.1");
}

static void vnc_listens_where_it_is_told(void **state)
{
    (void)state;
    vnc_answers_on("vnc,listen=127.0.0.2", "127.0.0.2");
}

static void clock_is(const char *platform, const char *flag, const char *value, const char *base)
{
    g_autofree char *vm =
        VM_NEW("--platform", platform, "--vcpus", "1", "--memory", "32MiB", flag, value);
    stack_vm_start(stack, vm);
    g_autofree char *line = command_line(vm);
    g_autofree char *word = g_strdup_printf(" -rtc base=%s", base);
    assert_has(line, word);
    stack_vm_force_stop(stack, vm);
}

static void clock_is_local_time_for_windows(void **state)
{
    (void)state;
    clock_is("linux", NULL, NULL, "utc");
    clock_is("windows", NULL, NULL, "localtime");
    clock_is("windows-virtio", NULL, NULL, "localtime");
    clock_is("windows", "--clock", "utc", "utc");
}

/* No such guest can run without a whole KVM. So libvirt turns the golden XML into QEMU's words. */
static void hyperv_features_are_understood_by_libvirt(void **state)
{
    (void)state;
    if (!g_file_test("/dev/kvm", G_FILE_TEST_EXISTS)) {
        skip();
    }
    g_autofree char *line = stack_run(stack, STACK_VIRSH, "domxml-to-native", "qemu-argv", "--xml",
                                      SOURCE_DIR "/tests/golden/hyperv-kvm.xml", NULL);
    assert_has(line, "hv-relaxed=on");
    assert_has(line, "hv-vapic=on");
    assert_has(line, "hv-spinlocks=0x1fff");
    assert_has(line, "hv-time=on");
}

static void emulated_windows_has_no_hyperv_features(void **state)
{
    (void)state;
    g_autofree char *vm = VM_NEW("--platform", "windows", "--vcpus", "1", "--memory", "32MiB");
    stack_vm_start(stack, vm);
    g_autofree char *line = command_line(vm);
    assert_lacks(line, "hv-");
    stack_vm_force_stop(stack, vm);
}

/* ---- vhost-user disk */

typedef struct {
    GSubprocess *process;
    char *socket;
} BackEnd;

static gboolean is_served(gpointer data)
{
    const BackEnd *back_end = data;
    return g_file_test(back_end->socket, G_FILE_TEST_EXISTS);
}

/* Serves this image of images/. */
static BackEnd back_end_start(const char *image)
{
    BackEnd back_end = {.socket = g_build_filename(stack->folder, "blk.sock", NULL)};
    g_autofree char *path = image_path(image);
    g_autofree char *file =
        g_strdup_printf("driver=file,node-name=file,filename=%s,read-only=off", path);
    g_autofree char *export =
        g_strdup_printf("type=vhost-user-blk,id=export,node-name=file,writable=on,"
                        "addr.type=unix,addr.path=%s",
                        back_end.socket);
    g_autoptr(GSubprocessLauncher) launcher = g_subprocess_launcher_new(G_SUBPROCESS_FLAGS_NONE);
    g_subprocess_launcher_set_child_setup(launcher, child_dies_with_parent, NULL, NULL);
    back_end.process = g_subprocess_launcher_spawn(launcher, NULL, "qemu-storage-daemon",
                                                   "--blockdev", file, "--export", export, NULL);
    assert_non_null(back_end.process);
    stack_await(stack, "the storage daemon serves its socket", is_served, &back_end);
    g_chmod(back_end.socket, 0777); /* For QEMU's user. */
    return back_end;
}

static void back_end_stop(BackEnd *back_end)
{
    g_subprocess_force_exit(back_end->process);
    g_subprocess_wait(back_end->process, NULL, NULL);
    g_clear_object(&back_end->process);
    g_unlink(back_end->socket);
    g_clear_pointer(&back_end->socket, g_free);
}

/* Of a disk on this socket (g_free). */
static char *vhost_user_disk(const char *socket, const char *more)
{
    return g_strdup_printf("socket=%s,bus=vhost-user%s", socket, more);
}

static void vhost_user_disk_boots(void **state)
{
    (void)state;
    image_disk("v.img", BOOT_WRITES, 'V');
    BackEnd back_end = back_end_start("v.img");
    g_autofree char *disk = vhost_user_disk(back_end.socket, "");
    /* Windows: its disks are SATA unless said. */
    g_autofree char *vm = VM_NEW("--platform", "windows", "--vcpus", "1", "--memory", "64MiB",
                                 "--serial", "--disk", disk);
    g_autofree char *before = stack_storage(stack);
    stack_vm_start(stack, vm);
    await_serial(vm, "V");
    g_autofree char *found = device(vm, "disk-0");
    assert_true(g_str_has_prefix(found, "dev: vhost-user-blk-pci,"));
    g_autofree char *line = command_line(vm);
    assert_has(line, "\"qom-type\":\"memory-backend-memfd\"");
    assert_has(line, "\"share\":true");
    g_autofree char *after = stack_storage(stack);
    assert_string_equal(after, before); /* It is no volume. */
    stack_vm_force_stop(stack, vm);
    back_end_stop(&back_end);
    g_autofree char *path = image_path("v.img");
    g_autoptr(GBytes) written = content(path);
    const guint8 *bytes = g_bytes_get_data(written, NULL);
    assert_memory_equal(bytes + SECTOR_BYTES, bytes, SECTOR_BYTES);
}

static void vhost_user_disk_without_back_end_is_refused(void **state)
{
    (void)state;
    g_autofree char *socket = g_build_filename(stack->folder, "nobody.sock", NULL);
    g_autofree char *disk = vhost_user_disk(socket, "");
    g_autofree char *vm = VM_NEW(SMALL, "--disk", disk);
    stack_vm_start_refused(stack, vm, ERROR_CODE_VHOST_USER_NOT_CONNECTED, socket);
}

static void vhost_user_disk_takes_no_limit(void **state)
{
    (void)state;
    g_autofree char *disk = vhost_user_disk("/tmp/some.sock", ",iops=100");
    g_autoptr(StackAnswer) answer = VM_REFUSED(ERROR_CODE_UNSUPPORTED, SMALL, "--disk", disk);
    assert_has(answer->reason, "iops_limit");
}

/* ---- Firmware */

static void legacy_runs_on_machine_pc(void **state)
{
    (void)state;
    g_autofree char *iso = image_path("boot.iso");
    boot_media_iso(iso, 'C');
    g_autofree char *vm = VM_NEW(SMALL, "--serial", "--machine", "pc", "--disk", "1MiB,boot=1",
                                 "--cdrom", "boot.iso,boot=2");
    stack_vm_start(stack, vm);
    await_serial(vm, "C"); /* The first disk is empty. */
    g_autofree char *line = command_line(vm);
    assert_has(line, " -machine pc-i440fx-");
    stack_vm_force_stop(stack, vm);
}

static void legacy_runs_beside_uefi(void **state)
{
    (void)state;
    image_disk("a.img", BOOT_PRINTS, 'A');
    g_autofree char *legacy =
        VM_NEW(SMALL, "--serial", "--firmware", "legacy-bios", "--disk", "image=a.img");
    g_autofree char *uefi = VM_NEW(UEFI, "--secure-boot", "on");
    stack_vm_start(stack, uefi);
    stack_vm_start(stack, legacy);
    await_serial(legacy, "A");
    g_autofree char *with = command_line(uefi);
    g_autofree char *without = command_line(legacy);
    stack_vm_force_stop(stack, uefi);
    stack_vm_force_stop(stack, legacy);
    g_autofree char *nvram = stack_volume_path(stack, uefi, "NV_RAM");
    assert_has(with, nvram);
    assert_lacks(without, "pflash");
    assert_lacks(without, "OVMF");
}

/* libvirt's own folder for variable stores. */
static char *libvirt_nvram_files(void)
{
    return stack_run(stack, "find", lab_env("VIRTBUS_LAB"), "-path", "*/libvirt/lib/*", "-name",
                     "*VARS*", NULL);
}

static void plain_uefi_is_stateless_and_leaves_no_file(void **state)
{
    (void)state;
    g_autofree char *vm = VM_NEW(UEFI);
    g_autofree char *before = libvirt_nvram_files();
    stack_vm_start(stack, vm);
    g_autofree char *xml = virsh(vm, "dumpxml");
    g_autofree char *line = command_line(vm);
    stack_vm_force_stop(stack, vm);
    assert_has(xml, "stateless='yes'");
    assert_lacks(xml, "<nvram");
    assert_lacks(line, "VARS");
    assert_lacks(line, "nvRam");
    g_autofree char *after = libvirt_nvram_files();
    assert_string_equal(after, before);
    g_autoptr(StackAnswer) volumes = stack_done(stack, "volume", "list", vm, NULL);
    g_autofree char *text = json_to_string(volumes->json, FALSE);
    assert_lacks(text, "NV_RAM");
}

/* Ends the service in order and starts it with these words more. */
static void restart_services(const char *option, const char *value)
{
    static const StackDaemon services[] = {STACK_VM_SERVICE, STACK_VOLUME_SERVICE};
    for (guint i = 0; i < G_N_ELEMENTS(services); i++) {
        stack_set_options(stack, services[i], option, value, NULL);
        assert_true(stack_stop(stack, services[i]));
        stack_start(stack, services[i]);
    }
    stack_await_ready(stack);
}

static int options_as_before(void **state)
{
    (void)state;
    restart_services(NULL, NULL);
    return 0;
}

static void policy_all_uefi_gives_each_uefi_vm_a_store(void **state)
{
    (void)state;
    g_autofree char *vm = VM_NEW(UEFI);
    g_autofree char *legacy = VM_NEW(SMALL, "--disk", "1MiB");
    restart_services("--nvram.policy", "all-uefi");
    stack_vm_start(stack, vm);
    stack_vm_start(stack, legacy);
    g_autofree char *line = command_line(vm);
    g_autofree char *legacy_line = command_line(legacy);
    stack_vm_force_stop(stack, vm);
    stack_vm_force_stop(stack, legacy);
    g_autofree char *path = stack_volume_path(stack, vm, "NV_RAM");
    assert_has(line, path);
    assert_true(g_file_test(path, G_FILE_TEST_EXISTS));
    assert_lacks(legacy_line, "pflash");
}

/* ---- A variable store that is not needed any more */

static void make_legacy(JsonObject *spec)
{
    json_object_set_string_member(spec, "firmware", "FIRMWARE_LEGACY_BIOS");
    json_object_set_string_member(spec, "secure_boot", "TOGGLE_OFF");
}

static void make_plain(JsonObject *spec)
{
    json_object_set_string_member(spec, "secure_boot", "TOGGLE_OFF");
}

static void make_secure(JsonObject *spec)
{
    json_object_set_string_member(spec, "firmware", "FIRMWARE_UEFI");
    json_object_set_string_member(spec, "secure_boot", "TOGGLE_ON");
}

/* The file that is open as `fd`, and no new one of the same name. */
static void assert_nvram(const char *vm, const char *status, const char *path, int fd)
{
    g_autoptr(JsonNode) volume = stack_volume(stack, vm, "NV_RAM");
    g_autofree char *its_status = stack_text(volume, "status");
    g_autofree char *its_path = stack_volume_path(stack, vm, "NV_RAM");
    struct stat held;
    struct stat there;
    assert_string_equal(its_status, status);
    assert_string_equal(its_path, path);
    assert_int_equal(fstat(fd, &held), 0);
    assert_int_equal(lstat(path, &there), 0);
    assert_int_equal(there.st_ino, held.st_ino);
}

static void unneeded_store_is_retained_and_used_again(void **state)
{
    (void)state;
    Edit edits[] = {make_plain, make_legacy};
    g_autofree char *vm = VM_NEW(UEFI, "--secure-boot", "on");
    stack_vm_starts_and_stops(stack, vm);
    g_autofree char *path = stack_volume_path(stack, vm, "NV_RAM");
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    assert_true(fd >= 0);
    for (guint i = 0; i < G_N_ELEMENTS(edits); i++) {
        update(vm, edits[i]);
        stack_vm_start(stack, vm);
        g_autofree char *without = command_line(vm);
        stack_vm_force_stop(stack, vm);
        assert_lacks(without, path);
        assert_nvram(vm, "VOLUME_STATUS_RETAINED", path, fd);
    }
    update(vm, make_secure);
    stack_vm_start(stack, vm);
    g_autofree char *line = command_line(vm);
    stack_vm_force_stop(stack, vm);
    assert_has(line, path);
    assert_nvram(vm, "VOLUME_STATUS_READY", path, fd);
    close(fd);
}

static gboolean is_gone(gpointer path)
{
    return !g_file_test(path, G_FILE_TEST_EXISTS);
}

static void retention_of_zero_deletes_the_store(void **state)
{
    (void)state;
    g_autofree char *vm = VM_NEW(UEFI, "--secure-boot", "on");
    stack_vm_starts_and_stops(stack, vm);
    g_autofree char *path = stack_volume_path(stack, vm, "NV_RAM");
    assert_false(is_gone(path));
    restart_services("--nvram.retain", "0");
    update(vm, make_plain);
    stack_vm_starts_and_stops(stack, vm);
    stack_event(stack, vm, "volume_deleted.volume.type", "VOLUME_TYPE_NV_RAM");
    assert_true(is_gone(path));
}

/* ---- Storage of a VM without a root disk */

#define ROOTLESS                                                                                   \
    "--platform", "linux", "--firmware", "uefi", "--vcpus", "1", "--memory", "128MiB", "--tpm"

static void without_root_disk_and_default_storage_it_is_refused(void **state)
{
    (void)state;
    g_autoptr(StackAnswer) answer = VM_REFUSED(ERROR_CODE_INVALID_ARGUMENT, ROOTLESS);
    assert_has(answer->reason, "default.storage");
}

static void without_root_disk_the_default_storage_takes_the_state(void **state)
{
    (void)state;
    restart_services("--default.storage", "local:Local");
    g_autofree char *vm = VM_NEW(ROOTLESS);
    stack_vm_start(stack, vm);
    g_autofree char *line = command_line(vm);
    stack_vm_force_stop(stack, vm);
    g_autoptr(JsonNode) volume = stack_volume(stack, vm, "NV_RAM");
    g_autofree char *storage = stack_text(volume, "storage.name");
    g_autofree char *path = stack_volume_path(stack, vm, "NV_RAM");
    g_autofree char *tpm = stack_volume_path(stack, vm, "TPM_STATE");
    assert_string_equal(storage, "local");
    assert_has(line, path);
    assert_true(g_file_test(path, G_FILE_TEST_IS_REGULAR));
    assert_true(g_file_test(tpm, G_FILE_TEST_IS_DIR));
}

/* ---- Pinned hardware */

static int compare_lines(gconstpointer a, gconstpointer b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

/* Where QEMU has put each PCI device that has one of our names, but for `without`: one a line. Only
 * after the BIOS has given numbers to the buses. */
static char *places(const char *vm, const char *without)
{
    g_autoptr(GPtrArray) lines = g_ptr_array_new_with_free_func(g_free);
    g_autofree char *pci = monitor(vm, "info pci");
    g_auto(GStrv) all = g_strsplit(pci, "\n", -1);
    const char *place = "";
    for (char **line = all; *line != NULL; line++) {
        if (strstr(*line, "Bus ") != NULL && strstr(*line, "device ") != NULL) {
            place = g_strstrip(*line);
        } else if (strstr(*line, "id \"ua-") != NULL && strstr(*line, without) == NULL) {
            g_ptr_array_add(lines, g_strdup_printf("%s %s", g_strstrip(*line), place));
        }
    }
    g_ptr_array_sort(lines, compare_lines);
    g_ptr_array_add(lines, NULL);
    return g_strjoinv("\n", (char **)lines->pdata);
}

static void drop_first_nic(JsonObject *spec)
{
    json_array_remove_element(json_object_get_array_member(spec, "nics"), 0);
}

static void removed_nic_moves_no_other_device(void **state)
{
    (void)state;
    static const char *const names[] = {"disk-0", "nic-1", "nic-2"};
    image_disk("a.img", BOOT_PRINTS, 'A');
    g_autofree char *vm =
        VM_NEW(SMALL, "--serial", "--disk", "image=a.img", "--disk", "1MiB,bus=sata", "--nic",
               "user", "--nic", "user,model=e1000e", "--nic", "user", "--cdrom", "");
    stack_vm_start(stack, vm);
    await_serial(vm, "A");
    g_autofree char *before = places(vm, "nic-0");
    g_autofree char *drive = device(vm, "cdrom-0");
    g_autofree char *nic = device(vm, "nic-2");
    stack_vm_force_stop(stack, vm);
    for (guint i = 0; i < G_N_ELEMENTS(names); i++) {
        assert_has(before, names[i]);
    }
    update(vm, drop_first_nic);
    stack_vm_start(stack, vm);
    await_serial(vm, "AA");
    g_autofree char *after = places(vm, "nic-0");
    g_autofree char *tree = monitor(vm, "info qtree");
    g_autofree char *drive_after = device(vm, "cdrom-0");
    g_autofree char *nic_after = device(vm, "nic-2");
    stack_vm_force_stop(stack, vm);
    assert_lacks(tree, "ua-nic-0");
    assert_string_equal(after, before);
    assert_string_equal(drive_after, drive);
    assert_string_equal(nic_after, nic); /* With its MAC. */
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
    stack_free(stack);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(boot_order_chooses_the_disk),
        cmocka_unit_test(cdrom_boots_by_its_order_and_is_readonly),
        cmocka_unit_test(empty_drive_and_raw_image_in_a_drive),
        cmocka_unit_test(missing_image_of_a_drive_is_refused),
        cmocka_unit_test(serial_console_has_a_pty_and_a_log),
        cmocka_unit_test(data_disks_are_made_as_asked),
        cmocka_unit_test(overlay_takes_the_writes_and_the_image_stays),
        cmocka_unit_test(overlay_may_be_larger_than_its_qcow2_image),
        cmocka_unit_test(each_bus_boots_and_the_platform_has_a_default),
        cmocka_unit_test(missing_image_of_a_disk_is_refused),
        cmocka_unit_test(default_model_follows_the_platform),
        cmocka_unit_test(image_platform_counts_where_the_vm_has_none),
        cmocka_unit_test(explicit_model_is_kept),
        cmocka_unit_test(vhost_user_nic_has_its_queues_and_mtu),
        cmocka_unit_test(one_queue_unless_asked),
        cmocka_unit_test(unknown_bridge_is_refused_by_name),
        cmocka_unit_test(vhost_user_shares_the_guests_memory),
        cmocka_unit_test(huge_pages_that_are_not_there_are_refused),
        cmocka_unit_test(vnc_listens_on_loopback_alone),
        cmocka_unit_test(vnc_listens_where_it_is_told),
        cmocka_unit_test(clock_is_local_time_for_windows),
        cmocka_unit_test(hyperv_features_are_understood_by_libvirt),
        cmocka_unit_test(emulated_windows_has_no_hyperv_features),
        cmocka_unit_test(vhost_user_disk_boots),
        cmocka_unit_test(vhost_user_disk_without_back_end_is_refused),
        cmocka_unit_test(vhost_user_disk_takes_no_limit),
        cmocka_unit_test(legacy_runs_on_machine_pc),
        cmocka_unit_test(legacy_runs_beside_uefi),
        cmocka_unit_test(plain_uefi_is_stateless_and_leaves_no_file),
        cmocka_unit_test_teardown(policy_all_uefi_gives_each_uefi_vm_a_store, options_as_before),
        cmocka_unit_test(unneeded_store_is_retained_and_used_again),
        cmocka_unit_test_teardown(retention_of_zero_deletes_the_store, options_as_before),
        cmocka_unit_test(without_root_disk_and_default_storage_it_is_refused),
        cmocka_unit_test_teardown(without_root_disk_the_default_storage_takes_the_state,
                                  options_as_before),
        cmocka_unit_test(removed_nic_moves_no_other_device),
    };
    return cmocka_run_group_tests(tests, group_setup, group_teardown);
}
