/* The whole of virtbus for one test program: the three real daemons on the lab's broker, libvirt
 * and Open vSwitch, with a topic prefix, a host uuid, ports and a folder of their own, and
 * virtbusctl to talk to them.
 *
 * It ends every process that it started, also when the test program dies, and takes away the
 * domains, ports and files of its own VMs, also those that a failed test left. It refuses to touch
 * any other. What goes wrong here fails the running test, with the end of each daemon's log. Waits
 * poll a condition until a generous deadline; nothing is asserted about time.
 */
#pragma once

#include <gio/gio.h>
#include <json-glib/json-glib.h>
#include <stdarg.h>

#include "common/base/uuid.h"
#include "virtbus/v1/virtbus.h"

typedef enum {
    STACK_VM_SERVICE,
    STACK_VOLUME_SERVICE,
    STACK_HOST_AGENT,
    STACK_N_DAEMONS
} StackDaemon;

typedef struct {
    char *folder; /* storage/, agent/, run/, serial/, and NAME.log of each daemon. */
    char *prefix;
    char *host_uuid;
    char *run_dir;                   /* Of the agent: sockets. */
    char **options[STACK_N_DAEMONS]; /* Beyond those that each daemon always gets; may be NULL. */
    GSubprocess *daemons[STACK_N_DAEMONS];
    guint16 ports[STACK_N_DAEMONS];
    GSubprocess *follower; /* `virtbusctl events --follow`, into folder/events.json. */
    GPtrArray *events;     /* of JsonObject: what it has shown so far. */
    gsize events_bytes;    /* Read of its file. */
    GHashTable *cursors;   /* VM uuid -> number of events that stack_event has passed. */
} Stack;

/* ---- Processes */

/* Makes the topics and starts the three daemons; they are ready when it returns. */
Stack *stack_new(void);
void stack_free(Stack *stack);

void stack_start(Stack *stack, StackDaemon daemon); /* Does not wait. */
void stack_kill(Stack *stack, StackDaemon daemon);  /* SIGKILL, and waits for its end. */
void stack_signal(Stack *stack, StackDaemon daemon, int signal);
/* Kills it, starts it anew, and waits until it is ready. */
void stack_restart(Stack *stack, StackDaemon daemon);
/* Starts each daemon that a failed test has left dead, and lets each go on that it has left held
 * still. Does not wait. */
void stack_revive(Stack *stack);
/* SIGTERM, and waits; TRUE: it ended in order. */
gboolean stack_stop(Stack *stack, StackDaemon daemon);
/* Until /readyz of each daemon that runs says yes. */
void stack_await_ready(Stack *stack);

/* A folder of that name in stack->folder is the agent's run.dir from its next start on. */
void stack_set_run_dir(Stack *stack, const char *name);
/* Words that are added to the daemon's command line from its next start on; up to NULL. */
void stack_set_options(Stack *stack, StackDaemon daemon, ...) G_GNUC_NULL_TERMINATED;

typedef gboolean (*StackCondition)(gpointer data);
void stack_await(Stack *stack, const char *what, StackCondition condition, gpointer data);

/* ---- virtbusctl */

typedef struct {
    int status;     /* virtbusctl's exit status. */
    ErrorCode code; /* Of the reply; UNSPECIFIED: done, or no reply. */
    JsonNode *json; /* What it wrote with --json. */
    char *reason;   /* The reply's sentence; "": done, or no reply. */
    char *words;    /* What it wrote for people. */
} StackAnswer;

void stack_answer_free(StackAnswer *answer);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(StackAnswer, stack_answer_free)

/* Runs `virtbusctl --json` with these words, up to NULL. */
StackAnswer *stack_ask(Stack *stack, ...) G_GNUC_NULL_TERMINATED;
/* The same, which must end well. */
StackAnswer *stack_done(Stack *stack, ...) G_GNUC_NULL_TERMINATED;
/* The same, whose reply must be this error. */
StackAnswer *stack_refused(Stack *stack, ErrorCode code, ...) G_GNUC_NULL_TERMINATED;
/* stack_done with the words `first`, up to NULL, and then `more`, up to NULL. */
StackAnswer *stack_done_with(Stack *stack, const char *const *first, va_list more);
/* In the background. stack_end waits for its answer and frees it. */
GSubprocess *stack_begin(Stack *stack, ...) G_GNUC_NULL_TERMINATED;
GSubprocess *stack_begin_words(Stack *stack, const char *const *words); /* Up to NULL. */
StackAnswer *stack_end(Stack *stack, GSubprocess *request);

/* An object's member below `json`, such as "vm.hardware.nics[0].effective_model" as JSONPath
 * without its "$."; "" where there is none. Free with g_free. */
char *stack_text(JsonNode *json, const char *path);

/* ---- What happened, and what is there */

/* The next event of this VM, behind the last one that this function found, whose member `path` is
 * `value`. Waits for it. Borrowed. */
JsonNode *stack_event(Stack *stack, const char *vm, const char *path, const char *value);
/* The same of what is there already; NULL: none. */
JsonNode *stack_event_seen(Stack *stack, const char *vm, const char *path, const char *value);

/* Takes in what virtbusctl has shown by now. */
void stack_events_read(Stack *stack);

/* The one volume whose `member` is `value`: "generation", "2"; fails when there is none or more than
 * one. Free with json_node_unref. */
JsonNode *stack_volume_by(Stack *stack, const char *vm, const char *member, const char *value);
/* The one of this type, "NV_RAM". */
JsonNode *stack_volume(Stack *stack, const char *vm, const char *type);
char *stack_volume_path(Stack *stack, const char *vm, const char *type);
/* The file of a volume (g_free). */
char *stack_path_of(Stack *stack, JsonNode *volume);
/* SHA-256 of a file's bytes (g_free); "": there is no such file. */
char *stack_sha256(const char *path);

/* What a running VM has on this host: its domain, its ports, its socket folder, one a line. */
char *stack_live(Stack *stack, const char *vm);
/* Every file of the storage, one a line. */
char *stack_storage(Stack *stack);
/* Everything that is left of any VM of this stack. */
char *stack_left(Stack *stack);
/* Until that is nothing: the host forgets a VM only behind the reply to its expunge. */
void stack_await_nothing_left(Stack *stack);

/* Records all topics of the stack and replays them: each step is made again and must come out byte
 * for byte as it was. The recording is kept in the folder RECORDINGS, if there is one. */
void stack_replay(Stack *stack);

/* A tool of the host with its words up to NULL, which must end well; what it wrote (g_free). */
char *stack_run(Stack *stack, const char *program, ...) G_GNUC_NULL_TERMINATED;
/* Sends a signal to the lab's process, or QEMU, whose number is in this file. */
void stack_signal_by_file(Stack *stack, const char *path, int signal);
/* virsh on the lab's libvirt. */
#define STACK_VIRSH "virsh", "-q", "-c", lab_env("LIBVIRT_URI")

G_NORETURN void stack_fail(Stack *stack, const char *format, ...) G_GNUC_PRINTF(2, 3);
