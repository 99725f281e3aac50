/* The one spelling that each name of the contract has in text: logs, events, the command line; and
 * text that is not ours. */
#pragma once

#include "common/base/arena.h"

/* "NvRam" for VOLUME_TYPE_NV_RAM, "Running" for VM_STATUS_RUNNING; "?" for a value that is not
 * known. Use through ENUM_LABEL(volume_type, value). Static storage, valid for ever. Thread-safe.
 */
const char *enum_label(const ProtobufCEnumDescriptor *descriptor, int value);
#define ENUM_LABEL(name, value) enum_label(&name##__descriptor, (int)(value))

/* "NVRAM_MISSING" for ERROR_CODE_NVRAM_MISSING: the name as in the .proto file, without the enum's
 * prefix. */
const char *enum_code(const ProtobufCEnumDescriptor *descriptor, int value);
#define ENUM_CODE(name, value) enum_code(&name##__descriptor, (int)(value))

/* The value whose label or code is `text`, in any case; FALSE: there is none. */
gboolean enum_parse(const ProtobufCEnumDescriptor *descriptor, const char *text, int *ret_value);

/* Foreign words, as those of libvirt, QEMU, OVS or a stranger's record, made fit to be shown: UTF-8
 * without control characters, and " ..." for what is beyond `max_bytes`. In the arena. */
char *text_tame(VbArena *arena, const char *raw, size_t max_bytes);
