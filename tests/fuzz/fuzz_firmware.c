/* fuzz_firmware: QEMU's firmware descriptors, each ended by a zero byte. A build that is found is of
 * the class that it is chosen for, and can be told to others: in a heartbeat, in a report. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/message.h"
#include "services/host-agent/firmware.h"
#include "tests/fuzz/fuzz.h"

enum { DESCRIPTORS_MAX = 4 };

static G_NORETURN void broken(const char *what)
{
    fprintf(stderr, "BROKEN: %s\n", what);
    abort();
}

static void judge_choice(const GPtrArray *refs, Firmware firmware, gboolean secure_boot)
{
    FirmwareClass wanted = FIRMWARE_CLASS__INIT;
    wanted.firmware = firmware;
    wanted.secure_boot = secure_boot;
    g_autoptr(GError) error = NULL;
    const FirmwareRef *ref = firmware_choose(refs, &wanted, &error);
    if ((ref == NULL) == (error == NULL)) {
        broken("a choice with an error, or none without one");
    }
    if (ref != NULL &&
        (ref->class_->firmware != firmware || ref->class_->secure_boot != secure_boot)) {
        broken("a build of another class was chosen");
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size_bytes)
{
    static const char *const names[DESCRIPTORS_MAX] = {"10-a.json", "20-b.json", "10-a.json",
                                                       "30-c.json"};
    g_autoptr(VbArena) arena = arena_new();
    g_autofree char *text = g_malloc0(size_bytes + 1);
    VbDescriptor descriptors[DESCRIPTORS_MAX];
    size_t n = 0;
    memcpy(text, data, size_bytes);
    for (size_t at = 0; at <= size_bytes && n < DESCRIPTORS_MAX; at += strlen(text + at) + 1) {
        descriptors[n] = (VbDescriptor){.name = names[n], .json = text + at};
        n++;
    }
    g_autoptr(GPtrArray) problems = g_ptr_array_new();
    g_autoptr(GPtrArray) refs = firmware_parse(arena, descriptors, n, problems);
    for (guint i = 0; i < refs->len; i++) {
        const FirmwareRef *ref = g_ptr_array_index(refs, i);
        g_autoptr(GError) error = NULL;
        if (!message_check(&ref->base, &error)) {
            broken(error->message);
        }
        if (ref->code_path[0] != '/' || ref->template_path[0] != '/' || ref->class_ == NULL) {
            broken("a build without a path or class");
        }
    }
    judge_choice(refs, FIRMWARE_UEFI, FALSE);
    judge_choice(refs, FIRMWARE_UEFI, TRUE);
    judge_choice(refs, FIRMWARE_UEFI_WITH_CSM, FALSE);
    return 0;
}
