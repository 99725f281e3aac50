/* See agent_life.h. */
#include "tests/fault/agent_life.h"

#include <glib/gstdio.h>
#include <grp.h>
#include <string.h>
#include <unistd.h>

#include "common/base/message.h"
#include "common/base/text.h"
#include "services/host-agent/volumes.h"

#define VM_UUID    "11111111-1111-4111-8111-111111111111"
#define HOST_UUID  "99999999-9999-4999-8999-999999999999"
#define PLAIN_VARS "/usr/share/OVMF/OVMF_VARS_4M.fd"
#define PLAIN_JSON "/usr/share/qemu/firmware/60-edk2-x86_64.json"

enum {
    BEGIN_MS = 1000000,
    TICK_MS = 10000,
    PATIENCE_MS = 60000, /* Of a command. */
    TICKS_MAX = 40,
    ASKED_MAX = 20,
    ILL_TICKS = 3, /* Then what fails for ever is mended. */
    ILL_DEATHS = 3,
    ILL_FAILURES = 2,
    MIB = 1024 * 1024,
    NIC_AT_START = 0,
    NIC_LATER = 3,
    GUEST_BYTES = 16, /* That it changes, at the end of the store: the spare block. */
};

enum { ROOT, DATA, NVRAM, TPM };

static Life *life_now; /* agent_vm.c's bus and worker threads are this life. */

/* ---- What is watched */

static void break_with(Life *life, const char *format, ...) G_GNUC_PRINTF(2, 3);
static void break_with(Life *life, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    if (life->broken == NULL) {
        life->broken = g_strdup_vprintf(format, args);
    }
    va_end(args);
}

static char *path_of(const Life *life, const Volume *volume)
{
    return g_build_filename(life->storage.path, volume->install_path, NULL);
}

static void expect_durable(Life *life, const char *path, const char *what)
{
    g_autofree char *loss = fault_files_unsafe(life->files, path);
    if (loss != NULL) {
        break_with(life, "%s, but %s", what, loss);
    }
}

static char *tpm_state_path(const Life *life)
{
    g_autofree char *folder = path_of(life, life->volumes[TPM]);
    return g_build_filename(folder, "tpm2", "tpm2-00.permall", NULL);
}

/* I5, S20: the bytes are the template's until the guest has written, and then the guest's. */
static void expect_nvram(Life *life, const char *when)
{
    g_autofree char *path = path_of(life, life->volumes[NVRAM]);
    g_autofree char *bytes = NULL;
    gsize size_bytes = 0;
    struct stat facts;
    if (life->nvram == NULL) {
        return;
    }
    if (!g_file_get_contents(path, &bytes, &size_bytes, NULL) || lstat(path, &facts) != 0) {
        break_with(life, "I1: %s the NVRAM is gone", when);
    } else if (size_bytes != g_bytes_get_size(life->nvram) ||
               memcmp(bytes, g_bytes_get_data(life->nvram, NULL), size_bytes) != 0) {
        break_with(life, "I5: %s the NVRAM has not the guest's bytes", when);
    } else if (facts.st_ino != life->nvram_inode) {
        break_with(life, "I5: %s the NVRAM is another file", when);
    }
}

static void on_rename(void *data, const char *path)
{
    Life *life = data;
    g_autofree char *nvram = path_of(life, life->volumes[NVRAM]);
    if (strcmp(path, nvram) == 0 && ++life->n_nvram_made > 1) {
        break_with(life, "I5: the template was copied a second time");
    }
}

static void on_remove(void *data, const char *path)
{
    Life *life = data;
    g_autofree char *state = tpm_state_path(life);
    gboolean is_lost = strcmp(path, state) == 0;
    for (guint i = 0; i < LIFE_N_VOLUMES; i++) {
        g_autofree char *volume = path_of(life, life->volumes[i]);
        is_lost = is_lost || strcmp(path, volume) == 0;
    }
    if (is_lost && !life->deleting) {
        break_with(life, "I4: nobody has asked for it, and %s is removed", path);
    }
}

/* I3, and: a start that may have run is never run again. */
static void on_start(void *data, const char *nvram, guint64 epoch)
{
    Life *life = data;
    if (epoch <= life->started_epoch) {
        break_with(life, "I6: a domain of epoch %" G_GUINT64_FORMAT " starts a second time", epoch);
    }
    life->started_epoch = epoch;
    g_autofree char *path = path_of(life, life->volumes[NVRAM]);
    if (strcmp(path, nvram) != 0) {
        break_with(life, "I3: the domain starts on %s", nvram);
    }
    expect_nvram(life, "at a start");
}

static void nvram_note(Life *life)
{
    g_autofree char *path = path_of(life, life->volumes[NVRAM]);
    char *bytes = NULL;
    gsize size_bytes = 0;
    struct stat facts;
    if (!g_file_get_contents(path, &bytes, &size_bytes, NULL) || lstat(path, &facts) != 0) {
        break_with(life, "I1: the NVRAM that was reported is not there");
        return;
    }
    g_clear_pointer(&life->nvram, g_bytes_unref);
    life->nvram = g_bytes_new_take(bytes, size_bytes);
    life->nvram_inode = facts.st_ino;
}

static void watch_created(Life *life, const VolumesCreated *created)
{
    for (size_t i = 0; i < created->n_results; i++) {
        const VolumeResult *result = created->results[i];
        if (result->error != NULL) {
            continue;
        }
        g_autofree char *path = path_of(life, result->volume);
        if (access(path, F_OK) != 0) {
            break_with(life, "I1: %s was reported and is not there", path);
        }
        expect_durable(life, path, "I1: a volume was reported");
        for (guint k = 0; k < LIFE_N_VOLUMES; k++) {
            if (strcmp(life->volumes[k]->uuid, result->volume->uuid) == 0) {
                life->volumes[k] = arena_copy(life->arena, result->volume);
                life->volumes[k]->ever_ready = TRUE;
            }
        }
        if (result->volume->type == VOLUME_TYPE_NV_RAM && life->nvram == NULL) {
            nvram_note(life);
        }
    }
}

static void watch_deleted(Life *life, const VolumesDeleted *deleted)
{
    for (size_t i = 0; i < deleted->n_results; i++) {
        g_autofree char *path = path_of(life, deleted->results[i]->volume);
        if (deleted->results[i]->error == NULL) {
            expect_durable(life, path, "a deletion was reported");
        }
    }
}

static void watch_stopped(Life *life)
{
    g_autofree char *nvram = path_of(life, life->volumes[NVRAM]);
    g_autofree char *tpm = tpm_state_path(life);
    if (fault_host_runs(life->machine)) {
        break_with(life, "I6: Stopped was reported while the domain runs");
    }
    expect_durable(life, nvram, "Stopped was reported");
    expect_durable(life, tpm, "Stopped was reported");
}

static void watch_start(Life *life, const HostReport *report)
{
    if (report->error == NULL) {
        life->hardware = arena_copy(life->arena, report->domain_started->hardware);
    } else if (fault_host_runs(life->machine) && fault_host_epoch(life->machine) == report->epoch) {
        break_with(life, "I6: the start was reported as failed, and its domain runs: %s",
                   report->error->message);
    }
}

static void watch_report(Life *life, const HostReport *report)
{
    if (report->report_case == HOST_REPORT__REPORT_VOLUMES_CREATED) {
        watch_created(life, report->volumes_created);
    } else if (report->report_case == HOST_REPORT__REPORT_VOLUMES_DELETED) {
        watch_deleted(life, report->volumes_deleted);
    } else if (report->report_case == HOST_REPORT__REPORT_DOMAIN_STOPPED && report->error == NULL) {
        watch_stopped(life);
    } else if (report->report_case == HOST_REPORT__REPORT_DOMAIN_STARTED) {
        watch_start(life, report);
    } else if (report->report_case == HOST_REPORT__REPORT_DEVICE_CHANGED && report->error == NULL &&
               report->device_changed->hardware != NULL) {
        life->hardware = arena_copy(life->arena, report->device_changed->hardware);
    }
}

static void expect_journal_durable(Life *life, const char *what)
{
    g_autofree char *path = g_strdup_printf("%s/%s.vm", life->config.state_dir, VM_UUID);
    expect_durable(life, path, what);
}

/* ---- The agent's bus and its threads, as agent_vm.c knows them */

void agent_bus_finish(VbAgentBus *bus, gint64 offset)
{
    Life *life = (Life *)bus;
    life->committed = MAX(life->committed, offset + 1);
}

gint64 agent_bus_committed(VbAgentBus *bus)
{
    return ((Life *)bus)->committed;
}

void agent_bus_report(VbAgentBus *bus, VbArena *arena, const HostReport *report,
                      const char *traceparent)
{
    Life *life = (Life *)bus;
    (void)arena;
    (void)traceparent;
    if (!life->fault.crashed) {
        expect_journal_durable(life, "a report was sent");
        watch_report(life, report);
        g_ptr_array_add(life->reports, arena_copy(life->arena, report));
        life->report_out = TRUE;
    }
}

/* For a domain without a journal: there is none here. */
void agent_work_list(VbAgent *agent)
{
    (void)agent;
    g_assert_not_reached();
}

void agent_work_effect(VbAgent *agent, VbAgentVm *vm, VbEffect effect)
{
    (void)agent;
    g_assert_null(life_now->effect_vm);
    expect_journal_durable(life_now, "an effect began");
    life_now->effect = effect;
    life_now->effect_vm = g_bytes_ref(vm->packed);
}

/* ---- The agent's life */

static void agent_end(Life *life)
{
    VbAgent *agent = life->agent;
    g_clear_pointer(&life->effect_vm, g_bytes_unref);
    life->report_out = FALSE;
    life->agent = NULL;
    if (agent != NULL) {
        g_hash_table_unref(agent->vms);
        journal_free(agent->journal);
        arena_free(agent->arena);
        g_clear_error(&agent->failure);
        g_free(agent);
    }
}

static void die(Life *life)
{
    agent_end(life);
    if (life->fault.crashed && life->fault.mode == FAULT_REBOOT) {
        fault_host_reboot(life->machine);
    }
    life->fault.crashed = FALSE;
    /* The next agent remembers nothing that is not in the journal. */
    failed_syncs_free(life->host.failed_syncs);
    life->host.failed_syncs = failed_syncs_new();
    life->now_ms += life->is_late ? PATIENCE_MS : 0;
    if (life->fault.hit && ++life->deaths >= ILL_DEATHS) {
        life->fault.mended = TRUE;
    }
}

static gboolean is_dead(const Life *life)
{
    return life->agent == NULL || life->agent->failure != NULL || life->fault.crashed;
}

static VbAgentVm *the_vm(const Life *life)
{
    return g_hash_table_lookup(life->agent->vms, VM_UUID);
}

static void deliver(Life *life, gint64 offset)
{
    VbAgentCommand command = {.offset = offset, .command = life->commands->pdata[offset]};
    arena_reset(life->agent->arena);
    agent_vm_queue(life->agent, &command);
}

/* As agent.c: what the journal knows, what runs, and then the commands. */
static void agent_begin(Life *life)
{
    VbAgent *agent = g_new0(VbAgent, 1);
    life->agent = agent;
    life->listed = FALSE;
    agent->config.host = &life->host;
    agent->bus = (VbAgentBus *)life;
    agent->arena = arena_new();
    agent->journal = journal_new(life->host.files, life->config.state_dir);
    agent->vms = g_hash_table_new_full(g_str_hash, g_str_equal, NULL, agent_vm_free);
    if (journal_load(agent->journal, agent_vm_found, agent, &agent->failure) &&
        the_vm(life) != NULL) {
        agent_vm_advance(agent, the_vm(life));
    }
}

static void list_domains(Life *life)
{
    VbAgent *agent = life->agent;
    g_auto(GStrv) listed = life->host.hypervisor->list(life->host.hypervisor, NULL);
    if (listed == NULL) {
        return;
    }
    life->listed = TRUE;
    if (listed[0] != NULL && the_vm(life) == NULL) {
        arena_reset(agent->arena);
        agent_vm_get(agent, VM_UUID)->look_wanted = TRUE;
        agent_vm_advance(agent, the_vm(life));
    }
    for (gint64 offset = life->committed; offset < life->commands->len && !is_dead(life);
         offset++) {
        deliver(life, offset);
    }
}

static void run_effect(Life *life)
{
    g_autoptr(VbArena) arena = arena_new();
    g_autoptr(GBytes) packed = g_steal_pointer(&life->effect_vm);
    VbEffectRequest request = {
        .kind = life->effect,
        .vm = host_vm__unpack(arena_allocator(arena, SIZE_MAX), g_bytes_get_size(packed),
                              g_bytes_get_data(packed, NULL)),
    };
    VbEffectResult result;
    effect_run(&life->host, arena, &request, &result);
    if (life->fault.crashed) {
        return;
    }
    VbAgentVm *vm = the_vm(life);
    VbHostInput input = {.kind = HOST_INPUT_DONE, .result = &result};
    vm->effect_runs = FALSE;
    arena_reset(life->agent->arena);
    agent_vm_step(life->agent, vm, &input);
    agent_vm_advance(life->agent, vm);
}

static void tell_event(Life *life)
{
    VbHostInput input = {.kind = HOST_INPUT_DOMAIN_EVENT,
                         .event = DOMAIN_EVENT_STOPPED,
                         .reason = STOP_REASON_OUTSIDE};
    if (the_vm(life) != NULL) {
        arena_reset(life->agent->arena);
        agent_vm_step(life->agent, the_vm(life), &input);
        agent_vm_advance(life->agent, the_vm(life));
    }
}

/* Until nothing is to be done but to wait. */
static void pump(Life *life)
{
    for (;;) {
        if (is_dead(life)) {
            if (life->agent != NULL) {
                die(life);
            }
            agent_begin(life);
        } else if (life->effect_vm != NULL) {
            run_effect(life);
        } else if (life->report_out) {
            life->report_out = FALSE;
            agent_report_fate(life->agent, VM_UUID, TRUE);
        } else if (fault_host_take_event(life->machine)) {
            tell_event(life);
        } else if (!life->listed) {
            list_domains(life);
            if (!life->listed && !is_dead(life)) {
                return;
            }
        } else {
            return;
        }
    }
}

/* What the agent does every ten seconds. */
static void tick(Life *life, guint n)
{
    VbAgentVm *vm = life->agent != NULL ? the_vm(life) : NULL;
    life->now_ms += TICK_MS;
    if (n >= ILL_TICKS) {
        life->fault.mended = TRUE;
    }
    if (vm != NULL) {
        vm->again_wanted = vm->wants_look && !vm->effect_runs;
        agent_vm_advance(life->agent, vm);
    }
    if (life->agent != NULL) {
        agent_vms_remove_forgotten(life->agent);
    }
    pump(life);
}

/* ---- The services */

static const HostReport *report_of(const Life *life, const char *operation_id)
{
    for (guint i = life->reports->len; i-- > 0;) {
        const HostReport *report = life->reports->pdata[i];
        if (strcmp(report->operation_id, operation_id) == 0) {
            return report;
        }
    }
    return NULL;
}

/* Sends the command and waits for its report; NULL: none came. */
static const HostReport *command_send(Life *life, HostCommand *command)
{
    command->vm_uuid = arena_strdup(life->arena, VM_UUID);
    command->operation_id = arena_printf(life->arena, "operation-%u", life->commands->len);
    command->epoch = life->epoch;
    g_ptr_array_add(life->commands, command);
    pump(life);
    if (life->listed && life->committed < life->commands->len) {
        deliver(life, life->commands->len - 1);
        pump(life);
    }
    const HostReport *report = report_of(life, command->operation_id);
    for (guint n = 1; report == NULL && n <= TICKS_MAX; n++) {
        tick(life, n);
        report = report_of(life, command->operation_id);
    }
    if (report == NULL) {
        break_with(life, "I8: no report ever came to command %u of %s", life->commands->len - 1,
                   protobuf_c_message_descriptor_get_field(&host_command__descriptor,
                                                           command->command_case)
                       ->name);
    } else if (report->error != NULL && ++life->failures >= ILL_FAILURES && life->fault.hit) {
        life->fault.mended = TRUE;
    }
    return report;
}

static HostCommand *command_new(Life *life, HostCommand__CommandCase which, gboolean expires)
{
    HostCommand *command = ARENA_MSG(life->arena, host_command);
    command->command_case = which;
    command->expires_ms = expires ? life->now_ms + PATIENCE_MS : 0;
    return command;
}

typedef HostCommand *(*Compose)(Life *life);

/* Asks until it is done. `running`: for a VM that runs; one that does not is started first. */
static gboolean ask(Life *life, Compose compose, gboolean running)
{
    for (guint i = 0; i < ASKED_MAX && life->broken == NULL; i++) {
        const HostReport *report = command_send(life, compose(life));
        if (report == NULL || life->broken != NULL) {
            return FALSE;
        }
        if (report->error == NULL) {
            return TRUE;
        }
        if (running && report->error->code == ERROR_CODE_DOMAIN_NOT_RUNNING && !life_start(life)) {
            return FALSE;
        }
        if (i + 1 == ASKED_MAX) {
            break_with(life, "I8: it never succeeds: %s", report->error->message);
        }
    }
    return FALSE;
}

static HostCommand *compose_create(Life *life)
{
    HostCommand *command = command_new(life, HOST_COMMAND__COMMAND_CREATE_VOLUMES, TRUE);
    CreateVolumes *create = ARENA_MSG(life->arena, create_volumes);
    for (guint i = 0; i < LIFE_N_VOLUMES; i++) {
        ARENA_APPEND(life->arena, create->n_volumes, create->volumes, life->volumes[i]);
    }
    create->firmware_class = ARENA_MSG(life->arena, firmware_class);
    create->firmware_class->firmware = FIRMWARE_UEFI;
    command->create_volumes = create;
    return command;
}

static HostCommand *compose_start(Life *life)
{
    HostCommand *command = command_new(life, HOST_COMMAND__COMMAND_START_DOMAIN, TRUE);
    StartDomain *start = ARENA_MSG(life->arena, start_domain);
    start->spec = life->spec;
    for (guint i = 0; i < LIFE_N_VOLUMES; i++) {
        ARENA_APPEND(life->arena, start->n_volumes, start->volumes, life->volumes[i]);
    }
    start->nvram_needed = TRUE;
    start->hardware = life->hardware;
    start->firmware_class = ARENA_MSG(life->arena, firmware_class);
    start->firmware_class->firmware = FIRMWARE_UEFI;
    start->tpm_volume_uuid = life->volumes[TPM]->uuid;
    command->start_domain = start;
    life->epoch++;
    return command;
}

static NicSpec *later_nic(Life *life)
{
    NicSpec *nic = ARENA_MSG(life->arena, nic_spec);
    nic->index = NIC_LATER;
    nic->type = NIC_TYPE_VHOST_USER;
    return nic;
}

static HostCommand *compose_attach(Life *life)
{
    HostCommand *command = command_new(life, HOST_COMMAND__COMMAND_ATTACH_DEVICE, TRUE);
    command->attach_device = ARENA_MSG(life->arena, attach_device);
    command->attach_device->nic = later_nic(life);
    command->attach_device->spec = life->spec;
    command->attach_device->hardware = life->hardware;
    return command;
}

static HostCommand *compose_detach(Life *life)
{
    HostCommand *command = command_new(life, HOST_COMMAND__COMMAND_DETACH_DEVICE, TRUE);
    command->detach_device = ARENA_MSG(life->arena, detach_device);
    command->detach_device->nic = later_nic(life);
    command->detach_device->spec = life->spec;
    command->detach_device->hardware = life->hardware;
    return command;
}

static HostCommand *compose_stop(Life *life)
{
    HostCommand *command = command_new(life, HOST_COMMAND__COMMAND_STOP_DOMAIN, FALSE);
    command->stop_domain = ARENA_MSG(life->arena, stop_domain);
    command->stop_domain->mode = STOP_MODE_GRACEFUL_THEN_FORCED;
    return command;
}

static HostCommand *compose_delete(Life *life)
{
    HostCommand *command = command_new(life, HOST_COMMAND__COMMAND_DELETE_VOLUMES, FALSE);
    command->delete_volumes = ARENA_MSG(life->arena, delete_volumes);
    for (guint i = 0; i < LIFE_N_VOLUMES; i++) {
        ARENA_APPEND(life->arena, command->delete_volumes->n_volumes,
                     command->delete_volumes->volumes, life->volumes[i]);
    }
    return command;
}

static HostCommand *compose_forget(Life *life)
{
    HostCommand *command = command_new(life, HOST_COMMAND__COMMAND_FORGET_VM, FALSE);
    command->forget_vm = ARENA_MSG(life->arena, forget_vm);
    return command;
}

gboolean life_create_volumes(Life *life)
{
    return ask(life, compose_create, FALSE);
}

gboolean life_try_volumes(Life *life)
{
    return command_send(life, compose_create(life)) != NULL && life->broken == NULL;
}

gboolean life_start(Life *life)
{
    if (!ask(life, compose_start, FALSE)) {
        return FALSE;
    }
    gboolean runs =
        fault_host_runs(life->machine) && fault_host_epoch(life->machine) == life->epoch;
    if (!runs && life->fault.mode != FAULT_REBOOT) {
        break_with(life, "Started was reported, and no domain of its epoch runs");
    }
    return life->broken == NULL;
}

gboolean life_attach(Life *life)
{
    if (ask(life, compose_attach, TRUE) && life->fault.mode != FAULT_REBOOT &&
        !fault_host_has_nic(life->machine, NIC_LATER)) {
        break_with(life, "the NIC was reported as attached, and is not there");
    }
    return life->broken == NULL;
}

gboolean life_detach(Life *life)
{
    if (ask(life, compose_detach, TRUE) && fault_host_has_nic(life->machine, NIC_LATER)) {
        break_with(life, "the NIC was reported as detached, and is there");
    }
    return life->broken == NULL;
}

gboolean life_stop(Life *life)
{
    return ask(life, compose_stop, FALSE);
}

gboolean life_delete_volumes(Life *life)
{
    life->deleting = TRUE;
    return ask(life, compose_delete, FALSE);
}

gboolean life_forget(Life *life)
{
    return ask(life, compose_forget, FALSE);
}

gboolean life_guest_writes(Life *life)
{
    if (!fault_host_runs(life->machine) && !life_start(life)) {
        return FALSE;
    }
    g_autofree char *path = fault_host_nvram(life->machine);
    FILE *file = fopen(path, "r+");
    g_assert_nonnull(file);
    g_assert_cmpint(fseek(file, -GUEST_BYTES, SEEK_END), ==, 0);
    fprintf(file, "%0*u", GUEST_BYTES, life->commands->len);
    fclose(file);
    fault_files_wrote(life->files, path);
    ino_t before = life->nvram_inode;
    nvram_note(life);
    if (life->nvram_inode != before) {
        break_with(life, "I5: the guest has written to another file");
    }
    return life->broken == NULL;
}

/* ---- The world */

/* Everything below a folder, one a line; not what `except` begins. */
static void list_tree(const char *folder, GString *text)
{
    g_autoptr(GDir) open = g_dir_open(folder, 0, NULL);
    for (const char *name; open != NULL && (name = g_dir_read_name(open)) != NULL;) {
        g_autofree char *path = g_build_filename(folder, name, NULL);
        g_string_append_printf(text, "%s\n", path);
        if (!g_file_test(path, G_FILE_TEST_IS_SYMLINK)) {
            list_tree(path, text);
        }
    }
}

static void expect_empty(Life *life, const char *folder, const char *when)
{
    g_autoptr(GString) text = g_string_new(NULL);
    list_tree(folder, text);
    if (text->len > 0) {
        break_with(life, "I10: %s this is left: %s", when, text->str);
    }
}

/* The agent needs nothing more. */
static void settle(Life *life)
{
    pump(life);
    for (guint n = 1; n <= TICKS_MAX; n++) {
        const VbAgentVm *vm = the_vm(life);
        if (vm == NULL || (!vm->wants_look && vm->n_outbox == 0 && !vm->forgotten)) {
            return;
        }
        tick(life, n);
    }
    break_with(life, "I8: the agent never comes to rest");
}

static void expect_nothing_runs(Life *life, const char *when)
{
    g_autoptr(GString) text = g_string_new(NULL);
    settle(life);
    if (fault_host_runs(life->machine)) {
        break_with(life, "I10: %s a domain runs", when);
    }
    if (fault_host_ports(life->machine) > 0) {
        break_with(life, "I10: %s %u ports are left", when, fault_host_ports(life->machine));
    }
    expect_empty(life, life->config.run_dir, when);
    list_tree(life->folder, text);
    if (strstr(text->str, ".new\n") != NULL || strstr(text->str, ".bad\n") != NULL) {
        break_with(life, "I10: %s a temporary file is left: %s", when, text->str);
    }
}

gboolean life_check_stopped(Life *life)
{
    expect_nothing_runs(life, "after the stop");
    expect_nvram(life, "after the stop");
    for (guint i = 0; i < LIFE_N_VOLUMES; i++) {
        g_autofree char *path = path_of(life, life->volumes[i]);
        if (access(path, F_OK) != 0) {
            break_with(life, "I1: after the stop %s is gone", path);
        }
        expect_durable(life, path, "the VM is stopped");
    }
    return life->broken == NULL;
}

gboolean life_check_gone(Life *life)
{
    static const char *const folders[] = {"nvRam", "tpmState", "rootVolumes", "dataVolumes"};
    expect_nothing_runs(life, "at the end");
    for (gsize i = 0; i < G_N_ELEMENTS(folders); i++) {
        g_autofree char *path = g_build_filename(life->storage.path, folders[i], NULL);
        if (access(path, F_OK) == 0) {
            expect_empty(life, life->storage.path, "at the end");
        }
    }
    expect_empty(life, life->config.state_dir, "at the end");
    expect_empty(life, life->config.log_dir, "at the end");
    expect_empty(life, life->config.swtpm_dir, "at the end");
    return life->broken == NULL;
}

/* ---- From nothing */

static char *folder_in(Life *life, const char *name)
{
    char *path = arena_printf(life->arena, "%s/%s", life->folder, name);
    g_assert_cmpint(g_mkdir_with_parents(path, 0755), ==, 0);
    return path;
}

static void copy_file(Life *life, const char *from, const char *name)
{
    g_autofree char *path = g_build_filename(life->folder, name, NULL);
    g_autofree char *bytes = NULL;
    gsize size_bytes = 0;
    g_assert_true(g_file_get_contents(from, &bytes, &size_bytes, NULL));
    g_assert_true(g_file_set_contents(path, bytes, (gssize)size_bytes, NULL));
}

static Volume *volume_new(Life *life, VolumeType type, const char *kind, const char *suffix)
{
    Volume *volume = ARENA_MSG(life->arena, volume);
    volume->uuid = arena_printf(life->arena, "22222222-2222-4222-8222-%012d", type);
    volume->type = type;
    volume->storage = &life->storage.ref;
    volume->install_path = arena_printf(life->arena, "%s/acct-a/vol-%s/%s%s", kind, volume->uuid,
                                        volume->uuid, suffix);
    volume->capacity_bytes = MIB;
    return volume;
}

static void fill_volumes(Life *life)
{
    life->volumes[ROOT] = volume_new(life, VOLUME_TYPE_ROOT, "rootVolumes", ".qcow2");
    life->volumes[ROOT]->image = (char *)"base.raw";
    life->volumes[DATA] = volume_new(life, VOLUME_TYPE_DATA, "dataVolumes", ".qcow2");
    life->volumes[DATA]->disk_index = 1;
    life->volumes[DATA]->image = (char *)"base.raw";
    life->volumes[DATA]->image_mode = IMAGE_MODE_OVERLAY;
    life->volumes[NVRAM] = volume_new(life, VOLUME_TYPE_NV_RAM, "nvRam", ".fd");
    life->volumes[TPM] = volume_new(life, VOLUME_TYPE_TPM_STATE, "tpmState", "");
}

static void fill_spec(Life *life)
{
    VmSpec *spec = ARENA_MSG(life->arena, vm_spec);
    spec->name = (char *)"A guest";
    spec->platform = PLATFORM_LINUX;
    spec->firmware = FIRMWARE_UEFI;
    spec->machine = (char *)"pc-q35-7.2";
    spec->vcpus = 1;
    spec->memory_bytes = 32 * MIB;
    spec->storage = &life->storage.ref;
    spec->tpm = ARENA_MSG(life->arena, tpm_spec);
    spec->serial_console = TRUE;
    for (guint i = 0; i < 2; i++) {
        DiskSpec *disk = ARENA_MSG(life->arena, disk_spec);
        disk->type = i == 0 ? VOLUME_TYPE_ROOT : VOLUME_TYPE_DATA;
        disk->index = i;
        ARENA_APPEND(life->arena, spec->n_disks, spec->disks, disk);
    }
    NicSpec *nic = ARENA_MSG(life->arena, nic_spec);
    nic->index = NIC_AT_START;
    nic->type = NIC_TYPE_VHOST_USER;
    ARENA_APPEND(life->arena, spec->n_nics, spec->nics, nic);
    life->spec = spec;
}

static void fill_config(Life *life)
{
    char **dirs = arena_alloc(life->arena, 2 * sizeof(*dirs));
    VbHostConfig *config = &life->config;
    storage_ref__init(&life->storage.ref);
    life->storage.ref.name = (char *)"local1";
    life->storage.ref.type = STORAGE_TYPE_LOCAL;
    life->storage.path = folder_in(life, "pool");
    folder_in(life, "pool/images");
    folder_in(life, "bin");
    dirs[0] = folder_in(life, "firmware");
    copy_file(life, PLAIN_JSON, "firmware/60-plain.json");
    copy_file(life, PLAIN_JSON, "pool/images/base.raw");
    copy_file(life, "/dev/null", "bin/swtpm");
    copy_file(life, "/dev/null", "bin/swtpm_setup");
    g_setenv("PATH", arena_printf(life->arena, "%s/bin", life->folder), TRUE);
    config->host_uuid = (char *)HOST_UUID;
    config->run_dir = folder_in(life, "run");
    config->state_dir = folder_in(life, "state");
    config->log_dir = folder_in(life, "log");
    config->swtpm_dir = folder_in(life, "swtpm");
    config->domain_type = (char *)"qemu";
    config->firmware_dirs = dirs;
    config->ovs_bridge = (char *)"br0";
    config->qemu_user = (char *)g_get_user_name();
    config->ovs_group = arena_strdup(life->arena, getgrgid(getgid())->gr_name);
    config->max_queues = 1;
    config->storages = g_ptr_array_new();
    g_ptr_array_add(config->storages, &life->storage);
}

static gint64 now_ms(void *clock)
{
    return ((Life *)clock)->now_ms;
}

static void wait_ms(void *clock, gint64 duration_ms)
{
    ((Life *)clock)->now_ms += duration_ms;
}

Life *life_new(FaultMode mode, guint at)
{
    Life *life = g_new0(Life, 1);
    life_now = life;
    life->arena = arena_new();
    life->folder = g_dir_make_tmp("vb-XXXXXX", NULL);
    g_assert_nonnull(life->folder);
    fill_config(life);
    fill_volumes(life);
    fill_spec(life);
    life->now_ms = BEGIN_MS;
    life->commands = g_ptr_array_new();
    life->reports = g_ptr_array_new();
    life->fault = (Fault){.mode = mode, .at = at};
    life->files = fault_files_new(&life->fault, life->folder);
    life->machine = fault_host_new(&life->fault, life->files, &life->config, VM_UUID);
    fault_files_set_told(life->files, on_remove, on_rename, life);
    fault_host_set_told(life->machine, on_start, life);
    life->host = (VbHost){.config = &life->config,
                          .hypervisor = fault_host_hypervisor(life->machine),
                          .ports = fault_host_switch(life->machine),
                          .files = fault_files_vtable(life->files),
                          .failed_syncs = failed_syncs_new(),
                          .now_ms = now_ms,
                          .wait_ms = wait_ms,
                          .clock = life};
    return life;
}

static void remove_tree(const char *path)
{
    g_autoptr(GDir) open = NULL;
    if (!g_file_test(path, G_FILE_TEST_IS_SYMLINK)) {
        open = g_dir_open(path, 0, NULL);
    }
    for (const char *name; open != NULL && (name = g_dir_read_name(open)) != NULL;) {
        g_autofree char *below = g_build_filename(path, name, NULL);
        remove_tree(below);
    }
    g_remove(path);
}

void life_free(Life *life)
{
    agent_end(life);
    failed_syncs_free(life->host.failed_syncs);
    fault_host_free(life->machine);
    fault_files_free(life->files);
    remove_tree(life->folder);
    g_ptr_array_unref(life->config.storages);
    g_ptr_array_unref(life->commands);
    g_ptr_array_unref(life->reports);
    g_clear_pointer(&life->nvram, g_bytes_unref);
    arena_free(life->arena);
    g_free(life->folder);
    g_free(life->broken);
    g_free(life);
    life_now = NULL;
}
