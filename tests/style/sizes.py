#!/usr/bin/env python3
"""A function fits a screen, and a main.c is wiring."""
import os

import source

MAIN_LINES = 150
FUNCTION_LINES = 70


def functions(name):
    """(first line, lines) of each function body. The format puts both its braces in column 0."""
    start = None
    for number, line in enumerate(source.code(name).splitlines(), 1):
        if line.rstrip() == "{":
            start = number
        elif line.rstrip() == "}" and start:
            yield start, number - start + 1
            start = None


def main():
    mains, long = [], []
    for name in source.c_files():
        lines = source.read(name).count("\n")
        if os.path.basename(name) == "main.c" and lines > MAIN_LINES:
            mains.append(f"{name} has {lines} lines, more than {MAIN_LINES}")
        for start, size in functions(name):
            if size > FUNCTION_LINES:
                long.append(f"{name}:{start}: {size} lines, more than {FUNCTION_LINES}")
    source.report([
        (f"no main.c over {MAIN_LINES} lines", mains),
        (f"no function over {FUNCTION_LINES} lines", long),
    ])


if __name__ == "__main__":
    main()
