/* See sim_world.h: the parts put together, and the three acts of a run. */
#include "tests/sim/sim_world.h"

#include <string.h>

#include "services/vm-service/vm_core.h"
#include "services/volume-service/volume_core.h"

#define HOUR_US (G_GINT64_CONSTANT(3600) * SIM_S)

enum {
    WORLD_CHECK_STEPS = 1000,
    CALM_MOST_STEPS = 400000, /* Far more than the longest calm needs. */
    REST_US = 60 * SIM_S,     /* How long it must stay at rest. */
};

/* As the services' options have them. */
static void settings_make(Settings *settings, const SimPlan *plan)
{
    settings__init(settings);
    settings->secure_boot_default = TOGGLE_OFF;
    settings->nvram_for_all_uefi = plan->nvram_for_all_uefi;
    settings->start_timeout_ms = 60 * 1000;
    settings->stop_timeout_ms = 120 * 1000;
    settings->expunge_timeout_ms = 120 * 1000;
    settings->allowed_skew_ms = SIM_SKEW_MS;
    settings->nvram_retain_ms = plan->nvram_retain_ms;
    settings->delete_retry_ms = 10 * 1000;
    settings->expunged_keep_ms = plan->expunged_keep_ms;
}

/* Random uuids (version 4), from the seed. */
static char (*uuids_make(Sim *sim, SimDraw whose, guint n))[UUID_TEXT_BYTES]
{
    char(*uuids)[UUID_TEXT_BYTES] = g_malloc_n(n, UUID_TEXT_BYTES);
    sim_draw_apart(sim, whose, 0);
    for (guint i = 0; i < n; i++) {
        guint64 a = sim_random(sim);
        guint64 b = sim_random(sim);
        g_snprintf(uuids[i], UUID_TEXT_BYTES, "%08x-%04x-4%03x-8%03x-%012" G_GINT64_MODIFIER "x",
                   (guint)(a >> 32), (guint)(a >> 16) & 0xffff, (guint)a & 0xfff,
                   (guint)(b >> 48) & 0xfff, b & G_GUINT64_CONSTANT(0xffffffffffff));
    }
    sim_draw_together(sim);
    return uuids;
}

SimWorld *sim_world_new(const SimPlan *plan)
{
    SimWorld *world = g_new0(SimWorld, 1);
    world->plan = plan;
    world->sim = sim_new(plan->seed);
    settings_make(&world->settings, plan);
    for (guint i = 0; i < SIM_N_FAULTS; i++) {
        sim_set_rate(world->sim, i, plan->rates[i]);
    }
    if (plan->kept_faults != NULL) {
        sim_keep_faults(world->sim, (const SimFaultNumber *)(void *)plan->kept_faults->data,
                        plan->kept_faults->len);
    }
    sim_set_delays(world->sim, plan->delays);
    world->vm_uuids = uuids_make(world->sim, SIM_DRAW_VM_UUIDS, plan->n_vms);
    world->host_uuids = uuids_make(world->sim, SIM_DRAW_HOST_UUIDS, plan->n_hosts);
    world->touched = g_hash_table_new(g_str_hash, g_str_equal);
    world->check = sim_check_new(world);
    world->model = sim_model_new(world);
    world->broker = sim_broker_new(world);
    world->shared = g_new0(SimDisk *, plan->n_shared + 1);
    for (guint i = 0; i < plan->n_shared; i++) {
        world->shared[i] = sim_disk_new(world->sim);
    }
    world->hosts = g_new0(SimHost *, plan->n_hosts);
    for (guint i = 0; i < plan->n_hosts; i++) {
        world->hosts[i] = sim_host_new(world, i);
    }
    world->services = g_new0(SimService *, 2 * plan->n_instances);
    for (guint i = 0; i < 2 * plan->n_instances; i++) {
        world->services[i] =
            sim_service_new(world, i % 2 == 0 ? &vm_service : &volume_service, i / 2);
    }
    world->clients = sim_clients_new(world);
    return world;
}

void sim_world_free(SimWorld *world)
{
    sim_unwind(world->sim);
    sim_clients_free(world->clients);
    for (guint i = 0; i < 2 * world->plan->n_instances; i++) {
        sim_service_free(world->services[i]);
    }
    for (guint i = 0; i < world->plan->n_hosts; i++) {
        sim_host_free(world->hosts[i]);
    }
    for (guint i = 0; i < world->plan->n_shared; i++) {
        sim_disk_free(world->shared[i]);
    }
    sim_broker_free(world->broker);
    sim_model_free(world->model);
    sim_check_free(world->check);
    g_hash_table_unref(world->touched);
    g_free(world->services);
    g_free(world->hosts);
    g_free(world->shared);
    g_free(world->vm_uuids);
    g_free(world->host_uuids);
    sim_free(world->sim);
    g_free(world);
}

/* ---- The run */

static void after_step(void *data)
{
    SimWorld *world = data;
    sim_check_step(world->check);
    g_hash_table_remove_all(world->touched);
    if (sim_step(world->sim) % WORLD_CHECK_STEPS == 0) {
        sim_check_world(world->check);
    }
}

/* Faults stop; what was cut off comes back. Until nothing is under way any more, or the longest
 * time that anything may take has passed: then the verdict says what did not come to an end. */
static gboolean calm_run(SimWorld *world)
{
    Sim *sim = world->sim;
    gint64 rest_since_us = G_MAXINT64;
    world->calm = TRUE;
    sim_say(sim, NULL, "world", "calm: faults stop, no new commands");
    sim_set_faults(sim, FALSE);
    sim_thaw(sim);
    sim_broker_calm(world->broker);
    for (guint i = 0; i < world->plan->n_hosts; i++) {
        sim_host_calm(world->hosts[i]);
    }
    for (guint i = 0; i < 2 * world->plan->n_instances; i++) {
        sim_service_calm(world->services[i]);
    }
    sim_clients_calm(world->clients);
    gint64 end_us = sim_now_us(sim) + 3 * HOUR_US;
    guint64 end_step = sim_step(sim) + CALM_MOST_STEPS;
    while (sim_now_us(sim) < end_us && sim_step(sim) < end_step) {
        if (!sim_run(sim, sim_now_us(sim) + SIM_S, CALM_MOST_STEPS, after_step, world)) {
            return FALSE;
        }
        if (sim_clients_waiting(world->clients) > 0 || !sim_check_is_at_rest(world->check)) {
            rest_since_us = G_MAXINT64;
        } else if (rest_since_us == G_MAXINT64) {
            rest_since_us = sim_now_us(sim);
        } else if (sim_now_us(sim) - rest_since_us >= REST_US) {
            break;
        }
    }
    return TRUE;
}

gboolean sim_world_run(SimWorld *world)
{
    Sim *sim = world->sim;
    sim_clients_start(world->clients);
    sim_chaos_start(world);
    sim_set_faults(sim, TRUE);
    if (sim_run(sim, G_MAXINT64, world->plan->max_steps, after_step, world) && calm_run(world)) {
        sim_check_world(world->check);
        sim_check_end(world->check);
        sim_model_end(world->model);
    }
    return !sim_has_failed(sim);
}

/* ---- Names */

static int index_of(char (*uuids)[UUID_TEXT_BYTES], guint n, const char *uuid)
{
    for (guint i = 0; i < n; i++) {
        if (strcmp(uuids[i], uuid) == 0) {
            return (int)i;
        }
    }
    return -1;
}

int sim_world_vm_index(const SimWorld *world, const char *vm_uuid)
{
    return index_of(world->vm_uuids, world->plan->n_vms, vm_uuid);
}

SimHost *sim_world_host(const SimWorld *world, const char *host_uuid)
{
    int index = index_of(world->host_uuids, world->plan->n_hosts, host_uuid);
    return index >= 0 ? world->hosts[index] : NULL;
}

void sim_world_touch(SimWorld *world, const char *vm_uuid)
{
    int index = sim_world_vm_index(world, vm_uuid);
    if (index >= 0) {
        g_hash_table_add(world->touched, world->vm_uuids[index]);
    }
}

const char *sim_world_name(const SimWorld *world, const char *uuid)
{
    static const char *const vms[] = {"vm-0", "vm-1", "vm-2", "vm-3", "vm-4", "vm-5"};
    static const char *const hosts[] = {"host-0", "host-1", "host-2"};
    int vm = index_of(world->vm_uuids, world->plan->n_vms, uuid);
    int host = index_of(world->host_uuids, world->plan->n_hosts, uuid);
    if (vm >= 0 && vm < (int)G_N_ELEMENTS(vms)) {
        return vms[vm];
    }
    return host >= 0 && host < (int)G_N_ELEMENTS(hosts) ? hosts[host] : uuid;
}
