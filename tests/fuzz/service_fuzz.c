#include "tests/fuzz/service_fuzz.h"

#include <stdio.h>
#include <string.h>

#include "common/base/json.h"
#include "common/base/limits.h"
#include "common/base/message.h"
#include "common/base/uuid.h"
#include "common/bus/step_loop.h"
#include "common/bus/validate.h"
#include "common/runtime/log.h"
#include "fuzz.pb-c.h"
#include "tests/fuzz/fuzz.h"
#include "tests/fuzz/mutate_message.h"
#include "tests/lib/bus_memory.h"
#include "tests/lib/story_check.h"

enum {
    PARTITIONS = 2,
    MOVES_MAX = 48,
    TURNS_MAX = 64,          /* For one record and all its repetitions. */
    LAST_DEADLINES_MAX = 16, /* When all are silent. */
    STATE_MAX_BYTES = 80 * 1024,
    HOSTS_WITH_TOPIC = 3,
    SYMBOLS = 10,
};
static const gint64 BEGIN_MS = G_GINT64_CONSTANT(1704067200000);
static const gint64 DAY_MS = 24 * 60 * 60 * 1000;
static const char OWN_VM[] = "7c9e6679-7425-40de-944b-e07fc1f90ae7";

/* A command that the service sent. */
typedef struct {
    const char *host_uuid; /* NULL: to the other service. */
    const void *message;
} Ask;

typedef struct {
    const VbService *real;
    VbStateJudge judge; /* May be NULL. */
    VbService service;  /* As the loop sees it: its steps are ours. */
    VbArena *arena;
    const Fuzz__Story *story;
    const char *vm_uuid;
    Settings *settings;
    VbMemoryBus *memory;
    VbLoop *loop;
    VbLoopConfig config;
    gint64 now_ms;
    StoryCheck *check;
    GPtrArray *steps; /* of Stepped: of the transaction in hand. */
    GPtrArray *asks;  /* of Ask */
    guint64 start_epoch;
} World;

/* A step that counts once its transaction is committed. */
typedef struct {
    StoryStep story;
    VbTopic topic;
    const ProtobufCMessage *record; /* NULL: the runtime's, or refused. */
} Stepped;

static World *world; /* A step function has no other way to its judge. */

static G_NORETURN void broken(const char *what)
{
    fprintf(stderr, "BROKEN: %s: %s\n", world->real->name, what);
    abort();
}

/* ---- Judging a step */

static gboolean equal_messages(const void *a, const void *b)
{
    if (a == NULL || b == NULL) {
        return a == b;
    }
    g_autoptr(GBytes) left = message_pack(a);
    g_autoptr(GBytes) right = message_pack(b);
    return g_bytes_equal(left, right);
}

static gboolean equal_outputs(const GArray *a, const GArray *b)
{
    if (a->len != b->len) {
        return FALSE;
    }
    for (guint i = 0; i < a->len; i++) {
        const VbOutput *left = &g_array_index(a, VbOutput, i);
        const VbOutput *right = &g_array_index(b, VbOutput, i);
        if (left->topic != right->topic || g_strcmp0(left->host_uuid, right->host_uuid) != 0 ||
            !equal_messages(left->message, right->message)) {
            return FALSE;
        }
    }
    return TRUE;
}

/* The same step from equal copies. */
static void twin_compare(const VbStep *step, const StateRecord *before, const VbStepInput *input)
{
    VbStepInput own = *input;
    own.record = arena_copy(step->arena, input->record);
    own.runtime = arena_copy(step->arena, input->runtime);
    own.settings = arena_copy(step->arena, input->settings);
    g_autoptr(GArray) outputs = g_array_new(FALSE, FALSE, sizeof(VbOutput));
    VbStep twin = {.input = &own,
                   .arena = step->arena,
                   .state = arena_copy(step->arena, before),
                   .outputs = outputs};
    if (world->real->step(&twin) != STEP_OK || !equal_messages(twin.state, step->state) ||
        !equal_outputs(twin.outputs, step->outputs)) {
        broken("I7: the same step came out differently");
    }
    if (!equal_messages(own.record, step->input->record) ||
        !equal_messages(own.runtime, step->input->runtime) ||
        !equal_messages(own.settings, step->input->settings)) {
        broken("I7: the step changed its input");
    }
}

/* As its reader does. */
static void output_validate(VbArena *arena, const VbOutput *output)
{
    static const VbService reader = {.name = "reader"};
    g_autoptr(GBytes) packed = message_pack(output->message);
    VbBusRecord record = {.topic = output->topic,
                          .key = world->vm_uuid,
                          .key_bytes = UUID_TEXT_BYTES - 1,
                          .value = g_bytes_get_data(packed, NULL),
                          .value_bytes = g_bytes_get_size(packed)};
    VbJudgement judgement = validate_record(arena, &reader, &record, world->vm_uuid);
    if (judgement.validity != VALIDITY_GOOD) {
        broken(judgement.error->message);
    }
}

static gboolean names_host(const StateRecord *state, const char *host_uuid)
{
    if (state == NULL) {
        return FALSE;
    }
    if (state->body_case == STATE_RECORD__BODY_VM) {
        const VmRecord *vm = state->vm;
        gboolean named =
            strcmp(vm->host_uuid, host_uuid) == 0 ||
            (vm->operation != NULL && strcmp(vm->operation->host_uuid, host_uuid) == 0);
        for (size_t i = 0; i < vm->n_seen_host_uuids; i++) {
            named = named || strcmp(vm->seen_host_uuids[i], host_uuid) == 0;
        }
        return named;
    }
    const VolumeRecord *volumes = state->volumes;
    gboolean named =
        volumes->operation != NULL && strcmp(volumes->operation->host_uuid, host_uuid) == 0;
    for (size_t i = 0; i < volumes->n_volumes; i++) {
        named = named || strcmp(volumes->volumes[i]->host_uuid, host_uuid) == 0;
    }
    return named;
}

static void host_judge(const Stepped *stepped, const VbOutput *output)
{
    gboolean reports =
        stepped->record != NULL && stepped->topic == TOPIC_VM_REPORTS &&
        strcmp(((const HostReport *)stepped->record)->host_uuid, output->host_uuid) == 0;
    if (!reports && !names_host(stepped->story.before, output->host_uuid) &&
        !names_host(stepped->story.after, output->host_uuid)) {
        broken("a host is commanded that nobody named");
    }
    const HostCommand *command = output->message;
    if (command->command_case == HOST_COMMAND__COMMAND_START_DOMAIN) {
        if (command->epoch <= world->start_epoch) {
            broken("I6: a start's epoch is none of its own");
        }
        world->start_epoch = command->epoch;
    }
}

static void state_judge(const StateRecord *state)
{
    g_autoptr(GError) error = NULL;
    if (state == NULL) {
        return;
    }
    if (!message_check(&state->base, &error)) {
        broken(error->message);
    }
    if (state_record__get_packed_size(state) > STATE_MAX_BYTES) {
        broken("the state has grown beyond all bounds");
    }
    g_autofree char *sentence =
        world->judge != NULL ? world->judge(world->arena, state, world->settings) : NULL;
    if (sentence != NULL) {
        broken(sentence);
    }
}

/* As the loop will commit it. */
static StateRecord *state_after(const StateRecord *before, const StateRecord *after)
{
    StateRecord *copy = arena_copy(world->arena, after);
    if (copy != NULL) {
        copy->version = before != NULL ? before->version : 0;
        copy->version += !equal_messages(before, copy);
    }
    return copy;
}

static void step_note(const VbStep *step, const StateRecord *before, const ProtobufCMessage *record)
{
    Stepped *stepped = arena_alloc(world->arena, sizeof(*stepped));
    GArray *outputs = g_array_new(FALSE, FALSE, sizeof(VbOutput));
    for (guint i = 0; i < step->outputs->len; i++) {
        VbOutput output = g_array_index(step->outputs, VbOutput, i);
        output_validate(step->arena, &output);
        output.message = arena_copy(world->arena, output.message);
        if (output.host_uuid != NULL) {
            output.host_uuid = arena_strdup(world->arena, output.host_uuid);
        }
        g_array_append_val(outputs, output);
    }
    *stepped = (Stepped){.topic = step->input->topic,
                         .record = arena_copy(world->arena, record),
                         .story = {.service = world->real,
                                   .runtime = arena_copy(world->arena, step->input->runtime),
                                   .before = arena_copy(world->arena, before),
                                   .after = state_after(before, step->state),
                                   .outputs = outputs,
                                   .now_ms = step->input->time_ms}};
    state_judge(stepped->story.after);
    g_ptr_array_add(world->steps, stepped);
}

static VbStepResult judged_step(VbStep *step)
{
    StateRecord *before = arena_copy(step->arena, step->state);
    VbStepInput input = *step->input;
    input.record = arena_copy(step->arena, input.record);
    input.runtime = arena_copy(step->arena, input.runtime);
    if (world->real->step(step) != STEP_OK) {
        broken("STEP_FAULT");
    }
    twin_compare(step, before, &input);
    step_note(step, before, step->input->record);
    return STEP_OK;
}

static void judged_refuse(VbStep *step, const char *request_id, const Error *error)
{
    StateRecord *before = arena_copy(step->arena, step->state);
    world->real->refuse(step, request_id, error);
    const VbOutput *output = &g_array_index(step->outputs, VbOutput, 0);
    if (step->outputs->len != 1 || !equal_messages(before, step->state) ||
        strcmp(((const VmEvent *)output->message)->reply->request_id, request_id) != 0) {
        broken("a refusal is more or less than one reply");
    }
    output_validate(step->arena, output);
}

/* ---- Judging what is committed */

static gboolean is_remembered(const StateRecord *state, const char *request_id)
{
    if (state == NULL) {
        return FALSE;
    }
    const VmRecord *vm = state->vm;
    if (vm->operation != NULL && strcmp(vm->operation->request_id, request_id) == 0) {
        return TRUE;
    }
    for (size_t i = 0; i < vm->n_outcomes; i++) {
        if (strcmp(vm->outcomes[i]->request_id, request_id) == 0) {
            return TRUE;
        }
    }
    return FALSE;
}

/* Tells story_check who asked and who reported. Only what the record remembers is a repeat. */
static void check_prepare(const Stepped *stepped)
{
    if (stepped->record == NULL) {
        return;
    }
    if (stepped->topic == TOPIC_VM_COMMANDS) {
        const VmCommand *command = (const VmCommand *)stepped->record;
        if (!is_remembered(stepped->story.before, command->request_id)) {
            check_asked(world->check, command->request_id, command->request_id);
        }
    } else if (stepped->topic == TOPIC_VOLUME_EVENTS) {
        const VolumeEvent *event = (const VolumeEvent *)stepped->record;
        if (event->event_case == VOLUME_EVENT__EVENT_VOLUMES_READ) {
            check_asked(world->check, event->operation_id, "a ListVolumes");
        }
    } else if (stepped->topic == TOPIC_VM_REPORTS) {
        HostReport report = *(const HostReport *)stepped->record;
        if (report.report_case == HOST_REPORT__REPORT__NOT_SET) { /* It could not even begin. */
            report.report_case = HOST_REPORT__REPORT_DOMAIN_STARTED;
        }
        check_reported(world->check, &report);
    }
}

/* An operator's word counts as the host's. */
static void check_confirmed(const Stepped *stepped)
{
    const StateRecord *before = stepped->story.before;
    if (stepped->record == NULL || stepped->topic != TOPIC_VM_COMMANDS || before == NULL ||
        before->vm->status != VM_STATUS_UNKNOWN ||
        stepped->story.after->vm->status != VM_STATUS_STOPPED) {
        return;
    }
    DomainObserved observed = DOMAIN_OBSERVED__INIT;
    HostReport report = HOST_REPORT__INIT;
    report.host_uuid = before->vm->host_uuid;
    report.epoch = before->vm->epoch;
    report.report_case = HOST_REPORT__REPORT_DOMAIN_OBSERVED;
    report.domain_observed = &observed;
    check_reported(world->check, &report);
}

static void trace_line(const char *what, const void *message)
{
    if (message != NULL) {
        g_autofree char *text = message_to_json_text(message, FALSE);
        fprintf(stderr, "%s%s\n", what, text);
    }
}

/* VIRTBUS_FUZZ_TRACE=1 in the environment: every step as JSON. */
static void trace(const Stepped *stepped)
{
    if (g_getenv("VIRTBUS_FUZZ_TRACE") == NULL) {
        return;
    }
    trace_line("", stepped->story.runtime);
    trace_line("", stepped->record);
    for (guint i = 0; i < stepped->story.outputs->len; i++) {
        const VbOutput *output = &g_array_index(stepped->story.outputs, VbOutput, i);
        g_autofree char *to = g_strdup_printf("    %s ", topic_info(output->topic)->suffix);
        trace_line(to, output->message);
    }
    trace_line("    = ", stepped->story.after);
}

static void committed(Stepped *stepped)
{
    trace(stepped);
    check_prepare(stepped);
    g_autofree char *sentence = check_step(world->check, &stepped->story);
    if (sentence != NULL) {
        broken(sentence);
    }
    check_confirmed(stepped);
    for (guint i = 0; i < stepped->story.outputs->len; i++) {
        const VbOutput *output = &g_array_index(stepped->story.outputs, VbOutput, i);
        if (output->topic == TOPIC_HOST_COMMANDS) {
            host_judge(stepped, output);
        }
        if (output->topic == TOPIC_HOST_COMMANDS || output->topic == TOPIC_VOLUME_COMMANDS) {
            Ask *ask = arena_alloc(world->arena, sizeof(*ask));
            *ask = (Ask){.host_uuid = output->host_uuid, .message = output->message};
            g_ptr_array_add(world->asks, ask);
        }
    }
    if (stepped->story.after == NULL) {
        world->start_epoch = 0; /* A next life of the uuid is another VM. */
    }
}

static void step_free(gpointer data)
{
    g_array_free((GArray *)((Stepped *)data)->story.outputs, TRUE);
}

/* ---- The loop */

static void loop_open(void)
{
    world->loop = loop_new(memory_bus(world->memory), &world->config);
    for (int i = 0; i < PARTITIONS; i++) {
        memory_bus_gain(world->memory, i);
    }
}

static void turn(void)
{
    g_autoptr(GError) error = NULL;
    guint before = memory_bus_counts(world->memory)->commits;
    if (!loop_turn(world->loop, 0, &error)) {
        broken(error->message);
    }
    gboolean done = memory_bus_counts(world->memory)->commits != before;
    for (guint i = 0; done && i < world->steps->len; i++) {
        committed(g_ptr_array_index(world->steps, i));
    }
    g_ptr_array_set_size(world->steps, 0);
}

/* Until there is nothing more to do now. */
static void settle(void)
{
    const VbMemoryCounts *counts = memory_bus_counts(world->memory);
    guint idle = 0;
    for (guint i = 0; idle < 2; i++) {
        guint before = counts->commits + counts->aborts;
        turn();
        idle = counts->commits + counts->aborts == before ? idle + 1 : 0;
        if (i > TURNS_MAX) {
            broken("the loop does not come to rest");
        }
    }
}

typedef struct {
    GBytes *bytes; /* NULL: none. */
} Found;

static void state_found(const char *vm_uuid, const void *bytes, size_t size_bytes, void *user)
{
    Found *found = user;
    if (strcmp(vm_uuid, world->vm_uuid) == 0) {
        found->bytes = g_bytes_new(bytes, size_bytes);
    }
}

static GBytes *state_bytes(void)
{
    Found found = {.bytes = NULL};
    loop_each_state(world->loop, state_found, &found);
    return found.bytes;
}

static StateRecord *state_now(void)
{
    g_autoptr(GBytes) bytes = state_bytes();
    if (bytes == NULL) {
        return NULL;
    }
    return state_record__unpack(arena_allocator(world->arena, SIZE_MAX), g_bytes_get_size(bytes),
                                g_bytes_get_data(bytes, NULL));
}

static void restart(void)
{
    settle(); /* What was to be in one batch with the next record. */
    g_autoptr(GBytes) before = state_bytes();
    loop_free(world->loop);
    loop_open();
    settle();
    g_autoptr(GBytes) after = state_bytes();
    if ((before == NULL) != (after == NULL) || (before != NULL && !g_bytes_equal(before, after))) {
        broken("a restart restored another state");
    }
}

static void pass_until(gint64 time_ms)
{
    world->now_ms = MAX(world->now_ms, time_ms);
    memory_bus_set_now(world->memory, world->now_ms);
    settle();
}

/* FALSE: there is no deadline. */
static gboolean pass_to_deadline(void)
{
    const StateRecord *state = state_now();
    if (state == NULL || state->deadline_ms == 0) {
        return FALSE;
    }
    pass_until(state->deadline_ms);
    return TRUE;
}

/* ---- Symbols */

static char *symbol_uuid(char kind, int number)
{
    return arena_printf(world->arena, "%c%c%c%c%c%c%c%c-0000-4000-8000-%012d", "abc"[kind % 3],
                        "abcdef"[kind % 6], 'a', 'a', 'a', 'a', 'a', 'a', number);
}

static char *symbol_resolve(const char *text, const StateRecord *state)
{
    gboolean is_vm = state != NULL && state->body_case == STATE_RECORD__BODY_VM;
    int number = g_ascii_digit_value(text[1] != '\0' ? text[2] : '\0');
    if (strcmp(text, "$vm") == 0) {
        return (char *)world->vm_uuid;
    }
    if (strcmp(text, "$op") == 0 && state != NULL) {
        return is_vm ? (state->vm->operation != NULL ? state->vm->operation->id : (char *)"")
               : state->volumes->operation != NULL ? state->volumes->operation->host_operation_id
                                                   : (char *)"";
    }
    if (strlen(text) != 3 || number < 0) {
        return (char *)text;
    }
    if (text[1] == 'h' || text[1] == 'r') {
        return symbol_uuid(text[1], number);
    }
    if (text[1] == 'v' && state != NULL && !is_vm && (size_t)number < state->volumes->n_volumes) {
        return state->volumes->volumes[number]->uuid;
    }
    return text[1] == 'v' ? symbol_uuid('v', number) : (char *)text;
}

static void symbols_resolve(ProtobufCMessage *message, const StateRecord *state)
{
    for (unsigned i = 0; i < message->descriptor->n_fields; i++) {
        const ProtobufCFieldDescriptor *field = &message->descriptor->fields[i];
        char *base = (char *)message;
        gboolean text = field->type == PROTOBUF_C_TYPE_STRING;
        if ((!text && field->type != PROTOBUF_C_TYPE_MESSAGE) ||
            ((field->flags & PROTOBUF_C_FIELD_FLAG_ONEOF) != 0 &&
             *(uint32_t *)(void *)(base + field->quantifier_offset) != field->id)) {
            continue;
        }
        gboolean many = field->label == PROTOBUF_C_LABEL_REPEATED;
        size_t n = many ? *(size_t *)(void *)(base + field->quantifier_offset) : 1;
        void **items = (void *)(base + field->offset);
        items = many ? *items : items;
        for (size_t k = 0; k < n; k++) {
            if (text && *(char *)items[k] == '$') {
                items[k] = symbol_resolve(items[k], state);
            } else if (!text && items[k] != NULL) {
                symbols_resolve(items[k], state);
            }
        }
    }
}

/* ---- Records */

static const Ask *ask_find(guint about, gboolean to_host)
{
    for (guint i = world->asks->len; i > 0; i--) {
        const Ask *ask = g_ptr_array_index(world->asks, i - 1);
        if ((ask->host_uuid != NULL) == to_host && about-- == 0) {
            return ask;
        }
    }
    return NULL;
}

/* Results of all volumes of the command, in its order; those that are there keep their rest. */
static void results_fill(size_t *n_results, VolumeResult ***results, Volume *const *volumes,
                         size_t n_volumes)
{
    while (*n_results < n_volumes) {
        VolumeResult *result = ARENA_MSG(world->arena, volume_result);
        ARENA_APPEND(world->arena, *n_results, *results, result);
    }
    for (size_t i = 0; i < n_volumes; i++) {
        VolumeResult *result = (*results)[i];
        if (result->volume == NULL) {
            result->volume = arena_copy(world->arena, volumes[i]);
        }
        result->volume->uuid = volumes[i]->uuid;
    }
}

static void report_answer(HostReport *report, const Ask *ask)
{
    const HostCommand *command = ask->message;
    report->host_uuid = (char *)ask->host_uuid;
    report->operation_id = command->operation_id;
    report->epoch = command->epoch;
    if (command->command_case == HOST_COMMAND__COMMAND_CREATE_VOLUMES &&
        report->report_case == HOST_REPORT__REPORT_VOLUMES_CREATED) {
        results_fill(&report->volumes_created->n_results, &report->volumes_created->results,
                     command->create_volumes->volumes, command->create_volumes->n_volumes);
    }
    if (command->command_case == HOST_COMMAND__COMMAND_DELETE_VOLUMES &&
        report->report_case == HOST_REPORT__REPORT_VOLUMES_DELETED) {
        results_fill(&report->volumes_deleted->n_results, &report->volumes_deleted->results,
                     command->delete_volumes->volumes, command->delete_volumes->n_volumes);
    }
}

static void record_answer(const Fuzz__Move *move)
{
    const Ask *ask = ask_find(move->about, move->record_case != FUZZ__MOVE__RECORD_VOLUME_EVENT);
    if (ask == NULL) {
        return;
    }
    if (move->record_case == FUZZ__MOVE__RECORD_VM_REPORT ||
        move->record_case == FUZZ__MOVE__RECORD_VOLUME_REPORT) {
        report_answer(move->vm_report, ask);
    } else if (move->record_case == FUZZ__MOVE__RECORD_VOLUME_EVENT) {
        move->volume_event->operation_id = ((const VolumeCommand *)ask->message)->operation_id;
    }
}

static void append(VbTopic topic, guint shift, const ProtobufCBinaryData *key, const void *value,
                   size_t value_bytes)
{
    VbBusMessage message = {.topic = topic,
                            .key = world->vm_uuid,
                            .key_bytes = UUID_TEXT_BYTES - 1,
                            .value = value,
                            .value_bytes = value_bytes};
    if (key != NULL && key->len > 0) {
        message.key = key->data;
        message.key_bytes = key->len;
    }
    guint right = (guint)topic_partition(message.key, message.key_bytes, PARTITIONS);
    message.partition = (int)((right + shift) % PARTITIONS);
    memory_bus_append(world->memory, &message);
}

static void append_message(const Fuzz__Move *move, VbTopic topic, ProtobufCMessage *message)
{
    const ProtobufCFieldDescriptor *field =
        protobuf_c_message_descriptor_get_field_by_name(message->descriptor, "vm_uuid");
    char **vm_uuid = (void *)((char *)message + field->offset);
    if (**vm_uuid == '\0' && !move->stray) {
        *vm_uuid = (char *)world->vm_uuid;
    }
    symbols_resolve(message, state_now());
    if (move->answers) {
        record_answer(move);
    }
    g_autoptr(GBytes) packed = message_pack(message);
    append(topic, 0, NULL, g_bytes_get_data(packed, NULL), g_bytes_get_size(packed));
}

static gboolean reads(VbTopic topic)
{
    for (size_t i = 0; i < world->real->n_inputs; i++) {
        if (world->real->inputs[i] == topic) {
            return TRUE;
        }
    }
    return FALSE;
}

static void record_append(const Fuzz__Move *move)
{
    static const VbTopic topics[] = {
        [FUZZ__MOVE__RECORD_VM_COMMAND] = TOPIC_VM_COMMANDS,
        [FUZZ__MOVE__RECORD_VM_REPORT] = TOPIC_VM_REPORTS,
        [FUZZ__MOVE__RECORD_VOLUME_EVENT] = TOPIC_VOLUME_EVENTS,
        [FUZZ__MOVE__RECORD_VOLUME_COMMAND] = TOPIC_VOLUME_COMMANDS,
        [FUZZ__MOVE__RECORD_VOLUME_REPORT] = TOPIC_VOLUME_REPORTS,
    };
    if (move->record_case == FUZZ__MOVE__RECORD_RAW) {
        const Fuzz__Raw *raw = move->raw;
        append(world->real->inputs[raw->topic % world->real->n_inputs], raw->partition, &raw->key,
               raw->value.data, raw->value.len);
    } else if (move->record_case != FUZZ__MOVE__RECORD__NOT_SET &&
               reads(topics[move->record_case])) {
        append_message(move, topics[move->record_case], (ProtobufCMessage *)move->vm_command);
    }
}

static void move_play(const Fuzz__Move *move)
{
    if (move->pass_ms > 0) {
        pass_until(world->now_ms + MIN(move->pass_ms, 400 * DAY_MS));
    }
    if (move->to_deadline) {
        pass_to_deadline();
    }
    if (move->restart) {
        restart();
    }
    for (guint i = 0; i <= move->again % 4; i++) {
        record_append(move);
    }
    if (move->with_next) {
        return;
    }
    if (move->aborts % 4 > 0) {
        memory_bus_fail(world->memory, "commit", (int)(move->aborts % 4), BUS_ERROR_ABORT);
    } else if (move->refused) {
        memory_bus_fail(world->memory, "flush", 3, BUS_ERROR_REFUSED);
    }
    settle();
    memory_bus_fail(world->memory, "commit", 0, BUS_ERROR_ABORT);
}

/* ---- A whole story */

static gint64 duration_or(gint64 duration_ms, gint64 least_ms, gint64 most_ms, gint64 fallback_ms)
{
    return duration_ms == 0 ? fallback_ms : CLAMP(duration_ms, least_ms, most_ms);
}

/* What the services' options allow. */
static Settings *settings_make(const Settings *wanted)
{
    Settings *settings =
        wanted != NULL ? arena_copy(world->arena, wanted) : ARENA_MSG(world->arena, settings);
    gint64 minute_ms = 60 * 1000;
    settings->start_timeout_ms =
        duration_or(settings->start_timeout_ms, TIMEOUT_MIN_MS, TIMEOUT_MAX_MS, minute_ms);
    settings->stop_timeout_ms =
        duration_or(settings->stop_timeout_ms, TIMEOUT_MIN_MS, TIMEOUT_MAX_MS, minute_ms);
    settings->expunge_timeout_ms =
        duration_or(settings->expunge_timeout_ms, TIMEOUT_MIN_MS, TIMEOUT_MAX_MS, minute_ms);
    settings->allowed_skew_ms = CLAMP(settings->allowed_skew_ms, 0, minute_ms);
    settings->nvram_retain_ms = CLAMP(settings->nvram_retain_ms, 0, 365 * DAY_MS);
    settings->expunged_keep_ms = duration_or(settings->expunged_keep_ms, 0, 365 * DAY_MS, DAY_MS);
    settings->delete_retry_ms = duration_or(settings->delete_retry_ms, 1000, 60 * minute_ms, 10000);
    if (!message_check(&settings->base, NULL)) {
        return settings_make(NULL);
    }
    return settings;
}

static void hosts_add(void)
{
    for (int i = 0; i < HOSTS_WITH_TOPIC; i++) {
        memory_bus_add_host(world->memory, symbol_uuid('h', i));
    }
    for (size_t i = 0; i < world->story->n_host_uuids; i++) {
        if (uuid_is_valid(world->story->host_uuids[i])) {
            memory_bus_add_host(world->memory, world->story->host_uuids[i]);
        }
    }
}

/* Whether something is under way that must end. A deletion is asked for again for ever. */
static gboolean is_moving(const StateRecord *state)
{
    if (state == NULL) {
        return FALSE;
    }
    if (state->body_case == STATE_RECORD__BODY_VM) {
        return state->vm->operation != NULL &&
               state->vm->operation->phase != OPERATION_PHASE_EXPUNGING_VOLUMES;
    }
    return state->volumes->operation != NULL &&
           state->volumes->operation->expires_ms < world->now_ms + 400 * DAY_MS;
}

/* Nobody answers any more. */
static void end_judge(void)
{
    settle();
    for (int i = 0; i < LAST_DEADLINES_MAX && is_moving(state_now()); i++) {
        pass_to_deadline();
    }
    const StateRecord *state = state_now();
    if (is_moving(state) && state->body_case == STATE_RECORD__BODY_VOLUMES) {
        pass_until(state->volumes->operation->expires_ms); /* Beside all that is retried. */
    }
    if (is_moving(state_now())) {
        broken("I8: an operation outlives all deadlines");
    }
}

static void world_open(World *self, const VbService *service)
{
    self->real = service;
    self->service = *service;
    self->service.step = judged_step;
    self->service.refuse = service->refuse != NULL ? judged_refuse : NULL;
    self->vm_uuid = uuid_is_valid(self->story->vm_uuid) ? self->story->vm_uuid : OWN_VM;
    self->settings = settings_make(self->story->settings);
    self->memory = memory_bus_new(&self->service, PARTITIONS);
    self->config = (VbLoopConfig){.service = &self->service,
                                  .settings = self->settings,
                                  .prefix = "test",
                                  .group_id = "fuzz",
                                  .instance_id = "i1",
                                  .n_partitions = PARTITIONS};
    self->check = check_new();
    self->steps = g_ptr_array_new_with_free_func(step_free);
    self->asks = g_ptr_array_new();
    hosts_add();
    loop_open();
    pass_until(BEGIN_MS);
}

static void world_close(World *self)
{
    loop_free(self->loop);
    memory_bus_free(self->memory);
    check_free(self->check);
    g_ptr_array_free(self->steps, TRUE);
    g_ptr_array_free(self->asks, TRUE);
}

void service_fuzz(const VbService *service, VbStateJudge judge, const uint8_t *data,
                  size_t size_bytes)
{
    g_autoptr(VbArena) arena = arena_new();
    World self = {.arena = arena, .judge = judge};
    self.story = fuzz__story__unpack(arena_allocator(arena, SIZE_MAX), size_bytes, data);
    if (self.story == NULL) {
        return;
    }
    world = &self;
    log_start("fuzz", VB_LOG_ERROR + 1, VB_LOG_TEXT);
    world_open(&self, service);
    for (size_t i = 0; i < MIN(self.story->n_moves, (size_t)MOVES_MAX); i++) {
        move_play(self.story->moves[i]);
    }
    end_judge();
    world_close(&self);
}

/* ---- Mutation: both fuzzers of a service have the same */

static const char *const words[] = {"$vm",         "$h0",
                                    "$h1",         "$h3",
                                    "$op",         "$r0",
                                    "$r1",         "$r2",
                                    "$v0",         "$v1",
                                    "$v2",         "",
                                    "q35",         "pc",
                                    "kvm",         "br0",
                                    "../x",        "a b",
                                    "pc-q35-7.2",  "default",
                                    "local",       "x\t",
                                    "\xff",        "disk/0",
                                    "nic/1",       "52:54:00:12:34:56",
                                    "/run/x.sock", NULL};

size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size_bytes, size_t max_bytes, unsigned seed)
{
    size_t mutated = 0;
    if (seed % 16 != 0) {
        mutated =
            mutate_message(&fuzz__story__descriptor, words, data, size_bytes, max_bytes, seed);
    }
    return mutated > 0 ? mutated : LLVMFuzzerMutate(data, size_bytes, max_bytes);
}

size_t LLVMFuzzerCustomCrossOver(const uint8_t *a, size_t a_bytes, const uint8_t *b, size_t b_bytes,
                                 uint8_t *out, size_t max_bytes, unsigned seed)
{
    return mutate_cross(&fuzz__story__descriptor, a, a_bytes, b, b_bytes, out, max_bytes, seed);
}
