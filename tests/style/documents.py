#!/usr/bin/env python3
"""The documents are true where a machine can tell: made pages are fresh, links and paths lead on."""
import glob
import os
import re
import subprocess
import sys

import source

LINK = re.compile(r"\]\(([^)#\s]*)(?:#([\w-]+))?\)")
CODE_PATH = re.compile(r"`((?:common|docs|proto|services|tests|tools)/[\w./-]+)`")


def documents():
    return ["README.md", *sorted(os.path.relpath(name, source.ROOT)
                                 for name in glob.glob(source.path("docs/*.md")))]


def prose(name):
    """The text without blocks of code."""
    return re.sub(r"^```.*?^```", "", source.read(name), flags=re.S | re.M)


def anchors(name):
    """The anchors that a code host gives to headings."""
    for heading in re.findall(r"^#+ (.+)$", prose(name), re.M):
        yield re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-")


def stale_messages():
    made = subprocess.run([sys.executable, source.path("proto/messages.py")], capture_output=True,
                          text=True, check=True).stdout
    if made == source.read("docs/MESSAGES.md"):
        return []
    return ["docs/MESSAGES.md is not what the .proto files say: run "
            "proto/messages.py >docs/MESSAGES.md"]


def mute_errors():
    rows = re.findall(r"^\| `(ERROR_CODE_\w+)` \| \d+ \| (.*) \| (.*) \|$",
                      source.read("docs/MESSAGES.md"), re.M)
    faults = [] if rows else ["docs/MESSAGES.md has no error codes"]
    return faults + [f"{name} has no meaning or no way out in error.proto"
                     for name, meaning, way_out in rows if not meaning or not way_out]


def dead_links():
    faults = []
    for name in documents():
        for target, anchor in LINK.findall(prose(name)):
            if target.startswith("http"):
                continue
            path = os.path.normpath(os.path.join(os.path.dirname(name), target)) if target else name
            if not os.path.exists(source.path(path)):
                faults.append(f"{name}: there is no {path}")
            elif anchor and path.endswith(".md") and anchor not in anchors(path):
                faults.append(f"{name}: {path} has no heading #{anchor}")
    return faults


def dead_paths():
    return [f"{name}: there is no {path}" for name in documents()
            for path in CODE_PATH.findall(prose(name))
            if not glob.glob(source.path(path.replace("...", "*")))]


EVENT = re.compile(r'log_event\(\s*[^,"]*\bVB_LOG_(?:WARNING|ERROR)\b[^,"]*,\s*"([\w-]+)"')
METRIC = re.compile(r'METRICS_(?:COUNTER|GAUGE|HISTOGRAM)\(\s*"(\w+)"')


def untold_events():
    """Both ways: every warning and error is in the table of events, and each of those in the code."""
    code = "".join(source.read(name) for name in source.c_files()
                   if name.startswith(("common/", "services/")))
    table = source.read("docs/OPERATIONS.md").partition("### Log events")[2].partition("\n## ")[0]
    told = {event for cell in re.findall(r"^\| (`.*?) \|", table, re.M)
            for event in re.findall(r"`([\w-]+)`", cell)}
    said = set(EVENT.findall(code))
    faults = [] if said else ["no event is found in the code"]
    faults += [f"docs/OPERATIONS.md: the log event {event} is not in its table"
               for event in sorted(said - told)]
    faults += [f"docs/OPERATIONS.md: no code logs the event {event}"
               for event in sorted(told) if f'"{event}"' not in code]
    metrics = set(METRIC.findall(code))
    return faults + [f"docs/OPERATIONS.md: there is no metric {name}"
                     for name in sorted(set(re.findall(r"`(virtbus_\w+)`",
                                                       source.read("docs/OPERATIONS.md"))))
                     if name not in metrics]


if __name__ == "__main__":
    source.report([
        ("docs/MESSAGES.md is made of the .proto files as they are", stale_messages()),
        ("every error code has a meaning and a way out", mute_errors()),
        ("links lead to a file and a heading", dead_links()),
        ("paths in the documents exist", dead_paths()),
        ("log events and metrics in OPERATIONS.md are the code's", untold_events()),
    ])
