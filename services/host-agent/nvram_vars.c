/* Reads a UEFI variable store. It only reads, and it trusts no length that it has not compared with
 * what is there. */
#include "services/host-agent/nvram_vars.h"

#include <string.h>

enum {
    /* EFI_FIRMWARE_VOLUME_HEADER */
    VOLUME_GUID_AT = 16,
    VOLUME_LENGTH_AT = 32,
    VOLUME_SIGNATURE_AT = 40,
    VOLUME_HEADER_BYTES_AT = 48,
    VOLUME_REVISION_AT = 55,
    VOLUME_HEADER_MIN_BYTES = 56,
    VOLUME_REVISION = 2,
    /* VARIABLE_STORE_HEADER */
    STORE_SIZE_AT = 16,
    STORE_FORMAT_AT = 20,
    STORE_STATE_AT = 21,
    STORE_HEADER_BYTES = 28,
    STORE_FORMATTED = 0x5a,
    STORE_HEALTHY = 0xfe,
    FLASH_BLOCK_BYTES = 4096,
    /* VARIABLE_HEADER and AUTHENTICATED_VARIABLE_HEADER: sizes and GUID are their last fields. */
    VARIABLE_STATE_AT = 2,
    VARIABLE_SIZES_AND_GUID_BYTES = 24,
    VARIABLE_HEADER_BYTES = 32,
    VARIABLE_AUTHENTICATED_HEADER_BYTES = 60,
    VARIABLE_START = 0x55aa,
    VARIABLE_ALIGNMENT = 4,
};

/* States of a variable. Flash can only clear bits, so each step in a variable's life clears one. */
enum {
    STATE_ADDED = 0x3f,
    STATE_ADDED_BEING_REPLACED = 0x3e, /* Counts while no newer one of its name is ADDED. */
    STATE_HEADER_TORN = 0xff,
};

#define GUID_BYTES 16
static const guint8 SYSTEM_NV_DATA[GUID_BYTES] = {0x8d, 0x2b, 0xf1, 0xff, 0x96, 0x76, 0x8b, 0x4c,
                                                  0xa9, 0x85, 0x27, 0x47, 0x07, 0x5b, 0x4f, 0x50};
static const guint8 STORE_AUTHENTICATED[GUID_BYTES] = {
    0x78, 0x2c, 0xf3, 0xaa, 0x7b, 0x94, 0x9a, 0x43, 0xa1, 0x80, 0x2e, 0x14, 0x4e, 0xc3, 0x77, 0x92};
static const guint8 STORE_PLAIN[GUID_BYTES] = {0x16, 0x36, 0xcf, 0xdd, 0x75, 0x32, 0x64, 0x41,
                                               0x98, 0xb6, 0xfe, 0x85, 0x70, 0x7f, 0xfe, 0x7d};
static const guint8 GLOBAL_VARIABLE[GUID_BYTES] = {0x61, 0xdf, 0xe4, 0x8b, 0xca, 0x93, 0xd2, 0x11,
                                                   0xaa, 0x0d, 0x00, 0xe0, 0x98, 0x03, 0x2b, 0x8c};
static const guint8 SECURE_BOOT_ENABLE_DISABLE[GUID_BYTES] = {
    0xc7, 0x0b, 0xa3, 0xf0, 0x08, 0xaf, 0x56, 0x45, 0x99, 0xc4, 0x00, 0x10, 0x09, 0xc9, 0x3a, 0x44};
static const guint8 MTC_VENDOR[GUID_BYTES] = {0x11, 0x40, 0x70, 0xeb, 0x02, 0x14, 0xd3, 0x11,
                                              0x8e, 0x77, 0x00, 0xa0, 0xc9, 0x69, 0x72, 0x3b};

/* The variables of one store: `bytes` begins with the store's header. */
typedef struct {
    const guint8 *bytes;
    size_t size_bytes;
    size_t header_bytes; /* Of each variable. */
} Store;

typedef struct {
    guint8 state;
    const guint8 *guid;
    const guint8 *name; /* UTF-16LE with its terminating zero. */
    size_t name_bytes;
    const guint8 *data;
    size_t data_bytes;
    size_t end; /* Offset behind it, aligned. */
} Variable;

/* The one variable of a name that the firmware would see. */
typedef struct {
    gboolean found;
    gboolean final; /* ADDED, not the older half of an unfinished replacement. */
    const guint8 *data;
    size_t data_bytes;
} Sought;

static guint16 get_u16(const guint8 *bytes)
{
    return (guint16)(bytes[0] | bytes[1] << 8);
}

static guint32 get_u32(const guint8 *bytes)
{
    return get_u16(bytes) | (guint32)get_u16(bytes + 2) << 16;
}

static guint64 get_u64(const guint8 *bytes)
{
    return get_u32(bytes) | (guint64)get_u32(bytes + 4) << 32;
}

static gboolean fail(GError **error, const char *what, size_t offset)
{
    g_set_error(error, VB_ERROR, ERROR_CODE_NVRAM_CORRUPT,
                "this is no sound UEFI variable store: %s, at byte %zu. Restore the file, or "
                "ResetNvram",
                what, offset);
    return FALSE;
}

/* --- Headers */

static gboolean check_volume(const guint8 *bytes, size_t size_bytes, size_t *ret_header_bytes,
                             GError **error)
{
    if (size_bytes < VOLUME_HEADER_MIN_BYTES) {
        return fail(error, "it is shorter than a firmware volume header", size_bytes);
    }
    if (memcmp(bytes + VOLUME_SIGNATURE_AT, "_FVH", 4) != 0) {
        return fail(error, "there is no firmware volume signature", VOLUME_SIGNATURE_AT);
    }
    if (memcmp(bytes + VOLUME_GUID_AT, SYSTEM_NV_DATA, GUID_BYTES) != 0) {
        return fail(error, "the firmware volume holds no variables", VOLUME_GUID_AT);
    }
    if (bytes[VOLUME_REVISION_AT] != VOLUME_REVISION) {
        return fail(error, "the firmware volume's revision is not 2", VOLUME_REVISION_AT);
    }
    if (get_u64(bytes + VOLUME_LENGTH_AT) != size_bytes) {
        return fail(error, "the firmware volume's length is not the file's", VOLUME_LENGTH_AT);
    }
    size_t header_bytes = get_u16(bytes + VOLUME_HEADER_BYTES_AT);
    if (header_bytes < VOLUME_HEADER_MIN_BYTES || header_bytes % 2 != 0 ||
        header_bytes > size_bytes) {
        return fail(error, "the firmware volume header's length is wrong", VOLUME_HEADER_BYTES_AT);
    }
    guint16 sum = 0;
    for (size_t i = 0; i < header_bytes; i += 2) {
        sum = (guint16)(sum + get_u16(bytes + i));
    }
    if (sum != 0) {
        return fail(error, "the firmware volume header's checksum is wrong", 0);
    }
    *ret_header_bytes = header_bytes;
    return TRUE;
}

static gboolean open_store(const guint8 *bytes, size_t size_bytes, size_t at, Store *ret_store,
                           GError **error)
{
    const guint8 *header = bytes + at;
    if (size_bytes - at < STORE_HEADER_BYTES) {
        return fail(error, "the variable store header is cut off", at);
    }
    if (memcmp(header, STORE_AUTHENTICATED, GUID_BYTES) == 0) {
        ret_store->header_bytes = VARIABLE_AUTHENTICATED_HEADER_BYTES;
    } else if (memcmp(header, STORE_PLAIN, GUID_BYTES) == 0) {
        ret_store->header_bytes = VARIABLE_HEADER_BYTES;
    } else {
        return fail(error, "the variable store's format is not known", at);
    }
    ret_store->bytes = header;
    ret_store->size_bytes = get_u32(header + STORE_SIZE_AT);
    if (ret_store->size_bytes < STORE_HEADER_BYTES || ret_store->size_bytes > size_bytes - at ||
        (at + ret_store->size_bytes) % FLASH_BLOCK_BYTES != 0) {
        return fail(error, "the variable store's size is wrong", at + STORE_SIZE_AT);
    }
    if (header[STORE_FORMAT_AT] != STORE_FORMATTED || header[STORE_STATE_AT] != STORE_HEALTHY) {
        return fail(error, "the variable store says that it is not healthy", at + STORE_FORMAT_AT);
    }
    return TRUE;
}

/* --- Variables */

static gboolean starts_variable(const Store *store, size_t at)
{
    return at + store->header_bytes <= store->size_bytes &&
           get_u16(store->bytes + at) == VARIABLE_START;
}

/* A variable begins at `at`. FALSE: its sizes or its name cannot be. */
static gboolean read_variable(const Store *store, size_t at, Variable *ret_variable)
{
    const guint8 *header = store->bytes + at;
    const guint8 *sizes = header + store->header_bytes - VARIABLE_SIZES_AND_GUID_BYTES;
    size_t left = store->size_bytes - at - store->header_bytes;
    size_t name_bytes = get_u32(sizes);
    size_t data_bytes = get_u32(sizes + 4);
    ret_variable->state = header[VARIABLE_STATE_AT];
    if (ret_variable->state == STATE_HEADER_TORN) {
        /* Power went while the header was written: the firmware skips the header alone. */
        name_bytes = 0;
        data_bytes = 0;
    } else if (name_bytes < 4 || name_bytes % 2 != 0 || name_bytes > left ||
               data_bytes > left - name_bytes) {
        return FALSE;
    }
    ret_variable->guid = sizes + 8;
    ret_variable->name = header + store->header_bytes;
    ret_variable->name_bytes = name_bytes;
    ret_variable->data = ret_variable->name + name_bytes;
    ret_variable->data_bytes = data_bytes;
    size_t end = at + store->header_bytes + name_bytes + data_bytes;
    ret_variable->end = (end + VARIABLE_ALIGNMENT - 1) / VARIABLE_ALIGNMENT * VARIABLE_ALIGNMENT;
    return TRUE;
}

static gboolean is_live(const Variable *variable)
{
    return variable->state == STATE_ADDED || variable->state == STATE_ADDED_BEING_REPLACED;
}

static gboolean name_is_terminated(const Variable *variable)
{
    return variable->name_bytes >= 2 && get_u16(variable->data - 2) == 0;
}

static gboolean is_called(const Variable *variable, const guint8 *guid, const char *name)
{
    size_t length = strlen(name);
    if (memcmp(variable->guid, guid, GUID_BYTES) != 0 || variable->name_bytes != 2 * (length + 1)) {
        return FALSE;
    }
    for (size_t i = 0; i < length; i++) {
        if (get_u16(variable->name + 2 * i) != (guint8)name[i]) {
            return FALSE;
        }
    }
    return TRUE;
}

static void seek(Sought *sought, const Variable *variable, const guint8 *guid, const char *name)
{
    if (!is_live(variable) || sought->final || !is_called(variable, guid, name)) {
        return;
    }
    sought->found = TRUE;
    sought->final = variable->state == STATE_ADDED;
    sought->data = variable->data;
    sought->data_bytes = variable->data_bytes;
}

/* Behind the last variable the flash is erased. Whole variables there mean that something in the
 * middle was overwritten; the firmware would drop them for good. Less than that is what a power cut
 * leaves, and what the firmware tidies up. */
static gboolean check_tail(const Store *store, size_t at, size_t store_at, GError **error)
{
    for (; at + store->header_bytes <= store->size_bytes; at += VARIABLE_ALIGNMENT) {
        Variable variable;
        if (starts_variable(store, at) && read_variable(store, at, &variable) &&
            is_live(&variable) && name_is_terminated(&variable)) {
            return fail(error, "there are variables behind a gap", store_at + at);
        }
    }
    return TRUE;
}

static gboolean read_variables(const Store *store, size_t store_at, VbNvramFacts *ret_facts,
                               GError **error)
{
    Sought pk = {0};
    Sought enable = {0};
    Sought mtc = {0};
    size_t at = STORE_HEADER_BYTES;
    while (starts_variable(store, at)) {
        Variable variable;
        if (!read_variable(store, at, &variable)) {
            return fail(error, "a variable's size is wrong", store_at + at);
        }
        if (is_live(&variable) && !name_is_terminated(&variable)) {
            return fail(error, "a variable's name is wrong", store_at + at);
        }
        ret_facts->n_variables += variable.state == STATE_ADDED ? 1 : 0;
        seek(&pk, &variable, GLOBAL_VARIABLE, "PK");
        seek(&enable, &variable, SECURE_BOOT_ENABLE_DISABLE, "SecureBootEnable");
        seek(&mtc, &variable, MTC_VENDOR, "MTC");
        at = variable.end;
    }
    if (!check_tail(store, at, store_at, error)) {
        return FALSE;
    }
    ret_facts->has_pk = pk.found;
    ret_facts->secure_boot =
        pk.found && (!enable.found || (enable.data_bytes == 1 && enable.data[0] == 1));
    ret_facts->has_mtc = mtc.found && mtc.data_bytes == 4;
    ret_facts->mtc = ret_facts->has_mtc ? get_u32(mtc.data) : 0;
    return TRUE;
}

gboolean nvram_vars_read(const void *bytes, size_t size_bytes, VbNvramFacts *ret_facts,
                         GError **error)
{
    size_t store_at = 0;
    Store store = {0};
    *ret_facts = (VbNvramFacts){0};
    return check_volume(bytes, size_bytes, &store_at, error) &&
           open_store(bytes, size_bytes, store_at, &store, error) &&
           read_variables(&store, store_at, ret_facts, error);
}
