/* See agent_records.h. */
#include "services/host-agent/agent_records.h"

#include <string.h>

#include "common/base/text.h"
#include "common/bus/envelope.h"
#include "common/bus/validate.h"
#include "services/host-agent/host_core.h"

/* Validation asks a service only for its name, and whether it can refuse: an agent cannot. */
static const VbService agent_service = {.name = "host-agent"};

gboolean agent_record_read(VbArena *arena, const VbBusRecord *record, VbAgentCommand *ret_command,
                           const Error **ret_error)
{
    const char *vm_uuid = validate_key(arena, record);
    if (vm_uuid == NULL) {
        *ret_error = error_make(arena, ERROR_CODE_KEY_MISMATCH,
                                "the record's key is no uuid: use the VM's uuid as key");
        return FALSE;
    }
    VbJudgement judgement = validate_record(arena, &agent_service, record, vm_uuid);
    if (judgement.validity != VALIDITY_GOOD) {
        *ret_error = judgement.error;
        return FALSE;
    }
    const VbBusHeader *trace = bus_record_header(record, "traceparent");
    ret_command->offset = record->offset;
    ret_command->command = (const HostCommand *)judgement.message;
    ret_command->traceparent = trace != NULL ? arena_printf(arena, "%.*s", (int)trace->size_bytes,
                                                            (const char *)trace->value)
                                             : NULL;
    return TRUE;
}

static void message_fill(VbArena *arena, VbBusMessage *message, const char *key, const void *body)
{
    size_t size_bytes = protobuf_c_message_get_packed_size(body);
    uint8_t *packed = arena_alloc(arena, size_bytes);
    protobuf_c_message_pack(body, packed);
    message->key = key;
    message->key_bytes = strlen(key);
    message->value = packed;
    message->value_bytes = size_bytes;
}

VbBusMessage agent_record_report(VbArena *arena, const char *host_uuid, const HostReport *report,
                                 const char *traceparent)
{
    /* The same report has the same id, however often it is sent. */
    const char *id = arena_printf(arena, "host.%s/%s/%" G_GINT64_FORMAT, host_uuid,
                                  report->operation_id, report->time_ms);
    VbBusHeader trace = {.name = "traceparent", .value = traceparent};
    VbBusRecord record = {.headers = &trace, .n_headers = traceparent != NULL ? 1 : 0};
    trace.size_bytes = traceparent != NULL ? strlen(traceparent) : 0;
    VbOrigin origin = envelope_origin(arena, id, report->vm_uuid, &record);
    VbBusMessage message = {.topic = host_report_topic(report)};
    message_fill(arena, &message, report->vm_uuid, report);
    envelope_output(arena, &origin, (guint)report->report_case, agent_service.name, report->time_ms,
                    &report->base, &message);
    return message;
}

VbBusMessage agent_record_info(VbArena *arena, const char *host_uuid, const HostInfo *info)
{
    const char *id = arena_printf(arena, "host.%s/%" G_GINT64_FORMAT, host_uuid, info->time_ms);
    VbOrigin origin = envelope_origin(arena, id, host_uuid, NULL);
    VbBusMessage message = {.topic = TOPIC_HOSTS};
    message_fill(arena, &message, host_uuid, info);
    envelope_output(arena, &origin, 0, agent_service.name, info->time_ms, &info->base, &message);
    return message;
}

VbBusMessage agent_record_dlq(VbArena *arena, const char *prefix, const char *host_uuid,
                              const VbBusRecord *record, const Error *error)
{
    VbDlqReason reason = {.stage = "validate",
                          .code = ENUM_CODE(error_code, error->code),
                          .reason = error->message,
                          .host_uuid = host_uuid};
    VbBusMessage message = envelope_dlq(arena, record, prefix, agent_service.name, &reason);
    message.topic = TOPIC_AGENTS_DLQ;
    return message;
}
