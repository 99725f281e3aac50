/* fuzz_json: a first byte that says which message, then JSON text. What is read as a message is
 * written and read again as the same one. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/json.h"
#include "common/base/message.h"
#include "tests/fuzz/fuzz.h"
#include "virtbus/v1/virtbus.h"

static G_NORETURN void broken(const char *what, const char *text)
{
    fprintf(stderr, "BROKEN: %s: %s\n", what, text);
    abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size_bytes)
{
    static const ProtobufCMessageDescriptor *const kinds[] = {
        &vm_spec__descriptor,      &vm_command__descriptor,  &vm_event__descriptor,
        &host_command__descriptor, &host_report__descriptor, &host_info__descriptor,
        &state_record__descriptor, &journal__descriptor};
    if (size_bytes == 0) {
        return 0;
    }
    g_autoptr(VbArena) arena = arena_new();
    g_autoptr(GError) error = NULL;
    const ProtobufCMessageDescriptor *kind = kinds[data[0] % G_N_ELEMENTS(kinds)];
    ProtobufCMessage *message =
        message_from_json_text(arena, kind, (const char *)data + 1, (gssize)size_bytes - 1, &error);
    if (message == NULL) {
        if (error == NULL || !g_utf8_validate(error->message, -1, NULL)) {
            broken("no reason, or none that can be shown", error != NULL ? error->message : "");
        }
        return 0;
    }
    g_autofree char *text = message_to_json_text(message, TRUE);
    ProtobufCMessage *again = message_from_json_text(arena, kind, text, -1, &error);
    if (again == NULL) {
        broken(error->message, text);
    }
    g_autoptr(GBytes) packed = message_pack(message);
    if (!message_is_packed(again, packed)) {
        broken("the way through JSON changes the message", text);
    }
    return 0;
}
