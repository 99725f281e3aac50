/* See sim_try.h. */
#include "tests/sim/sim_try.h"

#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/sim/sim_world.h"

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

void sim_try(const SimPlan *plan, SimTell tell, void *data, SimResult *ret_result)
{
    SimWorld *world = sim_world_new(plan);
    Sim *sim = world->sim;
    Ear ear = {.world = world, .begin_us = sim_now_us(sim), .tell = tell, .data = data};
    sim_listen(sim, tell != NULL ? hear : NULL, &ear);
    memset(ret_result, 0, sizeof(*ret_result));
    if (!sim_world_run(world)) {
        const char *vm_uuid = sim_failure_vm(sim);
        ret_result->failed = TRUE;
        g_strlcpy(ret_result->rule, sim_failure_rule(sim), sizeof(ret_result->rule));
        g_strlcpy(ret_result->vm_uuid, vm_uuid != NULL ? vm_uuid : "", UUID_TEXT_BYTES);
        g_strlcpy(ret_result->text, sim_failure_text(sim), sizeof(ret_result->text));
    }
    ret_result->step = sim_step(sim);
    ret_result->n_faults = sim_faults_struck(sim);
    ret_result->n_commands = sim_clients_commands(world->clients);
    /* Every draw of the run has left its trace in the generator. */
    ret_result->digest = sim_random(sim) ^ (guint64)sim_now_us(sim) ^ sim_step(sim);
    sim_listen(sim, NULL, NULL);
    sim_world_free(world);
}

void sim_result_of_signal(int signal, SimResult *ret_result)
{
    gboolean hangs = signal == SIGALRM;
    memset(ret_result, 0, sizeof(*ret_result));
    ret_result->failed = TRUE;
    g_strlcpy(ret_result->rule, hangs ? "hang" : "crash", sizeof(ret_result->rule));
    g_snprintf(ret_result->text, sizeof(ret_result->text),
               hangs ? "it did not end within %d s" : "the process ended by signal %d",
               hangs ? SIM_HANG_S : signal);
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
        sim_try(plan, NULL, NULL, shared);
        _exit(0);
    }
    int status = 0;
    g_assert(waitpid(child, &status, 0) == child);
    if (WIFSIGNALED(status)) {
        sim_result_of_signal(WTERMSIG(status), shared);
    }
    *ret_result = *shared;
    munmap(shared, sizeof(*shared));
}
