/* `replay`: a recording through the cores of this build, compared with what was recorded. It knows
 * the file and nothing else: no broker, no host, no clock. */
#include <stdio.h>
#include <string.h>

#include "common/base/uuid.h"
#include "common/bus/replay.h"
#include "common/runtime/log.h"
#include "services/vm-service/vm_core.h"
#include "services/volume-service/volume_core.h"
#include "tools/virtbusctl/args.h"
#include "tools/virtbusctl/model.h"
#include "tools/virtbusctl/print.h"
#include "tools/virtbusctl/replay_story.h"
#include "tools/virtbusctl/style.h"

typedef struct {
    Ctl *ctl;
    char *vm;
    char *until;
    gboolean explain;
    const char *vm_uuid; /* NULL: all. */
    gint64 until_ms;
} Replay;

static void replay_clear(Replay *replay)
{
    g_free(replay->vm);
    g_free(replay->until);
}
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(Replay, replay_clear)

/* ---- What is asked for */

static const VbBusRecord *record_named(const VbRecording *recording, const char *text)
{
    g_auto(GStrv) words = g_strsplit_set(text, "/@", -1);
    VbTopic topic;
    if (g_strv_length(words) != 3 || !topic_parse(words[0], &topic)) {
        return NULL;
    }
    const VbRecordedLog *log =
        recording_log(recording, topic, NULL, (int)g_ascii_strtoll(words[1], NULL, 10));
    return log != NULL ? recorded_log_find(log, g_ascii_strtoll(words[2], NULL, 10)) : NULL;
}

static gboolean until_find(Replay *replay, const VbRecording *recording, GError **error)
{
    replay->until_ms = G_MAXINT64;
    if (replay->until == NULL) {
        return TRUE;
    }
    g_autoptr(GTimeZone) local = g_time_zone_new_local();
    g_autoptr(GDateTime) time = g_date_time_new_from_iso8601(replay->until, local);
    const VbBusRecord *record = record_named(recording, replay->until);
    if (time != NULL) {
        replay->until_ms =
            g_date_time_to_unix(time) * 1000 + g_date_time_get_microsecond(time) / 1000;
    } else if (record != NULL && record->time_ms != 0) {
        replay->until_ms = record->time_ms;
    } else {
        g_set_error(error, CTL_ERROR, CTL_USAGE,
                    "--until: \"%s\" is neither a time (2026-01-31T12:34:56.789Z) nor an input of "
                    "the recording (vm.commands/3@17)",
                    replay->until);
        return FALSE;
    }
    return TRUE;
}

/* The VM's name in its last recorded state; in the arena. NULL: none. */
static const char *name_of(VbArena *arena, const VbBusRecord *record)
{
    StateRecord *state = record->value == NULL
                             ? NULL
                             : state_record__unpack(arena_allocator(arena, SIZE_MAX),
                                                    record->value_bytes, record->value);
    const VmRecord *vm = state != NULL ? model_vm(state) : NULL;
    return vm != NULL && vm->spec != NULL ? vm->spec->name : NULL;
}

/* Every VM that has a state in the recording -> its last state record. */
static GHashTable *vms_of(const VbRecording *recording)
{
    GHashTable *vms = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL);
    for (guint i = 0; i < recording->logs->len; i++) {
        const VbRecordedLog *log = g_ptr_array_index(recording->logs, i);
        for (guint j = 0; log->topic == TOPIC_VM_STATE && j < log->records->len; j++) {
            VbBusRecord *record = g_ptr_array_index(log->records, j);
            g_hash_table_replace(vms, g_strndup(record->key, record->key_bytes), record);
        }
    }
    return vms;
}

/* A VM by its name, or the only one there is for `word` NULL. */
static const char *vm_named(Replay *replay, const VbRecording *recording, const char *word,
                            GError **error)
{
    g_autoptr(GHashTable) vms = vms_of(recording);
    const char *found = NULL;
    guint n = 0;
    GHashTableIter iter;
    gpointer uuid;
    gpointer record;
    g_hash_table_iter_init(&iter, vms);
    while (g_hash_table_iter_next(&iter, &uuid, &record)) {
        const char *name = name_of(replay->ctl->arena, record);
        if (word == NULL || g_strcmp0(name, word) == 0) {
            found = arena_strdup(replay->ctl->arena, uuid);
            n++;
        }
    }
    if (n == 1) {
        return found;
    }
    g_set_error(error, CTL_ERROR, CTL_USAGE,
                word != NULL ? "the recording has %u VMs of the name \"%s\": give the uuid"
                             : "the recording has %u VMs: say with --vm whose story to tell%s",
                n, word != NULL ? word : "");
    return NULL;
}

static gboolean vm_find(Replay *replay, const VbRecording *recording, GError **error)
{
    if (replay->vm != NULL && uuid_is_valid(replay->vm)) {
        replay->vm_uuid = replay->vm;
    } else if (replay->vm != NULL || replay->explain) {
        replay->vm_uuid = vm_named(replay, recording, replay->vm, error);
        return replay->vm_uuid != NULL;
    }
    return TRUE;
}

/* ---- What is said */

static const char *words_or_nothing(const char *words)
{
    return words != NULL ? words : "nothing";
}

static void difference_print(const VbReplayDifference *difference)
{
    g_autofree char *recorded = style_safe(words_or_nothing(difference->recorded));
    g_autofree char *replayed = style_safe(words_or_nothing(difference->replayed));
    printf("the first difference:\n  record    %s\n", difference->place);
    if (*difference->step != '\0') {
        printf("  step      %s\n", difference->step);
    }
    if (*difference->vm_uuid != '\0') {
        printf("  VM        %s\n", difference->vm_uuid);
    }
    if (*difference->path != '\0') {
        printf("  field     %s\n", difference->path);
    }
    printf("  recorded  %s\n  replayed  %s\n", recorded, replayed);
}

static void note(guint64 number, const char *text)
{
    if (number > 0) {
        printf("%" G_GUINT64_FORMAT " %s\n", number, text);
    }
}

static void logic_print(const VbReplayResult *result)
{
    for (guint i = 0; i < result->logic->len; i++) {
        const VbReplayLogic *logic = &g_array_index(result->logic, VbReplayLogic, i);
        if (logic->recorded_version != logic->service->logic_version) {
            printf("%s: recorded by logic %u, replayed by %u: %" G_GUINT64_FORMAT
                   " of %" G_GUINT64_FORMAT " steps differ\n",
                   logic->service->name, logic->recorded_version, logic->service->logic_version,
                   logic->n_different, logic->n_steps);
        }
    }
}

static void result_print(const VbRecording *recording, const VbReplayResult *result)
{
    g_autoptr(GDateTime) time = g_date_time_new_from_unix_utc(recording->header->time_ms / 1000);
    g_autofree char *when =
        time != NULL ? g_date_time_format(time, "%Y-%m-%d %H:%M:%S UTC") : g_strdup("?");
    printf("%s, recorded %s: %" G_GUINT64_FORMAT " records\n", recording->header->prefix, when,
           recording->n_records);
    printf("%" G_GUINT64_FORMAT " steps of %" G_GUINT64_FORMAT " VMs, in %" G_GUINT64_FORMAT
           " transactions, from %" G_GUINT64_FORMAT " inputs\n",
           result->n_steps, result->n_vms, result->n_transactions, result->n_records);
    printf("%" G_GUINT64_FORMAT " states and %" G_GUINT64_FORMAT " outputs compared\n",
           result->n_states, result->n_outputs);
    note(result->n_vms_unknown, "VMs: their beginning is not recorded");
    note(result->n_steps_unknown, "steps of them were not made");
    note(result->n_states_compacted, "states were made that the log has not kept");
    note(result->n_before, "records are from before the journals begin");
    note(result->n_beyond, "things made are written behind the recording's end");
    note(result->n_unconsumed, "inputs were not taken by then");
    logic_print(result);
    printf("%" G_GUINT64_FORMAT " differences\n", result->n_differences);
    if (result->differences->len > 0) {
        difference_print(g_ptr_array_index(result->differences, 0));
    }
}

static void text_set(JsonObject *object, const char *name, const char *text)
{
    if (text != NULL) {
        g_autofree char *valid = g_utf8_make_valid(text, -1);
        json_object_set_string_member(object, name, valid);
    }
}

static JsonArray *differences_to_json(const VbReplayResult *result)
{
    JsonArray *list = json_array_new();
    for (guint i = 0; i < result->differences->len; i++) {
        const VbReplayDifference *difference = g_ptr_array_index(result->differences, i);
        JsonObject *object = json_object_new();
        text_set(object, "record", difference->place);
        text_set(object, "step", difference->step);
        text_set(object, "vm_uuid", difference->vm_uuid);
        text_set(object, "field", difference->path);
        text_set(object, "recorded", difference->recorded);
        text_set(object, "replayed", difference->replayed);
        json_object_set_boolean_member(object, "other_logic", difference->is_logic);
        json_array_add_object_element(list, object);
    }
    return list;
}

static JsonArray *logic_to_json(const VbReplayResult *result)
{
    JsonArray *list = json_array_new();
    for (guint i = 0; i < result->logic->len; i++) {
        const VbReplayLogic *logic = &g_array_index(result->logic, VbReplayLogic, i);
        JsonObject *object = json_object_new();
        text_set(object, "service", logic->service->name);
        json_object_set_int_member(object, "recorded", logic->recorded_version);
        json_object_set_int_member(object, "replayed", logic->service->logic_version);
        json_object_set_int_member(object, "steps", (gint64)logic->n_steps);
        json_object_set_int_member(object, "different", (gint64)logic->n_different);
        json_array_add_object_element(list, object);
    }
    return list;
}

static void result_print_json(const VbRecording *recording, const VbReplayResult *result,
                              ReplayStory *story)
{
    const struct {
        const char *name;
        guint64 number;
    } numbers[] = {
        {"records", recording->n_records},
        {"inputs", result->n_records},
        {"transactions", result->n_transactions},
        {"steps", result->n_steps},
        {"vms", result->n_vms},
        {"states", result->n_states},
        {"outputs", result->n_outputs},
        {"vms_without_beginning", result->n_vms_unknown},
        {"steps_not_made", result->n_steps_unknown},
        {"states_compacted", result->n_states_compacted},
        {"before_journals", result->n_before},
        {"beyond_end", result->n_beyond},
        {"not_taken", result->n_unconsumed},
        {"differences", result->n_differences},
        {"other_logic_differences", result->n_logic_differences},
    };
    JsonObject *object = json_object_new();
    for (gsize i = 0; i < G_N_ELEMENTS(numbers); i++) {
        json_object_set_int_member(object, numbers[i].name, (gint64)numbers[i].number);
    }
    json_object_set_array_member(object, "logic", logic_to_json(result));
    json_object_set_array_member(object, "found", differences_to_json(result));
    if (story != NULL) {
        json_object_set_member(object, "story", story_to_json(story));
    }
    print_json(json_node_init_object(json_node_alloc(), object));
    json_object_unref(object);
}

/* ---- The command */

static void visit_take(const VbReplayVisit *visit, void *user)
{
    const Replay *replay = ((gpointer *)user)[0];
    if (strcmp(visit->vm_uuid, replay->vm_uuid) == 0) {
        story_add(((gpointer *)user)[1], visit);
    }
}

static CtlStatus recording_replay(Replay *replay, const VbRecording *recording)
{
    static const VbService *const services[] = {&vm_service, &volume_service};
    g_autoptr(ReplayStory) story = replay->explain ? story_new(replay->ctl) : NULL;
    gpointer user[] = {replay, story};
    VbReplayConfig config = {.services = services,
                             .n_services = G_N_ELEMENTS(services),
                             .vm_uuid = replay->vm_uuid,
                             .until_ms = replay->until_ms,
                             .visit = replay->explain ? visit_take : NULL,
                             .user = user};
    /* What a service logs was logged when it was recorded. */
    log_start("virtbusctl", VB_LOG_ERROR + 1, VB_LOG_TEXT);
    g_autoptr(VbReplayResult) result = replay_run(recording, &config);
    if (replay->ctl->json) {
        result_print_json(recording, result, story);
    } else {
        if (story != NULL) {
            story_print(story);
            printf("\n");
        }
        result_print(recording, result);
    }
    if (result->n_differences > 0) {
        return CTL_FAILED;
    }
    return result->n_logic_differences > 0 ? CTL_OTHER_LOGIC : CTL_DONE;
}

char *replay_help(void)
{
    return g_strdup(
        "The cores of this virtbusctl make each step of the recording's journals again, and every\n"
        "state, output and journal record is compared byte for byte. Exit status 0 says that all\n"
        "are equal; 5 that some differ, but only where another logic version stepped; 1 that some\n"
        "differ where they must not.\n");
}

CtlStatus cmd_replay(Ctl *ctl)
{
    g_auto(GStrv) words = NULL;
    g_auto(Replay) replay = {.ctl = ctl};
    g_autoptr(GError) error = NULL;
    g_autoptr(GError) cause = NULL;
    const GOptionEntry flags[] = {
        {"vm", 0, 0, G_OPTION_ARG_STRING, &replay.vm, "Only the steps of this VM", "VM"},
        {"until", 0, 0, G_OPTION_ARG_STRING, &replay.until,
         "Make no later step; a time, or a record as vm timeline names it: vm.commands/3@17",
         "WHEN"},
        {"explain", 0, 0, G_OPTION_ARG_NONE, &replay.explain,
         "Tell the story of one VM step by step: what came, what changed, what went out", NULL},
        {0},
    };
    if (!args_parse_offline(ctl, flags, 1, &words, &error)) {
        return ctl_fail(ctl, error);
    }
    g_autoptr(VbRecording) recording = recording_open(words[0], &cause);
    if (recording == NULL) {
        g_set_error(&error, CTL_ERROR, CTL_FAILED, "%s: %s", words[0], cause->message);
    }
    if (recording == NULL || !vm_find(&replay, recording, &error) ||
        !until_find(&replay, recording, &error)) {
        return ctl_fail(ctl, error);
    }
    return recording_replay(&replay, recording);
}
