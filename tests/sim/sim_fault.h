/* Every kind of fault that the simulator knows: one row each. A plan draws a rate for each kind from
 * the seed; most kinds are off in most runs, so that each has runs where it is frequent. */
#pragma once

#include <glib.h>

/* name, rate per million chances when it is on (a plan takes a quarter of it, it, or four times
 * it), what it does. */
#define SIM_FAULTS(X)                                                                              \
    /* Processes: one chance at each call. */                                                      \
    X(CRASH, "crash", 400, "a process is killed before one of its calls")                          \
    X(FREEZE, "freeze", 150, "a process stands still, for some seconds or minutes")                \
    X(POWER_LOSS, "power-loss", 250, "a host loses its power: agent, guests and unsynced writes")  \
    /* Broker: one chance at each request. */                                                      \
    X(BROKER_DOWN, "broker-down", 600, "the broker answers nobody for a while")                    \
    X(BROKER_SLOW, "broker-slow", 5000, "a request takes up to 3 s")                               \
    X(TXN_ABORT, "txn-abort", 8000, "the broker aborts a transaction")                             \
    X(TXN_FATAL, "txn-fatal", 4000, "a producer is told that it cannot go on")                     \
    X(COMMIT_UNKNOWN, "commit-unknown", 8000, "a commit is done, and its answer is lost")          \
    X(REBALANCE, "rebalance", 3000, "a group's partitions are given anew")                         \
    X(DELIVER_LATE, "deliver-late", 8000, "a partition is silent to a reader for a while")         \
    X(REPORT_LOST, "report-lost", 40000,                                                           \
      "a report does not reach the broker, and its agent hears")                                   \
    X(REPORT_TWICE, "report-twice", 40000,                                                         \
      "a report is written, and its agent hears that it was not")                                  \
    X(LATE_OFFSET, "late-offset", 60000, "an agent's commit of its offset is lost")                \
    X(TOPIC_DELETED, "topic-deleted", 800, "a host's command topic is deleted")                    \
    X(RETENTION, "retention", 3000, "old records of an input topic are deleted")                   \
    X(COMPACTION, "compaction", 2000, "superseded states are compacted away")                      \
    /* Control planes: one chance at each command. */                                              \
    X(COMMAND_TWICE, "command-twice", 30000, "a control plane sends a command again")              \
    X(COMMAND_GARBAGE, "command-garbage", 10000,                                                   \
      "a control plane sends bytes that are no command")                                           \
    X(WRONG_PARTITION, "wrong-partition", 10000, "a record is written to a wrong partition")       \
    /* Hosts: one chance at each call of the kind. */                                              \
    X(CLOCK_JUMP, "clock-jump", 1000, "a clock jumps, within the allowed skew")                    \
    X(CLOCK_WRONG, "clock-wrong", 500, "a host's clock is minutes or hours ahead")                 \
    X(CLOCKS_LEAP, "clocks-leap", 500, "all clocks leap ahead, by minutes or hours")               \
    X(HOST_SILENT, "host-silent", 1500, "a host's network is cut for a while")                     \
    X(FILE_EIO, "file-eio", 1500, "a file call fails with EIO")                                    \
    X(FILE_ENOSPC, "file-enospc", 1500, "a file call fails with ENOSPC")                           \
    X(FILE_SHORT, "file-short", 5000, "a write takes some of its bytes only")                      \
    X(FSYNC_LIES, "fsync-lies", 1000, "an fsync is done and reported as failed")                   \
    X(FSYNC_FORGETS, "fsync-forgets", 40000,                                                       \
      "an fsync fails, and the next finds nothing to write")                                       \
    X(FILE_LOST, "file-lost", 4000, "somebody deletes a state file while nothing runs")            \
    X(FILE_DAMAGED, "file-damaged", 4000, "somebody damages a state file while nothing runs")      \
    X(LIBVIRT_FAILS, "libvirt-fails", 5000, "a libvirt call fails, nothing done")                  \
    X(LIBVIRT_LATE, "libvirt-late", 8000, "a libvirt call is done, and fails for its caller")      \
    X(LIBVIRT_DOWN, "libvirt-down", 1000, "libvirtd is away for a while")                          \
    X(LIBVIRT_BUSY, "libvirt-busy", 60000, "libvirtd takes up to 20 s to begin with a create")     \
    X(LIBVIRT_KILLED, "libvirt-killed", 40000, "libvirtd dies in a create: a domain starting up")  \
    X(EVENT_LOST, "event-lost", 60000, "a domain event is not told")                               \
    X(EVENT_TWICE, "event-twice", 60000, "a domain event is told twice")                           \
    X(FOREIGN_DOMAIN, "foreign-domain", 500, "somebody starts a domain of a VM's uuid by hand")    \
    X(DOMAIN_VANISHES, "domain-vanishes", 1000, "somebody destroys a domain by hand")              \
    X(GUEST_DEAF, "guest-deaf", 100000, "a guest does not hear the power button")                  \
    X(OVS_DOWN, "ovs-down", 1000, "OVS answers nobody for a while")                                \
    X(OVS_REFUSES, "ovs-refuses", 60000, "OVS refuses a port")

typedef enum {
#define SIM_FAULT_ENUM(id, name, rate, what) FAULT_##id,
    SIM_FAULTS(SIM_FAULT_ENUM)
#undef SIM_FAULT_ENUM
        SIM_N_FAULTS,
} SimFault;

typedef struct {
    const char *name;
    guint per_million;
    const char *what;
} SimFaultInfo;

/* One fault of a run: the strikes of each kind are counted from 1. */
typedef struct {
    SimFault fault;
    guint64 number;
} SimFaultNumber;

const SimFaultInfo *sim_fault_info(SimFault fault);
/* FALSE: there is none of that name. */
gboolean sim_fault_parse(const char *name, SimFault *ret_fault);

/* Counted for the process, over all runs: where its effect happens. */
void sim_fault_hit(SimFault fault);
guint64 sim_fault_hits(SimFault fault);
