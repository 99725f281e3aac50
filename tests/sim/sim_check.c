/* Those who watch: what the world tells is sorted here and judged by the other sim_check files.
 *
 * Records of one transaction are gathered and judged as one, before anything else is looked at: the
 * states that are compared with the world are always whole. It never changes the world, and draws
 * nothing: a run is the same with it and without. */
#include "tests/sim/sim_check.h"

#include <string.h>

#include "tests/sim/sim_story.h"

static void volume_free(void *data)
{
    CheckVolume *volume = data;
    g_free(volume->path);
    g_free(volume);
}

static void consumed_clear(void *data)
{
    CheckConsumed *consumed = data;
    g_free(consumed->group);
}

static void record_free(void *data)
{
    bus_record_free(data);
}

SimCheck *sim_check_new(SimWorld *world)
{
    const SimPlan *plan = world->plan;
    SimCheck *check = g_new0(SimCheck, 1);
    check->world = world;
    check->sim = world->sim;
    check->arena = arena_new();
    check->scratch = arena_new();
    check->vms = g_new0(CheckVm, plan->n_vms);
    for (guint i = 0; i < plan->n_vms; i++) {
        CheckVm *vm = &check->vms[i];
        vm->index = (int)i;
        vm->uuid = world->vm_uuids[i];
        vm->volumes = g_ptr_array_new();
        vm->starts = g_array_new(FALSE, FALSE, sizeof(CheckStart));
        vm->epochs_on = g_new0(guint64, plan->n_hosts);
        vm->taken_epochs = g_new0(guint64, plan->n_hosts);
    }
    check->volumes = g_hash_table_new_full(g_str_hash, g_str_equal, NULL, volume_free);
    check->counters = g_hash_table_new_full(g_int64_hash, g_int64_equal, g_free, g_free);
    check->requests = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, g_free);
    check->answered = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL);
    check->taken = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL);
    check->inputs = g_hash_table_new_full(g_int64_hash, g_int64_equal, g_free, record_free);
    check->next = g_array_new(FALSE, TRUE, sizeof(gint64));
    g_array_set_size(check->next, TOPIC_COUNT * plan->n_partitions);
    check->transaction.records = g_ptr_array_new_with_free_func(record_free);
    check->transaction.hosts = g_ptr_array_new_with_free_func(g_free);
    check->transaction.consumed = g_array_new(FALSE, FALSE, sizeof(CheckConsumed));
    g_array_set_clear_func(check->transaction.consumed, consumed_clear);
    check->host_ready_ms = g_new0(gint64, plan->n_hosts);
    return check;
}

void sim_check_free(SimCheck *check)
{
    for (guint i = 0; i < check->world->plan->n_vms; i++) {
        CheckVm *vm = &check->vms[i];
        g_clear_pointer(&vm->states[SERVICE_VM], g_bytes_unref);
        g_clear_pointer(&vm->states[SERVICE_VOLUME], g_bytes_unref);
        g_ptr_array_unref(vm->volumes);
        g_array_unref(vm->starts);
        g_free(vm->epochs_on);
        g_free(vm->taken_epochs);
    }
    g_array_unref(check->transaction.consumed);
    g_ptr_array_unref(check->transaction.hosts);
    g_ptr_array_unref(check->transaction.records);
    g_array_unref(check->next);
    g_hash_table_unref(check->inputs);
    g_hash_table_unref(check->taken);
    g_hash_table_unref(check->answered);
    g_hash_table_unref(check->requests);
    g_hash_table_unref(check->counters);
    g_hash_table_unref(check->volumes);
    g_free(check->host_ready_ms);
    g_free(check->vms);
    arena_free(check->scratch);
    arena_free(check->arena);
    g_free(check);
}

/* ---- Small things */

int check_host_index(const SimCheck *check, const char *host_uuid)
{
    for (guint i = 0; i < check->world->plan->n_hosts; i++) {
        if (strcmp(check->world->host_uuids[i], host_uuid) == 0) {
            return (int)i;
        }
    }
    return -1;
}

typedef struct {
    const char *vm_uuid;
    SimDomain *ret_domain;
    gboolean found;
} Search;

static void domain_compare(void *data, const SimDomain *domain)
{
    Search *search = data;
    if (strcmp(domain->vm_uuid, search->vm_uuid) == 0) {
        *search->ret_domain = *domain;
        search->found = TRUE;
    }
}

gboolean check_domain_find(SimCheck *check, guint host, const CheckVm *vm, SimDomain *ret_domain)
{
    Search search = {.vm_uuid = vm->uuid, .ret_domain = ret_domain};
    sim_host_each_domain(check->world->hosts[host], domain_compare, &search);
    return search.found;
}

gboolean check_is_forgetful(const CheckVm *vm, int host)
{
    return host >= 0 && (vm->forgetful >> host & 1) != 0;
}

gboolean check_path_volume(const char *path, char ret_uuid[UUID_TEXT_BYTES])
{
    const char *at = strstr(path, "/vol-");
    if (at == NULL || strlen(at) < strlen("/vol-") + UUID_TEXT_BYTES - 1) {
        return FALSE;
    }
    g_strlcpy(ret_uuid, at + strlen("/vol-"), UUID_TEXT_BYTES);
    return uuid_is_valid(ret_uuid);
}

void *check_unpack(SimCheck *check, const ProtobufCMessageDescriptor *descriptor, const void *bytes,
                   gsize size_bytes)
{
    return protobuf_c_message_unpack(descriptor, arena_allocator(check->arena, SIZE_MAX),
                                     size_bytes, bytes);
}

static CheckVm *vm_of(SimCheck *check, const void *key, gsize key_bytes)
{
    char uuid[UUID_TEXT_BYTES];
    if (key_bytes != UUID_TEXT_BYTES - 1) {
        return NULL;
    }
    memcpy(uuid, key, key_bytes);
    uuid[key_bytes] = '\0';
    int index = sim_world_vm_index(check->world, uuid);
    return index >= 0 ? &check->vms[index] : NULL;
}

/* ---- What is committed */

static gboolean is_input(VbTopic topic)
{
    return topic == TOPIC_VM_COMMANDS || topic == TOPIC_VM_REPORTS ||
           topic == TOPIC_VOLUME_EVENTS || topic == TOPIC_VOLUME_COMMANDS ||
           topic == TOPIC_VOLUME_REPORTS;
}

/* Kept until the service says that it has consumed it. */
static void input_take(SimCheck *check, const VbBusRecord *record)
{
    guint n = check->world->plan->n_partitions;
    gint64 next = g_array_index(check->next, gint64, record->topic * n + (guint)record->partition);
    sim_judge(SIM_I9, FALSE);
    if (record->offset < next) {
        sim_fail(check->sim, "I9", NULL,
                 "%s-%d@%" G_GINT64_FORMAT " became visible after its service had gone on to "
                 "%" G_GINT64_FORMAT ": nobody reads it",
                 topic_info(record->topic)->suffix, record->partition, record->offset, next);
        return;
    }
    guint64 key = check_input_key(record->topic, record->partition, record->offset);
    g_hash_table_insert(check->inputs, g_memdup2(&key, sizeof(key)), bus_record_copy(record));
}

static void record_take(SimCheck *check, const VbBusRecord *record, const char *host_uuid)
{
    CheckVm *vm = vm_of(check, record->key, record->key_bytes);
    if (is_input(record->topic)) {
        input_take(check, record);
    }
    if (vm == NULL) {
        return;
    }
    sim_world_touch(check->world, vm->uuid);
    if (record->topic == TOPIC_VM_STATE) {
        check_vm_state(check, vm, record);
    } else if (record->topic == TOPIC_VOLUME_STATE) {
        check_volume_state(check, vm, record);
    } else if (record->topic == TOPIC_HOST_COMMANDS) {
        check_host_command(check, vm, host_uuid, record);
    } else if (record->topic == TOPIC_VM_EVENTS) {
        check_vm_event(check, vm, record);
    } else if (record->topic == TOPIC_VOLUME_EVENTS) {
        check_volume_event(check, record);
    } else if (record->topic == TOPIC_VM_REPORTS || record->topic == TOPIC_VOLUME_REPORTS) {
        check_report(check, vm, record);
    }
}

/* States first: what goes out with them may be about what they record. */
static void transaction_judge(SimCheck *check)
{
    CheckTransaction *transaction = &check->transaction;
    if (transaction->number == 0) {
        return;
    }
    transaction->number = 0;
    check->n_judged++;
    check_replay(check, transaction);
    for (guint i = 0; i < transaction->records->len; i++) {
        const VbBusRecord *record = g_ptr_array_index(transaction->records, i);
        if (record->topic == TOPIC_VOLUME_EVENTS) {
            check_volume_end(check, record);
        }
    }
    for (int states = 1; states >= 0; states--) {
        for (guint i = 0; i < transaction->records->len; i++) {
            const VbBusRecord *record = g_ptr_array_index(transaction->records, i);
            if ((record->topic == TOPIC_VM_STATE || record->topic == TOPIC_VOLUME_STATE) ==
                states) {
                record_take(check, record, g_ptr_array_index(transaction->hosts, i));
            }
        }
    }
    g_ptr_array_set_size(transaction->records, 0);
    g_ptr_array_set_size(transaction->hosts, 0);
    g_array_set_size(transaction->consumed, 0);
    transaction->lost = 0;
    arena_reset(check->arena);
}

static void transaction_open(SimCheck *check, guint64 number)
{
    if (check->transaction.number != number) {
        transaction_judge(check);
        check->transaction.number = number;
    }
}

static void tell(SimCheck *check, const VbBusRecord *record, const char *host_uuid)
{
    if (sim_is_listened_to(check->sim)) {
        g_autofree char *sentence = sim_story_record(check->world, record, host_uuid);
        CheckVm *vm = vm_of(check, record->key, record->key_bytes);
        if (sentence != NULL) {
            sim_tell(check->sim, vm != NULL ? vm->uuid : NULL,
                     host_uuid != NULL ? "host.commands" : topic_info(record->topic)->suffix, "%s",
                     sentence);
        }
    }
}

void sim_check_committed(SimCheck *check, const VbBusRecord *record, const char *host_uuid,
                         guint64 transaction)
{
    transaction_open(check, transaction);
    tell(check, record, host_uuid);
    if (transaction == 0) {
        check->n_judged++;
        record_take(check, record, host_uuid);
        arena_reset(check->arena);
        return;
    }
    g_ptr_array_add(check->transaction.records, bus_record_copy(record));
    g_ptr_array_add(check->transaction.hosts, g_strdup(host_uuid));
}

void sim_check_consumed(SimCheck *check, const char *group, VbTopic topic, int partition,
                        gint64 next, guint64 transaction)
{
    if (transaction == 0) {
        return; /* An agent's: it is at least once, and its journal knows what it has done. */
    }
    transaction_open(check, transaction);
    CheckConsumed consumed = {
        .group = g_strdup(group), .topic = topic, .partition = partition, .next = next};
    g_array_append_val(check->transaction.consumed, consumed);
}

void sim_check_topic_deleted(SimCheck *check, const char *host_uuid)
{
    int host = check_host_index(check, host_uuid);
    for (guint i = 0; host >= 0 && i < check->world->plan->n_vms; i++) {
        check->vms[i].unheard |= G_GUINT64_CONSTANT(1) << host;
    }
}

void sim_check_lost(SimCheck *check, const char *host_uuid, guint64 transaction)
{
    int host = check_host_index(check, host_uuid);
    transaction_open(check, transaction);
    check->transaction.lost |= host >= 0 ? G_GUINT64_CONSTANT(1) << host : 0;
}

/* ---- The rounds */

static void ready_note(gint64 *since_ms, gboolean ready, gint64 now_ms)
{
    if (!ready) {
        *since_ms = 0;
    } else if (*since_ms == 0) {
        *since_ms = now_ms;
    }
}

/* Who is up, and since when: what must end by itself while it is calm is counted from there. */
static void readiness_look(SimCheck *check)
{
    SimWorld *world = check->world;
    gint64 now_ms = sim_now_ms(check->sim);
    gboolean all = TRUE;
    for (guint i = 0; i < world->plan->n_hosts; i++) {
        SimHost *host = world->hosts[i];
        ready_note(&check->host_ready_ms[i],
                   sim_host_is_up(host) && !sim_host_is_silent(host) &&
                       sim_host_agent(host) != NULL,
                   now_ms);
    }
    for (guint i = 0; i < 2 * world->plan->n_instances; i++) {
        all = all && sim_service_process(world->services[i]) != NULL;
    }
    ready_note(&check->services_ready_ms, all, now_ms);
    ready_note(&check->calm_ms, world->calm, now_ms);
}

void sim_check_step(SimCheck *check)
{
    transaction_judge(check);
    if (g_hash_table_size(check->world->touched) > 0) {
        for (guint i = 0; i < check->world->plan->n_vms; i++) {
            CheckVm *vm = &check->vms[i];
            if (g_hash_table_contains(check->world->touched, vm->uuid)) {
                check_volume_files(check, vm);
                check_domains(check, vm);
                check_nothing_runs(check, vm);
            }
        }
    }
    if (check->world->calm) {
        readiness_look(check);
        check_calm(check);
    }
}

void sim_check_world(SimCheck *check)
{
    transaction_judge(check);
    for (guint i = 0; i < check->world->plan->n_vms; i++) {
        check_volume_files(check, &check->vms[i]);
        check_nothing_runs(check, &check->vms[i]);
    }
    check_domains(check, NULL);
}

void sim_check_end(SimCheck *check)
{
    transaction_judge(check);
    check_replies_end(check);
    check_end(check);
}
