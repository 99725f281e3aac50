/* The kill soak: a whole deployment on two hosts under random kills, while clients ask for random
 * things. What the files of its driver share.
 *
 *   soak.c          the phases, the line of counts, the summary
 *   soak_ground.c   labs, hosts' folders, the guest, the daemons as processes
 *   soak_chaos.c    who is killed or held, and when
 *   soak_zombie.c   instances that are held amid a transaction
 *   soak_client.c   control planes: streams of random commands, legal and illegal
 *   soak_reader.c   a reader of all topics while it happens; what is still owed an answer
 *   soak_sampler.c  which domains run where
 *
 * It judges nothing but that everything settles: what happened goes into files of its folder, and
 * check.py judges them. All of it follows from one seed, but for the real system's own timing.
 *
 * Locks: SoakTable's is taken by everybody and for moments only; a SoakFile has its own. Each thread
 * owns its generator of random numbers.
 */
#pragma once

#include <glib.h>
#include <stdio.h>
#include <sys/types.h>

#include "common/base/topics.h"
#include "common/base/uuid.h"
#include "common/bus/kafka_conf.h"
#include "virtbus/v1/virtbus.h"

enum {
    SOAK_HOSTS = 2,
    SOAK_INSTANCES = 2, /* Of each service. */
    SOAK_SLOTS = 14,    /* VMs at any time. */
    SOAK_STREAMS = 4,
    SOAK_PARTITIONS = 4,
};

/* ---- Files: JSON lines */

typedef struct {
    FILE *stream;
    GMutex lock;
    guint n_lines;
} SoakFile;

void soak_line(SoakFile *file, const char *format, ...) G_GNUC_PRINTF(2, 3);

/* ---- VMs and requests */

typedef enum {
    FLAVOUR_BARE, /* Legacy BIOS without a volume: may start on either host. */
    FLAVOUR_DISKS,
    FLAVOUR_UEFI,   /* With a root disk, and so with NVRAM. */
    FLAVOUR_TPM,    /* The same with a TPM. */
    FLAVOUR_SHARED, /* UEFI on the storage that both hosts have. */
    FLAVOUR_VHOST,  /* With a NIC that no host here can serve: no start of it succeeds. */
    FLAVOUR_COUNT,
} SoakFlavour;

typedef struct {
    char id[UUID_TEXT_BYTES];
    char vm[UUID_TEXT_BYTES];
    const char *what; /* "StartVm" */
    GBytes *packed;
    guint n_acked;
    guint n_open;  /* Sent, and their fate is not known. */
    guint n_first; /* Replies that are not repeated. */
    guint n_repeated;
    int code; /* Of the first reply; 0: done. */
} SoakRequest;

typedef struct {
    char uuid[UUID_TEXT_BYTES];
    SoakFlavour flavour;
    guint host;          /* Where it is mostly started. */
    gboolean is_created; /* It was asked for. */
    GPtrArray *recent;   /* of SoakRequest, the last few */
} SoakSlot;

/* What the state topics say of a VM. */
typedef struct {
    VmStatus status;
    guint n_deleting;  /* Volumes whose deletion is under way. */
    gboolean has_port; /* A vhost-user NIC: without OVS no host can forget it. */
    gboolean vm_busy;
    gboolean volumes_busy;
} SoakVm;

typedef struct {
    GMutex lock;
    GHashTable *requests; /* id -> SoakRequest */
    GHashTable *vms;      /* uuid -> SoakVm */
    GHashTable *reported; /* Operations with a report: a set */
    GHashTable *orders;   /* Operation of a host command without a report -> its VM */
    SoakSlot slots[SOAK_SLOTS];
    guint64 n_sent;
    guint64 n_acked;
    guint64 n_failed; /* Sends whose fate is not known for good. */
} SoakTable;

/* ---- Processes */

typedef enum {
    TARGET_VM_SERVICE,
    TARGET_VOLUME_SERVICE,
    TARGET_AGENT,
    TARGET_LIBVIRTD,
    TARGET_QEMU,
    TARGET_BROKER,
    TARGET_COUNT,
} SoakTarget;

/* "host-agent" */
const char *soak_target_name(SoakTarget target);

typedef struct {
    char *name;
    char **argv;
    SoakTarget target;
    pid_t pid;       /* 0: it is down. */
    gint64 start_us; /* When it is to be started again; monotonic. */
    gint64 wake_us;  /* When it is to go on; 0: it is not held. */
} SoakProcess;

typedef struct {
    char *lab;    /* Folder of its lab. */
    char *folder; /* storage/, agent/, run/, serial/, audit.jsonl */
    char uuid[UUID_TEXT_BYTES];
    SoakProcess *agent;
    gint64 libvirtd_start_us; /* When it is to be started again; 0: it is up. */
    gint64 libvirtd_wake_us;
} SoakHost;

/* A running domain, as the sampler sees it. */
typedef struct {
    pid_t pid;
    guint64 start; /* Ticks: with the pid, one process for ever. */
    guint host;
    char vm[UUID_TEXT_BYTES];
    char *nvram_path; /* NULL: it has none. */
    gint64 wake_us;   /* Held by us until then; 0: not held. */
} SoakDomain;

typedef struct {
    const char *folder;
    const char *bootstrap;
    const char *prefix;
    guint64 seed;
    gint64 chaos_s;
    gint64 settle_s;
    guint broker_kills;
    SoakHost hosts[SOAK_HOSTS];
    char *shared_folder;
    GPtrArray *processes;   /* of SoakProcess: the daemons */
    gint64 broker_start_us; /* When it is to be started again; 0: it is up. */
    SoakTable table;
    SoakFile requests_file;
    SoakFile reader_file;
    SoakFile samples_file;
    SoakFile chaos_file;
    GMutex domains_lock;
    GPtrArray *domains; /* of SoakDomain */
    guint n_samples;
    gint streams_stop; /* Atomic. */
    gint64 read_us;    /* When the reader had its last record: the broker works. */
    gint threads_stop; /* Atomic: reader and sampler. */
    guint kills[TARGET_COUNT];
    guint holds[TARGET_COUNT];
    guint n_zombies;
    gint64 zombie_us; /* Until then the broker is needed, to fence the last one. */
    guint n_died;     /* Daemons that ended by themselves. */
} Soak;

gint64 soak_now_ms(void); /* The clock that all of the records carry. */
G_NORETURN void soak_die(const char *format, ...) G_GNUC_PRINTF(1, 2);
/* From 0 to n - 1. */
guint soak_pick(GRand *rand, guint n);

/* soak_ground.c */
void soak_ground_new(Soak *soak);
void soak_process_start(Soak *soak, SoakProcess *process);
/* Notes the processes that have ended. TRUE: one had done so by itself, and is to be started. */
void soak_processes_reap(Soak *soak);
/* The process that the lab wrote down; 0: it is gone. */
pid_t soak_lab_pid(const char *lab, const char *record);
/* Runs the lab's tool in the background. */
void soak_lab_run(const char *command, const char *lab, const char *part);

/* soak_chaos.c */
void soak_chaos_turn(Soak *soak, GRand *rand);
/* A line of chaos.jsonl. */
void soak_chaos_note(Soak *soak, const char *what, SoakTarget target, const char *who,
                     gint64 for_us);
/* How many kills of a target the whole of it must have at least. */
guint soak_chaos_floor(const Soak *soak, SoakTarget target);
/* Lets everything go on and starts what is down, now. */
void soak_chaos_end(Soak *soak);

/* soak_zombie.c */
/* Holds this instance of vm-service if it is amid a transaction just now. */
void soak_zombie_turn(Soak *soak, SoakProcess *process);
/* How many the whole of it must have at least. */
guint soak_zombies_floor(const Soak *soak);

/* soak_client.c */
gpointer soak_stream(gpointer soak); /* A GThreadFunc. */
void soak_slots_new(Soak *soak);
/* After the faults: one VM on each host lives as it should, and the first is left running. NULL, or
 * what went wrong. g_free. */
char *soak_closing(Soak *soak);

/* soak_reader.c */
gpointer soak_reader(gpointer soak); /* A GThreadFunc. */
/* What is still owed, as text; NULL: everything has settled. g_free. */
char *soak_owed(Soak *soak);

/* soak_sampler.c */
void soak_domains_new(Soak *soak);
gpointer soak_sampler(gpointer soak); /* A GThreadFunc. */
/* Whether the VM runs and its guest has been at its variable store. */
gboolean soak_guest_has_written(Soak *soak, const char *vm);
