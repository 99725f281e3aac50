/* Recordings that were made before, through the cores of today. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <string.h>

#include "common/bus/replay.h"
#include "common/runtime/log.h"
#include "services/vm-service/vm_core.h"
#include "services/volume-service/volume_core.h"

static const VbService *const services[] = {&vm_service, &volume_service};

#define CHECKED_IN SOURCE_DIR "/tests/replay"

enum { UNDER_WAY_MAX = 16 };

/* ---- Recordings */

static VbReplayResult *replay_of(const VbRecording *recording)
{
    VbReplayConfig config = {
        .services = services, .n_services = G_N_ELEMENTS(services), .until_ms = G_MAXINT64};
    return replay_run(recording, &config);
}

static VbRecording *recording_at(const char *folder, const char *name)
{
    g_autoptr(GError) error = NULL;
    g_autofree char *path = g_build_filename(folder, name, NULL);
    VbRecording *recording = recording_open(path, &error);
    if (recording == NULL) {
        fail_msg("%s: %s", path, error->message);
    }
    return recording;
}

static VbReplayResult *replay_at(const char *folder, const char *name)
{
    g_autoptr(VbRecording) recording = recording_at(folder, name);
    VbReplayResult *result = replay_of(recording);
    print_message("%s: %" G_GUINT64_FORMAT " records, %" G_GUINT64_FORMAT
                  " steps, %" G_GUINT64_FORMAT " states, %" G_GUINT64_FORMAT
                  " outputs, %" G_GUINT64_FORMAT " differences, %" G_GUINT64_FORMAT
                  " of other logic\n",
                  name, recording->n_records, result->n_steps, result->n_states, result->n_outputs,
                  result->n_differences, result->n_logic_differences);
    assert_true(result->n_steps > 0 && result->n_outputs > 0);
    return result;
}

static void assert_no_difference(const char *name, const VbReplayResult *result)
{
    if (result->n_differences > 0) {
        const VbReplayDifference *first = g_ptr_array_index(result->differences, 0);
        fail_msg("%s: %" G_GUINT64_FORMAT " differences, first %s (step %s), %s: recorded %s, "
                 "replayed %s",
                 name, result->n_differences, first->place, first->step, first->path,
                 first->recorded, first->replayed);
    }
}

/* That nothing was passed over for want of what it needs. What was under way at the moment of the
 * recording could not be judged: a few things, where the services ran on. */
static void assert_all_was_judged(const char *name, const VbReplayResult *result)
{
    guint64 n_passed_over = result->n_vms_unknown + result->n_steps_unknown +
                            result->n_states_compacted + result->n_before;
    guint64 n_under_way = result->n_beyond + result->n_unconsumed;
    if (n_passed_over > 0 || n_under_way > UNDER_WAY_MAX) {
        fail_msg("%s: %" G_GUINT64_FORMAT " VMs, %" G_GUINT64_FORMAT " steps, %" G_GUINT64_FORMAT
                 " states and %" G_GUINT64_FORMAT
                 " early records were not judged, and %" G_GUINT64_FORMAT " things were under way",
                 name, result->n_vms_unknown, result->n_steps_unknown, result->n_states_compacted,
                 result->n_before, n_under_way);
    }
}

/* Whether all of it was made by the logic of today. */
static gboolean is_of_today(const VbReplayResult *result)
{
    for (guint i = 0; i < result->logic->len; i++) {
        const VbReplayLogic *logic = &g_array_index(result->logic, VbReplayLogic, i);
        if (logic->recorded_version != logic->service->logic_version) {
            return FALSE;
        }
    }
    return TRUE;
}

/* Names of the recordings in a folder, sorted. */
static GPtrArray *recordings_in(const char *folder)
{
    GPtrArray *names = g_ptr_array_new_with_free_func(g_free);
    g_autoptr(GDir) dir = folder != NULL ? g_dir_open(folder, 0, NULL) : NULL;
    const char *name;
    while (dir != NULL && (name = g_dir_read_name(dir)) != NULL) {
        if (g_str_has_suffix(name, ".recording")) {
            g_ptr_array_add(names, g_strdup(name));
        }
    }
    g_ptr_array_sort(names, (GCompareFunc)g_strcmp0);
    return names;
}

/* ---- Tests */

/* A core that behaves otherwise under the same version is found here: raise LOGIC_VERSION. */
static void checked_in_recordings_are_made_again(void **state)
{
    (void)state;
    g_autoptr(GPtrArray) names = recordings_in(CHECKED_IN);
    guint n_of_today = 0;
    for (guint i = 0; i < names->len; i++) {
        const char *name = g_ptr_array_index(names, i);
        g_autoptr(VbReplayResult) result = replay_at(CHECKED_IN, name);
        assert_no_difference(name, result);
        assert_all_was_judged(name, result);
        if (is_of_today(result)) {
            assert_int_equal(result->n_logic_differences, 0);
            n_of_today++;
        }
    }
    assert_true(n_of_today > 0); /* Else any change of a step would pass: see the README. */
}

static void older_logic_is_told_as_such(void **state)
{
    (void)state;
    g_autoptr(VbReplayResult) result = replay_at(CHECKED_IN, "logic-1.recording");
    assert_false(is_of_today(result));
    assert_int_equal(result->n_differences, 0);
    assert_true(result->n_logic_differences > 0);
    const VbReplayLogic *logic = &g_array_index(result->logic, VbReplayLogic, 0);
    assert_ptr_equal(logic->service, &vm_service);
    assert_int_equal(logic->recorded_version, 1);
    assert_true(logic->n_different > 0);
    assert_true(logic->n_different < logic->n_steps);
}

/* The first event of vm-service, with another byte. */
static void tampered_recording_is_found(void **state)
{
    (void)state;
    g_autoptr(GPtrArray) names = recordings_in(CHECKED_IN);
    const char *name = g_ptr_array_index(names, names->len - 1);
    g_autoptr(VbRecording) recording = recording_at(CHECKED_IN, name);
    for (guint i = 0; i < recording->logs->len; i++) {
        const VbRecordedLog *log = g_ptr_array_index(recording->logs, i);
        if (log->topic == TOPIC_VM_EVENTS && log->records->len > 0) {
            const VbBusRecord *event = g_ptr_array_index(log->records, 0);
            ((guint8 *)(void *)event->value)[event->value_bytes - 1] ^= 1;
            break;
        }
    }
    g_autoptr(VbReplayResult) result = replay_of(recording);
    assert_true(result->n_differences + result->n_logic_differences > 0);
}

static void recordings_of_this_run_are_made_again(void **state)
{
    (void)state;
    const char *folder = g_getenv("RECORDINGS");
    g_autoptr(GPtrArray) names = recordings_in(folder);
    if (names->len == 0) {
        print_message("no test of this run has left a recording in RECORDINGS\n");
        skip();
    }
    for (guint i = 0; i < names->len; i++) {
        g_autoptr(VbReplayResult) result = replay_at(folder, g_ptr_array_index(names, i));
        assert_no_difference(g_ptr_array_index(names, i), result);
        assert_all_was_judged(g_ptr_array_index(names, i), result);
        assert_int_equal(result->n_logic_differences, 0);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(checked_in_recordings_are_made_again),
        cmocka_unit_test(older_logic_is_told_as_such),
        cmocka_unit_test(tampered_recording_is_found),
        cmocka_unit_test(recordings_of_this_run_are_made_again),
    };
    log_start("test", VB_LOG_ERROR + 1, VB_LOG_TEXT);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
