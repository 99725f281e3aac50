/* Coverage marks: rare paths that a run over many seeds must have taken. A simulator that never
 * gets there proves nothing about them, so a mark without a hit fails such a run. Each fault is a
 * mark of its own besides. */
#pragma once

#include <glib.h>

#define SIM_MARKS(X)                                                                               \
    X(NVRAM_RESUMED, "a half-made NVRAM was resumed, not made again")                              \
    X(NVRAM_REUSED, "a start found its NVRAM and used it")                                         \
    X(NVRAM_REFUSED, "a start was refused because its NVRAM was not fit")                          \
    X(NVRAM_SECOND_GENERATION, "a reset NVRAM was followed by a new generation")                   \
    X(NVRAM_ADOPTED, "an old NVRAM was adopted")                                                   \
    X(NVRAM_RETAINED_DELETED, "a retained NVRAM was deleted when its time had come")               \
    X(START_EXPIRED, "a start came too late on its host and was not run")                          \
    X(STALE_EPOCH, "a command of an older epoch was refused by its host")                          \
    X(START_CUT_OFF, "an agent died in a start and undid it when it came back")                    \
    X(CREATED_AFTER_DEATH, "libvirt made a domain whose agent had died since it asked")            \
    X(EFFECT_CUT_OFF, "an agent died while an effect ran")                                         \
    X(REPORT_REPEATED, "an answered command was answered again with the stored report")            \
    X(VM_UNKNOWN, "a VM became Unknown")                                                           \
    X(UNKNOWN_HEALED, "an Unknown VM was told about by its host again")                            \
    X(HOST_CONFIRMED_DOWN, "an operator confirmed that a host was down")                           \
    X(STARTED_ELSEWHERE, "a VM was started on another host than the last time")                    \
    X(GUEST_CRASHED, "a guest crashed")                                                            \
    X(RESTARTED_BY_POLICY, "a VM was started again by its restart policy")                         \
    X(PREEMPTED, "a running operation was preempted by destroy or a forced stop")                  \
    X(UNDELIVERABLE, "a host without a topic was told of to the core")                             \
    X(ZOMBIE_FENCED, "an instance that was thought dead tried to commit and was fenced")           \
    X(RESTORE_WAITED, "a restore waited for another instance's open transaction")                  \
    X(BATCH_REPEATED, "an aborted batch was stepped again")                                        \
    X(RECORD_MOVED, "a record was moved to its right partition")                                   \
    X(DEAD_LETTER, "a record went to a dead letter queue")                                         \
    X(REQUEST_REPEATED, "a repeated request was answered as repeated")                             \
    X(DEADLINE_ELAPSED, "a deadline passed")                                                       \
    X(JOURNAL_SET_ASIDE, "an agent set a bad journal file aside")                                  \
    X(DOMAIN_WITHOUT_JOURNAL, "an agent found a domain that its journal did not know")             \
    X(WRITE_TORN, "a power loss tore a write")                                                     \
    X(RENAME_LOST, "a power loss undid a rename that was not synced")                              \
    X(TEMPORARY_FILE_FOUND, "an agent removed a temporary file that an earlier one had left")      \
    X(GHOST_PORT, "an agent removed a port that an earlier one had left without its domain")       \
    X(VOLUME_DELETED, "a volume's bytes were deleted after their deletion was committed")          \
    X(UUID_NOT_REUSABLE, "an expunged uuid was refused")                                           \
    X(TOPIC_REPLACED, "an agent found its command topic to be another one")

typedef enum {
#define SIM_MARK_ENUM(id, sentence) MARK_##id,
    SIM_MARKS(SIM_MARK_ENUM)
#undef SIM_MARK_ENUM
        SIM_N_MARKS,
} SimMark;

/* Counted for the process, over all runs. */
void sim_mark(SimMark mark);
guint64 sim_mark_hits(SimMark mark);
const char *sim_mark_name(SimMark mark); /* "NVRAM_RESUMED" */
const char *sim_mark_sentence(SimMark mark);
