#!/usr/bin/env python3
"""Prints docs/MESSAGES.md, made of the .proto files and their comments.

usage: proto/messages.py >docs/MESSAGES.md      tests/style/documents.py compares
"""
import os
import re

FOLDER = os.path.join(os.path.dirname(os.path.abspath(__file__)), "virtbus/v1")
# What a control plane needs comes first.
FILES = ("vm", "types", "error", "volume", "host", "state", "recording")

INTRODUCTION = """# Messages

<!-- Made by proto/messages.py of the .proto files: change those, then run it. -->

Everything that is said between control planes, services and hosts, from the comments in `proto/virtbus/v1/*.proto`.
A control plane needs [`VmCommand`](#vmcommand), [`VmEvent`](#vmevent), [`VmSpec`](#vmspec) and the
[error codes](#errorcode); the rest is virtbus among itself. A whole client, in forty lines, is in
[README](../README.md#talk-to-it-from-any-language).

Headers are CloudEvents (`ce_id`, `ce_source`, `ce_type`, `ce_subject`, `ce_time`, `ce_specversion`, `content-type`)
and `traceparent`: virtbus writes them always and never needs them.

"""

TOPIC = re.compile(r"topic (.+?) {2,}value (\w+) +key: (.+?)(?: {2,}(.+))?$")
BLOCK = re.compile(r"(message|enum) (\w+) \{(\})?")
FIELD = re.compile(r"(repeated )?([\w.]+) (\w+) = \d+;\s*(?://\s*(.*))?")
VALUE = re.compile(r"(\w+) = (\d+);\s*(?://\s*(.*))?")


class Block:
    """A message or an enum: rows are (name, type or number, comment, oneof or group)."""

    def __init__(self, kind, name, comment):
        self.kind, self.name, self.comment, self.rows = kind, name, comment, []


def parse(text):
    """(lines of the comment at the top, blocks)."""
    lines = text.splitlines()
    top = []
    while lines and lines[0].startswith("//"):
        top.append(lines.pop(0)[2:].removeprefix(" "))
    blocks, comment, block, oneof, group = [], [], None, "", ""
    for line in (line.strip() for line in lines):
        found = BLOCK.match(line)
        if line.startswith("//"):
            comment.append(line[2:].strip())
            continue
        if found:
            blocks.append(Block(found[1], found[2], " ".join(comment)))
            block = None if found[3] else blocks[-1]
            oneof = group = ""
        elif line.startswith("oneof "):
            oneof = line.split()[1]
        elif line == "}":
            block, oneof = (block, "") if oneof else (None, "")
        elif block and block.kind == "enum" and (found := VALUE.match(line)):
            group = " ".join(comment) or group
            block.rows.append((found[1], found[2], found[3] or "", group))
        elif block and (found := FIELD.match(line)):
            said = " ".join([*comment, found[4] or ""]).strip()
            kind = f"{found[1] or ''}{found[2]}"
            block.rows.append((found[3], kind, said, oneof))
        comment = []
    return top, blocks


def link(kind, known):
    repeated, _, name = kind.rpartition(" ")
    text = f"[`{name}`](#{name.lower()})" if name in known else f"`{name}`"
    return f"{repeated} {text}".strip()


def cell(text):
    return text.replace("|", "\\|").replace("<", "&lt;")


def print_message(block, known):
    if not block.rows:
        print("No fields.\n")
    for oneof in dict.fromkeys(oneof for *_, oneof in block.rows):
        if oneof:
            print(f"And one {oneof}:\n" if not block.rows[0][3] else f"One {oneof}:\n")
        print("| field | type | meaning |\n|---|---|---|")
        for name, kind, comment, own in block.rows:
            if own == oneof:
                # What is chosen is best told by its own first sentence.
                said = comment or (known[kind].comment.partition(". ")[0].removesuffix(".")
                                   if oneof else "")
                print(f"| `{name}` | {link(kind, known)} | {cell(said)} |")
        print()


def print_enum(block):
    print("| value | number | meaning |\n|---|---|---|")
    for name, number, comment, _ in block.rows:
        print(f"| `{name}` | {number} | {cell(comment)} |")
    print()


def print_errors(block):
    """Meaning first, then the way out: that is how error.proto words each code."""
    groups = list(dict.fromkeys(group for *_, group in block.rows[1:]))
    for group in groups:
        print(f"**{group}**\n\n| code | number | meaning | way out |\n|---|---|---|---|")
        for name, number, comment, own in block.rows[1:]:
            if own == group:
                meaning, _, way_out = comment.partition(". ")
                print(f"| `{name}` | {number} | {cell(meaning)} | {cell(way_out)} |")
        print()


def print_topics(files):
    print("## Topics\n\n`virtbus` is the deployment's prefix.\n")
    print("| topic | value | key | |\n|---|---|---|---|")
    for top, _ in files.values():
        for line in top:
            found = TOPIC.match(line.strip())
            if found:
                topic, value, key, rest = found.groups()
                print(f"| {cell(topic)} | [`{value}`](#{value.lower()}) | {key} | {rest or ''} |")
    print()


def print_file(name, top, blocks, known):
    prose = [line for line in top if not TOPIC.match(line.strip())]
    first, rules = prose[0], [line.strip() for line in prose[1:] if line.strip()]
    print(f"## {name}.proto\n\n{first}\n")
    for rule in rules:
        print(rule if rule.startswith("- ") else f"{rule}\n")
    if rules:
        print()
    for block in blocks:
        print(f"### {block.name}\n")
        if block.comment:
            print(f"{block.comment}\n")
        if block.name == "ErrorCode":
            print_errors(block)
        elif block.kind == "enum":
            print_enum(block)
        else:
            print_message(block, known)


def main():
    files = {}
    for name in FILES:
        with open(os.path.join(FOLDER, name + ".proto"), encoding="utf-8") as file:
            files[name] = parse(file.read())
    known = {block.name: block for _, blocks in files.values() for block in blocks}
    print(INTRODUCTION, end="")
    print_topics(files)
    for name, (top, blocks) in files.items():
        print_file(name, top, blocks, known)


if __name__ == "__main__":
    main()
