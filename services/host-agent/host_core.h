/* The agent's decisions: one pure step over the journal of ONE VM on this host.
 *
 *     step(HostVm, input) -> new HostVm, at most one effect to run, reports to send
 *
 *            command                       failed start
 *     Idle ------------> Working ------------------------------> Undoing
 *      ^ ^ \               |  |  stop done                         | done
 *      | |  \ done, report |  `----------> StoppedCleanup          v report the first error
 *      | |   `-------------'                ^        | done, report
 *      | `----------------------------------|--------+-----------------> Idle
 *      | settled                            | gone
 *     Looking ------------------------------'------------------> Undoing (a start was cut off)
 *      ^
 *      `--- the agent starts; libvirt is back; a domain is said to have ended, or to have come up
 *
 * Working without a command unplugs loose ports: those of NICs that a running guest does not have,
 * left by an attach, a detach or an earlier domain's clean-up while OVS was away. Nothing waits for it but the next command.
 *
 * The shell (agent.c) makes the new HostVm durable BEFORE it runs the effect or sends a report: an
 * intent is on disk before the effect, a report before it is sent. An effect that a crash cut off
 * is never guessed at: Looking finds out, and an attach or a detach looks by itself when it is run
 * again. While libvirt does not answer, Looking, Undoing and StoppedCleanup stay as they are, and
 * so do stop, attach and detach, silent, until the shell gives HOST_INPUT_LOOK again: a host that does
 * not know whether a domain runs must not say that it does not.
 */
#pragma once

#include "common/base/topics.h"
#include "services/host-agent/host.h"

typedef enum {
    EFFECT_NONE,
    EFFECT_LOOK,           /* Finds out what is there. Result: facts. With a start as vm->command
                              also state_paths, and the hardware as a start reports it: NICs with
                              asked and effective model, firmware, domain type, and what it
                              replaced (replaced_firmware). Where the journal
                              knows no state_paths, those of the running domain. */
    EFFECT_CREATE_VOLUMES, /* Result: report.volumes_created. */
    EFFECT_DELETE_VOLUMES, /* Result: report.volumes_deleted. */
    EFFECT_START,          /* Verify, plug, create. Result: report.domain_started,
                              state_paths. */
    EFFECT_STOP,           /* Asks or forces by the command's mode, until expires_ms; after that it
                              only looks. Result: stop_reason; NOT_RUNNING where there was nothing
                              to stop. */
    EFFECT_ATTACH,         /* Plugs the command's NIC into the running domain; one that is there is
                              done, another one of its index is UNSUPPORTED. Without an end while QEMU waits for OVS. Result:
                              report.device_changed, nic. HYPERVISOR_UNAVAILABLE: it may be there. */
    EFFECT_DETACH,         /* Takes it out, until expires_ms; one that is gone is done. Result: as
                              EFFECT_ATTACH. */
    EFFECT_UNPLUG,         /* Unplugs vm->loose_ports. */
    EFFECT_CLEAN_UP,       /* Destroy what is ours, sync NVRAM and TPM (state_paths), unplug, remove
                              sockets. Idempotent. While the domain may still run nothing else is
                              touched; after that it tries everything, and its error is the
                              files' (STORAGE_IO, whatever the cause) before the ports'. Result:
                              left. */
    EFFECT_FORGET,         /* Clean up, and remove logs and the TPM's link. Never a volume. */
} VbEffect;

/* What an effect needs to know; everything else is in the HostVm. */
typedef struct {
    VbEffect kind;
    const HostVm *vm; /* As it is after the step. */
    /* Atomic; not 0: a command waits that host_command_preempts. EFFECT_STOP, EFFECT_ATTACH and
     * EFFECT_DETACH then stop waiting for the guest and fail with PREEMPTED; the latter two destroy
     * the domain where libvirt's call is stuck in QEMU. NULL: nothing ever does. */
    const gint *preempted;
} VbEffectRequest;

/* What a clean-up that failed leaves behind. The first is what is safe to believe. */
typedef enum {
    LEFT_DOMAIN, /* It may still run. */
    LEFT_FILES,  /* The domain is gone; its state could not be brought to disk for certain, or
                    something else holds it. */
    LEFT_PORTS,  /* Or sockets. The next clean-up removes them; they do no harm. */
    LEFT_NOTHING,
} VbLeft;

/* What is there of the NIC after EFFECT_ATTACH or EFFECT_DETACH. */
typedef enum {
    NIC_THERE, /* Or may be. */
    NIC_PORT,  /* Its port only, and that may be gone too. */
    NIC_NOTHING,
} VbNicLeft;

typedef struct {
    Error *error;        /* NULL: done. */
    HostReport *report;  /* Its body only, where the effect's comment says so; also with `error`. */
    VbLeft left;         /* EFFECT_CLEAN_UP, with `error`. */
    VbNicLeft nic;       /* EFFECT_ATTACH, EFFECT_DETACH; also with `error`. */
    VbDomainFacts facts; /* EFFECT_LOOK; presence and epoch only: EFFECT_START, EFFECT_ATTACH and
                            EFFECT_DETACH that failed with STALE_EPOCH. */
    FirmwareRef *replaced_firmware; /* EFFECT_LOOK of a start; NULL: none was. */
    char **state_paths;       /* NVRAM file and TPM folder; NULL-terminated, or NULL: not known. */
    StopReason stop_reason;   /* EFFECT_STOP, PREEMPTED: why the domain is gone. */
    gboolean nothing_created; /* EFFECT_START failed before libvirt was asked for a domain. */
} VbEffectResult;

typedef enum {
    HOST_INPUT_COMMAND, /* Only a VM whose phase is Idle takes one up; the others wait. */
    HOST_INPUT_DONE,    /* The effect that was asked for has ended. */
    HOST_INPUT_DOMAIN_EVENT,
    HOST_INPUT_LOOK,           /* See Looking above. No effect runs. */
    HOST_INPUT_AGAIN,          /* host_vm_wants_look, and some time has passed. Likewise. */
    HOST_INPUT_ACKNOWLEDGED,   /* The broker has the oldest report of the outbox. */
    HOST_INPUT_TOPIC_REPLACED, /* The command topic is another one: its offsets begin anew. */
} VbHostInputKind;

typedef struct {
    VbHostInputKind kind;
    const char *host_uuid;
    gint64 time_ms;             /* This host's clock. */
    const HostCommand *command; /* COMMAND, with its offset. */
    gint64 offset;
    const VbEffectResult *result; /* DONE */
    VbDomainEventKind event;      /* DOMAIN_EVENT */
    StopReason reason;
    guint32 nic_index; /* DEVICE_REMOVED */
} VbHostInput;

typedef struct {
    VbArena *arena;
    HostVm *vm;      /* Changed in place. */
    VbEffect effect; /* To run once `vm` is durable. */
    /* Reports are appended to vm->outbox; the shell sends what is new there. A repeat of an
     * answered command appends vm->last_report again. */
} VbHostStep;

/* Events of a guest are dropped while this many reports wait for the broker. Answers never are. */
enum { HOST_OUTBOX_MAX_GUEST_EVENTS = 64 };

/* A VM of which this host knows nothing yet. */
HostVm *host_vm_new(VbArena *arena, const char *vm_uuid);

void host_step(VbHostStep *step, const VbHostInput *input);

/* Whether the VM must be looked at again though nothing has happened: libvirt, OVS or a disk was
 * away, or a foreign domain stood in the way. */
gboolean host_vm_wants_look(const HostVm *vm);
/* Whether this command is not to wait for a guest: it ends the domain of `epoch`, the newest that
 * was seen. One of an older epoch is late, and ends nothing. */
gboolean host_command_preempts(const HostCommand *command, guint64 epoch);

/* virtbus.vm.reports or virtbus.volume.reports: who asked, hears. */
VbTopic host_report_topic(const HostReport *report);

/* Runs one effect on the host; blocks. Everything in the result lies in the arena. In effects.c. */
void effect_run(VbHost *host, VbArena *arena, const VbEffectRequest *request,
                VbEffectResult *ret_result);
