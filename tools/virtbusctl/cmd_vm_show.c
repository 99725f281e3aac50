/* `vm show` and `volume list`: reads, answered by the service itself. */
#include <stdio.h>
#include <string.h>

#include "common/base/text.h"
#include "tools/virtbusctl/args.h"
#include "tools/virtbusctl/describe.h"
#include "tools/virtbusctl/model.h"
#include "tools/virtbusctl/print.h"
#include "tools/virtbusctl/request.h"
#include "tools/virtbusctl/style.h"

static const char *or_dash(const char *text)
{
    return *text != '\0' ? text : "-";
}

/* The label of an enum's value; its zero is not shown as "Unspecified". */
static const char *or_default(const char *label)
{
    return strcmp(label, "Unspecified") == 0 ? "by default" : label;
}

static void show_operation(VbColumns *facts, VbArena *arena, const Operation *operation)
{
    const char *text = arena_printf(arena, "%s: %s", ENUM_LABEL(operation_kind, operation->kind),
                                    describe_phase(arena, operation->phase));
    columns_row(facts, "operation", text, NULL);
}

static void show_hardware(VbColumns *facts, VbArena *arena, const Hardware *hardware)
{
    columns_row(facts, "machine",
                arena_printf(arena, "%s, %s, CPU %s", hardware->machine, hardware->domain_type,
                             or_dash(hardware->cpu_model)),
                NULL);
    if (hardware->firmware != NULL) {
        columns_row(facts, "firmware code", hardware->firmware->code_path, NULL);
    }
}

static void show_state(VbColumns *facts, VbArena *arena, const VmEvent *event, const VmRecord *vm)
{
    g_autofree char *since = style_duration(MAX(print_now_ms() - vm->changed_ms, 0));
    columns_row(facts, "uuid", event->vm_uuid, NULL);
    columns_row(facts, "status",
                arena_printf(arena, "%s for %s", ENUM_LABEL(vm_status, vm->status), since), NULL);
    columns_row(facts, "host", or_dash(vm->host_uuid), NULL);
    columns_row(facts, "epoch",
                arena_printf(arena, "%" G_GUINT64_FORMAT " (record version %" G_GUINT64_FORMAT ")",
                             vm->epoch, event->version),
                NULL);
    if (vm->operation != NULL) {
        show_operation(facts, arena, vm->operation);
    }
    if (vm->last_error != NULL) {
        columns_row(facts, "last error",
                    arena_printf(arena, "%s: %s", ENUM_CODE(error_code, vm->last_error->code),
                                 vm->last_error->message),
                    NULL);
        columns_colour(facts, STYLE_RED);
    }
}

static void show_spec(VbColumns *facts, VbArena *arena, const VmRecord *vm)
{
    const VmSpec *spec = vm->spec;
    columns_row(facts, "platform", or_default(ENUM_LABEL(platform, spec->platform)), NULL);
    columns_row(facts, "hardware", describe_spec(arena, spec), NULL);
    columns_row(facts, "secure boot",
                spec->secure_boot == TOGGLE_UNSPECIFIED ? "by default"
                                                        : ENUM_LABEL(toggle, spec->secure_boot),
                NULL);
    columns_row(facts, "nvram",
                !vm->nvram_needed     ? "not needed"
                : spec->nvram == NULL ? "needed"
                                      : arena_printf(arena, "%s, volume %s", spec->nvram->name,
                                                     or_dash(spec->nvram->volume_uuid)),
                NULL);
    if (spec->storage != NULL) {
        columns_row(facts, "storage",
                    arena_printf(arena, "%s (%s)", spec->storage->name,
                                 ENUM_LABEL(storage_type, spec->storage->type)),
                    NULL);
    }
}

/* What was chosen and is not the default. */
static void show_choices(VbColumns *facts, VbArena *arena, const VmSpec *spec)
{
    if (spec->clock != CLOCK_OFFSET_UNSPECIFIED) {
        columns_row(facts, "clock", ENUM_LABEL(clock_offset, spec->clock), NULL);
    }
    if (spec->hyperv != TOGGLE_UNSPECIFIED) {
        columns_row(facts, "hyper-v", ENUM_LABEL(toggle, spec->hyperv), NULL);
    }
    if (spec->restart_policy != RESTART_POLICY_UNSPECIFIED) {
        columns_row(facts, "host's return", ENUM_LABEL(restart_policy, spec->restart_policy), NULL);
    }
    if (spec->graphics != NULL && spec->graphics->type == GRAPHICS_TYPE_VNC) {
        const char *listen = spec->graphics->listen;
        columns_row(facts, "graphics",
                    arena_printf(arena, "Vnc on %s", *listen != '\0' ? listen : "127.0.0.1"), NULL);
    }
    if (spec->huge_page_bytes > 0) {
        g_autofree char *size = style_size(spec->huge_page_bytes);
        columns_row(facts, "huge pages", size, NULL);
    }
    if (spec->serial_console || spec->panic_device) {
        columns_row(facts, "devices",
                    arena_printf(arena, "%s%s%s", spec->serial_console ? "serial console" : "",
                                 spec->serial_console && spec->panic_device ? ", " : "",
                                 spec->panic_device ? "panic device" : ""),
                    NULL);
    }
    for (size_t i = 0; i < spec->n_cdroms; i++) {
        const CdromSpec *cdrom = spec->cdroms[i];
        const char *boot =
            cdrom->boot_order > 0 ? arena_printf(arena, ", boot %u", cdrom->boot_order) : "";
        columns_row(facts, arena_printf(arena, "cd-rom %u", cdrom->index),
                    arena_printf(arena, "%s%s", or_dash(cdrom->image), boot), NULL);
    }
}

static void show_disks(const VmSpec *spec)
{
    g_autoptr(VbColumns) disks =
        columns_new(">DISK", "TYPE", ">SIZE", "FORMAT", "BUS", ">BOOT", "IMAGE", NULL);
    for (size_t i = 0; i < spec->n_disks; i++) {
        const DiskSpec *disk = spec->disks[i];
        g_autofree char *index = g_strdup_printf("%u", disk->index);
        g_autofree char *size = style_size(disk->size_bytes);
        g_autofree char *boot = g_strdup_printf("%u", disk->boot_order);
        columns_row(disks, index, ENUM_LABEL(volume_type, disk->type), size,
                    or_default(ENUM_LABEL(volume_format, disk->format)),
                    or_default(ENUM_LABEL(disk_bus, disk->bus)), disk->boot_order > 0 ? boot : "-",
                    or_dash(disk->image), NULL);
    }
    if (columns_rows(disks) > 0) {
        printf("\n");
        print_columns(disks);
    }
}

static const EffectiveNic *effective_nic(const VmRecord *vm, guint32 index)
{
    for (size_t i = 0; vm->hardware != NULL && i < vm->hardware->n_nics; i++) {
        if (vm->hardware->nics[i]->index == index) {
            return vm->hardware->nics[i];
        }
    }
    return NULL;
}

static void show_nics(const VmRecord *vm)
{
    g_autoptr(VbColumns) nics =
        columns_new(">NIC", "TYPE", "ASKED", "RUNS AS", "MAC", ">QUEUES", "BRIDGE", NULL);
    for (size_t i = 0; i < vm->spec->n_nics; i++) {
        const NicSpec *nic = vm->spec->nics[i];
        const EffectiveNic *effective = effective_nic(vm, nic->index);
        NicModel asked = effective != NULL ? effective->asked_model : nic->model;
        g_autofree char *index = g_strdup_printf("%u", nic->index);
        g_autofree char *queues = g_strdup_printf("%u", effective != NULL ? effective->queues : 0);
        columns_row(nics, index, ENUM_LABEL(nic_type, nic->type),
                    or_default(ENUM_LABEL(nic_model, asked)),
                    effective != NULL ? ENUM_LABEL(nic_model, effective->effective_model) : "-",
                    or_dash(effective != NULL ? effective->mac : nic->mac),
                    effective != NULL ? queues : "-", or_dash(nic->bridge), NULL);
        if (effective != NULL && effective->coerced) {
            columns_colour(nics, STYLE_YELLOW);
        }
    }
    if (columns_rows(nics) > 0) {
        printf("\n");
        print_columns(nics);
    }
}

static void show_vm(const Ctl *ctl, const VmEvent *event)
{
    const VmRecord *vm = event->reply->vm;
    g_autoptr(VbColumns) facts = columns_new("", "", NULL);
    columns_row(facts, "name", vm->spec != NULL ? or_dash(vm->spec->name) : "-", NULL);
    show_state(facts, ctl->arena, event, vm);
    if (vm->spec != NULL) {
        show_spec(facts, ctl->arena, vm);
        show_choices(facts, ctl->arena, vm->spec);
    }
    if (vm->tpm != NULL) {
        columns_row(facts, "tpm state",
                    arena_printf(ctl->arena, "volume %s on host %s", or_dash(vm->tpm->volume_uuid),
                                 or_dash(vm->tpm->host_uuid)),
                    NULL);
    }
    if (vm->hardware != NULL) {
        show_hardware(facts, ctl->arena, vm->hardware);
    }
    print_columns(facts);
    if (vm->spec != NULL) {
        show_disks(vm->spec);
        show_nics(vm);
    }
}

static void show_volumes(const Reply *reply)
{
    g_autoptr(VbColumns) columns = columns_new("TYPE", "UUID", "STATUS", "FORMAT", ">SIZE",
                                               ">LIMIT", ">GENERATION", "STORAGE", "PATH", NULL);
    for (size_t i = 0; i < reply->n_volumes; i++) {
        const Volume *volume = reply->volumes[i];
        g_autofree char *size = style_size(volume->actual_size_bytes);
        g_autofree char *limit = style_size(volume->capacity_bytes);
        g_autofree char *generation = g_strdup_printf("%u", volume->generation);
        columns_row(columns, ENUM_LABEL(volume_type, volume->type), volume->uuid,
                    ENUM_LABEL(volume_status, volume->status),
                    or_default(ENUM_LABEL(volume_format, volume->format)), size, limit,
                    volume->generation > 0 ? generation : "-",
                    volume->storage != NULL ? volume->storage->name : "-",
                    or_dash(volume->install_path), NULL);
        columns_colour(columns, volume->last_error != NULL              ? STYLE_RED
                                : volume->status == VOLUME_STATUS_READY ? STYLE_GREEN
                                                                        : NULL);
    }
    if (columns_rows(columns) == 0) {
        printf("the VM has no volume; its first start makes them\n");
        return;
    }
    print_columns(columns);
}

/* A read: the whole answer is in the reply. NULL: said already, with *ret_status. */
static const VmEvent *read_run(Ctl *ctl, VbClient *client, VmCommand *command,
                               CtlStatus *ret_status)
{
    g_autoptr(GError) error = NULL;
    /* One line of data and no saga: progress would only be in the way. */
    ctl->quiet = TRUE;
    const VmEvent *event = request_run(ctl, client, command, "read", &error);
    *ret_status = event != NULL ? request_finish(ctl, event, NULL) : ctl_fail(ctl, error);
    return event != NULL && !ctl->json && event->reply->error == NULL ? event : NULL;
}

/* Finds the VM and makes the command for it; NULL and an error. */
static VmCommand *read_begin(Ctl *ctl, VbClient **ret_client, GError **error)
{
    g_auto(GStrv) words = NULL;
    if (!args_parse(ctl, NULL, 1, &words, error) ||
        (*ret_client = client_open(ctl, error)) == NULL) {
        return NULL;
    }
    const char *uuid = model_find_vm(ctl, *ret_client, words[0], error);
    return uuid != NULL ? request_new(ctl, uuid) : NULL;
}

CtlStatus cmd_vm_show(Ctl *ctl)
{
    g_autoptr(VbClient) client = NULL;
    g_autoptr(GError) error = NULL;
    VmCommand *command = read_begin(ctl, &client, &error);
    if (command == NULL) {
        return ctl_fail(ctl, error);
    }
    GetVm body = GET_VM__INIT;
    command->command_case = VM_COMMAND__COMMAND_GET_VM;
    command->get_vm = &body;
    CtlStatus status;
    const VmEvent *event = read_run(ctl, client, command, &status);
    if (event != NULL && event->reply->vm != NULL) {
        show_vm(ctl, event);
    }
    return status;
}

CtlStatus cmd_volume_list(Ctl *ctl)
{
    g_autoptr(VbClient) client = NULL;
    g_autoptr(GError) error = NULL;
    VmCommand *command = read_begin(ctl, &client, &error);
    if (command == NULL) {
        return ctl_fail(ctl, error);
    }
    ListVolumes body = LIST_VOLUMES__INIT;
    command->command_case = VM_COMMAND__COMMAND_LIST_VOLUMES;
    command->list_volumes = &body;
    CtlStatus status;
    const VmEvent *event = read_run(ctl, client, command, &status);
    if (event != NULL) {
        show_volumes(event->reply);
    }
    return status;
}
