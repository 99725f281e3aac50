/* See replay_story.h. Words come from describe.h, changes from message_diff.h. */
#include "tools/virtbusctl/replay_story.h"

#include <stdio.h>
#include <string.h>

#include "common/base/message.h"
#include "common/base/message_diff.h"
#include "tools/virtbusctl/print.h"
#include "tools/virtbusctl/style.h"

typedef struct {
    char *field;
    char *from;
    char *to;
} Change;

enum { SHORT_LIST = 4 }; /* So many fields of a thing that is new, or gone, are told one by one. */

typedef struct {
    gint64 time_ms;
    guint index;       /* Among those of the same time. */
    const char *input; /* "A client asks vm-service: StartVm, host 1b4e28ba" */
    VbTone tone;
    const char *state;  /* "It is Starting, epoch 3"; NULL: nothing changed. */
    GArray *changes;    /* of Change */
    GPtrArray *outputs; /* of char *: "asks volume-service: PrepareVolumes, ..." */
    const char *place;  /* Of the journal; "": none. */
} Chapter;

struct ReplayStory {
    VbArena *arena; /* Of the command. */
    GArray *chapters;
};

/* ---- What went in */

static const char *said(VbArena *arena, const void *message, VbTone *ret_tone)
{
    VbDescription words = describe(arena, message);
    *ret_tone = words.tone;
    return arena_printf(arena, "%s%s%s", words.kind, *words.text != '\0' ? ", " : "", words.text);
}

static const char *speaker(VbTopic topic, const char *service)
{
    switch (topic) {
    case TOPIC_VM_COMMANDS:
        return "A client asks";
    case TOPIC_VOLUME_COMMANDS:
        return "vm-service asks";
    case TOPIC_VOLUME_EVENTS:
        return "volume-service tells";
    case TOPIC_VM_REPORTS:
    case TOPIC_VOLUME_REPORTS:
        return "The host tells";
    case TOPIC_VM_EVENTS:
    case TOPIC_VM_STATE:
    case TOPIC_VM_JOURNAL:
    case TOPIC_VOLUME_STATE:
    case TOPIC_VOLUME_JOURNAL:
    case TOPIC_HOST_COMMANDS:
    case TOPIC_HOSTS:
    case TOPIC_DLQ:
    case TOPIC_AGENTS_DLQ:
    case TOPIC_COUNT:
        return service; /* None of these is an input. */
    }
    g_assert_not_reached();
}

static const char *record_words(VbArena *arena, const VbReplayVisit *visit, VbTone *ret_tone)
{
    const VbBusRecord *record = visit->record;
    const ProtobufCMessage *message =
        record->value == NULL
            ? NULL
            : protobuf_c_message_unpack(topic_info(record->topic)->message,
                                        arena_allocator(arena, MESSAGE_MAX_ARENA_BYTES),
                                        record->value_bytes, record->value);
    *ret_tone = TONE_BAD;
    const char *what = message != NULL ? said(arena, message, ret_tone) : "something unreadable";
    return arena_printf(arena, "%s %s: %s", speaker(record->topic, visit->service->name),
                        visit->service->name, what);
}

static const char *input_words(VbArena *arena, const VbReplayVisit *visit, VbTone *ret_tone)
{
    if (visit->runtime == NULL) {
        return record_words(arena, visit, ret_tone);
    }
    const char *what = said(arena, visit->runtime, ret_tone);
    return arena_printf(arena, "Nobody asks, but %s notices: %s", visit->service->name, what);
}

/* ---- What became of the VM */

/* The runtime's own fields say nothing of the VM. */
static gboolean is_worth_a_word(const char *path)
{
    return strcmp(path, "version") != 0 && strcmp(path, "logic_version") != 0 &&
           strcmp(path, "step_ms") != 0 && !g_str_has_prefix(path, "applied[");
}

static void change_take(const char *path, const char *a, const char *b, void *user)
{
    GArray *changes = user;
    if (is_worth_a_word(path)) {
        gsize skip = g_str_has_prefix(path, "vm.")        ? strlen("vm.")
                     : g_str_has_prefix(path, "volumes.") ? strlen("volumes.")
                                                          : 0;
        Change change = {.field = g_strdup(path + skip),
                         .from = style_safe(a != NULL ? a : "nothing"),
                         .to = style_safe(b != NULL ? b : "nothing")};
        g_array_append_val(changes, change);
    }
}

static void change_clear(gpointer data)
{
    Change *change = data;
    g_free(change->field);
    g_free(change->from);
    g_free(change->to);
}

static const char *state_words(VbArena *arena, const VbReplayVisit *visit)
{
    if (visit->after == NULL) {
        return "Nothing of it is kept any more";
    }
    const char *whose =
        visit->service->state_topic == TOPIC_VM_STATE ? "The VM is now" : "Its volumes are now";
    VbDescription words = describe(arena, visit->after);
    return arena_printf(arena, "%s: %s", whose, *words.text != '\0' ? words.text : "nothing");
}

/* ---- What went out */

static const char *listener(VbArena *arena, const VbBusMessage *message)
{
    switch (message->topic) {
    case TOPIC_VM_EVENTS:
        return "tells everybody";
    case TOPIC_VOLUME_COMMANDS:
        return "asks volume-service";
    case TOPIC_VOLUME_EVENTS:
        return "tells vm-service";
    case TOPIC_HOST_COMMANDS: {
        g_autofree char *host = style_short_uuid(message->host_uuid);
        return arena_printf(arena, "asks host %s", host);
    }
    case TOPIC_DLQ:
        return "puts it on the dead letter queue";
    case TOPIC_VM_COMMANDS:
    case TOPIC_VM_REPORTS:
    case TOPIC_VOLUME_REPORTS:
    case TOPIC_VM_STATE:
    case TOPIC_VM_JOURNAL:
    case TOPIC_VOLUME_STATE:
    case TOPIC_VOLUME_JOURNAL:
    case TOPIC_HOSTS:
    case TOPIC_AGENTS_DLQ:
    case TOPIC_COUNT:
        return "moves it to the partition of its key";
    }
    g_assert_not_reached();
}

static char *output_words(VbArena *arena, const VbBusMessage *message)
{
    const ProtobufCMessageDescriptor *type = topic_info(message->topic)->message;
    const ProtobufCMessage *body =
        type == NULL || message->value == NULL
            ? NULL
            : protobuf_c_message_unpack(type, arena_allocator(arena, MESSAGE_MAX_ARENA_BYTES),
                                        message->value_bytes, message->value);
    VbTone tone;
    const char *to = listener(arena, message);
    return body == NULL ? g_strdup(to) : g_strdup_printf("%s: %s", to, said(arena, body, &tone));
}

static GPtrArray *outputs_words(VbArena *arena, const VbReplayVisit *visit)
{
    GPtrArray *outputs = g_ptr_array_new_with_free_func(g_free);
    for (size_t i = 0; i < visit->n_outputs; i++) {
        g_ptr_array_add(outputs, output_words(arena, &visit->outputs[i]));
    }
    for (size_t i = 0; i < visit->n_more; i++) {
        const Undeliverable *missing = visit->more[i]->runtime_input->undeliverable;
        g_autofree char *host = style_short_uuid(missing->host_uuid);
        g_ptr_array_add(outputs, g_strdup_printf("could not ask host %s: it had no topic", host));
    }
    return outputs;
}

/* ---- The story */

static void chapter_clear(gpointer data)
{
    Chapter *chapter = data;
    g_array_free(chapter->changes, TRUE);
    g_ptr_array_free(chapter->outputs, TRUE);
}

ReplayStory *story_new(const Ctl *ctl)
{
    ReplayStory *story = g_new0(ReplayStory, 1);
    story->arena = ctl->arena;
    story->chapters = g_array_new(FALSE, FALSE, sizeof(Chapter));
    g_array_set_clear_func(story->chapters, chapter_clear);
    return story;
}

void story_free(ReplayStory *story)
{
    if (story != NULL) {
        g_array_free(story->chapters, TRUE);
        g_free(story);
    }
}

void story_add(ReplayStory *story, const VbReplayVisit *visit)
{
    VbArena *arena = story->arena;
    Chapter chapter = {.time_ms = visit->time_ms,
                       .index = story->chapters->len,
                       .changes = g_array_new(FALSE, FALSE, sizeof(Change)),
                       .outputs = outputs_words(arena, visit),
                       .place = ""};
    g_array_set_clear_func(chapter.changes, change_clear);
    message_diff(arena, (const ProtobufCMessage *)visit->before,
                 (const ProtobufCMessage *)visit->after, change_take, chapter.changes);
    chapter.input = input_words(arena, visit, &chapter.tone);
    chapter.state = chapter.changes->len > 0 ? state_words(arena, visit) : NULL;
    if (visit->journal != NULL) {
        chapter.place = arena_printf(arena, "%s/%d@%" G_GINT64_FORMAT,
                                     topic_info(visit->journal->topic)->suffix,
                                     visit->journal->partition, visit->journal->offset);
    }
    g_array_append_val(story->chapters, chapter);
}

static gint chapter_compare(gconstpointer a, gconstpointer b)
{
    const Chapter *left = a;
    const Chapter *right = b;
    if (left->time_ms != right->time_ms) {
        return left->time_ms < right->time_ms ? -1 : 1;
    }
    return left->index < right->index ? -1 : 1;
}

static gsize head_bytes(const Change *change)
{
    return strcspn(change->field, ".[");
}

/* How many of the changes from `first` on are of one thing that is new or gone as a whole. */
static guint whole_count(const GArray *changes, guint first, gboolean is_new)
{
    const Change *head = &g_array_index(changes, Change, first);
    guint n = 0;
    for (guint i = first; i < changes->len; i++, n++) {
        const Change *change = &g_array_index(changes, Change, i);
        if (head_bytes(change) != head_bytes(head) ||
            strncmp(change->field, head->field, head_bytes(head)) != 0) {
            break;
        }
        if (strcmp(is_new ? change->from : change->to, "nothing") != 0) {
            return 0;
        }
    }
    return n;
}

static void changes_print(const GArray *changes)
{
    guint n;
    for (guint i = 0; i < changes->len; i += n) {
        const Change *change = &g_array_index(changes, Change, i);
        guint n_new = whole_count(changes, i, TRUE);
        guint n_gone = whole_count(changes, i, FALSE);
        n = MAX(n_new, n_gone);
        if (n > SHORT_LIST) {
            printf("         %.*s is %s, with all its %u fields\n", (int)head_bytes(change),
                   change->field, n_new > 0 ? "new" : "gone", n);
            continue;
        }
        n = 1;
        printf("         %s: %s -> %s\n", change->field, change->from, change->to);
    }
}

static void chapter_print(const Chapter *chapter, guint number)
{
    g_autofree char *clock = style_clock(chapter->time_ms);
    g_autofree char *safe = style_safe(chapter->input);
    g_autofree char *input = style_coloured(
        chapter->tone == TONE_PLAIN ? STYLE_BOLD : print_colour(chapter->tone), safe);
    printf("%s%3u  %s  %s.\n", number > 1 ? "\n" : "", number, clock, input);
    if (chapter->state == NULL) {
        printf("       Nothing changes.\n");
    } else {
        g_autofree char *state = style_safe(chapter->state);
        printf("       %s.\n", state);
    }
    changes_print(chapter->changes);
    for (guint i = 0; i < chapter->outputs->len; i++) {
        g_autofree char *output = style_safe(g_ptr_array_index(chapter->outputs, i));
        printf("       It %s.\n", output);
    }
}

void story_print(ReplayStory *story)
{
    g_array_sort(story->chapters, chapter_compare);
    for (guint i = 0; i < story->chapters->len; i++) {
        chapter_print(&g_array_index(story->chapters, Chapter, i), i + 1);
    }
}

static void string_set(JsonObject *object, const char *name, const char *text)
{
    g_autofree char *valid = g_utf8_make_valid(text, -1);
    json_object_set_string_member(object, name, valid);
}

static JsonObject *chapter_to_json(const Chapter *chapter)
{
    JsonObject *object = json_object_new();
    JsonArray *changes = json_array_new();
    JsonArray *outputs = json_array_new();
    json_object_set_int_member(object, "time_ms", chapter->time_ms);
    string_set(object, "journal", chapter->place);
    string_set(object, "input", chapter->input);
    string_set(object, "state", chapter->state != NULL ? chapter->state : "");
    for (guint i = 0; i < chapter->changes->len; i++) {
        const Change *change = &g_array_index(chapter->changes, Change, i);
        JsonObject *field = json_object_new();
        string_set(field, "field", change->field);
        string_set(field, "from", change->from);
        string_set(field, "to", change->to);
        json_array_add_object_element(changes, field);
    }
    for (guint i = 0; i < chapter->outputs->len; i++) {
        g_autofree char *text = g_utf8_make_valid(g_ptr_array_index(chapter->outputs, i), -1);
        json_array_add_string_element(outputs, text);
    }
    json_object_set_array_member(object, "changes", changes);
    json_object_set_array_member(object, "outputs", outputs);
    return object;
}

JsonNode *story_to_json(ReplayStory *story)
{
    JsonArray *list = json_array_new();
    g_array_sort(story->chapters, chapter_compare);
    for (guint i = 0; i < story->chapters->len; i++) {
        json_array_add_object_element(list,
                                      chapter_to_json(&g_array_index(story->chapters, Chapter, i)));
    }
    return json_node_init_array(json_node_alloc(), list);
}
