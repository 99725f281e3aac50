/* Effects on a real libvirt and a real OVS with DPDK: a guest with two vhost-user NICs started,
 * looked at, stopped in each way, cleaned up and forgotten. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <string.h>

#include "tests/lib/lab_effects.h"

static LabEffects host;

/* The guest's command becomes a stop that expires after `limit_ms`. */
static void command_stop(LabGuest *guest, StopMode mode, gint64 limit_ms)
{
    HostCommand *command = ARENA_MSG(guest->arena, host_command);
    command->epoch = guest->vm->epoch;
    command->expires_ms = lab_now_ms(NULL) + limit_ms;
    command->command_case = HOST_COMMAND__COMMAND_STOP_DOMAIN;
    command->stop_domain = ARENA_MSG(guest->arena, stop_domain);
    command->stop_domain->mode = mode;
    guest->vm->command = command;
}

static guint count_ports(const LabGuest *guest)
{
    g_autoptr(GArray) indexes = host.ports->ports_of(host.ports, guest->vm->vm_uuid, NULL);
    assert_non_null(indexes);
    return indexes->len;
}

static gboolean path_exists(const char *folder, const char *name)
{
    g_autofree char *path = g_build_filename(folder, name, NULL);
    return g_file_test(path, G_FILE_TEST_EXISTS);
}

static void assert_coerced(const Hardware *hardware)
{
    assert_int_equal(hardware->n_nics, 2);
    for (size_t i = 0; i < hardware->n_nics; i++) {
        assert_int_equal(hardware->nics[i]->asked_model, NIC_MODEL_E1000);
        assert_int_equal(hardware->nics[i]->effective_model, NIC_MODEL_VIRTIO);
        assert_true(hardware->nics[i]->coerced);
        assert_int_equal(strlen(hardware->nics[i]->mac), strlen("52:54:00:00:00:00"));
    }
    assert_int_equal(hardware->nics[0]->index, 1);
    assert_int_equal(hardware->nics[1]->index, 3);
}

static void vhost_user_guest_is_started_looked_at_and_forgotten(void **state)
{
    (void)state;
    LabGuest *guest = lab_guest_new(GUEST_IDLES);
    guest->spec->serial_console = TRUE;
    lab_guest_add_vhost_user_nic(guest, 1);
    lab_guest_add_vhost_user_nic(guest, 3);
    VbEffectResult started = lab_effect_done(&host, guest, EFFECT_START);
    assert_coerced(started.report->domain_started->hardware);
    assert_int_equal(count_ports(guest), 2);
    /* The same start again, as after a crash of the agent, finds it running. */
    VbEffectResult again = lab_effect_done(&host, guest, EFFECT_START);
    assert_coerced(again.report->domain_started->hardware);
    VbEffectResult looked = lab_effect_done(&host, guest, EFFECT_LOOK);
    assert_int_equal(looked.facts.presence, DOMAIN_OURS);
    assert_coerced(looked.facts.hardware);

    lab_effect_done(&host, guest, EFFECT_FORGET);
    assert_int_equal(lab_effect_done(&host, guest, EFFECT_LOOK).facts.presence, DOMAIN_NONE);
    assert_int_equal(count_ports(guest), 0);
    assert_false(path_exists(guest->config.run_dir, guest->vm->vm_uuid));
    g_autofree char *log = g_strdup_printf("%s.serial.log", guest->vm->vm_uuid);
    assert_false(path_exists(guest->config.log_dir, log));
    lab_effect_done(&host, guest, EFFECT_FORGET);
    lab_guest_free(guest);
}

static void domain_of_an_older_epoch_is_no_start(void **state)
{
    (void)state;
    LabGuest *guest = lab_guest_new(GUEST_IDLES);
    lab_effect_done(&host, guest, EFFECT_START);
    guest->vm->command->epoch = guest->vm->epoch = 8;
    VbEffectResult newer = lab_effect(&host, guest, EFFECT_START);
    assert_int_equal(newer.error->code, ERROR_CODE_ILLEGAL_STATUS);
    assert_false(newer.nothing_created);
    /* And one of a newer epoch is never destroyed. */
    guest->vm->command->epoch = guest->vm->epoch = 6;
    assert_int_equal(lab_effect(&host, guest, EFFECT_START).error->code, ERROR_CODE_STALE_EPOCH);
    assert_int_equal(lab_effect(&host, guest, EFFECT_CLEAN_UP).error->code, ERROR_CODE_STALE_EPOCH);
    HostCommand *start = guest->vm->command;
    command_stop(guest, STOP_MODE_FORCED, 500);
    assert_int_equal(lab_effect(&host, guest, EFFECT_STOP).error->code, ERROR_CODE_STALE_EPOCH);
    guest->vm->command = start;
    assert_int_equal(lab_effect_done(&host, guest, EFFECT_LOOK).facts.presence, DOMAIN_OURS);
    guest->vm->epoch = 8;
    lab_effect_done(&host, guest, EFFECT_CLEAN_UP);
    lab_guest_free(guest);
}

static void guest_that_heeds_the_button_stops_gracefully(void **state)
{
    (void)state;
    LabGuest *guest = lab_guest_new(GUEST_HEEDS_BUTTON);
    lab_effect_done(&host, guest, EFFECT_START);
    /* A press before the guest listens is lost, so a first stop may fail; the last may not. */
    VbEffectResult stopped = {.error = NULL};
    gint64 until_ms = lab_now_ms(NULL) + 30000;
    do {
        command_stop(guest, STOP_MODE_GRACEFUL, 2000);
        stopped = lab_effect(&host, guest, EFFECT_STOP);
    } while (stopped.error != NULL && lab_now_ms(NULL) < until_ms);
    assert_null(stopped.error);
    assert_int_equal(stopped.stop_reason, STOP_REASON_REQUESTED);
    stopped = lab_effect_done(&host, guest, EFFECT_STOP);
    assert_int_equal(stopped.stop_reason, STOP_REASON_NOT_RUNNING);
    lab_effect_done(&host, guest, EFFECT_CLEAN_UP);
    lab_guest_free(guest);
}

static void deaf_guest_runs_on_until_it_is_forced(void **state)
{
    (void)state;
    LabGuest *guest = lab_guest_new(GUEST_IDLES);
    lab_effect_done(&host, guest, EFFECT_START);
    command_stop(guest, STOP_MODE_GRACEFUL, 500);
    assert_int_equal(lab_effect(&host, guest, EFFECT_STOP).error->code,
                     ERROR_CODE_GUEST_DID_NOT_STOP);
    assert_int_equal(lab_effect_done(&host, guest, EFFECT_LOOK).facts.presence, DOMAIN_OURS);
    command_stop(guest, STOP_MODE_GRACEFUL_THEN_FORCED, 500);
    assert_int_equal(lab_effect_done(&host, guest, EFFECT_STOP).stop_reason, STOP_REASON_REQUESTED);
    assert_int_equal(lab_effect_done(&host, guest, EFFECT_LOOK).facts.presence, DOMAIN_NONE);
    lab_effect_done(&host, guest, EFFECT_CLEAN_UP);
    lab_guest_free(guest);
}

int main(void)
{
    lab_effects_open(&host);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(vhost_user_guest_is_started_looked_at_and_forgotten),
        cmocka_unit_test(domain_of_an_older_epoch_is_no_start),
        cmocka_unit_test(guest_that_heeds_the_button_stops_gracefully),
        cmocka_unit_test(deaf_guest_runs_on_until_it_is_forced),
    };
    int n_failed = cmocka_run_group_tests(tests, NULL, NULL);
    lab_effects_close(&host);
    return n_failed;
}
