"""Writes a C table of what error.proto says about each code: its meaning and the way out."""
import re
import sys

proto_path, out_path = sys.argv[1:]
text = open(proto_path, encoding="utf-8").read()
rows = re.findall(r"^\s*(ERROR_CODE_\w+)\s*=\s*\d+;\s*//\s*(.+?)\s*$", text, re.MULTILINE)
values = re.findall(r"^\s*(ERROR_CODE_\w+)\s*=\s*\d+;", text, re.MULTILINE)
if [name for name, _ in rows] != values:
    sys.exit(f"error-table: without a comment: {sorted(set(values) - {name for name, _ in rows})}")

with open(out_path, "w", encoding="utf-8") as out:
    out.write("/* Made by error-table.py from error.proto. */\n")
    out.write('#include "tools/virtbusctl/error_table.h"\n\n')
    out.write("const VbErrorText error_table[] = {\n")
    for name, comment in rows:
        escaped = comment.replace("\\", "\\\\").replace('"', '\\"')
        out.write(f'    {{{name}, "{escaped}"}},\n')
    out.write("};\n")
    out.write("const size_t error_table_n = sizeof(error_table) / sizeof(error_table[0]);\n")
