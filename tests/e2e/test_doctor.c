/* `virtbusctl doctor` and `vm watch` on the whole stack: all is well, then one thing after another
 * is broken, named with its way out, and mended that way. No guest runs. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <string.h>

#include "tests/lib/kafka_admin.h"
#include "tests/lib/lab_guest.h"
#include "tests/lib/stack_vm.h"

static Stack *stack;

/* ---- What doctor says */

/* The member of the first finding of this check and verdict, once there is one with `text`. */
typedef struct {
    const char *check;
    const char *verdict;
    const char *text; /* A part of it. */
    char *mend;
} Finding;

static gboolean finding_match(JsonObject *object, const Finding *finding)
{
    return strcmp(json_object_get_string_member(object, "check"), finding->check) == 0 &&
           strcmp(json_object_get_string_member(object, "verdict"), finding->verdict) == 0 &&
           strstr(json_object_get_string_member(object, "text"), finding->text) != NULL;
}

static gboolean is_found(gpointer data)
{
    Finding *finding = data;
    g_autoptr(StackAnswer) answer = stack_ask(stack, "doctor", NULL);
    JsonObject *document = json_node_get_object(answer->json);
    JsonArray *findings = json_object_get_array_member(document, "findings");
    gboolean has_fault = FALSE;
    for (guint i = 0; i < json_array_get_length(findings); i++) {
        JsonObject *object = json_array_get_object_element(findings, i);
        has_fault |= strcmp(json_object_get_string_member(object, "verdict"), "fault") == 0;
        if (finding->mend == NULL && finding_match(object, finding)) {
            finding->mend = g_strdup(json_object_get_string_member(object, "mend"));
        }
    }
    /* The exit status says no other thing than the findings. */
    assert_int_equal(answer->status, has_fault ? 1 : 0);
    assert_int_equal(json_object_get_boolean_member(document, "ok"), !has_fault);
    return finding->mend != NULL;
}

static void assert_finds(const char *check, const char *verdict, const char *text, const char *mend)
{
    Finding finding = {check, verdict, text, NULL};
    g_autofree char *what = g_strdup_printf("doctor finds: %s %s: %s", verdict, check, text);
    stack_await(stack, what, is_found, &finding);
    if (strstr(finding.mend, mend) == NULL) {
        stack_fail(stack, "it says how to mend %s: %s; not: %s", text, finding.mend, mend);
    }
    g_free(finding.mend);
}

/* What it says of all that is there. Of the storage it depends on how full this machine is. */
static void assert_all_well(void)
{
    static const char *const checks[][2] = {
        {"broker", "1 broker at "},
        {"topics", "all 13 are there, 4 partitions for VMs"},
        {"vm-service", "1 instance, 12 partitions"},
        {"volume-service", "1 instance, 8 partitions"},
        {"dead letters", "none"},
        {"hosts", "fresh"},
        {"hypervisor", "libvirt answers on 1 host"},
        {"firmware", "UEFI with and without Secure Boot on 1 host"},
        {"tpm", "swtpm is usable on 1 host"},
        {"switch", "Open vSwitch with DPDK on 1 host"},
        {"vms", "none in trouble"},
    };
    for (size_t i = 0; i < G_N_ELEMENTS(checks); i++) {
        assert_finds(checks[i][0], "ok", checks[i][1], "");
    }
    stack_answer_free(stack_done(stack, "doctor", NULL));
}

static void finds_all_well_on_a_healthy_stack(void **state)
{
    (void)state;
    assert_all_well();
}

static void assert_count(JsonNode *json, const char *path, guint n)
{
    g_autofree char *all = g_strdup_printf("$.%s[*]", path);
    g_autoptr(JsonNode) found = json_path_query(all, json, NULL);
    assert_int_equal(json_array_get_length(json_node_get_array(found)), n);
}

static void names_a_broker_that_does_not_answer(void **state)
{
    (void)state;
    g_autoptr(StackAnswer) answer =
        stack_ask(stack, "doctor", "--bootstrap", "127.0.0.1:1", "--timeout", "5s", NULL);
    assert_int_equal(answer->status, 1);
    g_autofree char *check = stack_text(answer->json, "findings[0].check");
    g_autofree char *text = stack_text(answer->json, "findings[0].text");
    g_autofree char *mend = stack_text(answer->json, "findings[0].mend");
    assert_string_equal(check, "broker");
    assert_non_null(strstr(text, "no broker answers at 127.0.0.1:1"));
    assert_non_null(strstr(mend, "--bootstrap"));
    assert_count(answer->json, "findings", 1); /* Of the rest nothing is known. */
}

static void topic_delete(const char *name)
{
    char text[512];
    rd_kafka_conf_t *conf = rd_kafka_conf_new();
    assert_int_equal(
        rd_kafka_conf_set(conf, "bootstrap.servers", lab_env("BOOTSTRAP"), text, sizeof(text)),
        RD_KAFKA_CONF_OK);
    rd_kafka_t *handle = rd_kafka_new(RD_KAFKA_PRODUCER, conf, text, sizeof(text));
    admin_topic_delete(handle, name);
    rd_kafka_destroy(handle);
}

static void names_a_topic_that_is_missing(void **state)
{
    (void)state;
    g_autofree char *name = g_strdup_printf("%s.agents.dlq", stack->prefix);
    topic_delete(name);
    assert_finds("topics", "fault", "agents.dlq is missing",
                 "virtbusctl topics create --partitions 4");
    stack_answer_free(stack_done(stack, "topics", "create", "--partitions", "4", NULL));
    assert_all_well();
}

static void names_a_service_that_does_not_run(void **state)
{
    (void)state;
    assert_true(stack_stop(stack, STACK_VOLUME_SERVICE));
    assert_finds("volume-service", "fault", "no volume-service runs",
                 "Start virtbus-volume-service with --bootstrap");
    assert_finds("vm-service", "ok", "1 instance", "");
    stack_start(stack, STACK_VOLUME_SERVICE);
    stack_await_ready(stack);
    assert_all_well();
}

static void names_a_host_that_is_silent(void **state)
{
    (void)state;
    stack_kill(stack, STACK_HOST_AGENT);
    assert_finds("hosts", "fault", stack->host_uuid, "Start virtbus-host-agent there");
    stack_start(stack, STACK_HOST_AGENT);
    stack_await_ready(stack);
    assert_all_well();
}

/* ---- VMs: none of them ever starts */

static char *vm_new(const char *name)
{
    return stack_vm_new(stack, "--name", name, "--platform", "linux", "--vcpus", "1", "--memory",
                        "32MiB", "--storage", "local:local", "--disk", "1MiB", "--nic", "user",
                        NULL);
}

static JsonNode *line_read(GDataInputStream *stream)
{
    g_autoptr(GError) error = NULL;
    g_autofree char *line = g_data_input_stream_read_line(stream, NULL, NULL, &error);
    assert_null(error);
    return line != NULL ? json_from_string(line, NULL) : NULL;
}

static void assert_member(JsonNode *json, const char *path, const char *expected)
{
    g_autofree char *found = stack_text(json, path);
    assert_string_equal(found, expected);
}

static void watches_until_a_status(void **state)
{
    (void)state;
    g_autofree char *vm = vm_new("watched");
    g_autoptr(GSubprocess) watch =
        stack_begin(stack, "vm", "watch", vm, "--until", "destroyed", NULL);
    g_autoptr(GDataInputStream) lines =
        g_data_input_stream_new(g_subprocess_get_stdout_pipe(watch));
    g_autoptr(JsonNode) first = line_read(lines);
    assert_member(first, "vm_uuid", vm);
    assert_member(first, "status", "VM_STATUS_CREATED");
    stack_answer_free(stack_done(stack, "vm", "destroy", vm, NULL));
    g_autoptr(JsonNode) last = NULL;
    for (JsonNode *line; (line = line_read(lines)) != NULL; last = line) {
        g_clear_pointer(&last, json_node_unref);
    }
    assert_member(last, "status_changed.to", "VM_STATUS_DESTROYED");
    assert_true(g_subprocess_wait_check(watch, NULL, NULL));

    /* It is so already. */
    g_autoptr(StackAnswer) at_once =
        stack_done(stack, "vm", "watch", vm, "--until", "destroyed", NULL);
    assert_member(at_once->json, "status", "VM_STATUS_DESTROYED");
}

static void says_what_it_waited_for_in_vain(void **state)
{
    (void)state;
    g_autofree char *vm = vm_new("still");
    g_autoptr(GSubprocess) watch =
        stack_begin(stack, "vm", "watch", vm, "--until", "running", "--timeout", "1s", NULL);
    g_autofree char *words = NULL;
    assert_true(g_subprocess_communicate_utf8(watch, NULL, NULL, NULL, &words, NULL));
    assert_int_equal(g_subprocess_get_exit_status(watch), 3);
    assert_non_null(strstr(words, "is still Created after 1.00 s"));
    stack_answer_free(stack_done(stack, "vm", "destroy", vm, NULL));

    uuid_random(vm);
    g_autoptr(StackAnswer) nobody = stack_ask(stack, "vm", "watch", vm, NULL);
    assert_int_equal(nobody->status, 1);
    assert_non_null(strstr(nobody->words, "there is no VM "));
}

static void changes_only_what_an_update_names(void **state)
{
    (void)state;
    g_autofree char *vm = vm_new("changed");
    stack_answer_free(stack_done(stack, "vm", "update", vm, "--memory", "64MiB", "--nic",
                                 "index=0,model=e1000", "--nic", "user", NULL));
    g_autoptr(StackAnswer) shown = stack_done(stack, "vm", "show", vm, NULL);
    assert_member(shown->json, "vm.spec.name", "changed");
    assert_member(shown->json, "vm.spec.memory_bytes", "67108864");
    assert_member(shown->json, "vm.spec.nics[0].model", "NIC_MODEL_E1000");
    assert_member(shown->json, "vm.spec.nics[0].type", "NIC_TYPE_USER");
    assert_member(shown->json, "vm.spec.nics[1].index", "1");
    assert_member(shown->json, "vm.spec.disks[0].boot_order", "1");
    stack_answer_free(stack_done(stack, "vm", "update", vm, "--no-nic", "0", NULL));
    g_autoptr(StackAnswer) less = stack_done(stack, "vm", "show", vm, NULL);
    assert_member(less->json, "vm.spec.nics[0].index", "1");
    assert_count(less->json, "vm.spec.nics", 1);
    stack_answer_free(stack_done(stack, "vm", "destroy", vm, NULL));
}

/* They reach the service, which knows that nothing runs. */
static void sends_what_only_a_running_vm_heeds(void **state)
{
    (void)state;
    g_autofree char *vm = vm_new("at-rest");
    stack_answer_free(stack_refused(stack, ERROR_CODE_ILLEGAL_STATUS, "vm", "reboot", vm,
                                    "--graceful-then-force", NULL));
    stack_answer_free(
        stack_refused(stack, ERROR_CODE_ILLEGAL_STATUS, "vm", "attach-nic", vm, "user", NULL));
    stack_answer_free(
        stack_refused(stack, ERROR_CODE_ILLEGAL_STATUS, "vm", "detach-nic", vm, "0", NULL));
    g_autoptr(StackAnswer) timeline = stack_done(stack, "vm", "timeline", vm, NULL);
    g_autoptr(JsonNode) attached =
        json_path_query("$[*].message.attach_nic.nic.index", timeline->json, NULL);
    assert_int_equal(json_array_get_int_element(json_node_get_array(attached), 0), 1);
    /* Each reply was made of its command, and so says its row. */
    g_autoptr(JsonNode) causes = json_path_query("$[*].cause_row", timeline->json, NULL);
    assert_true(json_array_get_length(json_node_get_array(causes)) >= 6);
    stack_answer_free(stack_done(stack, "vm", "destroy", vm, NULL));
}

/* Nobody answers; then the same request again, with the id that was told. */
static void says_how_to_ask_again(void **state)
{
    (void)state;
    g_autofree char *vm = vm_new("asked-again");
    assert_true(stack_stop(stack, STACK_VM_SERVICE));
    g_autoptr(StackAnswer) none = stack_ask(stack, "vm", "destroy", vm, "--timeout", "1s", NULL);
    assert_int_equal(none->status, 3);
    g_autofree char *request_id = stack_text(none->json, "request_id");
    g_autofree char *flag = g_strdup_printf("--request-id %s", request_id);
    assert_true(uuid_is_valid(request_id));
    assert_non_null(strstr(none->words, flag));
    stack_start(stack, STACK_VM_SERVICE);
    stack_await_ready(stack);
    stack_event(stack, vm, "reply.request_id", request_id); /* The first one is served now. */
    g_autoptr(StackAnswer) again =
        stack_done(stack, "vm", "destroy", vm, "--request-id", request_id, NULL);
    assert_member(again->json, "repeated", "true");
}

/* Names that a shell would take apart are left out; their uuids are not. */
static void lists_names_for_completion(void **state)
{
    (void)state;
    g_autofree char *plain = vm_new("plain-name");
    g_autofree char *odd = vm_new("$(touch x) odd");
    g_autoptr(GSubprocess) names = stack_begin(stack, "completion-names", "VM", NULL);
    g_autofree char *output = NULL;
    assert_true(g_subprocess_communicate_utf8(names, NULL, NULL, &output, NULL, NULL));
    assert_int_equal(g_subprocess_get_exit_status(names), 0);
    assert_non_null(strstr(output, plain));
    assert_non_null(strstr(output, "plain-name\n"));
    assert_non_null(strstr(output, odd));
    assert_null(strstr(output, "touch"));
    stack_answer_free(stack_done(stack, "vm", "destroy", plain, NULL));
    stack_answer_free(stack_done(stack, "vm", "destroy", odd, NULL));
}

static int up(void **state)
{
    (void)state;
    stack = stack_new();
    return 0;
}

static int down(void **state)
{
    (void)state;
    stack_free(stack);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(finds_all_well_on_a_healthy_stack),
        cmocka_unit_test(names_a_broker_that_does_not_answer),
        cmocka_unit_test(names_a_topic_that_is_missing),
        cmocka_unit_test(names_a_service_that_does_not_run),
        cmocka_unit_test(names_a_host_that_is_silent),
        cmocka_unit_test(watches_until_a_status),
        cmocka_unit_test(says_what_it_waited_for_in_vain),
        cmocka_unit_test(changes_only_what_an_update_names),
        cmocka_unit_test(sends_what_only_a_running_vm_heeds),
        cmocka_unit_test(says_how_to_ask_again),
        cmocka_unit_test(lists_names_for_completion),
    };
    return cmocka_run_group_tests(tests, up, down);
}
