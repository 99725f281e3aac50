/* Numbers that more than one process must agree on. */
#pragma once

enum {
    /* vm-service sets one absolute deadline. volume-service works to it minus one margin, a host to
     * it minus two, so that each answer can still be heard by the one who asked. */
    DEADLINE_MARGIN_MS = 2000,
    TIMEOUT_MIN_MS = 10 * 1000,
    TIMEOUT_MAX_MS = 60 * 60 * 1000,

    NVRAM_DEFAULT_BYTES = 1024 * 1024, /* Accounting limit of a variable store. */

    /* Of a VmSpec: with a VM's volumes around it, it still fits a record (MESSAGE_MAX_BYTES). */
    SPEC_MAX_BYTES = 24 * 1024,
    /* Of what a host says of a VM's hardware; it travels with the spec. */
    HARDWARE_MAX_BYTES = 16 * 1024,
    /* Of what it says of a variable store's firmware: two paths and a name. */
    FIRMWARE_MAX_BYTES = 4 * 1024,

    /* Of one VM, with those that are retained or on their way out: all of them fit a record. */
    VOLUMES_MAX = 48,

    OUTCOMES_KEPT = 16, /* Finished requests whose repeat gets the same reply. */

    /* Of a vhost-user socket: at 108 bytes QEMU binds and DPDK never connects (probed). */
    SOCKET_PATH_MAX_BYTES = 107,
};
