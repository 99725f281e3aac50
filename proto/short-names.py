"""Writes one header that gives protobuf-c's names of package virtbus.v1 readable ones.

Virtbus__V1__VmRecord             -> VmRecord
virtbus__v1__vm_record__pack      -> vm_record__pack
VIRTBUS__V1__VM_STATUS__VM_STATUS_RUNNING -> VM_STATUS_RUNNING
VIRTBUS__V1__REPLY__INIT          -> REPLY__INIT
VIRTBUS__V1__VM_EVENT__EVENT_REPLY (a oneof's case) -> VM_EVENT__EVENT_REPLY

Enum values carry their enum's name already, so nothing is ambiguous; a clash ends the build.
"""
import os
import re
import sys

out_path, *headers = sys.argv[1:]
text = "".join(open(header, encoding="utf-8").read() for header in headers)
# Lines that only make a value's width known to the compiler are no names of ours.
text = re.sub(r"PROTOBUF_C__FORCE_ENUM_TO_BE_INT_SIZE\(\w+\)", "", text)

names = {}
for name in sorted(set(re.findall(r"\bVirtbus__V1__\w+", text))):
    names[name] = name.removeprefix("Virtbus__V1__")
for name in sorted(set(re.findall(r"\bvirtbus__v1__\w+", text))):
    names[name] = name.removeprefix("virtbus__v1__")
for name in sorted(set(re.findall(r"\bVIRTBUS__V1__\w+", text))):
    short = name.removeprefix("VIRTBUS__V1__")
    head, _, tail = short.partition("__")
    is_enum_value = tail.startswith(head + "_")
    names[name] = tail if is_enum_value else short

shorts = list(names.values())
clashes = {short for short in shorts if shorts.count(short) > 1}
if clashes:
    sys.exit(f"short-names: these names are not unique: {sorted(clashes)}")

with open(out_path, "w", encoding="utf-8") as out:
    out.write("/* Made by short-names.py from the .pb-c.h files. */\n#pragma once\n")
    # protobuf-c gives each enum one value more, only to widen it to an int, which it is already here. Without it a
    # switch over an enum can be exhaustive.
    out.write("#include <protobuf-c/protobuf-c.h>\n")
    out.write("#undef PROTOBUF_C__FORCE_ENUM_TO_BE_INT_SIZE\n")
    out.write("#define PROTOBUF_C__FORCE_ENUM_TO_BE_INT_SIZE(name)\n")
    for header in headers:
        out.write(f'#include "virtbus/v1/{os.path.basename(header)}"\n')
    for name, short in names.items():
        if name != short:
            out.write(f"#define {short} {name}\n")
