/* What nobody calls for: a round that comes again and again, and gives each host and each process its
 * chance. Faults that strike inside of calls are struck there; here it is what happens to those that
 * stand still: a process at rest is killed or stopped as well as one in the middle of something. */
#include "tests/sim/sim_world.h"

enum {
    ROUND_MS = 500,     /* About. */
    CALLS_A_ROUND = 20, /* That many chances more, as if it had made as many calls. */
    FREEZE_MOST_MS = 40 * 1000,
    LEAP_LEAST_MS = 60 * 1000,
    LEAP_MOST_MS = 6 * 3600 * 1000,
};

static void process_chance(SimWorld *world, SimProcess *process)
{
    Sim *sim = world->sim;
    for (guint i = 0; process != NULL && i < CALLS_A_ROUND; i++) {
        if (sim_process_is_dead(process)) {
            return;
        }
        if (sim_fault(sim, FAULT_CRASH)) {
            sim_process_kill(process);
        } else if (sim_fault(sim, FAULT_FREEZE)) {
            gint64 still_us = sim_silence_us(sim, (gint64)FREEZE_MOST_MS * SIM_MS);
            sim_process_freeze(process, sim_now_us(sim) + still_us);
        }
    }
}

static void clocks_chance(SimWorld *world)
{
    Sim *sim = world->sim;
    if (sim_fault(sim, FAULT_CLOCKS_LEAP)) {
        gint64 leap_us = sim_between(sim, LEAP_LEAST_MS, LEAP_MOST_MS) * SIM_MS;
        sim_say(sim, NULL, "world", "all clocks leap ahead by %" G_GINT64_FORMAT " minutes",
                leap_us / (60 * SIM_S));
        sim_leap(sim, leap_us);
        sim_broker_leap(world->broker, leap_us);
    }
}

static void round_turn(void *data)
{
    SimWorld *world = data;
    if (world->calm) {
        return;
    }
    clocks_chance(world);
    for (guint i = 0; i < world->plan->n_hosts; i++) {
        sim_host_chance(world->hosts[i]);
        process_chance(world, sim_host_agent(world->hosts[i]));
    }
    for (guint i = 0; i < 2 * world->plan->n_instances; i++) {
        process_chance(world, sim_service_process(world->services[i]));
    }
    gint64 wait_ms = sim_between(world->sim, 1, (gint64)2 * ROUND_MS);
    sim_after(world->sim, wait_ms * SIM_MS, round_turn, world);
}

void sim_chaos_start(SimWorld *world)
{
    sim_after(world->sim, (gint64)ROUND_MS * SIM_MS, round_turn, world);
}
