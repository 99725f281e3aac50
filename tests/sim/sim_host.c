/* A host: its disks, clock, power and network, and the life of its agent's process.
 *
 * The agent is the product's own. It dies with any call, or ends by itself when a journal file
 * cannot be read or written, or when it is asked to; a supervisor starts it again after a while. */
#include "tests/sim/sim_host_private.h"

#include <string.h>

#include "services/host-agent/heartbeat.h"
#include "services/host-agent/volumes.h"

enum {
    START_MOST_US = 60 * SIM_S,
    OFF_LEAST_US = 5 * SIM_S,
    SILENT_MOST_US = 60 * SIM_S,
    END_CHANCE = 2000, /* Per million chances. */
    DRAIN_MS = 10000,
    MAX_QUEUES = 8,
    CHANCES_A_REPORT = 60,
    CHANCES_UNSYNCED = 1000,
    UNSYNCED_US = 5 * SIM_S,
    FORGOTTEN_US = 40 * SIM_S,
    AHEAD_LEAST_MS = 60 * 1000,
    AHEAD_MOST_MS = 12 * 3600 * 1000,
};

/* ---- What calls begin with */

gboolean sim_host_is_alive(SimHost *host)
{
    return !sim_process_is_dead(host->process);
}

static gboolean power_stays(SimHost *host)
{
    if (sim_fault(host->sim, FAULT_POWER_LOSS)) {
        sim_host_power_loss(host);
        return FALSE;
    }
    return TRUE;
}

gboolean sim_host_call(SimHost *host)
{
    return sim_host_is_alive(host) && power_stays(host) && sim_call(host->process);
}

gboolean sim_host_call_at_once(SimHost *host)
{
    if (!sim_host_is_alive(host) || !power_stays(host)) {
        return FALSE;
    }
    if (sim_fault(host->sim, FAULT_CRASH)) {
        sim_process_kill(host->process);
        return FALSE;
    }
    return TRUE;
}

/* ---- Clock */

static void clock_be_wrong(SimHost *host)
{
    host->ahead_ms = sim_between(host->sim, AHEAD_LEAST_MS, AHEAD_MOST_MS);
    sim_host_say(host, NULL, "its clock is %" G_GINT64_FORMAT " minutes ahead now",
                 host->ahead_ms / 60000);
}

gint64 sim_host_now_ms(const SimHost *host)
{
    return sim_now_ms(host->sim) + host->skew_ms;
}

static gint64 clock_now_ms(void *clock)
{
    SimHost *host = clock;
    if (!sim_host_is_alive(host)) {
        host->leap_ms += 3600 * 1000;
    } else {
        sim_world_jump(host->world, host->name, &host->skew_ms);
    }
    return sim_host_now_ms(host) + host->ahead_ms + host->leap_ms;
}

static void clock_wait_ms(void *clock, gint64 duration_ms)
{
    SimHost *host = clock;
    sim_sleep(host->process, duration_ms * SIM_MS);
}

/* ---- The agent's process */

static void agent_free(SimHost *host)
{
    VbAgent *agent = host->agent;
    if (agent == NULL) {
        return;
    }
    sim_agent_bus_free(host->bus);
    sim_threads_free(agent->threads);
    journal_free(agent->journal);
    g_hash_table_unref(agent->vms);
    g_async_queue_unref(agent->inbox);
    arena_free(agent->arena);
    g_clear_error(&agent->failure);
    g_free(agent);
    sim_process_free(host->process);
    sim_files_close_all(host);
    host->agent = NULL;
    host->bus = NULL;
    g_clear_pointer(&host->vb.failed_syncs, failed_syncs_free);
    host->process = NULL;
    host->leap_ms = 0;
    host->ahead_ms = 0;
    host->must_end = FALSE;
}

static void agent_start_due(void *data)
{
    SimHost *host = data;
    host->start_is_due = FALSE;
    if (host->is_up && host->process == NULL) {
        sim_host_start_agent(host);
    }
}

static void agent_start_after(SimHost *host, gint64 delay_us)
{
    if (!host->start_is_due) {
        host->start_is_due = TRUE;
        sim_after(host->sim, SIM_S + delay_us, agent_start_due, host);
    }
}

/* What somebody has stopped the agent for. */
static void journals_harm(SimHost *host)
{
    if (host->lose_journal) {
        sim_files_harm(host, FALSE);
    }
    if (host->cut_journal) {
        sim_files_harm(host, TRUE);
    }
    host->lose_journal = FALSE;
    host->cut_journal = FALSE;
}

static void agent_gone(void *data)
{
    SimHost *host = data;
    agent_free(host);
    journals_harm(host);
    if (host->is_up) {
        agent_start_after(host, sim_silence_us(host->sim, START_MOST_US));
    }
}

static void agent_body(void *data)
{
    SimHost *host = data;
    g_autoptr(GError) error = NULL;
    gboolean ok = agent_run(host->agent, host->bus, &error);
    if (sim_host_is_alive(host)) {
        sim_host_say(host, NULL, "the agent ends: %s", ok ? "it was asked to" : error->message);
    }
    sim_process_kill(host->process);
}

/* What a report promises has to be on disk. The moment when the broker has it is worth more of the
 * power's chances than others; most of all when it may be the report of a guest that was cut off. */
static void report_fate(void *data, const char *vm_uuid, gboolean delivered)
{
    SimHost *host = data;
    gint64 since_us = sim_now_us(host->sim) - host->unsynced_us;
    gboolean is_doubted = sim_now_us(host->sim) - host->forgotten_us < FORGOTTEN_US;
    guint n_chances = since_us < UNSYNCED_US || is_doubted ? CHANCES_UNSYNCED : CHANCES_A_REPORT;
    agent_report_fate(host->agent, vm_uuid, delivered);
    for (guint i = 0; delivered && host->is_up && i < n_chances; i++) {
        power_stays(host);
    }
}

void sim_host_start_agent(SimHost *host)
{
    const VbAgentConfig config = {
        .host = &host->vb, .drain_timeout_ms = DRAIN_MS, .version = "simulated"};
    g_autofree char *name = g_strdup_printf("agent-%u", host->index);
    host->n_starts++;
    host->vb.failed_syncs = failed_syncs_new();
    host->process = sim_process_new(host->sim, name, agent_gone, host);
    host->agent = agent_new(&config);
    host->bus = sim_agent_bus_new(host->world, host, report_fate, host);
    sim_host_say(host, NULL, "its agent starts");
    sim_task_start(host->process, agent_body, host);
}

void sim_host_wake(SimHost *host)
{
    if (host->agent != NULL) {
        agent_threads_wake(host->agent);
    }
}

SimProcess *sim_host_agent(SimHost *host)
{
    return host->process;
}

/* ---- The heartbeat, in place of heartbeat.c: that one asks the machine it runs on for its name
 * and its programs, and reads every firmware descriptor again, which was a sixth of a run's time.
 * Nothing is decided by it. */

HostInfo *heartbeat_collect(VbHost *vb, VbArena *arena)
{
    HostInfo *info = ARENA_MSG(arena, host_info);
    gboolean ovs = FALSE;
    gboolean dpdk = FALSE;
    g_autofree char *problem = NULL;
    g_autofree char *version = vb->hypervisor->version(vb->hypervisor);
    vb->ports->probe(vb->ports, &ovs, &dpdk, &problem);
    info->host_uuid = arena_strdup(arena, vb->config->host_uuid);
    info->hostname = (char *)"simulated";
    info->tpm = TRUE;
    info->ovs = ovs;
    info->ovs_dpdk = dpdk;
    info->hypervisor_usable = version != NULL;
    info->running_vms = version != NULL ? vb->hypervisor->count_running(vb->hypervisor) : 0;
    info->time_ms = vb->now_ms(vb->clock);
    return info;
}

/* ---- Power and network */

static void power_on(void *data)
{
    SimHost *host = data;
    if (!host->is_up) {
        host->is_up = TRUE;
        sim_host_say(host, NULL, "is up again");
        if (host->process == NULL) {
            agent_start_after(host, sim_silence_us(host->sim, START_MOST_US));
        }
    }
}

void sim_host_power_loss(SimHost *host)
{
    Sim *sim = host->sim;
    SimLoss loss = {0};
    /* Most hosts boot again; for some it takes so long that somebody confirms them down. */
    static const gint64 off_most_us[] = {20 * SIM_S, 20 * SIM_S, 300 * SIM_S, 1500 * SIM_S};
    if (!host->is_up) {
        return;
    }
    host->is_up = FALSE;
    sim_host_say(host, NULL, "LOSES ITS POWER");
    if (host->process != NULL) {
        sim_process_kill(host->process);
    }
    sim_files_close_all(host);
    sim_hypervisor_power_loss(host->hypervisor);
    for (guint i = 0; i < host->mounts->len; i++) {
        SimDisk *disk = g_array_index(host->mounts, SimMount, i).disk;
        gboolean own = disk == host->root || disk == host->run;
        SimLoss lost = sim_disk_power_loss(disk, own ? SIM_ALL_WRITERS : host->index);
        loss.n_writes += lost.n_writes;
        loss.n_names += lost.n_names;
    }
    sim_host_say(host, NULL, "of what was not on disk %u files and %u names are older or gone",
                 loss.n_writes, loss.n_names);
    sim_check_power_lost(host->world->check, host);
    sim_model_power_lost(host->world->model, host);
    gint64 most_us = off_most_us[sim_below(sim, G_N_ELEMENTS(off_most_us))];
    sim_after(sim, sim_between(sim, OFF_LEAST_US, most_us), power_on, host);
}

gboolean sim_host_is_up(const SimHost *host)
{
    return host->is_up;
}

gboolean sim_host_is_silent(const SimHost *host)
{
    return !host->is_up || sim_now_us(host->sim) < host->silent_until_us;
}

/* Whoever waits for a broker looks again. */
static void silence_ends(void *data)
{
    sim_host_wake(data);
}

static void be_silent(SimHost *host)
{
    host->silent_until_us = sim_now_us(host->sim) + sim_silence_us(host->sim, SILENT_MOST_US);
    sim_host_say(host, NULL, "is cut off from the network for %" G_GINT64_FORMAT " ms",
                 (host->silent_until_us - sim_now_us(host->sim)) / SIM_MS);
    sim_at(host->sim, host->silent_until_us, silence_ends, host);
}

static void ask_to_end(SimHost *host)
{
    if (host->agent != NULL) {
        sim_host_say(host, NULL, "the agent is asked to end");
        host->must_end = TRUE;
        sim_host_wake(host);
    }
}

/* Of a state file, or of a journal: for that the agent is stopped first. */
static void harm(SimHost *host, gboolean truncate)
{
    if (host->process == NULL || sim_below(host->sim, 4) > 0) {
        sim_files_harm(host, truncate);
        return;
    }
    host->lose_journal = host->lose_journal || !truncate;
    host->cut_journal = host->cut_journal || truncate;
    ask_to_end(host);
}

void sim_host_chance(SimHost *host)
{
    Sim *sim = host->sim;
    if (!host->is_up || !power_stays(host)) {
        return;
    }
    if (sim_fault(sim, FAULT_HOST_SILENT)) {
        be_silent(host);
    }
    sim_world_jump(host->world, host->name, &host->skew_ms);
    if (host->ahead_ms == 0 && host->process != NULL && sim_fault(sim, FAULT_CLOCK_WRONG)) {
        clock_be_wrong(host);
    }
    if (sim_fault_tries(sim, FAULT_FILE_LOST)) {
        harm(host, FALSE);
    }
    if (sim_fault_tries(sim, FAULT_FILE_DAMAGED)) {
        harm(host, TRUE);
    }
    if (sim_fault_tries(sim, FAULT_LIBVIRT_DOWN)) {
        sim_hypervisor_go_away(host->hypervisor, FAULT_LIBVIRT_DOWN);
    }
    if (sim_fault_tries(sim, FAULT_OVS_DOWN)) {
        sim_switch_go_away(host->ports);
    }
    if (sim_fault_tries(sim, FAULT_FOREIGN_DOMAIN)) {
        sim_hypervisor_intrude(host->hypervisor);
    }
    if (sim_fault_tries(sim, FAULT_DOMAIN_VANISHES)) {
        sim_hypervisor_vanish(host->hypervisor);
    }
    if (sim_faults_are_on(sim) && sim_chance(sim, END_CHANCE)) {
        ask_to_end(host);
    }
}

void sim_host_calm(SimHost *host)
{
    power_on(host);
    agent_start_due(host);
    host->silent_until_us = 0;
    if (host->ahead_ms != 0) {
        sim_process_kill(host->process); /* Whoever sets its clock right starts it anew. */
    }
    sim_switch_calm(host->ports);
    sim_hypervisor_calm(host->hypervisor);
    sim_host_wake(host);
}

/* ---- Life */

const char *sim_host_uuid(const SimHost *host)
{
    return host->uuid;
}

const char *sim_host_storage_path(SimHost *host, const StorageRef *storage)
{
    for (guint i = 0; i < host->config.storages->len; i++) {
        const VbStorage *found = g_ptr_array_index(host->config.storages, i);
        if (found->ref.type == storage->type && strcmp(found->ref.name, storage->name) == 0) {
            return found->path;
        }
    }
    return NULL;
}

static void storage_free(void *data)
{
    VbStorage *storage = data;
    g_free(storage->ref.name);
    g_free(storage->path);
    g_free(storage);
}

static VbStorage *add_storage(SimHost *host, StorageType type, const char *name)
{
    VbStorage *storage = g_new0(VbStorage, 1);
    storage_ref__init(&storage->ref);
    storage->ref.type = type;
    storage->ref.name = g_strdup(name);
    storage->path = g_strdup_printf(SIM_STORAGE_DIR "/%s", name);
    g_ptr_array_add(host->config.storages, storage);
    return storage;
}

static void add_mount(SimHost *host, const char *path, SimDisk *disk)
{
    SimMount mount = {.path = g_strdup(path), .path_bytes = strlen(path), .disk = disk};
    g_array_prepend_val(host->mounts, mount); /* The root is the first to be added. */
}

static void make_disks(SimHost *host)
{
    const SimWorld *world = host->world;
    host->root = sim_disk_new(host->sim);
    host->run = sim_disk_new(host->sim);
    sim_disk_make_volatile(host->run);
    host->mounts = g_array_new(FALSE, FALSE, sizeof(SimMount));
    host->config.storages = g_ptr_array_new_with_free_func(storage_free);
    add_mount(host, "", host->root);
    add_mount(host, "/run", host->run);
    add_storage(host, STORAGE_TYPE_LOCAL, "local-0");
    for (guint i = 0; i < world->plan->n_shared; i++) {
        g_autofree char *name = g_strdup_printf("shared-%u", i);
        const VbStorage *storage = add_storage(host, STORAGE_TYPE_SHARED_MOUNT_POINT, name);
        add_mount(host, storage->path, world->shared[i]);
    }
}

static void configure(SimHost *host)
{
    static char *firmware_dirs[] = {(char *)SIM_FIRMWARE_DIR, NULL};
    GPtrArray *storages = host->config.storages;
    host->config = (VbHostConfig){
        .host_uuid = (char *)host->uuid,
        .run_dir = (char *)SIM_RUN_DIR,
        .state_dir = (char *)SIM_STATE_DIR,
        .log_dir = (char *)SIM_LOG_DIR,
        .swtpm_dir = (char *)SIM_SWTPM_DIR,
        .libvirt_uri = (char *)"qemu:///system",
        .domain_type = (char *)"auto",
        .firmware_dirs = firmware_dirs,
        .ovs_db = (char *)"unix:/run/openvswitch/db.sock",
        .ovs_bridge = (char *)"br-int",
        .qemu_user = (char *)"libvirt-qemu",
        .ovs_group = (char *)"openvswitch",
        .max_queues = MAX_QUEUES,
        .storages = storages,
    };
}

SimHost *sim_host_build(SimWorld *world, guint index)
{
    SimHost *host = g_new0(SimHost, 1);
    /* Where the product looks for swtpm: not the machine's own places. */
    g_setenv("PATH", "/usr/bin", TRUE);
    host->world = world;
    host->sim = world->sim;
    host->index = index;
    host->uuid = world->host_uuids[index];
    host->name = sim_world_name(world, host->uuid);
    host->is_up = TRUE;
    host->skew_ms = sim_world_draw_skew_ms(world);
    make_disks(host);
    configure(host);
    sim_files_open(host);
    host->hypervisor = sim_hypervisor_new(host);
    host->ports = sim_switch_new(host);
    host->vb = (VbHost){
        .config = &host->config,
        .hypervisor = sim_hypervisor_interface(host->hypervisor),
        .ports = sim_switch_interface(host->ports),
        .files = &host->files,
        .now_ms = clock_now_ms,
        .wait_ms = clock_wait_ms,
        .clock = host,
    };
    sim_host_furnish(host);
    return host;
}

SimHost *sim_host_new(SimWorld *world, guint index)
{
    SimHost *host = sim_host_build(world, index);
    agent_start_after(host, sim_delay_us(host->sim, SIM_S));
    return host;
}

void sim_host_free(SimHost *host)
{
    agent_free(host);
    sim_files_close(host);
    sim_switch_free(host->ports);
    sim_hypervisor_free(host->hypervisor);
    for (guint i = 0; i < host->mounts->len; i++) {
        g_free(g_array_index(host->mounts, SimMount, i).path);
    }
    g_array_unref(host->mounts);
    g_ptr_array_unref(host->config.storages);
    sim_disk_free(host->root);
    sim_disk_free(host->run);
    g_free(host);
}
