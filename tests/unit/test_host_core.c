/* host_core, transition by transition: what a VM's journal says, what is asked for, what goes out.
 *
 * After every step the HostVm is packed and unpacked, as the shell does: nothing may live on in
 * memory alone. A crash at any point is therefore just HOST_INPUT_LOOK given to what is there. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "services/host-agent/host_core.h"

#define VM   "6e1b4a52-9d6c-4f57-8a2b-0d5a1f2c3e4d"
#define HOST "b7f3c2d1-0a9e-4c8b-9f6d-5e4a3b2c1d0e"

typedef struct {
    VbArena *arena;
    HostVm *vm;
    VbEffect effect; /* Of the last step. */
    gint64 now_ms;
    gint64 next_offset;
} World;

static int set_up(void **state)
{
    World *w = g_new0(World, 1);
    w->arena = arena_new();
    w->vm = host_vm_new(w->arena, VM);
    w->now_ms = 1000;
    *state = w;
    return 0;
}

static int tear_down(void **state)
{
    World *w = *state;
    arena_free(w->arena);
    g_free(w);
    return 0;
}

static void step(World *w, VbHostInput input)
{
    input.host_uuid = HOST;
    input.time_ms = w->now_ms;
    VbHostStep host = {.arena = w->arena, .vm = w->vm};
    host_step(&host, &input);
    w->vm = arena_copy(w->arena, host.vm);
    w->effect = host.effect;
}

/* --- Commands */

static HostCommand *command_new(World *w, guint64 epoch, gint64 expires_ms)
{
    HostCommand *command = ARENA_MSG(w->arena, host_command);
    command->vm_uuid = (char *)VM;
    command->operation_id = arena_printf(w->arena, "op-%d", (int)w->next_offset);
    command->epoch = epoch;
    command->expires_ms = expires_ms;
    return command;
}

static void give(World *w, const HostCommand *command)
{
    step(w,
         (VbHostInput){.kind = HOST_INPUT_COMMAND, .command = command, .offset = w->next_offset++});
}

static HostCommand *start_command(World *w, guint64 epoch, gint64 expires_ms)
{
    HostCommand *command = command_new(w, epoch, expires_ms);
    command->command_case = HOST_COMMAND__COMMAND_START_DOMAIN;
    command->start_domain = ARENA_MSG(w->arena, start_domain);
    VmSpec *spec = ARENA_MSG(w->arena, vm_spec);
    command->start_domain->spec = spec;
    for (guint i = 0; i < 3; i++) {
        NicSpec *nic = ARENA_MSG(w->arena, nic_spec);
        nic->index = i + 1;
        nic->type = i == 1 ? NIC_TYPE_USER : NIC_TYPE_VHOST_USER;
        ARENA_APPEND(w->arena, spec->n_nics, spec->nics, nic);
    }
    return command;
}

static HostCommand *stop_command(World *w, guint64 epoch, StopMode mode, gint64 expires_ms)
{
    HostCommand *command = command_new(w, epoch, expires_ms);
    command->command_case = HOST_COMMAND__COMMAND_STOP_DOMAIN;
    command->stop_domain = ARENA_MSG(w->arena, stop_domain);
    command->stop_domain->mode = mode;
    return command;
}

static HostCommand *create_command(World *w, guint64 epoch, gint64 expires_ms)
{
    HostCommand *command = command_new(w, epoch, expires_ms);
    Volume *volume = ARENA_MSG(w->arena, volume);
    command->command_case = HOST_COMMAND__COMMAND_CREATE_VOLUMES;
    command->create_volumes = ARENA_MSG(w->arena, create_volumes);
    ARENA_APPEND(w->arena, command->create_volumes->n_volumes, command->create_volumes->volumes,
                 volume);
    return command;
}

static HostCommand *delete_command(World *w, guint64 epoch)
{
    HostCommand *command = command_new(w, epoch, 0);
    command->command_case = HOST_COMMAND__COMMAND_DELETE_VOLUMES;
    command->delete_volumes = ARENA_MSG(w->arena, delete_volumes);
    return command;
}

static HostCommand *forget_command(World *w, guint64 epoch)
{
    HostCommand *command = command_new(w, epoch, 0);
    command->command_case = HOST_COMMAND__COMMAND_FORGET_VM;
    command->forget_vm = ARENA_MSG(w->arena, forget_vm);
    return command;
}

static NicSpec *nic_new(World *w, guint32 index, NicType type)
{
    NicSpec *nic = ARENA_MSG(w->arena, nic_spec);
    nic->index = index;
    nic->type = type;
    return nic;
}

static HostCommand *attach_command(World *w, guint64 epoch, gint64 expires_ms, NicType type)
{
    HostCommand *command = command_new(w, epoch, expires_ms);
    command->command_case = HOST_COMMAND__COMMAND_ATTACH_DEVICE;
    command->attach_device = ARENA_MSG(w->arena, attach_device);
    command->attach_device->nic = nic_new(w, 7, type);
    return command;
}

static HostCommand *detach_command(World *w, guint64 epoch, gint64 expires_ms)
{
    HostCommand *command = command_new(w, epoch, expires_ms);
    command->command_case = HOST_COMMAND__COMMAND_DETACH_DEVICE;
    command->detach_device = ARENA_MSG(w->arena, detach_device);
    command->detach_device->nic = nic_new(w, 7, NIC_TYPE_VHOST_USER);
    return command;
}

/* --- The world's answers */

static void done(World *w, VbEffectResult result)
{
    step(w, (VbHostInput){.kind = HOST_INPUT_DONE, .result = &result});
}

static void failed(World *w, ErrorCode code)
{
    done(w, (VbEffectResult){.error = error_make(w->arena, code, "it broke")});
}

/* A clean-up that failed. */
static void left(World *w, ErrorCode code, VbLeft rest)
{
    done(w, (VbEffectResult){.error = error_make(w->arena, code, "it broke"), .left = rest});
}

static void started(World *w)
{
    HostReport *report = ARENA_MSG(w->arena, host_report);
    report->report_case = HOST_REPORT__REPORT_DOMAIN_STARTED;
    report->domain_started = ARENA_MSG(w->arena, domain_started);
    report->domain_started->hardware = ARENA_MSG(w->arena, hardware);
    report->domain_started->hardware->machine = (char *)"pc-q35-7.2";
    char *paths[] = {(char *)"/s/nvram.fd", (char *)"/s/tpm", NULL};
    done(w, (VbEffectResult){.report = report, .state_paths = paths});
}

static void changed(World *w, VbNicLeft nic)
{
    HostReport *report = ARENA_MSG(w->arena, host_report);
    report->report_case = HOST_REPORT__REPORT_DEVICE_CHANGED;
    report->device_changed = ARENA_MSG(w->arena, device_changed);
    report->device_changed->hardware = ARENA_MSG(w->arena, hardware);
    report->device_changed->hardware->machine = (char *)"pc-q35-7.2";
    done(w, (VbEffectResult){.report = report, .nic = nic});
}

/* An attach or a detach that failed. */
static void unchanged(World *w, ErrorCode code, VbNicLeft nic)
{
    done(w, (VbEffectResult){.error = error_make(w->arena, code, "it broke"), .nic = nic});
}

static void looked(World *w, VbDomainPresence presence, guint64 epoch)
{
    Hardware *hardware = ARENA_MSG(w->arena, hardware);
    hardware->machine = (char *)"pc-q35-found";
    done(w,
         (VbEffectResult){.facts = {.presence = presence, .epoch = epoch, .hardware = hardware}});
}

static void look(World *w)
{
    step(w, (VbHostInput){.kind = HOST_INPUT_LOOK});
}

static void again(World *w)
{
    step(w, (VbHostInput){.kind = HOST_INPUT_AGAIN});
}

static void domain_event(World *w, VbDomainEventKind event, StopReason reason)
{
    step(w, (VbHostInput){.kind = HOST_INPUT_DOMAIN_EVENT, .event = event, .reason = reason});
}

/* --- What must be true */

static void expect_phase(World *w, HostPhase phase, VbEffect effect)
{
    assert_int_equal(w->vm->phase, phase);
    assert_int_equal(w->effect, effect);
}

/* Takes the oldest report out of the outbox. */
static HostReport *sent(World *w)
{
    assert_true(w->vm->n_outbox > 0);
    HostReport *report = w->vm->outbox[0];
    assert_string_equal(report->vm_uuid, VM);
    assert_string_equal(report->host_uuid, HOST);
    assert_int_equal(report->time_ms, w->now_ms);
    size_t before = w->vm->n_outbox;
    VbEffect effect = w->effect;
    step(w, (VbHostInput){.kind = HOST_INPUT_ACKNOWLEDGED});
    assert_int_equal(w->vm->n_outbox, before - 1);
    w->effect = effect;
    return report;
}

static HostReport *sent_answer(World *w, HostReport__ReportCase body, ErrorCode code)
{
    HostReport *report = sent(w);
    assert_int_equal(report->report_case, body);
    assert_int_equal(report->error != NULL ? report->error->code : ERROR_CODE_UNSPECIFIED, code);
    if (report->error != NULL) {
        assert_string_equal(report->error->host_uuid, HOST);
    }
    return report;
}

/* The domain has ended, for this reason. */
static HostReport *sent_stopped(World *w, StopReason reason)
{
    HostReport *report = sent_answer(w, HOST_REPORT__REPORT_DOMAIN_STOPPED, ERROR_CODE_UNSPECIFIED);
    assert_int_equal(report->domain_stopped->reason, reason);
    return report;
}

/* A look finds no domain; it is cleaned up after, and its end told. */
static HostReport *found_gone(World *w, StopReason reason)
{
    looked(w, DOMAIN_NONE, 0);
    done(w, (VbEffectResult){0});
    return sent_stopped(w, reason);
}

static void expect_silent(World *w)
{
    assert_int_equal(w->vm->n_outbox, 0);
}

/* A VM whose domain of this epoch runs. */
static void run(World *w, guint64 epoch)
{
    give(w, start_command(w, epoch, 0));
    started(w);
    sent_answer(w, HOST_REPORT__REPORT_DOMAIN_STARTED, ERROR_CODE_UNSPECIFIED);
    expect_phase(w, HOST_PHASE_IDLE, EFFECT_NONE);
}

/* After an answer that came too late for a domain that may run, whoever waited is told that it
 * does. */
static void expect_told_that_it_runs(World *w, guint64 epoch)
{
    expect_phase(w, HOST_PHASE_LOOKING, EFFECT_LOOK);
    looked(w, DOMAIN_OURS, epoch);
    HostReport *report =
        sent_answer(w, HOST_REPORT__REPORT_DOMAIN_OBSERVED, ERROR_CODE_UNSPECIFIED);
    assert_true(report->domain_observed->running);
    assert_int_equal(report->epoch, epoch);
    expect_phase(w, HOST_PHASE_IDLE, EFFECT_NONE);
}

/* --- Start */

static void start_is_an_intent_before_its_effect(void **state)
{
    World *w = *state;
    give(w, start_command(w, 3, 5000));
    expect_phase(w, HOST_PHASE_WORKING, EFFECT_START);
    expect_silent(w);
    assert_int_equal(w->vm->last_offset, 0);
    assert_int_equal(w->vm->epoch, 3);
    assert_string_equal(w->vm->command->operation_id, "op-0");
    assert_int_equal(w->vm->n_ports, 2); /* The vhost-user NICs, before anything is plugged. */
    assert_int_equal(w->vm->ports[0], 1);
    assert_int_equal(w->vm->ports[1], 3);
    assert_false(w->vm->domain_expected);
}

static void start_done_is_reported_with_its_hardware(void **state)
{
    World *w = *state;
    give(w, start_command(w, 3, 5000));
    started(w);
    expect_phase(w, HOST_PHASE_IDLE, EFFECT_NONE);
    HostReport *report = sent_answer(w, HOST_REPORT__REPORT_DOMAIN_STARTED, ERROR_CODE_UNSPECIFIED);
    assert_string_equal(report->operation_id, "op-0");
    assert_int_equal(report->epoch, 3);
    assert_string_equal(report->domain_started->hardware->machine, "pc-q35-7.2");
    assert_true(w->vm->domain_expected);
    assert_int_equal(w->vm->domain_epoch, 3);
    assert_int_equal(w->vm->n_state_paths, 2);
    assert_string_equal(w->vm->state_paths[1], "/s/tpm");
    assert_null(w->vm->command);
}

static void failed_start_is_undone_then_reported_with_the_first_error(void **state)
{
    World *w = *state;
    give(w, start_command(w, 3, 5000));
    failed(w, ERROR_CODE_VHOST_USER_NOT_CONNECTED);
    expect_phase(w, HOST_PHASE_UNDOING, EFFECT_CLEAN_UP);
    domain_event(w, DOMAIN_EVENT_SHUTDOWN, STOP_REASON_UNSPECIFIED); /* Our own doing. */
    domain_event(w, DOMAIN_EVENT_STOPPED, STOP_REASON_OUTSIDE);
    expect_silent(w);
    done(w, (VbEffectResult){0});
    expect_phase(w, HOST_PHASE_IDLE, EFFECT_NONE);
    sent_answer(w, HOST_REPORT__REPORT_DOMAIN_STARTED, ERROR_CODE_VHOST_USER_NOT_CONNECTED);
    assert_false(w->vm->domain_expected);
    assert_int_equal(w->vm->n_ports, 0);
    assert_null(w->vm->first_error);
}

static void failed_start_stays_silent_while_its_domain_may_run(void **state)
{
    World *w = *state;
    give(w, start_command(w, 3, 5000));
    failed(w, ERROR_CODE_HYPERVISOR_UNAVAILABLE);
    failed(w, ERROR_CODE_HYPERVISOR_UNAVAILABLE);
    expect_phase(w, HOST_PHASE_UNDOING, EFFECT_NONE);
    expect_silent(w);
    look(w);
    expect_phase(w, HOST_PHASE_UNDOING, EFFECT_CLEAN_UP);
    done(w, (VbEffectResult){0});
    sent_answer(w, HOST_REPORT__REPORT_DOMAIN_STARTED, ERROR_CODE_HYPERVISOR_UNAVAILABLE);
}

static void failed_start_that_made_nothing_is_reported_without_libvirt(void **state)
{
    World *w = *state;
    give(w, start_command(w, 3, 5000));
    done(w, (VbEffectResult){.error = error_make(w->arena, ERROR_CODE_NVRAM_MISSING, "gone"),
                             .nothing_created = TRUE});
    failed(w, ERROR_CODE_HYPERVISOR_UNAVAILABLE);
    expect_phase(w, HOST_PHASE_IDLE, EFFECT_NONE);
    sent_answer(w, HOST_REPORT__REPORT_DOMAIN_STARTED, ERROR_CODE_NVRAM_MISSING);
    assert_int_equal(w->vm->n_ports, 2); /* The next clean-up still knows them. */
}

static void failed_start_with_ovs_down_leaves_ports_for_the_next_clean_up(void **state)
{
    World *w = *state;
    give(w, start_command(w, 3, 5000));
    failed(w, ERROR_CODE_OVS_UNAVAILABLE);
    left(w, ERROR_CODE_OVS_UNAVAILABLE, LEFT_PORTS);
    expect_phase(w, HOST_PHASE_IDLE, EFFECT_NONE);
    sent_answer(w, HOST_REPORT__REPORT_DOMAIN_STARTED, ERROR_CODE_OVS_UNAVAILABLE);
    assert_true(host_vm_wants_look(w->vm));
    assert_false(w->vm->domain_expected);
    assert_int_equal(w->vm->n_ports, 2);
    give(w, start_command(w, 3, 0));
    assert_int_equal(w->vm->n_ports, 2); /* The same ones. */
    failed(w, ERROR_CODE_OVS_UNAVAILABLE);
    left(w, ERROR_CODE_OVS_UNAVAILABLE, LEFT_PORTS);
    sent(w);
    look(w);
    looked(w, DOMAIN_NONE, 0);
    expect_phase(w, HOST_PHASE_STOPPED_CLEANUP, EFFECT_CLEAN_UP);
    done(w, (VbEffectResult){0});
    expect_phase(w, HOST_PHASE_IDLE, EFFECT_NONE);
    assert_int_equal(w->vm->n_ports, 0);
    assert_false(host_vm_wants_look(w->vm));
    expect_silent(w); /* No domain was expected: nothing stopped. */
}

static void expired_start_and_creation_do_nothing(void **state)
{
    World *w = *state;
    give(w, start_command(w, 3, w->now_ms));
    expect_phase(w, HOST_PHASE_IDLE, EFFECT_NONE);
    sent_answer(w, HOST_REPORT__REPORT_DOMAIN_STARTED, ERROR_CODE_EXPIRED);
    assert_int_equal(w->vm->n_ports, 0);
    give(w, create_command(w, 3, w->now_ms - 1));
    expect_phase(w, HOST_PHASE_IDLE, EFFECT_NONE);
    sent_answer(w, HOST_REPORT__REPORT_VOLUMES_CREATED, ERROR_CODE_EXPIRED);
    give(w, start_command(w, 3, w->now_ms + 1));
    expect_phase(w, HOST_PHASE_WORKING, EFFECT_START);
}

static void older_epoch_is_stale_but_a_committed_deletion_never(void **state)
{
    World *w = *state;
    run(w, 5);
    give(w, start_command(w, 4, 0));
    sent_answer(w, HOST_REPORT__REPORT_DOMAIN_STARTED, ERROR_CODE_STALE_EPOCH);
    give(w, create_command(w, 4, 0));
    sent_answer(w, HOST_REPORT__REPORT_VOLUMES_CREATED, ERROR_CODE_STALE_EPOCH);
    give(w, stop_command(w, 4, STOP_MODE_FORCED, 0));
    HostReport *report = sent_answer(w, HOST_REPORT__REPORT_DOMAIN_STOPPED, ERROR_CODE_STALE_EPOCH);
    assert_int_equal(report->epoch, 4);
    give(w, forget_command(w, 4));
    sent_answer(w, HOST_REPORT__REPORT_VM_FORGOTTEN, ERROR_CODE_STALE_EPOCH);
    expect_phase(w, HOST_PHASE_IDLE, EFFECT_NONE);
    assert_true(w->vm->domain_expected);
    give(w, delete_command(w, 0));
    expect_phase(w, HOST_PHASE_LOOKING, EFFECT_LOOK);
    assert_int_equal(w->vm->epoch, 5);
}

static void start_of_a_newer_epoch_takes_the_older_domain_down_first(void **state)
{
    World *w = *state;
    run(w, 5);
    give(w, start_command(w, 6, 0));
    expect_phase(w, HOST_PHASE_WORKING, EFFECT_CLEAN_UP);
    domain_event(w, DOMAIN_EVENT_STOPPED, STOP_REASON_OUTSIDE); /* In time. */
    done(w, (VbEffectResult){0});
    expect_phase(w, HOST_PHASE_WORKING, EFFECT_START);
    assert_false(w->vm->domain_expected);
    assert_int_equal(w->vm->stop_seen, STOP_REASON_UNSPECIFIED);
    /* The older domain's end is heard late; it must not be taken for the new one's. */
    domain_event(w, DOMAIN_EVENT_STOPPED, STOP_REASON_OUTSIDE);
    started(w);
    sent_answer(w, HOST_REPORT__REPORT_DOMAIN_STARTED, ERROR_CODE_UNSPECIFIED);
    expect_phase(w, HOST_PHASE_LOOKING, EFFECT_LOOK);
    looked(w, DOMAIN_OURS, 6);
    expect_phase(w, HOST_PHASE_LOOKING, EFFECT_LOOK);
    looked(w, DOMAIN_OURS, 6);
    expect_phase(w, HOST_PHASE_IDLE, EFFECT_NONE);
    assert_true(sent_answer(w, HOST_REPORT__REPORT_DOMAIN_OBSERVED, ERROR_CODE_UNSPECIFIED)
                    ->domain_observed->running);
    assert_int_equal(w->vm->domain_epoch, 6);
}

static void start_does_not_go_on_before_the_older_domain_is_gone_for_certain(void **state)
{
    static const struct {
        ErrorCode code;
        VbLeft rest;
    } rows[] = {{ERROR_CODE_HYPERVISOR, LEFT_DOMAIN}, {ERROR_CODE_STORAGE_IO, LEFT_FILES}};
    World *w = *state;
    for (size_t i = 0; i < G_N_ELEMENTS(rows); i++) {
        w->vm = host_vm_new(w->arena, VM);
        run(w, 5);
        give(w, start_command(w, 6, 0));
        left(w, rows[i].code, rows[i].rest);
        sent_answer(w, HOST_REPORT__REPORT_DOMAIN_STARTED, rows[i].code);
        assert_true(w->vm->domain_expected);
        assert_int_equal(w->vm->domain_epoch, 5);
        expect_told_that_it_runs(w, 5);
    }
}

/* The VM has left it: whoever hears of it, stops it. The start that it stood in the way of was
 * newer, and makes that stop no late one. */
static void older_domain_that_stays_can_be_evicted(void **state)
{
    World *w = *state;
    run(w, 5);
    give(w, start_command(w, 6, 0));
    left(w, ERROR_CODE_HYPERVISOR, LEFT_DOMAIN);
    sent(w);
    expect_told_that_it_runs(w, 5);
    give(w, stop_command(w, 4, STOP_MODE_FORCED, 0));
    sent_answer(w, HOST_REPORT__REPORT_DOMAIN_STOPPED, ERROR_CODE_STALE_EPOCH);
    give(w, stop_command(w, 5, STOP_MODE_FORCED, 0));
    expect_phase(w, HOST_PHASE_WORKING, EFFECT_STOP);
    done(w, (VbEffectResult){.stop_reason = STOP_REASON_REQUESTED});
    done(w, (VbEffectResult){0});
    assert_int_equal(sent_stopped(w, STOP_REASON_REQUESTED)->epoch, 5);
    assert_int_equal(w->vm->epoch, 6);
    give(w, stop_command(w, 5, STOP_MODE_FORCED, 0)); /* Nothing is expected any more. */
    sent_answer(w, HOST_REPORT__REPORT_DOMAIN_STOPPED, ERROR_CODE_STALE_EPOCH);
}

static void start_that_expires_while_the_older_domain_goes_is_not_run(void **state)
{
    World *w = *state;
    run(w, 5);
    give(w, start_command(w, 6, 2000));
    w->now_ms = 2000;
    done(w, (VbEffectResult){0});
    expect_phase(w, HOST_PHASE_IDLE, EFFECT_NONE);
    sent_answer(w, HOST_REPORT__REPORT_DOMAIN_STARTED, ERROR_CODE_EXPIRED);
    assert_false(w->vm->domain_expected);
    assert_int_equal(w->vm->n_ports, 0);
}

static void start_of_the_epoch_that_runs_is_looked_after_not_run(void **state)
{
    World *w = *state;
    run(w, 5);
    give(w, start_command(w, 5, 0));
    expect_phase(w, HOST_PHASE_LOOKING, EFFECT_LOOK);
    char *paths[] = {(char *)"/s/nvram.fd", NULL};
    done(w, (VbEffectResult){.facts = {.presence = DOMAIN_OURS, .epoch = 5}, .state_paths = paths});
    assert_int_equal(w->vm->n_state_paths, 1); /* Instead of the two of the first start. */
    HostReport *report = sent_answer(w, HOST_REPORT__REPORT_DOMAIN_STARTED, ERROR_CODE_UNSPECIFIED);
    assert_string_equal(report->operation_id, "op-1");
}

/* The journal was lost, and the start is delivered again after its expiry. */
static void expired_start_of_the_epoch_that_runs_is_found_running(void **state)
{
    World *w = *state;
    look(w);
    looked(w, DOMAIN_OURS, 5);
    sent(w);
    give(w, start_command(w, 5, w->now_ms));
    expect_phase(w, HOST_PHASE_LOOKING, EFFECT_LOOK);
    looked(w, DOMAIN_OURS, 5);
    sent_answer(w, HOST_REPORT__REPORT_DOMAIN_STARTED, ERROR_CODE_UNSPECIFIED);
    expect_phase(w, HOST_PHASE_IDLE, EFFECT_NONE);
    assert_true(w->vm->domain_expected);
}

/* By the effect, or by a look after a crash. */
static void start_that_finds_a_newer_domain_leaves_it_and_the_vm_free(void **state)
{
    World *w = *state;
    VbDomainFacts newer = {.presence = DOMAIN_OURS, .epoch = 8};
    for (int crashed = 0; crashed < 2; crashed++) {
        w->vm = host_vm_new(w->arena, VM);
        give(w, start_command(w, 5, 0));
        if (crashed) {
            look(w);
            looked(w, DOMAIN_OURS, 8);
        } else {
            done(w, (VbEffectResult){.error = error_make(w->arena, ERROR_CODE_STALE_EPOCH, "newer"),
                                     .nothing_created = TRUE,
                                     .facts = newer});
        }
        sent_answer(w, HOST_REPORT__REPORT_DOMAIN_STARTED, ERROR_CODE_STALE_EPOCH);
        expect_phase(w, HOST_PHASE_LOOKING, EFFECT_LOOK);
        looked(w, DOMAIN_OURS, 8);
        expect_phase(w, HOST_PHASE_IDLE, EFFECT_NONE);
        HostReport *report =
            sent_answer(w, HOST_REPORT__REPORT_DOMAIN_OBSERVED, ERROR_CODE_UNSPECIFIED);
        assert_int_equal(report->epoch, 8);
        assert_int_equal(w->vm->epoch, 8);
        assert_true(w->vm->domain_expected);
    }
}

/* --- Repeats */

static void repeat_of_an_answered_command_gets_the_same_report(void **state)
{
    World *w = *state;
    HostCommand *command = start_command(w, 3, 0);
    give(w, command);
    w->next_offset--;
    give(w, command);
    expect_phase(w, HOST_PHASE_WORKING, EFFECT_NONE); /* Not answered yet: nothing. */
    expect_silent(w);
    started(w);
    w->next_offset--;
    give(w, command);
    assert_int_equal(w->vm->n_outbox, 1); /* It is on its way already. */
    sent(w);
    w->next_offset--;
    give(w, command);
    expect_phase(w, HOST_PHASE_IDLE, EFFECT_NONE);
    HostReport *report = sent_answer(w, HOST_REPORT__REPORT_DOMAIN_STARTED, ERROR_CODE_UNSPECIFIED);
    assert_string_equal(report->operation_id, "op-0");
    assert_string_equal(report->domain_started->hardware->machine, "pc-q35-7.2");
    give(w, stop_command(w, 3, STOP_MODE_FORCED, 0));
    w->next_offset--;
    give(w, stop_command(w, 3, STOP_MODE_FORCED, 0));
    expect_silent(w); /* Not with the report of the command before. */
    w->next_offset = 0;
    give(w, command);
    expect_phase(w, HOST_PHASE_WORKING, EFFECT_NONE); /* Below the offset: long answered. */
    expect_silent(w);
}

static void replaced_topic_begins_anew(void **state)
{
    World *w = *state;
    run(w, 3);
    step(w, (VbHostInput){.kind = HOST_INPUT_TOPIC_REPLACED});
    w->next_offset = 0;
    give(w, stop_command(w, 3, STOP_MODE_FORCED, 0));
    expect_phase(w, HOST_PHASE_WORKING, EFFECT_STOP);
}

static void command_waits_while_another_is_worked_on(void **state)
{
    World *w = *state;
    give(w, start_command(w, 3, 0));
    give(w, stop_command(w, 3, STOP_MODE_FORCED, 0));
    expect_phase(w, HOST_PHASE_WORKING, EFFECT_NONE);
    assert_int_equal(w->vm->last_offset, 0);
    expect_silent(w);
}

/* --- Stop */

static void stop_cleans_up_before_it_is_reported(void **state)
{
    World *w = *state;
    run(w, 3);
    give(w, stop_command(w, 3, STOP_MODE_GRACEFUL, 5000));
    expect_phase(w, HOST_PHASE_WORKING, EFFECT_STOP);
    domain_event(w, DOMAIN_EVENT_SHUTDOWN, STOP_REASON_UNSPECIFIED);
    assert_int_equal(sent(w)->guest_event->type, GUEST_EVENT_TYPE_SHUTDOWN);
    domain_event(w, DOMAIN_EVENT_STOPPED, STOP_REASON_GUEST_SHUTDOWN);
    expect_silent(w);
    done(w, (VbEffectResult){.stop_reason = STOP_REASON_REQUESTED});
    expect_phase(w, HOST_PHASE_STOPPED_CLEANUP, EFFECT_CLEAN_UP);
    expect_silent(w);
    assert_int_equal(w->vm->n_state_paths, 2);
    done(w, (VbEffectResult){0});
    expect_phase(w, HOST_PHASE_IDLE, EFFECT_NONE);
    HostReport *report = sent_stopped(w, STOP_REASON_REQUESTED);
    assert_string_equal(report->operation_id, "op-1");
    assert_false(w->vm->domain_expected);
    assert_int_equal(w->vm->domain_epoch, 0);
    assert_int_equal(w->vm->n_ports, 0);
    assert_int_equal(w->vm->n_state_paths, 0);
    domain_event(w, DOMAIN_EVENT_STOPPED, STOP_REASON_REQUESTED); /* Late. */
    expect_phase(w, HOST_PHASE_IDLE, EFFECT_NONE);
    expect_silent(w);
}

static void stop_that_the_guest_ignores_changes_nothing(void **state)
{
    World *w = *state;
    run(w, 3);
    give(w, stop_command(w, 3, STOP_MODE_UNSPECIFIED, 5000));
    failed(w, ERROR_CODE_GUEST_DID_NOT_STOP);
    sent_answer(w, HOST_REPORT__REPORT_DOMAIN_STOPPED, ERROR_CODE_GUEST_DID_NOT_STOP);
    expect_told_that_it_runs(w, 3);
    assert_true(w->vm->domain_expected);
}

static void guest_that_ends_just_after_its_deadline_is_looked_after(void **state)
{
    World *w = *state;
    run(w, 3);
    give(w, stop_command(w, 3, STOP_MODE_GRACEFUL, 5000));
    domain_event(w, DOMAIN_EVENT_STOPPED, STOP_REASON_GUEST_SHUTDOWN);
    failed(w, ERROR_CODE_GUEST_DID_NOT_STOP);
    sent_answer(w, HOST_REPORT__REPORT_DOMAIN_STOPPED, ERROR_CODE_GUEST_DID_NOT_STOP);
    expect_phase(w, HOST_PHASE_LOOKING, EFFECT_LOOK);
    HostReport *report = found_gone(w, STOP_REASON_GUEST_SHUTDOWN);
    assert_string_equal(report->operation_id, "");
}

static void expired_stop_of_any_mode_does_nothing(void **state)
{
    static const StopMode modes[] = {STOP_MODE_UNSPECIFIED, STOP_MODE_GRACEFUL,
                                     STOP_MODE_GRACEFUL_THEN_FORCED, STOP_MODE_FORCED};
    World *w = *state;
    run(w, 3);
    for (size_t i = 0; i < G_N_ELEMENTS(modes); i++) {
        give(w, stop_command(w, 3, modes[i], w->now_ms));
        sent_answer(w, HOST_REPORT__REPORT_DOMAIN_STOPPED, ERROR_CODE_EXPIRED);
        expect_told_that_it_runs(w, 3);
    }
    w->now_ms = G_MAXINT64;
    give(w, stop_command(w, 3, STOP_MODE_FORCED, 0)); /* That one never expires. */
    expect_phase(w, HOST_PHASE_WORKING, EFFECT_STOP);
}

/* The start made nothing, and told so while libvirt was away; then nobody knew what runs. */
static void stop_stays_silent_until_libvirt_answers(void **state)
{
    World *w = *state;
    give(w, start_command(w, 3, 5000));
    done(w,
         (VbEffectResult){.error = error_make(w->arena, ERROR_CODE_HYPERVISOR_UNAVAILABLE, "away"),
                          .nothing_created = TRUE});
    left(w, ERROR_CODE_HYPERVISOR_UNAVAILABLE, LEFT_DOMAIN);
    sent_answer(w, HOST_REPORT__REPORT_DOMAIN_STARTED, ERROR_CODE_HYPERVISOR_UNAVAILABLE);
    give(w, stop_command(w, 3, STOP_MODE_FORCED, 0));
    failed(w, ERROR_CODE_HYPERVISOR_UNAVAILABLE);
    expect_phase(w, HOST_PHASE_WORKING, EFFECT_NONE);
    expect_silent(w);
    assert_true(host_vm_wants_look(w->vm));
    look(w);
    expect_phase(w, HOST_PHASE_WORKING, EFFECT_STOP);
    done(w, (VbEffectResult){.stop_reason = STOP_REASON_NOT_RUNNING});
    done(w, (VbEffectResult){0});
    sent_stopped(w, STOP_REASON_NOT_RUNNING);
    expect_phase(w, HOST_PHASE_IDLE, EFFECT_NONE);
}

static void stop_that_libvirt_refuses_is_looked_after(void **state)
{
    World *w = *state;
    run(w, 3);
    give(w, stop_command(w, 3, STOP_MODE_FORCED, 0));
    failed(w, ERROR_CODE_HYPERVISOR);
    sent_answer(w, HOST_REPORT__REPORT_DOMAIN_STOPPED, ERROR_CODE_HYPERVISOR);
    expect_phase(w, HOST_PHASE_LOOKING, EFFECT_LOOK);
    looked(w, DOMAIN_OURS, 3);
    expect_phase(w, HOST_PHASE_IDLE, EFFECT_NONE);
    assert_true(sent_answer(w, HOST_REPORT__REPORT_DOMAIN_OBSERVED, ERROR_CODE_UNSPECIFIED)
                    ->domain_observed->running);
}

static void forced_stops_and_forgetting_preempt(void **state)
{
    World *w = *state;
    assert_true(host_command_preempts(stop_command(w, 3, STOP_MODE_FORCED, 0), 3));
    assert_true(host_command_preempts(forget_command(w, 3), 2));
    assert_false(host_command_preempts(stop_command(w, 3, STOP_MODE_GRACEFUL, 0), 3));
    assert_false(host_command_preempts(stop_command(w, 3, STOP_MODE_GRACEFUL_THEN_FORCED, 0), 3));
    assert_false(host_command_preempts(start_command(w, 3, 0), 3));
    /* It will be refused as stale: the newer domain is not its business. */
    assert_false(host_command_preempts(stop_command(w, 3, STOP_MODE_FORCED, 0), 4));
    assert_false(host_command_preempts(forget_command(w, 3), 4));
}

static void stop_of_what_does_not_run_is_a_success(void **state)
{
    World *w = *state;
    give(w, stop_command(w, 3, STOP_MODE_FORCED, 0));
    done(w, (VbEffectResult){.stop_reason = STOP_REASON_NOT_RUNNING});
    done(w, (VbEffectResult){0});
    sent_stopped(w, STOP_REASON_NOT_RUNNING);
}

static void stop_with_ovs_down_is_still_a_stop(void **state)
{
    World *w = *state;
    run(w, 3);
    give(w, stop_command(w, 3, STOP_MODE_FORCED, 0));
    done(w, (VbEffectResult){.stop_reason = STOP_REASON_REQUESTED});
    left(w, ERROR_CODE_OVS_UNAVAILABLE, LEFT_PORTS);
    expect_phase(w, HOST_PHASE_IDLE, EFFECT_NONE);
    sent_answer(w, HOST_REPORT__REPORT_DOMAIN_STOPPED, ERROR_CODE_UNSPECIFIED);
    assert_false(w->vm->domain_expected);
    assert_int_equal(w->vm->n_ports, 2);
    assert_true(host_vm_wants_look(w->vm)); /* The tick unplugs them. */
}

static void stop_whose_state_is_not_on_disk_is_an_error(void **state)
{
    World *w = *state;
    run(w, 3);
    give(w, stop_command(w, 3, STOP_MODE_FORCED, 0));
    done(w, (VbEffectResult){.stop_reason = STOP_REASON_REQUESTED});
    left(w, ERROR_CODE_STORAGE_IO, LEFT_FILES);
    expect_phase(w, HOST_PHASE_IDLE, EFFECT_NONE);
    sent_answer(w, HOST_REPORT__REPORT_DOMAIN_STOPPED, ERROR_CODE_STORAGE_IO);
    assert_int_equal(w->vm->n_state_paths, 2);
    look(w);
    looked(w, DOMAIN_NONE, 0);
    done(w, (VbEffectResult){0});
    sent_answer(w, HOST_REPORT__REPORT_DOMAIN_STOPPED, ERROR_CODE_UNSPECIFIED);
    assert_false(w->vm->domain_expected);
}

/* Files, and ports in the same clean-up: the tick tries again, and says nothing twice. */
static void state_that_is_not_on_disk_is_tried_again_by_itself(void **state)
{
    World *w = *state;
    for (int by_itself = 0; by_itself < 2; by_itself++) {
        w->vm = host_vm_new(w->arena, VM);
        run(w, 3);
        if (by_itself) {
            domain_event(w, DOMAIN_EVENT_STOPPED, STOP_REASON_GUEST_SHUTDOWN);
            looked(w, DOMAIN_NONE, 0);
        } else {
            give(w, stop_command(w, 3, STOP_MODE_FORCED, 0));
            done(w, (VbEffectResult){.stop_reason = STOP_REASON_REQUESTED});
        }
        left(w, ERROR_CODE_STORAGE_IO, LEFT_FILES);
        sent_answer(w, HOST_REPORT__REPORT_DOMAIN_STOPPED, ERROR_CODE_STORAGE_IO);
        for (int i = 0; i < 3; i++) {
            assert_true(host_vm_wants_look(w->vm));
            again(w);
            looked(w, DOMAIN_NONE, 0);
            left(w, ERROR_CODE_STORAGE_IO, LEFT_FILES);
            expect_phase(w, HOST_PHASE_IDLE, EFFECT_NONE);
            expect_silent(w);
        }
        look(w); /* libvirt, the agent or the topic is back: once more. */
        looked(w, DOMAIN_NONE, 0);
        left(w, ERROR_CODE_STORAGE_IO, LEFT_FILES);
        sent_answer(w, HOST_REPORT__REPORT_DOMAIN_STOPPED, ERROR_CODE_STORAGE_IO);
        again(w);
        found_gone(w, STOP_REASON_NOT_RUNNING);
        assert_int_equal(w->vm->n_ports, 0);
        assert_false(host_vm_wants_look(w->vm));
    }
}

static void stop_stays_silent_while_libvirt_is_gone(void **state)
{
    World *w = *state;
    run(w, 3);
    give(w, stop_command(w, 3, STOP_MODE_FORCED, 0));
    done(w, (VbEffectResult){.stop_reason = STOP_REASON_REQUESTED});
    failed(w, ERROR_CODE_HYPERVISOR_UNAVAILABLE);
    expect_phase(w, HOST_PHASE_STOPPED_CLEANUP, EFFECT_NONE);
    expect_silent(w);
    look(w);
    expect_phase(w, HOST_PHASE_STOPPED_CLEANUP, EFFECT_CLEAN_UP);
    done(w, (VbEffectResult){0});
    sent_stopped(w, STOP_REASON_REQUESTED);
}

/* --- Volumes, forget, and what is not supported */

static void volumes_are_answered_with_each_result(void **state)
{
    World *w = *state;
    give(w, create_command(w, 1, 5000));
    expect_phase(w, HOST_PHASE_WORKING, EFFECT_CREATE_VOLUMES);
    HostReport *body = ARENA_MSG(w->arena, host_report);
    body->report_case = HOST_REPORT__REPORT_VOLUMES_CREATED;
    body->volumes_created = ARENA_MSG(w->arena, volumes_created);
    VolumeResult *result = ARENA_MSG(w->arena, volume_result);
    result->reused = TRUE;
    ARENA_APPEND(w->arena, body->volumes_created->n_results, body->volumes_created->results,
                 result);
    done(w, (VbEffectResult){.report = body,
                             .error = error_make(w->arena, ERROR_CODE_STORAGE_FULL, "full")});
    HostReport *report =
        sent_answer(w, HOST_REPORT__REPORT_VOLUMES_CREATED, ERROR_CODE_STORAGE_FULL);
    assert_int_equal(report->volumes_created->n_results, 1);
    assert_true(report->volumes_created->results[0]->reused);
    assert_int_equal(host_report_topic(report), TOPIC_VOLUME_REPORTS);
    give(w, delete_command(w, 1));
    failed(w, ERROR_CODE_STORAGE_IO);
    report = sent_answer(w, HOST_REPORT__REPORT_VOLUMES_DELETED, ERROR_CODE_STORAGE_IO);
    assert_int_equal(host_report_topic(report), TOPIC_VOLUME_REPORTS);
}

static void deletion_waits_for_the_end_of_the_domain(void **state)
{
    World *w = *state;
    run(w, 3);
    HostCommand *command = delete_command(w, 3);
    Volume *volume = ARENA_MSG(w->arena, volume);
    volume->uuid = (char *)VM;
    ARENA_APPEND(w->arena, command->delete_volumes->n_volumes, command->delete_volumes->volumes,
                 volume);
    give(w, command);
    expect_phase(w, HOST_PHASE_LOOKING, EFFECT_LOOK);
    look(w); /* A crash. */
    looked(w, DOMAIN_OURS, 3);
    expect_phase(w, HOST_PHASE_IDLE, EFFECT_NONE);
    HostReport *report =
        sent_answer(w, HOST_REPORT__REPORT_VOLUMES_DELETED, ERROR_CODE_VOLUME_BUSY);
    assert_int_equal(report->volumes_deleted->n_results, 1);
    assert_string_equal(report->volumes_deleted->results[0]->volume->uuid, VM);
    assert_int_equal(report->volumes_deleted->results[0]->error->code, ERROR_CODE_VOLUME_BUSY);
    assert_true(w->vm->domain_expected);
    /* Gone meanwhile: deleted first, then its end is told. */
    give(w, command);
    looked(w, DOMAIN_NONE, 0);
    expect_phase(w, HOST_PHASE_WORKING, EFFECT_DELETE_VOLUMES);
    done(w, (VbEffectResult){0});
    sent_answer(w, HOST_REPORT__REPORT_VOLUMES_DELETED, ERROR_CODE_UNSPECIFIED);
    expect_phase(w, HOST_PHASE_LOOKING, EFFECT_LOOK);
    looked(w, DOMAIN_NONE, 0);
    done(w, (VbEffectResult){0});
    sent_answer(w, HOST_REPORT__REPORT_DOMAIN_STOPPED, ERROR_CODE_UNSPECIFIED);
}

static void forgotten_only_once_all_is_gone(void **state)
{
    static const ErrorCode away[] = {ERROR_CODE_OVS_UNAVAILABLE, ERROR_CODE_HYPERVISOR_UNAVAILABLE,
                                     ERROR_CODE_STORAGE_IO};
    World *w = *state;
    run(w, 3);
    give(w, forget_command(w, 3));
    for (size_t i = 0; i < G_N_ELEMENTS(away); i++) {
        expect_phase(w, HOST_PHASE_WORKING, EFFECT_FORGET);
        failed(w, away[i]);
        expect_silent(w);
        assert_false(w->vm->forgotten);
        assert_true(host_vm_wants_look(w->vm));
        look(w);
    }
    done(w, (VbEffectResult){0});
    HostReport *report = sent_answer(w, HOST_REPORT__REPORT_VM_FORGOTTEN, ERROR_CODE_UNSPECIFIED);
    assert_int_equal(host_report_topic(report), TOPIC_VM_REPORTS);
    assert_true(w->vm->forgotten);
    give(w, delete_command(w, 3)); /* The journal goes in the end. */
    done(w, (VbEffectResult){0});
    sent(w);
    assert_true(w->vm->forgotten);
    assert_false(w->vm->domain_expected);
    assert_int_equal(w->vm->n_ports, 0);
    give(w, create_command(w, 4, 0));
    assert_false(w->vm->forgotten);
}

/* Which volumes another host may make: those that this one never began with. */
static void refused_creation_has_made_nothing_and_a_cut_off_one_may_have(void **state)
{
    World *w = *state;
    give(w, create_command(w, 1, w->now_ms - 1));
    HostReport *report = sent_answer(w, HOST_REPORT__REPORT_VOLUMES_CREATED, ERROR_CODE_EXPIRED);
    assert_int_equal(report->volumes_created->n_not_made, 1);
    give(w, create_command(w, 1, w->now_ms + 1));
    w->now_ms += 2;
    look(w);
    report = sent_answer(w, HOST_REPORT__REPORT_VOLUMES_CREATED, ERROR_CODE_INTERRUPTED);
    assert_int_equal(report->volumes_created->n_not_made, 0);
}

static void deletion_keeps_nothing_of_an_unknown_vm(void **state)
{
    World *w = *state;
    give(w, delete_command(w, 3));
    done(w, (VbEffectResult){0});
    sent(w);
    assert_true(w->vm->forgotten);
    give(w, create_command(w, 4, 0));
    assert_false(w->vm->forgotten);
}

/* A host that was away for long is told to stop there what has been expunged meanwhile. */
static void eviction_does_not_bring_a_forgotten_vm_back(void **state)
{
    World *w = *state;
    run(w, 3);
    give(w, forget_command(w, 3));
    done(w, (VbEffectResult){0});
    sent(w);
    for (guint i = 0; i < 2; i++) {
        give(w, stop_command(w, 3, STOP_MODE_FORCED, 0));
        done(w, (VbEffectResult){.stop_reason = STOP_REASON_NOT_RUNNING});
        done(w, (VbEffectResult){0});
        sent_answer(w, HOST_REPORT__REPORT_DOMAIN_STOPPED, ERROR_CODE_UNSPECIFIED);
        assert_true(w->vm->forgotten);
        w->vm = host_vm_new(w->arena, VM); /* Its journal is gone by now. */
    }
    give(w, start_command(w, 4, 0));
    assert_false(w->vm->forgotten);
}

/* Its uuid may be used again before the broker has the offset, and its journal is removed. Late
 * evictions of the earlier life come first. */
static void forgotten_vm_begins_anew_at_any_epoch(void **state)
{
    World *w = *state;
    run(w, 6);
    give(w, forget_command(w, 6));
    done(w, (VbEffectResult){0});
    sent_answer(w, HOST_REPORT__REPORT_VM_FORGOTTEN, ERROR_CODE_UNSPECIFIED);
    give(w, stop_command(w, 6, STOP_MODE_FORCED, 0));
    done(w, (VbEffectResult){.stop_reason = STOP_REASON_NOT_RUNNING});
    done(w, (VbEffectResult){0});
    sent_stopped(w, STOP_REASON_NOT_RUNNING);
    assert_true(w->vm->forgotten);
    run(w, 1);
    assert_int_equal(w->vm->epoch, 1);
}

/* Whoever asked takes the VM for Unknown: it is told what is there, though nothing was expected. */
static void stop_that_failed_is_looked_after(void **state)
{
    World *w = *state;
    give(w, start_command(w, 3, w->now_ms)); /* Expired. */
    sent(w);
    give(w, stop_command(w, 3, STOP_MODE_FORCED, 0));
    failed(w, ERROR_CODE_HYPERVISOR);
    sent_answer(w, HOST_REPORT__REPORT_DOMAIN_STOPPED, ERROR_CODE_HYPERVISOR);
    expect_phase(w, HOST_PHASE_LOOKING, EFFECT_LOOK);
    HostReport *report = found_gone(w, STOP_REASON_NOT_RUNNING);
    assert_int_equal(report->epoch, 3);
    expect_phase(w, HOST_PHASE_IDLE, EFFECT_NONE);
    assert_false(w->vm->domain_expected);
}

static void deletion_forgets_no_domain_that_was_found(void **state)
{
    World *w = *state;
    look(w);
    looked(w, DOMAIN_OURS, 3); /* Its journal was lost. */
    sent(w);
    give(w, delete_command(w, 3));
    assert_true(w->vm->domain_expected);
    assert_false(w->vm->forgotten);
}

static void forgetting_ends_where_another_domain_stands(void **state)
{
    static const ErrorCode rows[] = {ERROR_CODE_STALE_EPOCH, ERROR_CODE_FOREIGN_DOMAIN};
    World *w = *state;
    for (size_t i = 0; i < G_N_ELEMENTS(rows); i++) {
        w->vm = host_vm_new(w->arena, VM);
        give(w, forget_command(w, 3));
        failed(w, rows[i]);
        sent_answer(w, HOST_REPORT__REPORT_VM_FORGOTTEN, rows[i]);
        expect_phase(w, HOST_PHASE_LOOKING, EFFECT_LOOK);
    }
}

static void unsupported_and_unknown_commands_are_refused(void **state)
{
    World *w = *state;
    run(w, 3);
    HostCommand *command = command_new(w, 3, 0);
    command->command_case = HOST_COMMAND__COMMAND_MIGRATE_DOMAIN;
    command->migrate_domain = ARENA_MSG(w->arena, migrate_domain);
    give(w, command);
    sent_answer(w, HOST_REPORT__REPORT__NOT_SET, ERROR_CODE_UNSUPPORTED);
    give(w, command_new(w, 3, 0));
    HostReport *report = sent_answer(w, HOST_REPORT__REPORT__NOT_SET, ERROR_CODE_UNKNOWN_COMMAND);
    assert_string_equal(report->operation_id, "op-2");
    assert_int_equal(host_report_topic(report), TOPIC_VM_REPORTS);
    expect_phase(w, HOST_PHASE_IDLE, EFFECT_NONE);
}

/* --- Crashes: the journal is read again and looked after */

static void crash_during_start_found_running(void **state)
{
    World *w = *state;
    give(w, start_command(w, 3, 2000));
    w->now_ms = 9000; /* Past its expiry: it did start in time. */
    look(w);
    expect_phase(w, HOST_PHASE_LOOKING, EFFECT_LOOK);
    look(w); /* A second crash. */
    expect_phase(w, HOST_PHASE_LOOKING, EFFECT_LOOK);
    char *paths[] = {(char *)"/s/nvram.fd", NULL};
    Hardware *hardware = ARENA_MSG(w->arena, hardware);
    hardware->machine = (char *)"pc-q35-found";
    FirmwareRef *replaced = ARENA_MSG(w->arena, firmware_ref);
    replaced->code_path = (char *)"/gone.fd";
    done(w, (VbEffectResult){.facts = {.presence = DOMAIN_OURS, .epoch = 3, .hardware = hardware},
                             .replaced_firmware = replaced,
                             .state_paths = paths});
    expect_phase(w, HOST_PHASE_IDLE, EFFECT_NONE);
    HostReport *report = sent_answer(w, HOST_REPORT__REPORT_DOMAIN_STARTED, ERROR_CODE_UNSPECIFIED);
    assert_string_equal(report->operation_id, "op-0");
    assert_string_equal(report->domain_started->hardware->machine, "pc-q35-found");
    assert_string_equal(report->domain_started->replaced_firmware->code_path, "/gone.fd");
    assert_true(w->vm->domain_expected);
    assert_int_equal(w->vm->n_state_paths, 1);
}

static void crash_during_start_is_never_run_again(void **state)
{
    static const struct {
        VbDomainFacts facts;
    } rows[] = {
        {{.presence = DOMAIN_NONE}},
        {{.presence = DOMAIN_OURS, .epoch = 3, .starting_up = TRUE}},
        {{.presence = DOMAIN_OURS, .epoch = 2}},
    };
    World *w = *state;
    for (size_t i = 0; i < G_N_ELEMENTS(rows); i++) {
        w->vm = host_vm_new(w->arena, VM);
        give(w, start_command(w, 3, 0));
        look(w);
        done(w, (VbEffectResult){.facts = rows[i].facts});
        expect_phase(w, HOST_PHASE_UNDOING, EFFECT_CLEAN_UP);
        look(w); /* And a crash while it is undone. */
        expect_phase(w, HOST_PHASE_UNDOING, EFFECT_CLEAN_UP);
        done(w, (VbEffectResult){0});
        expect_phase(w, HOST_PHASE_IDLE, EFFECT_NONE);
        sent_answer(w, HOST_REPORT__REPORT_DOMAIN_STARTED, ERROR_CODE_INTERRUPTED);
        assert_int_equal(w->vm->n_ports, 0);
        assert_false(w->vm->domain_expected);
    }
}

static void crash_during_start_is_told_only_when_its_domain_is_gone(void **state)
{
    static const struct {
        VbDomainFacts facts;
        gboolean silent;
    } rows[] = {
        {{.presence = DOMAIN_NONE}, FALSE},
        {{.presence = DOMAIN_OURS, .epoch = 3, .starting_up = TRUE}, TRUE},
    };
    World *w = *state;
    for (size_t i = 0; i < G_N_ELEMENTS(rows); i++) {
        w->vm = host_vm_new(w->arena, VM);
        give(w, start_command(w, 3, 0));
        look(w);
        done(w, (VbEffectResult){.facts = rows[i].facts});
        failed(w, ERROR_CODE_HYPERVISOR_UNAVAILABLE);
        assert_int_equal(w->vm->n_outbox, rows[i].silent ? 0 : 1);
        assert_int_equal(w->vm->phase, rows[i].silent ? HOST_PHASE_UNDOING : HOST_PHASE_IDLE);
    }
}

static void crash_while_undoing_keeps_the_first_error(void **state)
{
    World *w = *state;
    give(w, start_command(w, 3, 0));
    failed(w, ERROR_CODE_OVS_PORT_REFUSED);
    look(w);
    expect_phase(w, HOST_PHASE_UNDOING, EFFECT_CLEAN_UP);
    done(w, (VbEffectResult){0});
    sent_answer(w, HOST_REPORT__REPORT_DOMAIN_STARTED, ERROR_CODE_OVS_PORT_REFUSED);
}

static void crash_during_start_beside_a_foreign_domain_touches_nothing(void **state)
{
    World *w = *state;
    give(w, start_command(w, 3, 0));
    look(w);
    looked(w, DOMAIN_FOREIGN, 0);
    expect_phase(w, HOST_PHASE_IDLE, EFFECT_NONE);
    sent_answer(w, HOST_REPORT__REPORT_DOMAIN_STARTED, ERROR_CODE_FOREIGN_DOMAIN);
}

static void crash_during_other_commands_runs_them_again(void **state)
{
    World *w = *state;
    give(w, create_command(w, 3, 5000));
    look(w);
    expect_phase(w, HOST_PHASE_WORKING, EFFECT_CREATE_VOLUMES);
    w->now_ms = 5000;
    look(w); /* Nobody may be told that nothing was done. */
    expect_phase(w, HOST_PHASE_IDLE, EFFECT_NONE);
    sent_answer(w, HOST_REPORT__REPORT_VOLUMES_CREATED, ERROR_CODE_INTERRUPTED);

    give(w, delete_command(w, 3));
    look(w);
    expect_phase(w, HOST_PHASE_WORKING, EFFECT_DELETE_VOLUMES);
    done(w, (VbEffectResult){0});
    sent(w);

    give(w, stop_command(w, 3, STOP_MODE_GRACEFUL, 9000));
    w->now_ms = 9000;
    look(w); /* The guest was asked in time: whether it went is found out. */
    expect_phase(w, HOST_PHASE_WORKING, EFFECT_STOP);
    done(w, (VbEffectResult){.stop_reason = STOP_REASON_NOT_RUNNING});
    look(w);
    expect_phase(w, HOST_PHASE_STOPPED_CLEANUP, EFFECT_CLEAN_UP);
    done(w, (VbEffectResult){0});
    sent_answer(w, HOST_REPORT__REPORT_DOMAIN_STOPPED, ERROR_CODE_UNSPECIFIED);

    give(w, forget_command(w, 3));
    look(w);
    expect_phase(w, HOST_PHASE_WORKING, EFFECT_FORGET);
}

static void unsent_report_survives_a_crash(void **state)
{
    World *w = *state;
    give(w, start_command(w, 3, 0));
    started(w);
    look(w);
    looked(w, DOMAIN_OURS, 3);
    assert_int_equal(w->vm->n_outbox, 2);
    sent_answer(w, HOST_REPORT__REPORT_DOMAIN_STARTED, ERROR_CODE_UNSPECIFIED);
    sent_answer(w, HOST_REPORT__REPORT_DOMAIN_OBSERVED, ERROR_CODE_UNSPECIFIED);
}

/* --- Looking with no command */

static void look_finds_the_expected_domain(void **state)
{
    World *w = *state;
    run(w, 3);
    look(w);
    expect_phase(w, HOST_PHASE_LOOKING, EFFECT_LOOK);
    looked(w, DOMAIN_OURS, 3);
    expect_phase(w, HOST_PHASE_IDLE, EFFECT_NONE);
    HostReport *report =
        sent_answer(w, HOST_REPORT__REPORT_DOMAIN_OBSERVED, ERROR_CODE_UNSPECIFIED);
    assert_true(report->domain_observed->running);
    assert_int_equal(report->epoch, 3);
    assert_string_equal(report->operation_id, "");
    assert_int_equal(w->vm->n_state_paths, 2);
}

static void look_finds_the_expected_domain_gone_or_half_started(void **state)
{
    static const VbDomainFacts rows[] = {
        {.presence = DOMAIN_NONE},
        {.presence = DOMAIN_OURS, .epoch = 3, .starting_up = TRUE},
        {.presence = DOMAIN_OURS, .epoch = 2},
    };
    World *w = *state;
    for (size_t i = 0; i < G_N_ELEMENTS(rows); i++) {
        w->vm = host_vm_new(w->arena, VM);
        run(w, 3);
        give(w, create_command(w, 4, 0)); /* A newer epoch is known; the domain's own counts. */
        done(w, (VbEffectResult){0});
        sent(w);
        look(w);
        done(w, (VbEffectResult){.facts = rows[i]});
        expect_phase(w, HOST_PHASE_STOPPED_CLEANUP, EFFECT_CLEAN_UP);
        expect_silent(w);
        done(w, (VbEffectResult){0});
        HostReport *report = sent_stopped(w, STOP_REASON_NOT_RUNNING);
        assert_int_equal(report->epoch, 3);
        expect_phase(w, HOST_PHASE_IDLE, EFFECT_NONE);
    }
}

static void look_without_an_answer_waits_in_silence(void **state)
{
    World *w = *state;
    run(w, 3);
    look(w);
    failed(w, ERROR_CODE_HYPERVISOR_UNAVAILABLE);
    expect_phase(w, HOST_PHASE_LOOKING, EFFECT_NONE);
    expect_silent(w);
    give(w, stop_command(w, 3, STOP_MODE_FORCED, 0));
    expect_phase(w, HOST_PHASE_LOOKING, EFFECT_NONE);
    assert_int_equal(w->vm->last_offset, 0);
}

static void look_takes_down_a_domain_of_an_older_epoch(void **state)
{
    World *w = *state;
    give(w, create_command(w, 4, 0));
    done(w, (VbEffectResult){0});
    sent(w);
    look(w);
    looked(w, DOMAIN_OURS, 3);
    expect_phase(w, HOST_PHASE_STOPPED_CLEANUP, EFFECT_CLEAN_UP);
    done(w, (VbEffectResult){0});
    expect_phase(w, HOST_PHASE_IDLE, EFFECT_NONE);
    expect_silent(w);
}

static void look_adopts_a_domain_that_a_lost_journal_knew(void **state)
{
    World *w = *state;
    look(w);
    looked(w, DOMAIN_OURS, 7);
    expect_phase(w, HOST_PHASE_IDLE, EFFECT_NONE);
    HostReport *report =
        sent_answer(w, HOST_REPORT__REPORT_DOMAIN_OBSERVED, ERROR_CODE_UNSPECIFIED);
    assert_int_equal(report->epoch, 7);
    assert_true(w->vm->domain_expected);
    give(w, start_command(w, 6, 0));
    sent_answer(w, HOST_REPORT__REPORT_DOMAIN_STARTED, ERROR_CODE_STALE_EPOCH);
}

/* Else no clean-up would ever dare to touch it. */
static void look_takes_down_a_half_started_domain_that_a_lost_journal_knew(void **state)
{
    World *w = *state;
    look(w);
    done(w, (VbEffectResult){.facts = {.presence = DOMAIN_OURS, .epoch = 7, .starting_up = TRUE}});
    expect_phase(w, HOST_PHASE_STOPPED_CLEANUP, EFFECT_CLEAN_UP);
    assert_int_equal(w->vm->epoch, 7);
}

static void look_leaves_a_foreign_domain_alone(void **state)
{
    World *w = *state;
    look(w);
    looked(w, DOMAIN_FOREIGN, 0);
    expect_phase(w, HOST_PHASE_IDLE, EFFECT_NONE);
    expect_silent(w);
    run(w, 3);
    look(w);
    looked(w, DOMAIN_FOREIGN, 0);
    expect_phase(w, HOST_PHASE_IDLE, EFFECT_NONE);
    HostReport *report =
        sent_answer(w, HOST_REPORT__REPORT_DOMAIN_OBSERVED, ERROR_CODE_FOREIGN_DOMAIN);
    assert_false(report->domain_observed->running);
    assert_true(w->vm->domain_expected);
}

static void expect_foreign_told(World *w)
{
    expect_phase(w, HOST_PHASE_LOOKING, EFFECT_LOOK);
    looked(w, DOMAIN_FOREIGN, 0);
    expect_phase(w, HOST_PHASE_IDLE, EFFECT_NONE);
    HostReport *report =
        sent_answer(w, HOST_REPORT__REPORT_DOMAIN_OBSERVED, ERROR_CODE_FOREIGN_DOMAIN);
    assert_false(report->domain_observed->running);
    expect_silent(w);
}

static void foreign_domain_is_looked_after_until_it_is_gone(void **state)
{
    World *w = *state;
    run(w, 3);
    look(w);
    expect_foreign_told(w);
    for (int i = 0; i < 3; i++) {
        assert_true(host_vm_wants_look(w->vm));
        again(w);
        looked(w, DOMAIN_FOREIGN, 0);
        expect_phase(w, HOST_PHASE_IDLE, EFFECT_NONE);
        expect_silent(w);
    }
    look(w);
    expect_foreign_told(w);
    again(w);
    looked(w, DOMAIN_NONE, 0);
    /* It is gone, but a full disk is another matter. */
    left(w, ERROR_CODE_STORAGE_IO, LEFT_FILES);
    sent_answer(w, HOST_REPORT__REPORT_DOMAIN_STOPPED, ERROR_CODE_STORAGE_IO);
    again(w);
    found_gone(w, STOP_REASON_NOT_RUNNING);
    assert_false(host_vm_wants_look(w->vm));
    expect_phase(w, HOST_PHASE_IDLE, EFFECT_NONE);
}

/* The stop, and a repeated start or a deletion, are answered; when it is gone, that is told too. */
static void foreign_domain_under_a_command_is_looked_after(void **state)
{
    World *w = *state;
    give(w, stop_command(w, 3, STOP_MODE_FORCED, 0));
    done(w, (VbEffectResult){.stop_reason = STOP_REASON_NOT_RUNNING});
    left(w, ERROR_CODE_FOREIGN_DOMAIN, LEFT_FILES);
    sent_answer(w, HOST_REPORT__REPORT_DOMAIN_STOPPED, ERROR_CODE_FOREIGN_DOMAIN);
    assert_true(host_vm_wants_look(w->vm));
    again(w);
    looked(w, DOMAIN_FOREIGN, 0);
    expect_silent(w);
    again(w);
    assert_int_equal(found_gone(w, STOP_REASON_NOT_RUNNING)->epoch, 3);
    run(w, 4);
    give(w, start_command(w, 4, 0));
    looked(w, DOMAIN_FOREIGN, 0);
    sent_answer(w, HOST_REPORT__REPORT_DOMAIN_STARTED, ERROR_CODE_FOREIGN_DOMAIN);
    expect_foreign_told(w);
    assert_true(host_vm_wants_look(w->vm));
}

/* The VM is Unknown at the stop's epoch: an end of an earlier one would leave it so. */
static void end_is_told_at_the_epoch_of_the_stop_that_failed(void **state)
{
    static const gboolean rows[] = {FALSE, TRUE};
    World *w = *state;
    for (size_t i = 0; i < G_N_ELEMENTS(rows); i++) {
        w->vm = host_vm_new(w->arena, VM);
        run(w, 3);
        give(w, start_command(w, 4, 0));
        left(w, ERROR_CODE_FOREIGN_DOMAIN, LEFT_FILES);
        sent_answer(w, HOST_REPORT__REPORT_DOMAIN_STARTED, ERROR_CODE_FOREIGN_DOMAIN);
        expect_foreign_told(w);
        give(w, stop_command(w, 4, STOP_MODE_FORCED, 0));
        if (rows[i]) {
            done(w, (VbEffectResult){.stop_reason = STOP_REASON_NOT_RUNNING});
            left(w, ERROR_CODE_FOREIGN_DOMAIN, LEFT_FILES);
        } else {
            failed(w, ERROR_CODE_FOREIGN_DOMAIN);
        }
        sent_answer(w, HOST_REPORT__REPORT_DOMAIN_STOPPED, ERROR_CODE_FOREIGN_DOMAIN);
        again(w);
        assert_int_equal(found_gone(w, STOP_REASON_NOT_RUNNING)->epoch, 4);
    }
}

/* A clean-up takes loose ports with all others: they do not keep it from being tried. */
static void loose_port_keeps_no_foreign_domain_from_being_looked_after(void **state)
{
    World *w = *state;
    run(w, 3);
    give(w, attach_command(w, 3, 0, NIC_TYPE_VHOST_USER));
    unchanged(w, ERROR_CODE_OVS_UNAVAILABLE, NIC_PORT);
    sent(w);
    expect_foreign_told(w);
    again(w);
    expect_phase(w, HOST_PHASE_LOOKING, EFFECT_LOOK);
    looked(w, DOMAIN_OURS, 3);
    sent(w);
    again(w);
    expect_phase(w, HOST_PHASE_WORKING, EFFECT_UNPLUG);
}

static void look_of_an_idle_vm_says_nothing(void **state)
{
    World *w = *state;
    look(w);
    looked(w, DOMAIN_NONE, 0);
    expect_phase(w, HOST_PHASE_IDLE, EFFECT_NONE);
    expect_silent(w);
}

/* --- The domain speaks */

static void domain_that_ends_is_looked_after_cleaned_up_and_reported(void **state)
{
    World *w = *state;
    run(w, 3);
    domain_event(w, DOMAIN_EVENT_STOPPED, STOP_REASON_CRASHED);
    expect_phase(w, HOST_PHASE_LOOKING, EFFECT_LOOK);
    looked(w, DOMAIN_NONE, 0);
    expect_phase(w, HOST_PHASE_STOPPED_CLEANUP, EFFECT_CLEAN_UP);
    expect_silent(w);
    domain_event(w, DOMAIN_EVENT_STOPPED, STOP_REASON_OUTSIDE); /* A second one changes nothing. */
    look(w);                                                    /* Nor does a crash. */
    expect_phase(w, HOST_PHASE_STOPPED_CLEANUP, EFFECT_CLEAN_UP);
    done(w, (VbEffectResult){0});
    HostReport *report = sent_stopped(w, STOP_REASON_CRASHED);
    assert_int_equal(report->epoch, 3);
    expect_phase(w, HOST_PHASE_IDLE, EFFECT_NONE);
    assert_false(w->vm->domain_expected);
}

static void end_whose_state_is_not_on_disk_is_told_as_an_error(void **state)
{
    World *w = *state;
    run(w, 3);
    domain_event(w, DOMAIN_EVENT_STOPPED, STOP_REASON_CRASHED);
    looked(w, DOMAIN_NONE, 0);
    left(w, ERROR_CODE_STORAGE_IO, LEFT_FILES);
    expect_phase(w, HOST_PHASE_IDLE, EFFECT_NONE);
    sent_answer(w, HOST_REPORT__REPORT_DOMAIN_STOPPED, ERROR_CODE_STORAGE_IO);
    assert_true(w->vm->domain_expected);
}

static void end_beside_a_foreign_domain_is_looked_after_once(void **state)
{
    World *w = *state;
    run(w, 3);
    domain_event(w, DOMAIN_EVENT_STOPPED, STOP_REASON_OUTSIDE);
    looked(w, DOMAIN_FOREIGN, 0);
    expect_phase(w, HOST_PHASE_IDLE, EFFECT_NONE);
}

static void end_of_no_expected_domain_is_forgotten(void **state)
{
    World *w = *state;
    give(w, create_command(w, 3, 0));
    domain_event(w, DOMAIN_EVENT_STOPPED, STOP_REASON_OUTSIDE);
    done(w, (VbEffectResult){0});
    sent(w);
    assert_int_equal(w->vm->stop_seen, STOP_REASON_UNSPECIFIED);
    run(w, 3);
}

static void late_event_of_an_earlier_domain_ends_nothing(void **state)
{
    World *w = *state;
    run(w, 3);
    domain_event(w, DOMAIN_EVENT_STOPPED, STOP_REASON_OUTSIDE);
    looked(w, DOMAIN_OURS, 3);
    looked(w, DOMAIN_OURS, 3);
    expect_phase(w, HOST_PHASE_IDLE, EFFECT_NONE);
    assert_true(w->vm->domain_expected);
}

static void guest_events_are_reported_while_a_domain_is_expected(void **state)
{
    World *w = *state;
    domain_event(w, DOMAIN_EVENT_REBOOT, STOP_REASON_UNSPECIFIED);
    expect_silent(w);
    run(w, 3);
    domain_event(w, DOMAIN_EVENT_REBOOT, STOP_REASON_UNSPECIFIED);
    domain_event(w, DOMAIN_EVENT_PANIC, STOP_REASON_UNSPECIFIED);
    HostReport *report = sent_answer(w, HOST_REPORT__REPORT_GUEST_EVENT, ERROR_CODE_UNSPECIFIED);
    assert_int_equal(report->guest_event->type, GUEST_EVENT_TYPE_REBOOT);
    assert_int_equal(report->epoch, 3);
    assert_int_equal(sent(w)->guest_event->type, GUEST_EVENT_TYPE_PANIC);
    for (int i = 0; i < 2 * HOST_OUTBOX_MAX_GUEST_EVENTS; i++) {
        domain_event(w, DOMAIN_EVENT_REBOOT, STOP_REASON_UNSPECIFIED);
    }
    assert_int_equal(w->vm->n_outbox, HOST_OUTBOX_MAX_GUEST_EVENTS);
}

/* --- NICs of a running domain. Its own are 1, 2 and 3; 1 and 3 have ports. */

static void expect_ports(World *w, const char *ports, const char *loose)
{
    g_autoptr(GString) text = g_string_new(NULL);
    for (size_t i = 0; i < w->vm->n_ports; i++) {
        g_string_append_printf(text, "%u ", w->vm->ports[i]);
    }
    assert_string_equal(text->str, ports);
    g_string_truncate(text, 0);
    for (size_t i = 0; i < w->vm->n_loose_ports; i++) {
        g_string_append_printf(text, "%u ", w->vm->loose_ports[i]);
    }
    assert_string_equal(text->str, loose);
    assert_int_equal(host_vm_wants_look(w->vm),
                     w->vm->phase != HOST_PHASE_IDLE || loose[0] != '\0');
}

static HostReport *sent_change(World *w, ErrorCode code)
{
    HostReport *report = sent_answer(w, HOST_REPORT__REPORT_DEVICE_CHANGED, code);
    assert_string_not_equal(report->operation_id, "");
    assert_int_equal(report->device_changed->hardware != NULL, code == ERROR_CODE_UNSPECIFIED);
    return report;
}

static void port_is_an_intent_before_its_nic_is_attached(void **state)
{
    World *w = *state;
    run(w, 3);
    give(w, attach_command(w, 3, 5000, NIC_TYPE_VHOST_USER));
    expect_phase(w, HOST_PHASE_WORKING, EFFECT_ATTACH);
    expect_ports(w, "1 3 7 ", "");
    changed(w, NIC_THERE);
    expect_phase(w, HOST_PHASE_IDLE, EFFECT_NONE);
    assert_string_equal(sent_change(w, ERROR_CODE_UNSPECIFIED)->device_changed->hardware->machine,
                        "pc-q35-7.2");
    expect_ports(w, "1 3 7 ", "");
    give(w, attach_command(w, 3, 5000, NIC_TYPE_USER)); /* No port. */
    expect_ports(w, "1 3 7 ", "");
    changed(w, NIC_THERE);
    sent_change(w, ERROR_CODE_UNSPECIFIED);
    assert_true(w->vm->domain_expected);
}

static void port_is_forgotten_once_its_nic_and_it_are_gone(void **state)
{
    World *w = *state;
    run(w, 3);
    give(w, attach_command(w, 3, 0, NIC_TYPE_VHOST_USER));
    changed(w, NIC_THERE);
    sent_change(w, ERROR_CODE_UNSPECIFIED);
    give(w, detach_command(w, 3, 5000));
    expect_phase(w, HOST_PHASE_WORKING, EFFECT_DETACH);
    unchanged(w, ERROR_CODE_GUEST_KEEPS_DEVICE, NIC_THERE);
    sent_change(w, ERROR_CODE_GUEST_KEEPS_DEVICE);
    expect_told_that_it_runs(w, 3);
    expect_ports(w, "1 3 7 ", "");
    give(w, detach_command(w, 3, 5000));
    changed(w, NIC_NOTHING);
    sent_change(w, ERROR_CODE_UNSPECIFIED);
    expect_phase(w, HOST_PHASE_IDLE, EFFECT_NONE);
    expect_ports(w, "1 3 ", "");
}

static void expired_and_stale_attaches_and_detaches_do_nothing(void **state)
{
    World *w = *state;
    run(w, 3);
    give(w, attach_command(w, 3, w->now_ms, NIC_TYPE_VHOST_USER));
    sent_change(w, ERROR_CODE_EXPIRED);
    expect_told_that_it_runs(w, 3);
    give(w, detach_command(w, 3, w->now_ms));
    sent_change(w, ERROR_CODE_EXPIRED);
    expect_told_that_it_runs(w, 3);
    give(w, attach_command(w, 2, 0, NIC_TYPE_VHOST_USER));
    sent_change(w, ERROR_CODE_STALE_EPOCH);
    give(w, detach_command(w, 2, 0));
    sent_change(w, ERROR_CODE_STALE_EPOCH);
    expect_phase(w, HOST_PHASE_IDLE, EFFECT_NONE);
    expect_ports(w, "1 3 ", "");
}

static void failed_attach_leaves_no_port(void **state)
{
    World *w = *state;
    run(w, 3);
    give(w, attach_command(w, 3, 0, NIC_TYPE_VHOST_USER));
    unchanged(w, ERROR_CODE_OVS_PORT_REFUSED, NIC_NOTHING);
    sent_change(w, ERROR_CODE_OVS_PORT_REFUSED);
    expect_told_that_it_runs(w, 3);
    expect_ports(w, "1 3 ", "");
}

/* The domain of epoch 3 runs. An attach failed, and its port, 7, is still there. */
static void run_with_a_loose_port(World *w, ErrorCode code)
{
    run(w, 3);
    give(w, attach_command(w, 3, 0, NIC_TYPE_VHOST_USER));
    unchanged(w, code, NIC_PORT);
    sent_change(w, code);
    expect_told_that_it_runs(w, 3);
}

/* A loose port stops no command, and is tried again from time to time. */
static void port_that_stays_is_unplugged_later(void **state)
{
    World *w = *state;
    run_with_a_loose_port(w, ERROR_CODE_OVS_UNAVAILABLE);
    expect_ports(w, "1 3 7 ", "7 ");
    step(w, (VbHostInput){.kind = HOST_INPUT_AGAIN});
    expect_phase(w, HOST_PHASE_WORKING, EFFECT_UNPLUG);
    look(w); /* A crash: the domain comes first. */
    expect_told_that_it_runs(w, 3);
    step(w, (VbHostInput){.kind = HOST_INPUT_AGAIN});
    expect_phase(w, HOST_PHASE_WORKING, EFFECT_UNPLUG);
    failed(w, ERROR_CODE_OVS_UNAVAILABLE);
    expect_phase(w, HOST_PHASE_IDLE, EFFECT_NONE);
    expect_ports(w, "1 3 7 ", "7 ");
    step(w, (VbHostInput){.kind = HOST_INPUT_AGAIN});
    domain_event(w, DOMAIN_EVENT_REBOOT, STOP_REASON_UNSPECIFIED);
    sent(w); /* The guest's event. */
    done(w, (VbEffectResult){0});
    expect_phase(w, HOST_PHASE_IDLE, EFFECT_NONE);
    expect_ports(w, "1 3 ", "");
    expect_silent(w);
}

/* The power went, and the domain with it, while its port was unplugged. */
static void end_is_told_though_an_unplug_was_cut_off(void **state)
{
    World *w = *state;
    run_with_a_loose_port(w, ERROR_CODE_OVS_UNAVAILABLE);
    step(w, (VbHostInput){.kind = HOST_INPUT_AGAIN});
    expect_phase(w, HOST_PHASE_WORKING, EFFECT_UNPLUG);
    look(w);
    found_gone(w, STOP_REASON_NOT_RUNNING);
    expect_phase(w, HOST_PHASE_IDLE, EFFECT_NONE);
    expect_ports(w, "", "");
}

static void detach_is_done_though_its_port_stays(void **state)
{
    World *w = *state;
    run(w, 3);
    give(w, attach_command(w, 3, 0, NIC_TYPE_VHOST_USER));
    changed(w, NIC_THERE);
    sent_change(w, ERROR_CODE_UNSPECIFIED);
    give(w, detach_command(w, 3, 0));
    changed(w, NIC_PORT);
    sent_change(w, ERROR_CODE_UNSPECIFIED);
    expect_ports(w, "1 3 7 ", "7 ");
    /* The same NIC again: its port is not loose any more. */
    give(w, attach_command(w, 3, 0, NIC_TYPE_VHOST_USER));
    expect_ports(w, "1 3 7 ", "");
    unchanged(w, ERROR_CODE_HYPERVISOR, NIC_PORT);
    sent_change(w, ERROR_CODE_HYPERVISOR);
    /* The domain's clean-up takes it with all others. */
    give(w, stop_command(w, 3, STOP_MODE_FORCED, 0));
    done(w, (VbEffectResult){.stop_reason = STOP_REASON_REQUESTED});
    done(w, (VbEffectResult){0});
    sent(w);
    expect_ports(w, "", "");
}

/* OVS was away when the last domain was cleaned up; the next one has other NICs. */
static void port_of_an_earlier_domain_is_unplugged_later(void **state)
{
    World *w = *state;
    run(w, 3);
    give(w, stop_command(w, 3, STOP_MODE_FORCED, 0));
    done(w, (VbEffectResult){.stop_reason = STOP_REASON_REQUESTED});
    left(w, ERROR_CODE_OVS_UNAVAILABLE, LEFT_PORTS);
    sent_stopped(w, STOP_REASON_REQUESTED);
    HostCommand *start = start_command(w, 4, 0);
    start->start_domain->spec->n_nics = 1;
    give(w, start);
    started(w);
    sent_answer(w, HOST_REPORT__REPORT_DOMAIN_STARTED, ERROR_CODE_UNSPECIFIED);
    expect_ports(w, "1 3 ", "3 ");
    again(w);
    expect_phase(w, HOST_PHASE_WORKING, EFFECT_UNPLUG);
    done(w, (VbEffectResult){0});
    expect_ports(w, "1 ", "");
}

static void loose_port_of_a_domain_that_ends_while_it_is_unplugged(void **state)
{
    World *w = *state;
    run_with_a_loose_port(w, ERROR_CODE_HYPERVISOR);
    step(w, (VbHostInput){.kind = HOST_INPUT_AGAIN});
    domain_event(w, DOMAIN_EVENT_STOPPED, STOP_REASON_CRASHED);
    failed(w, ERROR_CODE_OVS_UNAVAILABLE);
    expect_phase(w, HOST_PHASE_LOOKING, EFFECT_LOOK);
    found_gone(w, STOP_REASON_CRASHED);
    expect_ports(w, "", "");
}

/* A crash at each point, also after the expiry: the effect looks by itself, and goes on. */
static void crash_in_an_attach_or_a_detach_runs_it_again(void **state)
{
    World *w = *state;
    run(w, 3);
    for (int late = 0; late < 2; late++) {
        give(w, attach_command(w, 3, w->now_ms + 10, NIC_TYPE_VHOST_USER));
        w->now_ms += late * 10;
        look(w);
        expect_phase(w, HOST_PHASE_WORKING, EFFECT_ATTACH);
        expect_ports(w, "1 3 7 ", "");
        changed(w, NIC_THERE);
        sent_change(w, ERROR_CODE_UNSPECIFIED);
        give(w, detach_command(w, 3, w->now_ms + 10));
        w->now_ms += late * 10;
        look(w);
        expect_phase(w, HOST_PHASE_WORKING, EFFECT_DETACH);
        changed(w, NIC_NOTHING);
        sent_change(w, ERROR_CODE_UNSPECIFIED);
        expect_ports(w, "1 3 ", "");
    }
    give(w, attach_command(w, 3, w->now_ms + 10, NIC_TYPE_VHOST_USER));
    w->now_ms += 10;
    look(w);
    unchanged(w, ERROR_CODE_INTERRUPTED, NIC_NOTHING);
    sent_change(w, ERROR_CODE_INTERRUPTED);
    expect_ports(w, "1 3 ", "");
    look(w); /* After the answer. */
    looked(w, DOMAIN_OURS, 3);
    sent_answer(w, HOST_REPORT__REPORT_DOMAIN_OBSERVED, ERROR_CODE_UNSPECIFIED);
    expect_silent(w);
}

static void attach_stays_silent_while_libvirt_is_away(void **state)
{
    World *w = *state;
    run(w, 3);
    give(w, attach_command(w, 3, 0, NIC_TYPE_VHOST_USER));
    failed(w, ERROR_CODE_HYPERVISOR_UNAVAILABLE);
    expect_phase(w, HOST_PHASE_WORKING, EFFECT_NONE);
    expect_ports(w, "1 3 7 ", "");
    expect_silent(w);
    look(w);
    expect_phase(w, HOST_PHASE_WORKING, EFFECT_ATTACH);
    changed(w, NIC_THERE);
    sent_change(w, ERROR_CODE_UNSPECIFIED);
}

static void attach_without_a_domain_is_refused_and_looked_after(void **state)
{
    World *w = *state;
    give(w, attach_command(w, 3, 0, NIC_TYPE_VHOST_USER));
    expect_phase(w, HOST_PHASE_WORKING, EFFECT_ATTACH);
    unchanged(w, ERROR_CODE_DOMAIN_NOT_RUNNING, NIC_NOTHING);
    sent_change(w, ERROR_CODE_DOMAIN_NOT_RUNNING);
    expect_phase(w, HOST_PHASE_IDLE, EFFECT_NONE);
    expect_silent(w);
    run(w, 4);
    give(w, detach_command(w, 4, 0));
    unchanged(w, ERROR_CODE_DOMAIN_NOT_RUNNING, NIC_THERE);
    sent_change(w, ERROR_CODE_DOMAIN_NOT_RUNNING);
    looked(w, DOMAIN_NONE, 0);
    done(w, (VbEffectResult){0});
    sent_answer(w, HOST_REPORT__REPORT_DOMAIN_STOPPED, ERROR_CODE_UNSPECIFIED);
    expect_silent(w);
}

/* The journal was lost; the command knows the epoch. */
static void attach_finds_a_domain_that_a_lost_journal_knew(void **state)
{
    World *w = *state;
    give(w, attach_command(w, 3, 0, NIC_TYPE_VHOST_USER));
    changed(w, NIC_THERE);
    sent_change(w, ERROR_CODE_UNSPECIFIED);
    assert_true(w->vm->domain_expected);
    assert_int_equal(w->vm->domain_epoch, 3);
    give(w, detach_command(w, 3, 0));
    done(w, (VbEffectResult){.error = error_make(w->arena, ERROR_CODE_STALE_EPOCH, "newer"),
                             .facts = {.presence = DOMAIN_OURS, .epoch = 5}});
    sent_change(w, ERROR_CODE_STALE_EPOCH);
    expect_phase(w, HOST_PHASE_LOOKING, EFFECT_LOOK);
    assert_int_equal(w->vm->domain_epoch, 5);
}

static void end_of_the_domain_is_told_after_the_answer(void **state)
{
    World *w = *state;
    run(w, 3);
    give(w, attach_command(w, 3, 0, NIC_TYPE_VHOST_USER));
    domain_event(w, DOMAIN_EVENT_STOPPED, STOP_REASON_GUEST_SHUTDOWN);
    changed(w, NIC_THERE);
    sent_change(w, ERROR_CODE_UNSPECIFIED);
    expect_phase(w, HOST_PHASE_LOOKING, EFFECT_LOOK);
    found_gone(w, STOP_REASON_GUEST_SHUTDOWN);
    expect_ports(w, "", "");
}

/* libvirt says that the domain was destroyed; we know by whom. */
static void preempted_attach_has_ended_the_domain(void **state)
{
    World *w = *state;
    run(w, 3);
    give(w, attach_command(w, 3, 0, NIC_TYPE_VHOST_USER));
    domain_event(w, DOMAIN_EVENT_STOPPED, STOP_REASON_OUTSIDE);
    done(w, (VbEffectResult){.error = error_make(w->arena, ERROR_CODE_PREEMPTED, "ended"),
                             .stop_reason = STOP_REASON_REQUESTED});
    sent_change(w, ERROR_CODE_PREEMPTED);
    expect_phase(w, HOST_PHASE_LOOKING, EFFECT_LOOK);
    domain_event(w, DOMAIN_EVENT_STOPPED, STOP_REASON_OUTSIDE);
    found_gone(w, STOP_REASON_REQUESTED);
    expect_ports(w, "", "");
}

/* A guest lets go of NIC `index`. */
static void removed(World *w, guint32 index)
{
    step(w, (VbHostInput){.kind = HOST_INPUT_DOMAIN_EVENT,
                          .event = DOMAIN_EVENT_DEVICE_REMOVED,
                          .nic_index = index});
}

/* The domain of epoch 3 runs with NIC `index`, and no other one that matters. */
static void looked_with_nic(World *w, guint32 index)
{
    Hardware *hardware = ARENA_MSG(w->arena, hardware);
    EffectiveNic *nic = ARENA_MSG(w->arena, effective_nic);
    nic->index = index;
    ARENA_APPEND(w->arena, hardware->n_nics, hardware->nics, nic);
    done(w, (VbEffectResult){.facts = {.presence = DOMAIN_OURS, .epoch = 3, .hardware = hardware}});
}

static void expect_observed(World *w)
{
    assert_true(sent_answer(w, HOST_REPORT__REPORT_DOMAIN_OBSERVED, ERROR_CODE_UNSPECIFIED)
                    ->domain_observed->running);
}

static void expect_removal_told(World *w, guint32 index)
{
    HostReport *report = sent_answer(w, HOST_REPORT__REPORT_DEVICE_CHANGED, ERROR_CODE_UNSPECIFIED);
    assert_string_equal(report->operation_id, "");
    assert_int_equal(report->epoch, 3);
    assert_null(report->device_changed->hardware);
    assert_null(report->device_changed->attached);
    assert_int_equal(report->device_changed->detached->index, index);
    assert_int_equal(host_report_topic(report), TOPIC_VM_REPORTS);
}

/* After it was asked for in vain: the record loses the NIC, and the switch its port. */
static void nic_that_the_guest_lets_go_of_is_told_and_unplugged(void **state)
{
    World *w = *state;
    run(w, 3);
    give(w, attach_command(w, 3, 0, NIC_TYPE_VHOST_USER));
    changed(w, NIC_THERE);
    sent(w);
    give(w, detach_command(w, 3, 5000));
    unchanged(w, ERROR_CODE_GUEST_KEEPS_DEVICE, NIC_THERE);
    sent(w);
    looked(w, DOMAIN_OURS, 3);
    sent(w);
    removed(w, 7);
    expect_phase(w, HOST_PHASE_LOOKING, EFFECT_LOOK);
    expect_silent(w);
    looked_with_nic(w, 1);
    expect_phase(w, HOST_PHASE_WORKING, EFFECT_UNPLUG);
    expect_observed(w);
    expect_removal_told(w, 7);
    expect_ports(w, "1 3 7 ", "7 ");
    done(w, (VbEffectResult){0});
    expect_phase(w, HOST_PHASE_IDLE, EFFECT_NONE);
    expect_ports(w, "1 3 ", "");
    removed(w, 2); /* Of the user's network: without a port. */
    looked_with_nic(w, 1);
    expect_phase(w, HOST_PHASE_IDLE, EFFECT_NONE);
    expect_observed(w);
    expect_removal_told(w, 2);
    expect_silent(w);
}

static void removal_of_a_nic_that_is_there_again_is_not_believed(void **state)
{
    World *w = *state;
    run(w, 3);
    removed(w, 3);
    looked_with_nic(w, 3);
    expect_observed(w);
    expect_silent(w);
    expect_ports(w, "1 3 ", "");
    look(w);
    removed(w, 3); /* The look may have been too early. */
    looked_with_nic(w, 3);
    expect_phase(w, HOST_PHASE_LOOKING, EFFECT_LOOK);
    looked_with_nic(w, 1);
    expect_observed(w);
    expect_removal_told(w, 3);
    expect_ports(w, "1 3 ", "3 ");
}

/* The detach's answer tells it, once; one that gave up a moment too early leaves it to be told. */
static void removal_during_its_detach_is_told_once(void **state)
{
    World *w = *state;
    run(w, 3);
    give(w, attach_command(w, 3, 0, NIC_TYPE_VHOST_USER));
    removed(w, 3);
    look(w); /* A crash forgets nothing. */
    changed(w, NIC_THERE);
    sent_change(w, ERROR_CODE_UNSPECIFIED);
    looked_with_nic(w, 7);
    expect_observed(w);
    expect_removal_told(w, 3);
    done(w, (VbEffectResult){0});
    give(w, detach_command(w, 3, 5000));
    removed(w, 7);
    expect_silent(w);
    changed(w, NIC_NOTHING);
    sent_change(w, ERROR_CODE_UNSPECIFIED);
    expect_phase(w, HOST_PHASE_IDLE, EFFECT_NONE);
    expect_silent(w);
    give(w, detach_command(w, 3, 5000));
    removed(w, 7);
    unchanged(w, ERROR_CODE_GUEST_KEEPS_DEVICE, NIC_THERE);
    sent_change(w, ERROR_CODE_GUEST_KEEPS_DEVICE);
    looked_with_nic(w, 1);
    expect_observed(w);
    expect_removal_told(w, 7);
}

static void removal_ends_with_its_domain(void **state)
{
    World *w = *state;
    removed(w, 1); /* Nothing is expected. */
    expect_phase(w, HOST_PHASE_IDLE, EFFECT_NONE);
    run(w, 3);
    removed(w, 1);
    looked(w, DOMAIN_FOREIGN, 0);
    expect_phase(w, HOST_PHASE_IDLE, EFFECT_NONE);
    sent(w);
    removed(w, 1);
    found_gone(w, STOP_REASON_NOT_RUNNING);
    expect_silent(w);
    assert_int_equal(w->vm->n_removed_nics, 0);
    run(w, 3);
}

#define ROW(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

static const struct CMUnitTest nic_tests[] = {
    ROW(port_is_an_intent_before_its_nic_is_attached),
    ROW(port_is_forgotten_once_its_nic_and_it_are_gone),
    ROW(expired_and_stale_attaches_and_detaches_do_nothing),
    ROW(failed_attach_leaves_no_port),
    ROW(port_that_stays_is_unplugged_later),
    ROW(end_is_told_though_an_unplug_was_cut_off),
    ROW(detach_is_done_though_its_port_stays),
    ROW(port_of_an_earlier_domain_is_unplugged_later),
    ROW(loose_port_of_a_domain_that_ends_while_it_is_unplugged),
    ROW(crash_in_an_attach_or_a_detach_runs_it_again),
    ROW(attach_stays_silent_while_libvirt_is_away),
    ROW(attach_without_a_domain_is_refused_and_looked_after),
    ROW(attach_finds_a_domain_that_a_lost_journal_knew),
    ROW(end_of_the_domain_is_told_after_the_answer),
    ROW(preempted_attach_has_ended_the_domain),
    ROW(nic_that_the_guest_lets_go_of_is_told_and_unplugged),
    ROW(removal_of_a_nic_that_is_there_again_is_not_believed),
    ROW(removal_during_its_detach_is_told_once),
    ROW(removal_ends_with_its_domain),
    ROW(loose_port_keeps_no_foreign_domain_from_being_looked_after),
    ROW(end_is_told_at_the_epoch_of_the_stop_that_failed),
};

int main(void)
{
    const struct CMUnitTest tests[] = {
        ROW(start_is_an_intent_before_its_effect),
        ROW(start_done_is_reported_with_its_hardware),
        ROW(failed_start_is_undone_then_reported_with_the_first_error),
        ROW(failed_start_stays_silent_while_its_domain_may_run),
        ROW(failed_start_that_made_nothing_is_reported_without_libvirt),
        ROW(failed_start_with_ovs_down_leaves_ports_for_the_next_clean_up),
        ROW(expired_start_and_creation_do_nothing),
        ROW(older_epoch_is_stale_but_a_committed_deletion_never),
        ROW(start_of_a_newer_epoch_takes_the_older_domain_down_first),
        ROW(start_does_not_go_on_before_the_older_domain_is_gone_for_certain),
        ROW(older_domain_that_stays_can_be_evicted),
        ROW(start_that_expires_while_the_older_domain_goes_is_not_run),
        ROW(start_of_the_epoch_that_runs_is_looked_after_not_run),
        ROW(expired_start_of_the_epoch_that_runs_is_found_running),
        ROW(start_that_finds_a_newer_domain_leaves_it_and_the_vm_free),
        ROW(repeat_of_an_answered_command_gets_the_same_report),
        ROW(replaced_topic_begins_anew),
        ROW(command_waits_while_another_is_worked_on),
        ROW(stop_cleans_up_before_it_is_reported),
        ROW(stop_that_the_guest_ignores_changes_nothing),
        ROW(guest_that_ends_just_after_its_deadline_is_looked_after),
        ROW(expired_stop_of_any_mode_does_nothing),
        ROW(stop_stays_silent_until_libvirt_answers),
        ROW(stop_that_libvirt_refuses_is_looked_after),
        ROW(forced_stops_and_forgetting_preempt),
        ROW(stop_of_what_does_not_run_is_a_success),
        ROW(stop_with_ovs_down_is_still_a_stop),
        ROW(stop_whose_state_is_not_on_disk_is_an_error),
        ROW(state_that_is_not_on_disk_is_tried_again_by_itself),
        ROW(stop_stays_silent_while_libvirt_is_gone),
        ROW(volumes_are_answered_with_each_result),
        ROW(deletion_waits_for_the_end_of_the_domain),
        ROW(forgotten_only_once_all_is_gone),
        ROW(refused_creation_has_made_nothing_and_a_cut_off_one_may_have),
        ROW(deletion_keeps_nothing_of_an_unknown_vm),
        ROW(deletion_forgets_no_domain_that_was_found),
        ROW(eviction_does_not_bring_a_forgotten_vm_back),
        ROW(forgotten_vm_begins_anew_at_any_epoch),
        ROW(stop_that_failed_is_looked_after),
        ROW(forgetting_ends_where_another_domain_stands),
        ROW(unsupported_and_unknown_commands_are_refused),
        ROW(crash_during_start_found_running),
        ROW(crash_during_start_is_never_run_again),
        ROW(crash_during_start_is_told_only_when_its_domain_is_gone),
        ROW(crash_while_undoing_keeps_the_first_error),
        ROW(crash_during_start_beside_a_foreign_domain_touches_nothing),
        ROW(crash_during_other_commands_runs_them_again),
        ROW(unsent_report_survives_a_crash),
        ROW(look_finds_the_expected_domain),
        ROW(look_finds_the_expected_domain_gone_or_half_started),
        ROW(look_without_an_answer_waits_in_silence),
        ROW(look_takes_down_a_domain_of_an_older_epoch),
        ROW(look_adopts_a_domain_that_a_lost_journal_knew),
        ROW(look_takes_down_a_half_started_domain_that_a_lost_journal_knew),
        ROW(look_leaves_a_foreign_domain_alone),
        ROW(foreign_domain_is_looked_after_until_it_is_gone),
        ROW(foreign_domain_under_a_command_is_looked_after),
        ROW(look_of_an_idle_vm_says_nothing),
        ROW(domain_that_ends_is_looked_after_cleaned_up_and_reported),
        ROW(end_whose_state_is_not_on_disk_is_told_as_an_error),
        ROW(end_beside_a_foreign_domain_is_looked_after_once),
        ROW(end_of_no_expected_domain_is_forgotten),
        ROW(late_event_of_an_earlier_domain_ends_nothing),
        ROW(guest_events_are_reported_while_a_domain_is_expected),
    };
    return cmocka_run_group_tests(tests, NULL, NULL) +
           cmocka_run_group_tests(nic_tests, NULL, NULL);
}
