/* I7 and I9: what a service has committed follows from what it has read, and from nothing else.
 *
 * Each transaction's journal is stepped again, from the states before it, with the records that it
 * names: that must give its states and its outputs, byte for byte. A record of a control plane or
 * an agent that comes a second time must change nothing. And each record that the transaction's
 * offsets go past must be accounted for, once: stepped, moved, dead-lettered, or applied before.
 *
 * What the runtime does around a core (visit.c) is written here a second time, on purpose. */
#include <string.h>

#include "common/base/text.h"
#include "common/bus/envelope.h"
#include "common/bus/validate.h"
#include "services/vm-service/vm_core.h"
#include "services/volume-service/volume_core.h"
#include "tests/sim/sim_check.h"

typedef struct {
    VbBusRecord *record;
    gboolean accounted;
} Taken;

typedef struct {
    VbTopic topic;
    const char *host_uuid;
    const guint8 *bytes;
    gsize size_bytes;
} Output;

/* One VM's part of the transaction. */
typedef struct {
    char uuid[UUID_TEXT_BYTES];
    const guint8 *bytes; /* Its state now; NULL: none. */
    gsize size_bytes;
    gint64 *applied; /* Of its state before, by topic; -1: none. */
    gboolean changed;
    gboolean written; /* Its state record was seen. */
    GArray *outputs;  /* of Output */
    guint n_seen;     /* Of them. */
} Part;

typedef struct {
    SimCheck *check;
    Sim *sim;
    const CheckTransaction *transaction;
    const VbService *service; /* NULL: of no service. */
    int index;                /* SERVICE_VM or SERVICE_VOLUME */
    GHashTable *taken;        /* guint64 -> Taken */
    GHashTable *parts;        /* uuid -> Part */
    VbBusRecord *lead;        /* Of the visit that is stepped; NULL: none. */
    gint64 lead_offset;       /* Of a poisoned one; else -1. */
    VbTopic lead_topic;
} Replay;

guint64 check_input_key(VbTopic topic, int partition, gint64 offset)
{
    return (guint64)topic << 56 | (guint64)partition << 48 | (guint64)offset;
}

static void taken_free(void *data)
{
    Taken *taken = data;
    bus_record_free(taken->record);
    g_free(taken);
}

static void part_free(void *data)
{
    Part *part = data;
    g_array_unref(part->outputs);
    g_free(part->applied);
    g_free(part);
}

/* ---- I9: what was consumed */

static void take_consumed(Replay *r, const CheckConsumed *consumed)
{
    SimCheck *check = r->check;
    guint n = check->world->plan->n_partitions;
    gint64 *next =
        &g_array_index(check->next, gint64, consumed->topic * n + (guint)consumed->partition);
    const char *topic = topic_info(consumed->topic)->suffix;
    gboolean vms = consumed->topic == TOPIC_VM_COMMANDS || consumed->topic == TOPIC_VM_REPORTS ||
                   consumed->topic == TOPIC_VOLUME_EVENTS;
    r->service = vms ? &vm_service : &volume_service;
    r->index = vms ? SERVICE_VM : SERVICE_VOLUME;
    if (consumed->next < *next) {
        sim_fail(r->sim, "I9", NULL,
                 "group %s commits %s-%d at %" G_GINT64_FORMAT ", which was at %" G_GINT64_FORMAT
                 " before: records are consumed a second time",
                 consumed->group, topic, consumed->partition, consumed->next, *next);
        return;
    }
    for (; *next < consumed->next; (*next)++) {
        guint64 key = check_input_key(consumed->topic, consumed->partition, *next);
        gpointer stolen_key = NULL;
        gpointer record = NULL;
        /* Not every offset has a record: transactions end with one, and aborted ones leave some. */
        if (g_hash_table_steal_extended(check->inputs, &key, &stolen_key, &record)) {
            Taken *taken = g_new0(Taken, 1);
            taken->record = record;
            g_hash_table_insert(r->taken, stolen_key, taken);
        }
    }
}

static void account(Replay *r, VbTopic topic, int partition, gint64 offset, const char *how)
{
    guint64 key = check_input_key(topic, partition, offset);
    Taken *taken = g_hash_table_lookup(r->taken, &key);
    if (taken == NULL || taken->accounted) {
        sim_fail(r->sim, "I9", NULL,
                 "a transaction says that %s-%d@%" G_GINT64_FORMAT " was %s, %s",
                 topic_info(topic)->suffix, partition, offset, how,
                 taken == NULL ? "which it does not consume" : "a second time");
        return;
    }
    taken->accounted = TRUE;
}

static char *header_text(const VbBusRecord *record, const char *name)
{
    const VbBusHeader *header = bus_record_header(record, name);
    return header != NULL ? g_strndup(header->value, header->size_bytes) : NULL;
}

/* "vm.commands/3/17" */
static void account_moved(Replay *r, const VbBusRecord *record)
{
    g_autofree char *from = header_text(record, ENVELOPE_MOVED_FROM);
    g_auto(GStrv) words = g_strsplit(from, "/", -1);
    VbTopic topic;
    if (g_strv_length(words) == 3 && topic_parse(words[0], &topic)) {
        sim_mark(MARK_RECORD_MOVED);
        account(r, topic, (int)g_ascii_strtoll(words[1], NULL, 10),
                g_ascii_strtoll(words[2], NULL, 10), "moved");
    }
}

static void account_dead(Replay *r, const VbBusRecord *record)
{
    g_autofree char *name = header_text(record, "__connect.errors.topic");
    g_autofree char *partition = header_text(record, "__connect.errors.partition");
    g_autofree char *offset = header_text(record, "__connect.errors.offset");
    g_autofree char *stage = header_text(record, "__connect.errors.stage");
    sim_mark(MARK_DEAD_LETTER);
    for (guint i = 0; i < r->service->n_inputs && name != NULL; i++) {
        VbTopic topic = r->service->inputs[i];
        /* A poisoned one is accounted for by its own step. */
        if (g_str_has_suffix(name, topic_info(topic)->suffix) &&
            (g_str_equal(stage, "validate") || g_str_equal(stage, "move"))) {
            account(r, topic, (int)g_ascii_strtoll(partition, NULL, 10),
                    g_ascii_strtoll(offset, NULL, 10), "dead-lettered");
        }
    }
}

static Part *part_get(Replay *r, const char *vm_uuid);

static gboolean was_applied(Replay *r, const VbBusRecord *record)
{
    char uuid[UUID_TEXT_BYTES] = "";
    if (record->key_bytes != UUID_TEXT_BYTES - 1) {
        return FALSE;
    }
    memcpy(uuid, record->key, UUID_TEXT_BYTES - 1);
    return part_get(r, uuid)->applied[record->topic] >= record->offset;
}

static void account_rest(Replay *r)
{
    GHashTableIter iter;
    gpointer value = NULL;
    for (guint i = 0; i < r->transaction->records->len; i++) {
        const VbBusRecord *record = g_ptr_array_index(r->transaction->records, i);
        if (record->topic == TOPIC_DLQ) {
            account_dead(r, record);
        } else if (bus_record_header(record, ENVELOPE_MOVED_FROM) != NULL) {
            account_moved(r, record);
        }
    }
    g_hash_table_iter_init(&iter, r->taken);
    while (g_hash_table_iter_next(&iter, NULL, &value)) {
        const Taken *taken = value;
        const VbBusRecord *record = taken->record;
        sim_judge(SIM_I9, FALSE);
        if (taken->accounted) {
            continue;
        }
        if (!was_applied(r, record)) {
            sim_fail(r->sim, "I9", NULL,
                     "%s-%d@%" G_GINT64_FORMAT " was consumed, and nothing came of it",
                     topic_info(record->topic)->suffix, record->partition, record->offset);
        }
    }
}

/* ---- I7: the steps */

static Part *part_get(Replay *r, const char *vm_uuid)
{
    Part *part = g_hash_table_lookup(r->parts, vm_uuid);
    if (part != NULL) {
        return part;
    }
    part = g_new0(Part, 1);
    g_strlcpy(part->uuid, vm_uuid, sizeof(part->uuid));
    part->outputs = g_array_new(FALSE, FALSE, sizeof(Output));
    part->applied = g_new(gint64, TOPIC_COUNT);
    for (int topic = 0; topic < TOPIC_COUNT; topic++) {
        part->applied[topic] = -1;
    }
    int index = sim_world_vm_index(r->check->world, vm_uuid);
    GBytes *packed = index >= 0 ? r->check->vms[index].states[r->index] : NULL;
    if (packed != NULL) {
        part->bytes = g_bytes_get_data(packed, &part->size_bytes);
        const StateRecord *state =
            check_unpack(r->check, &state_record__descriptor, part->bytes, part->size_bytes);
        for (size_t i = 0; state != NULL && i < state->n_applied; i++) {
            VbTopic topic;
            if (topic_parse(state->applied[i]->topic, &topic)) {
                part->applied[topic] = state->applied[i]->offset;
            }
        }
    }
    g_hash_table_insert(r->parts, part->uuid, part);
    return part;
}

static const guint8 *pack(VbArena *arena, const void *message, gsize *ret_size_bytes)
{
    *ret_size_bytes = message != NULL ? protobuf_c_message_get_packed_size(message) : 0;
    if (message == NULL) {
        return NULL;
    }
    guint8 *bytes = arena_alloc(arena, *ret_size_bytes);
    protobuf_c_message_pack(message, bytes);
    return bytes;
}

static gboolean bytes_equal(const void *a, gsize a_bytes, const void *b, gsize b_bytes)
{
    if (a == NULL || b == NULL) {
        return a == b;
    }
    return a_bytes == b_bytes && memcmp(a, b, a_bytes) == 0;
}

static void applied_set(Replay *r, StateRecord *state)
{
    const char *topic = topic_info(r->lead_topic)->suffix;
    for (size_t i = 0; i < state->n_applied; i++) {
        if (strcmp(state->applied[i]->topic, topic) == 0) {
            state->applied[i]->offset = r->lead_offset;
            return;
        }
    }
    AppliedOffset *applied = ARENA_MSG(r->check->scratch, applied_offset);
    applied->topic = (char *)topic;
    applied->offset = r->lead_offset;
    ARENA_APPEND(r->check->scratch, state->n_applied, state->applied, applied);
}

/* The core's part changed: the runtime's is set, and the part has a new state. */
static gboolean state_take(Replay *r, Part *part, StateRecord *before, StateRecord *after,
                           gint64 step_ms)
{
    gsize size_bytes = 0;
    if (after != NULL) {
        after->version = before->version;
        after->logic_version = before->logic_version;
        after->n_applied = before->n_applied;
        after->applied = before->applied;
        after->step_ms = before->step_ms;
    }
    const guint8 *bytes = pack(r->check->scratch, after, &size_bytes);
    if (bytes_equal(part->bytes, part->size_bytes, bytes, size_bytes)) {
        return FALSE;
    }
    if (after != NULL) {
        after->version++;
        after->logic_version = r->service->logic_version;
        after->step_ms = step_ms;
        if (r->lead_offset >= 0) {
            applied_set(r, after);
        }
    }
    part->bytes = pack(r->check->arena, after, &part->size_bytes);
    part->changed = TRUE;
    return TRUE;
}

/* Whether one of the next steps says that this could not be sent. */
static gboolean is_undelivered(const Journal *journal, size_t i, const VbOutput *output)
{
    const HostCommand *command = output->message;
    for (size_t j = i + 1; j < journal->n_steps; j++) {
        const RuntimeInput *input = journal->steps[j]->runtime_input;
        if (input == NULL || input->input_case != RUNTIME_INPUT__INPUT_UNDELIVERABLE ||
            strcmp(journal->steps[j]->vm_uuid, journal->steps[i]->vm_uuid) != 0) {
            return FALSE;
        }
        if (strcmp(input->undeliverable->host_uuid, output->host_uuid) == 0 &&
            strcmp(input->undeliverable->operation_id, command->operation_id) == 0) {
            return TRUE;
        }
    }
    return FALSE;
}

/* I3: no host is asked for a start that has expired by then. */
static void check_not_expired(Replay *r, const Part *part, const VbOutput *output, gint64 step_ms)
{
    const HostCommand *command = output->message;
    if (output->host_uuid == NULL || command->command_case != HOST_COMMAND__COMMAND_START_DOMAIN) {
        return;
    }
    sim_judge(SIM_I3, FALSE);
    if (command->expires_ms <= step_ms) {
        sim_fail(r->sim, "I3", part->uuid,
                 "%s asks for a start that has expired %" G_GINT64_FORMAT " ms before",
                 r->service->name, step_ms - command->expires_ms);
    }
}

static void outputs_take(Replay *r, Part *part, const Journal *journal, size_t i,
                         const GArray *outputs)
{
    VbArena *arena = r->check->arena;
    for (guint k = 0; k < outputs->len; k++) {
        const VbOutput *output = &g_array_index(outputs, VbOutput, k);
        if (output->host_uuid != NULL && is_undelivered(journal, i, output)) {
            continue;
        }
        check_not_expired(r, part, output, journal->steps[i]->time_ms);
        Output expected = {.topic = output->topic};
        expected.host_uuid =
            output->host_uuid != NULL ? arena_strdup(arena, output->host_uuid) : NULL;
        expected.bytes = pack(arena, output->message, &expected.size_bytes);
        g_array_append_val(part->outputs, expected);
    }
}

static void runtime_fields(const StateRecord *state, StateRecord *ret_fields)
{
    state_record__init(ret_fields);
    if (state != NULL) {
        ret_fields->version = state->version;
        ret_fields->logic_version = state->logic_version;
        ret_fields->n_applied = state->n_applied;
        ret_fields->applied = state->applied;
        ret_fields->step_ms = state->step_ms;
    }
}

static StateRecord *part_unpack(Replay *r, const Part *part)
{
    return part->bytes == NULL ? NULL
                               : state_record__unpack(arena_allocator(r->check->scratch, SIZE_MAX),
                                                      part->size_bytes, part->bytes);
}

/* I7: what may come twice changes nothing the second time. */
static void step_twice(Replay *r, Part *part, const VbStepInput *input)
{
    g_autoptr(GArray) outputs = g_array_new(FALSE, FALSE, sizeof(VbOutput));
    StateRecord *state = part_unpack(r, part);
    StateRecord fields;
    gsize size_bytes = 0;
    runtime_fields(state, &fields);
    VbStep step = {.input = input, .arena = r->check->scratch, .state = state, .outputs = outputs};
    gboolean ok = r->service->step(&step) == STEP_OK;
    const guint8 *bytes = pack(r->check->scratch, step.state, &size_bytes);
    if (!ok || !bytes_equal(part->bytes, part->size_bytes, bytes, size_bytes)) {
        sim_fail(r->sim, "I7", part->uuid, "%s changes the state when it comes a second time",
                 topic_info(input->topic)->suffix);
    }
}

static gboolean may_come_twice(const VbStepInput *input)
{
    return input->record != NULL &&
           (input->topic == TOPIC_VM_COMMANDS || input->topic == TOPIC_VM_REPORTS ||
            input->topic == TOPIC_VOLUME_REPORTS);
}

static void step_run(Replay *r, const Journal *journal, size_t i, const VbJudgement *judgement)
{
    const JournalStep *told = journal->steps[i];
    Part *part = part_get(r, told->vm_uuid);
    StateRecord *state = part_unpack(r, part);
    StateRecord before;
    runtime_fields(state, &before);
    VbStepInput input = {.vm_uuid = part->uuid,
                         .time_ms = told->time_ms,
                         .settings = journal->settings,
                         .record = judgement != NULL ? judgement->message : NULL,
                         .runtime = told->runtime_input,
                         .topic = r->lead != NULL ? r->lead->topic : 0};
    g_autoptr(GArray) outputs = g_array_new(FALSE, FALSE, sizeof(VbOutput));
    VbStep step = {.input = &input, .arena = r->check->scratch, .state = state, .outputs = outputs};
    if (judgement != NULL && judgement->validity == VALIDITY_REFUSED) {
        r->service->refuse(&step, judgement->request_id, judgement->error);
    } else if (r->service->step(&step) != STEP_OK) {
        sim_fail(r->sim, "I7", part->uuid, "a committed step of %s finds a broken assumption",
                 r->service->name);
        return;
    } else {
        state_take(r, part, &before, step.state, told->time_ms);
        if (may_come_twice(&input)) {
            step_twice(r, part, &input);
        }
    }
    outputs_take(r, part, journal, i, outputs);
    r->check->n_replayed++;
}

static void step_runtime(Replay *r, const Journal *journal, size_t i)
{
    const RuntimeInput *input = journal->steps[i]->runtime_input;
    if (input->input_case == RUNTIME_INPUT__INPUT_UNDELIVERABLE) {
        sim_mark(MARK_UNDELIVERABLE); /* Of the visit before: its record stays the one applied. */
    } else {
        r->lead = NULL;
        r->lead_offset = -1;
    }
    if (input->input_case == RUNTIME_INPUT__INPUT_DEADLINE_ELAPSED) {
        sim_mark(MARK_DEADLINE_ELAPSED);
    }
    if (input->input_case == RUNTIME_INPUT__INPUT_POISONED) {
        const Poisoned *poisoned = input->poisoned;
        if (topic_parse(poisoned->topic, &r->lead_topic)) {
            r->lead_offset = poisoned->offset;
            account(r, r->lead_topic, poisoned->partition, poisoned->offset, "poisoned");
        }
        if (strstr(poisoned->reason, "assumption") != NULL ||
            strstr(poisoned->reason, "without end") != NULL) {
            sim_fail(r->sim, "core", journal->steps[i]->vm_uuid, "%s: %s", r->service->name,
                     poisoned->reason);
        }
    }
    step_run(r, journal, i, NULL);
}

static void step_record(Replay *r, const Journal *journal, size_t i)
{
    const JournalStep *told = journal->steps[i];
    VbTopic topic;
    if (!topic_parse(told->topic, &topic)) {
        sim_fail(r->sim, "I7", told->vm_uuid, "the journal names a topic \"%s\"", told->topic);
        return;
    }
    account(r, topic, journal->partition, told->offset, "stepped");
    guint64 key = check_input_key(topic, journal->partition, told->offset);
    Taken *taken = g_hash_table_lookup(r->taken, &key);
    if (taken == NULL) {
        return;
    }
    r->lead = taken->record;
    r->lead_topic = topic;
    r->lead_offset = told->offset;
    VbJudgement judgement =
        validate_record(r->check->scratch, r->service, taken->record, told->vm_uuid);
    if (judgement.validity == VALIDITY_DEAD_LETTER) {
        sim_fail(r->sim, "I7", told->vm_uuid, "a record that no step may see was stepped: %s",
                 judgement.error->message);
        return;
    }
    if (told->time_ms < taken->record->time_ms) {
        sim_fail(r->sim, "I7", told->vm_uuid, "a step's time is before its record's");
    }
    step_run(r, journal, i, &judgement);
}

static void journal_run(Replay *r, const VbBusRecord *record)
{
    const Journal *journal =
        check_unpack(r->check, &journal__descriptor, record->value, record->value_bytes);
    if (journal == NULL || r->service == NULL) {
        sim_fail(r->sim, "I7", NULL, "a journal record is not readable, or of no service");
        return;
    }
    r->lead = NULL;
    r->lead_offset = -1;
    for (size_t i = 0; i < journal->n_steps && !sim_has_failed(r->sim); i++) {
        arena_reset(r->check->scratch);
        if (journal->steps[i]->runtime_input != NULL) {
            step_runtime(r, journal, i);
        } else {
            step_record(r, journal, i);
        }
    }
}

/* ---- I7: the comparison */

static Part *part_of_key(Replay *r, const VbBusRecord *record)
{
    char uuid[UUID_TEXT_BYTES] = "";
    if (record->key_bytes == UUID_TEXT_BYTES - 1) {
        memcpy(uuid, record->key, UUID_TEXT_BYTES - 1);
    }
    return g_hash_table_lookup(r->parts, uuid);
}

static void compare_state(Replay *r, const VbBusRecord *record)
{
    Part *part = part_of_key(r, record);
    if (part == NULL || !part->changed) {
        sim_fail(r->sim, "I7", part != NULL ? part->uuid : NULL,
                 "%s committed a state that no step of its journal makes", r->service->name);
        return;
    }
    part->written = TRUE;
    sim_judge(SIM_I7, FALSE);
    if (!bytes_equal(part->bytes, part->size_bytes, record->value, record->value_bytes)) {
        sim_fail(r->sim, "I7", part->uuid, "%s committed another state than its steps give again",
                 r->service->name);
    }
}

/* What was written to a topic that was deleted before the commit is gone with it. */
static gboolean may_be_lost(const Replay *r, const Output *output)
{
    int host = output->host_uuid != NULL ? check_host_index(r->check, output->host_uuid) : -1;
    return host >= 0 && (r->transaction->lost >> host & 1) != 0;
}

static gboolean is_output(const Output *output, const VbBusRecord *record, const char *host_uuid)
{
    return output->topic == record->topic && g_strcmp0(output->host_uuid, host_uuid) == 0 &&
           bytes_equal(output->bytes, output->size_bytes, record->value, record->value_bytes);
}

/* Goes on to the next output that cannot be lost, or is this very record. */
static void lost_skip(const Replay *r, Part *part, const VbBusRecord *record, const char *host_uuid)
{
    while (part->n_seen < part->outputs->len) {
        const Output *output = &g_array_index(part->outputs, Output, part->n_seen);
        if (!may_be_lost(r, output) || (record != NULL && is_output(output, record, host_uuid))) {
            return;
        }
        sim_judge(SIM_I7, TRUE);
        part->n_seen++;
    }
}

static void compare_output(Replay *r, const VbBusRecord *record, const char *host_uuid)
{
    Part *part = part_of_key(r, record);
    if (part != NULL) {
        lost_skip(r, part, record, host_uuid);
    }
    if (part == NULL || part->n_seen >= part->outputs->len) {
        sim_fail(r->sim, "I7", part != NULL ? part->uuid : NULL,
                 "%s committed a record of %s that no step of its journal makes", r->service->name,
                 topic_info(record->topic)->suffix);
        return;
    }
    const Output *output = &g_array_index(part->outputs, Output, part->n_seen++);
    sim_judge(SIM_I7, FALSE);
    if (!is_output(output, record, host_uuid)) {
        sim_fail(r->sim, "I7", part->uuid,
                 "%s committed a record of %s; its step gives again another one, of %s",
                 r->service->name, topic_info(record->topic)->suffix,
                 topic_info(output->topic)->suffix);
    }
}

static void compare_missing(Replay *r)
{
    GHashTableIter iter;
    gpointer value = NULL;
    g_hash_table_iter_init(&iter, r->parts);
    while (g_hash_table_iter_next(&iter, NULL, &value)) {
        Part *part = value;
        lost_skip(r, part, NULL, NULL);
        if (part->changed != part->written || part->n_seen != part->outputs->len) {
            sim_fail(r->sim, "I7", part->uuid, "%s did not commit %s that its steps make",
                     r->service->name, part->changed != part->written ? "a state" : "an output");
        }
    }
}

static void compare(Replay *r)
{
    for (guint i = 0; i < r->transaction->records->len && !sim_has_failed(r->sim); i++) {
        const VbBusRecord *record = g_ptr_array_index(r->transaction->records, i);
        if (record->topic == r->service->state_topic) {
            compare_state(r, record);
        } else if (record->topic != r->service->journal_topic && record->topic != TOPIC_DLQ &&
                   bus_record_header(record, ENVELOPE_MOVED_FROM) == NULL) {
            compare_output(r, record, g_ptr_array_index(r->transaction->hosts, i));
        }
    }
    if (!sim_has_failed(r->sim)) {
        compare_missing(r);
    }
}

void check_replay(SimCheck *check, const CheckTransaction *transaction)
{
    Replay r = {.check = check, .sim = check->sim, .transaction = transaction, .lead_offset = -1};
    r.taken = g_hash_table_new_full(g_int64_hash, g_int64_equal, g_free, taken_free);
    r.parts = g_hash_table_new_full(g_str_hash, g_str_equal, NULL, part_free);
    for (guint i = 0; i < transaction->consumed->len; i++) {
        take_consumed(&r, &g_array_index(transaction->consumed, CheckConsumed, i));
    }
    if (r.service == NULL && transaction->records->len > 0) {
        sim_fail(check->sim, "I9", NULL, "a transaction writes records and consumes no offset");
    }
    for (guint i = 0; r.service != NULL && i < transaction->records->len; i++) {
        const VbBusRecord *record = g_ptr_array_index(transaction->records, i);
        if (record->topic == r.service->journal_topic) {
            journal_run(&r, record);
        }
    }
    if (r.service != NULL && !sim_has_failed(check->sim)) {
        account_rest(&r);
        compare(&r);
    }
    g_hash_table_unref(r.parts);
    g_hash_table_unref(r.taken);
}
