/* K5 of the requirements: a bad record is answered or dead-lettered, never half-validated. */
#include "common/bus/validate.h"

#include <string.h>

#include "common/base/error.h"
#include "common/base/message.h"
#include "common/base/uuid.h"

const char *validate_key(VbArena *arena, const VbBusRecord *record)
{
    if (record->key_bytes != UUID_TEXT_BYTES - 1) {
        return NULL;
    }
    char *text = arena_alloc(arena, UUID_TEXT_BYTES);
    memcpy(text, record->key, record->key_bytes);
    return uuid_is_valid(text) ? text : NULL;
}

/* The message's single string field of this name. FALSE: it has none. */
static gboolean text_field(const ProtobufCMessage *message, const char *name, const char **ret_text)
{
    const ProtobufCFieldDescriptor *field =
        protobuf_c_message_descriptor_get_field_by_name(message->descriptor, name);
    if (field == NULL || field->type != PROTOBUF_C_TYPE_STRING ||
        field->label == PROTOBUF_C_LABEL_REPEATED) {
        return FALSE;
    }
    *ret_text = *(char *const *)(const void *)((const char *)message + field->offset);
    return TRUE;
}

static gboolean message_judge(const ProtobufCMessage *message, const VbBusRecord *record,
                              const char *vm_uuid, GError **error)
{
    const char *named = NULL;
    if (!message_check_bytes(message->descriptor, record->value, record->value_bytes, error) ||
        !message_check(message, error)) {
        return FALSE;
    }
    if (text_field(message, "vm_uuid", &named) && strcmp(named, vm_uuid) != 0) {
        g_set_error(error, VB_ERROR, ERROR_CODE_KEY_MISMATCH,
                    "the record's key is %s and its vm_uuid \"%.64s\": use the VM's uuid for both",
                    vm_uuid, named);
        return FALSE;
    }
    return TRUE;
}

/* Whether a member of its oneof is set. An error alone says enough. */
static gboolean says_something(const ProtobufCMessage *message)
{
    const ProtobufCMessageDescriptor *descriptor = message->descriptor;
    gboolean has_oneof = FALSE;
    for (unsigned i = 0; i < descriptor->n_fields; i++) {
        const ProtobufCFieldDescriptor *field = &descriptor->fields[i];
        const char *base = (const char *)message;
        if ((field->flags & PROTOBUF_C_FIELD_FLAG_ONEOF) != 0) {
            has_oneof = TRUE;
            if (*(const uint32_t *)(const void *)(base + field->quantifier_offset) == field->id) {
                return TRUE;
            }
        } else if (field->type == PROTOBUF_C_TYPE_MESSAGE && strcmp(field->name, "error") == 0 &&
                   *(ProtobufCMessage *const *)(const void *)(base + field->offset) != NULL) {
            return TRUE;
        }
    }
    return !has_oneof;
}

/* Who can answer does so, from the core. What nobody answers must not vanish. */
static gboolean content_judge(const ProtobufCMessage *message, VbTopic topic, GError **error)
{
    if (topic == TOPIC_HOST_COMMANDS || says_something(message)) {
        return TRUE;
    }
    g_set_error(error, VB_ERROR, ERROR_CODE_UNKNOWN_COMMAND,
                "the %s holds nothing that this version knows: update virtbus, or mend the "
                "producer",
                message->descriptor->short_name);
    return FALSE;
}

static VbJudgement dead_letter(VbArena *arena, const GError *error)
{
    return (VbJudgement){.validity = VALIDITY_DEAD_LETTER,
                         .error = error_from_gerror(arena, error)};
}

VbJudgement validate_record(VbArena *arena, const VbService *service, const VbBusRecord *record,
                            const char *vm_uuid)
{
    g_autoptr(GError) error = NULL;
    const char *request_id = NULL;
    if (record->value_bytes == 0) {
        g_set_error(&error, VB_ERROR, ERROR_CODE_INVALID_ARGUMENT,
                    "the record of VM %s is empty: send the protobuf message itself", vm_uuid);
        return dead_letter(arena, error);
    }
    const ProtobufCMessage *message = message_unpack(arena, topic_info(record->topic)->message,
                                                     record->value, record->value_bytes, &error);
    if (message == NULL) {
        return dead_letter(arena, error);
    }
    gboolean has_request_id = text_field(message, "request_id", &request_id);
    if (has_request_id && !uuid_is_valid(request_id)) {
        g_set_error(&error, VB_ERROR, ERROR_CODE_INVALID_ARGUMENT,
                    "the request_id of a %s for VM %s is not a uuid in lower case: nobody could be "
                    "answered",
                    message->descriptor->short_name, vm_uuid);
        return dead_letter(arena, error);
    }
    if (message_judge(message, record, vm_uuid, &error) &&
        (has_request_id || content_judge(message, record->topic, &error))) {
        return (VbJudgement){
            .validity = VALIDITY_GOOD, .message = message, .request_id = request_id};
    }
    if (!has_request_id || service->refuse == NULL) {
        return dead_letter(arena, error);
    }
    return (VbJudgement){.validity = VALIDITY_REFUSED,
                         .request_id = request_id,
                         .error = error_from_gerror(arena, error)};
}
