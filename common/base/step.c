#include "common/base/step.h"

#include <string.h>

VbStepBefore step_before(const VbStep *step)
{
    VbStepBefore before = {.bytes = NULL};
    if (step->state != NULL) {
        before.size_bytes = state_record__get_packed_size(step->state);
        void *bytes = arena_alloc(step->arena, before.size_bytes);
        state_record__pack(step->state, bytes);
        before.bytes = bytes;
    }
    return before;
}

static gboolean has_changed(const VbStep *step, VbStepBefore before)
{
    if (before.bytes == NULL || before.size_bytes != state_record__get_packed_size(step->state)) {
        return TRUE;
    }
    VbStepBefore after = step_before(step);
    return memcmp(before.bytes, after.bytes, before.size_bytes) != 0;
}

static void version_set(const ProtobufCMessage *event, guint64 version)
{
    const ProtobufCFieldDescriptor *field =
        protobuf_c_message_descriptor_get_field_by_name(event->descriptor, "version");
    g_assert(field != NULL && field->type == PROTOBUF_C_TYPE_UINT64);
    *(guint64 *)(void *)((char *)event + field->offset) = version;
}

void step_settle_versions(const VbStep *step, VbStepBefore before, VbTopic events)
{
    gboolean is_unchanged = FALSE;
    for (guint i = 0; step->state != NULL && i < step->outputs->len; i++) {
        const VbOutput *output = &g_array_index(step->outputs, VbOutput, i);
        if (output->topic != events) {
            continue;
        }
        if (!is_unchanged && has_changed(step, before)) {
            return;
        }
        is_unchanged = TRUE;
        version_set(output->message, step->state->version);
    }
}
