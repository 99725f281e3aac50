/* What the files of a simulated host share: sim_files.c, sim_nvram.c, sim_hypervisor.c,
 * sim_switch.c, sim_threads.c and sim_host.c. */
#pragma once

#include "services/host-agent/agent_private.h"
#include "tests/sim/sim_disk.h"
#include "tests/sim/sim_model.h"

/* ---- A host */

#define SIM_STATE_DIR    "/var/lib/virtbus/state"
#define SIM_RUN_DIR      "/run/virtbus"
#define SIM_LOG_DIR      "/var/log/virtbus"
#define SIM_SWTPM_DIR    "/var/lib/libvirt/swtpm"
#define SIM_FIRMWARE_DIR "/usr/share/qemu/firmware"
#define SIM_OVMF_DIR     "/usr/share/OVMF"
#define SIM_STORAGE_DIR  "/storage"

enum { SIM_QEMU_UID = 64055, SIM_QEMU_GID = 109, SIM_OVS_GID = 110 };

/* A file system at its place. */
typedef struct {
    char *path; /* "": the root. */
    gsize path_bytes;
    SimDisk *disk;
} SimMount;

typedef struct {
    SimNode *node; /* NULL: this descriptor is closed. */
    int flags;
    guint64 at;
} SimFd;

typedef struct SimHypervisor SimHypervisor;
typedef struct SimSwitch SimSwitch;

struct SimHost {
    VbHost vb; /* First: the agent's way to its host. */
    SimWorld *world;
    Sim *sim;
    guint index;
    const char *uuid;
    const char *name; /* "host-1" */
    VbHostConfig config;

    SimDisk *root;
    SimDisk *run;   /* What /run is: gone after a power loss. */
    GArray *mounts; /* of SimMount; the longest paths first. */
    VbFiles files;
    GArray *fds; /* of SimFd: the agent's. */

    SimHypervisor *hypervisor;
    SimSwitch *ports;

    gboolean is_up;
    gint64 skew_ms;
    gint64 ahead_ms; /* Its clock is wrong, until its agent begins anew. */
    gint64 leap_ms;  /* Of a dead process's clock. */
    gint64 silent_until_us;
    gint64 forgotten_us; /* When a sync has failed for good. */
    gint64 unsynced_us;  /* When a guest last left its variables to the page cache; 0: none did. */

    SimProcess *process; /* Of the agent; NULL: it is not started. */
    VbAgent *agent;
    VbAgentBus *bus;
    gboolean must_end;     /* SIGTERM. */
    gboolean lose_journal; /* Once the agent is gone, before the next one starts. */
    gboolean cut_journal;
    gboolean start_is_due; /* It will be started again by itself. */
    guint n_starts;        /* Of the agent. */
};

/* Without its agent. */
SimHost *sim_host_build(SimWorld *world, guint index);
void sim_host_start_agent(SimHost *host);

/* Each call that changes the host begins with this: the agent may die in it, or the host. FALSE:
 * touch nothing. */
gboolean sim_host_call(SimHost *host);
/* The same where the caller must not rest: the product holds a lock. */
gboolean sim_host_call_at_once(SimHost *host);
/* A call that only looks. */
gboolean sim_host_is_alive(SimHost *host);

/* A sentence of the trace. */
#define sim_host_say(host, vm_uuid, ...) sim_say((host)->sim, vm_uuid, (host)->name, __VA_ARGS__)

/* ---- sim_files.c */

void sim_files_open(SimHost *host);
void sim_files_close(SimHost *host);
/* The agent is dead: its descriptors are closed. */
void sim_files_close_all(SimHost *host);
/* What an open of that path would find, by whoever; NULL: nothing. Borrowed. */
SimNode *sim_files_find(SimHost *host, const char *path);
/* By libvirt, QEMU, swtpm: without an agent, and without faults. One that is there stays, with this
 * content. FALSE: its folder is not there, or something of another kind is. */
gboolean sim_files_make(SimHost *host, const char *path, SimNodeKind kind, guint mode,
                        const void *bytes, gsize size_bytes);
void sim_files_remove(SimHost *host, const char *path);
/* A state file that no guest uses now is deleted or truncated; a journal where no agent runs. */
void sim_files_harm(SimHost *host, gboolean truncate);

/* ---- sim_nvram.c */

enum { SIM_NVRAM_BYTES = 4096, SIM_NVRAM_COUNTER_AT = 176 };
/* As sim_nvram_counter, of a file. */
gboolean sim_nvram_read(const SimNode *node, guint64 *ret_counter);
void sim_nvram_write(SimNode *node, guint64 counter, guint writer);
/* What is on a new host's disks. */
void sim_host_furnish(SimHost *host);

/* ---- sim_hypervisor.c */

SimHypervisor *sim_hypervisor_new(SimHost *host);
void sim_hypervisor_free(SimHypervisor *hypervisor);
VbHypervisor *sim_hypervisor_interface(SimHypervisor *hypervisor);
void sim_hypervisor_power_loss(SimHypervisor *hypervisor);
/* libvirtd dies by this fault, unless it is away already. */
void sim_hypervisor_go_away(SimHypervisor *hypervisor, SimFault cause);
void sim_hypervisor_calm(SimHypervisor *hypervisor);
void sim_hypervisor_vanish(SimHypervisor *hypervisor);
void sim_hypervisor_intrude(SimHypervisor *hypervisor);
/* OVS has changed: who waits for it looks again. */
void sim_hypervisor_look_at_ports(SimHypervisor *hypervisor);
gboolean sim_hypervisor_uses(const SimHypervisor *hypervisor, const SimNode *node);
gboolean sim_hypervisor_runs(const SimHypervisor *hypervisor, const char *vm_uuid);

/* ---- sim_switch.c */

SimSwitch *sim_switch_new(SimHost *host);
void sim_switch_free(SimSwitch *ports);
VbSwitch *sim_switch_interface(SimSwitch *ports);
void sim_switch_go_away(SimSwitch *ports);
void sim_switch_calm(SimSwitch *ports);
/* Whether OVS serves a port on this socket now. */
gboolean sim_switch_serves(const SimSwitch *ports, const char *socket_path);

/* ---- sim_threads.c */

void sim_threads_free(VbAgentThreads *threads);
