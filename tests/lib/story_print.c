#include "tests/lib/story_print.h"

#include <string.h>

#include "common/base/text.h"

typedef struct {
    GString *out;
    StoryNames *names;
} Printer;

static void G_GNUC_PRINTF(2, 3) say(Printer *p, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    g_string_append_vprintf(p->out, format, args);
    va_end(args);
}

static void say_text(Printer *p, const char *text)
{
    g_autofree char *readable = names_text(p->names, text);
    say(p, " \"%s\"", readable);
}

/* The time behind its word; an instant of 0 is not said. */
static void say_time(Printer *p, const char *word, gint64 time_ms)
{
    if (time_ms != 0) {
        say(p, " %s ", word);
        names_append_time(p->out, time_ms);
    }
}

static void say_error(Printer *p, const Error *error)
{
    say(p, " %s", ENUM_CODE(error_code, error->code));
    say_text(p, error->message);
    if (*error->host_uuid != '\0') {
        say(p, " at %s", names_of(p->names, error->host_uuid, "host"));
    }
}

static void say_done(Printer *p, const Error *error)
{
    if (error == NULL) {
        say(p, " ok");
    } else {
        say_error(p, error);
    }
}

void print_volume(GString *out, StoryNames *names, const Volume *volume, gboolean with_status)
{
    g_string_append_printf(out, "%s(%s", names_of(names, volume->uuid, "vol"),
                           ENUM_LABEL(volume_type, volume->type));
    if (volume->generation > 1) {
        g_string_append_printf(out, " g%u", volume->generation);
    }
    if (with_status) {
        g_string_append_printf(out, " %s", ENUM_LABEL(volume_status, volume->status));
    }
    g_string_append_c(out, ')');
}

static void say_volume(Printer *p, const Volume *volume, gboolean with_status)
{
    say(p, " ");
    print_volume(p->out, p->names, volume, with_status);
}

static void say_volumes(Printer *p, Volume *const *volumes, size_t n, gboolean with_status)
{
    for (size_t i = 0; i < n; i++) {
        say_volume(p, volumes[i], with_status);
    }
}

static void say_class(Printer *p, const FirmwareClass *class)
{
    if (class != NULL) {
        say(p, " %s%s", ENUM_LABEL(firmware, class->firmware),
            class->secure_boot ? "+SecureBoot" : "");
        if (class->nvram_bytes != 0) {
            say(p, "/%" G_GUINT64_FORMAT, class->nvram_bytes);
        }
    }
}

static void say_volume_uuid(Printer *p, const char *uuid)
{
    if (*uuid != '\0') {
        say(p, " %s", names_of(p->names, uuid, "vol"));
    }
}

/* --- vm.events */

static void say_reply(Printer *p, const Reply *reply)
{
    say(p, "Reply %s", names_of(p->names, reply->request_id, "r"));
    say_done(p, reply->error);
    if (reply->repeated) {
        say(p, " (again)");
    }
    if (reply->vm != NULL) {
        say(p, " vm %s epoch %" G_GUINT64_FORMAT, ENUM_LABEL(vm_status, reply->vm->status),
            reply->vm->epoch);
    }
    say_volumes(p, reply->volumes, reply->n_volumes, TRUE);
}

static void say_vm_event(Printer *p, const VmEvent *event)
{
    names_of(p->names, event->operation_id, "op"); /* Named where it begins, shown in states. */
    switch (event->event_case) {
    case VM_EVENT__EVENT_REPLY:
        say_reply(p, event->reply);
        return;
    case VM_EVENT__EVENT_STATUS_CHANGED:
        say(p, "StatusChanged %s -> %s (%s)", ENUM_LABEL(vm_status, event->status_changed->from),
            ENUM_LABEL(vm_status, event->status_changed->to),
            ENUM_LABEL(cause, event->status_changed->cause));
        if (event->status_changed->error != NULL) {
            say(p, " %s", ENUM_CODE(error_code, event->status_changed->error->code));
        }
        return;
    case VM_EVENT__EVENT_PROGRESS:
        say(p, "Progress %s %s", ENUM_LABEL(operation_kind, event->progress->kind),
            ENUM_LABEL(operation_phase, event->progress->phase));
        return;
    case VM_EVENT__EVENT_NIC_COERCED:
        say(p, "NicCoerced %u %s -> %s", event->nic_coerced->index,
            ENUM_LABEL(nic_model, event->nic_coerced->asked_model),
            ENUM_LABEL(nic_model, event->nic_coerced->effective_model));
        say_text(p, event->nic_coerced->reason);
        return;
    case VM_EVENT__EVENT_WARNING:
        say(p, "Warning");
        say_volume_uuid(p, event->warning->volume_uuid);
        say_error(p, event->warning->error);
        return;
    case VM_EVENT__EVENT_GUEST_EVENT:
        say(p, "GuestEvent %s", ENUM_LABEL(guest_event_type, event->guest_event->type));
        return;
    case VM_EVENT__EVENT_FIRMWARE_REPLACED:
        say(p, "FirmwareReplaced %s -> %s", event->firmware_replaced->before->code_path,
            event->firmware_replaced->after->code_path);
        return;
    case VM_EVENT__EVENT_VOLUME_DELETED:
        say(p, "VolumeDeleted");
        say_volume(p, event->volume_deleted->volume, FALSE);
        return;
    case VM_EVENT__EVENT__NOT_SET:
        say(p, "an empty event");
        return;
    }
}

/* --- volume.commands and volume.events */

static void say_prepare(Printer *p, const PrepareVolumes *prepare)
{
    say(p, "PrepareVolumes on %s", names_of(p->names, prepare->host_uuid, "host"));
    say(p, prepare->nvram_needed ? " nvram_needed" : "");
    say_class(p, prepare->firmware_class);
    say(p, prepare->pinned_firmware != NULL ? " pinned" : "");
}

static void say_volume_command(Printer *p, const VolumeCommand *command)
{
    switch (command->command_case) {
    case VOLUME_COMMAND__COMMAND_PREPARE_VOLUMES:
        say_prepare(p, command->prepare_volumes);
        break;
    case VOLUME_COMMAND__COMMAND_EXPUNGE_VOLUMES:
        say(p, "ExpungeVolumes");
        break;
    case VOLUME_COMMAND__COMMAND_READ_VOLUMES:
        say(p, "ReadVolumes for %s", names_of(p->names, command->operation_id, "r"));
        break;
    case VOLUME_COMMAND__COMMAND_REPLACE_NVRAM:
        say(p, "ReplaceNvram");
        break;
    case VOLUME_COMMAND__COMMAND_CHOOSE_VOLUME:
        say(p, "ChooseVolume");
        say_volume_uuid(p, command->choose_volume->volume_uuid);
        break;
    case VOLUME_COMMAND__COMMAND__NOT_SET:
        say(p, "an empty command");
        break;
    }
    say_time(p, "expires", command->expires_ms);
}

static void say_volume_event(Printer *p, const VolumeEvent *event)
{
    switch (event->event_case) {
    case VOLUME_EVENT__EVENT_VOLUMES_PREPARED:
        say(p, "VolumesPrepared");
        say_done(p, event->volumes_prepared->error);
        say_volumes(p, event->volumes_prepared->volumes, event->volumes_prepared->n_volumes, FALSE);
        return;
    case VOLUME_EVENT__EVENT_VOLUMES_EXPUNGED:
        say(p, "VolumesExpunged %u left", event->volumes_expunged->left);
        return;
    case VOLUME_EVENT__EVENT_VOLUMES_READ:
        say(p, "VolumesRead");
        say_volumes(p, event->volumes_read->volumes, event->volumes_read->n_volumes, TRUE);
        return;
    case VOLUME_EVENT__EVENT_NVRAM_REPLACED:
        say(p, "NvramReplaced");
        say_done(p, event->nvram_replaced->error);
        return;
    case VOLUME_EVENT__EVENT_VOLUME_CHOSEN:
        say(p, "VolumeChosen");
        say_done(p, event->volume_chosen->error);
        return;
    case VOLUME_EVENT__EVENT_VOLUME_CHANGED:
        say(p, "VolumeChanged");
        say_volume(p, event->volume_changed->volume, FALSE);
        say(p, " %s -> %s", ENUM_LABEL(volume_status, event->volume_changed->from),
            ENUM_LABEL(volume_status, event->volume_changed->volume->status));
        return;
    case VOLUME_EVENT__EVENT_VOLUME_WARNING:
        say(p, "VolumeWarning");
        say_volume_uuid(p, event->volume_warning->volume_uuid);
        say_error(p, event->volume_warning->error);
        return;
    case VOLUME_EVENT__EVENT__NOT_SET:
        say(p, "an empty event");
        return;
    }
}

/* --- host commands */

static void say_start(Printer *p, const StartDomain *start)
{
    say(p, "StartDomain");
    say_volumes(p, start->volumes, start->n_volumes, FALSE);
    say(p, start->nvram_needed ? " nvram_needed" : "");
    say_class(p, start->firmware_class);
    say(p, start->hardware != NULL ? " hardware as before" : "");
}

static void say_host_command(Printer *p, const HostCommand *command)
{
    switch (command->command_case) {
    case HOST_COMMAND__COMMAND_CREATE_VOLUMES:
        say(p, "CreateVolumes");
        say_volumes(p, command->create_volumes->volumes, command->create_volumes->n_volumes, FALSE);
        say_class(p, command->create_volumes->firmware_class);
        say(p, command->create_volumes->pinned_firmware != NULL ? " pinned" : "");
        break;
    case HOST_COMMAND__COMMAND_DELETE_VOLUMES:
        say(p, "DeleteVolumes");
        say_volumes(p, command->delete_volumes->volumes, command->delete_volumes->n_volumes, FALSE);
        break;
    case HOST_COMMAND__COMMAND_START_DOMAIN:
        say_start(p, command->start_domain);
        break;
    case HOST_COMMAND__COMMAND_STOP_DOMAIN:
        say(p, "StopDomain %s", ENUM_LABEL(stop_mode, command->stop_domain->mode));
        break;
    case HOST_COMMAND__COMMAND_FORGET_VM:
        say(p, "ForgetVm");
        break;
    case HOST_COMMAND__COMMAND_ATTACH_DEVICE:
        say(p, "AttachDevice nic %u", command->attach_device->nic->index);
        break;
    case HOST_COMMAND__COMMAND_DETACH_DEVICE:
        say(p, "DetachDevice nic %u", command->detach_device->nic->index);
        break;
    case HOST_COMMAND__COMMAND_PREPARE_MIGRATION:
        say(p, "PrepareMigration");
        break;
    case HOST_COMMAND__COMMAND_MIGRATE_DOMAIN:
        say(p, "MigrateDomain");
        break;
    case HOST_COMMAND__COMMAND__NOT_SET:
        say(p, "an empty command");
        break;
    }
    say(p, " epoch %" G_GUINT64_FORMAT, command->epoch);
    say_time(p, "expires", command->expires_ms);
}

char *print_line(const char *who, const char *text)
{
    return g_strdup_printf("%-15s %s", who, text);
}

char *print_output(StoryNames *names, const VbOutput *output)
{
    g_autoptr(GString) text = g_string_new(NULL);
    Printer p = {.out = text, .names = names};
    const char *who = topic_info(output->topic)->suffix;
    if (output->topic == TOPIC_VM_EVENTS) {
        say_vm_event(&p, output->message);
    } else if (output->topic == TOPIC_VOLUME_COMMANDS) {
        say_volume_command(&p, output->message);
    } else if (output->topic == TOPIC_VOLUME_EVENTS) {
        say_volume_event(&p, output->message);
    } else if (output->topic == TOPIC_HOST_COMMANDS) {
        who = names_of(names, output->host_uuid, "host");
        say_host_command(&p, output->message);
    } else {
        say(&p, "a topic that no core may write to");
    }
    return print_line(who, text->str);
}

/* --- States */

static void take_line(Printer *p, GPtrArray *lines)
{
    g_ptr_array_add(lines, g_strdup(p->out->str));
    g_string_truncate(p->out, 0);
}

static void say_deadline(Printer *p, const StateRecord *state, GPtrArray *lines)
{
    if (state->deadline_ms != 0) {
        say(p, "deadline");
        say_time(p, "at", state->deadline_ms);
        take_line(p, lines);
    }
}

static void say_operation(Printer *p, const Operation *operation, GPtrArray *lines)
{
    say(p, "operation %s %s %s for %s", names_of(p->names, operation->id, "op"),
        ENUM_LABEL(operation_kind, operation->kind), ENUM_LABEL(operation_phase, operation->phase),
        *operation->request_id == '\0' ? "nobody" : names_of(p->names, operation->request_id, "r"));
    say_time(p, "until", operation->deadline_ms);
    take_line(p, lines);
}

static void say_hardware(Printer *p, const Hardware *hardware, GPtrArray *lines)
{
    say(p, "hardware %s %s", hardware->machine, hardware->domain_type);
    say_class(p, hardware->firmware != NULL ? hardware->firmware->class_ : NULL);
    for (size_t i = 0; i < hardware->n_nics; i++) {
        const EffectiveNic *nic = hardware->nics[i];
        say(p, " nic %u %s", nic->index, ENUM_LABEL(nic_model, nic->effective_model));
        if (nic->coerced) {
            say(p, " (asked %s)", ENUM_LABEL(nic_model, nic->asked_model));
        }
    }
    take_line(p, lines);
}

static void say_vm_devices(Printer *p, const VmRecord *vm, GPtrArray *lines)
{
    if (vm->nvram_needed) {
        const char *uuid = vm->spec->nvram != NULL ? vm->spec->nvram->volume_uuid : "";
        say(p, "nvram needed, %s", *uuid == '\0' ? "none yet" : names_of(p->names, uuid, "vol"));
        take_line(p, lines);
    }
    if (vm->tpm != NULL) {
        const char *uuid = vm->tpm->volume_uuid;
        say(p, "tpm %s, state %s", ENUM_LABEL(tpm_model, vm->tpm->model),
            *uuid == '\0' ? "none yet" : names_of(p->names, uuid, "vol"));
        if (*vm->tpm->host_uuid != '\0') {
            say(p, " on %s", names_of(p->names, vm->tpm->host_uuid, "host"));
        }
        take_line(p, lines);
    }
}

void print_vm(StoryNames *names, const StateRecord *state, GPtrArray *lines)
{
    g_autoptr(GString) out = g_string_new(NULL);
    Printer p = {.out = out, .names = names};
    if (state == NULL) {
        g_ptr_array_add(lines, g_strdup("there is no record"));
        return;
    }
    const VmRecord *vm = state->vm;
    say(&p, "%s epoch %" G_GUINT64_FORMAT, ENUM_LABEL(vm_status, vm->status), vm->epoch);
    if (*vm->host_uuid != '\0') {
        say(&p, " host %s", names_of(names, vm->host_uuid, "host"));
    }
    say(&p, " version %" G_GUINT64_FORMAT, state->version);
    take_line(&p, lines);
    if (vm->operation != NULL) {
        say_operation(&p, vm->operation, lines);
    }
    say_deadline(&p, state, lines);
    say_vm_devices(&p, vm, lines);
    if (vm->hardware != NULL) {
        say_hardware(&p, vm->hardware, lines);
    }
    if (vm->last_error != NULL) {
        say(&p, "last error");
        say_error(&p, vm->last_error);
        take_line(&p, lines);
    }
    for (size_t i = 0; i < vm->n_outcomes; i++) {
        say(&p, "%s %s %s", i == 0 ? "answered" : ",",
            names_of(names, vm->outcomes[i]->request_id, "r"),
            vm->outcomes[i]->error == NULL ? "ok"
                                           : ENUM_CODE(error_code, vm->outcomes[i]->error->code));
    }
    take_line(&p, lines);
}

static void say_volume_state(Printer *p, const Volume *volume, GPtrArray *lines)
{
    print_volume(p->out, p->names, volume, TRUE);
    say(p, " %s", ENUM_LABEL(volume_format, volume->format));
    say(p, " %" G_GUINT64_FORMAT " of %" G_GUINT64_FORMAT " bytes", volume->actual_size_bytes,
        volume->capacity_bytes);
    if (*volume->host_uuid != '\0') {
        say(p, " on %s", names_of(p->names, volume->host_uuid, "host"));
    }
    g_autofree char *path = names_text(p->names, volume->install_path);
    say(p, " %s", path);
    say_class(p, volume->firmware != NULL ? volume->firmware->class_ : NULL);
    say_time(p, "retained at", volume->retained_ms);
    say_time(p, "next at", volume->next_ms);
    take_line(p, lines);
    if (volume->last_error != NULL) {
        say(p, "  last error:");
        say_error(p, volume->last_error);
        if (volume->failures > 0) {
            say(p, ", failure %u in a row", volume->failures);
        }
        take_line(p, lines);
    }
}

void print_volumes(StoryNames *names, const StateRecord *state, GPtrArray *lines)
{
    g_autoptr(GString) out = g_string_new(NULL);
    Printer p = {.out = out, .names = names};
    if (state == NULL) {
        g_ptr_array_add(lines, g_strdup("there is no record"));
        return;
    }
    const VolumeRecord *record = state->volumes;
    for (size_t i = 0; i < record->n_volumes; i++) {
        say_volume_state(&p, record->volumes[i], lines);
    }
    if (record->n_volumes == 0) {
        g_ptr_array_add(lines, g_strdup("no volumes"));
    }
    if (record->operation != NULL) {
        say(&p, "operation %s, %zu to wait for",
            ENUM_LABEL(volume_operation_kind, record->operation->kind),
            record->operation->n_waiting_for);
        say_time(&p, "until", record->operation->expires_ms);
        take_line(&p, lines);
    }
    if (record->vm_expunged) {
        g_ptr_array_add(lines, g_strdup("the VM is expunged"));
    }
    say_deadline(&p, state, lines);
}
