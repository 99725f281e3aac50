/* The script: its lines, and how each is played. It judges no core: story_check and the recording
 * do. */
#include "tests/lib/story.h"

#include <stdio.h>
#include <string.h>

#include "common/base/error.h"
#include "common/base/text.h"
#include "tests/lib/story_fields.h"
#include "tests/lib/story_host.h"
#include "tests/lib/story_print.h"
#include "tests/lib/story_world.h"

static const char INDENT[] = "    ";

/* One line that is played, with what is recorded below it. */
typedef struct {
    guint number;
    char *raw; /* As written, with its continuations. */
    char *text;
    GPtrArray *recorded;
    GPtrArray *said;
} Line;

typedef struct {
    char *folder;
    StoryWorld *world;
    GHashTable *defines; /* name -> words */
} Story;

static gboolean G_GNUC_PRINTF(2, 3) refuse(GError **error, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    g_autofree char *text = g_strdup_vprintf(format, args);
    va_end(args);
    g_set_error_literal(error, VB_ERROR, ERROR_CODE_INVALID_ARGUMENT, text);
    return FALSE;
}

/* --- Lines */

static void line_free(gpointer data)
{
    Line *line = data;
    g_free(line->raw);
    g_free(line->text);
    g_ptr_array_free(line->recorded, TRUE);
    g_ptr_array_free(line->said, TRUE);
    g_free(line);
}

static Line *line_new(guint number, const char *raw)
{
    Line *line = g_new0(Line, 1);
    line->number = number;
    line->raw = g_strdup(raw);
    line->text = g_strdup(raw);
    line->recorded = g_ptr_array_new_with_free_func(g_free);
    line->said = g_ptr_array_new_with_free_func(g_free);
    return line;
}

static void line_join(Line *line, const char *next)
{
    char *raw = g_strdup_printf("%s\n%s", line->raw, next);
    line->text[strlen(line->text) - 1] = '\0';
    char *text = g_strdup_printf("%s%s", line->text, next);
    g_free(line->raw);
    g_free(line->text);
    line->raw = raw;
    line->text = text;
}

/* NULL: the file cannot be read. */
static GPtrArray *lines_read(const char *path, GError **error)
{
    g_autofree char *bytes = NULL;
    if (!g_file_get_contents(path, &bytes, NULL, error)) {
        return NULL;
    }
    if (g_str_has_suffix(bytes, "\n")) {
        bytes[strlen(bytes) - 1] = '\0';
    }
    GPtrArray *lines = g_ptr_array_new_with_free_func(line_free);
    g_auto(GStrv) split = g_strsplit(bytes, "\n", -1);
    for (guint i = 0; split[i] != NULL; i++) {
        Line *last = lines->len > 0 ? g_ptr_array_index(lines, lines->len - 1) : NULL;
        if (last != NULL && g_str_has_suffix(last->text, "\\")) {
            line_join(last, split[i]);
        } else if (last != NULL && g_str_has_prefix(split[i], INDENT)) {
            g_ptr_array_add(last->recorded, g_strdup(split[i] + strlen(INDENT)));
        } else {
            g_ptr_array_add(lines, line_new(i + 1, split[i]));
        }
    }
    return lines;
}

static gboolean lines_write(const char *path, const GPtrArray *lines, GError **error)
{
    g_autoptr(GString) out = g_string_new(NULL);
    for (guint i = 0; i < lines->len; i++) {
        const Line *line = g_ptr_array_index(lines, i);
        g_string_append_printf(out, "%s\n", line->raw);
        for (guint j = 0; j < line->said->len; j++) {
            const char *said = g_ptr_array_index(line->said, j);
            g_string_append_printf(out, "%s%s\n", INDENT, said);
        }
    }
    return g_file_set_contents(path, out->str, (gssize)out->len, error);
}

/* --- What a line does */

static gboolean fields_set(Story *story, ProtobufCMessage *message, char **words, GError **error)
{
    for (guint i = 0; words[i] != NULL; i++) {
        if (!field_set(story->world->arena, story->world->names, message, words[i], error)) {
            return FALSE;
        }
    }
    return TRUE;
}

/* The words of a request with what their names stand for. Free with g_strfreev. */
static char **words_expand(Story *story, char **words)
{
    GPtrArray *all = g_ptr_array_new();
    for (guint i = 0; words[i] != NULL; i++) {
        char **meaning = g_hash_table_lookup(story->defines, words[i]);
        for (guint j = 0; meaning != NULL && meaning[j] != NULL; j++) {
            g_ptr_array_add(all, g_strdup(meaning[j]));
        }
        if (meaning == NULL) {
            g_ptr_array_add(all, g_strdup(words[i]));
        }
    }
    g_ptr_array_add(all, NULL);
    return (char **)g_ptr_array_free(all, FALSE);
}

static gboolean play_define(Story *story, char **words, GError **error)
{
    if (words[0] == NULL || strchr(words[0], '=') != NULL) {
        return refuse(error, "write: define NAME field=value ...");
    }
    g_hash_table_insert(story->defines, g_strdup(words[0]), words_expand(story, words + 1));
    return TRUE;
}

static gboolean time_parse(const char *text, gint64 *ret_ms)
{
    guint hours;
    guint minutes;
    guint seconds;
    char rest;
    if (sscanf(text, "%u:%u:%u%c", &hours, &minutes, &seconds, &rest) != 3) {
        return FALSE;
    }
    *ret_ms = STORY_BEGIN_MS + ((hours * 60 + minutes) * 60 + seconds) * 1000LL;
    return TRUE;
}

static gboolean play_pass(Story *story, char **words, GError **error)
{
    gint64 duration_ms;
    if (words[0] == NULL || !field_parse_number(words[0], &duration_ms) || duration_ms <= 0) {
        return refuse(error, "write: pass DURATION");
    }
    world_pass_until(story->world, story->world->now_ms + duration_ms);
    return TRUE;
}

/* --- Requests */

static const char *request_uuid(Story *story, const char *name)
{
    return names_uuid(story->world->names, name);
}

/* "timeout_ms=..." is the envelope's; the rest belongs to the command. */
static gboolean request_fields(Story *story, VmCommand *command, const char *kind, char **words,
                               GError **error)
{
    g_autofree char *body = g_strdup_printf("%s={}", kind);
    if (!field_set(story->world->arena, story->world->names, &command->base, body, error)) {
        return FALSE;
    }
    for (guint i = 0; words[i] != NULL; i++) {
        g_autofree char *field = g_str_has_prefix(words[i], "timeout_ms=")
                                     ? g_strdup(words[i])
                                     : g_strdup_printf("%s.%s", kind, words[i]);
        if (!field_set(story->world->arena, story->world->names, &command->base, field, error)) {
            return FALSE;
        }
    }
    return TRUE;
}

static gboolean play_request(Story *story, char **words, GError **error)
{
    StoryWorld *world = story->world;
    guint n = g_strv_length(words);
    if (n < 3 || strcmp(words[n - 2], "as") != 0) {
        return refuse(error, "\"%s\" is no line of a story; a request ends with: as NAME",
                      words[0]);
    }
    VmCommand *command = ARENA_MSG(world->arena, vm_command);
    command->vm_uuid = (char *)world_vm_uuid(world);
    command->request_id = (char *)request_uuid(story, words[n - 1]);
    check_asked(world->check, command->request_id, words[n - 1]);
    g_clear_pointer(&words[n - 2], g_free);
    g_clear_pointer(&words[n - 1], g_free);
    g_auto(GStrv) fields = words_expand(story, words + 1);
    if (strcmp(words[0], "no_command") != 0 &&
        !request_fields(story, command, words[0], fields, error)) {
        return FALSE;
    }
    g_hash_table_insert(world->requests, command->request_id, command);
    world_deliver(world, TOPIC_VM_COMMANDS, command);
    return TRUE;
}

static gboolean play_repeat(Story *story, char **words, GError **error)
{
    const VmCommand *command = words[0] != NULL ? g_hash_table_lookup(story->world->requests,
                                                                      request_uuid(story, words[0]))
                                                : NULL;
    if (command == NULL) {
        return refuse(error, "there was no such request");
    }
    world_deliver(story->world, TOPIC_VM_COMMANDS, command);
    return TRUE;
}

/* --- States */

static WorldService *service_named(Story *story, const char *name)
{
    if (g_strcmp0(name, "vm") == 0) {
        return &story->world->services[WORLD_VM];
    }
    return g_strcmp0(name, "volumes") == 0 ? &story->world->services[WORLD_VOLUMES] : NULL;
}

static gboolean play_show(Story *story, char **words, GError **error)
{
    StoryWorld *world = story->world;
    WorldService *owner = service_named(story, words[0]);
    if (owner == NULL) {
        return refuse(error, "write: show vm|volumes");
    }
    StateRecord *state = world_state(world, owner);
    if (strcmp(words[0], "vm") == 0) {
        print_vm(world->names, state, world->lines);
    } else {
        print_volumes(world->names, state, world->lines);
    }
    return TRUE;
}

static gboolean play_plant(Story *story, char **words, GError **error)
{
    StoryWorld *world = story->world;
    WorldService *owner = service_named(story, words[0]);
    if (owner == NULL) {
        return refuse(error, "write: plant vm|volumes field=value ...");
    }
    StateRecord *state = world_state(world, owner);
    if (state == NULL) {
        state = ARENA_MSG(world->arena, state_record);
        const char *body = strcmp(words[0], "vm") == 0 ? "vm={}" : "volumes={}";
        field_set(world->arena, world->names, &state->base, body, error);
    }
    for (guint i = 1; words[i] != NULL; i++) {
        gint64 duration_ms;
        if (g_str_has_prefix(words[i], "deadline=") &&
            field_parse_number(words[i] + strlen("deadline="), &duration_ms)) {
            state->deadline_ms = world->now_ms + duration_ms;
            state->deadline_id = arena_strdup(world->arena, "planted");
            continue;
        }
        ProtobufCMessage *body =
            strcmp(words[0], "vm") == 0 ? &state->vm->base : &state->volumes->base;
        if (!field_set(world->arena, world->names, body, words[i], error)) {
            return FALSE;
        }
    }
    world_plant(world, owner, state);
    return TRUE;
}

static gboolean play_poison(Story *story, char **words, GError **error)
{
    StoryWorld *world = story->world;
    WorldService *owner = service_named(story, words[0]);
    if (owner == NULL) {
        return refuse(error, "write: poison vm|volumes");
    }
    RuntimeInput *input = ARENA_MSG(world->arena, runtime_input);
    input->input_case = RUNTIME_INPUT__INPUT_POISONED;
    input->poisoned = ARENA_MSG(world->arena, poisoned);
    input->poisoned->topic = (char *)topic_info(owner->service->inputs[0])->suffix;
    input->poisoned->partition = 3;
    input->poisoned->offset = 41;
    input->poisoned->reason = arena_strdup(world->arena, "the step failed three times");
    world_runtime(world, owner, input);
    return TRUE;
}

static gboolean service_set_down(Story *story, char **words, gboolean down, GError **error)
{
    WorldService *owner = service_named(story, words[0]);
    if (owner == NULL || owner->down == down) {
        return refuse(error, "there is no such service, or it is so already");
    }
    world_set_down(story->world, owner, down);
    return TRUE;
}

static gboolean play_down(Story *story, char **words, GError **error)
{
    return service_set_down(story, words, TRUE, error);
}

static gboolean play_up(Story *story, char **words, GError **error)
{
    return service_set_down(story, words, FALSE, error);
}

static gboolean play_settings(Story *story, char **words, GError **error)
{
    return fields_set(story, &story->world->settings->base, words, error);
}

static gboolean play_host(Story *story, char **words, GError **error)
{
    return host_act(story->world, words, error);
}

static gboolean play_file(Story *story, const char *path, GError **error);

/* Only how it ended is said: where the VM and its volumes are now. */
static gboolean play_given(Story *story, char **words, GError **error)
{
    StoryWorld *world = story->world;
    g_autofree char *name = g_strdup_printf("%s.txt", words[0] != NULL ? words[0] : "");
    g_autofree char *path = g_build_filename(story->folder, "given", name, NULL);
    if (!play_file(story, path, error)) {
        g_prefix_error(error, "given %s, ", words[0]);
        return FALSE;
    }
    g_ptr_array_set_size(world->lines, 0);
    const StateRecord *vm = world_state(world, &world->services[WORLD_VM]);
    const StateRecord *volumes = world_state(world, &world->services[WORLD_VOLUMES]);
    g_autoptr(GString) text = g_string_new(NULL);
    if (vm != NULL) {
        g_string_append(text, ENUM_LABEL(vm_status, vm->vm->status));
    }
    for (size_t i = 0; volumes != NULL && i < volumes->volumes->n_volumes; i++) {
        g_string_append(text, i == 0 ? " with " : " ");
        print_volume(text, world->names, volumes->volumes->volumes[i], TRUE);
    }
    if (text->len > 0) {
        g_ptr_array_add(world->lines, g_strdup(text->str));
    }
    return TRUE;
}

/* --- Playing */

static const struct {
    const char *word;
    gboolean (*play)(Story *story, char **words, GError **error);
    gboolean is_input; /* One that must be answered by something; else that is said. */
} verbs[] = {
    {"define", play_define, FALSE}, {"given", play_given, FALSE},
    {"pass", play_pass, TRUE},      {"settings", play_settings, FALSE},
    {"host", play_host, TRUE},      {"plant", play_plant, FALSE},
    {"down", play_down, FALSE},     {"up", play_up, TRUE},
    {"poison", play_poison, TRUE},  {"show", play_show, FALSE},
    {"repeat", play_repeat, TRUE},
};

static gboolean play_words(Story *story, char **words, GError **error)
{
    StoryWorld *world = story->world;
    if (strcmp(words[0], "at") == 0) {
        gint64 time_ms;
        if (words[1] == NULL || !time_parse(words[1], &time_ms) || time_ms < world->now_ms) {
            return refuse(error, "at needs a time, HH:MM:SS since the begin, and never back");
        }
        world_pass_until(world, time_ms);
        return world->broken != NULL || words[2] == NULL || play_words(story, words + 2, error);
    }
    guint before = world->lines->len;
    gboolean is_input = TRUE;
    gboolean (*play)(Story *, char **, GError **) = play_request;
    gboolean shifted = FALSE;
    for (size_t i = 0; i < G_N_ELEMENTS(verbs); i++) {
        if (strcmp(words[0], verbs[i].word) == 0) {
            play = verbs[i].play;
            is_input = verbs[i].is_input;
            shifted = TRUE;
        }
    }
    /* A host's topic that comes or goes reaches no core. */
    is_input = is_input && !(play == play_host && words[1] != NULL && words[2] != NULL &&
                             strcmp(words[2], "is") == 0);
    if (!play(story, shifted ? words + 1 : words, error)) {
        return FALSE;
    }
    if (is_input && world->lines->len == before) {
        g_ptr_array_add(world->lines, g_strdup("nothing"));
    }
    return TRUE;
}

static gboolean play_line(Story *story, const Line *line, GError **error)
{
    StoryWorld *world = story->world;
    g_autoptr(GError) parse_error = NULL;
    g_auto(GStrv) words = NULL;
    g_ptr_array_set_size(world->lines, 0);
    if (!g_shell_parse_argv(line->text, NULL, &words, &parse_error)) {
        if (g_error_matches(parse_error, G_SHELL_ERROR, G_SHELL_ERROR_EMPTY_STRING)) {
            return TRUE;
        }
        return refuse(error, "line %u: %s", line->number, parse_error->message);
    }
    if (!play_words(story, words, error)) {
        g_prefix_error(error, "line %u: %s: ", line->number, line->text);
        return FALSE;
    }
    if (world->broken != NULL) {
        g_autoptr(GString) said = g_string_new(NULL);
        for (guint i = 0; i < world->lines->len; i++) {
            g_string_append_printf(said, "\n%s%s", INDENT,
                                   (char *)g_ptr_array_index(world->lines, i));
        }
        return refuse(error, "line %u: %s%s\n  broke %s", line->number, line->text, said->str,
                      world->broken);
    }
    return TRUE;
}

static gboolean play_file(Story *story, const char *path, GError **error)
{
    g_autoptr(GPtrArray) lines = lines_read(path, error);
    for (guint i = 0; lines != NULL && i < lines->len; i++) {
        if (!play_line(story, g_ptr_array_index(lines, i), error)) {
            return FALSE;
        }
    }
    return lines != NULL;
}

/* The first place where the recording differs from what was said. */
static gboolean compare(const Line *line, GError **error)
{
    guint n = MAX(line->recorded->len, line->said->len);
    for (guint i = 0; i < n; i++) {
        const char *recorded =
            i < line->recorded->len ? g_ptr_array_index(line->recorded, i) : "(no more)";
        const char *said = i < line->said->len ? g_ptr_array_index(line->said, i) : "(no more)";
        if (strcmp(recorded, said) != 0) {
            return refuse(error,
                          "line %u: %s\n  differs in output %u\n  recorded: %s\n  now:      %s",
                          line->number, line->text, i + 1, recorded, said);
        }
    }
    return TRUE;
}

static gboolean play_story(Story *story, const char *path, gboolean regenerate, GError **error)
{
    g_autoptr(GPtrArray) lines = lines_read(path, error);
    if (lines == NULL) {
        return FALSE;
    }
    for (guint i = 0; i < lines->len; i++) {
        Line *line = g_ptr_array_index(lines, i);
        if (!play_line(story, line, error)) {
            return FALSE;
        }
        for (guint j = 0; j < story->world->lines->len; j++) {
            g_ptr_array_add(line->said, g_strdup(g_ptr_array_index(story->world->lines, j)));
        }
        if (!regenerate && !compare(line, error)) {
            return FALSE;
        }
    }
    g_autofree char *broken = check_end(story->world->check);
    if (broken != NULL) {
        return refuse(error, "%s", broken);
    }
    return !regenerate || lines_write(path, lines, error);
}

gboolean story_run(const char *path, gboolean regenerate, char **ret_failure)
{
    g_autoptr(GError) error = NULL;
    Story story = {.folder = g_path_get_dirname(path),
                   .world = world_new(),
                   .defines = g_hash_table_new_full(g_str_hash, g_str_equal, g_free,
                                                    (GDestroyNotify)g_strfreev)};
    gboolean good = play_story(&story, path, regenerate, &error);
    if (!good) {
        *ret_failure = g_strdup_printf("%s: %s", path, error->message);
    }
    g_hash_table_destroy(story.defines);
    world_free(story.world);
    g_free(story.folder);
    return good;
}
