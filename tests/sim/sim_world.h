/* One simulated deployment: a broker, services, hosts, control planes, and those who watch them.
 *
 *   sim_broker.c     topics, transactions, groups            sim_bus.c        VbBus over it
 *                                                            sim_agent_bus.c  agent_bus.h over it
 *   sim_service.c    an instance of a service: its process, the real step loop in it
 *   sim_disk.c       inodes, folders, what a power loss keeps   sim_files.c   VbFiles over it
 *   sim_hypervisor.c domains, guests                         sim_switch.c     VbSwitch
 *   sim_host.c       a host: clock, power, storages, the real agent in a process (sim_threads.c)
 *   sim_clock.c      clocks that are not the world's
 *   sim_client.c     control planes and operators            sim_chaos.c      what nobody calls for
 *   sim_check.c      I1-I10 against the world                sim_model.c      the naive model
 *   sim_story.c      the trace: records as sentences */
#pragma once

#include "common/base/step.h"
#include "common/base/uuid.h"
#include "common/bus/bus.h"
#include "services/host-agent/agent_bus.h"
#include "tests/sim/sim.h"
#include "tests/sim/sim_plan.h"
#include "virtbus/v1/virtbus.h"

typedef struct SimBroker SimBroker;
typedef struct SimService SimService;
typedef struct SimHost SimHost;
typedef struct SimDisk SimDisk;
typedef struct SimClients SimClients;
typedef struct SimCheck SimCheck;
typedef struct SimModel SimModel;

typedef struct {
    Sim *sim;
    const SimPlan *plan;
    Settings settings; /* Of both services. Timeouts are those of a deployment, not shortened. */
    char (*vm_uuids)[UUID_TEXT_BYTES];   /* plan->n_vms, derived from the seed. */
    char (*host_uuids)[UUID_TEXT_BYTES]; /* plan->n_hosts */
    SimBroker *broker;
    SimDisk **shared;      /* plan->n_shared, storage refs "shared-0" ... of SHARED_MOUNT_POINT. */
    SimHost **hosts;       /* plan->n_hosts */
    SimService **services; /* 2 * plan->n_instances */
    SimClients *clients;
    SimCheck *check;
    SimModel *model;
    GHashTable *touched; /* VM uuids (borrowed from vm_uuids) that this step changed. */
    gboolean calm;       /* Faults and new commands have stopped. */
} SimWorld;

SimWorld *sim_world_new(const SimPlan *plan);
void sim_world_free(SimWorld *world);

/* The whole run: storm, calm, verdict. FALSE: sim_failure_text(world->sim) says what broke. */
gboolean sim_world_run(SimWorld *world);

/* -1: none of the run's. */
int sim_world_vm_index(const SimWorld *world, const char *vm_uuid);
SimHost *sim_world_host(const SimWorld *world, const char *host_uuid); /* NULL: none. */
/* Its invariants are looked at once the step is over. */
void sim_world_touch(SimWorld *world, const char *vm_uuid);
/* "vm-2", "host-1": what the trace calls it; the uuid itself when it is none of the run's. */
const char *sim_world_name(const SimWorld *world, const char *uuid);

/* ---- sim_clock.c */

/* How far a clock is ahead of the world's: any two are apart by no more than the plan's skew. */
gint64 sim_world_draw_skew_ms(SimWorld *world);
/* The fault CLOCK_JUMP, wherever a clock is looked at: another skew. */
void sim_world_jump(SimWorld *world, const char *who, gint64 *skew_ms);

/* ---- sim_broker.c, sim_bus.c, sim_service.c, sim_agent_bus.c */

SimBroker *sim_broker_new(SimWorld *world);
void sim_broker_free(SimBroker *broker);

/* Appends at once, with the broker's time; returns the offset. -1: the broker is down, or there is
 * no such topic. Not transactional: control planes, and what agents have sent. */
gint64 sim_broker_append(SimBroker *broker, const VbBusMessage *message);

/* The first record at or behind *offset that a read-committed reader sees; moves *offset behind it.
 * NULL: none now. Borrowed until the next step. */
const VbBusRecord *sim_broker_read(SimBroker *broker, VbTopic topic, const char *host_uuid,
                                   int partition, gint64 *offset);

/* An instance of `service` ("vm_service()" or "volume_service()": their VbService), started; a dead
 * one is started again after a while by itself. */
SimService *sim_service_new(SimWorld *world, const VbService *service, guint instance);
void sim_service_free(SimService *service);
SimProcess *sim_service_process(SimService *service); /* NULL: it is not started now. */
void sim_service_calm(SimService *service);           /* It runs. */

/* agent_bus.h over the broker, for the agent of `host`: sim_host_agent(host) is set by then. */
VbAgentBus *sim_agent_bus_new(SimWorld *world, SimHost *host, VbReportFate fate, void *data);
void sim_agent_bus_free(VbAgentBus *bus); /* Its process is dead and unwound. */

/* Calm: the broker is up, slow to nobody, and gives every partition to somebody. */
void sim_broker_calm(SimBroker *broker);
/* Behind sim_leap: an outage lasts no less for it. */
void sim_broker_leap(SimBroker *broker, gint64 leap_us);

/* ---- sim_host.c and what lies below */

/* sim_disk.h has the rest of it. */
SimDisk *sim_disk_new(Sim *sim);
void sim_disk_free(SimDisk *disk);

SimHost *sim_host_new(SimWorld *world, guint index);
void sim_host_free(SimHost *host);
const char *sim_host_uuid(const SimHost *host);
SimProcess *sim_host_agent(SimHost *host);   /* NULL: it is not started now. */
gint64 sim_host_now_ms(const SimHost *host); /* With its skew, unless it is wrong. */
/* Agent, guests and what was not synced are gone; it comes back after a while. */
void sim_host_power_loss(SimHost *host);
/* Ends the sleep of the agent that runs there, or its next; harmless when none runs. */
void sim_host_wake(SimHost *host);
gboolean sim_host_is_up(const SimHost *host);
/* The network between it and the broker. */
gboolean sim_host_is_silent(const SimHost *host);
void sim_host_calm(SimHost *host); /* Up, heard, libvirt and OVS there. */
/* Something happens to a host that no call of a process leads to: called now and then by
 * sim_chaos.c; looks at the faults it knows. */
void sim_host_chance(SimHost *host);

typedef struct {
    const char *vm_uuid;
    const char *host_uuid;
    gboolean ours;        /* FALSE: somebody's by hand. */
    gboolean starting_up; /* A killed libvirtd left it. */
    gboolean unattended;  /* The agent had died since it asked for it. */
    guint64 epoch;
    const char *nvram_path; /* NULL: none. */
    guint64 nvram_inode;    /* Unique in the world, also over shared storages. 0: none. */
    guint64 root_inode;     /* Of the root disk's file; 0: none. */
    gint64 created_ms;      /* By the world's clock. */
    gint64 asked_ms;        /* When the agent called libvirt for it, by its host's clock. */
} SimDomain;

typedef void (*SimEachDomain)(void *data, const SimDomain *domain);
void sim_host_each_domain(SimHost *host, SimEachDomain each, void *data);

typedef struct {
    const char *path;
    guint64 inode;
    const guint8 *bytes;  /* As a reader sees them now; a hole behind them is not kept. */
    gsize size_bytes;     /* Of `bytes`. */
    guint64 length_bytes; /* As stat(2) tells it, hole included. */
    gboolean durable;     /* It would be there, with these bytes, after a power loss. */
} SimFile;

/* Every regular file below a folder as this host sees it ("" for all). */
typedef void (*SimEachFile)(void *data, const SimFile *file);
void sim_host_each_file(SimHost *host, const char *folder, SimEachFile each, void *data);
gboolean sim_host_find_file(SimHost *host, const char *path, SimFile *ret_file);

typedef void (*SimEachPort)(void *data, const char *vm_uuid, guint nic_index);
void sim_host_each_port(SimHost *host, SimEachPort each, void *data);

/* Where the storages of this host are: storage ref uuid/name -> path; see VbHostConfig. */
const char *sim_host_storage_path(SimHost *host, const StorageRef *storage); /* NULL: none. */

/* What a guest keeps in its NVRAM: a variable of eight bytes, 0 in every template, that each boot
 * of the guest raises by one, and a guest at work now and then too. FALSE: there is none. */
gboolean sim_nvram_counter(const guint8 *bytes, gsize size_bytes, guint64 *ret_counter);

/* ---- sim_client.c, sim_chaos.c */

SimClients *sim_clients_new(SimWorld *world);
void sim_clients_free(SimClients *clients);
void sim_clients_start(SimClients *clients);
/* No new commands, but what heals: operators answer Unknown VMs of hosts that stay away, and so on. */
void sim_clients_calm(SimClients *clients);
/* Commands that were sent so far, repeats left out. */
guint64 sim_clients_commands(const SimClients *clients);
/* The numbers of control planes' commands so far, those that were not kept included. */
guint64 sim_clients_asked(const SimClients *clients);
/* Requests without their terminal reply. */
guint sim_clients_waiting(const SimClients *clients);
void sim_chaos_start(SimWorld *world);

/* ---- sim_check.c and sim_model.c: told by the others, at once, whatever happens. They never change
 * anything, and draw nothing. */

SimCheck *sim_check_new(SimWorld *world);
void sim_check_free(SimCheck *check);
/* The broker: a record is visible to read-committed readers now. `transaction` is 0 for what was
 * not written in one, else the transaction's number, unique in the run: all records of one
 * transaction are told in one go, in the order of their writing, then the offsets with it. */
void sim_check_committed(SimCheck *check, const VbBusRecord *record, const char *host_uuid,
                         guint64 transaction);
/* The broker: this transaction commits that the group has consumed `topic`, partition up to `next`. */
void sim_check_consumed(SimCheck *check, const char *group, VbTopic topic, int partition,
                        gint64 next, guint64 transaction);
/* The broker: a host's command topic was deleted, and what was unread there with it. */
void sim_check_topic_deleted(SimCheck *check, const char *host_uuid);
/* The broker: what this transaction, which commits, had written to a host's command topic is gone with
 * that topic. Told among its records. */
void sim_check_lost(SimCheck *check, const char *host_uuid, guint64 transaction);
/* A host: its agent has read this command from its topic, for the first time or again. */
void sim_check_taken(SimCheck *check, SimHost *host, const HostCommand *command);
/* A client: a request is with the broker. */
void sim_check_requested(SimCheck *check, const VmCommand *command, gint64 offset);
/* A host: a domain was made. Told while the agent's call runs, before anything else happens. */
void sim_check_domain_created(SimCheck *check, SimHost *host, const SimDomain *domain);
void sim_check_domain_ended(SimCheck *check, SimHost *host, const SimDomain *domain);
/* A guest read its counter at its boot, and wrote it back raised; or wrote it at work. */
void sim_check_guest_booted(SimCheck *check, SimHost *host, const SimDomain *domain,
                            guint64 counter_found);
void sim_check_guest_wrote(SimCheck *check, SimHost *host, const SimDomain *domain,
                           guint64 counter);
/* A file is gone: `by_agent` or by a fault. `path` is the host's. */
void sim_check_file_unlinked(SimCheck *check, SimHost *host, const char *path, guint64 inode,
                             gboolean by_agent);
/* The host lost its power: bytes that nobody had synced may be older now. */
void sim_check_power_lost(SimCheck *check, SimHost *host);
/* Somebody deleted or truncated this file (a fault): what it held is excused. */
void sim_check_file_harmed(SimCheck *check, SimHost *host, const char *path, guint64 inode);

/* Calm: by the committed states nothing is under way any more: no operation, no transitional status,
 * no Unknown, no deletion that is still tried, no host that has work. */
gboolean sim_check_is_at_rest(SimCheck *check);
/* The touched VMs after each step; the whole world now and then; the verdict at the end. */
void sim_check_step(SimCheck *check);
void sim_check_world(SimCheck *check);
void sim_check_end(SimCheck *check);

SimModel *sim_model_new(SimWorld *world);
void sim_model_free(SimModel *model);
/* The end: what should exist, known in another way, is what exists. */
void sim_model_end(SimModel *model);
