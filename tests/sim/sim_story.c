/* See sim_story.h. */
#include "tests/sim/sim_story.h"

#include <string.h>

#include "common/base/arena.h"
#include "common/base/text.h"

typedef struct {
    SimWorld *world;
    GString *out;
} Words;

static void G_GNUC_PRINTF(2, 3) say(Words *w, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    g_string_append_vprintf(w->out, format, arguments);
    va_end(arguments);
}

/* Long ids are told by their first eight characters. */
static void say_id(Words *w, const char *before, const char *id)
{
    if (*id != '\0') {
        say(w, "%s%.8s", before, id);
    }
}

static void say_error(Words *w, const Error *error)
{
    if (error != NULL) {
        say(w, " failed: %s (%s)", ENUM_CODE(error_code, error->code), error->message);
    }
}

static void say_expiry(Words *w, gint64 expires_ms)
{
    if (expires_ms != 0) {
        say(w, ", in time for %" G_GINT64_FORMAT " ms", expires_ms - sim_now_ms(w->world->sim));
    }
}

static void say_volume(Words *w, const Volume *volume)
{
    say(w, " %s %.8s (%s", ENUM_LABEL(volume_type, volume->type), volume->uuid,
        ENUM_LABEL(volume_status, volume->status));
    if (volume->generation > 0) {
        say(w, ", generation %u", volume->generation);
    }
    if (*volume->host_uuid != '\0') {
        say(w, ", %s", sim_world_name(w->world, volume->host_uuid));
    }
    say(w, ")");
}

static void say_volumes(Words *w, Volume *const *volumes, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        say_volume(w, volumes[i]);
    }
}

static void say_results(Words *w, VolumeResult *const *results, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        if (results[i]->volume != NULL) {
            say(w, " %s %.8s%s", ENUM_LABEL(volume_type, results[i]->volume->type),
                results[i]->volume->uuid, results[i]->reused ? " (was there)" : "");
        }
        say_error(w, results[i]->error);
    }
}

/* "StartVm" for the member start_vm. */
static void say_member(Words *w, const ProtobufCMessageDescriptor *descriptor, guint number)
{
    const ProtobufCFieldDescriptor *field =
        protobuf_c_message_descriptor_get_field(descriptor, number);
    if (field == NULL) {
        say(w, "nothing");
        return;
    }
    const ProtobufCMessageDescriptor *member = field->descriptor;
    say(w, "%s", member->short_name);
}

/* ---- What is asked */

static void say_spec(Words *w, const VmSpec *spec)
{
    if (spec == NULL) {
        say(w, " without a spec");
        return;
    }
    say(w, " (%s, %s, Secure Boot %s%s, %zu disks, %zu NICs, storage %s)",
        ENUM_LABEL(platform, spec->platform), ENUM_LABEL(firmware, spec->firmware),
        ENUM_LABEL(toggle, spec->secure_boot), spec->tpm != NULL ? ", TPM" : "", spec->n_disks,
        spec->n_nics, spec->storage != NULL ? spec->storage->name : "default");
}

static void say_command_details(Words *w, const VmCommand *command)
{
    switch (command->command_case) {
    case VM_COMMAND__COMMAND_CREATE_VM:
        say_spec(w, command->create_vm->spec);
        return;
    case VM_COMMAND__COMMAND_UPDATE_VM:
        say_spec(w, command->update_vm->spec);
        return;
    case VM_COMMAND__COMMAND_START_VM:
        say(w, " on %s", sim_world_name(w->world, command->start_vm->host_uuid));
        return;
    case VM_COMMAND__COMMAND_STOP_VM:
        say(w, " %s", ENUM_LABEL(stop_mode, command->stop_vm->mode));
        return;
    case VM_COMMAND__COMMAND_REBOOT_VM:
        say(w, " %s", ENUM_LABEL(stop_mode, command->reboot_vm->mode));
        return;
    case VM_COMMAND__COMMAND_ADOPT_VOLUME:
        say_id(w, " ", command->adopt_volume->volume_uuid);
        return;
    case VM_COMMAND__COMMAND_CONFIRM_HOST_DOWN:
        say(w, " of %s", sim_world_name(w->world, command->confirm_host_down->host_uuid));
        return;
    case VM_COMMAND__COMMAND_DESTROY_VM:
    case VM_COMMAND__COMMAND_RECOVER_VM:
    case VM_COMMAND__COMMAND_EXPUNGE_VM:
    case VM_COMMAND__COMMAND_GET_VM:
    case VM_COMMAND__COMMAND_LIST_VOLUMES:
    case VM_COMMAND__COMMAND_RESET_NVRAM:
    case VM_COMMAND__COMMAND_RELEASE_QUARANTINE:
    case VM_COMMAND__COMMAND_ATTACH_NIC:
    case VM_COMMAND__COMMAND_DETACH_NIC:
    case VM_COMMAND__COMMAND_MIGRATE_VM:
    case VM_COMMAND__COMMAND__NOT_SET:
        return; /* The name says all. */
    }
}

static void say_command(Words *w, const VmCommand *command)
{
    say(w, "request %.8s: ", command->request_id);
    say_member(w, &vm_command__descriptor, command->command_case);
    say_command_details(w, command);
}

static void say_volume_command(Words *w, const VolumeCommand *command)
{
    say_member(w, &volume_command__descriptor, command->command_case);
    if (command->command_case == VOLUME_COMMAND__COMMAND_PREPARE_VOLUMES) {
        say(w, " on %s%s", sim_world_name(w->world, command->prepare_volumes->host_uuid),
            command->prepare_volumes->nvram_needed ? ", NVRAM needed" : "");
    }
    say(w, ", epoch %" G_GUINT64_FORMAT, command->epoch);
    say_expiry(w, command->expires_ms);
}

static void say_host_command(Words *w, const HostCommand *command)
{
    say_member(w, &host_command__descriptor, command->command_case);
    switch (command->command_case) {
    case HOST_COMMAND__COMMAND_CREATE_VOLUMES:
        say_volumes(w, command->create_volumes->volumes, command->create_volumes->n_volumes);
        break;
    case HOST_COMMAND__COMMAND_DELETE_VOLUMES:
        say_volumes(w, command->delete_volumes->volumes, command->delete_volumes->n_volumes);
        break;
    case HOST_COMMAND__COMMAND_START_DOMAIN:
        say_volumes(w, command->start_domain->volumes, command->start_domain->n_volumes);
        break;
    case HOST_COMMAND__COMMAND_STOP_DOMAIN:
        say(w, " %s", ENUM_LABEL(stop_mode, command->stop_domain->mode));
        break;
    case HOST_COMMAND__COMMAND_FORGET_VM:
    case HOST_COMMAND__COMMAND_ATTACH_DEVICE:
    case HOST_COMMAND__COMMAND_DETACH_DEVICE:
    case HOST_COMMAND__COMMAND_PREPARE_MIGRATION:
    case HOST_COMMAND__COMMAND_MIGRATE_DOMAIN:
    case HOST_COMMAND__COMMAND__NOT_SET:
        break; /* The name says all. */
    }
    say(w, ", operation %.8s, epoch %" G_GUINT64_FORMAT, command->operation_id, command->epoch);
    say_expiry(w, command->expires_ms);
}

/* ---- What is answered */

static void say_reply(Words *w, const Reply *reply)
{
    say(w, "request %.8s: %s%s", reply->request_id, reply->error == NULL ? "done" : "refused or",
        reply->repeated ? " (again)" : "");
    say_error(w, reply->error);
}

static void say_vm_event(Words *w, const VmEvent *event)
{
    switch (event->event_case) {
    case VM_EVENT__EVENT_REPLY:
        say_reply(w, event->reply);
        return;
    case VM_EVENT__EVENT_STATUS_CHANGED:
        say(w, "%s -> %s because of %s, epoch %" G_GUINT64_FORMAT,
            ENUM_LABEL(vm_status, event->status_changed->from),
            ENUM_LABEL(vm_status, event->status_changed->to),
            ENUM_LABEL(cause, event->status_changed->cause), event->epoch);
        say_error(w, event->status_changed->error);
        return;
    case VM_EVENT__EVENT_PROGRESS:
        say(w, "%s is %s", ENUM_LABEL(operation_kind, event->progress->kind),
            ENUM_LABEL(operation_phase, event->progress->phase));
        return;
    case VM_EVENT__EVENT_WARNING:
        say(w, "warning");
        say_error(w, event->warning->error);
        return;
    case VM_EVENT__EVENT_GUEST_EVENT:
        say(w, "the guest: %s", ENUM_LABEL(guest_event_type, event->guest_event->type));
        return;
    case VM_EVENT__EVENT_VOLUME_DELETED:
        say(w, "deleted:");
        say_volume(w, event->volume_deleted->volume);
        return;
    case VM_EVENT__EVENT_NIC_COERCED:
    case VM_EVENT__EVENT_FIRMWARE_REPLACED:
    case VM_EVENT__EVENT__NOT_SET:
        say_member(w, &vm_event__descriptor, event->event_case);
        return;
    }
}

static void say_volume_event(Words *w, const VolumeEvent *event)
{
    say_member(w, &volume_event__descriptor, event->event_case);
    switch (event->event_case) {
    case VOLUME_EVENT__EVENT_VOLUMES_PREPARED:
        say_volumes(w, event->volumes_prepared->volumes, event->volumes_prepared->n_volumes);
        say_error(w, event->volumes_prepared->error);
        return;
    case VOLUME_EVENT__EVENT_VOLUMES_EXPUNGED:
        say(w, ", %u left", event->volumes_expunged->left);
        return;
    case VOLUME_EVENT__EVENT_VOLUME_CHANGED:
        say_volume(w, event->volume_changed->volume);
        return;
    case VOLUME_EVENT__EVENT_NVRAM_REPLACED:
        say_error(w, event->nvram_replaced->error);
        return;
    case VOLUME_EVENT__EVENT_VOLUME_CHOSEN:
        say_error(w, event->volume_chosen->error);
        return;
    case VOLUME_EVENT__EVENT_VOLUME_WARNING:
        say_error(w, event->volume_warning->error);
        return;
    case VOLUME_EVENT__EVENT_VOLUMES_READ:
    case VOLUME_EVENT__EVENT__NOT_SET:
        return;
    }
}

static void say_report(Words *w, const HostReport *report)
{
    say(w, "%s: ", sim_world_name(w->world, report->host_uuid));
    say_member(w, &host_report__descriptor, report->report_case);
    switch (report->report_case) {
    case HOST_REPORT__REPORT_VOLUMES_CREATED:
        say_results(w, report->volumes_created->results, report->volumes_created->n_results);
        break;
    case HOST_REPORT__REPORT_VOLUMES_DELETED:
        say_results(w, report->volumes_deleted->results, report->volumes_deleted->n_results);
        break;
    case HOST_REPORT__REPORT_DOMAIN_STOPPED:
        say(w, " %s", ENUM_LABEL(stop_reason, report->domain_stopped->reason));
        break;
    case HOST_REPORT__REPORT_DOMAIN_OBSERVED:
        say(w, " %s", report->domain_observed->running ? "running" : "not running");
        break;
    case HOST_REPORT__REPORT_GUEST_EVENT:
        say(w, " %s", ENUM_LABEL(guest_event_type, report->guest_event->type));
        break;
    case HOST_REPORT__REPORT_DOMAIN_STARTED:
    case HOST_REPORT__REPORT_VM_FORGOTTEN:
    case HOST_REPORT__REPORT_DEVICE_CHANGED:
    case HOST_REPORT__REPORT_INVENTORY:
    case HOST_REPORT__REPORT__NOT_SET:
        break; /* The name says all. */
    }
    say_id(w, ", operation ", report->operation_id);
    say(w, ", epoch %" G_GUINT64_FORMAT, report->epoch);
    say_error(w, report->error);
}

/* ---- What is remembered */

static void say_state(Words *w, const StateRecord *state)
{
    say(w, "version %" G_GUINT64_FORMAT ":", state->version);
    if (state->body_case == STATE_RECORD__BODY_VOLUMES) {
        say_volumes(w, state->volumes->volumes, state->volumes->n_volumes);
        if (state->volumes->operation != NULL) {
            say(w, ", %s runs", ENUM_LABEL(volume_operation_kind, state->volumes->operation->kind));
        }
        return;
    }
    if (state->body_case != STATE_RECORD__BODY_VM) {
        return;
    }
    const VmRecord *vm = state->vm;
    say(w, " %s at epoch %" G_GUINT64_FORMAT, ENUM_LABEL(vm_status, vm->status), vm->epoch);
    if (*vm->host_uuid != '\0') {
        say(w, " on %s", sim_world_name(w->world, vm->host_uuid));
    }
    if (vm->operation != NULL) {
        say(w, ", %s is %s", ENUM_LABEL(operation_kind, vm->operation->kind),
            ENUM_LABEL(operation_phase, vm->operation->phase));
    }
    if (state->deadline_ms != 0) {
        say(w, ", deadline in %" G_GINT64_FORMAT " ms",
            state->deadline_ms - sim_now_ms(w->world->sim));
    }
}

static void say_message(Words *w, VbTopic topic, const void *message)
{
    switch (topic) {
    case TOPIC_VM_COMMANDS:
        say_command(w, message);
        return;
    case TOPIC_VM_EVENTS:
        say_vm_event(w, message);
        return;
    case TOPIC_VM_STATE:
    case TOPIC_VOLUME_STATE:
        say_state(w, message);
        return;
    case TOPIC_VM_REPORTS:
    case TOPIC_VOLUME_REPORTS:
        say_report(w, message);
        return;
    case TOPIC_VOLUME_COMMANDS:
        say_volume_command(w, message);
        return;
    case TOPIC_VOLUME_EVENTS:
        say_volume_event(w, message);
        return;
    case TOPIC_HOST_COMMANDS:
        say_host_command(w, message);
        return;
    case TOPIC_VM_JOURNAL:
    case TOPIC_VOLUME_JOURNAL:
    case TOPIC_HOSTS:
    case TOPIC_DLQ:
    case TOPIC_AGENTS_DLQ:
    case TOPIC_COUNT:
        return;
    }
}

static void say_dead(Words *w, const VbBusRecord *record)
{
    const VbBusHeader *why = bus_record_header(record, "__connect.errors.exception.message");
    say(w, "dead letter");
    if (why != NULL) {
        say(w, ": %.*s", (int)why->size_bytes, (const char *)why->value);
    }
}

char *sim_story_record(SimWorld *world, const VbBusRecord *record, const char *host_uuid)
{
    if (record->topic == TOPIC_VM_JOURNAL || record->topic == TOPIC_VOLUME_JOURNAL ||
        record->topic == TOPIC_HOSTS) {
        return NULL;
    }
    g_autoptr(VbArena) arena = arena_new();
    g_autoptr(GString) out = g_string_new(NULL);
    Words words = {.world = world, .out = out};
    const ProtobufCMessageDescriptor *descriptor = topic_info(record->topic)->message;
    if (host_uuid != NULL) {
        say(&words, "to %s: ", sim_world_name(world, host_uuid));
    }
    if (descriptor == NULL) {
        say_dead(&words, record);
    } else if (record->value == NULL) {
        say(&words, "the record is gone");
    } else {
        const void *message = protobuf_c_message_unpack(
            descriptor, arena_allocator(arena, SIZE_MAX), record->value_bytes, record->value);
        if (message == NULL) {
            say(&words, "%zu bytes that are no %s", record->value_bytes, descriptor->short_name);
        } else {
            say_message(&words, record->topic, message);
        }
    }
    return g_strdup(out->str);
}
