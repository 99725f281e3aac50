/* See describe.h. One small function for each message that has something to say, and one table. */
#include "tools/virtbusctl/describe.h"

#include <string.h>

#include "common/base/text.h"
#include "tools/virtbusctl/style.h"

typedef struct {
    VbArena *arena;
    GString *text;
    VbTone tone;
} Line;

static void say(Line *line, const char *format, ...) G_GNUC_PRINTF(2, 3);
static void say(Line *line, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    g_string_append_vprintf(line->text, format, args);
    va_end(args);
}

static void say_error(Line *line, const Error *error)
{
    say(line, "%s: %s", ENUM_CODE(error_code, error->code), error->message);
    line->tone = TONE_BAD;
}

static void say_uuid(Line *line, const char *before, const char *uuid)
{
    g_autofree char *short_uuid = style_short_uuid(uuid);
    say(line, "%s%s", before, *uuid != '\0' ? short_uuid : "-");
}

static void say_size(Line *line, const char *before, guint64 size_bytes)
{
    g_autofree char *size = style_size(size_bytes);
    say(line, "%s%s", before, size);
}

static const char *lower(VbArena *arena, const char *label)
{
    g_autofree char *text = g_ascii_strdown(label, -1);
    return arena_strdup(arena, g_strdelimit(text, "_", ' '));
}

const char *describe_phase(VbArena *arena, OperationPhase phase)
{
    return lower(arena, ENUM_CODE(operation_phase, phase));
}

static const char *volume_words(VbArena *arena, const Volume *volume)
{
    g_autofree char *uuid = style_short_uuid(volume->uuid);
    return arena_printf(arena, "%s %s", ENUM_LABEL(volume_type, volume->type), uuid);
}

static void say_volumes(Line *line, size_t n_volumes, Volume **volumes)
{
    for (size_t i = 0; i < n_volumes; i++) {
        say(line, "%s%s", i > 0 ? ", " : "", volume_words(line->arena, volumes[i]));
    }
}

static void say_spec(Line *line, const VmSpec *spec)
{
    say(line, "%u vCPU%s", spec->vcpus, spec->vcpus == 1 ? "" : "s");
    say_size(line, ", ", spec->memory_bytes);
    if (spec->firmware != FIRMWARE_UNSPECIFIED) {
        say(line, ", %s", ENUM_LABEL(firmware, spec->firmware));
    }
    say(line, "%s%s", spec->secure_boot == TOGGLE_ON ? ", Secure Boot" : "",
        spec->tpm != NULL ? ", TPM" : "");
    if (spec->n_disks > 0) {
        say(line, ", %zu disk%s", spec->n_disks, spec->n_disks == 1 ? "" : "s");
    }
    for (size_t i = 0; i < spec->n_nics; i++) {
        say(line, ", NIC %s", ENUM_LABEL(nic_type, spec->nics[i]->type));
    }
}

const char *describe_spec(VbArena *arena, const VmSpec *spec)
{
    g_autoptr(GString) text = g_string_new(NULL);
    Line line = {.arena = arena, .text = text};
    say_spec(&line, spec);
    return arena_strdup(arena, text->str);
}

/* ---- virtbus.vm.commands */

static void create_vm(Line *line, const void *body)
{
    const CreateVm *command = body;
    if (command->spec != NULL) {
        say(line, "%s: ", command->spec->name);
        say_spec(line, command->spec);
    }
}

static void update_vm(Line *line, const void *body)
{
    const UpdateVm *command = body;
    if (command->spec != NULL) {
        say_spec(line, command->spec);
    }
}

static void start_vm(Line *line, const void *body)
{
    const StartVm *command = body;
    say_uuid(line, "on host ", command->host_uuid);
}

static void stop_vm(Line *line, const void *body)
{
    const StopVm *command = body;
    StopMode mode = command->mode == STOP_MODE_UNSPECIFIED ? STOP_MODE_GRACEFUL : command->mode;
    say(line, "%s", lower(line->arena, ENUM_CODE(stop_mode, mode)));
}

static void reboot_vm(Line *line, const void *body)
{
    const RebootVm *command = body;
    StopMode mode = command->mode == STOP_MODE_UNSPECIFIED ? STOP_MODE_GRACEFUL : command->mode;
    say(line, "%s", lower(line->arena, ENUM_CODE(stop_mode, mode)));
}

static void adopt_volume(Line *line, const void *body)
{
    const AdoptVolume *command = body;
    say_uuid(line, "volume ", command->volume_uuid);
}

static void confirm_host_down(Line *line, const void *body)
{
    const ConfirmHostDown *command = body;
    say_uuid(line, "host ", command->host_uuid);
}

static void say_nic(Line *line, const char *verb, const NicSpec *nic)
{
    if (nic != NULL) {
        say(line, "%s%sNIC %u (%s)", line->text->len > 0 ? ", " : "", verb, nic->index,
            ENUM_LABEL(nic_type, nic->type));
    }
}

static void attach_nic(Line *line, const void *body)
{
    say_nic(line, "", ((const AttachNic *)body)->nic);
}

static void detach_nic(Line *line, const void *body)
{
    say(line, "NIC %u", ((const DetachNic *)body)->index);
}

static void migrate_vm(Line *line, const void *body)
{
    const MigrateVm *command = body;
    say_uuid(line, "to host ", command->host_uuid);
}

/* ---- virtbus.vm.events */

static void reply(Line *line, const void *body)
{
    const Reply *message = body;
    if (message->error != NULL) {
        say_error(line, message->error);
    } else {
        say(line, "done");
        line->tone = TONE_GOOD;
    }
    say(line, "%s", message->repeated ? " (repeated)" : "");
}

static void status_changed(Line *line, const void *body)
{
    const StatusChanged *event = body;
    if (event->from != VM_STATUS_UNSPECIFIED) {
        say(line, "%s -> ", ENUM_LABEL(vm_status, event->from));
    }
    say(line, "%s", ENUM_LABEL(vm_status, event->to));
    if (event->cause == CAUSE_OPERATION_FAILED && event->error != NULL) {
        /* The reply that follows has the sentence. */
        say(line, " (%s)", ENUM_CODE(error_code, event->error->code));
        line->tone = TONE_BAD;
        return;
    }
    if (event->cause != CAUSE_UNSPECIFIED && event->cause != CAUSE_REQUEST &&
        event->cause != CAUSE_OPERATION_DONE) {
        say(line, " (%s)", lower(line->arena, ENUM_CODE(cause, event->cause)));
    }
    if (event->error != NULL) {
        say(line, " ");
        say_error(line, event->error);
    }
}

static void progress(Line *line, const void *body)
{
    const Progress *event = body;
    say(line, "%s", describe_phase(line->arena, event->phase));
}

static void nic_coerced(Line *line, const void *body)
{
    const NicCoerced *event = body;
    say(line, "%s", event->reason);
    line->tone = TONE_WARNING;
}

static void warning(Line *line, const void *body)
{
    const Warning *event = body;
    if (event->error != NULL) {
        say_error(line, event->error);
    }
    line->tone = TONE_WARNING;
}

static void guest_event(Line *line, const void *body)
{
    const GuestEvent *event = body;
    say(line, "%s", lower(line->arena, ENUM_CODE(guest_event_type, event->type)));
    line->tone = event->type == GUEST_EVENT_TYPE_PANIC ? TONE_BAD : TONE_PLAIN;
}

static void firmware_replaced(Line *line, const void *body)
{
    const FirmwareReplaced *event = body;
    say(line, "%s in place of %s", event->after != NULL ? event->after->code_path : "?",
        event->before != NULL ? event->before->code_path : "?");
    line->tone = TONE_WARNING;
}

static void volume_deleted(Line *line, const void *body)
{
    const VolumeDeleted *event = body;
    if (event->volume != NULL) {
        say(line, "deleted %s", volume_words(line->arena, event->volume));
    }
}

/* ---- virtbus.volume.commands and .events */

static void prepare_volumes(Line *line, const void *body)
{
    const PrepareVolumes *command = body;
    say_uuid(line, "on host ", command->host_uuid);
    say(line, "%s", command->nvram_needed ? ", NvRam needed" : "");
}

static void choose_volume(Line *line, const void *body)
{
    const ChooseVolume *command = body;
    say_uuid(line, "volume ", command->volume_uuid);
}

static void volumes_prepared(Line *line, const void *body)
{
    const VolumesPrepared *event = body;
    if (event->error != NULL) {
        say_error(line, event->error);
        return;
    }
    say_volumes(line, event->n_volumes, event->volumes);
}

static void volumes_expunged(Line *line, const void *body)
{
    const VolumesExpunged *event = body;
    say(line, "%u left", event->left);
    line->tone = event->left > 0 ? TONE_WARNING : TONE_PLAIN;
}

static void volumes_read(Line *line, const void *body)
{
    const VolumesRead *event = body;
    say_volumes(line, event->n_volumes, event->volumes);
}

static void nvram_replaced(Line *line, const void *body)
{
    const NvramReplaced *event = body;
    if (event->error != NULL) {
        say_error(line, event->error);
        return;
    }
    say_uuid(line, "retained ", event->retained_volume_uuid);
}

static void volume_chosen(Line *line, const void *body)
{
    const VolumeChosen *event = body;
    if (event->error != NULL) {
        say_error(line, event->error);
        return;
    }
    say_uuid(line, "volume ", event->volume_uuid);
}

static void volume_changed(Line *line, const void *body)
{
    const VolumeChanged *event = body;
    if (event->volume != NULL) {
        say(line, "%s: %s -> %s", volume_words(line->arena, event->volume),
            ENUM_LABEL(volume_status, event->from),
            ENUM_LABEL(volume_status, event->volume->status));
    }
}

static void volume_warning(Line *line, const void *body)
{
    const VolumeWarning *event = body;
    if (event->error != NULL) {
        say_error(line, event->error);
    }
    line->tone = TONE_WARNING;
}

/* ---- virtbus.host.<uuid>.commands and both reports */

static void create_volumes(Line *line, const void *body)
{
    const CreateVolumes *command = body;
    say_volumes(line, command->n_volumes, command->volumes);
}

static void delete_volumes(Line *line, const void *body)
{
    const DeleteVolumes *command = body;
    say_volumes(line, command->n_volumes, command->volumes);
}

static void start_domain(Line *line, const void *body)
{
    const StartDomain *command = body;
    say(line, "with ");
    say_volumes(line, command->n_volumes, command->volumes);
}

static void stop_domain(Line *line, const void *body)
{
    const StopDomain *command = body;
    say(line, "%s", lower(line->arena, ENUM_CODE(stop_mode, command->mode)));
}

static void volume_results(Line *line, size_t n_results, VolumeResult **results)
{
    for (size_t i = 0; i < n_results; i++) {
        const VolumeResult *result = results[i];
        say(line, "%s", i > 0 ? ", " : "");
        if (result->volume != NULL) {
            say(line, "%s", volume_words(line->arena, result->volume));
            say_size(line, " ", result->volume->actual_size_bytes);
        }
        say(line, "%s", result->reused ? " (was there)" : "");
        if (result->error != NULL) {
            say(line, " ");
            say_error(line, result->error);
        }
    }
}

static void volumes_created(Line *line, const void *body)
{
    const VolumesCreated *report = body;
    volume_results(line, report->n_results, report->results);
}

static void volumes_deleted(Line *line, const void *body)
{
    const VolumesDeleted *report = body;
    volume_results(line, report->n_results, report->results);
}

static void say_hardware(Line *line, const Hardware *hardware)
{
    say(line, "%s, %s", hardware->machine, hardware->domain_type);
    for (size_t i = 0; i < hardware->n_nics; i++) {
        const EffectiveNic *nic = hardware->nics[i];
        say(line, ", NIC %u %s%s", nic->index,
            lower(line->arena, ENUM_CODE(nic_model, nic->effective_model)),
            nic->coerced ? " (coerced)" : "");
    }
}

static void domain_started(Line *line, const void *body)
{
    const DomainStarted *report = body;
    if (report->hardware != NULL) {
        say_hardware(line, report->hardware);
    }
}

static void domain_stopped(Line *line, const void *body)
{
    const DomainStopped *report = body;
    say(line, "%s", lower(line->arena, ENUM_CODE(stop_reason, report->reason)));
    line->tone = report->reason == STOP_REASON_CRASHED ? TONE_BAD : TONE_PLAIN;
}

static void domain_observed(Line *line, const void *body)
{
    const DomainObserved *report = body;
    say(line, report->running ? "running" : "not running");
}

static void attach_device(Line *line, const void *body)
{
    say_nic(line, "", ((const AttachDevice *)body)->nic);
}

static void detach_device(Line *line, const void *body)
{
    say_nic(line, "", ((const DetachDevice *)body)->nic);
}

static void device_changed(Line *line, const void *body)
{
    const DeviceChanged *report = body;
    say_nic(line, "attached ", report->attached);
    say_nic(line, "detached ", report->detached);
}

static void inventory(Line *line, const void *body)
{
    const Inventory *report = body;
    say(line, "%zu volumes", report->n_volumes);
}

/* ---- states and the runtime's own inputs */

static void vm_record(Line *line, const void *body)
{
    const VmRecord *record = body;
    say(line, "%s, epoch %" G_GUINT64_FORMAT, ENUM_LABEL(vm_status, record->status), record->epoch);
    if (record->operation != NULL) {
        say(line, ", %s: %s", ENUM_LABEL(operation_kind, record->operation->kind),
            describe_phase(line->arena, record->operation->phase));
    }
}

static void volume_record(Line *line, const void *body)
{
    const VolumeRecord *record = body;
    for (size_t i = 0; i < record->n_volumes; i++) {
        const Volume *volume = record->volumes[i];
        say(line, "%s%s %s", i > 0 ? ", " : "", volume_words(line->arena, volume),
            ENUM_LABEL(volume_status, volume->status));
    }
}

static void deadline_elapsed(Line *line, const void *body)
{
    const DeadlineElapsed *input = body;
    say(line, "%s", input->deadline_id);
    line->tone = TONE_WARNING;
}

static void undeliverable(Line *line, const void *body)
{
    const Undeliverable *input = body;
    say_uuid(line, "no topic of host ", input->host_uuid);
    line->tone = TONE_BAD;
}

static void poisoned(Line *line, const void *body)
{
    const Poisoned *input = body;
    say(line, "%s/%d at %" G_GINT64_FORMAT ": %s", input->topic, input->partition,
        (gint64)input->offset, input->reason);
    line->tone = TONE_BAD;
}

#define ROW(name)                                                                                  \
    {                                                                                              \
        &name##__descriptor, name                                                                  \
    }
/* clang-format off: one line a topic. */
static const struct {
    const ProtobufCMessageDescriptor *type;
    void (*describe)(Line *line, const void *body);
} describers[] = {
    ROW(create_vm),       ROW(update_vm),       ROW(start_vm),          ROW(stop_vm),
    ROW(reboot_vm),       ROW(adopt_volume),    ROW(confirm_host_down), ROW(migrate_vm),
    ROW(reply),           ROW(status_changed),  ROW(progress),          ROW(nic_coerced),
    ROW(warning),         ROW(guest_event),     ROW(firmware_replaced), ROW(volume_deleted),
    ROW(prepare_volumes), ROW(choose_volume),   ROW(volumes_prepared),  ROW(volumes_expunged),
    ROW(volumes_read),    ROW(nvram_replaced),  ROW(volume_chosen),     ROW(volume_changed),
    ROW(volume_warning),  ROW(create_volumes),  ROW(delete_volumes),    ROW(start_domain),
    ROW(stop_domain),     ROW(volumes_created), ROW(volumes_deleted),   ROW(domain_started),
    ROW(domain_stopped),  ROW(domain_observed), ROW(device_changed),    ROW(inventory),
    ROW(vm_record),       ROW(volume_record),   ROW(deadline_elapsed),  ROW(undeliverable),
    ROW(poisoned),        ROW(attach_nic),      ROW(detach_nic),        ROW(attach_device),
    ROW(detach_device),
};
/* clang-format on */

/* The message in the outermost one's oneof; NULL: none is set. */
static const ProtobufCMessage *chosen(const ProtobufCMessage *message)
{
    const char *base = (const char *)message;
    for (unsigned i = 0; i < message->descriptor->n_fields; i++) {
        const ProtobufCFieldDescriptor *field = &message->descriptor->fields[i];
        if ((field->flags & PROTOBUF_C_FIELD_FLAG_ONEOF) != 0 &&
            *(const uint32_t *)(base + field->quantifier_offset) == field->id) {
            return *(ProtobufCMessage *const *)(base + field->offset);
        }
    }
    return NULL;
}

/* A field of the outermost message, by name; NULL: it has none such. */
static const void *member(const ProtobufCMessage *message, const char *name)
{
    const ProtobufCFieldDescriptor *field =
        protobuf_c_message_descriptor_get_field_by_name(message->descriptor, name);
    return field != NULL ? *(void *const *)((const char *)message + field->offset) : NULL;
}

static const char *operation_of(const ProtobufCMessage *message)
{
    if (message->descriptor == &state_record__descriptor) {
        const StateRecord *state = (const StateRecord *)message;
        return state->body_case == STATE_RECORD__BODY_VM && state->vm->operation != NULL
                   ? state->vm->operation->id
                   : "";
    }
    const char *operation_id = member(message, "operation_id");
    return operation_id != NULL ? operation_id : "";
}

VbDescription describe(VbArena *arena, const void *message)
{
    g_autoptr(GString) text = g_string_new(NULL);
    Line line = {.arena = arena, .text = text};
    const ProtobufCMessage *outer = message;
    const ProtobufCMessage *inner = chosen(outer);
    /* A report with an error may have no body, and the error is what matters. */
    const Error *error = member(outer, "error");
    if (error != NULL) {
        say_error(&line, error);
    }
    for (size_t i = 0; error == NULL && inner != NULL && i < G_N_ELEMENTS(describers); i++) {
        if (describers[i].type == inner->descriptor) {
            describers[i].describe(&line, inner);
        }
    }
    return (VbDescription){
        .kind = (inner != NULL ? inner : outer)->descriptor->short_name,
        .text = arena_strdup(arena, text->str),
        .tone = line.tone,
        .operation_id = operation_of(outer),
    };
}
