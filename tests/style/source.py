"""What the style tests share: the list of C files, their text without comments, and TAP."""
import os
import re
import subprocess
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

# The pure modules: same inputs, same outputs; they know no clock, no I/O, no log, no Kafka. Of the
# two services that is everything but the wiring.
PURE = re.compile(
    r"services/(vm|volume)-service/(?!main\.c)\w+\.[ch]$"
    r"|services/host-agent/(\w+_core\w*|domain_\w+|nic_\w+|firmware|nvram_vars)\.[ch]$"
)


def c_files():
    """Every C file of the tree that git tracks or would track, relative to the root."""
    listed = subprocess.run(
        ["git", "-c", "safe.directory=*", "ls-files", "-z", "--cached", "--others",
         "--exclude-standard", "--", "*.c", "*.h"],
        cwd=ROOT, check=True, capture_output=True, text=True,
    ).stdout.split("\0")
    return sorted(name for name in set(listed) if name and os.path.exists(path(name)))


def path(name):
    return os.path.join(ROOT, name)


def read(name):
    with open(path(name), encoding="utf-8") as file:
        return file.read()


def code(name):
    """The file with comments, strings and character constants blanked; its lines stay its lines."""
    pattern = r'//[^\n]*|/\*.*?\*/|"(?:\\.|[^"\\\n])*"|\'(?:\\.|[^\'\\\n])*\''

    def blank(match):
        return re.sub(r"[^\n]", " ", match.group())

    return re.sub(pattern, blank, read(name), flags=re.S)


def report(tests):
    """Prints TAP for a list of (name, list of faults) and ends the process."""
    print(f"1..{len(tests)}")
    for number, (name, faults) in enumerate(tests, 1):
        print(f"{'not ok' if faults else 'ok'} {number} - {name}")
        for fault in faults:
            print(f"# {fault}")
    sys.exit(any(faults for _, faults in tests))
