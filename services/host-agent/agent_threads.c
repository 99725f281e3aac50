/* The agent's threads, its sleep and its clock. Decides nothing; a simulator has its own of this
 * file and of agent_bus.c, and runs the rest of the agent as it is. */
#include "services/host-agent/agent_private.h"

#include <poll.h>
#include <sys/eventfd.h>

#include "common/runtime/signals.h"

enum {
    /* Far more than commands can be unfinished: only looks ever wait for a thread. */
    EFFECTS_MAX = 512,
    THREAD_IDLE_MS = 2000, /* After this a thread without work ends. */
};

struct VbAgentThreads {
    VbAgent *agent;
    GThreadPool *lanes[AGENT_N_LANES];
    int inbox_fd; /* Readable when something may be in the inbox. */
};

typedef struct {
    VbAgentWork work;
    void *data;
} Job;

static void job_run(gpointer data, gpointer user_data)
{
    Job *job = data;
    job->work(user_data, job->data);
    g_free(job);
}

VbAgentThreads *agent_threads_new(VbAgent *agent)
{
    VbAgentThreads *threads = g_new0(VbAgentThreads, 1);
    threads->agent = agent;
    threads->inbox_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    g_assert(threads->inbox_fd >= 0);
    return threads;
}

void agent_threads_run(VbAgent *agent, VbAgentLane lane, VbAgentWork work, void *data)
{
    VbAgentThreads *threads = agent->threads;
    if (threads->lanes[lane] == NULL) {
        g_thread_pool_set_max_idle_time(THREAD_IDLE_MS);
        threads->lanes[lane] = g_thread_pool_new(
            job_run, agent, lane == AGENT_LANE_EFFECTS ? EFFECTS_MAX : 1, FALSE, NULL);
    }
    Job *job = g_new0(Job, 1);
    job->work = work;
    job->data = data;
    g_thread_pool_push(threads->lanes[lane], job, NULL);
}

void agent_threads_end(VbAgent *agent, gboolean wait)
{
    for (guint i = 0; i < AGENT_N_LANES; i++) {
        if (agent->threads->lanes[i] != NULL) {
            g_thread_pool_free(agent->threads->lanes[i], TRUE, wait);
        }
    }
}

void agent_threads_wake(VbAgent *agent)
{
    eventfd_write(agent->threads->inbox_fd, 1);
}

void agent_threads_wait(VbAgent *agent, gint64 until_ms)
{
    struct pollfd fds[] = {
        {.fd = agent_bus_fd(agent->bus), .events = POLLIN},
        {.fd = agent->threads->inbox_fd, .events = POLLIN},
        {.fd = agent->stopping ? -1 : signals_stop_fd(), .events = POLLIN},
    };
    gint64 left_ms = until_ms - agent_threads_now_ms(agent);
    eventfd_t count;
    (void)poll(fds, G_N_ELEMENTS(fds), (int)CLAMP(left_ms, 0, G_MAXINT));
    (void)eventfd_read(agent->threads->inbox_fd, &count);
}

gint64 agent_threads_now_ms(VbAgent *agent)
{
    (void)agent;
    return g_get_monotonic_time() / 1000;
}

gboolean agent_threads_must_end(VbAgent *agent)
{
    (void)agent;
    return signals_is_stop_requested();
}
