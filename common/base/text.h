/* The one spelling that each name of the contract has in text: logs, events, the command line. */
#pragma once

#include <glib.h>
#include <protobuf-c/protobuf-c.h>

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
