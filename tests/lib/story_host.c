#include "tests/lib/story_host.h"

#include <string.h>

#include "common/base/error.h"
#include "common/base/text.h"
#include "tests/lib/story_fields.h"

static const guint64 NVRAM_BYTES = 540672; /* OVMF's 4M build. */

static gboolean G_GNUC_PRINTF(2, 3) refuse(GError **error, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    g_autofree char *text = g_strdup_vprintf(format, args);
    va_end(args);
    g_set_error_literal(error, VB_ERROR, ERROR_CODE_INVALID_ARGUMENT, text);
    return FALSE;
}

/* The number of a oneof's member by its name in the contract; 0: there is none. */
static guint32 member_id(const ProtobufCMessageDescriptor *descriptor, const char *name)
{
    const ProtobufCFieldDescriptor *field =
        protobuf_c_message_descriptor_get_field_by_name(descriptor, name);
    gboolean in_oneof = field != NULL && (field->flags & PROTOBUF_C_FIELD_FLAG_ONEOF) != 0;
    return in_oneof ? field->id : 0;
}

/* The oldest command of this kind without an answer; with `answered` the newest that has one. */
static HostAsk *find_ask(StoryWorld *world, const char *host_uuid, guint32 kind, gboolean answered)
{
    HostAsk *found = NULL;
    for (guint i = 0; i < world->asks->len; i++) {
        HostAsk *ask = g_ptr_array_index(world->asks, i);
        gboolean fits = strcmp(ask->host_uuid, host_uuid) == 0 &&
                        ask->command->command_case == kind && (ask->answer != NULL) == answered;
        if (fits && (found == NULL || answered)) {
            found = ask;
        }
    }
    return found;
}

static void deliver(StoryWorld *world, const HostReport *report)
{
    gboolean volumes = report->report_case == HOST_REPORT__REPORT_VOLUMES_CREATED ||
                       report->report_case == HOST_REPORT__REPORT_VOLUMES_DELETED;
    check_reported(world->check, report);
    world_deliver(world, volumes ? TOPIC_VOLUME_REPORTS : TOPIC_VM_REPORTS, report);
}

static HostReport *report_new(StoryWorld *world, const char *host_uuid, guint64 epoch,
                              const char *operation_id)
{
    HostReport *report = ARENA_MSG(world->arena, host_report);
    report->vm_uuid = (char *)world_vm_uuid(world);
    report->host_uuid = (char *)host_uuid;
    report->epoch = epoch;
    report->operation_id = (char *)operation_id;
    report->time_ms = world->now_ms;
    return report;
}

/* --- What was made */

static FirmwareRef *firmware_ref(VbArena *arena, const FirmwareClass *wanted)
{
    if (wanted == NULL) {
        return NULL;
    }
    FirmwareRef *ref = ARENA_MSG(arena, firmware_ref);
    ref->class_ = arena_copy(arena, wanted);
    ref->class_->nvram_bytes = NVRAM_BYTES;
    ref->code_path = arena_strdup(arena, "/firmware/code.fd");
    ref->template_path = arena_strdup(arena, "/firmware/vars.fd");
    return ref;
}

static Volume *made_volume(VbArena *arena, const CreateVolumes *create, const Volume *asked)
{
    Volume *volume = arena_copy(arena, asked);
    volume->status = VOLUME_STATUS_READY;
    if (volume->type == VOLUME_TYPE_NV_RAM) {
        volume->actual_size_bytes = NVRAM_BYTES;
        volume->firmware = firmware_ref(arena, create->firmware_class);
    } else if (volume->type == VOLUME_TYPE_TPM_STATE) {
        volume->actual_size_bytes = 4096;
    } else {
        volume->actual_size_bytes =
            volume->format == VOLUME_FORMAT_QCOW2 ? 196624 : volume->capacity_bytes;
    }
    return volume;
}

/* As an agent does it: volumes are made one after the other, and the first failure is the last
 * result; each deletion is tried. A failure that is no volume's has no results at all. */
static VolumeResult **results_of(StoryWorld *world, const HostCommand *command, int failed,
                                 Error *error, size_t *ret_n)
{
    gboolean creates = command->command_case == HOST_COMMAND__COMMAND_CREATE_VOLUMES;
    const CreateVolumes *create = creates ? command->create_volumes : NULL;
    Volume **asked = creates ? create->volumes : command->delete_volumes->volumes;
    size_t n = creates ? create->n_volumes : command->delete_volumes->n_volumes;
    VolumeResult **results = NULL;
    gboolean stopped = error != NULL && failed < 0;
    *ret_n = 0;
    for (size_t i = 0; i < n && !stopped; i++) {
        VolumeResult *result = ARENA_MSG(world->arena, volume_result);
        gboolean fails = (int)asked[i]->type == failed;
        result->error = fails ? error : NULL;
        result->volume = creates && !fails ? made_volume(world->arena, create, asked[i])
                                           : arena_copy(world->arena, asked[i]);
        ARENA_APPEND(world->arena, *ret_n, results, result);
        stopped = creates && fails;
    }
    return results;
}

/* What a failed creation has certainly not left: all but what it made. */
static void not_made_set(VbArena *arena, const CreateVolumes *create, VolumesCreated *created)
{
    for (size_t i = 0; i < create->n_volumes; i++) {
        gboolean made = i < created->n_results && created->results[i]->error == NULL;
        if (!made) {
            ARENA_APPEND(arena, created->n_not_made, created->not_made, create->volumes[i]->uuid);
        }
    }
}

static EffectiveNic *nic_made(VbArena *arena, const NicSpec *asked)
{
    EffectiveNic *nic = ARENA_MSG(arena, effective_nic);
    nic->index = asked->index;
    nic->mac = asked->mac;
    nic->asked_model = asked->model != NIC_MODEL_UNSPECIFIED ? asked->model : NIC_MODEL_E1000;
    nic->effective_model = nic->asked_model;
    nic->queues = 1;
    return nic;
}

static Hardware *hardware_made(VbArena *arena, const VmSpec *spec, FirmwareRef *firmware)
{
    Hardware *hardware = ARENA_MSG(arena, hardware);
    hardware->machine = arena_strdup(arena, "pc-q35-7.2");
    hardware->domain_type = arena_strdup(arena, "kvm");
    hardware->firmware = firmware;
    for (size_t i = 0; i < spec->n_nics; i++) {
        EffectiveNic *nic = nic_made(arena, spec->nics[i]);
        ARENA_APPEND(arena, hardware->n_nics, hardware->nics, nic);
    }
    return hardware;
}

static void coerce(Hardware *hardware, guint32 index)
{
    for (size_t i = 0; i < hardware->n_nics; i++) {
        if (hardware->nics[i]->index == index) {
            hardware->nics[i]->effective_model = NIC_MODEL_VIRTIO;
            hardware->nics[i]->coerced = TRUE;
        }
    }
}

/* --- Answers */

/* The body that belongs to the command, empty but for the volumes' results and the reason. FALSE:
 * no such command is ever sent. */
static gboolean body_set(StoryWorld *world, const HostCommand *command, HostReport *report,
                         int failed, Error *error)
{
    VbArena *arena = world->arena;
    switch (command->command_case) {
    case HOST_COMMAND__COMMAND_CREATE_VOLUMES: {
        VolumesCreated *created = ARENA_MSG(arena, volumes_created);
        created->results = results_of(world, command, failed, error, &created->n_results);
        if (error != NULL) {
            not_made_set(arena, command->create_volumes, created);
        }
        report->report_case = HOST_REPORT__REPORT_VOLUMES_CREATED;
        report->volumes_created = created;
        return TRUE;
    }
    case HOST_COMMAND__COMMAND_DELETE_VOLUMES: {
        VolumesDeleted *deleted = ARENA_MSG(arena, volumes_deleted);
        deleted->results = results_of(world, command, failed, error, &deleted->n_results);
        report->report_case = HOST_REPORT__REPORT_VOLUMES_DELETED;
        report->volumes_deleted = deleted;
        return TRUE;
    }
    case HOST_COMMAND__COMMAND_START_DOMAIN:
        report->report_case = HOST_REPORT__REPORT_DOMAIN_STARTED;
        report->domain_started = ARENA_MSG(arena, domain_started);
        return TRUE;
    case HOST_COMMAND__COMMAND_STOP_DOMAIN:
        report->report_case = HOST_REPORT__REPORT_DOMAIN_STOPPED;
        report->domain_stopped = ARENA_MSG(arena, domain_stopped);
        return TRUE;
    case HOST_COMMAND__COMMAND_FORGET_VM:
        report->report_case = HOST_REPORT__REPORT_VM_FORGOTTEN;
        report->vm_forgotten = ARENA_MSG(arena, vm_forgotten);
        return TRUE;
    case HOST_COMMAND__COMMAND_ATTACH_DEVICE:
    case HOST_COMMAND__COMMAND_DETACH_DEVICE:
        report->report_case = HOST_REPORT__REPORT_DEVICE_CHANGED;
        report->device_changed = ARENA_MSG(arena, device_changed);
        return TRUE;
    case HOST_COMMAND__COMMAND_PREPARE_MIGRATION:
    case HOST_COMMAND__COMMAND_MIGRATE_DOMAIN:
    case HOST_COMMAND__COMMAND__NOT_SET:
        return FALSE;
    }
    return FALSE;
}

/* "coerced=0", or a field of the report's body. */
static gboolean detail_set(StoryWorld *world, HostReport *report, const char *word, GError **error)
{
    gint64 index;
    Hardware *hardware = report->report_case == HOST_REPORT__REPORT_DOMAIN_STARTED
                             ? report->domain_started->hardware
                         : report->report_case == HOST_REPORT__REPORT_DEVICE_CHANGED
                             ? report->device_changed->hardware
                             : NULL;
    if (hardware != NULL && g_str_has_prefix(word, "coerced=") &&
        field_parse_number(word + strlen("coerced="), &index)) {
        coerce(hardware, (guint32)index);
        return TRUE;
    }
    /* The bodies share one place, so any of its names leads to the one that is set. */
    return field_set(world->arena, world->names, &report->domain_started->base, word, error);
}

/* What the host has made of the command. */
static void outcome_set(VbArena *arena, const HostCommand *command, HostReport *report)
{
    if (report->report_case == HOST_REPORT__REPORT_DOMAIN_STARTED) {
        const StartDomain *start = command->start_domain;
        report->domain_started->hardware =
            hardware_made(arena, start->spec, firmware_ref(arena, start->firmware_class));
    } else if (report->report_case == HOST_REPORT__REPORT_DOMAIN_STOPPED) {
        report->domain_stopped->reason = STOP_REASON_REQUESTED;
    } else if (command->command_case == HOST_COMMAND__COMMAND_ATTACH_DEVICE) {
        const AttachDevice *attach = command->attach_device;
        report->device_changed->attached = attach->nic;
        report->device_changed->hardware =
            hardware_made(arena, attach->spec, attach->hardware->firmware);
    } else if (command->command_case == HOST_COMMAND__COMMAND_DETACH_DEVICE) {
        const DetachDevice *detach = command->detach_device;
        report->device_changed->detached = detach->nic;
        report->device_changed->hardware =
            hardware_made(arena, detach->spec, detach->hardware->firmware);
    }
}

static gboolean answer_ok(StoryWorld *world, HostAsk *ask, HostReport *report, char **details,
                          GError **error)
{
    if (!body_set(world, ask->command, report, -1, NULL)) {
        return refuse(error, "no host can answer this command");
    }
    outcome_set(world->arena, ask->command, report);
    for (guint i = 0; details[i] != NULL; i++) {
        if (!detail_set(world, report, details[i], error)) {
            return FALSE;
        }
    }
    return TRUE;
}

/* [VOLUME_TYPE] CODE "text" [unsure] */
static gboolean answer_failed(StoryWorld *world, HostAsk *ask, HostReport *report, char **words,
                              GError **error)
{
    int type = -1;
    int code;
    guint n_words = g_strv_length(words);
    gboolean unsure = n_words > 0 && strcmp(words[n_words - 1], "unsure") == 0;
    n_words -= unsure;
    if (n_words == 3) {
        if (!enum_parse(&volume_type__descriptor, words[0], &type)) {
            return refuse(error, "%s is no volume type", words[0]);
        }
        words++;
        n_words--;
    }
    if (n_words != 2 || !enum_parse(&error_code__descriptor, words[0], &code)) {
        return refuse(error, "write: fails [VOLUME_TYPE] CODE \"text\" [unsure]");
    }
    Error *cause = error_make(world->arena, (ErrorCode)code, "%s", words[1]);
    cause->host_uuid = (char *)ask->host_uuid;
    if (!body_set(world, ask->command, report, type, cause)) {
        return refuse(error, "no host can answer this command");
    }
    if (type < 0 || report->report_case == HOST_REPORT__REPORT_VOLUMES_CREATED) {
        report->error = cause;
    }
    if (unsure && report->report_case != HOST_REPORT__REPORT_VOLUMES_CREATED) {
        return refuse(error, "only a creation can be unsure");
    }
    if (unsure) {
        report->volumes_created->n_not_made = 0;
    }
    return TRUE;
}

static gboolean host_answers(StoryWorld *world, const char *host_uuid, char **words, GError **error)
{
    guint32 kind = member_id(&host_command__descriptor, words[0]);
    HostAsk *ask = kind != 0 ? find_ask(world, host_uuid, kind, FALSE) : NULL;
    if (ask == NULL) {
        return refuse(error, "the host was not asked for %s, or has answered", words[0]);
    }
    HostReport *report =
        report_new(world, host_uuid, ask->command->epoch, ask->command->operation_id);
    gboolean ok = g_strcmp0(words[1], "ok") == 0;
    gboolean without_body = g_strcmp0(words[1], "refuses") == 0;
    if (!ok && !without_body && g_strcmp0(words[1], "fails") != 0) {
        return refuse(error, "a host answers ok, fails or, without a body, refuses");
    }
    gboolean made = ok ? answer_ok(world, ask, report, words + 2, error)
                       : answer_failed(world, ask, report, words + 2, error);
    if (without_body) {
        report->report_case = HOST_REPORT__REPORT__NOT_SET;
    }
    if (made) {
        ask->answer = report;
        deliver(world, report);
    }
    return made;
}

/* --- By itself */

/* The epoch of the domain that the host started last. */
static guint64 domain_epoch(const StoryWorld *world, const char *host_uuid)
{
    guint64 epoch = 0;
    for (guint i = 0; i < world->asks->len; i++) {
        const HostAsk *ask = g_ptr_array_index(world->asks, i);
        if (strcmp(ask->host_uuid, host_uuid) == 0 &&
            ask->command->command_case == HOST_COMMAND__COMMAND_START_DOMAIN) {
            epoch = ask->command->epoch;
        }
    }
    return epoch;
}

static gboolean host_reports(StoryWorld *world, const char *host_uuid, char **words, GError **error)
{
    HostReport *report = report_new(world, host_uuid, domain_epoch(world, host_uuid), "");
    guint32 kind = member_id(&host_report__descriptor, words[0]);
    if (kind == 0) {
        return refuse(error, "there is no report %s", words[0]);
    }
    g_autofree char *body = g_strdup_printf("%s={}", words[0]);
    if (!field_set(world->arena, world->names, &report->base, body, error)) {
        return FALSE;
    }
    for (guint i = 1; words[i] != NULL; i++) {
        gboolean own = g_str_has_prefix(words[i], "epoch=") || g_str_has_prefix(words[i], "error");
        g_autofree char *field =
            own ? g_strdup(words[i]) : g_strdup_printf("%s.%s", words[0], words[i]);
        if (!field_set(world->arena, world->names, &report->base, field, error)) {
            return FALSE;
        }
    }
    deliver(world, report);
    return TRUE;
}

gboolean host_act(StoryWorld *world, char **words, GError **error)
{
    guint n = g_strv_length(words);
    if (n < 3 || words[0][0] != '$') {
        return refuse(error, "write: host $NAME answers|repeats|reports|is ...");
    }
    const char *host_uuid = names_uuid(world->names, words[0]);
    if (strcmp(words[1], "answers") == 0) {
        return host_answers(world, host_uuid, words + 2, error);
    }
    if (strcmp(words[1], "reports") == 0) {
        return host_reports(world, host_uuid, words + 2, error);
    }
    if (strcmp(words[1], "repeats") == 0) {
        guint32 kind = member_id(&host_command__descriptor, words[2]);
        HostAsk *ask = find_ask(world, host_uuid, kind, TRUE);
        if (ask == NULL) {
            return refuse(error, "the host has answered no %s", words[2]);
        }
        deliver(world, ask->answer);
        return TRUE;
    }
    if (strcmp(words[1], "is") == 0 && strcmp(words[2], "unknown") == 0) {
        g_hash_table_add(world->no_topic, (gpointer)host_uuid);
        return TRUE;
    }
    if (strcmp(words[1], "is") == 0 && strcmp(words[2], "known") == 0) {
        g_hash_table_remove(world->no_topic, host_uuid);
        return TRUE;
    }
    return refuse(error, "a host cannot \"%s\"", words[1]);
}
