/* See sim.h. One thread; tasks are coroutines, on stacks that are used again. */
#include "tests/sim/sim.h"

#include <stdlib.h>
#include <sys/mman.h>

#include "tests/sim/sim_context.h"

enum {
    STACK_BYTES = 512 * 1024,
    GUARD_BYTES = 4096,
    CALL_YIELDS = 60000,       /* Per million: calls that let others go first. */
    CALL_YIELD_US = 20 * 1000, /* At most. */
    FREEZE_MOST_US = 40 * SIM_S,
    SILENCES = 5, /* One of so many is long. */
    SILENCE_LEAST_US = 100 * SIM_MS,
    LONG_LEAST_US = 130 * SIM_S,
    LONG_MOST_US = 400 * SIM_S,
};

#define FAULT_DRAWS G_GUINT64_CONSTANT(0x6661756c74) /* "fault": no SimDraw. */

#define EPOCH_US (G_GINT64_CONSTANT(1767225600) * SIM_S) /* 2026-01-01 */

typedef struct {
    SimContext context;
    guint8 *stack;
    SimProcess *process; /* NULL: it is free. */
    SimTaskBody body;
    void *data;
    guint64 turn; /* Grows each time it goes on: an older wake-up is stale. */
    SimCondition *condition;
    gboolean is_frozen; /* It goes on when its process does. */
} SimTask;

struct SimProcess {
    Sim *sim;
    char *name;
    gboolean dead;
    gint64 frozen_until_us;
    guint n_tasks;
    SimHappening gone;
    void *data;
};

/* Either a happening or a task that goes on. */
typedef struct {
    gint64 at_us;
    guint64 order;
    SimHappening happen;
    void *data;
    SimTask *task;
    guint64 turn;
} SimEvent;

typedef struct {
    guint64 s[4];
} SimRandom;

struct Sim {
    guint64 seed;
    SimRandom delays;
    SimRandom apart;
    SimRandom *drawn; /* One of these two. */
    SimRandom chances[SIM_N_FAULTS];
    gint64 now_us;
    guint64 step;
    guint64 order;
    GArray *events; /* A heap of SimEvent. */
    GPtrArray *tasks;
    GPtrArray *processes;
    SimTask *running;
    SimContext scheduler;
    guint rates[SIM_N_FAULTS];
    gboolean faults_on;
    guint64 n_strikes[SIM_N_FAULTS];
    guint64 n_struck;
    GHashTable *kept; /* of guint64: see kept_key; NULL: all. */
    char *failure_rule;
    char *failure_vm;
    char *failure_text;
    SimListener listener;
    void *listener_data;
};

/* ---- Chance: xoshiro256**, seeded by splitmix64 (Blackman and Vigna) */

static guint64 rotate(guint64 x, int k)
{
    return (x << k) | (x >> (64 - k));
}

static guint64 splitmix(guint64 *state)
{
    guint64 z = (*state += G_GUINT64_CONSTANT(0x9e3779b97f4a7c15));
    z = (z ^ (z >> 30)) * G_GUINT64_CONSTANT(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)) * G_GUINT64_CONSTANT(0x94d049bb133111eb);
    return z ^ (z >> 31);
}

static guint64 random_next(SimRandom *random)
{
    guint64 *s = random->s;
    guint64 result = rotate(s[1] * 5, 7) * 9;
    guint64 t = s[1] << 17;
    s[2] ^= s[0];
    s[3] ^= s[1];
    s[1] ^= s[2];
    s[0] ^= s[3];
    s[2] ^= t;
    s[3] = rotate(s[3], 45);
    return result;
}

static guint random_below(SimRandom *random, guint n)
{
    g_assert(n > 0);
    return (guint)(((random_next(random) >> 32) * n) >> 32);
}

/* `what`, `number`: two that differ give generators that have nothing in common. */
static void random_make(SimRandom *random, guint64 seed, guint64 what, guint64 number)
{
    guint64 state = seed;
    state = splitmix(&state) ^ what;
    state = splitmix(&state) ^ number;
    for (guint i = 0; i < G_N_ELEMENTS(random->s); i++) {
        random->s[i] = splitmix(&state);
    }
}

void sim_draw_apart(Sim *sim, SimDraw who, guint64 number)
{
    random_make(&sim->apart, sim->seed, who, number);
    sim->drawn = &sim->apart;
}

void sim_draw_together(Sim *sim)
{
    sim->drawn = &sim->delays;
}

void sim_set_delays(Sim *sim, guint64 number)
{
    random_make(&sim->delays, sim->seed, SIM_DRAW_DELAYS, number);
}

guint64 sim_random(Sim *sim)
{
    return random_next(sim->drawn);
}

guint sim_below(Sim *sim, guint n)
{
    return random_below(sim->drawn, n);
}

gint64 sim_between(Sim *sim, gint64 low, gint64 high)
{
    g_assert(low <= high);
    return low + (gint64)(sim_random(sim) % ((guint64)(high - low) + 1));
}

gboolean sim_chance(Sim *sim, guint per_million)
{
    return per_million > 0 && sim_below(sim, 1000000) < per_million;
}

gint64 sim_delay_us(Sim *sim, gint64 most_us)
{
    double x = (double)(sim_random(sim) >> 11) / (double)(G_GUINT64_CONSTANT(1) << 53);
    return (gint64)((double)most_us * x * x * x * x);
}

gint64 sim_silence_us(Sim *sim, gint64 most_us)
{
    return sim->faults_on && sim_below(sim, SILENCES) == 0
               ? sim_between(sim, LONG_LEAST_US, LONG_MOST_US)
               : SILENCE_LEAST_US + sim_delay_us(sim, most_us);
}

void sim_set_rate(Sim *sim, SimFault fault, guint per_million)
{
    sim->rates[fault] = per_million;
}

void sim_set_faults(Sim *sim, gboolean on)
{
    sim->faults_on = on;
}

gboolean sim_faults_are_on(const Sim *sim)
{
    return sim->faults_on;
}

static guint64 kept_key(SimFault fault, guint64 number)
{
    return number * SIM_N_FAULTS + fault;
}

void sim_keep_faults(Sim *sim, const SimFaultNumber *kept, gsize n_kept)
{
    g_assert(sim->kept == NULL);
    sim->kept = g_hash_table_new_full(g_int64_hash, g_int64_equal, g_free, NULL);
    for (gsize i = 0; i < n_kept; i++) {
        guint64 key = kept_key(kept[i].fault, kept[i].number);
        g_hash_table_add(sim->kept, g_memdup2(&key, sizeof(key)));
    }
}

guint64 sim_fault_strikes(const Sim *sim, SimFault fault)
{
    return sim->n_strikes[fault];
}

guint64 sim_faults_struck(const Sim *sim)
{
    return sim->n_struck;
}

gboolean sim_fault_tries(Sim *sim, SimFault fault)
{
    if (!sim->faults_on || sim->rates[fault] == 0 ||
        random_below(&sim->chances[fault], 1000000) >= sim->rates[fault]) {
        return FALSE;
    }
    const SimFaultInfo *info = sim_fault_info(fault);
    guint64 number = ++sim->n_strikes[fault];
    guint64 key = kept_key(fault, number);
    if (sim->kept != NULL && !g_hash_table_contains(sim->kept, &key)) {
        return FALSE;
    }
    sim->n_struck++;
    sim_say(sim, NULL, "fault", "%s:%" G_GUINT64_FORMAT ": %s", info->name, number, info->what);
    return TRUE;
}

gboolean sim_fault(Sim *sim, SimFault fault)
{
    gboolean strikes = sim_fault_tries(sim, fault);
    if (strikes) {
        sim_fault_hit(fault);
    }
    return strikes;
}

/* ---- Events: a binary heap by time, then by the order of asking. */

static gboolean event_is_before(const SimEvent *a, const SimEvent *b)
{
    return a->at_us != b->at_us ? a->at_us < b->at_us : a->order < b->order;
}

static void event_push(Sim *sim, SimEvent event)
{
    event.at_us = MAX(event.at_us, sim->now_us);
    event.order = sim->order++;
    g_array_set_size(sim->events, sim->events->len + 1);
    SimEvent *heap = (SimEvent *)(void *)sim->events->data;
    guint at = sim->events->len - 1;
    while (at > 0 && event_is_before(&event, &heap[(at - 1) / 2])) {
        heap[at] = heap[(at - 1) / 2];
        at = (at - 1) / 2;
    }
    heap[at] = event;
}

static SimEvent event_pop(Sim *sim)
{
    SimEvent *heap = (SimEvent *)(void *)sim->events->data;
    SimEvent first = heap[0];
    guint n = sim->events->len - 1;
    SimEvent last = heap[n];
    guint at = 0;
    for (guint child = 1; child < n; child = 2 * at + 1) {
        child += child + 1 < n && event_is_before(&heap[child + 1], &heap[child]);
        if (!event_is_before(&heap[child], &last)) {
            break;
        }
        heap[at] = heap[child];
        at = child;
    }
    heap[at] = last;
    g_array_set_size(sim->events, n);
    return first;
}

void sim_at(Sim *sim, gint64 at_us, SimHappening happen, void *data)
{
    event_push(sim, (SimEvent){.at_us = at_us, .happen = happen, .data = data});
}

void sim_after(Sim *sim, gint64 delay_us, SimHappening happen, void *data)
{
    sim_at(sim, sim->now_us + delay_us, happen, data);
}

void sim_leap(Sim *sim, gint64 leap_us)
{
    sim->now_us += leap_us;
    for (guint i = 0; i < sim->events->len; i++) {
        g_array_index(sim->events, SimEvent, i).at_us += leap_us;
    }
}

/* ---- Tasks */

static void task_wake_at(Sim *sim, SimTask *task, gint64 at_us)
{
    event_push(sim, (SimEvent){.at_us = at_us, .task = task, .turn = task->turn});
}

static void task_end(SimTask *task)
{
    SimProcess *process = task->process;
    task->process = NULL;
    if (--process->n_tasks == 0 && process->dead && process->gone != NULL) {
        sim_at(process->sim, process->sim->now_us, process->gone, process->data);
    }
}

static void task_main(void *data)
{
    SimTask *task = data;
    Sim *sim = task->process->sim;
    for (;;) {
        task->body(task->data);
        task_end(task);
        sim_context_switch(&task->context, &sim->scheduler);
    }
}

static SimTask *task_new(Sim *sim)
{
    SimTask *task = g_new0(SimTask, 1);
    task->stack = mmap(NULL, STACK_BYTES, PROT_READ | PROT_WRITE,
                       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    g_assert(task->stack != MAP_FAILED);
    g_assert(mprotect(task->stack, GUARD_BYTES, PROT_NONE) == 0);
    sim_context_make(&task->context, task->stack, STACK_BYTES, task_main, task);
    g_ptr_array_add(sim->tasks, task);
    return task;
}

static void task_free(void *data)
{
    SimTask *task = data;
    g_assert(task->process == NULL);
    munmap(task->stack, STACK_BYTES);
    g_free(task);
}

void sim_task_start(SimProcess *process, SimTaskBody body, void *data)
{
    Sim *sim = process->sim;
    SimTask *task = NULL;
    for (guint i = 0; i < sim->tasks->len && task == NULL; i++) {
        SimTask *other = g_ptr_array_index(sim->tasks, i);
        task = other->process == NULL ? other : NULL;
    }
    if (task == NULL) {
        task = task_new(sim);
    }
    task->process = process;
    task->body = body;
    task->data = data;
    process->n_tasks++;
    task_wake_at(sim, task, sim->now_us);
}

/* From the scheduler: until the task rests or ends. */
static void task_go_on(Sim *sim, SimTask *task)
{
    task->turn++;
    task->is_frozen = FALSE;
    if (task->condition != NULL) {
        task->condition->waiting = g_list_remove(task->condition->waiting, task);
        task->condition = NULL;
    }
    sim->running = task;
    sim_context_switch(&sim->scheduler, &task->context);
    sim->running = NULL;
}

static gboolean task_rest(SimProcess *process, gint64 until_us)
{
    Sim *sim = process->sim;
    SimTask *task = sim->running;
    g_assert(task != NULL && task->process == process);
    if (until_us < G_MAXINT64) {
        task_wake_at(sim, task, until_us);
    }
    sim_context_switch(&task->context, &sim->scheduler);
    return !process->dead;
}

gboolean sim_sleep_until(SimProcess *process, gint64 until_us)
{
    return !process->dead && task_rest(process, until_us);
}

gboolean sim_sleep(SimProcess *process, gint64 duration_us)
{
    return sim_sleep_until(process, process->sim->now_us + duration_us);
}

gboolean sim_wait(SimProcess *process, SimCondition *condition, gint64 until_us)
{
    if (process->dead) {
        return FALSE;
    }
    process->sim->running->condition = condition;
    condition->waiting = g_list_append(condition->waiting, process->sim->running);
    return task_rest(process, until_us);
}

void sim_signal(Sim *sim, SimCondition *condition)
{
    for (GList *at = condition->waiting; at != NULL; at = at->next) {
        SimTask *task = at->data;
        task->condition = NULL;
        task_wake_at(sim, task, sim->now_us);
    }
    g_clear_pointer(&condition->waiting, g_list_free);
}

/* ---- Processes */

SimProcess *sim_process_new(Sim *sim, const char *name, SimHappening gone, void *data)
{
    SimProcess *process = g_new0(SimProcess, 1);
    process->sim = sim;
    process->name = g_strdup(name);
    process->gone = gone;
    process->data = data;
    g_ptr_array_add(sim->processes, process);
    return process;
}

void sim_process_free(SimProcess *process)
{
    if (process != NULL) {
        g_assert(process->dead && process->n_tasks == 0);
        g_ptr_array_remove(process->sim->processes, process);
        g_free(process->name);
        g_free(process);
    }
}

Sim *sim_process_sim(SimProcess *process)
{
    return process->sim;
}

const char *sim_process_name(const SimProcess *process)
{
    return process->name;
}

gboolean sim_process_is_dead(const SimProcess *process)
{
    return process->dead;
}

void sim_process_kill(SimProcess *process)
{
    Sim *sim = process->sim;
    if (process->dead) {
        return;
    }
    process->dead = TRUE;
    sim_say(sim, NULL, process->name, "is dead");
    for (guint i = 0; i < sim->tasks->len; i++) {
        SimTask *task = g_ptr_array_index(sim->tasks, i);
        if (task->process == process && task != sim->running) {
            task_wake_at(sim, task, sim->now_us);
        }
    }
    if (process->n_tasks == 0 && process->gone != NULL) {
        sim_at(sim, sim->now_us, process->gone, process->data);
    }
}

void sim_process_freeze(SimProcess *process, gint64 until_us)
{
    sim_say(process->sim, NULL, process->name, "stands still for %" G_GINT64_FORMAT " ms",
            (until_us - process->sim->now_us) / SIM_MS);
    process->frozen_until_us = MAX(process->frozen_until_us, until_us);
}

void sim_thaw(Sim *sim)
{
    for (guint i = 0; i < sim->processes->len; i++) {
        ((SimProcess *)g_ptr_array_index(sim->processes, i))->frozen_until_us = 0;
    }
    for (guint i = 0; i < sim->tasks->len; i++) {
        SimTask *task = g_ptr_array_index(sim->tasks, i);
        if (task->is_frozen) {
            task_wake_at(sim, task, sim->now_us);
        }
    }
}

gboolean sim_call(SimProcess *process)
{
    Sim *sim = process->sim;
    if (process->dead || sim->running == NULL) {
        return !process->dead;
    }
    if (sim_fault(sim, FAULT_CRASH)) {
        sim_process_kill(process);
        return FALSE;
    }
    if (sim_fault(sim, FAULT_FREEZE)) {
        sim_process_freeze(process, sim->now_us + sim_silence_us(sim, FREEZE_MOST_US));
    }
    if (process->frozen_until_us > sim->now_us) {
        sim->running->is_frozen = TRUE;
        return sim_sleep_until(process, process->frozen_until_us);
    }
    return !sim_chance(sim, CALL_YIELDS) || sim_sleep(process, sim_delay_us(sim, CALL_YIELD_US));
}

/* ---- The run */

/* FALSE: it was no step: a stale wake-up, or a frozen process's. */
static gboolean event_dispatch(Sim *sim, const SimEvent *event)
{
    if (event->task == NULL) {
        event->happen(event->data);
        return TRUE;
    }
    SimTask *task = event->task;
    if (task->process == NULL || task->turn != event->turn) {
        return FALSE;
    }
    if (!task->process->dead && task->process->frozen_until_us > sim->now_us) {
        task->is_frozen = TRUE;
        task_wake_at(sim, task, task->process->frozen_until_us);
        return FALSE;
    }
    task_go_on(sim, task);
    return TRUE;
}

gboolean sim_run(Sim *sim, gint64 until_us, guint64 max_steps, SimAfterStep after, void *data)
{
    guint64 end = sim->step + max_steps;
    while (sim->failure_text == NULL && sim->step < end && sim->events->len > 0 &&
           g_array_index(sim->events, SimEvent, 0).at_us <= until_us) {
        SimEvent event = event_pop(sim);
        sim->now_us = event.at_us;
        if (event_dispatch(sim, &event)) {
            sim->step++;
            after(data);
        }
    }
    if (sim->failure_text == NULL && sim->step < end && until_us < G_MAXINT64) {
        sim->now_us = MAX(sim->now_us, until_us);
    }
    return sim->failure_text == NULL;
}

guint64 sim_step(const Sim *sim)
{
    return sim->step;
}

gint64 sim_now_us(const Sim *sim)
{
    return sim->now_us;
}

gint64 sim_now_ms(const Sim *sim)
{
    return sim->now_us / SIM_MS;
}

Sim *sim_new(guint64 seed)
{
    Sim *sim = g_new0(Sim, 1);
    sim->seed = seed;
    sim->drawn = &sim->delays;
    sim_set_delays(sim, 0);
    for (guint i = 0; i < SIM_N_FAULTS; i++) {
        random_make(&sim->chances[i], seed, FAULT_DRAWS, i);
    }
    sim->now_us = EPOCH_US;
    sim->events = g_array_new(FALSE, FALSE, sizeof(SimEvent));
    sim->tasks = g_ptr_array_new_with_free_func(task_free);
    sim->processes = g_ptr_array_new();
    return sim;
}

void sim_unwind(Sim *sim)
{
    sim_set_faults(sim, FALSE);
    for (guint i = 0; i < sim->processes->len; i++) {
        SimProcess *process = g_ptr_array_index(sim->processes, i);
        process->dead = TRUE;
        process->gone = NULL;
    }
    for (guint i = 0; i < sim->tasks->len; i++) {
        SimTask *task = g_ptr_array_index(sim->tasks, i);
        while (task->process != NULL) {
            task_go_on(sim, task);
        }
    }
}

void sim_free(Sim *sim)
{
    g_ptr_array_unref(sim->tasks);
    g_ptr_array_unref(sim->processes);
    g_array_unref(sim->events);
    g_clear_pointer(&sim->kept, g_hash_table_unref);
    g_free(sim->failure_rule);
    g_free(sim->failure_vm);
    g_free(sim->failure_text);
    g_free(sim);
}

/* ---- What a person reads */

void sim_fail(Sim *sim, const char *rule, const char *vm_uuid, const char *format, ...)
{
    va_list arguments;
    if (sim->failure_text == NULL) {
        va_start(arguments, format);
        sim->failure_rule = g_strdup(rule);
        sim->failure_vm = g_strdup(vm_uuid);
        sim->failure_text = g_strdup_vprintf(format, arguments);
        va_end(arguments);
        sim_say(sim, vm_uuid, rule, "IS BROKEN: %s", sim->failure_text);
    }
}

gboolean sim_has_failed(const Sim *sim)
{
    return sim->failure_text != NULL;
}

const char *sim_failure_rule(const Sim *sim)
{
    return sim->failure_rule;
}

const char *sim_failure_vm(const Sim *sim)
{
    return sim->failure_vm;
}

const char *sim_failure_text(const Sim *sim)
{
    return sim->failure_text;
}

void sim_listen(Sim *sim, SimListener listener, void *data)
{
    sim->listener = listener;
    sim->listener_data = data;
}

gboolean sim_is_listened_to(const Sim *sim)
{
    return sim->listener != NULL;
}

void sim_tell(Sim *sim, const char *vm_uuid, const char *who, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    g_autofree char *sentence = g_strdup_vprintf(format, arguments);
    va_end(arguments);
    sim->listener(sim->listener_data, vm_uuid, who, sentence);
}
