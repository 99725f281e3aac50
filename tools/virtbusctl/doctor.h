/* `doctor`: what was found of a deployment, and what is wrong with it.
 *
 * Facts are gathered first, by doctor_facts.c and doctor_admin.c; what they mean is judged by
 * doctor_checks.c, which is pure: no clock, no I/O. Texts lie in the arena of the facts.
 */
#pragma once

#include "common/base/topics.h"
#include "tools/virtbusctl/client.h"
#include "virtbus/v1/virtbus.h"

/* ---- Facts */

typedef struct {
    const char *name;
    int partitions;        /* 0: there is no such topic. */
    const char *clean_up;  /* "compact", "delete" ...; NULL: the broker does not tell. */
    const char *time_type; /* "LogAppendTime" */
    gint64 retention_ms;   /* -1: without end. */
} DoctorTopic;

typedef enum { DOCTOR_VM_SERVICE, DOCTOR_VOLUME_SERVICE, DOCTOR_N_SERVICES } DoctorServiceKind;

typedef struct {
    const char *name; /* "vm-service" */
    const char *group_id;
    const char *problem; /* Why nothing is known; NULL: what follows is true. */
    const char *state;   /* "Stable" ... */
    guint members;
    guint assigned;   /* Partitions. */
    guint64 waiting;  /* Records that it has not taken yet ... */
    gboolean more;    /* ... and more that were not counted. */
    gint64 oldest_ms; /* Of the oldest one; 0: none. */
    const char *oldest_topic;
} DoctorService;

typedef struct {
    const char *name;
    guint64 records; /* Of those that were read ... */
    gboolean more;   /* ... and older ones. */
    gint64 newest_ms;
    const char *newest_key; /* "" : none. */
    const char *newest_reason;
} DoctorDlq;

typedef struct {
    const HostInfo *info;
    gint64 seen_ms; /* The broker's time of its heartbeat. */
    gboolean has_topic;
} DoctorHost;

typedef struct {
    const char *uuid;
    const VmRecord *record;
} DoctorVm;

enum { DOCTOR_DLQ, DOCTOR_AGENTS_DLQ, DOCTOR_N_DLQS };

typedef struct {
    VbArena *arena;
    gint64 now_ms;
    const char *bootstrap;
    const char *prefix;
    const char *broker_problem; /* Nothing else is known then; NULL: it answers. */
    int n_brokers;
    const char *broker_version;      /* "": not told. */
    DoctorTopic topics[TOPIC_COUNT]; /* Without that of the hosts. */
    DoctorService services[DOCTOR_N_SERVICES];
    DoctorDlq dlqs[DOCTOR_N_DLQS];
    GArray *hosts; /* of DoctorHost */
    GArray *vms;   /* of DoctorVm; expunged ones are left out. */
} DoctorFacts;

/* Fills the facts, whose arena, prefix, bootstrap and group ids are set. FALSE and CTL_ERROR: the
 * broker answers, and then no longer. */
gboolean doctor_facts_gather(Ctl *ctl, DoctorFacts *facts, GError **error);

/* The parts of it that need the broker's administration. */
void doctor_admin_topics(rd_kafka_t *handle, DoctorFacts *facts);
void doctor_admin_brokers(rd_kafka_t *handle, DoctorFacts *facts);
/* What the group has committed of the topics that are keyed by VM, and what it was assigned; offset
 * -1: nothing is committed there. NULL: see problem. Free with
 * rd_kafka_topic_partition_list_destroy. */
rd_kafka_topic_partition_list_t *doctor_admin_group(rd_kafka_t *handle, const DoctorFacts *facts,
                                                    DoctorService *service);

/* ---- Findings */

typedef enum { DOCTOR_OK, DOCTOR_WARNING, DOCTOR_FAULT } DoctorVerdict;

typedef struct {
    const char *check; /* "topics" */
    DoctorVerdict verdict;
    const char *text;
    const char *mend; /* A sentence; "": nothing to mend. */
} DoctorFinding;

/* All findings, in the order of the checks: of each one what is wrong, or that it is well. Checks of
 * what is not known say nothing: without a broker all, without a host those of hosts.
 * g_array_unref. */
GArray *doctor_judge(const DoctorFacts *facts);
