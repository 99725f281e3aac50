#!/usr/bin/env python3
"""clang-format would change no C file. The way out: clang-format -i FILE."""
import re
import subprocess

import source


def main():
    files = source.c_files()
    result = subprocess.run(
        ["clang-format", "--dry-run", "--Werror", *files], cwd=source.ROOT, capture_output=True,
        text=True,
    )
    unformatted = sorted(set(re.findall(r"^(\S+?):\d+:\d+: error", result.stderr, flags=re.M)))
    faults = [f"{name} is not formatted: run clang-format -i {name}" for name in unformatted]
    if result.returncode and not faults:
        faults = result.stderr.splitlines()
    source.report([("every C file is formatted", faults)])


if __name__ == "__main__":
    main()
