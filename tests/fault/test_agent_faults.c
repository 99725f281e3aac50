/* Each call of a whole life on a host fails: the Nth once, then from it on, N = 1, 2 ... until a run
 * meets no fault.
 *
 * The life: volumes are made (root, data, NVRAM, TPM), the VM starts, its guest writes to its NVRAM, a
 * NIC comes and goes, the VM stops, starts once more, stops; its volumes are deleted, it is forgotten.
 * The agent's code is the real one from agent_vm.c down to the files on a real file system; libvirt and
 * OVS are doubles that mean what they say.
 *
 * The crash model. A call of the agent fails: not done; done but reported as failed; half done (a full
 * disk, half a write); a short write; or it and all others of its kind (disk, libvirt, OVS) fail until
 * somebody mends it, a while later. Or the process dies before or after the call: nothing that it does
 * afterwards has an effect, what it did stays (the kernel lives on), and a new agent begins from the
 * files; or the whole machine dies, its guests with it. An agent that cannot write its journal ends
 * itself, likewise. A power failure is not acted out, but books are kept of what it would take: nothing
 * may be reported that it would take. Two faults in one run are not tried, but where one of them is for
 * ever.
 *
 * What must hold is in agent_life.c, at each report and at each rest. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "common/runtime/log.h"
#include "tests/fault/agent_life.h"

enum { LEAST_CALLS = 8, MOST_CALLS = 5000, SHOWN_MAX = 10 };

static void live(Life *life)
{
    if (life_create_volumes(life) && life_start(life) && life_guest_writes(life) &&
        life_attach(life) && life_detach(life) && life_guest_writes(life) && life_stop(life) &&
        life_check_stopped(life) && life_start(life) && life_guest_writes(life) &&
        life_stop(life) && life_check_stopped(life) && life_delete_volumes(life) &&
        life_forget(life)) {
        life_check_gone(life);
    }
}

/* Nobody asks for the volumes a second time, and an agent that dies comes back too late for them. */
static void give_up(Life *life)
{
    life->is_late = TRUE;
    if (life_try_volumes(life) && life_delete_volumes(life) && life_forget(life)) {
        life_check_gone(life);
    }
}

static void silence(const char *domain, GLogLevelFlags level, const char *message, gpointer data)
{
    (void)domain;
    (void)level;
    (void)message;
    (void)data;
}

/* Every N, also behind one that fails: a bug shows itself by all its places. */
static void sweep_life(FaultMode mode, void (*whole)(Life *life))
{
    guint n_broken = 0;
    guint at = 1;
    for (gboolean hit = TRUE; hit && at < MOST_CALLS; at++) {
        Life *life = life_new(mode, at);
        whole(life);
        hit = life->fault.hit;
        if (life->broken != NULL && n_broken++ < SHOWN_MAX) {
            print_error("call %u (%s) %s: %s\n", at, life->fault.where, fault_mode_name(mode),
                        life->broken);
        }
        life_free(life);
    }
    print_message("%s: %u calls\n", fault_mode_name(mode), at - 2);
    assert_int_equal(n_broken, 0);
    assert_true(mode == FAULT_NEVER || (at > LEAST_CALLS && at < MOST_CALLS));
}

static void sweep(void **state)
{
    FaultMode mode = (FaultMode)GPOINTER_TO_INT(*state);
    sweep_life(mode, live);
    sweep_life(mode, give_up);
}

#define SWEEP(mode)                                                                                \
    {                                                                                              \
#mode, sweep, NULL, NULL, GINT_TO_POINTER(mode)                                            \
    }

int main(void)
{
    const struct CMUnitTest tests[] = {
        SWEEP(FAULT_NEVER),       SWEEP(FAULT_REFUSED), SWEEP(FAULT_DONE),
        SWEEP(FAULT_HALF),        SWEEP(FAULT_SHORT),   SWEEP(FAULT_CRASH_BEFORE),
        SWEEP(FAULT_CRASH_AFTER), SWEEP(FAULT_EVER),    SWEEP(FAULT_REBOOT),
    };
    if (g_file_test("/dev/shm", G_FILE_TEST_IS_DIR)) {
        g_setenv("TMPDIR", "/dev/shm", FALSE); /* As real as any, and fast. */
    }
    log_start("test", VB_LOG_ERROR + 1, VB_LOG_TEXT);
    agent_vm_metrics();
    g_log_set_default_handler(silence, NULL);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
