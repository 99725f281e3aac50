/* See stack.h: what is said to the daemons, what they say, and what is on the host. */
#include "tests/lib/stack.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/text.h"
#include "tests/lib/lab_guest.h"

/* ---- virtbusctl */

static const char *const no_words[] = {NULL};

void stack_answer_free(StackAnswer *answer)
{
    g_clear_pointer(&answer->json, json_node_unref);
    g_free(answer->reason);
    g_free(answer->words);
    g_free(answer);
}

GSubprocess *stack_begin_words(Stack *stack, const char *const *words)
{
    g_autoptr(GPtrArray) argv = g_ptr_array_new();
    g_autoptr(GError) error = NULL;
    const char *const always[] = {
        VIRTBUSCTL,           "--json",         "--timeout",  "3m", "--bootstrap",
        lab_env("BOOTSTRAP"), "--topic.prefix", stack->prefix};
    for (guint i = 0; i < G_N_ELEMENTS(always); i++) {
        g_ptr_array_add(argv, (char *)always[i]);
    }
    for (; *words != NULL; words++) {
        g_ptr_array_add(argv, (char *)*words);
    }
    g_ptr_array_add(argv, NULL);
    GSubprocess *process =
        g_subprocess_newv((const char *const *)argv->pdata,
                          G_SUBPROCESS_FLAGS_STDOUT_PIPE | G_SUBPROCESS_FLAGS_STDERR_PIPE, &error);
    if (process == NULL) {
        stack_fail(stack, "%s", error->message);
    }
    return process;
}

/* With the words `first`, up to NULL, and then `more`. */
static GSubprocess *begin(Stack *stack, const char *const *first, va_list more)
{
    g_autoptr(GPtrArray) words = g_ptr_array_new();
    for (; *first != NULL; first++) {
        g_ptr_array_add(words, (char *)*first);
    }
    const char *word;
    while ((word = va_arg(more, const char *)) != NULL) {
        g_ptr_array_add(words, (char *)word);
    }
    g_ptr_array_add(words, NULL);
    return stack_begin_words(stack, (const char *const *)words->pdata);
}

GSubprocess *stack_begin(Stack *stack, ...)
{
    va_list words;
    va_start(words, stack);
    GSubprocess *request = begin(stack, no_words, words);
    va_end(words);
    return request;
}

StackAnswer *stack_end(Stack *stack, GSubprocess *request)
{
    g_autofree char *output = NULL;
    g_autoptr(GError) error = NULL;
    StackAnswer *answer = g_new0(StackAnswer, 1);
    if (!g_subprocess_communicate_utf8(request, NULL, NULL, &output, &answer->words, &error)) {
        stack_fail(stack, "%s", error->message);
    }
    answer->status =
        g_subprocess_get_if_exited(request) ? g_subprocess_get_exit_status(request) : -1;
    g_object_unref(request);
    answer->json = json_from_string(output, NULL);
    if (answer->json == NULL) {
        stack_fail(stack, "virtbusctl wrote no JSON: \"%s\" %s", output, answer->words);
    }
    answer->reason = stack_text(answer->json, "error.message");
    g_autofree char *code = stack_text(answer->json, "error.code");
    const ProtobufCEnumValue *value =
        protobuf_c_enum_descriptor_get_value_by_name(&error_code__descriptor, code);
    answer->code = value != NULL ? (ErrorCode)value->value : ERROR_CODE_UNSPECIFIED;
    return answer;
}

static StackAnswer *ask(Stack *stack, va_list words)
{
    return stack_end(stack, begin(stack, no_words, words));
}

StackAnswer *stack_ask(Stack *stack, ...)
{
    va_list words;
    va_start(words, stack);
    StackAnswer *answer = ask(stack, words);
    va_end(words);
    return answer;
}

StackAnswer *stack_done_with(Stack *stack, const char *const *first, va_list more)
{
    StackAnswer *answer = stack_end(stack, begin(stack, first, more));
    if (answer->status != 0) {
        stack_fail(stack, "virtbusctl ended with %d: %s %s", answer->status, answer->words,
                   answer->reason);
    }
    return answer;
}

StackAnswer *stack_done(Stack *stack, ...)
{
    va_list words;
    va_start(words, stack);
    StackAnswer *answer = stack_done_with(stack, no_words, words);
    va_end(words);
    return answer;
}

StackAnswer *stack_refused(Stack *stack, ErrorCode code, ...)
{
    va_list words;
    va_start(words, code);
    StackAnswer *answer = ask(stack, words);
    va_end(words);
    if (answer->code != code || answer->status == 0) {
        stack_fail(stack, "expected %s, virtbusctl ended with %d: %s %s",
                   ENUM_CODE(error_code, code), answer->status, answer->words, answer->reason);
    }
    return answer;
}

char *stack_text(JsonNode *json, const char *path)
{
    g_autofree char *full = g_strdup_printf("$.%s", path);
    g_autoptr(JsonNode) found = json_path_query(full, json, NULL);
    JsonArray *array = found != NULL ? json_node_get_array(found) : NULL;
    if (array == NULL || json_array_get_length(array) != 1) {
        return g_strdup("");
    }
    JsonNode *node = json_array_get_element(array, 0);
    if (JSON_NODE_HOLDS_VALUE(node) && json_node_get_value_type(node) == G_TYPE_STRING) {
        return json_node_dup_string(node);
    }
    return json_to_string(node, FALSE);
}

/* ---- Events */

static void event_take(Stack *stack, const char *line)
{
    JsonNode *event = json_from_string(line, NULL);
    if (event == NULL) {
        stack_fail(stack, "virtbusctl events wrote no JSON: %s", line);
    }
    g_ptr_array_add(stack->events, event);
    char *vm = stack_text(event, "vm_uuid");
    if (g_hash_table_contains(stack->cursors, vm)) {
        g_free(vm);
    } else {
        g_hash_table_insert(stack->cursors, vm, GUINT_TO_POINTER(0));
    }
}

/* Whole lines that came since the last time. */
void stack_events_read(Stack *stack)
{
    g_autofree char *path = g_build_filename(stack->folder, "events.json", NULL);
    g_autofree char *text = NULL;
    gsize size_bytes = 0;
    if (!g_file_get_contents(path, &text, &size_bytes, NULL)) {
        return;
    }
    char *end;
    while ((end = memchr(text + stack->events_bytes, '\n', size_bytes - stack->events_bytes)) !=
           NULL) {
        *end = '\0';
        event_take(stack, text + stack->events_bytes);
        stack->events_bytes = (gsize)(end + 1 - text);
    }
}

JsonNode *stack_event_seen(Stack *stack, const char *vm, const char *path, const char *value)
{
    stack_events_read(stack);
    guint from = GPOINTER_TO_UINT(g_hash_table_lookup(stack->cursors, vm));
    for (guint i = from; i < stack->events->len; i++) {
        JsonNode *event = g_ptr_array_index(stack->events, i);
        g_autofree char *whose = stack_text(event, "vm_uuid");
        g_autofree char *found = stack_text(event, path);
        if (strcmp(whose, vm) == 0 && strcmp(found, value) == 0) {
            g_hash_table_insert(stack->cursors, g_strdup(vm), GUINT_TO_POINTER(i + 1));
            return event;
        }
    }
    return NULL;
}

typedef struct {
    Stack *stack;
    const char *vm;
    const char *path;
    const char *value;
    JsonNode *event;
} Wanted;

static gboolean is_seen(gpointer data)
{
    Wanted *wanted = data;
    wanted->event = stack_event_seen(wanted->stack, wanted->vm, wanted->path, wanted->value);
    return wanted->event != NULL;
}

JsonNode *stack_event(Stack *stack, const char *vm, const char *path, const char *value)
{
    Wanted wanted = {.stack = stack, .vm = vm, .path = path, .value = value};
    g_autofree char *what = g_strdup_printf("an event with %s = %s", path, value);
    stack_await(stack, what, is_seen, &wanted);
    return wanted.event;
}

/* ---- Volumes */

JsonNode *stack_volume_by(Stack *stack, const char *vm, const char *member, const char *value)
{
    g_autoptr(StackAnswer) answer = stack_done(stack, "volume", "list", vm, NULL);
    g_autoptr(JsonNode) all = json_path_query("$.volumes[*]", answer->json, NULL);
    JsonArray *volumes = json_node_get_array(all);
    JsonNode *found = NULL;
    for (guint i = 0; i < json_array_get_length(volumes); i++) {
        JsonNode *volume = json_array_get_element(volumes, i);
        g_autofree char *its_value = stack_text(volume, member);
        if (strcmp(its_value, value) == 0) {
            assert_null(found);
            found = volume;
        }
    }
    if (found == NULL) {
        stack_fail(stack, "VM %s has no volume with %s = %s", vm, member, value);
    }
    return json_node_copy(found);
}

JsonNode *stack_volume(Stack *stack, const char *vm, const char *type)
{
    g_autofree char *value = g_strdup_printf("VOLUME_TYPE_%s", type);
    return stack_volume_by(stack, vm, "type", value);
}

char *stack_volume_path(Stack *stack, const char *vm, const char *type)
{
    g_autoptr(JsonNode) volume = stack_volume(stack, vm, type);
    return stack_path_of(stack, volume);
}

char *stack_path_of(Stack *stack, JsonNode *volume)
{
    g_autofree char *install_path = stack_text(volume, "install_path");
    return g_strdup_printf("%s/storage/%s", stack->folder, install_path);
}

char *stack_sha256(const char *path)
{
    g_autofree char *bytes = NULL;
    gsize size_bytes = 0;
    return g_file_get_contents(path, &bytes, &size_bytes, NULL)
               ? g_compute_checksum_for_data(G_CHECKSUM_SHA256, (const guint8 *)bytes, size_bytes)
               : g_strdup("");
}

/* ---- The host */

char *stack_run(Stack *stack, const char *program, ...)
{
    g_autoptr(GPtrArray) argv = g_ptr_array_new();
    va_list words;
    va_start(words, program);
    for (const char *word = program; word != NULL; word = va_arg(words, const char *)) {
        g_ptr_array_add(argv, (char *)word);
    }
    va_end(words);
    g_ptr_array_add(argv, NULL);
    char *output = lab_run((const char *const *)argv->pdata);
    if (output == NULL) {
        g_autofree char *line = g_strjoinv(" ", (char **)argv->pdata);
        stack_fail(stack, "this failed: %s", line);
    }
    return output;
}

void stack_signal_by_file(Stack *stack, const char *path, int signal)
{
    g_autofree char *pid = NULL;
    g_autoptr(GError) error = NULL;
    if (!g_file_get_contents(path, &pid, NULL, &error)) {
        stack_fail(stack, "%s", error->message);
    }
    int number = atoi(pid);
    if (number <= 0) { /* To kill(), a group: our own. */
        stack_fail(stack, "%s holds no process's number: \"%s\"", path, pid);
    }
    if (kill(number, signal) != 0) {
        stack_fail(stack, "signal %d to %d of %s: %s", signal, number, path, g_strerror(errno));
    }
}

static int by_name(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

char *stack_live(Stack *stack, const char *vm)
{
    g_autoptr(GString) live = g_string_new(NULL);
    g_autofree char *db = g_strdup_printf("--db=%s", lab_env("OVS_DB"));
    g_autofree char *id = g_strdup_printf("external_ids:virtbus-vm=%s", vm);
    g_autofree char *sockets = g_build_filename(stack->run_dir, vm, NULL);
    g_autofree char *domains = stack_run(stack, STACK_VIRSH, "list", "--all", "--uuid", NULL);
    g_autofree char *ports = stack_run(stack, "ovs-vsctl", "--timeout=10", db, "--bare",
                                       "--columns=name", "find", "Interface", id, NULL);
    if (strstr(domains, vm) != NULL) {
        g_string_append_printf(live, "domain %s\n", vm);
    }
    /* In an order of their own: OVS tells them in any. */
    g_auto(GStrv) names = g_strsplit_set(g_strstrip(ports), " \n", -1);
    qsort(names, g_strv_length(names), sizeof(*names), by_name);
    for (char **name = names; *name != NULL; name++) {
        if (**name != '\0') {
            g_string_append_printf(live, "port %s\n", *name);
        }
    }
    if (g_file_test(sockets, G_FILE_TEST_EXISTS)) {
        g_string_append_printf(live, "sockets %s\n", sockets);
    }
    return g_strdup(live->str);
}

char *stack_storage(Stack *stack)
{
    g_autofree char *storage = g_build_filename(stack->folder, "storage", NULL);
    g_autofree char *images = g_build_filename(storage, "images", NULL);
    return stack_run(stack, "find", storage, "-mindepth", "1", "-not", "-path", images, NULL);
}

/* Files below `folder` whose path holds `vm`. */
static char *files_of(Stack *stack, const char *folder, const char *vm)
{
    g_autofree char *pattern = g_strdup_printf("*%s*", vm);
    return g_file_test(folder, G_FILE_TEST_EXISTS)
               ? stack_run(stack, "find", folder, "-path", pattern, NULL)
               : g_strdup("");
}

char *stack_left(Stack *stack)
{
    g_autoptr(GString) left = g_string_new(NULL);
    const char *const folders[] = {"agent", "run", "serial"};
    g_autofree char *volumes = stack_storage(stack);
    g_string_append(left, volumes);
    stack_events_read(stack);
    GHashTableIter iter;
    gpointer vm;
    g_hash_table_iter_init(&iter, stack->cursors);
    while (g_hash_table_iter_next(&iter, &vm, NULL)) {
        g_autofree char *live = stack_live(stack, vm);
        g_autofree char *tpm = files_of(stack, lab_env("SWTPM_DIR"), vm);
        g_string_append_printf(left, "%s%s", live, tpm);
        for (guint i = 0; i < G_N_ELEMENTS(folders); i++) {
            g_autofree char *folder = g_build_filename(stack->folder, folders[i], NULL);
            g_autofree char *files = files_of(stack, folder, vm);
            g_string_append(left, files);
        }
    }
    return g_strdup(left->str);
}

static gboolean nothing_is_left(gpointer stack)
{
    g_autofree char *left = stack_left(stack);
    return *left == '\0';
}

void stack_await_nothing_left(Stack *stack)
{
    stack_await(stack, "nothing is left on the host", nothing_is_left, stack);
}
