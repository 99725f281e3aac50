/* One instance of a service: what service_main.c and service_restart.c do, around the real loop.
 *
 * A process that cannot go on executes itself again, after a pause: its memory is new, its place
 * in the group is kept. One that was killed is started by somebody else, after a while. */
#include "common/bus/step_loop.h"
#include "tests/sim/sim_bus.h"

enum {
    TURN_MS = 1000,
    BACKOFF_MAX_S = 30,
    GOOD_RUN_US = 60 * SIM_S,
    START_LEAST_US = SIM_S,
    START_MOST_US = 30 * SIM_S,
};

struct SimService {
    SimWorld *world;
    const VbService *service;
    char *name; /* Of the process: "vm-service-1". */
    char instance_id[16];
    gint64 skew_ms;
    SimProcess *process;
    guint attempt; /* In a row. */
};

/* ---- One program */

static gboolean bus_run(SimService *self, GError **error)
{
    SimWorld *world = self->world;
    SimBus *bus =
        sim_bus_open(world, self->process, self->service, self->instance_id, &self->skew_ms, error);
    if (bus == NULL) {
        return FALSE;
    }
    VbLoopConfig config = {.service = self->service,
                           .settings = &world->settings,
                           .prefix = SIM_PREFIX,
                           .instance_id = self->instance_id,
                           .group_id = sim_group_id(sim_broker_group(world->broker, self->service)),
                           .n_partitions = (int)world->plan->n_partitions};
    VbLoop *loop = loop_new(sim_bus_vtable(bus), &config);
    while (loop_turn(loop, TURN_MS, error)) {
        /* For ever. */
    }
    loop_free(loop);
    sim_bus_close(bus);
    return FALSE;
}

/* No fault of the simulator explains that: whoever reads a deployment's log would have to act. */
static void halted_tell(SimService *self, const GError *error)
{
    sim_fail(self->world->sim, "halted", NULL, "%s waits for a person: %s", self->name,
             error->message);
}

/* TRUE: the next program may run. */
static gboolean back_off(SimService *self, gint64 begin_us, const GError *error)
{
    Sim *sim = self->world->sim;
    gboolean is_halted = g_error_matches(error, BUS_ERROR, BUS_ERROR_SETUP);
    gboolean is_good = sim_now_us(sim) - begin_us > GOOD_RUN_US;
    guint attempt = is_good ? 0 : self->attempt;
    gint64 seconds = is_halted ? BACKOFF_MAX_S : MIN(BACKOFF_MAX_S, 1 << MIN(attempt, 5));
    self->attempt = attempt + 1;
    if (sim_process_is_dead(self->process)) {
        return FALSE;
    }
    if (is_halted) {
        halted_tell(self, error);
    }
    sim_say(sim, NULL, self->name, "begins anew in %d s: %s", (int)seconds, error->message);
    return sim_sleep(self->process, seconds * SIM_S);
}

static void service_run(void *data)
{
    SimService *self = data;
    gboolean lives = TRUE;
    self->attempt = 0;
    while (lives) {
        g_autoptr(GError) error = NULL;
        gint64 begin_us = sim_now_us(self->world->sim);
        bus_run(self, &error);
        lives = back_off(self, begin_us, error);
    }
}

/* ---- The process */

static void service_gone(void *data);

static void service_start(void *data)
{
    SimService *self = data;
    if (self->process != NULL) {
        return; /* The calm came first. */
    }
    sim_say(self->world->sim, NULL, self->name, "is started");
    self->process = sim_process_new(self->world->sim, self->name, service_gone, self);
    sim_task_start(self->process, service_run, self);
}

static void service_gone(void *data)
{
    SimService *self = data;
    Sim *sim = self->world->sim;
    g_clear_pointer(&self->process, sim_process_free);
    sim_after(sim, START_LEAST_US + sim_silence_us(sim, START_MOST_US), service_start, self);
}

void sim_service_calm(SimService *service)
{
    service_start(service);
}

SimProcess *sim_service_process(SimService *service)
{
    return service->process;
}

SimService *sim_service_new(SimWorld *world, const VbService *service, guint instance)
{
    SimService *self = g_new0(SimService, 1);
    self->world = world;
    self->service = service;
    self->name = g_strdup_printf("%s-%u", service->name, instance);
    g_snprintf(self->instance_id, sizeof(self->instance_id), "%u", instance);
    self->skew_ms = sim_world_draw_skew_ms(world);
    service_start(self);
    return self;
}

void sim_service_free(SimService *service)
{
    sim_process_free(service->process);
    g_free(service->name);
    g_free(service);
}
