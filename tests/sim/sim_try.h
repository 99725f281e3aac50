/* One run of one plan, and what came of it. */
#pragma once

#include "common/base/uuid.h"
#include "tests/sim/sim.h"
#include "tests/sim/sim_plan.h"

/* Plain bytes: it crosses from one process to another. */
typedef struct {
    gboolean failed;
    char rule[16];                 /* Of what broke; also "crash" and "hang". */
    char vm_uuid[UUID_TEXT_BYTES]; /* "": of no VM. */
    char text[1024];
    guint64 step; /* At which it ended. */
    guint64 n_faults;
    guint64 n_strikes[SIM_N_FAULTS]; /* Those that were not kept included. */
    guint64 n_commands;
    guint64 n_asked; /* Numbers of control planes' commands, likewise. */
    guint64 digest;  /* Of records and disks: see sim_digest.h. Equal for equal runs. */
    guint64 draws;   /* Of all that was drawn; likewise. */
} SimResult;

/* One line of the trace. */
typedef struct {
    guint64 step;
    double seconds;      /* Since the run began. */
    const char *vm_uuid; /* NULL: of no VM. */
    const char *vm;      /* Its name; "". */
    const char *who;
    const char *sentence;
} SimLine;
typedef void (*SimTell)(void *data, const SimLine *line);

/* In this process: what asserts or hangs does so here. `tell` may be NULL. */
void sim_try(const SimPlan *plan, SimTell tell, void *data, SimResult *ret_result);
/* In a process of its own, which may crash or hang. */
void sim_try_apart(const SimPlan *plan, SimResult *ret_result);

/* What broke, for a process that has ended by this signal; 0: a sanitizer has ended it. What else the
 * result holds stays. */
void sim_result_of_signal(int signal, SimResult *ret_result);

enum { SIM_HANG_S = 120 }; /* Of real time, for one run. */
