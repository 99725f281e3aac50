/* story_seeds: makes seeds for fuzz_vm_step and fuzz_volume_step of all that the stories of
 * tests/scenario give the two services, and for fuzz_domain_xml of what they ask of hosts.
 *
 * usage: story_seeds FOLDER     writes FOLDER/vm_step/STORY and so on
 *
 * The linker puts __wrap_world_new in place of world_new, so that each world steps through the
 * recorder. An answer to a command is written as one ("answers"), so that it still fits after a
 * mutation has changed every derived id. */
#include <string.h>

#include "common/base/json.h"
#include "common/base/message.h"
#include "fuzz.pb-c.h"
#include "tests/fuzz/seed_write.h"
#include "tests/lib/story.h"
#include "tests/lib/story_world.h"

typedef struct {
    const VbService *real;
    VbService service;
    const char *folder;
    Fuzz__Story *story;
    gint64 last_ms;
    guint n_steps;   /* The world makes each step twice. */
    GPtrArray *asks; /* of VbOutput */
} Recorder;

static VbArena *arena;
static Recorder recorders[WORLD_SERVICES];

StoryWorld *__real_world_new(void);
StoryWorld *__wrap_world_new(void);

static void answer_note(Fuzz__Move *move, GPtrArray *asks, char **operation_id, gboolean of_host)
{
    guint about = 0;
    for (guint i = asks->len; i > 0 && **operation_id != '\0'; i--) {
        const VbOutput *ask = g_ptr_array_index(asks, i - 1);
        if ((ask->topic == TOPIC_HOST_COMMANDS) != of_host) {
            continue;
        }
        const char *id = of_host ? ((const HostCommand *)ask->message)->operation_id
                                 : ((const VolumeCommand *)ask->message)->operation_id;
        if (strcmp(id, *operation_id) == 0) {
            move->answers = 1;
            move->about = about;
            *operation_id = (char *)"";
            return;
        }
        about++;
    }
}

static void record_note(Recorder *recorder, Fuzz__Move *move, const VbStepInput *input)
{
    static const Fuzz__Move__RecordCase cases[TOPIC_COUNT] = {
        [TOPIC_VM_COMMANDS] = FUZZ__MOVE__RECORD_VM_COMMAND,
        [TOPIC_VM_REPORTS] = FUZZ__MOVE__RECORD_VM_REPORT,
        [TOPIC_VOLUME_EVENTS] = FUZZ__MOVE__RECORD_VOLUME_EVENT,
        [TOPIC_VOLUME_COMMANDS] = FUZZ__MOVE__RECORD_VOLUME_COMMAND,
        [TOPIC_VOLUME_REPORTS] = FUZZ__MOVE__RECORD_VOLUME_REPORT,
    };
    move->record_case = cases[input->topic];
    move->vm_command = arena_copy(arena, input->record);
    if (input->topic == TOPIC_VM_REPORTS || input->topic == TOPIC_VOLUME_REPORTS) {
        answer_note(move, recorder->asks, &move->vm_report->operation_id, TRUE);
    } else if (input->topic == TOPIC_VOLUME_EVENTS) {
        answer_note(move, recorder->asks, &move->volume_event->operation_id, FALSE);
    }
}

static void input_note(Recorder *recorder, const VbStepInput *input)
{
    const RuntimeInput *runtime = input->runtime;
    Fuzz__Story *story = recorder->story;
    if (runtime != NULL && runtime->input_case == RUNTIME_INPUT__INPUT_UNDELIVERABLE) {
        return; /* It comes by itself. */
    }
    Fuzz__Move *move = ARENA_MSG(arena, fuzz__move);
    if (runtime != NULL) {
        move->to_deadline = runtime->input_case == RUNTIME_INPUT__INPUT_DEADLINE_ELAPSED;
        move->refused = !move->to_deadline;
    } else {
        move->pass_ms = input->time_ms - recorder->last_ms;
        record_note(recorder, move, input);
    }
    recorder->last_ms = input->time_ms;
    story->vm_uuid = arena_strdup(arena, input->vm_uuid);
    story->settings = arena_copy(arena, input->settings);
    ARENA_APPEND(arena, story->n_moves, story->moves, move);
}

static void outputs_note(Recorder *recorder, const GArray *outputs)
{
    for (guint i = 0; i < outputs->len; i++) {
        const VbOutput *output = &g_array_index(outputs, VbOutput, i);
        if (output->topic != TOPIC_HOST_COMMANDS && output->topic != TOPIC_VOLUME_COMMANDS) {
            continue;
        }
        VbOutput *ask = arena_alloc(arena, sizeof(*ask));
        *ask = (VbOutput){.topic = output->topic, .message = arena_copy(arena, output->message)};
        g_ptr_array_add(recorder->asks, ask);
        if (output->host_uuid != NULL) {
            char *host_uuid = arena_strdup(arena, output->host_uuid);
            ARENA_APPEND(arena, recorder->story->n_host_uuids, recorder->story->host_uuids,
                         host_uuid);
        }
    }
}

static VbStepResult recorded_step(Recorder *recorder, VbStep *step)
{
    gboolean first = recorder->n_steps++ % 2 == 0;
    if (first) {
        input_note(recorder, step->input);
    }
    VbStepResult result = recorder->real->step(step);
    if (first && result == STEP_OK) {
        outputs_note(recorder, step->outputs);
    }
    return result;
}

static VbStepResult vm_recorded_step(VbStep *step)
{
    return recorded_step(&recorders[WORLD_VM], step);
}

static VbStepResult volume_recorded_step(VbStep *step)
{
    return recorded_step(&recorders[WORLD_VOLUMES], step);
}

StoryWorld *__wrap_world_new(void)
{
    StoryWorld *world = __real_world_new();
    for (int i = 0; i < WORLD_SERVICES; i++) {
        Recorder *recorder = &recorders[i];
        recorder->real = world->services[i].service;
        recorder->service = *recorder->real;
        recorder->service.step = i == WORLD_VM ? vm_recorded_step : volume_recorded_step;
        recorder->folder = i == WORLD_VM ? "vm_step" : "volume_step";
        recorder->story = ARENA_MSG(arena, fuzz__story);
        recorder->last_ms = world->now_ms;
        recorder->n_steps = 0;
        recorder->asks = g_ptr_array_new();
        world->services[i].service = &recorder->service;
    }
    return world;
}

/* Each host once. */
static void hosts_reduce(Fuzz__Story *story)
{
    size_t kept = 0;
    for (size_t i = 0; i < story->n_host_uuids; i++) {
        gboolean known = FALSE;
        for (size_t k = 0; k < kept; k++) {
            known = known || strcmp(story->host_uuids[k], story->host_uuids[i]) == 0;
        }
        if (!known) {
            story->host_uuids[kept++] = story->host_uuids[i];
        }
    }
    story->n_host_uuids = kept;
}

/* A message as text, behind the number by which fuzz_json knows its kind. */
static void json_write(const char *folder, const char *name, char kind, const void *message)
{
    g_autofree char *text = message_to_json_text(message, TRUE);
    g_autofree char *seed = g_strconcat("x", text, NULL);
    seed[0] = kind;
    seed_write_bytes(folder, "json", name, seed, strlen(text) + 1);
}

/* The agent's journal in the midst of this command: see fuzz_journal.c. */
static void journal_write(const char *folder, const char *name, const HostCommand *command)
{
    HostVm vm = HOST_VM__INIT;
    HostReport report = HOST_REPORT__INIT;
    HostReport *outbox[] = {&report};
    g_autofree HostCommand *own = g_memdup2(command, sizeof(*command));
    vm.vm_uuid = own->vm_uuid = report.vm_uuid = (char *)"7c9e6679-7425-40de-944b-e07fc1f90ae7";
    vm.epoch = own->epoch;
    vm.last_offset = 17;
    vm.phase = HOST_PHASE_WORKING;
    vm.command = own;
    vm.n_outbox = 1;
    vm.outbox = outbox;
    g_autoptr(GBytes) packed = message_pack(&vm);
    gsize size_bytes = g_bytes_get_size(packed);
    g_autofree guint8 *seed = g_malloc(size_bytes + 1);
    seed[0] = 1;
    memcpy(seed + 1, g_bytes_get_data(packed, NULL), size_bytes);
    seed_write_bytes(folder, "journal", name, seed, size_bytes + 1);
}

/* Every command that makes a domain's XML. */
static void commands_write(const char *folder, const char *name, const GPtrArray *asks)
{
    for (guint i = 0; i < asks->len; i++) {
        const VbOutput *ask = g_ptr_array_index(asks, i);
        const HostCommand *command = ask->message;
        if (ask->topic == TOPIC_HOST_COMMANDS &&
            (command->command_case == HOST_COMMAND__COMMAND_START_DOMAIN ||
             command->command_case == HOST_COMMAND__COMMAND_ATTACH_DEVICE)) {
            g_autofree char *file = g_strdup_printf("%s.%u", name, i);
            seed_write(folder, "domain_xml", file, command);
            journal_write(folder, file, command);
            json_write(folder, file, 3, command);
        }
    }
}

static void story_write(const char *folder, const char *path)
{
    g_autofree char *failure = NULL;
    g_autofree char *name = g_path_get_basename(path);
    arena = arena_new();
    if (!story_run(path, FALSE, &failure)) {
        g_error("%s", failure);
    }
    commands_write(folder, name, recorders[WORLD_VM].asks);
    for (int i = 0; i < WORLD_SERVICES; i++) {
        hosts_reduce(recorders[i].story);
        seed_write(folder, recorders[i].folder, name, recorders[i].story);
        g_ptr_array_free(recorders[i].asks, TRUE);
    }
    arena_free(arena);
}

int main(int argc, char **argv)
{
    g_assert(argc > 1);
    g_autoptr(GDir) stories = g_dir_open(SOURCE_DIR "/tests/scenario", 0, NULL);
    const char *name;
    while ((name = g_dir_read_name(stories)) != NULL) {
        g_autofree char *path = g_build_filename(SOURCE_DIR "/tests/scenario", name, NULL);
        if (g_str_has_suffix(name, ".story")) {
            story_write(argv[1], path);
        }
    }
    return 0;
}
