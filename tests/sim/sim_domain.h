/* The domains of a host: those of sim_hypervisor.c, which libvirt's calls are about, and whose
 * guests live in sim_guest.c. Private to the two. */
#pragma once

#include "tests/sim/sim_machine.h"

typedef struct {
    SimHypervisor *hypervisor;
    guint refs;
    char vm_uuid[UUID_TEXT_BYTES];
    gboolean is_up;
    gboolean ours;
    gboolean starting_up;
    gboolean stuck;      /* Its libvirtd died before it had started: it never will. */
    gboolean unattended; /* See SimDomain. */
    guint creator;       /* Which of the host's agents made it. */
    SimMachine *machine; /* Ours; NULL: somebody's by hand. */
    gint64 created_ms;
    gint64 asked_ms;  /* See SimDomain. */
    SimNode *nvram;   /* Open; NULL: none. */
    GPtrArray *disks; /* of SimNode, open and locked. */
    guint64 root_inode;
    gboolean has_counter;
    guint64 counter; /* As the flash in QEMU's memory has it. */
    SimCondition changed;
    gboolean changing; /* QEMU stands still in an attach of NIC `attaching`. */
    guint32 attaching;
    gboolean has_booted;
    gboolean is_deaf; /* To the power button, and to requests to let go of a device. */
    gboolean is_ending;
} SimGuest;

struct SimHypervisor {
    VbHypervisor interface; /* First. */
    SimHost *host;
    GPtrArray *domains; /* of SimGuest, referenced: those that are up, in the order of creation. */
    GQueue happenings;  /* What will happen to them. */
    GQueue events;      /* What the agent will be told. */
    GQueue creates;     /* What libvirtd has not begun with. */
    gint64 last_event_us;
    gboolean is_away;
    gint64 away_until_us;
    guint n_outages;
    gboolean has_kvm;
};

SimGuest *sim_domain_ref(SimGuest *domain);
void sim_domain_unref(SimGuest *domain);
/* NULL: none is up. Borrowed. */
SimGuest *sim_domain_find(const SimHypervisor *self, const char *vm_uuid);
SimDomain sim_domain_facts(const SimGuest *domain);

/* `happen` is called after that, whatever has become of the domain; it looks itself. */
typedef void (*SimDomainHappening)(SimGuest *domain, guint32 index);
void sim_domain_after(SimGuest *domain, gint64 delay_us, SimDomainHappening happen, guint32 index);

/* QEMU is gone. An orderly end brings the flash to disk. `reason` UNSPECIFIED: nobody is told. */
void sim_domain_end(SimGuest *domain, gboolean orderly, StopReason reason, const char *why);
void sim_domain_tell(SimGuest *domain, VbDomainEventKind kind, StopReason reason,
                     guint32 nic_index);

/* ---- sim_guest.c */

/* What QEMU opens, and what is missing then: NULL: nothing. Free with g_free. */
char *sim_guest_open_files(SimGuest *guest);
void sim_guest_boot_soon(SimGuest *guest);
void sim_guest_press_button(SimGuest *guest);
void sim_guest_ask_to_let_go(SimGuest *guest, guint32 nic_index);
