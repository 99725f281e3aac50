/* What the tests of outages need: services as processes whose log and pages are read, brokers of a
 * test's own that can be killed, and a ledger that says whether each request was answered once.
 *
 * Processes and brokers end with the test, also when the test program dies. Waits poll a condition
 * until a generous deadline; nothing is asserted about time.
 */
#pragma once

#include <gio/gio.h>

#include "tests/integration/kafka_world.h"

/* Polls until `is_done` says yes; fails naming `what`. */
void outage_await(const char *what, WorldCondition is_done, void *user);

/* ---- Processes */

typedef enum { PROGRAM_ECHO, PROGRAM_VM_SERVICE, PROGRAM_VOLUME_SERVICE } Program;

typedef struct {
    World *world;
    pid_t pid;
    char *log; /* The path of what it has written to standard error. */
} Process;

Process *process_start(World *world, Program program, const char *instance_id);
/* The same with one more option, "--NAME=VALUE". */
Process *process_start_with(World *world, Program program, const char *instance_id,
                            const char *option);
/* SIGTERM, waits for its end in order, and frees it. */
void process_stop(Process *process);
/* Waits for an end that it comes to by itself; its exit status. */
int process_wait(Process *process);
void process_free(Process *process); /* Of one that has ended. */
/* The same process still runs, whatever program it has executed since. */
gboolean process_lives(const Process *process);

/* "503 broker: ...": the status and the page; "" when nobody answers. Free with g_free. */
char *process_page(const Process *process, const char *path);
/* The same once it contains `text`. */
char *process_await_page(const Process *process, const char *path, const char *text);
/* The value of a series, such as "virtbus_restarts_total{cause=\"fenced\"}"; -1: there is none. */
double process_metric(const Process *process, const char *series);
void process_await_metric(const Process *process, const char *series, double value);

/* Lines of one event, or all of them (NULL). */
guint process_log_lines(const Process *process, const char *event);
/* The last line of an event; waits for it. Free with g_free. */
char *process_await_log(const Process *process, const char *event);

/* ---- Brokers */

typedef struct {
    char *folder;
    char *bootstrap;
    GSubprocess *guard; /* Takes the broker down when its standard input ends. */
} Broker;

/* `disk_bytes` 0: on the lab's own disk; else on one of that size, in this process's namespace. */
Broker *broker_new(const char *name, guint64 disk_bytes);
void broker_free(Broker *broker);
void broker_kill(Broker *broker);  /* SIGKILL. */
void broker_start(Broker *broker); /* On its data and address; it answers when this returns. */

/* ---- Requests and their answers */

typedef struct {
    World *world;
    GPtrArray *requests; /* Ids, in the world's arena. */
    int next_vm;
} Ledger;

/* Of a VM that can be made on any host. */
VmSpec *outage_spec(World *world);

Ledger *ledger_new(World *world);
void ledger_free(Ledger *ledger);
/* CreateVm and StartVm for `n` new VMs of all partitions. The start goes through both services and
 * ends in HOST_UNKNOWN. Not waited for. */
void ledger_send(Ledger *ledger, int n);
/* Until each request is answered. */
void ledger_await(Ledger *ledger);
/* Sends to each partition once more, waits for all, and asserts that nothing was answered twice. */
void ledger_settle(Ledger *ledger);
