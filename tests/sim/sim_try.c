/* See sim_try.h. */
#include "tests/sim/sim_try.h"

#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/sim/sim_digest.h"

static const SimWorld *running; /* For crashed. */
static SimResult *crashing;

typedef struct {
    const SimWorld *world;
    gint64 begin_us;
    SimTell tell;
    void *data;
} Ear;

static void hear(void *data, const char *vm_uuid, const char *who, const char *sentence)
{
    const Ear *ear = data;
    SimLine line = {.step = sim_step(ear->world->sim),
                    .seconds = (double)(sim_now_us(ear->world->sim) - ear->begin_us) / SIM_S,
                    .vm_uuid = vm_uuid,
                    .vm = vm_uuid != NULL ? sim_world_name(ear->world, vm_uuid) : "",
                    .who = who,
                    .sentence = sentence};
    ear->tell(ear->data, &line);
}

static void counts_take(const SimWorld *world, SimResult *result)
{
    result->step = sim_step(world->sim);
    result->n_faults = sim_faults_struck(world->sim);
    for (guint i = 0; i < SIM_N_FAULTS; i++) {
        result->n_strikes[i] = sim_fault_strikes(world->sim, i);
    }
    result->n_commands = sim_clients_commands(world->clients);
    result->n_asked = sim_clients_asked(world->clients);
}

void sim_try(const SimPlan *plan, SimTell tell, void *data, SimResult *ret_result)
{
    SimWorld *world = sim_world_new(plan);
    Sim *sim = world->sim;
    Ear ear = {.world = world, .begin_us = sim_now_us(sim), .tell = tell, .data = data};
    sim_listen(sim, tell != NULL ? hear : NULL, &ear);
    memset(ret_result, 0, sizeof(*ret_result));
    running = world;
    if (!sim_world_run(world)) {
        const char *vm_uuid = sim_failure_vm(sim);
        ret_result->failed = TRUE;
        g_strlcpy(ret_result->rule, sim_failure_rule(sim), sizeof(ret_result->rule));
        g_strlcpy(ret_result->vm_uuid, vm_uuid != NULL ? vm_uuid : "", UUID_TEXT_BYTES);
        g_strlcpy(ret_result->text, sim_failure_text(sim), sizeof(ret_result->text));
    }
    counts_take(world, ret_result);
    ret_result->digest = sim_digest(world);
    /* Every delay of the run has left its trace in the generator. */
    ret_result->draws = sim_random(sim) ^ (guint64)sim_now_us(sim) ^ sim_step(sim);
    running = NULL;
    sim_listen(sim, NULL, NULL);
    sim_world_free(world);
}

void sim_result_of_signal(int signal, SimResult *ret_result)
{
    gboolean hangs = signal == SIGALRM;
    ret_result->failed = TRUE;
    g_strlcpy(ret_result->rule, hangs ? "hang" : "crash", sizeof(ret_result->rule));
    g_snprintf(ret_result->text, sizeof(ret_result->text),
               hangs ? "it did not end within %d s" : "the process ended by signal %d",
               hangs ? SIM_HANG_S : signal);
}

/* How far it came; then the signal does what it does. */
static void crashed(int signal)
{
    (void)signal;
    if (running != NULL) {
        counts_take(running, crashing);
    }
}

/* In the child. The stack of a task may be at its end. */
static void crash_prepare(SimResult *result)
{
    static const int signals[] = {SIGABRT, SIGSEGV, SIGBUS, SIGFPE, SIGILL};
    static guint8 stack[64 * 1024];
    stack_t own = {.ss_sp = stack, .ss_size = sizeof(stack)};
    struct sigaction action = {.sa_handler = crashed, .sa_flags = SA_ONSTACK | (int)SA_RESETHAND};
    crashing = result;
    sigaltstack(&own, NULL);
    for (guint i = 0; i < G_N_ELEMENTS(signals); i++) {
        sigaction(signals[i], &action, NULL);
    }
}

void sim_try_apart(const SimPlan *plan, SimResult *ret_result)
{
    SimResult *shared =
        mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    g_assert(shared != MAP_FAILED);
    pid_t child = fork();
    g_assert(child >= 0);
    if (child == 0) {
        alarm(SIM_HANG_S);
        crash_prepare(shared);
        sim_try(plan, NULL, NULL, shared);
        _exit(0);
    }
    int status = 0;
    g_assert(waitpid(child, &status, 0) == child);
    if (WIFSIGNALED(status) || WEXITSTATUS(status) != 0) {
        sim_result_of_signal(WIFSIGNALED(status) ? WTERMSIG(status) : 0, shared);
    }
    *ret_result = *shared;
    munmap(shared, sizeof(*shared));
}
