/* vm-service's core and answers that nobody should give: too late, twice, by the wrong host, or
 * without what was asked for. What happens in order is told by tests/scenario. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "common/base/error.h"
#include "common/base/limits.h"
#include "common/base/model.h"
#include "services/vm-service/vm_core.h"

#define VM     "11111111-1111-4111-8111-111111111111"
#define HOST_A "aaaaaaaa-0000-4000-8000-000000000001"
#define HOST_B "bbbbbbbb-0000-4000-8000-000000000002"

enum {
    NOW_MS = 1000000,
    START_MS = 60000,
    MARGIN_MS = 4000, /* By which a host works to an earlier deadline. */
    EPOCH = 3,
};

typedef struct {
    VbArena *arena;
    Settings settings;
    StateRecord *state;
    VmRecord *vm;
    GArray *outputs; /* of VbOutput */
    gint64 now_ms;
} World;

/* A VM of epoch 3 on host A. */
static int set_up(void **state)
{
    World *w = g_new0(World, 1);
    w->arena = arena_new();
    w->outputs = g_array_new(FALSE, FALSE, sizeof(VbOutput));
    w->now_ms = NOW_MS;
    settings__init(&w->settings);
    w->settings.start_timeout_ms = START_MS;
    w->state = ARENA_MSG(w->arena, state_record);
    w->state->version = 7;
    w->state->body_case = STATE_RECORD__BODY_VM;
    w->state->vm = w->vm = ARENA_MSG(w->arena, vm_record);
    w->vm->spec = ARENA_MSG(w->arena, vm_spec);
    w->vm->status = VM_STATUS_STOPPED;
    w->vm->epoch = EPOCH;
    w->vm->host_uuid = arena_strdup(w->arena, HOST_A);
    *state = w;
    return 0;
}

static int tear_down(void **state)
{
    World *w = *state;
    g_array_unref(w->outputs);
    arena_free(w->arena);
    g_free(w);
    return 0;
}

static VbStepResult step(World *w, VbStepInput input)
{
    input.vm_uuid = VM;
    input.time_ms = w->now_ms;
    input.settings = &w->settings;
    VbStep step = {.input = &input, .arena = w->arena, .state = w->state, .outputs = w->outputs};
    g_array_set_size(w->outputs, 0);
    VbStepResult result = vm_service.step(&step);
    w->state = step.state;
    return result;
}

static void give(World *w, VbTopic topic, const ProtobufCMessage *record)
{
    assert_int_equal(step(w, (VbStepInput){.topic = topic, .record = record}), STEP_OK);
}

/* ---- What is given */

/* The start of this epoch is in that phase. */
static Operation *starting(World *w, OperationPhase phase)
{
    Operation *operation = ARENA_MSG(w->arena, operation);
    operation->id = arena_strdup(w->arena, "op");
    operation->kind = OPERATION_KIND_START;
    operation->request_id = arena_strdup(w->arena, "request");
    operation->host_uuid = arena_strdup(w->arena, HOST_A);
    operation->phase = phase;
    operation->return_status = VM_STATUS_STOPPED;
    operation->deadline_ms = NOW_MS + START_MS;
    w->vm->operation = operation;
    w->vm->status = VM_STATUS_STARTING;
    w->state->deadline_ms = operation->deadline_ms;
    w->state->deadline_id = arena_strdup(w->arena, "op/this phase");
    return operation;
}

static Volume *add_volume(World *w, VolumesPrepared *prepared, VolumeType type)
{
    Volume *volume = ARENA_MSG(w->arena, volume);
    volume->type = type;
    volume->status = VOLUME_STATUS_READY;
    volume->uuid = arena_printf(w->arena, "volume-%d", type);
    ARENA_APPEND(w->arena, prepared->n_volumes, prepared->volumes, volume);
    return volume;
}

/* The answer to a preparation, with a root disk. */
static VolumeEvent *prepared_event(World *w)
{
    VolumeEvent *event = ARENA_MSG(w->arena, volume_event);
    event->operation_id = arena_strdup(w->arena, "op");
    event->event_case = VOLUME_EVENT__EVENT_VOLUMES_PREPARED;
    event->volumes_prepared = ARENA_MSG(w->arena, volumes_prepared);
    add_volume(w, event->volumes_prepared, VOLUME_TYPE_ROOT);
    return event;
}

/* With one more unless that is UNSPECIFIED. */
static void give_prepared(World *w, VolumeType more)
{
    VolumeEvent *event = prepared_event(w);
    if (more != VOLUME_TYPE_UNSPECIFIED) {
        add_volume(w, event->volumes_prepared, more);
    }
    give(w, TOPIC_VOLUME_EVENTS, &event->base);
}

static HostReport *report_new(World *w, const char *host_uuid)
{
    HostReport *report = ARENA_MSG(w->arena, host_report);
    report->host_uuid = arena_strdup(w->arena, host_uuid);
    report->epoch = EPOCH;
    return report;
}

static HostReport *stopped_report(World *w, const char *host_uuid)
{
    HostReport *report = report_new(w, host_uuid);
    report->report_case = HOST_REPORT__REPORT_DOMAIN_STOPPED;
    report->domain_stopped = ARENA_MSG(w->arena, domain_stopped);
    report->domain_stopped->reason = STOP_REASON_GUEST_SHUTDOWN;
    return report;
}

static void give_deadline(World *w, const char *id)
{
    RuntimeInput *input = ARENA_MSG(w->arena, runtime_input);
    input->input_case = RUNTIME_INPUT__INPUT_DEADLINE_ELAPSED;
    input->deadline_elapsed = ARENA_MSG(w->arena, deadline_elapsed);
    input->deadline_elapsed->deadline_id = arena_strdup(w->arena, id);
    assert_int_equal(step(w, (VbStepInput){.runtime = input}), STEP_OK);
}

/* ---- What must come of it */

static const HostCommand *host_command(const World *w)
{
    for (guint i = 0; i < w->outputs->len; i++) {
        const VbOutput *output = &g_array_index(w->outputs, VbOutput, i);
        if (output->topic == TOPIC_HOST_COMMANDS) {
            return output->message;
        }
    }
    return NULL;
}

static const Error *reply_error(const World *w)
{
    for (guint i = 0; i < w->outputs->len; i++) {
        const VbOutput *output = &g_array_index(w->outputs, VbOutput, i);
        const VmEvent *event = output->message;
        if (output->topic == TOPIC_VM_EVENTS && event->event_case == VM_EVENT__EVENT_REPLY) {
            return event->reply->error;
        }
    }
    fail_msg("there is no reply");
    return NULL;
}

static void expect_start_refused(World *w, ErrorCode code)
{
    assert_null(host_command(w));
    assert_int_equal(reply_error(w)->code, code);
    assert_int_equal(w->vm->status, VM_STATUS_STOPPED);
    assert_null(w->vm->operation);
}

/* ---- Volumes that were prepared */

static void start_is_never_sent_without_its_nvram(void **state)
{
    World *w = *state;
    w->vm->nvram_needed = TRUE;
    starting(w, OPERATION_PHASE_PREPARING_VOLUMES);
    give_prepared(w, VOLUME_TYPE_UNSPECIFIED);
    expect_start_refused(w, ERROR_CODE_VOLUME_NOT_FOUND);
    starting(w, OPERATION_PHASE_PREPARING_VOLUMES);
    give_prepared(w, VOLUME_TYPE_NV_RAM);
    assert_int_equal(host_command(w)->start_domain->n_volumes, 2);
}

static void start_is_never_sent_without_its_tpm(void **state)
{
    World *w = *state;
    w->vm->tpm = ARENA_MSG(w->arena, tpm_device);
    starting(w, OPERATION_PHASE_PREPARING_VOLUMES);
    give_prepared(w, VOLUME_TYPE_UNSPECIFIED);
    expect_start_refused(w, ERROR_CODE_VOLUME_NOT_FOUND);
    starting(w, OPERATION_PHASE_PREPARING_VOLUMES);
    give_prepared(w, VOLUME_TYPE_TPM_STATE);
    assert_string_equal(host_command(w)->start_domain->tpm_volume_uuid, w->vm->tpm->volume_uuid);
}

static void start_is_never_sent_with_several_stores(void **state)
{
    World *w = *state;
    VolumeEvent *event = prepared_event(w);
    add_volume(w, event->volumes_prepared, VOLUME_TYPE_NV_RAM);
    starting(w, OPERATION_PHASE_PREPARING_VOLUMES); /* It needs none. */
    give(w, TOPIC_VOLUME_EVENTS, &event->base);
    expect_start_refused(w, ERROR_CODE_NVRAM_AMBIGUOUS);
    add_volume(w, event->volumes_prepared, VOLUME_TYPE_NV_RAM);
    w->vm->nvram_needed = TRUE;
    starting(w, OPERATION_PHASE_PREPARING_VOLUMES);
    give(w, TOPIC_VOLUME_EVENTS, &event->base);
    expect_start_refused(w, ERROR_CODE_NVRAM_AMBIGUOUS);
}

static void start_is_never_sent_with_half_a_volume(void **state)
{
    World *w = *state;
    VolumeEvent *event = prepared_event(w);
    event->volumes_prepared->volumes[0]->status = VOLUME_STATUS_CREATING;
    starting(w, OPERATION_PHASE_PREPARING_VOLUMES);
    give(w, TOPIC_VOLUME_EVENTS, &event->base);
    expect_start_refused(w, ERROR_CODE_VOLUME_BUSY);
}

static void start_that_would_expire_on_its_way_is_not_sent(void **state)
{
    World *w = *state;
    starting(w, OPERATION_PHASE_PREPARING_VOLUMES);
    w->now_ms = NOW_MS + START_MS - MARGIN_MS;
    give_prepared(w, VOLUME_TYPE_UNSPECIFIED);
    expect_start_refused(w, ERROR_CODE_TIMEOUT);
    starting(w, OPERATION_PHASE_PREPARING_VOLUMES);
    w->now_ms--;
    give_prepared(w, VOLUME_TYPE_UNSPECIFIED);
    assert_int_equal(host_command(w)->expires_ms, w->now_ms + 1);
}

static void answer_of_an_earlier_phase_is_not_heard(void **state)
{
    World *w = *state;
    starting(w, OPERATION_PHASE_STARTING_DOMAIN);
    give_prepared(w, VOLUME_TYPE_UNSPECIFIED);
    assert_int_equal(w->outputs->len, 0);
    assert_int_equal(w->vm->status, VM_STATUS_STARTING);
}

static void deadline_of_an_earlier_phase_is_not_heard(void **state)
{
    World *w = *state;
    starting(w, OPERATION_PHASE_PREPARING_VOLUMES);
    give_deadline(w, "op/another phase");
    assert_int_equal(w->outputs->len, 0);
    assert_int_equal(w->vm->status, VM_STATUS_STARTING);
    give_deadline(w, "op/this phase");
    assert_int_equal(w->vm->status, VM_STATUS_STOPPED);
}

/* Of one kind, too: a late answer to the first must not be taken for one to the second. */
static void each_operation_has_an_id_of_its_own(void **state)
{
    World *w = *state;
    const char *ids[2];
    for (size_t i = 0; i < G_N_ELEMENTS(ids); i++) {
        VmCommand *command = ARENA_MSG(w->arena, vm_command);
        command->request_id = arena_printf(w->arena, "start-%zu", i);
        command->command_case = VM_COMMAND__COMMAND_START_VM;
        command->start_vm = ARENA_MSG(w->arena, start_vm);
        command->start_vm->host_uuid = arena_strdup(w->arena, HOST_A);
        give(w, TOPIC_VM_COMMANDS, &command->base);
        ids[i] = w->vm->operation->id;
        w->vm->operation = NULL;
        w->vm->status = VM_STATUS_STOPPED;
        w->state->version++;
    }
    assert_string_not_equal(ids[0], ids[1]);
}

/* ---- Hosts */

static void only_its_own_host_can_say_that_it_has_ended(void **state)
{
    World *w = *state;
    w->vm->status = VM_STATUS_RUNNING;
    give(w, TOPIC_VM_REPORTS, &stopped_report(w, HOST_B)->base);
    assert_int_equal(w->vm->status, VM_STATUS_RUNNING);
    give(w, TOPIC_VM_REPORTS, &stopped_report(w, HOST_A)->base);
    assert_int_equal(w->vm->status, VM_STATUS_STOPPED);
}

static void foreign_domain_makes_a_running_vm_unknown(void **state)
{
    World *w = *state;
    w->vm->status = VM_STATUS_RUNNING;
    HostReport *report = report_new(w, HOST_A);
    report->report_case = HOST_REPORT__REPORT_DOMAIN_OBSERVED;
    report->domain_observed = ARENA_MSG(w->arena, domain_observed);
    report->error = error_make(w->arena, ERROR_CODE_FOREIGN_DOMAIN, "it is somebody else's");
    give(w, TOPIC_VM_REPORTS, &report->base);
    assert_int_equal(w->vm->status, VM_STATUS_UNKNOWN);
}

/* A record that no step could have written. */
static void move_that_the_picture_does_not_have_is_a_fault(void **state)
{
    World *w = *state;
    starting(w, OPERATION_PHASE_STARTING_DOMAIN);
    w->vm->status = VM_STATUS_DESTROYED;
    HostReport *report = report_new(w, HOST_A);
    report->operation_id = arena_strdup(w->arena, "op");
    report->error = error_make(w->arena, ERROR_CODE_HYPERVISOR, "it broke");
    report->report_case = HOST_REPORT__REPORT_DOMAIN_STARTED;
    report->domain_started = ARENA_MSG(w->arena, domain_started);
    w->vm->operation->return_status = VM_STATUS_CRASHED;
    VbStepInput input = {.topic = TOPIC_VM_REPORTS, .record = &report->base};
    assert_int_equal(step(w, input), STEP_FAULT);
}

/* ---- Quarantine */

/* The operation that would have led out of it was ended by the quarantine. */
static void release_leads_to_no_status_in_transit(void **state)
{
    World *w = *state;
    static const VmStatus transits[] = {VM_STATUS_STARTING, VM_STATUS_STOPPING, VM_STATUS_REBOOTING,
                                        VM_STATUS_DESTROYING, VM_STATUS_MIGRATING};
    for (size_t i = 0; i < G_N_ELEMENTS(transits); i++) {
        w->vm->status = VM_STATUS_QUARANTINED;
        w->vm->status_before_quarantine = transits[i];
        VmCommand *command = ARENA_MSG(w->arena, vm_command);
        command->request_id = arena_printf(w->arena, "release-%zu", i);
        command->command_case = VM_COMMAND__COMMAND_RELEASE_QUARANTINE;
        command->release_quarantine = ARENA_MSG(w->arena, release_quarantine);
        give(w, TOPIC_VM_COMMANDS, &command->base);
        assert_null(reply_error(w));
        assert_int_equal(w->vm->status, VM_STATUS_UNKNOWN);
    }
}

/* ---- Hardware */

static guint count_events(const World *w, VmEvent__EventCase kind)
{
    guint n_events = 0;
    for (guint i = 0; i < w->outputs->len; i++) {
        const VbOutput *output = &g_array_index(w->outputs, VbOutput, i);
        const VmEvent *event = output->message;
        n_events += output->topic == TOPIC_VM_EVENTS && event->event_case == kind;
    }
    return n_events;
}

/* A start that has worked, whose hardware packs to so many bytes. */
static HostReport *started_report(World *w, size_t size_bytes)
{
    HostReport *report = report_new(w, HOST_A);
    Hardware *hardware = ARENA_MSG(w->arena, hardware);
    EffectiveNic *nic = ARENA_MSG(w->arena, effective_nic);
    DeviceAddress *address = ARENA_MSG(w->arena, device_address);
    report->operation_id = arena_strdup(w->arena, "op");
    report->report_case = HOST_REPORT__REPORT_DOMAIN_STARTED;
    report->domain_started = ARENA_MSG(w->arena, domain_started);
    report->domain_started->hardware = hardware;
    report->domain_started->replaced_firmware = ARENA_MSG(w->arena, firmware_ref);
    hardware->machine = arena_strdup(w->arena, "pc-q35-7.2");
    hardware->firmware = ARENA_MSG(w->arena, firmware_ref);
    hardware->firmware->code_path = arena_strdup(w->arena, "/new.fd");
    nic->mac = arena_strdup(w->arena, "52:54:00:00:00:01");
    ARENA_APPEND(w->arena, hardware->n_nics, hardware->nics, nic);
    model_tpm_mark(w->arena, hardware);
    ARENA_APPEND(w->arena, hardware->n_addresses, hardware->addresses, address);
    address->device = arena_printf(w->arena, "%0*d", (int)size_bytes / 2, 0);
    size_t missing_bytes = size_bytes - hardware__get_packed_size(hardware);
    address->device = arena_printf(w->arena, "%0*d", (int)(size_bytes / 2 + missing_bytes), 0);
    assert_int_equal(hardware__get_packed_size(hardware), size_bytes);
    return report;
}

static void hardware_of_the_largest_size_is_kept(void **state)
{
    World *w = *state;
    starting(w, OPERATION_PHASE_STARTING_DOMAIN);
    HostReport *report = started_report(w, HARDWARE_MAX_BYTES);
    give(w, TOPIC_VM_REPORTS, &report->base);
    assert_ptr_equal(w->vm->hardware, report->domain_started->hardware);
    assert_int_equal(count_events(w, VM_EVENT__EVENT_WARNING), 0);
}

static void hardware_that_is_too_large_loses_its_addresses_only(void **state)
{
    World *w = *state;
    starting(w, OPERATION_PHASE_STARTING_DOMAIN);
    w->vm->tpm = ARENA_MSG(w->arena, tpm_device);
    HostReport *report = started_report(w, HARDWARE_MAX_BYTES + 1);
    give(w, TOPIC_VM_REPORTS, &report->base);
    const Hardware *kept = w->vm->hardware;
    assert_string_equal(kept->machine, "pc-q35-7.2");
    assert_string_equal(kept->firmware->code_path, "/new.fd");
    assert_string_equal(kept->nics[0]->mac, "52:54:00:00:00:01");
    assert_true(model_tpm_has_started(kept));
    assert_int_equal(kept->n_addresses, 1);
    assert_string_equal(w->vm->tpm->host_uuid, HOST_A);
    assert_int_equal(count_events(w, VM_EVENT__EVENT_FIRMWARE_REPLACED), 1);
    assert_int_equal(count_events(w, VM_EVENT__EVENT_WARNING), 1);
    give(w, TOPIC_VM_REPORTS, &report->base);
    assert_int_equal(w->outputs->len, 0); /* It is known. */
}

/* Even what is left would be too much: only that the TPM has started is kept. */
static void hardware_of_no_sense_does_not_lose_the_tpm(void **state)
{
    World *w = *state;
    starting(w, OPERATION_PHASE_STARTING_DOMAIN);
    HostReport *report = started_report(w, HARDWARE_MAX_BYTES + 1);
    report->domain_started->hardware->cpu_model =
        arena_printf(w->arena, "%0*d", HARDWARE_MAX_BYTES, 0);
    give(w, TOPIC_VM_REPORTS, &report->base);
    assert_string_equal(w->vm->hardware->cpu_model, "");
    assert_true(model_tpm_has_started(w->vm->hardware));
    assert_int_equal(w->vm->status, VM_STATUS_RUNNING);
}

#define TEST(function) cmocka_unit_test_setup_teardown(function, set_up, tear_down)

/* The record of an expunged VM may go while volume-service is asked. */
static void volumes_read_are_told_where_the_record_is_gone(void **state)
{
    World *w = *state;
    VolumeEvent *event = ARENA_MSG(w->arena, volume_event);
    event->operation_id = arena_strdup(w->arena, "request");
    event->event_case = VOLUME_EVENT__EVENT_VOLUMES_READ;
    event->volumes_read = ARENA_MSG(w->arena, volumes_read);
    w->state = NULL;
    give(w, TOPIC_VOLUME_EVENTS, &event->base);
    assert_int_equal(w->outputs->len, 1);
    const VbOutput *told = &g_array_index(w->outputs, VbOutput, 0);
    assert_string_equal(((const VmEvent *)told->message)->reply->request_id, "request");
    assert_null(w->state);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(start_is_never_sent_without_its_nvram),
        TEST(start_is_never_sent_without_its_tpm),
        TEST(start_is_never_sent_with_several_stores),
        TEST(start_is_never_sent_with_half_a_volume),
        TEST(start_that_would_expire_on_its_way_is_not_sent),
        TEST(answer_of_an_earlier_phase_is_not_heard),
        TEST(deadline_of_an_earlier_phase_is_not_heard),
        TEST(each_operation_has_an_id_of_its_own),
        TEST(only_its_own_host_can_say_that_it_has_ended),
        TEST(foreign_domain_makes_a_running_vm_unknown),
        TEST(move_that_the_picture_does_not_have_is_a_fault),
        TEST(release_leads_to_no_status_in_transit),
        TEST(hardware_of_the_largest_size_is_kept),
        TEST(hardware_that_is_too_large_loses_its_addresses_only),
        TEST(hardware_of_no_sense_does_not_lose_the_tpm),
        TEST(volumes_read_are_told_where_the_record_is_gone),
    };
    return cmocka_run_group_tests_name("vm_core", tests, NULL, NULL);
}
