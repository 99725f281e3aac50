/* `vm create`: flags and a file to a specification, and the request. */
#include <stdio.h>
#include <string.h>

#include "common/base/json.h"
#include "common/base/uuid.h"
#include "tools/virtbusctl/args.h"
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

static gboolean flags_read(Ctl *ctl, SpecFlags *flags, char **uuid, char **file, GError **error)
{
    /* clang-format off: a table. */
    const GOptionEntry entries[] = {
        {"name", 0, 0, G_OPTION_ARG_STRING, &flags->name, "For people", "NAME"},
        {"uuid", 0, 0, G_OPTION_ARG_STRING, uuid, "Default: a new one, printed", "UUID"},
        {"spec", 0, 0, G_OPTION_ARG_FILENAME, file,
         "A VmSpec of the contract as JSON, - for standard input; flags change it", "FILE"},
        {"vcpus", 0, 0, G_OPTION_ARG_STRING, &flags->vcpus, "Virtual CPUs", "N"},
        {"memory", 0, 0, G_OPTION_ARG_STRING, &flags->memory, "Such as 2GiB", "SIZE"},
        {"platform", 0, 0, G_OPTION_ARG_STRING, &flags->platform,
         "linux, windows, windows-virtio, paravirtualization or other", "PLATFORM"},
        {"image-platform", 0, 0, G_OPTION_ARG_STRING, &flags->image_platform,
         "Counts where --platform is not given", "PLATFORM"},
        {"firmware", 0, 0, G_OPTION_ARG_STRING, &flags->firmware,
         "legacy-bios, uefi or uefi-with-csm", "FIRMWARE"},
        {"secure-boot", 0, 0, G_OPTION_ARG_STRING, &flags->secure_boot, "Default: the deployment's",
         "on|off"},
        {"tpm", 0, 0, G_OPTION_ARG_NONE, &flags->tpm, "With a TPM 2.0", NULL},
        {"disk", 0, 0, G_OPTION_ARG_STRING_ARRAY, &flags->disks, "Several times: a disk; see below",
         "SIZE[,KEY=VALUE...]"},
        {"cdrom", 0, 0, G_OPTION_ARG_STRING_ARRAY, &flags->cdroms,
         "Several times: a drive with this image", "IMAGE[,boot=N]"},
        {"nic", 0, 0, G_OPTION_ARG_STRING_ARRAY, &flags->nics,
         "Several times: a network card; see below", "TYPE[,KEY=VALUE...]"},
        {"storage", 0, 0, G_OPTION_ARG_STRING, &flags->storage,
         "Of the root disk, NVRAM and TPM state, such as main:local", "NAME:TYPE"},
        {"graphics", 0, 0, G_OPTION_ARG_STRING, &flags->graphics, "none, or vnc",
         "TYPE[,listen=IP]"},
        {"serial", 0, 0, G_OPTION_ARG_NONE, &flags->serial, "With a serial console", NULL},
        {"machine", 0, 0, G_OPTION_ARG_STRING, &flags->machine, "Default: q35", "MACHINE"},
        {"domain-type", 0, 0, G_OPTION_ARG_STRING, &flags->domain_type,
         "Default: the host's choice", "kvm|qemu"},
        {"clock", 0, 0, G_OPTION_ARG_STRING, &flags->clock, "Default: by platform",
         "utc|localtime"},
        {"restart-policy", 0, 0, G_OPTION_ARG_STRING, &flags->restart_policy,
         "After a host's return; default: leave", "leave|restart"},
        {"account", 0, 0, G_OPTION_ARG_STRING, &flags->account, "Part of the volumes' paths",
         "ACCOUNT"},
        {0},
    };
    /* clang-format on */
    return args_parse(ctl, entries, 0, NULL, error);
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
    if (!flags_read(ctl, &flags, &given_uuid, &file, &error) ||
        !uuid_choose(given_uuid, uuid, &error) || (spec = spec_begin(ctl, file, &error)) == NULL ||
        !spec_apply(ctl->arena, &flags, spec, &error)) {
        return ctl_fail(ctl, error);
    }
    return create(ctl, uuid, spec, &error);
}
