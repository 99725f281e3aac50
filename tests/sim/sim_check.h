/* What the files sim_check*.c share. Private to them and to their test.
 *
 *   sim_check.c          who is told what; transactions; the rounds
 *   sim_check_replay.c   I7, I9: each committed transaction, stepped again
 *   sim_check_states.c   what committed states and commands say, and what they may say
 *   sim_check_volumes.c  I1, I2, I4: volumes and their files
 *   sim_check_hosts.c    I3, I5, I6: domains, and what their guests find
 *   sim_check_taken.c    I6: what hosts read too late
 *   sim_check_replies.c  I8: requests and replies, deadlines, Unknown
 *   sim_check_end.c      I10: what is left when all is calm
 *   sim_check_count.c    how often each was judged, and how often excused
 *
 * Everything is known from what is committed and from what the world holds; nothing is asked of the
 * code under test, but for I7, which runs its cores again. */
#pragma once

#include "common/base/arena.h"
#include "common/base/step.h"
#include "tests/sim/sim_check_count.h"
#include "tests/sim/sim_world.h"

enum { SERVICE_VM, SERVICE_VOLUME, N_SERVICES };

/* A volume of a committed record. */
typedef struct {
    char uuid[UUID_TEXT_BYTES];
    int vm; /* Index. */
    VolumeType type;
    VolumeFormat format;
    VolumeStatus status;
    guint generation;
    guint64 size_bytes;
    char host_uuid[UUID_TEXT_BYTES];
    char *path; /* On its host; NULL: no host was asked for it. */
    gint64 next_ms;
    gint64 retained_ms;      /* 0: it is not Retained. */
    gboolean acknowledged;   /* It was Ready in a committed record. */
    guint64 acknowledged_in; /* SimCheck.n_judged at that. */
    gboolean doomed;         /* It was Deleting in a committed record. */
    gboolean gone;           /* It has left the record. */
    gboolean harmed;         /* Somebody else has damaged its bytes. */
    guint64 inode;           /* Of its file, when it was acknowledged; 0: not known. */
    gboolean tpm_durable;    /* Its TPM's state was safe on disk when it was last looked at. */
    gboolean tpm_at_risk;    /* A power loss came while it was not. */
} CheckVolume;

/* The variable that the guests of one NVRAM file count up. */
typedef struct {
    guint64 last;   /* As the last guest wrote it, or a power loss left it. */
    guint64 synced; /* What an agent has said to be on disk. */
    gboolean excused;
} CheckCounter;

/* A StartDomain that was committed. */
typedef struct {
    guint64 epoch;
    guint host; /* Index. */
    gint64 expires_ms;
    char operation_id[UUID_TEXT_BYTES];
    gboolean nvram_needed;
    gboolean secure_boot;
    gboolean tpm_expected;            /* It had started with this TPM before. */
    char nvram_uuid[UUID_TEXT_BYTES]; /* "": none. */
    char tpm_uuid[UUID_TEXT_BYTES];   /* Likewise. */
    char root_uuid[UUID_TEXT_BYTES];
    gboolean made;       /* A domain of it was seen. */
    gboolean is_sound;   /* And nobody has harmed what its host keeps of the VM since. */
    guint64 nvram_inode; /* Of that domain. */
    gboolean ended;
    guint64 counter_at_end; /* What its guest had left when it ended. */
} CheckStart;

typedef struct {
    int index;
    const char *uuid;
    GBytes *states[N_SERVICES]; /* Packed StateRecord; NULL: none. */
    /* Of the VM's record: */
    gboolean exists;
    VmStatus status;
    guint64 epoch;
    guint64 version;
    char host_uuid[UUID_TEXT_BYTES];
    char ran_on[UUID_TEXT_BYTES]; /* The host where it was Running last. */
    gboolean has_operation;
    gint64 deadline_ms;
    gint64 volumes_deadline_ms; /* Of an operation of the volumes; 0: none runs. */
    gboolean tpm_started;       /* The record's hardware says so. */
    gint64 status_since_ms;
    guint lives;        /* Records of this uuid that have ended. */
    guint64 vhost_nics; /* Bits of NIC indexes below 64. */
    /* What was seen: */
    GPtrArray *volumes;    /* of CheckVolume, borrowed: those that have not gone. */
    GArray *starts;        /* of CheckStart, by epoch. */
    guint64 newest_epoch;  /* Of a domain with a disk, on any host. */
    guint64 *epochs_on;    /* Of any domain, by host. */
    guint64 *taken_epochs; /* Of any command that was read there, by host. */
    /* Bits of hosts. Each ends when that host starts the VM again, or forgets it as told. */
    guint64 forgetful;  /* Somebody destroyed the journal of it there. */
    guint64 unheard;    /* Commands for it may have gone with the host's topic. */
    guint64 unforgiven; /* It was not forgotten: somebody's domain of its uuid stood there. */
    /* Bits of hosts, for ever. */
    guint64 crossed;   /* When its record ended, work of that life was left: see vm_forget. */
    guint64 orphans;   /* Those once forgetful: what they made then no record may know. */
    guint64 n_replies; /* That were no repeats. */
} CheckVm;

typedef struct {
    gboolean is_read;    /* GetVm, ListVolumes: its reply is not kept. */
    gboolean is_refused; /* It is no sound message: likewise. */
    guint n_sent;
    guint n_replies;      /* That were no repeats. */
    gboolean was_kept;    /* The VM's record has, or had, its outcome. */
    guint64 reply_number; /* CheckVm.n_replies at that. */
    guint lives;          /* CheckVm.lives at that. */
    int vm;
} CheckRequest;

/* How a host came by a command. */
typedef enum {
    TAKEN_WELL,
    TAKEN_LATE,  /* It had expired. */
    TAKEN_STALE, /* After one of a newer epoch. */
} CheckTaken;

typedef struct {
    char *group;
    VbTopic topic;
    int partition;
    gint64 next;
} CheckConsumed;

/* What a transaction has told so far; judged as one when the next thing happens. */
typedef struct {
    guint64 number;     /* 0: none is open. */
    GPtrArray *records; /* of VbBusRecord */
    GPtrArray *hosts;   /* of char *, of each record; NULL: no host's. */
    GArray *consumed;   /* of CheckConsumed */
    guint64 lost; /* Bits of hosts whose topic was deleted behind what it had written there. */
} CheckTransaction;

struct SimCheck {
    SimWorld *world;
    Sim *sim;
    VbArena *arena;   /* Of one call. */
    VbArena *scratch; /* Of one step again. */
    CheckVm *vms;
    GHashTable *volumes;  /* uuid -> CheckVolume, also those that have gone. */
    GHashTable *counters; /* NVRAM inode (guint64) -> CheckCounter */
    GHashTable *requests; /* request id -> CheckRequest */
    GHashTable *answered; /* Operations that hosts have reported on. */
    GHashTable *taken;    /* Operations that hosts have read -> CheckTaken */
    GHashTable *inputs;   /* guint64: see input_key -> VbBusRecord, not consumed yet. */
    GArray *next;         /* of gint64: [topic * n_partitions + partition] */
    CheckTransaction transaction;
    gint64 *host_ready_ms;    /* Since when its agent is up and heard; 0: it is not. */
    gint64 services_ready_ms; /* Since when all instances are up; 0: one is not. */
    gint64 calm_ms;           /* Since when; 0: it is not. */
    guint64 n_judged;         /* Transactions. */
    guint64 n_replayed;
};

/* ---- sim_check.c */

int check_host_index(const SimCheck *check, const char *host_uuid); /* -1: none. */
/* What is there now, asked of the world each time: a copy could be older than it. FALSE: none. */
gboolean check_domain_find(SimCheck *check, guint host, const CheckVm *vm, SimDomain *ret_domain);
/* Somebody destroyed what the agent of this host knew of the VM: it may run commands again that it has
 * read not long ago, and leave what it does not know of. */
gboolean check_is_forgetful(const CheckVm *vm, int host);
/* The uuid behind "vol-" in a path; FALSE: the path is no volume's. */
gboolean check_path_volume(const char *path, char ret_uuid[UUID_TEXT_BYTES]);
/* Unpacks into check->arena; NULL: the bytes are none. */
void *check_unpack(SimCheck *check, const ProtobufCMessageDescriptor *descriptor, const void *bytes,
                   gsize size_bytes);

/* ---- sim_check_replay.c */

guint64 check_input_key(VbTopic topic, int partition, gint64 offset);
/* The transaction's journals, stepped from the states before it, give its states and outputs; and
 * each record behind the offsets before it is accounted for. Before the states are taken. */
void check_replay(SimCheck *check, const CheckTransaction *transaction);

/* ---- sim_check_states.c */

void check_vm_state(SimCheck *check, CheckVm *vm, const VbBusRecord *record);
void check_volume_state(SimCheck *check, CheckVm *vm, const VbBusRecord *record);
void check_host_command(SimCheck *check, CheckVm *vm, const char *host_uuid,
                        const VbBusRecord *record);
void check_vm_event(SimCheck *check, CheckVm *vm, const VbBusRecord *record);
void check_volume_event(SimCheck *check, const VbBusRecord *record);
/* Before its transaction is judged: what has gone may be on record again already, in its next life. */
void check_volume_end(SimCheck *check, const VbBusRecord *record);
void check_report(SimCheck *check, CheckVm *vm, const VbBusRecord *record);

/* ---- sim_check_volumes.c */

CheckVolume *check_volume_find(SimCheck *check, const char *uuid); /* NULL: none. */
void check_volume_deleted(SimCheck *check, CheckVm *vm, const char *uuid);
/* The volumes of a VM's committed record, of a step of that time; `record` NULL: it has gone. */
void check_volumes_take(SimCheck *check, CheckVm *vm, const VolumeRecord *record, gint64 step_ms);
/* I1: their files are there. */
void check_volume_files(SimCheck *check, CheckVm *vm);
gboolean check_volume_file(SimCheck *check, const CheckVolume *volume, SimFile *ret_file);

/* ---- sim_check_hosts.c */

CheckCounter *check_counter(SimCheck *check, guint64 inode);
CheckStart *check_start_find(CheckVm *vm, guint64 epoch);
/* Somebody has harmed what a host keeps of the VM. */
void check_starts_unsound(CheckVm *vm);
/* The host says that it has ended, with all of its state on disk. */
void check_domain_synced(SimCheck *check, CheckVm *vm, const HostReport *report);
/* Its record says Running; its host says whether it has forgotten it. What somebody destroyed before
 * is past. */
void check_start_is_done(SimCheck *check, CheckVm *vm);
void check_forgotten(SimCheck *check, CheckVm *vm, const HostReport *report);
/* I6: no domain of this VM shares a file with another; NULL: none of any VM. */
void check_domains(SimCheck *check, const CheckVm *vm);
/* I6: a VM whose record says that nothing of it runs has no domain. */
void check_nothing_runs(SimCheck *check, const CheckVm *vm);

/* ---- sim_check_taken.c */

/* Of a command that this host was sent. One that it never read was not read too late. */
CheckTaken check_taken(SimCheck *check, const CheckVm *vm, int host, const char *operation_id,
                       guint64 epoch, HostReport__ReportCase kind);
void check_answer(SimCheck *check, const CheckVm *vm, const HostReport *report);

/* ---- sim_check_replies.c */

void check_reply(SimCheck *check, CheckVm *vm, const VmEvent *event);
/* What must come to an end while it is calm. */
void check_calm(SimCheck *check);
void check_replies_end(SimCheck *check);
/* Whether somebody's by-hand domain, or damage, keeps the host from knowing this VM. */
gboolean check_is_excused(SimCheck *check, const CheckVm *vm);

/* ---- sim_check_end.c */

void check_end(SimCheck *check);
