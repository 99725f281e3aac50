/* test_sim_check: those who watch the simulator see what is broken. Each invariant is broken here by
 * hand, in a world of two hosts and two VMs that is nothing but tables; one that is sound is not
 * complained of. What a service commits is made by the real loop and core, and then spoiled. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <string.h>

#include "common/base/error.h"
#include "common/bus/step_loop.h"
#include "common/runtime/log.h"
#include "services/vm-service/vm_core.h"
#include "tests/lib/bus_memory.h"
#include "tests/sim/sim_check.h"
#include "tests/sim/sim_model.h"

enum { STORE_BYTES = 4096, HEADERS_BYTES = 100 };

#define NVRAM    "77777777-0000-4000-8000-000000000001"
#define NVRAM_2  "77777777-0000-4000-8000-000000000002"
#define TPM      "77777777-0000-4000-8000-000000000003"
#define REQUEST  "11111111-0000-4000-8000-000000000001"
#define REQUEST2 "11111111-0000-4000-8000-000000000002"
#define STORAGE  "/storage/local-0"

static const char *const vm_uuids[] = {"aaaaaaaa-0000-4000-8000-000000000000",
                                       "aaaaaaaa-0000-4000-8000-000000000001"};
static const char *const host_uuids[] = {"bbbbbbbb-0000-4000-8000-000000000000",
                                         "bbbbbbbb-0000-4000-8000-000000000001"};

/* ---- The world: what the checks look at is what these tables say */

typedef struct {
    SimFile file;
    char *path;
    guint8 bytes[STORE_BYTES];
    guint64 counter;
} FakeFile;

struct SimHost {
    const char *uuid;
    gboolean down;
    GPtrArray *files; /* of FakeFile */
    GArray *domains;  /* of SimDomain */
    GArray *ports;    /* of guint: NICs of VM 0 */
};

typedef struct {
    SimWorld world;
    SimPlan *plan;
    VbArena *arena;
    SimHost hosts[2];
    SimHost *host_list[2];
    SimService *services[2];
    GPtrArray *committed; /* of VbBusRecord: by hand. */
    gint64 offset;
    guint64 n_transactions;
    /* What the real loop writes. */
    VbMemoryBus *memory;
    VbLoop *loop;
    VbLoopConfig config;
    gboolean (*produce)(VbBus *bus, const VbBusMessage *message, GError **error);
    GPtrArray *written; /* of VbBusRecord */
} Fake;

static Fake *fake; /* Of the test that runs. */

int sim_world_vm_index(const SimWorld *world, const char *vm_uuid)
{
    (void)world;
    return strcmp(vm_uuid, vm_uuids[0]) == 0 ? 0 : strcmp(vm_uuid, vm_uuids[1]) == 0 ? 1 : -1;
}

SimHost *sim_world_host(const SimWorld *world, const char *host_uuid)
{
    (void)world;
    return strcmp(host_uuid, host_uuids[0]) == 0   ? &fake->hosts[0]
           : strcmp(host_uuid, host_uuids[1]) == 0 ? &fake->hosts[1]
                                                   : NULL;
}

void sim_world_touch(SimWorld *world, const char *vm_uuid)
{
    g_hash_table_add(world->touched, (gpointer)vm_uuids[sim_world_vm_index(world, vm_uuid)]);
}

const char *sim_world_name(const SimWorld *world, const char *uuid)
{
    (void)world;
    return uuid;
}

const char *sim_host_uuid(const SimHost *host)
{
    return host->uuid;
}

SimProcess *sim_host_agent(SimHost *host)
{
    return (SimProcess *)(void *)host; /* Only asked whether there is one. */
}

SimProcess *sim_service_process(SimService *service)
{
    return (SimProcess *)(void *)service;
}

gint64 sim_host_now_ms(const SimHost *host)
{
    (void)host;
    return sim_now_ms(fake->world.sim);
}

gboolean sim_host_is_up(const SimHost *host)
{
    return !host->down;
}

gboolean sim_host_is_silent(const SimHost *host)
{
    return host->down;
}

const char *sim_host_storage_path(SimHost *host, const StorageRef *storage)
{
    (void)host;
    return storage != NULL ? STORAGE : NULL;
}

/* Hosts have read all there is. */
gint64 sim_broker_host_offset(SimBroker *broker, const char *host_uuid);
gint64 sim_broker_host_offset(SimBroker *broker, const char *host_uuid)
{
    (void)broker;
    (void)host_uuid;
    return G_MAXINT32;
}

const VbBusRecord *sim_broker_read(SimBroker *broker, VbTopic topic, const char *host_uuid,
                                   int partition, gint64 *offset)
{
    (void)broker;
    (void)host_uuid;
    (void)partition;
    while ((guint)*offset < fake->committed->len) {
        const VbBusRecord *record = g_ptr_array_index(fake->committed, (guint)(*offset)++);
        if (record->topic == topic) {
            return record;
        }
    }
    return NULL;
}

void sim_host_each_domain(SimHost *host, SimEachDomain each, void *data)
{
    for (guint i = 0; i < host->domains->len; i++) {
        each(data, &g_array_index(host->domains, SimDomain, i));
    }
}

void sim_host_each_port(SimHost *host, SimEachPort each, void *data)
{
    for (guint i = 0; i < host->ports->len; i++) {
        each(data, vm_uuids[0], g_array_index(host->ports, guint, i));
    }
}

void sim_host_each_file(SimHost *host, const char *folder, SimEachFile each, void *data)
{
    assert_string_equal(folder, "");
    for (guint i = 0; i < host->files->len; i++) {
        each(data, &((FakeFile *)g_ptr_array_index(host->files, i))->file);
    }
}

gboolean sim_host_find_file(SimHost *host, const char *path, SimFile *ret_file)
{
    for (guint i = 0; i < host->files->len; i++) {
        const FakeFile *file = g_ptr_array_index(host->files, i);
        if (strcmp(file->path, path) == 0) {
            *ret_file = file->file;
            return TRUE;
        }
    }
    return FALSE;
}

gboolean sim_nvram_counter(const guint8 *bytes, gsize size_bytes, guint64 *ret_counter)
{
    const FakeFile *file = (const FakeFile *)(const void *)(bytes - offsetof(FakeFile, bytes));
    *ret_counter = file->counter;
    return size_bytes == STORE_BYTES && bytes[40] == '_';
}

/* An empty variable store: nothing but its two headers. */
static void store_write(guint8 *bytes)
{
    static const guint8 system_nv_data[] = {0x8d, 0x2b, 0xf1, 0xff, 0x96, 0x76, 0x8b, 0x4c,
                                            0xa9, 0x85, 0x27, 0x47, 0x07, 0x5b, 0x4f, 0x50};
    static const guint8 authenticated[] = {0x78, 0x2c, 0xf3, 0xaa, 0x7b, 0x94, 0x9a, 0x43,
                                           0xa1, 0x80, 0x2e, 0x14, 0x4e, 0xc3, 0x77, 0x92};
    guint16 sum = 0;
    memset(bytes, 0, HEADERS_BYTES);
    memset(bytes + HEADERS_BYTES, 0xff, STORE_BYTES - HEADERS_BYTES);
    memcpy(bytes + 16, system_nv_data, sizeof(system_nv_data));
    bytes[33] = STORE_BYTES >> 8;
    memcpy(bytes + 40, "_FVH", 4);
    bytes[48] = 72;
    bytes[55] = 2;
    for (guint i = 0; i < 72; i += 2) {
        sum = (guint16)(sum + (bytes[i] | bytes[i + 1] << 8));
    }
    bytes[50] = (guint8)-sum;
    bytes[51] = (guint8)((guint16)-sum >> 8);
    memcpy(bytes + 72, authenticated, sizeof(authenticated));
    bytes[88] = (guint8)(STORE_BYTES - 72);
    bytes[89] = (guint8)((STORE_BYTES - 72) >> 8);
    bytes[92] = 0x5a;
    bytes[93] = 0xfe;
}

static void file_free(void *data)
{
    FakeFile *file = data;
    g_free(file->path);
    g_free(file);
}

static FakeFile *file_add(guint host, const char *path, guint64 inode)
{
    FakeFile *file = g_new0(FakeFile, 1);
    file->path = g_strdup(path);
    store_write(file->bytes);
    file->file = (SimFile){.path = file->path,
                           .inode = inode,
                           .bytes = file->bytes,
                           .size_bytes = STORE_BYTES,
                           .length_bytes = STORE_BYTES,
                           .durable = TRUE};
    g_ptr_array_add(fake->hosts[host].files, file);
    return file;
}

static FakeFile *file_of(guint host, guint64 inode)
{
    for (guint i = 0; i < fake->hosts[host].files->len; i++) {
        FakeFile *file = g_ptr_array_index(fake->hosts[host].files, i);
        if (file->file.inode == inode) {
            return file;
        }
    }
    fail_msg("host %u has no file %" G_GUINT64_FORMAT, host, inode);
    return NULL;
}

static void files_clear(guint host)
{
    g_ptr_array_set_size(fake->hosts[host].files, 0);
}

/* ---- What is said */

static void broken(const char *rule)
{
    sim_check_step(fake->world.check);
    if (!sim_has_failed(fake->world.sim)) {
        fail_msg("nothing is broken, not even %s", rule);
    }
    if (strcmp(sim_failure_rule(fake->world.sim), rule) != 0) {
        fail_msg("not %s but %s: %s", rule, sim_failure_rule(fake->world.sim),
                 sim_failure_text(fake->world.sim));
    }
}

static void sound(void)
{
    sim_check_step(fake->world.check);
    if (sim_has_failed(fake->world.sim)) {
        fail_msg("%s: %s", sim_failure_rule(fake->world.sim), sim_failure_text(fake->world.sim));
    }
}

static void time_passes(gint64 duration_ms)
{
    Sim *sim = fake->world.sim;
    sim_run(sim, sim_now_us(sim) + duration_ms * SIM_MS, 1, NULL, NULL);
}

static void commit(VbTopic topic, guint vm, const char *host_uuid, const void *message)
{
    gsize size_bytes = message != NULL ? protobuf_c_message_get_packed_size(message) : 0;
    guint8 *bytes = message != NULL ? arena_alloc(fake->arena, size_bytes) : NULL;
    if (message != NULL) {
        protobuf_c_message_pack(message, bytes);
    }
    VbBusRecord record = {.topic = topic,
                          .offset = fake->offset++,
                          .key = vm_uuids[vm],
                          .key_bytes = UUID_TEXT_BYTES - 1,
                          .value = bytes,
                          .value_bytes = size_bytes};
    g_ptr_array_add(fake->committed, bus_record_copy(&record));
    sim_check_committed(fake->world.check, &record, host_uuid, 0);
}

static void vm_is_at(guint vm, VmStatus status, guint64 epoch, guint host, gboolean under_way)
{
    StateRecord *state = ARENA_MSG(fake->arena, state_record);
    state->body_case = STATE_RECORD__BODY_VM;
    state->vm = ARENA_MSG(fake->arena, vm_record);
    state->version = (guint64)fake->offset + 1;
    state->vm->spec = ARENA_MSG(fake->arena, vm_spec);
    state->vm->status = status;
    state->vm->epoch = epoch;
    state->vm->host_uuid = (char *)host_uuids[host];
    if (under_way) {
        state->vm->operation = ARENA_MSG(fake->arena, operation);
        state->vm->operation->phase = OPERATION_PHASE_STARTING_DOMAIN;
        state->deadline_ms = sim_now_ms(fake->world.sim) + 60000;
    }
    commit(TOPIC_VM_STATE, vm, NULL, state);
}

static Volume *volume_make(VolumeType type, const char *uuid, VolumeStatus status)
{
    Volume *volume = ARENA_MSG(fake->arena, volume);
    volume->uuid = (char *)uuid;
    volume->type = type;
    volume->format = VOLUME_FORMAT_RAW;
    volume->status = status;
    volume->storage = ARENA_MSG(fake->arena, storage_ref);
    volume->host_uuid = (char *)host_uuids[0];
    volume->generation = 1;
    volume->retained_ms = status == VOLUME_STATUS_RETAINED ? sim_now_ms(fake->world.sim) : 0;
    volume->actual_size_bytes = STORE_BYTES;
    volume->install_path = arena_printf(fake->arena, "nvRam/acct-vm-0/vol-%s/%s.fd", uuid, uuid);
    return volume;
}

/* The path of that volume's file. */
static const char *path_of(const char *uuid)
{
    return arena_printf(fake->arena, STORAGE "/nvRam/acct-vm-0/vol-%s/%s.fd", uuid, uuid);
}

/* A VM's whole volume record; `b` may be NULL, and both. */
static void volumes_are(guint vm, Volume *a, Volume *b)
{
    StateRecord *state = ARENA_MSG(fake->arena, state_record);
    state->body_case = STATE_RECORD__BODY_VOLUMES;
    state->volumes = ARENA_MSG(fake->arena, volume_record);
    state->step_ms = sim_now_ms(fake->world.sim);
    state->version = (guint64)fake->offset + 1;
    for (guint i = 0; i < 2; i++) {
        Volume *volume = i == 0 ? a : b;
        if (volume != NULL) {
            ARENA_APPEND(fake->arena, state->volumes->n_volumes, state->volumes->volumes, volume);
        }
    }
    commit(TOPIC_VOLUME_STATE, vm, NULL, a != NULL ? state : NULL);
}

static void nvram_is(VolumeStatus status)
{
    volumes_are(0, volume_make(VOLUME_TYPE_NV_RAM, NVRAM, status), NULL);
}

static void start_is_sent(guint64 epoch, VolumeStatus status, gint64 expires_in_ms)
{
    HostCommand *command = ARENA_MSG(fake->arena, host_command);
    StartDomain *start = ARENA_MSG(fake->arena, start_domain);
    command->vm_uuid = (char *)vm_uuids[0];
    command->epoch = epoch;
    command->expires_ms = sim_now_ms(fake->world.sim) + expires_in_ms;
    command->command_case = HOST_COMMAND__COMMAND_START_DOMAIN;
    command->start_domain = start;
    start->nvram_needed = TRUE;
    ARENA_APPEND(fake->arena, start->n_volumes, start->volumes,
                 volume_make(VOLUME_TYPE_NV_RAM, NVRAM, status));
    commit(TOPIC_HOST_COMMANDS, 0, host_uuids[0], command);
}

static SimDomain domain_of(guint vm, guint host, guint64 epoch, guint64 inode)
{
    return (SimDomain){.vm_uuid = vm_uuids[vm],
                       .host_uuid = host_uuids[host],
                       .ours = TRUE,
                       .epoch = epoch,
                       .asked_ms = sim_now_ms(fake->world.sim),
                       .nvram_path = path_of(NVRAM),
                       .nvram_inode = inode};
}

static void domain_is_there(guint host, guint64 epoch)
{
    SimDomain domain = domain_of(0, host, epoch, 7);
    g_array_append_val(fake->hosts[host].domains, domain);
}

static void domain_appears(guint host, const SimDomain *domain)
{
    g_array_append_vals(fake->hosts[host].domains, domain, 1);
    sim_check_domain_created(fake->world.check, &fake->hosts[host], domain);
}

static void domain_is_made(guint64 epoch)
{
    SimDomain domain = domain_of(0, 0, epoch, 7);
    domain_appears(0, &domain);
}

static void domain_ends(guint64 epoch)
{
    SimDomain domain = domain_of(0, 0, epoch, 7);
    g_array_set_size(fake->hosts[0].domains, 0);
    sim_check_domain_ended(fake->world.check, &fake->hosts[0], &domain);
}

static void guest_boots(guint64 epoch, guint64 counter_found)
{
    SimDomain domain = domain_of(0, 0, epoch, 7);
    sim_check_guest_booted(fake->world.check, &fake->hosts[0], &domain, counter_found);
    sim_model_booted(fake->world.model, vm_uuids[0], counter_found);
    file_of(0, 7)->counter = counter_found + 1;
}

/* A VM with a variable store that is Ready, as file 7 of host 0. */
static FakeFile *given_store(void)
{
    FakeFile *file = file_add(0, path_of(NVRAM), 7);
    vm_is_at(0, VM_STATUS_STOPPED, 0, 0, FALSE);
    nvram_is(VOLUME_STATUS_READY);
    sound();
    return file;
}

/* The same, started at that epoch; its domain is not made yet. */
static FakeFile *given_start(guint64 epoch)
{
    FakeFile *file = given_store();
    vm_is_at(0, VM_STATUS_STARTING, epoch, 0, TRUE);
    start_is_sent(epoch, VOLUME_STATUS_READY, 30000);
    sound();
    return file;
}

/* The same, running. */
static FakeFile *given_running(guint64 epoch)
{
    FakeFile *file = given_start(epoch);
    domain_is_made(epoch);
    guest_boots(epoch, 0);
    vm_is_at(0, VM_STATUS_RUNNING, epoch, 0, FALSE);
    sound();
    return file;
}

/* ---- I1, I2, I4, I5: volumes */

static void test_acknowledged_without_its_file(void **state)
{
    (void)state;
    nvram_is(VOLUME_STATUS_READY);
    broken("I1");
}

static void test_acknowledged_and_not_durable(void **state)
{
    (void)state;
    file_add(0, path_of(NVRAM), 7)->file.durable = FALSE;
    nvram_is(VOLUME_STATUS_READY);
    broken("I1");
}

static void test_file_is_lost_later(void **state)
{
    (void)state;
    given_store();
    files_clear(0);
    sim_world_touch(&fake->world, vm_uuids[0]);
    broken("I1");
}

static void test_file_that_somebody_deleted_is_excused(void **state)
{
    (void)state;
    given_store();
    files_clear(0);
    sim_check_file_unlinked(fake->world.check, &fake->hosts[0], path_of(NVRAM), 7, FALSE);
    sim_world_touch(&fake->world, vm_uuids[0]);
    sound();
}

static void test_file_of_another_size(void **state)
{
    (void)state;
    FakeFile *file = given_store();
    file->file.length_bytes--;
    sim_world_touch(&fake->world, vm_uuids[0]);
    broken("I1");
}

static void test_volume_leaves_the_record(void **state)
{
    (void)state;
    given_store();
    volumes_are(0, NULL, NULL);
    broken("I1");
}

static void test_volume_comes_back_from_its_deletion(void **state)
{
    (void)state;
    given_store();
    nvram_is(VOLUME_STATUS_DELETING);
    sound();
    nvram_is(VOLUME_STATUS_READY);
    broken("I1");
}

static void test_doomed_for_no_reason(void **state)
{
    (void)state;
    fake->world.settings.nvram_retain_ms = 60000;
    given_store();
    nvram_is(VOLUME_STATUS_DELETING);
    broken("I1");
}

static void test_doomed_when_its_retention_has_ended(void **state)
{
    (void)state;
    fake->world.settings.nvram_retain_ms = 60000;
    given_store();
    nvram_is(VOLUME_STATUS_RETAINED);
    time_passes(60000);
    nvram_is(VOLUME_STATUS_DELETING);
    sound();
}

static void test_doomed_before_its_retention_has_ended(void **state)
{
    (void)state;
    fake->world.settings.nvram_retain_ms = 60000;
    given_store();
    nvram_is(VOLUME_STATUS_RETAINED);
    time_passes(59999);
    nvram_is(VOLUME_STATUS_DELETING);
    broken("I1");
}

static void test_tpm_state_is_lost(void **state)
{
    (void)state;
    StateRecord *running = ARENA_MSG(fake->arena, state_record);
    vm_is_at(0, VM_STATUS_RUNNING, 1, 0, FALSE);
    volumes_are(0, volume_make(VOLUME_TYPE_TPM_STATE, TPM, VOLUME_STATUS_READY), NULL);
    sound();
    running->body_case = STATE_RECORD__BODY_VM;
    running->version = 100;
    running->vm = ARENA_MSG(fake->arena, vm_record);
    running->vm->spec = ARENA_MSG(fake->arena, vm_spec);
    running->vm->status = VM_STATUS_RUNNING;
    running->vm->epoch = 1;
    running->vm->hardware = ARENA_MSG(fake->arena, hardware);
    DeviceAddress *tpm = ARENA_MSG(fake->arena, device_address);
    tpm->device = (char *)"tpm/0";
    ARENA_APPEND(fake->arena, running->vm->hardware->n_addresses, running->vm->hardware->addresses,
                 tpm);
    commit(TOPIC_VM_STATE, 0, NULL, running);
    broken("I1");
}

static void test_two_live_stores(void **state)
{
    (void)state;
    file_add(0, path_of(NVRAM), 7);
    volumes_are(0, volume_make(VOLUME_TYPE_NV_RAM, NVRAM, VOLUME_STATUS_READY),
                volume_make(VOLUME_TYPE_NV_RAM, NVRAM_2, VOLUME_STATUS_CREATING));
    broken("I2");
}

static void test_retained_store_beside_a_live_one(void **state)
{
    (void)state;
    file_add(0, path_of(NVRAM), 7);
    volumes_are(0, volume_make(VOLUME_TYPE_NV_RAM, NVRAM, VOLUME_STATUS_RETAINED),
                volume_make(VOLUME_TYPE_NV_RAM, NVRAM_2, VOLUME_STATUS_CREATING));
    sound();
}

static void test_one_volume_of_two_vms(void **state)
{
    (void)state;
    given_store();
    volumes_are(1, volume_make(VOLUME_TYPE_NV_RAM, NVRAM, VOLUME_STATUS_READY), NULL);
    broken("I2");
}

static void test_agent_deletes_what_is_ready(void **state)
{
    (void)state;
    given_store();
    sim_check_file_unlinked(fake->world.check, &fake->hosts[0], path_of(NVRAM), 7, TRUE);
    broken("I4");
}

static void test_agent_deletes_what_is_doomed(void **state)
{
    (void)state;
    given_store();
    nvram_is(VOLUME_STATUS_DELETING);
    files_clear(0);
    sim_check_file_unlinked(fake->world.check, &fake->hosts[0], path_of(NVRAM), 7, TRUE);
    sound();
}

static void test_agent_deletes_under_a_domain(void **state)
{
    (void)state;
    given_running(1);
    nvram_is(VOLUME_STATUS_DELETING);
    sound();
    sim_check_file_unlinked(fake->world.check, &fake->hosts[0], path_of(NVRAM), 7, TRUE);
    broken("I4");
}

static void test_deletion_is_asked_for_what_is_ready(void **state)
{
    (void)state;
    given_store();
    HostCommand *command = ARENA_MSG(fake->arena, host_command);
    command->command_case = HOST_COMMAND__COMMAND_DELETE_VOLUMES;
    command->delete_volumes = ARENA_MSG(fake->arena, delete_volumes);
    ARENA_APPEND(fake->arena, command->delete_volumes->n_volumes, command->delete_volumes->volumes,
                 volume_make(VOLUME_TYPE_NV_RAM, NVRAM, VOLUME_STATUS_READY));
    commit(TOPIC_HOST_COMMANDS, 0, host_uuids[0], command);
    broken("I4");
}

static void test_ready_is_made_anew(void **state)
{
    (void)state;
    given_store();
    nvram_is(VOLUME_STATUS_CREATING);
    broken("I5");
}

static void test_creation_is_asked_for_what_is_ready(void **state)
{
    (void)state;
    given_store();
    HostCommand *command = ARENA_MSG(fake->arena, host_command);
    command->command_case = HOST_COMMAND__COMMAND_CREATE_VOLUMES;
    command->create_volumes = ARENA_MSG(fake->arena, create_volumes);
    ARENA_APPEND(fake->arena, command->create_volumes->n_volumes, command->create_volumes->volumes,
                 volume_make(VOLUME_TYPE_NV_RAM, NVRAM, VOLUME_STATUS_CREATING));
    commit(TOPIC_HOST_COMMANDS, 0, host_uuids[0], command);
    broken("I5");
}

static void test_another_file_in_its_place(void **state)
{
    (void)state;
    FakeFile *file = given_store();
    file->file.inode = 8;
    sim_world_touch(&fake->world, vm_uuids[0]);
    broken("I5");
}

/* ---- I3, I5, I6: domains */

static void test_sound_life(void **state)
{
    (void)state;
    given_running(1);
    domain_ends(1);
    vm_is_at(0, VM_STATUS_STOPPED, 1, 0, FALSE);
    vm_is_at(0, VM_STATUS_STARTING, 2, 0, TRUE);
    start_is_sent(2, VOLUME_STATUS_READY, 30000);
    domain_is_made(2);
    guest_boots(2, 1);
    sound();
}

static void test_domain_that_nobody_asked_for(void **state)
{
    (void)state;
    given_start(1);
    domain_is_made(2);
    broken("I3");
}

static void test_domain_on_another_path(void **state)
{
    (void)state;
    given_start(1);
    SimDomain domain = domain_of(0, 0, 1, 7);
    domain.nvram_path = "/tmp/another.fd";
    domain_appears(0, &domain);
    broken("I3");
}

static void test_domain_without_its_file(void **state)
{
    (void)state;
    given_start(1);
    files_clear(0);
    domain_is_made(1);
    broken("I3");
}

static void test_domain_on_a_damaged_store(void **state)
{
    (void)state;
    FakeFile *file = given_start(1);
    file->bytes[50]++;
    domain_is_made(1);
    broken("I3");
}

static void test_domain_on_a_doomed_store(void **state)
{
    (void)state;
    given_start(1);
    nvram_is(VOLUME_STATUS_DELETING);
    domain_is_made(1);
    broken("I3");
}

/* However long it takes from the agent's call to the domain. */
static void test_domain_that_was_asked_for_in_time(void **state)
{
    (void)state;
    given_start(1);
    time_passes(29999);
    SimDomain domain = domain_of(0, 0, 1, 7);
    time_passes(10 * 60 * 1000);
    domain_appears(0, &domain);
    sound();
}

static void test_domain_that_was_asked_for_too_late(void **state)
{
    (void)state;
    given_start(1);
    time_passes(30000);
    domain_is_made(1);
    broken("I3");
}

static void host_is_given_up(gint64 after_ms)
{
    VmEvent *event = ARENA_MSG(fake->arena, vm_event);
    time_passes(after_ms);
    event->vm_uuid = (char *)vm_uuids[0];
    event->epoch = 1;
    event->time_ms = sim_now_ms(fake->world.sim);
    event->event_case = VM_EVENT__EVENT_STATUS_CHANGED;
    event->status_changed = ARENA_MSG(fake->arena, status_changed);
    event->status_changed->from = VM_STATUS_STARTING;
    event->status_changed->to = VM_STATUS_UNKNOWN;
    event->status_changed->cause = CAUSE_HOST_SILENT;
    commit(TOPIC_VM_EVENTS, 0, NULL, event);
}

static void test_host_is_given_up_in_time(void **state)
{
    (void)state;
    given_start(1);
    host_is_given_up(30000 + 62000);
    sound();
}

static void test_host_is_given_up_too_early(void **state)
{
    (void)state;
    given_start(1);
    host_is_given_up(30000 + 61999);
    broken("I3");
}

static void test_start_with_a_half_made_store(void **state)
{
    (void)state;
    vm_is_at(0, VM_STATUS_STARTING, 1, 0, TRUE);
    start_is_sent(1, VOLUME_STATUS_CREATING, 30000);
    broken("I3");
}

static void test_guest_finds_a_template(void **state)
{
    (void)state;
    given_running(1);
    guest_boots(1, 0);
    broken("I5");
}

static void test_domain_on_another_file(void **state)
{
    (void)state;
    given_start(1);
    SimDomain domain = domain_of(0, 0, 1, 8);
    domain_appears(0, &domain);
    broken("I5");
}

/* What was reported as stopped is on disk; what came later may be lost with the power. */
static void given_synced(FakeFile *file, guint64 counter)
{
    HostReport *report = ARENA_MSG(fake->arena, host_report);
    SimDomain domain = domain_of(0, 0, 1, 7);
    sim_check_guest_wrote(fake->world.check, &fake->hosts[0], &domain, counter);
    sim_model_wrote(fake->world.model, vm_uuids[0], counter);
    file->counter = counter;
    domain_ends(1);
    report->vm_uuid = (char *)vm_uuids[0];
    report->epoch = 1;
    report->report_case = HOST_REPORT__REPORT_DOMAIN_STOPPED;
    report->domain_stopped = ARENA_MSG(fake->arena, domain_stopped);
    commit(TOPIC_VM_REPORTS, 0, NULL, report);
    vm_is_at(0, VM_STATUS_STARTING, 2, 0, TRUE);
    start_is_sent(2, VOLUME_STATUS_READY, 30000);
    domain_is_made(2);
    guest_boots(2, counter);
    sound();
}

/* Whether a guest runs or not. */
static void test_store_is_written_by_nobody(void **state)
{
    (void)state;
    FakeFile *file = given_running(1);
    file->counter = 0;
    vm_is_at(0, VM_STATUS_RUNNING, 1, 0, FALSE);
    broken("I5");
}

static void test_store_at_rest_is_written_by_nobody(void **state)
{
    (void)state;
    FakeFile *file = given_running(1);
    domain_ends(1);
    vm_is_at(0, VM_STATUS_STOPPED, 1, 0, FALSE);
    sound();
    file->counter = 0;
    vm_is_at(0, VM_STATUS_STOPPED, 1, 0, FALSE);
    broken("I5");
}

static void test_power_loss_takes_what_was_not_synced(void **state)
{
    (void)state;
    FakeFile *file = given_running(1);
    given_synced(file, 5);
    file->counter = 5;
    sim_check_power_lost(fake->world.check, &fake->hosts[0]);
    sound();
}

static void test_power_loss_takes_what_was_synced(void **state)
{
    (void)state;
    FakeFile *file = given_running(1);
    given_synced(file, 5);
    file->counter = 4;
    sim_check_power_lost(fake->world.check, &fake->hosts[0]);
    broken("I5");
}

static void test_at_rest_while_its_domain_is_there(void **state)
{
    (void)state;
    given_running(1);
    vm_is_at(0, VM_STATUS_STOPPED, 1, 0, FALSE);
    broken("I6");
}

static void test_domain_is_made_at_rest(void **state)
{
    (void)state;
    given_start(1);
    vm_is_at(0, VM_STATUS_STOPPED, 1, 0, FALSE);
    sound();
    domain_is_made(1);
    broken("I6");
}

/* As a host's own events are: nothing tells it but the world itself. */
static void test_domain_shows_up_at_rest(void **state)
{
    (void)state;
    guint64 n_judged = sim_judged(SIM_I6);
    vm_is_at(0, VM_STATUS_STOPPED, 1, 0, FALSE);
    sound();
    assert_int_equal(sim_judged(SIM_I6), n_judged);
    domain_is_there(1, 1);
    sim_world_touch(&fake->world, vm_uuids[0]);
    broken("I6");
    assert_true(sim_judged(SIM_I6) > n_judged);
}

static void test_older_epoch(void **state)
{
    (void)state;
    given_start(1);
    vm_is_at(0, VM_STATUS_STARTING, 2, 0, TRUE);
    start_is_sent(2, VOLUME_STATUS_READY, 30000);
    domain_is_made(2);
    domain_ends(2);
    sound();
    domain_is_made(1);
    broken("I6");
}

static void test_epoch_of_the_record_goes_back(void **state)
{
    (void)state;
    vm_is_at(0, VM_STATUS_STOPPED, 3, 0, FALSE);
    vm_is_at(0, VM_STATUS_STOPPED, 2, 0, FALSE);
    broken("I6");
}

static void test_two_domains_on_one_store(void **state)
{
    (void)state;
    given_running(1);
    SimDomain domain = domain_of(1, 1, 1, 7);
    domain_appears(1, &domain);
    broken("I6");
}

static void test_second_start_of_one_epoch(void **state)
{
    (void)state;
    given_start(1);
    start_is_sent(1, VOLUME_STATUS_READY, 30000);
    broken("I6");
}

static void test_start_from_unknown(void **state)
{
    (void)state;
    VmEvent *event = ARENA_MSG(fake->arena, vm_event);
    event->vm_uuid = (char *)vm_uuids[0];
    event->event_case = VM_EVENT__EVENT_STATUS_CHANGED;
    event->status_changed = ARENA_MSG(fake->arena, status_changed);
    event->status_changed->from = VM_STATUS_CRASHED;
    event->status_changed->to = VM_STATUS_STARTING;
    commit(TOPIC_VM_EVENTS, 0, NULL, event);
    sound();
    event->status_changed->from = VM_STATUS_UNKNOWN;
    commit(TOPIC_VM_EVENTS, 0, NULL, event);
    broken("I6");
}

/* ---- I6: what a host reads too late */

static void command_is_taken(HostCommand__CommandCase kind, guint64 epoch, const char *operation_id,
                             gint64 expires_in_ms)
{
    HostCommand *command = ARENA_MSG(fake->arena, host_command);
    command->vm_uuid = (char *)vm_uuids[0];
    command->operation_id = (char *)operation_id;
    command->epoch = epoch;
    command->expires_ms = expires_in_ms != 0 ? sim_now_ms(fake->world.sim) + expires_in_ms : 0;
    command->command_case = kind;
    sim_check_taken(fake->world.check, &fake->hosts[0], command);
}

static void report_comes(HostReport__ReportCase kind, guint64 epoch, const char *operation_id,
                         ErrorCode code)
{
    HostReport *report = ARENA_MSG(fake->arena, host_report);
    report->vm_uuid = (char *)vm_uuids[0];
    report->host_uuid = (char *)host_uuids[0];
    report->operation_id = (char *)operation_id;
    report->epoch = epoch;
    report->report_case = kind;
    report->volumes_created = ARENA_MSG(fake->arena, volumes_created);
    if (kind == HOST_REPORT__REPORT_DOMAIN_STOPPED) {
        report->domain_stopped = ARENA_MSG(fake->arena, domain_stopped);
    }
    report->error = code != ERROR_CODE_UNSPECIFIED ? error_make(fake->arena, code, "no") : NULL;
    commit(TOPIC_VM_REPORTS, 0, NULL, report);
}

static void test_expired_command_is_done(void **state)
{
    (void)state;
    command_is_taken(HOST_COMMAND__COMMAND_CREATE_VOLUMES, 1, REQUEST, -3000);
    report_comes(HOST_REPORT__REPORT_VOLUMES_CREATED, 1, REQUEST, ERROR_CODE_EXPIRED);
    sound();
    report_comes(HOST_REPORT__REPORT_VOLUMES_CREATED, 1, REQUEST, ERROR_CODE_UNSPECIFIED);
    broken("I6");
}

static void test_command_that_was_read_in_time(void **state)
{
    (void)state;
    command_is_taken(HOST_COMMAND__COMMAND_CREATE_VOLUMES, 1, REQUEST, 1000);
    time_passes(60000);
    command_is_taken(HOST_COMMAND__COMMAND_CREATE_VOLUMES, 1, REQUEST, -59000); /* Once more. */
    report_comes(HOST_REPORT__REPORT_VOLUMES_CREATED, 1, REQUEST, ERROR_CODE_UNSPECIFIED);
    sound();
}

static void test_start_that_was_read_too_late(void **state)
{
    (void)state;
    given_start(1);
    time_passes(33000);
    command_is_taken(HOST_COMMAND__COMMAND_START_DOMAIN, 1, "", -3000);
    domain_is_made(1);
    broken("I6");
}

static void test_older_creation_is_done(void **state)
{
    (void)state;
    command_is_taken(HOST_COMMAND__COMMAND_START_DOMAIN, 2, "a start", 1000);
    command_is_taken(HOST_COMMAND__COMMAND_DELETE_VOLUMES, 1, "a deletion", 0);
    report_comes(HOST_REPORT__REPORT_VOLUMES_DELETED, 1, "a deletion", ERROR_CODE_UNSPECIFIED);
    sound();
    command_is_taken(HOST_COMMAND__COMMAND_CREATE_VOLUMES, 1, REQUEST, 1000);
    report_comes(HOST_REPORT__REPORT_VOLUMES_CREATED, 1, REQUEST, ERROR_CODE_STALE_EPOCH);
    sound();
    report_comes(HOST_REPORT__REPORT_VOLUMES_CREATED, 1, REQUEST, ERROR_CODE_UNSPECIFIED);
    broken("I6");
}

static void test_epochs_are_forgotten_with_the_vm(void **state)
{
    (void)state;
    command_is_taken(HOST_COMMAND__COMMAND_FORGET_VM, 2, "the end", 0);
    command_is_taken(HOST_COMMAND__COMMAND_CREATE_VOLUMES, 1, REQUEST, 1000);
    report_comes(HOST_REPORT__REPORT_VOLUMES_CREATED, 1, REQUEST, ERROR_CODE_UNSPECIFIED);
    sound();
}

static void test_older_stop_of_a_newer_domain(void **state)
{
    (void)state;
    given_running(2);
    command_is_taken(HOST_COMMAND__COMMAND_STOP_DOMAIN, 1, REQUEST, 0);
    report_comes(HOST_REPORT__REPORT_DOMAIN_STOPPED, 1, REQUEST, ERROR_CODE_STALE_EPOCH);
    sound();
    report_comes(HOST_REPORT__REPORT_DOMAIN_STOPPED, 1, REQUEST, ERROR_CODE_UNSPECIFIED);
    broken("I6");
}

/* ---- I8: replies, and what must end */

static void request_is_sent(const char *request_id, VmCommand__CommandCase kind)
{
    VmCommand *command = ARENA_MSG(fake->arena, vm_command);
    command->vm_uuid = (char *)vm_uuids[0];
    command->request_id = (char *)request_id;
    command->command_case = kind;
    command->get_vm = ARENA_MSG(fake->arena, get_vm); /* All members are empty enough. */
    if (kind == VM_COMMAND__COMMAND_STOP_VM) {
        command->stop_vm = ARENA_MSG(fake->arena, stop_vm);
    } else if (kind == VM_COMMAND__COMMAND_EXPUNGE_VM) {
        command->expunge_vm = ARENA_MSG(fake->arena, expunge_vm);
    } else if (kind == VM_COMMAND__COMMAND_RESET_NVRAM) {
        command->reset_nvram = ARENA_MSG(fake->arena, reset_nvram);
    }
    sim_check_requested(fake->world.check, command, 0);
    sim_model_requested(fake->world.model, command);
}

static const VmEvent *reply_make(const char *request_id, gboolean repeated)
{
    VmEvent *event = ARENA_MSG(fake->arena, vm_event);
    event->vm_uuid = (char *)vm_uuids[0];
    event->version = 1;
    event->event_case = VM_EVENT__EVENT_REPLY;
    event->reply = ARENA_MSG(fake->arena, reply);
    event->reply->request_id = (char *)request_id;
    event->reply->repeated = repeated;
    return event;
}

static void reply_comes(const char *request_id, gboolean repeated)
{
    const VmEvent *event = reply_make(request_id, repeated);
    commit(TOPIC_VM_EVENTS, 0, NULL, event);
    sim_model_replied(fake->world.model, event);
}

static void test_reply_twice(void **state)
{
    (void)state;
    request_is_sent(REQUEST, VM_COMMAND__COMMAND_STOP_VM);
    request_is_sent(REQUEST, VM_COMMAND__COMMAND_STOP_VM);
    reply_comes(REQUEST, FALSE);
    reply_comes(REQUEST, TRUE);
    sound();
    reply_comes(REQUEST, FALSE);
    broken("I8");
}

static void test_read_is_answered_each_time(void **state)
{
    (void)state;
    request_is_sent(REQUEST, VM_COMMAND__COMMAND_GET_VM);
    request_is_sent(REQUEST, VM_COMMAND__COMMAND_GET_VM);
    reply_comes(REQUEST, FALSE);
    reply_comes(REQUEST, FALSE);
    sound();
}

static void test_reply_that_nobody_asked_for(void **state)
{
    (void)state;
    reply_comes(REQUEST, FALSE);
    broken("I8");
}

static void test_repeat_of_what_was_sent_once(void **state)
{
    (void)state;
    request_is_sent(REQUEST, VM_COMMAND__COMMAND_STOP_VM);
    reply_comes(REQUEST, FALSE);
    reply_comes(REQUEST, TRUE);
    broken("I8");
}

static void test_request_without_a_reply(void **state)
{
    (void)state;
    request_is_sent(REQUEST, VM_COMMAND__COMMAND_STOP_VM);
    reply_comes(REQUEST, FALSE);
    request_is_sent(REQUEST2, VM_COMMAND__COMMAND_STOP_VM);
    sim_check_end(fake->world.check);
    broken("I8");
}

static void test_under_way_without_an_operation(void **state)
{
    (void)state;
    vm_is_at(0, VM_STATUS_STARTING, 1, 0, FALSE);
    broken("I8");
}

static void test_deadline_passes_in_calm(void **state)
{
    (void)state;
    vm_is_at(0, VM_STATUS_STARTING, 1, 0, TRUE);
    fake->world.calm = TRUE;
    sound();
    time_passes(60000);
    sound();
    time_passes(10 * 60 * 1000);
    broken("I8");
}

static void test_unknown_stays_in_calm(void **state)
{
    (void)state;
    vm_is_at(0, VM_STATUS_UNKNOWN, 1, 0, FALSE);
    fake->hosts[0].down = TRUE;
    fake->world.calm = TRUE;
    sound();
    time_passes(10 * 60 * 1000);
    sound();
    fake->hosts[0].down = FALSE;
    sound();
    time_passes(61000);
    broken("I8");
}

/* ---- I10: what is left */

static void port_add(guint host, guint nic_index)
{
    g_array_append_val(fake->hosts[host].ports, nic_index);
}

static void test_end_is_sound(void **state)
{
    (void)state;
    given_running(1);
    sim_check_end(fake->world.check);
    sound();
}

static void test_domain_of_a_stopped_vm(void **state)
{
    (void)state;
    vm_is_at(0, VM_STATUS_STOPPED, 1, 0, FALSE);
    domain_is_there(0, 1);
    sim_check_end(fake->world.check);
    broken("I10");
}

static void test_running_without_a_domain(void **state)
{
    (void)state;
    vm_is_at(0, VM_STATUS_RUNNING, 1, 0, FALSE);
    sim_check_end(fake->world.check);
    broken("I10");
}

static void test_running_elsewhere_too(void **state)
{
    (void)state;
    given_running(1);
    domain_is_there(1, 1);
    sim_check_end(fake->world.check);
    broken("I10");
}

static void test_port_of_a_stopped_vm(void **state)
{
    (void)state;
    vm_is_at(0, VM_STATUS_STOPPED, 1, 0, FALSE);
    port_add(0, 2);
    sim_check_end(fake->world.check);
    broken("I10");
}

static void test_temporary_file_is_left(void **state)
{
    (void)state;
    given_store();
    file_add(0, STORAGE "/nvRam/acct-vm-0/vol-" NVRAM "/." NVRAM ".fd.new", 9);
    sim_check_end(fake->world.check);
    broken("I10");
}

static void test_file_without_a_record(void **state)
{
    (void)state;
    file_add(0, path_of(NVRAM_2), 9);
    sim_check_end(fake->world.check);
    broken("I10");
}

static void test_journal_of_an_expunged_vm(void **state)
{
    (void)state;
    vm_is_at(0, VM_STATUS_EXPUNGED, 1, 0, FALSE);
    file_add(0, "/var/lib/virtbus/state/aaaaaaaa-0000-4000-8000-000000000000.vm", 9);
    sim_check_end(fake->world.check);
    broken("I10");
}

static void test_volume_of_an_expunged_vm(void **state)
{
    (void)state;
    given_store();
    vm_is_at(0, VM_STATUS_EXPUNGED, 1, 0, FALSE);
    sim_check_end(fake->world.check);
    broken("I10");
}

static void test_doomed_volume_of_an_expunged_vm(void **state)
{
    (void)state;
    given_store();
    nvram_is(VOLUME_STATUS_DELETING);
    vm_is_at(0, VM_STATUS_EXPUNGED, 1, 0, FALSE);
    sim_check_end(fake->world.check);
    sound();
}

static void test_retained_for_ever(void **state)
{
    (void)state;
    given_store();
    nvram_is(VOLUME_STATUS_RETAINED);
    fake->world.calm = TRUE;
    sound();
    time_passes(fake->world.settings.nvram_retain_ms + 50000);
    sim_check_end(fake->world.check);
    sound();
    time_passes(20000);
    sim_check_end(fake->world.check);
    broken("I10");
}

static void test_forgetful_host(void **state)
{
    static const char journal[] = "/var/lib/virtbus/state/aaaaaaaa-0000-4000-8000-000000000000.vm";
    (void)state;
    sim_check_file_harmed(fake->world.check, &fake->hosts[0], journal, 9);
    vm_is_at(0, VM_STATUS_RUNNING, 1, 0, FALSE);
    port_add(0, 2);
    sim_check_end(fake->world.check);
    sound();
    port_add(1, 2);
    sim_check_end(fake->world.check);
    broken("I10");
}

/* ---- What is excused, until when */

/* A domain at rest is excused on a host whose journal is gone: until it has started the VM again. */
static void test_forgetful_host_starts_again(void **state)
{
    static const char journal[] = "/var/lib/virtbus/state/aaaaaaaa-0000-4000-8000-000000000000.vm";
    (void)state;
    given_running(1);
    sim_check_file_harmed(fake->world.check, &fake->hosts[0], journal, 9);
    guint64 n_excused = sim_excused(SIM_I6);
    vm_is_at(0, VM_STATUS_STOPPED, 1, 0, FALSE);
    sound();
    assert_true(sim_excused(SIM_I6) > n_excused);
    vm_is_at(0, VM_STATUS_RUNNING, 1, 0, FALSE);
    vm_is_at(0, VM_STATUS_STOPPED, 1, 0, FALSE);
    sound(); /* That domain was made before the harm. */
    domain_ends(1);
    vm_is_at(0, VM_STATUS_STARTING, 2, 0, TRUE);
    start_is_sent(2, VOLUME_STATUS_READY, 30000);
    domain_is_made(2);
    vm_is_at(0, VM_STATUS_RUNNING, 2, 0, FALSE);
    sound();
    vm_is_at(0, VM_STATUS_STOPPED, 2, 0, FALSE);
    broken("I6");
}

static void given_left_journal(void)
{
    vm_is_at(0, VM_STATUS_EXPUNGED, 1, 0, FALSE);
    file_add(0, "/var/lib/virtbus/state/aaaaaaaa-0000-4000-8000-000000000000.vm", 9);
}

static void test_stranger_excuses_until_the_vm_is_forgotten(void **state)
{
    (void)state;
    given_left_journal();
    report_comes(HOST_REPORT__REPORT_VM_FORGOTTEN, 1, "", ERROR_CODE_FOREIGN_DOMAIN);
    check_end(fake->world.check);
    sound();
    report_comes(HOST_REPORT__REPORT_VM_FORGOTTEN, 1, "", ERROR_CODE_UNSPECIFIED);
    check_end(fake->world.check);
    broken("I10");
}

static void test_lost_commands_excuse_until_the_vm_is_forgotten(void **state)
{
    (void)state;
    given_left_journal();
    sim_check_topic_deleted(fake->world.check, host_uuids[0]);
    check_end(fake->world.check);
    sound();
    report_comes(HOST_REPORT__REPORT_VM_FORGOTTEN, 1, "", ERROR_CODE_UNSPECIFIED);
    check_end(fake->world.check);
    broken("I10");
}

/* What a guest finds in a damaged store is what the next one has to find. */
static void test_counter_is_known_from_the_next_boot_on(void **state)
{
    (void)state;
    given_running(1);
    sim_check_file_harmed(fake->world.check, &fake->hosts[0], path_of(NVRAM), 7);
    SimDomain domain = domain_of(0, 0, 1, 7);
    sim_check_guest_booted(fake->world.check, &fake->hosts[0], &domain, 40);
    sim_check_guest_booted(fake->world.check, &fake->hosts[0], &domain, 41);
    sound();
    sim_check_guest_booted(fake->world.check, &fake->hosts[0], &domain, 41);
    broken("I5");
}

/* ---- The model */

static void test_model_reads_the_records_itself(void **state)
{
    (void)state;
    request_is_sent(REQUEST, VM_COMMAND__COMMAND_EXPUNGE_VM);
    reply_comes(REQUEST, FALSE);
    sim_model_end(fake->world.model);
    sound();
    vm_is_at(0, VM_STATUS_STOPPED, 1, 0, FALSE);
    sim_model_end(fake->world.model);
    broken("model");
}

static void test_model_knows_what_is_done_again(void **state)
{
    (void)state;
    vm_is_at(0, VM_STATUS_STOPPED, 1, 0, FALSE);
    request_is_sent(REQUEST2, VM_COMMAND__COMMAND_CREATE_VM);
    request_is_sent(REQUEST2, VM_COMMAND__COMMAND_CREATE_VM);
    reply_comes(REQUEST2, FALSE);
    request_is_sent(REQUEST, VM_COMMAND__COMMAND_EXPUNGE_VM);
    reply_comes(REQUEST, FALSE);
    sim_model_replied(fake->world.model, reply_make(REQUEST2, FALSE));
    sim_model_end(fake->world.model);
    sound();
}

/* A guest boots before or behind a reset: until the client has read the answer, nobody can tell. */
static void test_model_waits_for_the_client(void **state)
{
    (void)state;
    given_running(1);
    request_is_sent(REQUEST, VM_COMMAND__COMMAND_RESET_NVRAM);
    guest_boots(1, 1);
    reply_comes(REQUEST, FALSE);
    guest_boots(1, 2);
    sound();
}

static void test_model_counts_on_without_a_reset(void **state)
{
    (void)state;
    FakeFile *file = given_running(1);
    /* Another file, under another volume: no rule about one file sees it. */
    domain_ends(1);
    SimDomain domain = domain_of(0, 0, 1, 99);
    (void)file;
    sim_check_guest_booted(fake->world.check, &fake->hosts[0], &domain, 0);
    sound();
    sim_model_booted(fake->world.model, vm_uuids[0], 0);
    broken("model");
}

static void test_model_resets(void **state)
{
    (void)state;
    given_running(1);
    request_is_sent(REQUEST, VM_COMMAND__COMMAND_RESET_NVRAM);
    reply_comes(REQUEST, FALSE);
    guest_boots(1, 1);
    broken("model");
}

static void test_model_knows_that_nothing_runs(void **state)
{
    (void)state;
    vm_is_at(0, VM_STATUS_STOPPED, 1, 0, FALSE);
    request_is_sent(REQUEST, VM_COMMAND__COMMAND_STOP_VM);
    reply_comes(REQUEST, FALSE);
    domain_is_there(0, 1);
    sim_model_end(fake->world.model);
    broken("model");
}

/* ---- I7, I9: what the real loop commits, and then spoiled */

static gboolean produce_and_keep(VbBus *bus, const VbBusMessage *message, GError **error)
{
    VbBusRecord record = {.topic = message->topic,
                          .offset = fake->offset++,
                          .key = message->key,
                          .key_bytes = message->key_bytes,
                          .value = message->value,
                          .value_bytes = message->value_bytes,
                          .headers = message->headers,
                          .n_headers = message->n_headers};
    g_ptr_array_add(fake->written, bus_record_copy(&record));
    return fake->produce(bus, message, error);
}

/* VM 1 is asked for something; what comes of it is kept, and not told yet. The command's offset. */
static gint64 given_transaction(VmCommand__CommandCase kind)
{
    VmCommand *command = ARENA_MSG(fake->arena, vm_command);
    command->vm_uuid = (char *)vm_uuids[1];
    command->request_id = (char *)REQUEST;
    command->command_case = kind;
    if (kind == VM_COMMAND__COMMAND_CREATE_VM) {
        command->create_vm = ARENA_MSG(fake->arena, create_vm);
        command->create_vm->spec = ARENA_MSG(fake->arena, vm_spec);
        command->create_vm->spec->name = (char *)"a";
        command->create_vm->spec->vcpus = 1;
        command->create_vm->spec->memory_bytes = 64 << 20;
    } else {
        command->get_vm = ARENA_MSG(fake->arena, get_vm);
    }
    gsize size_bytes = vm_command__get_packed_size(command);
    guint8 *bytes = arena_alloc(fake->arena, size_bytes);
    vm_command__pack(command, bytes);
    VbBusMessage message = {.topic = TOPIC_VM_COMMANDS,
                            .key = vm_uuids[1],
                            .key_bytes = UUID_TEXT_BYTES - 1,
                            .value = bytes,
                            .value_bytes = size_bytes};
    gint64 offset = memory_bus_append(fake->memory, &message);
    VbBusRecord record = *(const VbBusRecord *)g_ptr_array_index(
        memory_bus_log(fake->memory, TOPIC_VM_COMMANDS, NULL, 0), (guint)offset);
    sim_check_requested(fake->world.check, command, offset);
    sim_check_committed(fake->world.check, &record, NULL, 0);
    g_ptr_array_set_size(fake->written, 0);
    for (guint i = 0; i < 3 && fake->written->len == 0; i++) {
        g_autoptr(GError) error = NULL;
        assert_true(loop_turn(fake->loop, 0, &error));
    }
    assert_true(fake->written->len >= 2);
    return offset;
}

static void tell_transaction(gint64 next)
{
    guint64 number = ++fake->n_transactions;
    for (guint i = 0; i < fake->written->len; i++) {
        sim_check_committed(fake->world.check, g_ptr_array_index(fake->written, i), NULL, number);
    }
    sim_check_consumed(fake->world.check, "virtbus.vm-service", TOPIC_VM_COMMANDS, 0, next, number);
}

static VbBusRecord *written_of(VbTopic topic)
{
    for (guint i = 0; i < fake->written->len; i++) {
        VbBusRecord *record = g_ptr_array_index(fake->written, i);
        if (record->topic == topic) {
            return record;
        }
    }
    fail_msg("nothing was written to that topic");
    return NULL;
}

static void test_transaction_is_sound(void **state)
{
    (void)state;
    tell_transaction(given_transaction(VM_COMMAND__COMMAND_CREATE_VM) + 1);
    sound();
    assert_int_equal(fake->world.check->n_replayed, 1);
}

static void test_state_differs(void **state)
{
    (void)state;
    gint64 offset = given_transaction(VM_COMMAND__COMMAND_CREATE_VM);
    VbBusRecord *record = written_of(TOPIC_VM_STATE);
    ((guint8 *)record->value)[record->value_bytes - 1] ^= 1;
    tell_transaction(offset + 1);
    broken("I7");
}

static void test_output_differs(void **state)
{
    (void)state;
    gint64 offset = given_transaction(VM_COMMAND__COMMAND_CREATE_VM);
    VbBusRecord *record = written_of(TOPIC_VM_EVENTS);
    ((guint8 *)record->value)[record->value_bytes - 1] ^= 1;
    tell_transaction(offset + 1);
    broken("I7");
}

static void test_output_is_missing(void **state)
{
    (void)state;
    gint64 offset = given_transaction(VM_COMMAND__COMMAND_CREATE_VM);
    g_ptr_array_remove(fake->written, written_of(TOPIC_VM_EVENTS));
    tell_transaction(offset + 1);
    broken("I7");
}

static void test_state_is_missing(void **state)
{
    (void)state;
    gint64 offset = given_transaction(VM_COMMAND__COMMAND_CREATE_VM);
    g_ptr_array_remove(fake->written, written_of(TOPIC_VM_STATE));
    tell_transaction(offset + 1);
    broken("I7");
}

static void test_journal_is_missing(void **state)
{
    (void)state;
    gint64 offset = given_transaction(VM_COMMAND__COMMAND_GET_VM);
    g_ptr_array_set_size(fake->written, 0);
    tell_transaction(offset + 1);
    broken("I9");
}

static void test_step_without_its_offset(void **state)
{
    (void)state;
    tell_transaction(given_transaction(VM_COMMAND__COMMAND_CREATE_VM));
    broken("I9");
}

static void test_transaction_twice(void **state)
{
    (void)state;
    gint64 offset = given_transaction(VM_COMMAND__COMMAND_CREATE_VM);
    tell_transaction(offset + 1);
    sound();
    tell_transaction(offset + 1);
    broken("I9");
}

static void test_offsets_go_back(void **state)
{
    (void)state;
    gint64 offset = given_transaction(VM_COMMAND__COMMAND_CREATE_VM);
    tell_transaction(offset + 1);
    g_ptr_array_set_size(fake->written, 0);
    tell_transaction(offset);
    broken("I9");
}

static void test_record_behind_the_offsets(void **state)
{
    (void)state;
    gint64 offset = given_transaction(VM_COMMAND__COMMAND_CREATE_VM);
    tell_transaction(offset + 1);
    sound();
    fake->offset = offset;
    commit(TOPIC_VM_COMMANDS, 1, NULL, NULL);
    broken("I9");
}

/* ---- The frame */

static void bus_build(void)
{
    fake->memory = memory_bus_new(&vm_service, 1);
    memory_bus_set_now(fake->memory, sim_now_ms(fake->world.sim));
    fake->config = (VbLoopConfig){.service = &vm_service,
                                  .settings = &fake->world.settings,
                                  .prefix = "virtbus",
                                  .group_id = "virtbus.vm-service",
                                  .instance_id = "i1",
                                  .n_partitions = 1};
    VbBus *bus = memory_bus(fake->memory);
    fake->produce = bus->produce;
    bus->produce = produce_and_keep;
    fake->written = g_ptr_array_new_with_free_func((GDestroyNotify)bus_record_free);
    fake->loop = loop_new(bus, &fake->config);
    memory_bus_gain(fake->memory, 0);
}

static int set_up(void **state)
{
    (void)state;
    log_start("test", VB_LOG_ERROR + 1, VB_LOG_TEXT);
    fake = g_new0(Fake, 1);
    fake->arena = arena_new();
    fake->plan = sim_plan_new(1, 0);
    fake->plan->n_vms = G_N_ELEMENTS(vm_uuids);
    fake->plan->n_hosts = G_N_ELEMENTS(host_uuids);
    fake->plan->n_partitions = 1;
    fake->plan->n_instances = 1;
    SimWorld *world = &fake->world;
    world->plan = fake->plan;
    world->sim = sim_new(1);
    settings__init(&world->settings);
    world->settings.start_timeout_ms = 60 * 1000;
    world->settings.allowed_skew_ms = 2000;
    world->vm_uuids = g_malloc0_n(G_N_ELEMENTS(vm_uuids), UUID_TEXT_BYTES);
    world->host_uuids = g_malloc0_n(G_N_ELEMENTS(host_uuids), UUID_TEXT_BYTES);
    for (guint i = 0; i < 2; i++) {
        g_strlcpy(world->vm_uuids[i], vm_uuids[i], UUID_TEXT_BYTES);
        g_strlcpy(world->host_uuids[i], host_uuids[i], UUID_TEXT_BYTES);
        SimHost *host = &fake->hosts[i];
        host->uuid = host_uuids[i];
        host->files = g_ptr_array_new_with_free_func(file_free);
        host->domains = g_array_new(FALSE, FALSE, sizeof(SimDomain));
        host->ports = g_array_new(FALSE, FALSE, sizeof(guint));
        fake->host_list[i] = host;
        fake->services[i] = (SimService *)(void *)fake; /* Only asked whether there is one. */
    }
    world->hosts = fake->host_list;
    world->services = fake->services;
    world->touched = g_hash_table_new(g_str_hash, g_str_equal);
    fake->committed = g_ptr_array_new_with_free_func((GDestroyNotify)bus_record_free);
    world->check = sim_check_new(world);
    world->model = sim_model_new(world);
    bus_build();
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    loop_free(fake->loop);
    memory_bus_free(fake->memory);
    g_ptr_array_unref(fake->written);
    g_ptr_array_unref(fake->committed);
    for (guint i = 0; i < 2; i++) {
        g_ptr_array_unref(fake->hosts[i].files);
        g_array_unref(fake->hosts[i].domains);
        g_array_unref(fake->hosts[i].ports);
    }
    sim_check_free(fake->world.check);
    sim_model_free(fake->world.model);
    g_hash_table_unref(fake->world.touched);
    g_free(fake->world.vm_uuids);
    g_free(fake->world.host_uuids);
    sim_free(fake->world.sim);
    sim_plan_free(fake->plan);
    arena_free(fake->arena);
    g_clear_pointer(&fake, g_free);
    return 0;
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

static const struct CMUnitTest of_volumes_and_domains[] = {
    TEST(test_acknowledged_without_its_file),
    TEST(test_acknowledged_and_not_durable),
    TEST(test_file_is_lost_later),
    TEST(test_file_that_somebody_deleted_is_excused),
    TEST(test_file_of_another_size),
    TEST(test_volume_leaves_the_record),
    TEST(test_volume_comes_back_from_its_deletion),
    TEST(test_doomed_for_no_reason),
    TEST(test_doomed_when_its_retention_has_ended),
    TEST(test_doomed_before_its_retention_has_ended),
    TEST(test_tpm_state_is_lost),
    TEST(test_two_live_stores),
    TEST(test_retained_store_beside_a_live_one),
    TEST(test_one_volume_of_two_vms),
    TEST(test_agent_deletes_what_is_ready),
    TEST(test_agent_deletes_what_is_doomed),
    TEST(test_agent_deletes_under_a_domain),
    TEST(test_deletion_is_asked_for_what_is_ready),
    TEST(test_ready_is_made_anew),
    TEST(test_creation_is_asked_for_what_is_ready),
    TEST(test_another_file_in_its_place),
    TEST(test_sound_life),
    TEST(test_domain_that_nobody_asked_for),
    TEST(test_domain_on_another_path),
    TEST(test_domain_without_its_file),
    TEST(test_domain_on_a_damaged_store),
    TEST(test_domain_on_a_doomed_store),
    TEST(test_domain_that_was_asked_for_in_time),
    TEST(test_domain_that_was_asked_for_too_late),
    TEST(test_host_is_given_up_in_time),
    TEST(test_host_is_given_up_too_early),
    TEST(test_start_with_a_half_made_store),
    TEST(test_guest_finds_a_template),
    TEST(test_domain_on_another_file),
    TEST(test_store_is_written_by_nobody),
    TEST(test_store_at_rest_is_written_by_nobody),
    TEST(test_power_loss_takes_what_was_not_synced),
    TEST(test_power_loss_takes_what_was_synced),
    TEST(test_at_rest_while_its_domain_is_there),
    TEST(test_domain_is_made_at_rest),
    TEST(test_domain_shows_up_at_rest),
    TEST(test_older_epoch),
    TEST(test_epoch_of_the_record_goes_back),
    TEST(test_two_domains_on_one_store),
    TEST(test_second_start_of_one_epoch),
    TEST(test_start_from_unknown),
    TEST(test_expired_command_is_done),
    TEST(test_command_that_was_read_in_time),
    TEST(test_start_that_was_read_too_late),
    TEST(test_older_creation_is_done),
    TEST(test_epochs_are_forgotten_with_the_vm),
    TEST(test_older_stop_of_a_newer_domain),
};

static const struct CMUnitTest of_all_else[] = {
    TEST(test_reply_twice),
    TEST(test_read_is_answered_each_time),
    TEST(test_reply_that_nobody_asked_for),
    TEST(test_repeat_of_what_was_sent_once),
    TEST(test_request_without_a_reply),
    TEST(test_under_way_without_an_operation),
    TEST(test_deadline_passes_in_calm),
    TEST(test_unknown_stays_in_calm),
    TEST(test_end_is_sound),
    TEST(test_domain_of_a_stopped_vm),
    TEST(test_running_without_a_domain),
    TEST(test_running_elsewhere_too),
    TEST(test_port_of_a_stopped_vm),
    TEST(test_temporary_file_is_left),
    TEST(test_file_without_a_record),
    TEST(test_journal_of_an_expunged_vm),
    TEST(test_volume_of_an_expunged_vm),
    TEST(test_doomed_volume_of_an_expunged_vm),
    TEST(test_retained_for_ever),
    TEST(test_forgetful_host),
    TEST(test_forgetful_host_starts_again),
    TEST(test_stranger_excuses_until_the_vm_is_forgotten),
    TEST(test_lost_commands_excuse_until_the_vm_is_forgotten),
    TEST(test_counter_is_known_from_the_next_boot_on),
    TEST(test_model_counts_on_without_a_reset),
    TEST(test_model_reads_the_records_itself),
    TEST(test_model_knows_what_is_done_again),
    TEST(test_model_waits_for_the_client),
    TEST(test_model_resets),
    TEST(test_model_knows_that_nothing_runs),
    TEST(test_transaction_is_sound),
    TEST(test_state_differs),
    TEST(test_output_differs),
    TEST(test_output_is_missing),
    TEST(test_state_is_missing),
    TEST(test_journal_is_missing),
    TEST(test_step_without_its_offset),
    TEST(test_transaction_twice),
    TEST(test_offsets_go_back),
    TEST(test_record_behind_the_offsets),
};

int main(void)
{
    int failed = cmocka_run_group_tests(of_volumes_and_domains, NULL, NULL);
    return failed + cmocka_run_group_tests(of_all_else, NULL, NULL);
}
