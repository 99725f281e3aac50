/* `vm create` and `vm update`: flags and a file to a specification, and the request. */
#include <stdio.h>
#include <string.h>

#include "common/base/json.h"
#include "common/base/uuid.h"
#include "tools/virtbusctl/args.h"
#include "tools/virtbusctl/model.h"
#include "tools/virtbusctl/request.h"
#include "tools/virtbusctl/spec.h"

static gboolean file_read(const char *path, char **ret_text, gsize *ret_bytes, GError **error)
{
    g_autoptr(GError) cause = NULL;
    gboolean is_stdin = strcmp(path, "-") == 0;
    if (!g_file_get_contents(is_stdin ? "/dev/stdin" : path, ret_text, ret_bytes, &cause)) {
        g_set_error(error, CTL_ERROR, CTL_USAGE, "--spec: %s", cause->message);
        return FALSE;
    }
    return TRUE;
}

static VmSpec *spec_begin(Ctl *ctl, const char *path, GError **error)
{
    if (path == NULL) {
        return ARENA_MSG(ctl->arena, vm_spec);
    }
    g_autofree char *text = NULL;
    gsize size_bytes;
    if (!file_read(path, &text, &size_bytes, error)) {
        return NULL;
    }
    VmSpec *spec = (VmSpec *)message_from_json_text(ctl->arena, &vm_spec__descriptor, text,
                                                    (gssize)size_bytes, error);
    if (spec == NULL) {
        g_prefix_error(error, "--spec %s: ", path);
    }
    return spec;
}

static gboolean uuid_choose(const char *given, char ret_uuid[UUID_TEXT_BYTES], GError **error)
{
    if (given == NULL) {
        uuid_random(ret_uuid);
        return TRUE;
    }
    if (!uuid_is_valid(given)) {
        g_set_error(error, CTL_ERROR, CTL_USAGE,
                    "--uuid: \"%s\" is no uuid: 36 characters, lower case, with dashes", given);
        return FALSE;
    }
    memcpy(ret_uuid, given, UUID_TEXT_BYTES);
    return TRUE;
}

/* The flags that create and update share, below the command's own. */
static gboolean flags_read(Ctl *ctl, SpecFlags *flags, const GOptionEntry *own,
                           const GOptionEntry *removing, guint n_words, char ***ret_words,
                           GError **error)
{
    const char *platforms = spec_words(&platform__descriptor, TRUE);
    /* clang-format off: tables. */
    const GOptionEntry machine[] = {
        {"name", 0, 0, G_OPTION_ARG_STRING, &flags->name, "For people", "NAME"},
        {"account", 0, 0, G_OPTION_ARG_STRING, &flags->account, "Part of the volumes' paths",
         "ACCOUNT"},
        {"vcpus", 0, 0, G_OPTION_ARG_STRING, &flags->vcpus, "Virtual CPUs", "N"},
        {"memory", 0, 0, G_OPTION_ARG_STRING, &flags->memory, "Such as 2GiB", "SIZE"},
        {"huge-pages", 0, 0, G_OPTION_ARG_STRING, &flags->huge_pages,
         "Memory in pages of this size, or none", "SIZE"},
        {"platform", 0, 0, G_OPTION_ARG_STRING, &flags->platform, "What the guest is", platforms},
        {"image-platform", 0, 0, G_OPTION_ARG_STRING, &flags->image_platform,
         "Counts where --platform is not given", platforms},
        {"machine", 0, 0, G_OPTION_ARG_STRING, &flags->machine,
         "q35 (the default), pc, or a host's canonical name", "MACHINE"},
        {"domain-type", 0, 0, G_OPTION_ARG_STRING, &flags->domain_type,
         "Default: the host's choice", "default|kvm|qemu"},
        {"clock", 0, 0, G_OPTION_ARG_STRING, &flags->clock, "Default: by platform",
         spec_words(&clock_offset__descriptor, TRUE)},
        {"hyperv", 0, 0, G_OPTION_ARG_STRING, &flags->hyperv,
         "Features for Windows; default: by platform", spec_words(&toggle__descriptor, TRUE)},
        {"restart-policy", 0, 0, G_OPTION_ARG_STRING, &flags->restart_policy,
         "After its host's return; default: leave", spec_words(&restart_policy__descriptor, TRUE)},
        {0},
    };
    const GOptionEntry firmware[] = {
        {"firmware", 0, 0, G_OPTION_ARG_STRING, &flags->firmware, "Default: legacy-bios",
         spec_words(&firmware__descriptor, TRUE)},
        {"secure-boot", 0, 0, G_OPTION_ARG_STRING, &flags->secure_boot, "Default: the deployment's",
         spec_words(&toggle__descriptor, TRUE)},
        {"tpm", 0, 0, G_OPTION_ARG_NONE, &flags->tpm, "With a TPM 2.0", NULL},
        {"tpm-model", 0, 0, G_OPTION_ARG_STRING, &flags->tpm_model,
         "With a TPM of this model; default: crb", spec_words(&tpm_model__descriptor, TRUE)},
        {"nvram-size", 0, 0, G_OPTION_ARG_STRING, &flags->nvram_size,
         "Accounting limit of the variable store; default: 1MiB", "SIZE"},
        {0},
    };
    const GOptionEntry devices[] = {
        {"storage", 0, 0, G_OPTION_ARG_STRING, &flags->storage,
         "Of disks, variable store and TPM state, such as main:local", "NAME:TYPE"},
        {"disk", 0, 0, G_OPTION_ARG_STRING_ARRAY, &flags->disks,
         "A disk; may be given several times", "SIZE[,KEY=VALUE...]"},
        {"cdrom", 0, 0, G_OPTION_ARG_STRING_ARRAY, &flags->cdroms,
         "A CD-ROM drive; may be given several times", "FILE[,KEY=VALUE...]"},
        {"nic", 0, 0, G_OPTION_ARG_STRING_ARRAY, &flags->nics,
         "A network card; may be given several times", "TYPE[,KEY=VALUE...]"},
        {"graphics", 0, 0, G_OPTION_ARG_STRING, &flags->graphics, "none, or vnc",
         "TYPE[,listen=IP]"},
        {"serial", 0, 0, G_OPTION_ARG_NONE, &flags->serial, "A serial console with a log", NULL},
        {"panic-device", 0, 0, G_OPTION_ARG_NONE, &flags->panic_device,
         "Tells of the guest's panics", NULL},
        {0},
    };
    /* clang-format on */
    const CtlFlags groups[] = {{"Options", own},          {"Machine", machine},
                               {"Firmware", firmware},    {"Devices", devices},
                               {"Taking away", removing}, {0}};
    return args_parse_groups(ctl, groups, n_words, ret_words, error);
}

/* A new uuid is no argument yet: who asks again must give it. */
static CtlStatus create_failed(const Ctl *ctl, const GError *error)
{
    CtlStatus status = ctl_fail(ctl, error);
    if (status == CTL_NO_REPLY && ctl->vm_uuid != NULL) {
        fprintf(stderr, "  --uuid %s\n", ctl->vm_uuid);
    }
    return status;
}

static CtlStatus create(Ctl *ctl, const char *uuid, VmSpec *spec, GError **error)
{
    g_autoptr(VbClient) client = client_open(ctl, error);
    if (client == NULL) {
        return ctl_fail(ctl, *error);
    }
    VmCommand *command = request_new(ctl, uuid);
    CreateVm body = CREATE_VM__INIT;
    body.spec = spec;
    command->command_case = VM_COMMAND__COMMAND_CREATE_VM;
    command->create_vm = &body;
    g_autofree char *what = g_strdup_printf("create VM %s", uuid);
    const VmEvent *event = request_run(ctl, client, command, what, error);
    /* The uuid alone goes to standard output, for scripts: VM=$(virtbusctl vm create ...). */
    return event != NULL ? request_finish(ctl, event, uuid) : create_failed(ctl, *error);
}

CtlStatus cmd_vm_create(Ctl *ctl)
{
    g_auto(SpecFlags) flags = {0};
    g_autofree char *given_uuid = NULL;
    g_autofree char *file = NULL;
    g_autoptr(GError) error = NULL;
    char uuid[UUID_TEXT_BYTES];
    VmSpec *spec = NULL;
    const GOptionEntry own[] = {
        {"uuid", 0, 0, G_OPTION_ARG_STRING, &given_uuid, "Default: a new one, printed", "UUID"},
        {"spec", 0, 0, G_OPTION_ARG_FILENAME, &file,
         "A VmSpec of the contract as JSON, - for standard input; other options change it", "FILE"},
        {0},
    };
    if (!flags_read(ctl, &flags, own, NULL, 0, NULL, &error) ||
        !uuid_choose(given_uuid, uuid, &error) || (spec = spec_begin(ctl, file, &error)) == NULL ||
        !spec_apply(ctl->arena, &flags, spec, &error)) {
        return ctl_fail(ctl, error);
    }
    return create(ctl, uuid, spec, &error);
}

/* ---- vm update */

/* Of the file, or of the VM's record, whose version nobody may change meanwhile (0: any). NULL: said
 * already, with *ret_status. */
static VmSpec *spec_now(Ctl *ctl, VbClient *client, const char *vm_uuid, const char *file,
                        guint64 *ret_version, CtlStatus *ret_status)
{
    *ret_version = 0;
    g_autoptr(GError) error = NULL;
    if (file == NULL) {
        const VmEvent *event = request_record(ctl, client, vm_uuid, ret_status);
        *ret_version = event != NULL ? event->version : 0;
        return event != NULL ? event->reply->vm->spec : NULL;
    }
    VmSpec *spec = spec_begin(ctl, file, &error);
    *ret_status = spec == NULL ? ctl_fail(ctl, error) : CTL_DONE;
    return spec;
}

static CtlStatus update(Ctl *ctl, const char *word, const SpecFlags *flags, const char *file)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(VbClient) client = client_open(ctl, &error);
    const char *uuid = client != NULL ? model_find_vm(ctl, client, word, &error) : NULL;
    if (uuid == NULL) {
        return ctl_fail(ctl, error);
    }
    CtlStatus status;
    guint64 version;
    VmSpec *spec = spec_now(ctl, client, uuid, file, &version, &status);
    if (spec == NULL) {
        return status;
    }
    if (!spec_apply(ctl->arena, flags, spec, &error)) {
        return ctl_fail(ctl, error);
    }
    VmCommand *command = request_new(ctl, uuid);
    command->command_case = VM_COMMAND__COMMAND_UPDATE_VM;
    command->update_vm = ARENA_MSG(ctl->arena, update_vm);
    command->update_vm->spec = spec;
    command->update_vm->expected_version = version;
    g_autofree char *what = g_strdup_printf("update VM %s", uuid);
    const VmEvent *event = request_run(ctl, client, command, what, &error);
    return event != NULL ? request_finish(ctl, event, request_outcome(ctl, event))
                         : ctl_fail(ctl, error);
}

CtlStatus cmd_vm_update(Ctl *ctl)
{
    g_auto(SpecFlags) flags = {0};
    g_auto(GStrv) words = NULL;
    g_autofree char *file = NULL;
    g_autoptr(GError) error = NULL;
    /* clang-format off: tables. */
    const GOptionEntry own[] = {
        {"spec", 0, 0, G_OPTION_ARG_FILENAME, &file,
         "A VmSpec as JSON in place of the VM's own, - for standard input", "FILE"},
        {0},
    };
    const GOptionEntry removing[] = {
        {"no-disk", 0, 0, G_OPTION_ARG_STRING_ARRAY, &flags.no_disks,
         "The disk of this index; its volume stays", "INDEX"},
        {"no-cdrom", 0, 0, G_OPTION_ARG_STRING_ARRAY, &flags.no_cdroms,
         "The CD-ROM drive of this index", "INDEX"},
        {"no-nic", 0, 0, G_OPTION_ARG_STRING_ARRAY, &flags.no_nics,
         "The network card of this index", "INDEX"},
        {"no-tpm", 0, 0, G_OPTION_ARG_NONE, &flags.no_tpm, "The TPM", NULL},
        {"no-serial", 0, 0, G_OPTION_ARG_NONE, &flags.no_serial, "The serial console", NULL},
        {"no-panic-device", 0, 0, G_OPTION_ARG_NONE, &flags.no_panic_device, "The panic device",
         NULL},
        {0},
    };
    /* clang-format on */
    if (!flags_read(ctl, &flags, own, removing, 1, &words, &error)) {
        return ctl_fail(ctl, error);
    }
    flags.is_repeated = ctl->request_id != NULL;
    return update(ctl, words[0], &flags, file);
}
