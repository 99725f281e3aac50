/* The agent's threads, sleep and clock in the simulated world: the functions of agent_private.h
 * that are in agent_threads.c else. A lane's works are tasks of the agent's process: effects all at
 * once, chores one after the other. */
#include "tests/sim/sim_host_private.h"

enum { LEAP_MS = 3600 * 1000 }; /* Of a dead process's clock: what waits for a time runs out. */

typedef struct {
    VbAgent *agent;
    VbAgentWork work;
    void *data;
} Job;

struct VbAgentThreads {
    VbAgent *agent;
    SimCondition changed;
    gboolean woken;
    GQueue chores; /* of Job */
    gboolean chore_runs;
};

static SimHost *host_of(const VbAgent *agent)
{
    return (SimHost *)(void *)agent->config.host;
}

VbAgentThreads *agent_threads_new(VbAgent *agent)
{
    VbAgentThreads *threads = g_new0(VbAgentThreads, 1);
    threads->agent = agent;
    g_queue_init(&threads->chores);
    return threads;
}

void sim_threads_free(VbAgentThreads *threads)
{
    g_assert(g_queue_is_empty(&threads->chores));
    g_free(threads);
}

static void job_run(Job *job)
{
    job->work(job->agent, job->data);
    g_free(job);
}

static void effect_run_task(void *data)
{
    Job *job = data;
    SimHost *host = host_of(job->agent);
    job_run(job);
    if (sim_process_is_dead(host->process)) {
        sim_mark(MARK_EFFECT_CUT_OFF);
    }
}

static void chores_run_task(void *data)
{
    VbAgentThreads *threads = data;
    Job *job = NULL;
    while ((job = g_queue_pop_head(&threads->chores)) != NULL) {
        job_run(job);
    }
    threads->chore_runs = FALSE;
}

void agent_threads_run(VbAgent *agent, VbAgentLane lane, VbAgentWork work, void *data)
{
    SimHost *host = host_of(agent);
    VbAgentThreads *threads = agent->threads;
    Job *job = g_new0(Job, 1);
    *job = (Job){.agent = agent, .work = work, .data = data};
    if (sim_process_is_dead(host->process)) {
        job_run(job); /* It fails at its first call, and frees what it has. */
        return;
    }
    switch (lane) {
    case AGENT_LANE_EFFECTS:
        sim_task_start(host->process, effect_run_task, job);
        return;
    case AGENT_LANE_CHORES:
        g_queue_push_tail(&threads->chores, job);
        if (!threads->chore_runs) {
            threads->chore_runs = TRUE;
            sim_task_start(host->process, chores_run_task, threads);
        }
        return;
    case AGENT_N_LANES:
        break;
    }
    g_assert_not_reached();
}

void agent_threads_end(VbAgent *agent, gboolean wait)
{
    (void)agent; /* The process ends behind it, with all that still runs. */
    (void)wait;
}

void agent_threads_wake(VbAgent *agent)
{
    agent->threads->woken = TRUE;
    sim_signal(host_of(agent)->sim, &agent->threads->changed);
}

void agent_threads_wait(VbAgent *agent, gint64 until_ms)
{
    SimHost *host = host_of(agent);
    if (!agent->threads->woken) {
        sim_wait(host->process, &agent->threads->changed, until_ms * SIM_MS);
    }
    agent->threads->woken = FALSE;
}

gint64 agent_threads_now_ms(VbAgent *agent)
{
    SimHost *host = host_of(agent);
    if (sim_process_is_dead(host->process)) {
        host->leap_ms += LEAP_MS;
    }
    return sim_now_ms(host->sim) + host->leap_ms;
}

gboolean agent_threads_must_end(VbAgent *agent)
{
    SimHost *host = host_of(agent);
    return host->must_end || sim_process_is_dead(host->process);
}
