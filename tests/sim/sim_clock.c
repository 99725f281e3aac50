/* See sim_world.h: the clocks of hosts, services and the broker, which are not the world's. */
#include "tests/sim/sim_world.h"

gint64 sim_world_draw_skew_ms(SimWorld *world)
{
    gint64 half_ms = world->plan->skew_ms / 2;
    return half_ms > 0 ? sim_between(world->sim, -half_ms, half_ms) : 0;
}

void sim_world_jump(SimWorld *world, const char *who, gint64 *skew_ms)
{
    gint64 before_ms = *skew_ms;
    if (world->plan->skew_ms == 0 || !sim_fault_tries(world->sim, FAULT_CLOCK_JUMP)) {
        return;
    }
    *skew_ms = sim_world_draw_skew_ms(world);
    if (*skew_ms != before_ms) {
        sim_fault_hit(FAULT_CLOCK_JUMP);
        sim_say(world->sim, NULL, who, "its clock is %" G_GINT64_FORMAT " ms ahead now", *skew_ms);
    }
}
