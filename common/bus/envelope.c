/* CloudEvents, traceparent, DLQ and moved-from headers. */
#include "common/bus/envelope.h"

#include <string.h>
#include <time.h>

#include "common/base/uuid.h"

enum { TRACEPARENT_BYTES = 55, TRACE_ID_HEX = 32, SPAN_ID_HEX = 16 };

static void header_add(VbBusHeader *headers, size_t *n_headers, const char *name, const char *text)
{
    headers[(*n_headers)++] =
        (VbBusHeader){.name = name, .value = text, .size_bytes = strlen(text)};
}

/* ---- Identity */

const char *envelope_record_id(VbArena *arena, VbTopic topic, int partition, gint64 offset)
{
    return arena_printf(arena, "%s/%d/%" G_GINT64_FORMAT, topic_info(topic)->suffix, partition,
                        offset);
}

static gboolean is_hex(const char *text, size_t n_digits)
{
    return strspn(text, "0123456789abcdef") >= n_digits;
}

/* A uuid without its dashes. */
static char *hex_of(VbArena *arena, const char *uuid)
{
    char *hex = arena_alloc(arena, UUID_TEXT_BYTES);
    for (char *to = hex; *uuid != '\0'; uuid++) {
        if (*uuid != '-') {
            *to++ = *uuid;
        }
    }
    return hex;
}

/* Takes trace id and flags from "00-<32>-<16>-<2>", the only form that W3C defines so far. */
static gboolean trace_parse(VbArena *arena, const VbBusHeader *header, VbOrigin *origin)
{
    if (header == NULL || header->size_bytes != TRACEPARENT_BYTES ||
        memchr(header->value, '\0', TRACEPARENT_BYTES) != NULL) {
        return FALSE;
    }
    char *text = arena_alloc(arena, TRACEPARENT_BYTES + 1);
    memcpy(text, header->value, TRACEPARENT_BYTES);
    char *span = text + 3 + TRACE_ID_HEX + 1;
    char *flags = span + SPAN_ID_HEX + 1;
    if (!g_str_has_prefix(text, "00-") || !is_hex(text + 3, TRACE_ID_HEX) || span[-1] != '-' ||
        !is_hex(span, SPAN_ID_HEX) || flags[-1] != '-' || !is_hex(flags, 2) ||
        strspn(text + 3, "0") >= TRACE_ID_HEX || strspn(span, "0") >= SPAN_ID_HEX) {
        return FALSE;
    }
    span[-1] = '\0';
    origin->trace_id = text + 3;
    origin->trace_flags = flags;
    return TRUE;
}

VbOrigin envelope_origin(VbArena *arena, const char *id, const char *vm_uuid,
                         const VbBusRecord *record)
{
    VbOrigin origin = {.id = id, .vm_uuid = vm_uuid};
    const VbBusHeader *header = record != NULL ? bus_record_header(record, "traceparent") : NULL;
    if (!trace_parse(arena, header, &origin)) {
        const char *name = arena_printf(arena, "trace/%s", id);
        origin.trace_id = hex_of(arena, uuid_derive(arena, vm_uuid, name));
        origin.trace_flags = "01";
    }
    return origin;
}

/* ---- Outputs */

const char *envelope_type(VbArena *arena, const ProtobufCMessage *body)
{
    const ProtobufCMessageDescriptor *descriptor = body->descriptor;
    for (unsigned i = 0; i < descriptor->n_fields; i++) {
        const ProtobufCFieldDescriptor *field = &descriptor->fields[i];
        const uint32_t *which = (const void *)((const char *)body + field->quantifier_offset);
        if ((field->flags & PROTOBUF_C_FIELD_FLAG_ONEOF) != 0 && *which == field->id) {
            return arena_printf(arena, "%s.%s", descriptor->name, field->name);
        }
    }
    return descriptor->name;
}

/* RFC 3339 in UTC. Only years of four digits have a form there. */
static const char *time_text(VbArena *arena, gint64 time_ms)
{
    gint64 clamped_ms = CLAMP(time_ms, 0, G_GINT64_CONSTANT(253402300799999));
    time_t seconds = clamped_ms / 1000;
    struct tm utc;
    gmtime_r(&seconds, &utc);
    return arena_printf(arena, "%04d-%02d-%02dT%02d:%02d:%02d.%03dZ", utc.tm_year + 1900,
                        utc.tm_mon + 1, utc.tm_mday, utc.tm_hour, utc.tm_min, utc.tm_sec,
                        (int)(clamped_ms % 1000));
}

void envelope_output(VbArena *arena, const VbOrigin *origin, guint index, const char *service,
                     gint64 step_ms, const ProtobufCMessage *body, VbBusMessage *message)
{
    const char *name = arena_printf(arena, "%s/%u", origin->id, index);
    const char *id = uuid_derive(arena, origin->vm_uuid, name);
    /* The second half of the id serves as span id: its variant bits make it never zero. */
    const char *span = hex_of(arena, id) + TRACE_ID_HEX - SPAN_ID_HEX;
    VbBusHeader *headers = arena_alloc(arena, 8 * sizeof(*headers));
    size_t n = 0;
    header_add(headers, &n, "ce_specversion", "1.0");
    header_add(headers, &n, "ce_id", id);
    header_add(headers, &n, "ce_source", arena_printf(arena, "/virtbus/%s", service));
    header_add(headers, &n, "ce_type", envelope_type(arena, body));
    header_add(headers, &n, "ce_subject", origin->vm_uuid);
    header_add(headers, &n, "ce_time", time_text(arena, step_ms));
    header_add(headers, &n, "content-type", "application/protobuf");
    header_add(headers, &n, "traceparent",
               arena_printf(arena, "00-%s-%s-%s", origin->trace_id, span, origin->trace_flags));
    message->headers = headers;
    message->n_headers = n;
}

/* ---- DLQ and repair */

static const char *sha256_text(VbArena *arena, const void *bytes, size_t size_bytes)
{
    g_autofree char *text = g_compute_checksum_for_data(G_CHECKSUM_SHA256, bytes, size_bytes);
    return arena_strdup(arena, text);
}

VbBusMessage envelope_dlq(VbArena *arena, const VbBusRecord *record, const char *prefix,
                          const char *service, const VbDlqReason *reason)
{
    g_autofree char *topic = topic_name(prefix, record->topic, reason->host_uuid);
    VbBusHeader *headers = arena_alloc(arena, 9 * sizeof(*headers));
    size_t n = 0;
    header_add(headers, &n, "__connect.errors.topic", arena_strdup(arena, topic));
    header_add(headers, &n, "__connect.errors.partition",
               arena_printf(arena, "%d", record->partition));
    header_add(headers, &n, "__connect.errors.offset",
               arena_printf(arena, "%" G_GINT64_FORMAT, record->offset));
    header_add(headers, &n, "__connect.errors.connector.name", service);
    header_add(headers, &n, "__connect.errors.stage", reason->stage);
    header_add(headers, &n, "__connect.errors.exception.class.name", reason->code);
    header_add(headers, &n, "__connect.errors.exception.message",
               arena_strdup(arena, reason->reason));
    header_add(headers, &n, "virtbus.value.sha256",
               sha256_text(arena, record->value, record->value_bytes));
    header_add(headers, &n, "virtbus.value.bytes", arena_printf(arena, "%zu", record->value_bytes));
    return (VbBusMessage){.topic = TOPIC_DLQ,
                          .partition = 0,
                          .key = record->key,
                          .key_bytes = MIN(record->key_bytes, (size_t)ENVELOPE_DLQ_KEY_BYTES),
                          .value = record->value,
                          .value_bytes = MIN(record->value_bytes, (size_t)ENVELOPE_DLQ_VALUE_BYTES),
                          .headers = headers,
                          .n_headers = n};
}

VbBusMessage envelope_moved(VbArena *arena, const VbBusRecord *record, int partition)
{
    VbBusHeader *headers = arena_alloc(arena, (record->n_headers + 1) * sizeof(*headers));
    size_t n = record->n_headers;
    for (size_t i = 0; i < n; i++) {
        headers[i] = record->headers[i];
    }
    header_add(headers, &n, ENVELOPE_MOVED_FROM,
               envelope_record_id(arena, record->topic, record->partition, record->offset));
    return (VbBusMessage){.topic = record->topic,
                          .partition = partition,
                          .key = record->key,
                          .key_bytes = record->key_bytes,
                          .value = record->value,
                          .value_bytes = record->value_bytes,
                          .headers = headers,
                          .n_headers = n};
}
