#!/usr/bin/env python3
"""Prints docs/OPTIONS.md, made of what each daemon says of its own options.

usage: docs/options.py DAEMON... >docs/OPTIONS.md     each a path to a built daemon
       docs/options.py --check DAEMON...              compares, and tells so in TAP
"""
import os
import subprocess
import sys

PAGE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "OPTIONS.md")
HEAD = "| option | environment | type | default | meaning |\n|---|---|---|---|---|\n"
INTRODUCTION = """# Options

<!-- Made by docs/options.py of the daemons' own tables: change those, then run it. -->

Each option can be set in a file, in the environment and on the command line; the later named wins. `DAEMON --help`
says the same for the daemon at hand. `--config=FILE` reads lines `NAME=VALUE` of a group `[virtbus]`, lists separated
by `;`. `--kafka.NAME=VALUE` sets any librdkafka property, except those on which exactly-once rests: they are refused.

"""


def options(daemon):
    """The rows of a daemon's table, as it prints them."""
    text = subprocess.run([daemon, "--dump-options"], capture_output=True, text=True,
                          check=True).stdout
    return [line for line in text.splitlines() if line.startswith("| `")]


def page(daemons):
    """One table for each set of daemons that share options, the largest set first."""
    owners = {}
    for daemon in daemons:
        for row in options(daemon):
            owners.setdefault(row, []).append(os.path.basename(daemon))
    text = INTRODUCTION
    for group in sorted({tuple(names) for names in owners.values()}, key=lambda x: (-len(x), x)):
        rows = [row for row, names in owners.items() if tuple(names) == group]
        name = "Every daemon" if len(group) == len(daemons) else " and ".join(group)
        text += f"## {name}\n\n{HEAD}" + "\n".join(rows) + "\n\n"
    return text


def main():
    if sys.argv[1] != "--check":
        print(page(sys.argv[1:]), end="")
        return 0
    with open(PAGE, encoding="utf-8") as file:
        fresh = file.read() == page(sys.argv[2:])
    print(f"1..1\n{'ok' if fresh else 'not ok'} 1 - docs/OPTIONS.md is what the daemons say")
    if not fresh:
        print(f"# run: docs/options.py {' '.join(sys.argv[2:])} >docs/OPTIONS.md")
    return int(not fresh)


if __name__ == "__main__":
    sys.exit(main())
