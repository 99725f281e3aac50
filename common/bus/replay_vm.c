/* The recorded states of VMs: where a VM begins when its beginning is not recorded, and where it
 * goes on after a difference.
 *
 * Compaction takes away a prefix of a VM's states: of those that it has looked at it keeps the
 * last, and all that came later. So once one is there, none behind it is missing. */
#include <string.h>

#include "common/base/message.h"
#include "common/base/uuid.h"
#include "common/bus/replay_private.h"
#include "common/bus/validate.h"

static void vm_free(gpointer data)
{
    ReplayVm *vm = data;
    g_ptr_array_free(vm->states, TRUE);
    g_free(vm->uuid);
    g_free(vm);
}

gboolean replay_is_in_the_middle(const Replay *replay)
{
    return replay->journals == NULL || replay->journals->source->begin > 0;
}

gboolean replay_vm_is_wanted(const Replay *replay, const char *uuid)
{
    return replay->config->vm_uuid == NULL || g_strcmp0(replay->config->vm_uuid, uuid) == 0;
}

StateRecord *replay_state(Replay *replay, const VbBusRecord *record)
{
    if (record->value == NULL) {
        return NULL;
    }
    StateRecord *state =
        state_record__unpack(arena_allocator(replay->arena, MESSAGE_MAX_ARENA_BYTES),
                             record->value_bytes, record->value);
    return state != NULL && state->body_case == replay->service.state_body ? state : NULL;
}

ReplayVm *replay_vm(Replay *replay, const char *uuid)
{
    ReplayVm *vm = g_hash_table_lookup(replay->vms, uuid);
    if (vm == NULL) {
        vm = g_new0(ReplayVm, 1);
        vm->uuid = g_strdup(uuid);
        vm->states = g_ptr_array_new();
        vm->is_known = !replay_is_in_the_middle(replay);
        g_hash_table_insert(replay->vms, vm->uuid, vm);
    }
    return vm;
}

void replay_vms_make(Replay *replay)
{
    replay->vms = g_hash_table_new_full(g_str_hash, g_str_equal, NULL, vm_free);
    for (guint i = 0; replay->states != NULL && i < replay->states->records->len; i++) {
        VbBusRecord *record = g_ptr_array_index(replay->states->records, i);
        arena_reset(replay->arena);
        const char *uuid = validate_key(replay->arena, record);
        if (uuid != NULL &&
            topic_partition(uuid, UUID_TEXT_BYTES - 1, replay->loop->config.n_partitions) ==
                replay->partition) {
            g_ptr_array_add(replay_vm(replay, uuid)->states, record);
        }
    }
}

/* ---- The table */

StateRecord *replay_vm_state(Replay *replay, const char *uuid)
{
    const VbPartition *partition = replay->loop->partitions[replay->partition];
    return arena_copy(replay->arena, visit_load_state(replay->loop, partition, uuid));
}

/* The VM is as this record says: which comes from a file, and a core trusts a state in form. */
static void table_take(Replay *replay, ReplayVm *vm, const VbBusRecord *record)
{
    VbTable *table = replay->loop->partitions[replay->partition]->table;
    const StateRecord *state = replay_state(replay, record);
    vm->is_known = TRUE;
    vm->is_broken = FALSE;
    if (record->value == NULL) {
        table_remove(table, vm->uuid);
    } else if (state != NULL && message_check(&state->base, NULL)) {
        table_put(table, vm->uuid, record->value, record->value_bytes, state->deadline_ms);
    } else {
        replay_vm_forget(vm);
    }
}

void replay_vm_forget(ReplayVm *vm)
{
    vm->is_known = FALSE;
    vm->was_unknown = TRUE;
}

void replay_vm_break(Replay *replay, ReplayVm *vm)
{
    VbTable *table = replay->loop->partitions[replay->partition]->table;
    const VbBusRecord *record = g_ptr_array_index(vm->states, vm->next++);
    table_put_broken(table, vm->uuid, record->value, record->value_bytes);
    vm->is_known = FALSE;
    vm->is_broken = TRUE;
}

/* ---- The beginning */

static gint64 applied_of(const StateRecord *state, const char *topic)
{
    for (size_t i = 0; i < state->n_applied; i++) {
        if (strcmp(state->applied[i]->topic, topic) == 0) {
            return state->applied[i]->offset;
        }
    }
    return -1;
}

static gboolean step_made(const JournalStep *step, const StateRecord *state)
{
    return step->time_ms == state->step_ms &&
           (step->runtime_input != NULL || applied_of(state, step->topic) == step->offset);
}

typedef enum { STATE_BEFORE, STATE_MADE_HERE, STATE_LATER, STATE_ANYWHERE } StatePlace;

/* Seen from one step. */
static StatePlace step_place(const JournalStep *step, const StateRecord *state)
{
    gint64 applied = step->runtime_input == NULL ? applied_of(state, step->topic) : -1;
    if (step_made(step, state)) {
        return STATE_MADE_HERE;
    }
    if (step->time_ms < state->step_ms ||
        (step->runtime_input == NULL && step->offset <= applied)) {
        return STATE_LATER;
    }
    return step->time_ms > state->step_ms ? STATE_BEFORE : STATE_ANYWHERE;
}

/* Where a state belongs, seen from the transaction's steps of its VM: before it if all say so. */
static StatePlace state_place(const Replay *replay, const char *uuid, const StateRecord *state)
{
    StatePlace place = STATE_BEFORE;
    for (size_t i = 0; i < replay->journal->n_steps; i++) {
        const JournalStep *step = replay->journal->steps[i];
        StatePlace own = strcmp(step->vm_uuid, uuid) == 0 ? step_place(step, state) : STATE_BEFORE;
        if (own == STATE_MADE_HERE) {
            return own;
        }
        if (own != STATE_BEFORE && place != STATE_LATER) {
            place = own;
        }
    }
    return place;
}

gboolean replay_vm_is_made_here(const Replay *replay, const ReplayVm *vm, const StateRecord *state)
{
    return replay->journal != NULL && state_place(replay, vm->uuid, state) == STATE_MADE_HERE;
}

/* The next recorded state; a deletion says nothing of when it was. */
static const VbBusRecord *next_state(Replay *replay, ReplayVm *vm, StateRecord **ret_state)
{
    while (vm->next < vm->states->len) {
        const VbBusRecord *record = g_ptr_array_index(vm->states, vm->next);
        *ret_state = replay_state(replay, record);
        if (*ret_state != NULL) {
            return record;
        }
        vm->next++;
    }
    return NULL;
}

static void before_keep(Replay *replay, ReplayVm *vm)
{
    const VbTableEntry *entry =
        table_find(replay->loop->partitions[replay->partition]->table, vm->uuid);
    vm->bytes_before = NULL;
    if (entry != NULL && !entry->is_broken) {
        vm->size_bytes_before = entry->size_bytes;
        vm->bytes_before = arena_alloc(replay->arena, entry->size_bytes);
        memcpy(vm->bytes_before, entry->bytes, entry->size_bytes);
    }
}

void replay_vm_begin(Replay *replay, ReplayVm *vm)
{
    vm->is_touched = TRUE;
    vm->is_different = FALSE;
    vm->is_made = FALSE;
    vm->is_too_much = FALSE;
    StateRecord *state = NULL;
    const VbBusRecord *record = vm->is_known ? NULL : next_state(replay, vm, &state);
    StatePlace place = record != NULL ? state_place(replay, vm->uuid, state) : STATE_ANYWHERE;
    if (place == STATE_BEFORE) {
        vm->next++;
        table_take(replay, vm, record);
    } else if (place != STATE_ANYWHERE && state->version == 1) {
        vm->is_known = TRUE; /* There was none before the first. */
    } else if (!vm->is_known) {
        replay_vm_forget(vm);
    }
    before_keep(replay, vm);
}

/* The state's own words prove that this transaction made it: for a record, its offset; for a
 * deadline only the time, which is proof enough where differences are expected. */
void replay_vm_judge(Replay *replay, ReplayVm *vm)
{
    if (!vm->is_known || vm->is_made || vm->next >= vm->states->len) {
        return;
    }
    const VbBusRecord *record = g_ptr_array_index(vm->states, vm->next);
    const StateRecord *state = replay_state(replay, record);
    gboolean is_made_here = FALSE;
    for (guint i = 0; state != NULL && i < replay->steps->len; i++) {
        const JournalStep *step = g_ptr_array_index(replay->steps, i);
        is_made_here =
            is_made_here || (strcmp(step->vm_uuid, vm->uuid) == 0 && step_made(step, state) &&
                             (step->runtime_input == NULL || replay_is_logic(replay)));
    }
    if (is_made_here) {
        vm->next++;
        vm->correct = record;
        replay_find(replay,
                    &(ReplayFinding){.place = replay_place(replay, record->topic, NULL,
                                                           record->partition, record->offset),
                                     .vm_uuid = vm->uuid,
                                     .path = "",
                                     .recorded = "a changed state"});
    }
}

/* Back to what it was: no change of it was recorded. */
static void state_revert(Replay *replay, const ReplayVm *vm)
{
    VbBusRecord before = {.value = vm->bytes_before, .value_bytes = vm->size_bytes_before};
    VbTable *table = replay->loop->partitions[replay->partition]->table;
    const StateRecord *state = replay_state(replay, &before);
    if (state != NULL) {
        table_put(table, vm->uuid, before.value, before.value_bytes, state->deadline_ms);
    } else {
        table_remove(table, vm->uuid);
    }
}

void replay_vm_end(Replay *replay, ReplayVm *vm)
{
    StateRecord *state = NULL;
    const VbBusRecord *record = NULL;
    vm->is_touched = FALSE;
    if (vm->correct != NULL) {
        table_take(replay, vm, vm->correct);
        vm->correct = NULL;
    } else if (vm->is_too_much) {
        state_revert(replay, vm);
    } else if (!vm->is_known && (record = next_state(replay, vm, &state)) != NULL &&
               state_place(replay, vm->uuid, state) == STATE_MADE_HERE) {
        vm->next++;
        table_take(replay, vm, record);
    }
}

/* ---- The end */

static void vm_end(Replay *replay, ReplayVm *vm)
{
    if (vm->is_stepped) {
        g_hash_table_add(replay->vms_seen, g_strdup(vm->uuid));
    }
    if (vm->was_unknown) {
        replay->result->n_vms_unknown++;
        g_hash_table_add(replay->unknown, g_strdup_printf("%s/%s", replay->service.name, vm->uuid));
    }
    gboolean is_judged = replay->config->until_ms == G_MAXINT64 && vm->is_known &&
                         (vm->is_stepped || !replay_is_in_the_middle(replay));
    for (; is_judged && vm->next < vm->states->len; vm->next++) {
        const VbBusRecord *record = g_ptr_array_index(vm->states, vm->next);
        replay_find(replay,
                    &(ReplayFinding){.place = replay_place(replay, record->topic, NULL,
                                                           record->partition, record->offset),
                                     .vm_uuid = vm->uuid,
                                     .path = "",
                                     .recorded = "a state that no step made"});
    }
}

void replay_vms_end(Replay *replay)
{
    GHashTableIter iter;
    gpointer value;
    g_hash_table_iter_init(&iter, replay->vms);
    while (g_hash_table_iter_next(&iter, NULL, &value)) {
        const ReplayVm *vm = value;
        if (replay_vm_is_wanted(replay, vm->uuid)) {
            vm_end(replay, value);
        }
    }
    g_clear_pointer(&replay->vms, g_hash_table_destroy);
}
