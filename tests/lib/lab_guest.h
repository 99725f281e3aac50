/* A small BIOS guest for tests on a real libvirt: one boot sector that does one thing, and a folder
 * of its own with its disk. No operating system, no firmware variables. */
#pragma once

#include "services/host-agent/host_core.h"

typedef enum {
    GUEST_IDLES,
    GUEST_POWERS_OFF,   /* At once. */
    GUEST_REBOOTS,      /* Again and again. */
    GUEST_HEEDS_BUTTON, /* Powers off when ACPI's power button is pressed. */
    GUEST_EJECTS,       /* Lets go of devices that ACPI asks it to let go of. */
    GUEST_PANICS,       /* At once, where it has a pvpanic device. */
} LabGuestProgram;

typedef struct {
    VbArena *arena;
    char *folder; /* Temporary; storage, sockets, state and logs are in it. */
    VbHostConfig config;
    HostVm *vm; /* Carries the start as its command, epoch 7. */
    VmSpec *spec;
} LabGuest;

/* The value of a variable that `lab up` has written; without it the test program ends. */
const char *lab_env(const char *name);

LabGuest *lab_guest_new(LabGuestProgram program);
/* Its disk alone: a raw file of 1 MiB. */
void lab_guest_disk(const char *path, LabGuestProgram program);
void lab_guest_add_vhost_user_nic(LabGuest *guest, guint index);
void lab_guest_free(LabGuest *guest);

/* `lab up` with this part of the running lab, "ovs": it is there and stands still no more. FALSE: it
 * cannot be brought there. */
gboolean lab_up(const char *part);

/* Runs a program and returns what it printed (g_free); NULL: it failed. */
char *lab_run(const char *const *argv);
/* A host over the real vtables, with the real clock. */
VbHost lab_host(LabGuest *guest, VbHypervisor *hypervisor, VbSwitch *ports);
gint64 lab_now_ms(void *clock);
void lab_wait_ms(void *clock, gint64 duration_ms);

/* What may get stuck, on a thread of its own. `work` and `data` must live until lab_work_end. */
typedef struct {
    GThread *thread;
    void (*run)(gpointer data);
    gpointer data;
    gint done;
} LabWork;

void lab_work_begin(LabWork *work, void (*run)(gpointer data), gpointer data);
gboolean lab_work_is_done(gpointer work); /* A condition for lab_wait_for. */
/* Waits for its end; at once where none was begun. */
void lab_work_end(LabWork *work);

/* Polls until `condition(data)`; FALSE after 30 seconds. */
gboolean lab_wait_for(gboolean (*condition)(gpointer data), gpointer data);
