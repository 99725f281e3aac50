#include "tests/lib/boot_media.h"

#include <string.h>

enum { DISK_BYTES = 1024 * 1024, SECTOR_BYTES = 512, BLOCK_BYTES = 2048 };
/* Blocks of the CD-ROM; the first one that counts is 16 by the standard. */
enum { ISO_VOLUME = 16, ISO_BOOT_RECORD, ISO_END, ISO_CATALOG, ISO_PROGRAM, ISO_N_BLOCKS };

/* 16-bit code that runs at 0x7c00, with the BIOS's number of the disk in dl. */
static const guint8 code_writes[] = {
    0x31, 0xdb,       /* xor bx, bx */
    0x8e, 0xc3,       /* mov es, bx */
    0xbb, 0x00, 0x7c, /* mov bx, 0x7c00 */
    0xb8, 0x01, 0x03, /* mov ax, 0x0301: write one sector */
    0xb9, 0x02, 0x00, /* mov cx, 2: cylinder 0, sector 2 */
    0xb6, 0x00,       /* mov dh, 0: head 0 */
    0xcd, 0x13,       /* int 0x13 */
    0x72, 0x06,       /* jc halt, behind what follows */
};
static const guint8 code_prints[] = {
    0xba, 0xf8, 0x03, /* mov dx, 0x3f8: COM1 */
    0xb0, 0x00,       /* mov al, LETTER */
    0xee,             /* out dx, al */
    0xf4, 0xeb, 0xfd, /* halt: hlt; jmp halt */
};
enum { LETTER_AT = 4 };
/* SeaBIOS puts ACPI's PM1a registers at 0x600: status, enable, control. */
static const guint8 code_obeys_keys[] = {
    0x31, 0xc0,                         /* xor ax, ax */
    0x8e, 0xd8,                         /* mov ds, ax */
    0xba, 0xf8, 0x03, 0xb0, 0x00, 0xee, /* the letter to COM1 */
    0xba, 0x02, 0x06, 0xb8, 0x00, 0x01, /* mov dx, 0x602; mov ax, 0x100: PWRBTN_EN */
    0xef,                               /* out dx, ax */
    0xfb, 0xf4,                         /* again: sti; hlt, until the BIOS's clock ticks */
    0xba, 0x00, 0x06, 0xed,             /* mov dx, 0x600; in ax, dx */
    0xf6, 0xc4, 0x01, 0x75, 0x1c,       /* test ah, 1: PWRBTN_STS; jnz off */
    0xb4, 0x01, 0xcd, 0x16, 0x74, 0xef, /* int 0x16, ah 1: no key; jz again */
    0x30, 0xe4, 0xcd, 0x16,             /* int 0x16, ah 0: the key */
    0x3c, 0x6f, 0x74, 0x0e,             /* 'o': off */
    0x3c, 0x72, 0x74, 0x13,             /* 'r': reboot */
    0x3c, 0x74, 0x74, 0x1d,             /* 't': triple */
    0x3c, 0x70, 0x74, 0x11,             /* 'p': panic */
    0xeb, 0xd9,                         /* jmp again */
    0xba, 0x04, 0x06, 0xb8, 0x00, 0x20, /* off: mov dx, 0x604; mov ax, 0x2000: SLP_EN */
    0xef, 0xeb, 0xd0,                   /* out dx, ax; jmp again */
    0xb0, 0xfe, 0xe6, 0x64, 0xeb, 0xca, /* reboot: 0xfe to port 0x64; jmp again */
    0xba, 0x05, 0x05, 0xb0, 0x01,       /* panic: mov dx, 0x505; mov al, 1 */
    0xee, 0xeb, 0xc2,                   /* out dx, al; jmp again */
    0x0f, 0x01, 0x1e, 0x55, 0x7c, 0xcc, /* triple: lidt of the zeroes behind this; int3 */
};
enum { KEYS_LETTER_AT = 8 };

static void program_write(guint8 *sector, BootProgram program, char letter)
{
    switch (program) {
    case BOOT_WRITES:
        memcpy(sector, code_writes, sizeof(code_writes));
        sector += sizeof(code_writes);
        break;
    case BOOT_OBEYS_KEYS:
        memcpy(sector, code_obeys_keys, sizeof(code_obeys_keys));
        sector[KEYS_LETTER_AT] = (guint8)letter;
        return;
    case BOOT_PRINTS:
        break;
    }
    memcpy(sector, code_prints, sizeof(code_prints));
    sector[LETTER_AT] = (guint8)letter;
}

static void file_write(const char *path, const guint8 *bytes, gsize size_bytes)
{
    g_autoptr(GError) error = NULL;
    if (!g_file_set_contents(path, (const char *)bytes, (gssize)size_bytes, &error)) {
        g_error("%s", error->message);
    }
}

void boot_media_disk(const char *path, BootProgram program, char letter)
{
    g_autofree guint8 *bytes = g_malloc0(DISK_BYTES);
    program_write(bytes, program, letter);
    bytes[SECTOR_BYTES - 2] = 0x55;
    bytes[SECTOR_BYTES - 1] = 0xaa;
    file_write(path, bytes, DISK_BYTES);
}

static guint8 *iso_descriptor(guint8 *iso, guint block, guint8 type)
{
    guint8 *at = iso + (gsize)block * BLOCK_BYTES;
    at[0] = type;
    memcpy(at + 1, "CD001\1", 6);
    return at;
}

void boot_media_iso(const char *path, char letter)
{
    const gsize size_bytes = (gsize)ISO_N_BLOCKS * BLOCK_BYTES;
    g_autofree guint8 *iso = g_malloc0(size_bytes);
    iso_descriptor(iso, ISO_VOLUME, 1);
    iso_descriptor(iso, ISO_END, 255);
    guint8 *record = iso_descriptor(iso, ISO_BOOT_RECORD, 0);
    memcpy(record + 7, "EL TORITO SPECIFICATION", 23);
    record[0x47] = ISO_CATALOG;
    guint8 *catalog = iso + (gsize)ISO_CATALOG * BLOCK_BYTES;
    catalog[0] = 1; /* Validation entry; its 16-bit words add up to zero. */
    catalog[28] = 0xaa;
    catalog[29] = 0x55;
    catalog[30] = 0x55;
    catalog[31] = 0xaa;
    catalog[32] = 0x88; /* Default entry: bootable, no emulation, one sector. */
    catalog[38] = 1;
    catalog[40] = ISO_PROGRAM;
    program_write(iso + (gsize)ISO_PROGRAM * BLOCK_BYTES, BOOT_PRINTS, letter);
    file_write(path, iso, size_bytes);
}
