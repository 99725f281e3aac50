/* Media that SeaBIOS boots, made byte by byte: a disk or a CD-ROM whose one program prints a letter
 * on the serial console and halts. No operating system. */
#pragma once

#include <glib.h>

typedef enum {
    BOOT_PRINTS,
    /* First writes itself to the second sector of the disk that it came from; prints only if that
     * went well. */
    BOOT_WRITES,
    /* Prints, then does what the keyboard says: o powers off, r reboots by the keyboard controller,
     * t by a triple fault, p panics through pvpanic. Heeds ACPI's power button. */
    BOOT_OBEYS_KEYS,
} BootProgram;

/* A raw image of 1 MiB. */
void boot_media_disk(const char *path, BootProgram program, char letter);
/* An ISO 9660 image with an El Torito boot catalog. */
void boot_media_iso(const char *path, char letter);
