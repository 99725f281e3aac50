/* See sim_many.h. Workers take seed by seed from a counter that they share. One that crashes or
 * hangs costs its seed, which counts as failed, and is replaced. So is one that has done its share:
 * what a killed process had in memory is nobody's to free. */
#include "tests/sim/sim_many.h"

#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

enum {
    SHARE = 100,         /* Runs of one worker. */
    REPEAT_EVERY = 50,   /* Seeds: each such one is run twice. */
    MOST_FAILURES = 100, /* That are kept. */
};

/* Memory that all workers write to. */
typedef struct {
    SimMany many;
    guint64 next_seed;
    guint n_failures;
    SimFailure failures[MOST_FAILURES];
    guint64 n_runs, n_steps, n_commands, n_faults, n_repeated, n_calm;
    guint64 marks[SIM_N_MARKS];
    guint64 faults[SIM_N_FAULTS];
    guint64 judged[SIM_N_INVARIANTS];
    guint64 excused[SIM_N_INVARIANTS];
    guint64 running[]; /* Each worker's seed. */
} Shared;

#define ADD(place, n) __atomic_fetch_add(&(place), (guint64)(n), __ATOMIC_SEQ_CST)

static void failure_add(Shared *shared, guint64 seed, const SimResult *result)
{
    guint at = __atomic_fetch_add(&shared->n_failures, 1, __ATOMIC_SEQ_CST);
    if (at < MOST_FAILURES) {
        shared->failures[at] = (SimFailure){.seed = seed, .result = *result};
    }
}

static void seed_run(Shared *shared, guint64 seed)
{
    g_autoptr(SimPlan) plan = shared->many.plan(shared->many.data, seed);
    SimResult result;
    sim_try(plan, NULL, NULL, &result);
    if (seed % REPEAT_EVERY == 0) {
        SimResult again;
        sim_try(plan, NULL, NULL, &again);
        ADD(shared->n_repeated, 1);
        if (!result.failed && (again.draws != result.draws || again.digest != result.digest)) {
            result.failed = TRUE;
            g_strlcpy(result.rule, SIM_SAME, sizeof(result.rule));
            g_snprintf(result.text, sizeof(result.text),
                       "the same seed gave other %s the second time",
                       again.draws != result.draws ? "draws" : "records or disks");
        }
    }
    if (result.failed) {
        failure_add(shared, seed, &result);
    }
    ADD(shared->n_runs, 1);
    ADD(shared->n_steps, result.step);
    ADD(shared->n_commands, result.n_commands);
    ADD(shared->n_faults, result.n_faults);
    ADD(shared->n_calm, result.n_faults == 0);
}

static gboolean seed_take(Shared *shared, guint64 *ret_seed)
{
    guint64 end = shared->many.first_seed + shared->many.n_seeds;
    if (shared->n_failures >= shared->many.n_most_failures) {
        return FALSE;
    }
    *ret_seed = ADD(shared->next_seed, 1);
    return *ret_seed < end;
}

G_NORETURN static void worker(Shared *shared, guint index)
{
    guint64 seed;
    for (guint i = 0; i < SHARE && seed_take(shared, &seed); i++) {
        shared->running[index] = seed;
        alarm(SIM_HANG_S);
        seed_run(shared, seed);
        alarm(0);
    }
    for (guint i = 0; i < SIM_N_MARKS; i++) {
        ADD(shared->marks[i], sim_mark_hits(i));
    }
    for (guint i = 0; i < SIM_N_FAULTS; i++) {
        ADD(shared->faults[i], sim_fault_hits(i));
    }
    for (guint i = 0; i < SIM_N_INVARIANTS; i++) {
        ADD(shared->judged[i], sim_judged(i));
        ADD(shared->excused[i], sim_excused(i));
    }
    _exit(0);
}

/* TRUE: there may be more to do. */
static gboolean is_left(const Shared *shared)
{
    return shared->next_seed < shared->many.first_seed + shared->many.n_seeds &&
           shared->n_failures < shared->many.n_most_failures;
}

static pid_t worker_start(Shared *shared, guint index)
{
    pid_t pid = fork();
    g_assert(pid >= 0);
    if (pid == 0) {
        worker(shared, index);
    }
    return pid;
}

static void workers_run(Shared *shared)
{
    pid_t *pids = g_new0(pid_t, shared->many.n_jobs);
    guint n_running = 0;
    for (guint i = 0; i < shared->many.n_jobs; i++) {
        pids[i] = worker_start(shared, i);
        n_running++;
    }
    while (n_running > 0) {
        int status = 0;
        pid_t ended = wait(&status);
        for (guint i = 0; i < shared->many.n_jobs; i++) {
            if (pids[i] != ended) {
                continue;
            }
            if (WIFSIGNALED(status) || WEXITSTATUS(status) != 0) {
                SimResult result = {0};
                sim_result_of_signal(WIFSIGNALED(status) ? WTERMSIG(status) : 0, &result);
                failure_add(shared, shared->running[i], &result);
            }
            pids[i] = is_left(shared) ? worker_start(shared, i) : 0;
            n_running -= pids[i] == 0;
        }
    }
    g_free(pids);
}

static gint failure_compare(gconstpointer a, gconstpointer b)
{
    guint64 left = ((const SimFailure *)a)->seed;
    guint64 right = ((const SimFailure *)b)->seed;
    return left < right ? -1 : left > right;
}

void sim_many(const SimMany *many, SimSum *ret_sum)
{
    gsize size_bytes = sizeof(Shared) + many->n_jobs * sizeof(guint64);
    Shared *shared =
        mmap(NULL, size_bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    g_assert(shared != MAP_FAILED);
    gint64 begin_us = g_get_monotonic_time();
    shared->many = *many;
    shared->next_seed = many->first_seed;
    workers_run(shared);
    *ret_sum = (SimSum){.n_runs = shared->n_runs,
                        .n_steps = shared->n_steps,
                        .n_commands = shared->n_commands,
                        .n_faults = shared->n_faults,
                        .n_repeated = shared->n_repeated,
                        .n_calm = shared->n_calm,
                        .seconds = (double)(g_get_monotonic_time() - begin_us) / G_USEC_PER_SEC,
                        .failures = g_array_new(FALSE, FALSE, sizeof(SimFailure))};
    memcpy(ret_sum->marks, shared->marks, sizeof(shared->marks));
    memcpy(ret_sum->faults, shared->faults, sizeof(shared->faults));
    memcpy(ret_sum->judged, shared->judged, sizeof(shared->judged));
    memcpy(ret_sum->excused, shared->excused, sizeof(shared->excused));
    g_array_append_vals(ret_sum->failures, shared->failures,
                        MIN(shared->n_failures, MOST_FAILURES));
    g_array_sort(ret_sum->failures, failure_compare);
    munmap(shared, size_bytes);
}
