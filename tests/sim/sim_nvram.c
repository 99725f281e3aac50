/* What a host has on its disks before anything happens: two firmware builds with their descriptors
 * and variable templates, swtpm's programs, images; and what guests keep in a variable store.
 *
 * The stores are as small as QEMU allows, one block, and whole in the eyes of nvram_vars.c. As
 * with Debian's builds, both classes' are of one size: only their variables tell them apart. */
#include "tests/sim/sim_host_private.h"

#include <string.h>

enum {
    VOLUME_HEADER_BYTES = 72,
    STORE_HEADER_BYTES = 28,
    VARIABLE_HEADER_BYTES = 60, /* Authenticated. */
    COUNTER_BYTES = 8,
    GUID_BYTES = 16,
    MODE_FILE = 0644,
};

static const guint8 SYSTEM_NV_DATA[GUID_BYTES] = {0x8d, 0x2b, 0xf1, 0xff, 0x96, 0x76, 0x8b, 0x4c,
                                                  0xa9, 0x85, 0x27, 0x47, 0x07, 0x5b, 0x4f, 0x50};
static const guint8 STORE_AUTHENTICATED[GUID_BYTES] = {
    0x78, 0x2c, 0xf3, 0xaa, 0x7b, 0x94, 0x9a, 0x43, 0xa1, 0x80, 0x2e, 0x14, 0x4e, 0xc3, 0x77, 0x92};
static const guint8 GLOBAL_VARIABLE[GUID_BYTES] = {0x61, 0xdf, 0xe4, 0x8b, 0xca, 0x93, 0xd2, 0x11,
                                                   0xaa, 0x0d, 0x00, 0xe0, 0x98, 0x03, 0x2b, 0x8c};
static const guint8 SECURE_BOOT_ENABLE_DISABLE[GUID_BYTES] = {
    0xc7, 0x0b, 0xa3, 0xf0, 0x08, 0xaf, 0x56, 0x45, 0x99, 0xc4, 0x00, 0x10, 0x09, 0xc9, 0x3a, 0x44};
static const guint8 GUEST[GUID_BYTES] = {0x73, 0x69, 0x6d, 0x75, 0x6c, 0x61, 0x74, 0x65,
                                         0x64, 0x20, 0x67, 0x75, 0x65, 0x73, 0x74, 0x2e};

/* ---- Variable stores */

static void put(guint8 *at, guint64 value, gsize n_bytes)
{
    for (gsize i = 0; i < n_bytes; i++) {
        at[i] = (guint8)(value >> (8 * i));
    }
}

/* Adds a variable at `at`; returns where the next one begins. */
static gsize add_variable(guint8 *store, gsize at, const guint8 *guid, const char *name,
                          const void *data, gsize data_bytes)
{
    guint8 *header = store + at;
    gsize name_bytes = 2 * (strlen(name) + 1);
    memset(header, 0, VARIABLE_HEADER_BYTES + name_bytes);
    put(header, 0x55aa, 2);
    header[2] = 0x3f; /* It is added. */
    put(header + 36, name_bytes, 4);
    put(header + 40, data_bytes, 4);
    memcpy(header + 44, guid, GUID_BYTES);
    for (gsize i = 0; name[i] != '\0'; i++) {
        header[VARIABLE_HEADER_BYTES + 2 * i] = (guint8)name[i];
    }
    memcpy(header + VARIABLE_HEADER_BYTES + name_bytes, data, data_bytes);
    return at + (VARIABLE_HEADER_BYTES + name_bytes + data_bytes + 3) / 4 * 4;
}

static void write_headers(guint8 *bytes)
{
    guint16 sum = 0;
    memset(bytes, 0, VOLUME_HEADER_BYTES);
    memcpy(bytes + 16, SYSTEM_NV_DATA, GUID_BYTES);
    put(bytes + 32, SIM_NVRAM_BYTES, 8);
    memcpy(bytes + 40, "_FVH", 4);
    put(bytes + 48, VOLUME_HEADER_BYTES, 2);
    bytes[55] = 2;
    for (gsize i = 0; i < VOLUME_HEADER_BYTES; i += 2) {
        sum = (guint16)(sum + (bytes[i] | bytes[i + 1] << 8));
    }
    put(bytes + 50, (guint16)-sum, 2);
    memcpy(bytes + VOLUME_HEADER_BYTES, STORE_AUTHENTICATED, GUID_BYTES);
    put(bytes + VOLUME_HEADER_BYTES + 16, SIM_NVRAM_BYTES - VOLUME_HEADER_BYTES, 4);
    bytes[VOLUME_HEADER_BYTES + 20] = 0x5a;
    bytes[VOLUME_HEADER_BYTES + 21] = 0xfe;
    memset(bytes + VOLUME_HEADER_BYTES + 22, 0, STORE_HEADER_BYTES - 22);
}

static void write_template(guint8 bytes[SIM_NVRAM_BYTES], gboolean secure_boot)
{
    static const guint8 zero[COUNTER_BYTES] = {0};
    memset(bytes, 0xff, SIM_NVRAM_BYTES);
    write_headers(bytes);
    gsize at = VOLUME_HEADER_BYTES + STORE_HEADER_BYTES;
    at = add_variable(bytes, at, GUEST, "Counter", zero, sizeof(zero));
    if (secure_boot) {
        at = add_variable(bytes, at, GLOBAL_VARIABLE, "PK", "an enrolled key", 16);
        add_variable(bytes, at, SECURE_BOOT_ENABLE_DISABLE, "SecureBootEnable", "\1", 1);
    }
}

gboolean sim_nvram_counter(const guint8 *bytes, gsize size_bytes, guint64 *ret_counter)
{
    const gsize guid_at = VOLUME_HEADER_BYTES + STORE_HEADER_BYTES + 44;
    if (size_bytes < SIM_NVRAM_COUNTER_AT + COUNTER_BYTES ||
        memcmp(bytes + guid_at, GUEST, GUID_BYTES) != 0) {
        return FALSE;
    }
    *ret_counter = 0;
    for (gsize i = 0; i < COUNTER_BYTES; i++) {
        *ret_counter |= (guint64)bytes[SIM_NVRAM_COUNTER_AT + i] << (8 * i);
    }
    return TRUE;
}

gboolean sim_nvram_read(const SimNode *node, guint64 *ret_counter)
{
    guint8 bytes[SIM_NVRAM_COUNTER_AT + COUNTER_BYTES];
    return sim_nvram_counter(bytes, sim_node_read(node, 0, bytes, sizeof(bytes)), ret_counter);
}

void sim_nvram_write(SimNode *node, guint64 counter, guint writer)
{
    guint8 bytes[COUNTER_BYTES];
    put(bytes, counter, sizeof(bytes));
    sim_node_write(node, SIM_NVRAM_COUNTER_AT, bytes, sizeof(bytes), writer);
}

/* ---- Disks */

static void make_folders(SimHost *host, const char *path)
{
    for (const char *end = strchr(path + 1, '/'); end != NULL; end = strchr(end + 1, '/')) {
        g_autofree char *folder = g_strndup(path, (gsize)(end - path));
        sim_files_make(host, folder, SIM_NODE_FOLDER, 0755, NULL, 0);
    }
    sim_files_make(host, path, SIM_NODE_FOLDER, 0755, NULL, 0);
}

static void make_file(SimHost *host, const char *folder, const char *name, const void *bytes,
                      gsize size_bytes)
{
    g_autofree char *path = g_strdup_printf("%s/%s", folder, name);
    make_folders(host, folder);
    g_assert(sim_files_make(host, path, SIM_NODE_FILE, MODE_FILE, bytes, size_bytes));
}

#define DESCRIPTOR(code, vars, features)                                                           \
    "{\"interface-types\":[\"uefi\"],\"mapping\":{\"device\":\"flash\",\"executable\":"            \
    "{\"filename\":\"" SIM_OVMF_DIR "/" code "\",\"format\":\"raw\"},\"nvram-template\":"          \
    "{\"filename\":\"" SIM_OVMF_DIR "/" vars "\",\"format\":\"raw\"}},\"targets\":"                \
    "[{\"architecture\":\"x86_64\",\"machines\":[\"pc-q35-*\"]}],\"features\":[" features "]}"

static void make_firmware(SimHost *host)
{
    static const char secure[] = DESCRIPTOR("CODE.secure.fd", "VARS.secure.fd",
                                            "\"secure-boot\",\"enrolled-keys\",\"requires-smm\"");
    static const char plain[] = DESCRIPTOR("CODE.fd", "VARS.fd", "\"acpi-s3\"");
    guint8 bytes[SIM_NVRAM_BYTES];
    make_file(host, SIM_FIRMWARE_DIR, "40-secure.json", secure, strlen(secure));
    make_file(host, SIM_FIRMWARE_DIR, "60-plain.json", plain, strlen(plain));
    write_template(bytes, TRUE);
    make_file(host, SIM_OVMF_DIR, "VARS.secure.fd", bytes, sizeof(bytes));
    write_template(bytes, FALSE);
    make_file(host, SIM_OVMF_DIR, "VARS.fd", bytes, sizeof(bytes));
    make_file(host, SIM_OVMF_DIR, "CODE.secure.fd", "code", 4);
    make_file(host, SIM_OVMF_DIR, "CODE.fd", "code", 4);
}

void sim_host_furnish(SimHost *host)
{
    static const char image[] = "QFI\xfb\0\0\0\3 size=1073741824";
    make_firmware(host);
    make_file(host, "/usr/bin", "swtpm", "program", 7);
    make_file(host, "/usr/bin", "swtpm_setup", "program", 7);
    make_folders(host, SIM_LOG_DIR);
    make_folders(host, "/var/lib/virtbus");
    make_folders(host, "/var/lib/libvirt");
    for (guint i = 0; i < host->config.storages->len; i++) {
        const VbStorage *storage = g_ptr_array_index(host->config.storages, i);
        g_autofree char *folder = g_strdup_printf("%s/images", storage->path);
        make_file(host, folder, "base.qcow2", image, sizeof(image) - 1);
        make_file(host, folder, "base.raw", "boot", 4);
        make_file(host, folder, "install.iso", "boot", 4);
    }
    for (guint i = 0; i < host->mounts->len; i++) {
        sim_disk_sync(g_array_index(host->mounts, SimMount, i).disk);
    }
}
