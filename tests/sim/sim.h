/* The ground of the simulator: one seed, one clock, one queue of events, and processes that can be
 * killed between any two of their calls.
 *
 * The code under test is the product's own: step loop, cores, agent, effects, stores and journal.
 * It believes that it blocks; it runs on tasks (coroutines) that the kernel switches where it
 * calls the world: the bus, files, libvirt, OVS. The crash model:
 *
 *   - A process dies before one of its calls and never inside one: a call is done whole or not at
 *     all, where the real thing is atomic; where it is not (a write of many bytes, a create that
 *     fails half-way), the simulated call itself has more than one way to end.
 *   - A dead process's tasks are run to their end with every call failing and touching nothing.
 *     What memory held is gone; what the world holds stays.
 *   - A frozen process (SIGSTOP, a long pause) goes on later as if nothing had happened: a zombie.
 *
 * Everything is drawn from the seed, in the order of the run; the same seed and plan give the same
 * run on any machine. Nothing here reads a real clock, and no code runs in parallel. */
#pragma once

#include <glib.h>

#include "tests/sim/sim_fault.h"
#include "tests/sim/sim_mark.h"

typedef struct Sim Sim;
typedef struct SimProcess SimProcess;

/* ---- Life */

Sim *sim_new(guint64 seed);
/* Every process must be dead and unwound: see sim_unwind. */
void sim_free(Sim *sim);
/* Kills every process and runs their tasks to their end; `gone` of none is called. */
void sim_unwind(Sim *sim);

/* Dispatches events until the time has come, a failure, or as many steps. One step is one event: a
 * process that goes on to its next rest, or something that happens in the world. `after` is called
 * behind each step, outside of any task. FALSE: it has failed. */
typedef void (*SimAfterStep)(void *data);
gboolean sim_run(Sim *sim, gint64 until_us, guint64 max_steps, SimAfterStep after, void *data);

guint64 sim_step(const Sim *sim); /* Steps so far. */

/* ---- Time. The world's own, from 2026-01-01 00:00 UTC on; hosts have theirs besides. */

gint64 sim_now_us(const Sim *sim); /* Since 1970. */
gint64 sim_now_ms(const Sim *sim);

enum { SIM_MS = 1000, SIM_S = 1000 * 1000 }; /* In microseconds. */

/* Calls `happen` at that time, outside of any task. It cannot be taken back: `happen` looks whether
 * it still applies. Two of one time come in the order in which they were asked for. */
typedef void (*SimHappening)(void *data);
/* All clocks leap ahead. Who rests does so for no less; whatever lasts until a certain time is over. */
void sim_leap(Sim *sim, gint64 leap_us);
void sim_at(Sim *sim, gint64 at_us, SimHappening happen, void *data);
void sim_after(Sim *sim, gint64 delay_us, SimHappening happen, void *data);

/* ---- Chance. What is taken out of a run leaves the draws of all else as they were: each kind of
 * fault draws from a generator of its own, each command too, and delays from one for all. */

guint64 sim_random(Sim *sim);
guint sim_below(Sim *sim, guint n);                    /* 0 .. n - 1; n > 0 */
gint64 sim_between(Sim *sim, gint64 low, gint64 high); /* Both included. */
gboolean sim_chance(Sim *sim, guint per_million);      /* Of what is no fault. */
/* Many short ones, few long ones, none above `most_us`. */
gint64 sim_delay_us(Sim *sim, gint64 most_us);
/* How long somebody is away whom others wait for. Mostly such a delay, with a least; now and then
 * longer than any deadline, expiry, session or transaction of a deployment lasts. */
gint64 sim_silence_us(Sim *sim, gint64 most_us);

/* From now on, until sim_draw_together: draws come from a generator that the seed, `who` and this
 * number make. For code that draws much, and should draw the same whatever happened before. */
typedef enum {
    SIM_DRAW_DELAYS,
    SIM_DRAW_VM_UUIDS,
    SIM_DRAW_HOST_UUIDS,
    SIM_DRAW_TURN,
    SIM_DRAW_COMMAND,
    SIM_DRAW_OPERATOR,
} SimDraw;
void sim_draw_apart(Sim *sim, SimDraw who, guint64 number);
void sim_draw_together(Sim *sim);
/* The same seed's commands and chances of faults, with other delays. */
void sim_set_delays(Sim *sim, guint64 number);

/* Whether a fault of this kind strikes now, by the plan's rate of it: numbered and told, never while
 * faults are off. One that strikes has to be carried out, and counts at once. */
gboolean sim_fault(Sim *sim, SimFault fault);
/* The same where only who carries it out sees whether anything comes of it, and calls sim_fault_hit
 * then. */
gboolean sim_fault_tries(Sim *sim, SimFault fault);
void sim_set_rate(Sim *sim, SimFault fault, guint per_million);
void sim_set_faults(Sim *sim, gboolean on);
gboolean sim_faults_are_on(const Sim *sim);
/* Once called, none strikes but those that were named so: the kind's strikes are counted from 1. */
void sim_keep_faults(Sim *sim, const SimFaultNumber *kept, gsize n_kept);
/* Strikes of this kind, those that were not kept included. */
guint64 sim_fault_strikes(const Sim *sim, SimFault fault);
guint64 sim_faults_struck(const Sim *sim); /* Of all kinds, those that struck indeed. */

/* ---- Processes and their tasks */

/* `gone` (may be NULL) is called, outside of any task, once it is dead and all its tasks are
 * unwound: then its memory may be freed, and a new one started. */
SimProcess *sim_process_new(Sim *sim, const char *name, SimHappening gone, void *data);
/* It is dead and unwound. */
void sim_process_free(SimProcess *process);
Sim *sim_process_sim(SimProcess *process);
const char *sim_process_name(const SimProcess *process);
gboolean sim_process_is_dead(const SimProcess *process);
/* SIGKILL, or its own end. From anywhere, also from a task of its own, which then goes on with its
 * calls failing. */
void sim_process_kill(SimProcess *process);
/* SIGSTOP until then: none of its tasks goes on before. */
void sim_process_freeze(SimProcess *process, gint64 until_us);
/* SIGCONT for all. */
void sim_thaw(Sim *sim);

/* Runs `body` on a stack of its own, from the next event on. */
typedef void (*SimTaskBody)(void *data);
void sim_task_start(SimProcess *process, SimTaskBody body, void *data);

/* Each call of a process to its world begins with this. The process may die here, freeze, or let
 * others go first. FALSE: it is dead: touch nothing, and fail. Outside of a task it only says
 * whether the process lives. */
gboolean sim_call(SimProcess *process);

/* The running task rests. FALSE: its process is dead. */
gboolean sim_sleep_until(SimProcess *process, gint64 until_us);
gboolean sim_sleep(SimProcess *process, gint64 duration_us);

/* Something that tasks wait for. Zeroed is ready for use; it must outlive those that wait. */
typedef struct {
    GList *waiting; /* of SimTask */
} SimCondition;
/* Until it is signalled or the time has come; whoever waits looks again itself. FALSE: dead. */
gboolean sim_wait(SimProcess *process, SimCondition *condition, gint64 until_us);
void sim_signal(Sim *sim, SimCondition *condition); /* All of them. */

/* ---- What a person reads */

/* Ends the run: `rule` is the id of what broke ("I3", "model", "agent"), `vm` the VM or NULL. Only
 * the first counts. From anywhere. */
void sim_fail(Sim *sim, const char *rule, const char *vm_uuid, const char *format, ...)
    G_GNUC_PRINTF(4, 5);
gboolean sim_has_failed(const Sim *sim);
const char *sim_failure_rule(const Sim *sim);
const char *sim_failure_vm(const Sim *sim);   /* NULL: of no VM. */
const char *sim_failure_text(const Sim *sim); /* NULL: it has not failed. */

/* One sentence of the trace: who does what. Costs nothing when nobody listens. */
typedef void (*SimListener)(void *data, const char *vm_uuid, const char *who, const char *sentence);
void sim_listen(Sim *sim, SimListener listener, void *data);
gboolean sim_is_listened_to(const Sim *sim);
void sim_tell(Sim *sim, const char *vm_uuid, const char *who, const char *format, ...)
    G_GNUC_PRINTF(4, 5);
#define sim_say(sim, ...)                                                                          \
    do {                                                                                           \
        if (sim_is_listened_to(sim))                                                               \
            sim_tell(sim, __VA_ARGS__);                                                            \
    } while (0)
