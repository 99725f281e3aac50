/* Commands that change a VM: each is one request and its reply. */
#include "tools/virtbusctl/args.h"
#include "tools/virtbusctl/model.h"
#include "tools/virtbusctl/request.h"

#define DEADLINE_FLAG(variable)                                                                    \
    {                                                                                              \
        "deadline", 0, 0, G_OPTION_ARG_STRING, (variable),                                         \
            "Of the whole operation; default: the deployment's", "DURATION"                        \
    }

/* The time for the operation, told to the service. Longer than our own wait it makes no sense. */
static gboolean deadline_read(const Ctl *ctl, const char *text, VmCommand *command, GError **error)
{
    if (text == NULL) {
        return TRUE;
    }
    if (!args_duration("--deadline", text, &command->timeout_ms, error)) {
        return FALSE;
    }
    if (command->timeout_ms > ctl->timeout_ms) {
        g_set_error(error, CTL_ERROR, CTL_USAGE,
                    "--deadline %s is longer than the wait for the reply: give a longer --timeout",
                    text);
        return FALSE;
    }
    return TRUE;
}

/* What start, stop, destroy and expunge have in common: a VM, a deadline, and then the request. */
typedef struct {
    Ctl *ctl;
    VbClient *client;
    VmCommand *command;
} Action;

static gboolean action_begin(Action *action, Ctl *ctl, const char *word, const char *deadline,
                             GError **error)
{
    action->ctl = ctl;
    action->client = client_open(ctl, error);
    if (action->client == NULL) {
        return FALSE;
    }
    const char *uuid = model_find_vm(ctl, action->client, word, error);
    if (uuid == NULL) {
        return FALSE;
    }
    action->command = request_new(ctl, uuid);
    return deadline_read(ctl, deadline, action->command, error);
}

static void action_clear(Action *action)
{
    g_clear_pointer(&action->client, client_close);
}
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(Action, action_clear)

static CtlStatus action_end(Action *action, const char *verb, GError **error)
{
    g_autofree char *what = g_strdup_printf("%s VM %s", verb, action->command->vm_uuid);
    const VmEvent *event = request_run(action->ctl, action->client, action->command, what, error);
    return event != NULL ? request_finish(action->ctl, event, request_outcome(action->ctl, event))
                         : ctl_fail(action->ctl, *error);
}

typedef void (*HostCommandFill)(VmCommand *command, VbArena *arena, char *host_uuid);

/* A command about a VM and a host. `why` says what a missing --host means. */
static CtlStatus host_command(Ctl *ctl, const char *help, const char *why, HostCommandFill fill,
                              const char *verb)
{
    g_autofree char *host = NULL;
    g_autofree char *deadline = NULL;
    g_auto(GStrv) words = NULL;
    g_auto(Action) action = {0};
    g_autoptr(GError) error = NULL;
    const GOptionEntry flags[] = {
        {"host", 0, 0, G_OPTION_ARG_STRING, &host, help, "HOST"}, DEADLINE_FLAG(&deadline), {0}};
    if (!args_parse(ctl, flags, 1, &words, &error)) {
        return ctl_fail(ctl, error);
    }
    if (host == NULL) {
        g_set_error(&error, CTL_ERROR, CTL_USAGE,
                    "--host is missing: %s; `virtbusctl host list` shows the hosts", why);
        return ctl_fail(ctl, error);
    }
    const char *host_uuid = NULL;
    if (!action_begin(&action, ctl, words[0], deadline, &error) ||
        (host_uuid = model_find_host(ctl, action.client, host, &error)) == NULL) {
        return ctl_fail(ctl, error);
    }
    fill(action.command, ctl->arena, (char *)host_uuid);
    return action_end(&action, verb, &error);
}

static void start_fill(VmCommand *command, VbArena *arena, char *host_uuid)
{
    command->command_case = VM_COMMAND__COMMAND_START_VM;
    command->start_vm = ARENA_MSG(arena, start_vm);
    command->start_vm->host_uuid = host_uuid;
}

CtlStatus cmd_vm_start(Ctl *ctl)
{
    return host_command(ctl, "Where to start it: a uuid or a host name",
                        "virtbus schedules nothing", start_fill, "start");
}

static void confirm_fill(VmCommand *command, VbArena *arena, char *host_uuid)
{
    command->command_case = VM_COMMAND__COMMAND_CONFIRM_HOST_DOWN;
    command->confirm_host_down = ARENA_MSG(arena, confirm_host_down);
    command->confirm_host_down->host_uuid = host_uuid;
}

CtlStatus cmd_vm_confirm_host_down(Ctl *ctl)
{
    return host_command(ctl, "The host that is down and fenced: a uuid or a host name",
                        "name the host that you have fenced", confirm_fill, "confirm host down of");
}

CtlStatus cmd_vm_stop(Ctl *ctl)
{
    gboolean force = FALSE;
    gboolean then_force = FALSE;
    g_autofree char *deadline = NULL;
    g_auto(GStrv) words = NULL;
    g_auto(Action) action = {0};
    g_autoptr(GError) error = NULL;
    const GOptionEntry flags[] = {
        {"force", 0, 0, G_OPTION_ARG_NONE, &force, "Pull the plug", NULL},
        {"graceful-then-force", 0, 0, G_OPTION_ARG_NONE, &then_force,
         "Ask the guest, and pull the plug at the deadline; default: only ask", NULL},
        DEADLINE_FLAG(&deadline),
        {0},
    };
    if (!args_parse(ctl, flags, 1, &words, &error)) {
        return ctl_fail(ctl, error);
    }
    if (force && then_force) {
        g_set_error_literal(&error, CTL_ERROR, CTL_USAGE,
                            "--force and --graceful-then-force exclude each other");
        return ctl_fail(ctl, error);
    }
    if (!action_begin(&action, ctl, words[0], deadline, &error)) {
        return ctl_fail(ctl, error);
    }
    StopVm stop = STOP_VM__INIT;
    stop.mode = force        ? STOP_MODE_FORCED
                : then_force ? STOP_MODE_GRACEFUL_THEN_FORCED
                             : STOP_MODE_GRACEFUL;
    action.command->command_case = VM_COMMAND__COMMAND_STOP_VM;
    action.command->stop_vm = &stop;
    return action_end(&action, "stop", &error);
}

/* A command without a field of its own. */
static CtlStatus plain_command(Ctl *ctl, VmCommand__CommandCase kind, void *body, const char *verb)
{
    g_autofree char *deadline = NULL;
    g_auto(GStrv) words = NULL;
    g_auto(Action) action = {0};
    g_autoptr(GError) error = NULL;
    const GOptionEntry flags[] = {DEADLINE_FLAG(&deadline), {0}};
    if (!args_parse(ctl, flags, 1, &words, &error) ||
        !action_begin(&action, ctl, words[0], deadline, &error)) {
        return ctl_fail(ctl, error);
    }
    action.command->command_case = kind;
    action.command->destroy_vm = body; /* The members of the oneof share one pointer. */
    return action_end(&action, verb, &error);
}

CtlStatus cmd_vm_destroy(Ctl *ctl)
{
    DestroyVm destroy = DESTROY_VM__INIT;
    return plain_command(ctl, VM_COMMAND__COMMAND_DESTROY_VM, &destroy, "destroy");
}

CtlStatus cmd_vm_recover(Ctl *ctl)
{
    RecoverVm recover = RECOVER_VM__INIT;
    return plain_command(ctl, VM_COMMAND__COMMAND_RECOVER_VM, &recover, "recover");
}

CtlStatus cmd_vm_expunge(Ctl *ctl)
{
    ExpungeVm expunge = EXPUNGE_VM__INIT;
    return plain_command(ctl, VM_COMMAND__COMMAND_EXPUNGE_VM, &expunge, "expunge");
}

CtlStatus cmd_vm_release(Ctl *ctl)
{
    ReleaseQuarantine release = RELEASE_QUARANTINE__INIT;
    return plain_command(ctl, VM_COMMAND__COMMAND_RELEASE_QUARANTINE, &release, "release");
}

CtlStatus cmd_vm_reset_nvram(Ctl *ctl)
{
    ResetNvram reset = RESET_NVRAM__INIT;
    return plain_command(ctl, VM_COMMAND__COMMAND_RESET_NVRAM, &reset, "reset the NVRAM of");
}

CtlStatus cmd_vm_adopt_volume(Ctl *ctl)
{
    g_autofree char *deadline = NULL;
    g_auto(GStrv) words = NULL;
    g_auto(Action) action = {0};
    g_autoptr(GError) error = NULL;
    const GOptionEntry flags[] = {DEADLINE_FLAG(&deadline), {0}};
    if (!args_parse(ctl, flags, 2, &words, &error) ||
        !action_begin(&action, ctl, words[0], deadline, &error)) {
        return ctl_fail(ctl, error);
    }
    AdoptVolume adopt = ADOPT_VOLUME__INIT;
    adopt.volume_uuid = words[1];
    action.command->command_case = VM_COMMAND__COMMAND_ADOPT_VOLUME;
    action.command->adopt_volume = &adopt;
    return action_end(&action, "adopt a volume for", &error);
}
