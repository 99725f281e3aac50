#include "tests/lib/story_world.h"

#include <string.h>

#include "common/base/error.h"
#include "common/base/message.h"
#include "services/vm-service/vm_core.h"
#include "services/volume-service/volume_core.h"
#include "tests/lib/story_print.h"

enum { DEADLINES_MAX = 10000 }; /* In one passing of time; more never end. */

/* A record on its way to a core. */
typedef struct {
    VbTopic topic;
    const void *message;
} Between;

/* One run of a step function. */
typedef struct {
    VbStepResult result;
    StateRecord *state;
    GArray *outputs;
    gboolean input_touched;
} Run;

static Settings *default_settings(VbArena *arena)
{
    Settings *settings = ARENA_MSG(arena, settings);
    settings->secure_boot_default = TOGGLE_OFF;
    settings->start_timeout_ms = 60 * 1000;
    settings->stop_timeout_ms = 60 * 1000;
    settings->expunge_timeout_ms = 60 * 1000;
    settings->allowed_skew_ms = 5 * 1000;
    settings->nvram_retain_ms = G_GINT64_CONSTANT(30) * 24 * 60 * 60 * 1000;
    settings->expunged_keep_ms = G_GINT64_CONSTANT(15) * 24 * 60 * 60 * 1000;
    settings->delete_retry_ms = 10 * 1000;
    return settings;
}

StoryWorld *world_new(void)
{
    StoryWorld *world = g_new0(StoryWorld, 1);
    world->arena = arena_new();
    world->names = names_new();
    world->check = check_new();
    world->settings = default_settings(world->arena);
    world->now_ms = STORY_BEGIN_MS;
    world->services[WORLD_VM].service = &vm_service;
    world->services[WORLD_VOLUMES].service = &volume_service;
    for (int i = 0; i < WORLD_SERVICES; i++) {
        world->services[i].waiting = g_queue_new();
    }
    world->between = g_queue_new();
    world->asks = g_ptr_array_new();
    world->no_topic = g_hash_table_new(g_str_hash, g_str_equal);
    world->requests = g_hash_table_new(g_str_hash, g_str_equal);
    world->lines = g_ptr_array_new_with_free_func(g_free);
    return world;
}

void world_free(StoryWorld *world)
{
    for (int i = 0; i < WORLD_SERVICES; i++) {
        g_clear_pointer(&world->services[i].state, g_bytes_unref);
        g_queue_free(world->services[i].waiting);
    }
    g_queue_free(world->between);
    g_ptr_array_free(world->asks, TRUE);
    g_hash_table_destroy(world->no_topic);
    g_hash_table_destroy(world->requests);
    g_ptr_array_free(world->lines, TRUE);
    g_free(world->broken);
    check_free(world->check);
    names_free(world->names);
    arena_free(world->arena);
    g_free(world);
}

const char *world_vm_uuid(StoryWorld *world)
{
    return names_uuid(world->names, "$vm");
}

void world_say(StoryWorld *world, const char *who, const char *text)
{
    g_ptr_array_add(world->lines, print_line(who, text));
}

/* Takes over the sentence; NULL: nothing is broken. */
static void break_with(StoryWorld *world, char *sentence)
{
    if (sentence != NULL && world->broken == NULL) {
        world->broken = names_text(world->names, sentence);
    }
    g_free(sentence);
}

static gboolean equal_messages(const void *a, const void *b)
{
    if (a == NULL || b == NULL) {
        return a == b;
    }
    g_autoptr(GBytes) left = message_pack(a);
    g_autoptr(GBytes) right = message_pack(b);
    return g_bytes_equal(left, right);
}

StateRecord *world_state(StoryWorld *world, const WorldService *owner)
{
    if (owner->state == NULL) {
        return NULL;
    }
    gsize size_bytes;
    const void *bytes = g_bytes_get_data(owner->state, &size_bytes);
    return (StateRecord *)protobuf_c_message_unpack(
        &state_record__descriptor, arena_allocator(world->arena, SIZE_MAX), size_bytes, bytes);
}

/* --- Steps */

static Run run_once(StoryWorld *world, const WorldService *owner, const VbStepInput *input,
                    const Error *refusal)
{
    VbStepInput own = *input;
    own.record = arena_copy(world->arena, input->record);
    own.runtime = arena_copy(world->arena, input->runtime);
    own.settings = arena_copy(world->arena, input->settings);
    Run run = {.outputs = g_array_new(FALSE, FALSE, sizeof(VbOutput))};
    VbStep step = {.input = &own,
                   .arena = world->arena,
                   .state = world_state(world, owner),
                   .outputs = run.outputs};
    if (refusal != NULL) {
        owner->service->refuse(&step, ((const VmCommand *)own.record)->request_id, refusal);
    } else {
        run.result = owner->service->step(&step);
    }
    run.state = step.state;
    run.input_touched = !equal_messages(own.record, input->record) ||
                        !equal_messages(own.runtime, input->runtime) ||
                        !equal_messages(own.settings, input->settings);
    return run;
}

static gboolean equal_runs(const Run *a, const Run *b)
{
    if (a->result != b->result || a->outputs->len != b->outputs->len ||
        !equal_messages(a->state, b->state)) {
        return FALSE;
    }
    for (guint i = 0; i < a->outputs->len; i++) {
        const VbOutput *left = &g_array_index(a->outputs, VbOutput, i);
        const VbOutput *right = &g_array_index(b->outputs, VbOutput, i);
        if (left->topic != right->topic || g_strcmp0(left->host_uuid, right->host_uuid) != 0 ||
            !equal_messages(left->message, right->message)) {
            return FALSE;
        }
    }
    return TRUE;
}

/* What the bus does with a state: only a changed one gets a new version, and is kept. */
static void commit_state(StoryWorld *world, WorldService *owner, StateRecord *state)
{
    guint64 version = 0;
    if (owner->state != NULL) {
        version = world_state(world, owner)->version;
    }
    g_autoptr(GBytes) packed = state != NULL ? message_pack(state) : NULL;
    gboolean same = packed == NULL || owner->state == NULL ? packed == owner->state
                                                           : g_bytes_equal(packed, owner->state);
    if (same) {
        return;
    }
    g_clear_pointer(&owner->state, g_bytes_unref);
    owner->muted = FALSE;
    if (state != NULL) {
        state->version = version + 1;
        state->logic_version = owner->service->logic_version;
        state->step_ms = world->now_ms;
        owner->state = message_pack(state);
    }
}

/* An output must be one that its reader would take. */
static char *check_form(StoryWorld *world, const VbOutput *output)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(GBytes) packed = message_pack(output->message);
    gsize size_bytes;
    const void *bytes = g_bytes_get_data(packed, &size_bytes);
    const ProtobufCMessage *message =
        message_unpack(world->arena, topic_info(output->topic)->message, bytes, size_bytes, &error);
    if (message == NULL || !message_check(message, &error)) {
        return g_strdup_printf("K5: an output to %s is refused by its reader: %s",
                               topic_info(output->topic)->suffix, error->message);
    }
    return NULL;
}

static gboolean reads(const VbService *service, VbTopic topic)
{
    for (size_t i = 0; i < service->n_inputs; i++) {
        if (service->inputs[i] == topic) {
            return TRUE;
        }
    }
    return FALSE;
}

static void route(StoryWorld *world, const VbOutput *output)
{
    void *message = arena_copy(world->arena, output->message);
    if (output->topic == TOPIC_HOST_COMMANDS) {
        HostAsk *ask = arena_alloc(world->arena, sizeof(*ask));
        ask->host_uuid = arena_strdup(world->arena, output->host_uuid);
        ask->command = message;
        if (!g_hash_table_contains(world->no_topic, ask->host_uuid)) {
            g_ptr_array_add(world->asks, ask);
        }
        return;
    }
    Between *record = arena_alloc(world->arena, sizeof(*record));
    *record = (Between){.topic = output->topic, .message = message};
    g_queue_push_tail(world->between, record);
}

static void step_service(StoryWorld *world, WorldService *owner, const VbStepInput *input,
                         const Error *refusal);

/* Every host command of the step that cannot be sent is told to the core before anything else. */
static void tell_undeliverable(StoryWorld *world, WorldService *owner, const GArray *outputs)
{
    for (guint i = 0; i < outputs->len; i++) {
        const VbOutput *output = &g_array_index(outputs, VbOutput, i);
        if (output->topic != TOPIC_HOST_COMMANDS ||
            !g_hash_table_contains(world->no_topic, output->host_uuid)) {
            continue;
        }
        const HostCommand *command = output->message;
        RuntimeInput *input = ARENA_MSG(world->arena, runtime_input);
        input->input_case = RUNTIME_INPUT__INPUT_UNDELIVERABLE;
        input->undeliverable = ARENA_MSG(world->arena, undeliverable);
        input->undeliverable->host_uuid = (char *)output->host_uuid;
        input->undeliverable->operation_id = command->operation_id;
        world_say(world, names_of(world->names, output->host_uuid, "host"), "is unknown");
        step_service(world, owner, &(VbStepInput){.runtime = input}, NULL);
    }
}

static void take_outputs(StoryWorld *world, const GArray *outputs)
{
    for (guint i = 0; i < outputs->len; i++) {
        const VbOutput *output = &g_array_index(outputs, VbOutput, i);
        g_ptr_array_add(world->lines, print_output(world->names, output));
        break_with(world, check_form(world, output));
        route(world, output);
    }
}

static void step_service(StoryWorld *world, WorldService *owner, const VbStepInput *given,
                         const Error *refusal)
{
    VbStepInput input = *given;
    input.vm_uuid = world_vm_uuid(world);
    input.time_ms = world->now_ms;
    input.settings = world->settings;
    StateRecord *before = world_state(world, owner);
    Run run = run_once(world, owner, &input, refusal);
    Run twin = run_once(world, owner, &input, refusal);
    if (!equal_runs(&run, &twin)) {
        break_with(world, g_strdup("I7: the same step came out differently"));
    } else if (run.input_touched) {
        break_with(world, g_strdup("I7: the step changed its input"));
    } else if (run.result != STEP_OK) {
        break_with(world, g_strdup_printf("%s: STEP_FAULT", owner->service->name));
    } else {
        commit_state(world, owner, run.state);
        take_outputs(world, run.outputs);
        StoryStep step = {.service = owner->service,
                          .runtime = input.runtime,
                          .before = before,
                          .after = world_state(world, owner),
                          .outputs = run.outputs,
                          .now_ms = world->now_ms};
        break_with(world, check_step(world->check, &step));
        tell_undeliverable(world, owner, run.outputs);
    }
    g_array_free(run.outputs, TRUE);
    g_array_free(twin.outputs, TRUE);
}

/* --- What comes from outside */

/* As the bus does: what is malformed never reaches the step, and is answered if it can be. */
static void step_record(StoryWorld *world, WorldService *owner, const Between *record)
{
    g_autoptr(GError) gerror = NULL;
    Error *refusal = NULL;
    if (!message_check(record->message, &gerror)) {
        refusal = error_from_gerror(world->arena, gerror);
    }
    VbStepInput input = {.record = record->message, .topic = record->topic};
    step_service(world, owner, &input, refusal);
}

static void hand_over(StoryWorld *world, const Between *record)
{
    for (int i = 0; i < WORLD_SERVICES; i++) {
        WorldService *owner = &world->services[i];
        if (!reads(owner->service, record->topic)) {
            continue;
        }
        if (owner->down) {
            g_queue_push_tail(owner->waiting, (gpointer)record);
        } else {
            step_record(world, owner, record);
        }
    }
}

static void settle(StoryWorld *world)
{
    while (world->broken == NULL && !g_queue_is_empty(world->between)) {
        hand_over(world, g_queue_pop_head(world->between));
    }
}

void world_deliver(StoryWorld *world, VbTopic topic, const void *message)
{
    Between *record = arena_alloc(world->arena, sizeof(*record));
    *record = (Between){.topic = topic, .message = message};
    hand_over(world, record);
    settle(world);
}

void world_runtime(StoryWorld *world, WorldService *owner, const RuntimeInput *input)
{
    step_service(world, owner, &(VbStepInput){.runtime = input}, NULL);
    settle(world);
}

/* The service whose deadline is next, not after `time_ms`; NULL: there is none. */
static WorldService *next_due(StoryWorld *world, gint64 time_ms, StateRecord **ret_state)
{
    WorldService *due = NULL;
    for (int i = 0; i < WORLD_SERVICES; i++) {
        WorldService *owner = &world->services[i];
        StateRecord *state = owner->muted || owner->down ? NULL : world_state(world, owner);
        if (state == NULL || state->deadline_ms == 0 || state->deadline_ms > time_ms) {
            continue;
        }
        if (due == NULL || state->deadline_ms < (*ret_state)->deadline_ms) {
            due = owner;
            *ret_state = state;
        }
    }
    return due;
}

void world_pass_until(StoryWorld *world, gint64 time_ms)
{
    for (guint i = 0; world->broken == NULL; i++) {
        StateRecord *state = NULL;
        WorldService *due = next_due(world, time_ms, &state);
        if (due == NULL) {
            break;
        }
        if (i == DEADLINES_MAX) {
            break_with(world, g_strdup("deadlines elapse without end"));
            break;
        }
        world->now_ms = MAX(world->now_ms, state->deadline_ms);
        g_autoptr(GString) when = g_string_new("deadline elapsed at ");
        names_append_time(when, world->now_ms);
        world_say(world, due->service->name, when->str);
        RuntimeInput *input = ARENA_MSG(world->arena, runtime_input);
        input->input_case = RUNTIME_INPUT__INPUT_DEADLINE_ELAPSED;
        input->deadline_elapsed = ARENA_MSG(world->arena, deadline_elapsed);
        input->deadline_elapsed->deadline_id = state->deadline_id;
        due->muted = TRUE;
        world_runtime(world, due, input);
    }
    world->now_ms = MAX(world->now_ms, time_ms);
}

void world_set_down(StoryWorld *world, WorldService *owner, gboolean down)
{
    owner->down = down;
    while (!down && !g_queue_is_empty(owner->waiting)) {
        step_record(world, owner, g_queue_pop_head(owner->waiting));
        settle(world);
    }
    world_pass_until(world, world->now_ms);
}

void world_plant(StoryWorld *world, WorldService *owner, StateRecord *state)
{
    commit_state(world, owner, state);
    check_planted(world->check, state);
}
