/* The agent's decisions: one pure step over the journal of ONE VM on this host.
 *
 *     step(HostVm, input) -> new HostVm, at most one effect to run, reports to send
 *
 *            command                       done, failed start
 *     Idle ------------> Working ------------------------------> Undoing
 *      ^ \                  | done                                  | done
 *      |  \ domain ended    v report                                v report the first error
 *      |   `----------> StoppedCleanup --done, report--> Idle <-----'
 *      | settled
 *     Looking <--- the agent starts, or libvirt is back
 *
 * The shell (agent.c) makes the new HostVm durable BEFORE it runs the effect or sends a report: an
 * intent is on disk before the effect, a report before it is sent. An effect that a crash cut off
 * is never guessed at: Looking finds out.
 */
#pragma once

#include "common/base/topics.h"
#include "services/host-agent/host.h"

typedef enum {
    EFFECT_NONE,
    EFFECT_LOOK,           /* Finds out what is there. Result: facts. */
    EFFECT_CREATE_VOLUMES, /* Result: report.volumes_created. */
    EFFECT_DELETE_VOLUMES, /* Result: report.volumes_deleted. */
    EFFECT_START,          /* Verify, plug, create, connect. Result: report.domain_started. */
    EFFECT_STOP,           /* Asks or forces by the command's mode, until expires_ms. */
    EFFECT_CLEAN_UP,       /* Destroy what is ours, sync NVRAM and TPM, unplug, remove sockets.
                              Idempotent. */
    EFFECT_FORGET,         /* Clean up, and remove logs and the TPM's link. Never a volume. */
} VbEffect;

/* What an effect needs to know; everything else is in the HostVm. */
typedef struct {
    VbEffect kind;
    const HostVm *vm; /* As it is after the step. */
} VbEffectRequest;

typedef struct {
    Error *error;        /* NULL: done. */
    HostReport *report;  /* Its body only, where the effect's comment says so; also with `error`. */
    VbDomainFacts facts; /* EFFECT_LOOK. */
    char **state_paths;  /* EFFECT_START: NVRAM file and TPM folder; NULL-terminated. */
    StopReason stop_reason; /* EFFECT_STOP: why the domain is gone. */
} VbEffectResult;

typedef enum {
    HOST_INPUT_COMMAND,
    HOST_INPUT_DONE, /* The effect that was asked for has ended. */
    HOST_INPUT_DOMAIN_EVENT,
    HOST_INPUT_LOOK,         /* The agent has started, or libvirt is back. */
    HOST_INPUT_ACKNOWLEDGED, /* The broker has the oldest report of the outbox. */
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
} VbHostInput;

typedef struct {
    VbArena *arena;
    HostVm *vm;      /* Changed in place. */
    VbEffect effect; /* To run once `vm` is durable. */
    /* Reports are appended to vm->outbox; the shell sends what is new there. A repeat of an
     * answered command appends vm->last_report again. */
} VbHostStep;

void host_step(VbHostStep *step, const VbHostInput *input);

/* virtbus.vm.reports or virtbus.volume.reports: who asked, hears. */
VbTopic host_report_topic(const HostReport *report);

/* Runs one effect on the host; blocks. Everything in the result lies in the arena. In effects.c. */
void effect_run(VbHost *host, VbArena *arena, const VbEffectRequest *request,
                VbEffectResult *ret_result);
