/* Commands that change a VM: each is one request and its reply. */
#include "common/base/uuid.h"
#include "tools/virtbusctl/args.h"
#include "tools/virtbusctl/model.h"
#include "tools/virtbusctl/request.h"
#include "tools/virtbusctl/spec.h"

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

typedef void (*StopFill)(VmCommand *command, VbArena *arena, StopMode mode);

/* A command that stops the guest in one of three ways. */
static CtlStatus stop_command(Ctl *ctl, StopFill fill, const char *verb)
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
    fill(action.command, ctl->arena,
         force        ? STOP_MODE_FORCED
         : then_force ? STOP_MODE_GRACEFUL_THEN_FORCED
                      : STOP_MODE_GRACEFUL);
    return action_end(&action, verb, &error);
}

static void stop_fill(VmCommand *command, VbArena *arena, StopMode mode)
{
    command->command_case = VM_COMMAND__COMMAND_STOP_VM;
    command->stop_vm = ARENA_MSG(arena, stop_vm);
    command->stop_vm->mode = mode;
}

CtlStatus cmd_vm_stop(Ctl *ctl)
{
    return stop_command(ctl, stop_fill, "stop");
}

static void reboot_fill(VmCommand *command, VbArena *arena, StopMode mode)
{
    command->command_case = VM_COMMAND__COMMAND_REBOOT_VM;
    command->reboot_vm = ARENA_MSG(arena, reboot_vm);
    command->reboot_vm->mode = mode;
}

CtlStatus cmd_vm_reboot(Ctl *ctl)
{
    return stop_command(ctl, reboot_fill, "reboot");
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

/* ---- A command with a word behind the VM's */

typedef gboolean (*WordCheck)(const char *word, GError **error);
/* Fills the command; FALSE: why is said already, with *ret_status. */
typedef gboolean (*WordFill)(Action *action, char *word, CtlStatus *ret_status);

/* `check` judges the word before anybody is asked. */
static CtlStatus word_command(Ctl *ctl, WordCheck check, WordFill fill, const char *verb)
{
    g_autofree char *deadline = NULL;
    g_auto(GStrv) words = NULL;
    g_auto(Action) action = {0};
    g_autoptr(GError) error = NULL;
    CtlStatus status = CTL_DONE;
    const GOptionEntry flags[] = {DEADLINE_FLAG(&deadline), {0}};
    if (!args_parse(ctl, flags, 2, &words, &error) || !check(words[1], &error) ||
        !action_begin(&action, ctl, words[0], deadline, &error)) {
        return ctl_fail(ctl, error);
    }
    return fill(&action, words[1], &status) ? action_end(&action, verb, &error) : status;
}

static gboolean volume_check(const char *word, GError **error)
{
    if (uuid_is_valid(word)) {
        return TRUE;
    }
    g_set_error(error, CTL_ERROR, CTL_USAGE,
                "VOLUME: \"%s\" is no uuid: 36 characters, lower case, with dashes; "
                "`virtbusctl volume list VM` shows them",
                word);
    return FALSE;
}

static gboolean adopt_fill(Action *action, char *word, CtlStatus *ret_status)
{
    (void)ret_status;
    AdoptVolume *adopt = ARENA_MSG(action->ctl->arena, adopt_volume);
    adopt->volume_uuid = word;
    action->command->command_case = VM_COMMAND__COMMAND_ADOPT_VOLUME;
    action->command->adopt_volume = adopt;
    return TRUE;
}

CtlStatus cmd_vm_adopt_volume(Ctl *ctl)
{
    return word_command(ctl, volume_check, adopt_fill, "adopt a volume for");
}

/* Beside no other NIC: only how it is written is judged. */
static gboolean nic_check(const char *word, GError **error)
{
    g_autoptr(VbArena) arena = arena_new();
    return spec_nic(arena, word, ARENA_MSG(arena, vm_spec), error) != NULL;
}

static gboolean attach_fill(Action *action, char *word, CtlStatus *ret_status)
{
    Ctl *ctl = action->ctl;
    g_autoptr(GError) error = NULL;
    const VmEvent *event =
        request_record(ctl, action->client, action->command->vm_uuid, ret_status);
    if (event == NULL) {
        return FALSE;
    }
    AttachNic *attach = ARENA_MSG(ctl->arena, attach_nic);
    attach->nic = spec_nic(ctl->arena, word, event->reply->vm->spec, &error);
    if (attach->nic == NULL) {
        *ret_status = ctl_fail(ctl, error);
        return FALSE;
    }
    action->command->command_case = VM_COMMAND__COMMAND_ATTACH_NIC;
    action->command->attach_nic = attach;
    return TRUE;
}

CtlStatus cmd_vm_attach_nic(Ctl *ctl)
{
    return word_command(ctl, nic_check, attach_fill, "attach a NIC to");
}

static gboolean index_check(const char *word, GError **error)
{
    guint32 index;
    return args_number("INDEX", word, 0, G_MAXUINT32, &index, error);
}

static gboolean detach_fill(Action *action, char *word, CtlStatus *ret_status)
{
    (void)ret_status;
    DetachNic *detach = ARENA_MSG(action->ctl->arena, detach_nic);
    action->command->command_case = VM_COMMAND__COMMAND_DETACH_NIC;
    action->command->detach_nic = detach;
    return args_number("INDEX", word, 0, G_MAXUINT32, &detach->index, NULL);
}

CtlStatus cmd_vm_detach_nic(Ctl *ctl)
{
    return word_command(ctl, index_check, detach_fill, "detach a NIC from");
}
