/* The table of legal commands at the top of vm_core.c is a comment. This test reads it and asks the
 * core: every command in every status, once with each way of stopping. */
#include <stdio.h>
#include <string.h>

#include "common/base/text.h"
#include "services/vm-service/vm_core.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

static const char VM[] = "5b1f7f3e-6d5f-4f0f-8a55-3d4d3a0b7d10";
static const char HOST[] = "7d9c7a86-32a5-4c2f-9a5f-0d4b6f0f8a11";
static const char REQUEST[] = "0f2c8f5e-93d1-4f5b-8f5a-54f1f0f0c0de";

/* The statuses of the table's columns, in its order. */
static const VmStatus columns[] = {
    VM_STATUS_CREATED,   VM_STATUS_STARTING,  VM_STATUS_RUNNING,    VM_STATUS_STOPPING,
    VM_STATUS_STOPPED,   VM_STATUS_REBOOTING, VM_STATUS_DESTROYING, VM_STATUS_DESTROYED,
    VM_STATUS_EXPUNGING, VM_STATUS_MIGRATING, VM_STATUS_PAUSED,     VM_STATUS_CRASHED,
    VM_STATUS_UNKNOWN,
};

static gboolean is_in_transit(VmStatus status)
{
    return status == VM_STATUS_STARTING || status == VM_STATUS_STOPPING ||
           status == VM_STATUS_REBOOTING || status == VM_STATUS_DESTROYING ||
           status == VM_STATUS_EXPUNGING || status == VM_STATUS_MIGRATING;
}

static StateRecord *state_in(VbArena *arena, VmStatus status)
{
    VmRecord *vm = ARENA_MSG(arena, vm_record);
    vm->spec = ARENA_MSG(arena, vm_spec);
    vm->spec->name = arena_strdup(arena, "vm");
    vm->status = status;
    vm->epoch = 1;
    vm->host_uuid = (char *)HOST;
    if (is_in_transit(status)) {
        vm->operation = ARENA_MSG(arena, operation);
        vm->operation->id = arena_strdup(arena, "operation");
        vm->operation->request_id = arena_strdup(arena, "another");
        vm->operation->host_uuid = (char *)HOST;
        vm->operation->phase = OPERATION_PHASE_STOPPING_DOMAIN;
        vm->operation->kind = OPERATION_KIND_STOP;
    }
    StateRecord *state = ARENA_MSG(arena, state_record);
    state->version = 1;
    state->body_case = STATE_RECORD__BODY_VM;
    state->vm = vm;
    return state;
}

static VmCommand *command_named(VbArena *arena, const char *name, StopMode mode)
{
    VmCommand *command = ARENA_MSG(arena, vm_command);
    command->vm_uuid = (char *)VM;
    command->request_id = (char *)REQUEST;
    const ProtobufCMessageDescriptor *whole = &vm_command__descriptor;
    for (unsigned i = 0; i < whole->n_fields; i++) {
        const ProtobufCFieldDescriptor *field = &whole->fields[i];
        const ProtobufCMessageDescriptor *body = field->descriptor;
        if (field->type != PROTOBUF_C_TYPE_MESSAGE || strcmp(body->short_name, name) != 0) {
            continue;
        }
        ProtobufCMessage *message = arena_alloc(arena, body->sizeof_message);
        protobuf_c_message_init(body, message);
        command->command_case = (VmCommand__CommandCase)field->id;
        command->create_vm = (CreateVm *)message; /* One pointer stands for all of the union. */
        if (strcmp(name, "StopVm") == 0) {
            command->stop_vm->mode = mode;
        } else if (strcmp(name, "StartVm") == 0) {
            command->start_vm->host_uuid = (char *)HOST;
        }
        return command;
    }
    fail_msg("the contract has no command %s", name);
    return NULL;
}

/* Whether the core takes the command up in this status; what it then finds wrong is another matter. */
static gboolean is_taken(const char *name, VmStatus status, StopMode mode)
{
    g_autoptr(VbArena) arena = arena_new();
    g_autoptr(GArray) outputs = g_array_new(FALSE, FALSE, sizeof(VbOutput));
    Settings *settings = ARENA_MSG(arena, settings);
    settings->start_timeout_ms = settings->stop_timeout_ms = settings->expunge_timeout_ms = 60000;
    VmCommand *command = command_named(arena, name, mode);
    VbStepInput input = {
        .vm_uuid = VM,
        .time_ms = 1000,
        .settings = settings,
        .record = &command->base,
        .topic = TOPIC_VM_COMMANDS,
    };
    VbStep step = {
        .input = &input, .arena = arena, .state = state_in(arena, status), .outputs = outputs};
    if (vm_service.step(&step) != STEP_OK) {
        fail_msg("%s in %s is a fault", name, ENUM_LABEL(vm_status, status));
    }
    for (guint i = 0; i < outputs->len; i++) {
        const VbOutput *output = &g_array_index(outputs, VbOutput, i);
        const VmEvent *event = output->message;
        if (output->topic != TOPIC_VM_EVENTS || event->event_case != VM_EVENT__EVENT_REPLY ||
            event->reply->error == NULL || strcmp(event->reply->request_id, REQUEST) != 0) {
            continue;
        }
        ErrorCode code = event->reply->error->code;
        if (code == ERROR_CODE_ILLEGAL_STATUS || code == ERROR_CODE_BUSY ||
            code == ERROR_CODE_QUARANTINED || code == ERROR_CODE_VM_EXISTS) {
            return FALSE;
        }
    }
    return TRUE;
}

static void check_cell(const char *name, VmStatus status, const char *cell)
{
    gboolean graceful = is_taken(name, status, STOP_MODE_GRACEFUL);
    gboolean forced = is_taken(name, status, STOP_MODE_FORCED);
    const char *is = forced && graceful ? "x" : forced ? "f" : graceful ? "graceful only" : ".";
    if (strcmp(is, cell) != 0) {
        fail_msg("%s in %s is %s, the table says %s", name, ENUM_LABEL(vm_status, status), is,
                 cell);
    }
}

/* The comment's lines from "LEGAL:" on. */
static char **table_lines(void)
{
    g_autofree char *text = NULL;
    assert_true(
        g_file_get_contents(SOURCE_DIR "/services/vm-service/vm_core.c", &text, NULL, NULL));
    const char *begin = strstr(text, "LEGAL:");
    assert_non_null(begin);
    const char *end = strstr(begin, "*/");
    g_autofree char *part = g_strndup(begin, (gsize)(end - begin));
    return g_strsplit(part, "\n", -1);
}

static char **words_of(const char *line)
{
    g_autofree char *clean = g_strdup(line);
    g_strdelimit(clean, "*\t", ' ');
    char **raw = g_strsplit(g_strstrip(clean), " ", -1);
    g_autoptr(GStrvBuilder) words = g_strv_builder_new();
    for (char **word = raw; *word != NULL; word++) {
        if (**word != '\0') {
            g_strv_builder_add(words, *word);
        }
    }
    g_strfreev(raw);
    return g_strv_builder_end(words);
}

static guint check_row(char **words)
{
    static const char *const attach[] = {"AttachNic", "DetachNic", NULL};
    const char *own[] = {words[0], NULL};
    const char *const *names = strcmp(words[0], "Attach/DetachNic") == 0 ? attach : own;
    guint n = 0;
    for (; *names != NULL; names++, n++) {
        for (size_t i = 0; i < G_N_ELEMENTS(columns); i++) {
            check_cell(*names, columns[i], words[1 + i]);
        }
        check_cell(*names, VM_STATUS_EXPUNGED, ".");
        check_cell(*names, VM_STATUS_QUARANTINED, ".");
    }
    return n;
}

static void table_is_what_the_core_does(void **state)
{
    (void)state;
    g_auto(GStrv) lines = table_lines();
    guint n_commands = 0;
    for (char **line = lines; *line != NULL; line++) {
        g_auto(GStrv) words = words_of(*line);
        guint n_words = g_strv_length(words);
        if (n_words > G_N_ELEMENTS(columns) && strspn(words[1], "xf.") == strlen(words[1])) {
            n_commands += check_row(words);
        }
    }
    /* With the four below, all that the contract has. */
    unsigned n_contract = 0;
    for (unsigned i = 0; i < vm_command__descriptor.n_fields; i++) {
        n_contract += (vm_command__descriptor.fields[i].flags & PROTOBUF_C_FIELD_FLAG_ONEOF) != 0;
    }
    assert_int_equal(n_commands + 4, n_contract);
}

static void columns_stand_in_the_tables_order(void **state)
{
    (void)state;
    g_auto(GStrv) lines = table_lines();
    for (char **line = lines; *line != NULL; line++) {
        g_auto(GStrv) words = words_of(*line);
        if (g_strv_length(words) != G_N_ELEMENTS(columns) || strcmp(words[0], "Cre") != 0) {
            continue;
        }
        static const char *const heads[] = {"Cre", "Sta", "Run", "Stp", "Spd", "Reb", "Dsg",
                                            "Dst", "Exg", "Mig", "Pau", "Crs", "Unk"};
        for (size_t i = 0; i < G_N_ELEMENTS(columns); i++) {
            assert_string_equal(words[i], heads[i]);
        }
        return;
    }
    fail_msg("the table has no head");
}

static void reads_and_release_and_create_are_as_said_below_the_table(void **state)
{
    (void)state;
    for (int status = VM_STATUS_CREATED; status <= VM_STATUS_QUARANTINED; status++) {
        VmStatus in = (VmStatus)status;
        check_cell("GetVm", in, "x");
        check_cell("ListVolumes", in, "x");
        check_cell("CreateVm", in, ".");
        check_cell("ReleaseQuarantine", in, in == VM_STATUS_QUARANTINED ? "x" : ".");
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(table_is_what_the_core_does),
        cmocka_unit_test(columns_stand_in_the_tables_order),
        cmocka_unit_test(reads_and_release_and_create_are_as_said_below_the_table),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
