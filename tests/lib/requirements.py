#!/usr/bin/env python3
"""Judges whether tests that passed show what REQUIREMENTS, REGRESSIONS and INVARIANTS in docs/ promise.

usage: requirements.py suites           the suites whose tests the documents name
       requirements.py check RESULTS    each id with its tests and results; RESULTS is tally.py's

An id begins a table's row (| S1 | ...) or a heading (## R1. ...). The tests that show it follow as
code, `suite/program: test` or `suite/program: test, test`, up to the next id. Exit 1 when an id is
missing or twice there, when it names no test, or one that is unknown, failed or did not run; when a
command, a status or a configuration field of the contract is named by no requirement; when a
regression cites nobody; and when an invariant names no check of its own in sim or soak. Ids of the section "Not yet" need no test.
"""
import json
import os
import re
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
SUITES = ("style", "unit", "golden", "scenario", "sim", "inject", "fuzz", "integration", "e2e", "soak",
          "replay")

NOT_YET = ("S19", "K6", "K7", "VM40")
LAST = {"S": 21, "N": 9, "K": 7, "VM": 40, "F": 19, "C": 6}
INVARIANTS = [f"I{number}" for number in range(1, 11)]
REQUIRED = [f"{letter}{number}" for letter, last in LAST.items() for number in range(1, last + 1)]

ID = re.compile(r"\| *([A-Z]+\d+) *\| *([^|]*)|## ([A-Z]+\d+)\. *(.*)")
TESTS = re.compile(r"`([a-z0-9-]+)/([\w.-]+): ([^`]+)`")
LINK = re.compile(r"\]\(https://\S+\)")


class Entry:
    """One id of a document: what it says, its whole text, and its tests."""

    def __init__(self, name, says, section):
        self.name, self.says, self.section = name, says.strip(), section
        self.text = ""

    def tests(self):
        for suite, program, names in TESTS.findall(self.text):
            for name in names.split(","):
                yield suite, program, name.strip()


def parse(text):
    entries, section = [], ""
    for line in text.splitlines():
        found = ID.match(line)
        if found:
            entries.append(Entry(found[1] or found[3], found[2] or found[4], section))
        elif line.startswith("#"):
            section = line.lstrip("# ")
            continue
        if entries and (found or entries[-1].section == section):
            entries[-1].text += line + "\n"
    return entries


def contract_words(types, commands):
    """What the contract lets a control plane say and hear: each must be named in a row."""
    oneof = re.search(r"oneof command \{(.*?)\}", commands, re.S)[1]
    yield from re.findall(r"^\s*(\w+) \w+ = \d+;", oneof, re.M)
    for status in re.findall(r"\bVM_STATUS_(\w+) = [1-9]", types):
        yield status.title().replace("_", "")
    spec = re.search(r"message VmSpec \{(.*?)\n\}", types, re.S)[1]
    yield from re.findall(r"^\s*(?:repeated )?\w+ (\w+) = \d+;", spec, re.M)


def judge_test(results, suite, program, test):
    """What is wrong with one named test; None: it passed. RESULTS: {(suite, program): record}."""
    if suite not in SUITES:
        return "no such suite"
    record = results.get((suite, program))
    if record is None:
        return "its program did not run"
    if test in record["failed"]:
        return "failed"
    if any(reason.startswith(f"{test}: ") for reason in record["skipped"]):
        return "was skipped"
    return None if test in record["passed"] else "no such test"


def judge_entry(entry, results):
    """[(test or "", fault or None)] of one id."""
    judged = [(f"{suite}/{program}: {test}", judge_test(results, suite, program, test))
              for suite, program, test in entry.tests()]
    if not judged and not (entry.section == "Not yet" and entry.name in NOT_YET):
        judged.append(("", "no test shows it"))
    if entry.name.startswith("R") and not LINK.search(entry.text):
        judged.append(("", "cites no public issue"))
    if entry.name in INVARIANTS:
        cited = [(suite, test.split(" ")[0]) for suite, _, test in entry.tests()]
        judged += [("", f"{suite}'s own check of it is not named") for suite in ("sim", "soak")
                   if (suite, entry.name) not in cited]
    return judged


def missing(entries, required, words):
    names = [entry.name for entry in entries]
    faults = [f"{name}: no row has this id" for name in required if name not in names]
    faults += [f"{name}: not an id of the list" for name in names if name not in required]
    faults += [f"{name}: twice there" for name in sorted(set(names)) if names.count(name) > 1]
    text = "".join(entry.text for entry in entries)
    return faults + [f"{word}: of the contract, and named by no row" for word in words
                     if f"`{word}`" not in text]


def check(name, entries, required, words, results, out):
    """Prints the judgement of one document; returns its record for tally's results."""
    faults = []
    for entry in entries:
        judged = judge_entry(entry, results)
        bad = any(fault for _, fault in judged)
        print(f"  {'FAILED' if bad else 'ok' if judged else 'not yet':8}{entry.name:6}{entry.says}",
              file=out)
        for test, fault in judged:
            print(f"          {test}{' - ' if test and fault else ''}{fault or ''}", file=out)
            if fault:
                faults.append(f"{entry.name}: {test or entry.says}: {fault}")
    for fault in missing(entries, required, words):
        print(f"  FAILED  {fault}", file=out)
        faults.append(fault)
    shown = sum(1 for entry in entries if any(entry.tests()))
    print(f"  {name}: {shown} ids with tests, {len(faults)} faults\n", file=out)
    return {"suite": "requirements", "name": name, "failed": faults, "skipped": [],
            "passed": [] if faults else ["every id is shown by tests that passed"]}


def read(path):
    with open(os.path.join(ROOT, path), encoding="utf-8") as file:
        return file.read()


def read_results(path):
    """{(suite, program): record}; a program that ran twice counts as it ran last."""
    with open(path, encoding="utf-8") as file:
        records = [json.loads(line) for line in file]
    return {(record["suite"], record["name"]): record for record in records}


def main():
    requirements = parse(read("docs/REQUIREMENTS.md"))
    regressions = parse(read("docs/REGRESSIONS.md"))
    invariants = parse(read("docs/INVARIANTS.md"))
    if sys.argv[1:] == ["suites"]:
        named = {test[0] for entry in requirements + regressions + invariants
                 for test in entry.tests()}
        print("\n".join(suite for suite in SUITES if suite in named))
        return 0
    _, path = sys.argv[1:]
    results = read_results(path)
    words = list(contract_words(read("proto/virtbus/v1/types.proto"),
                                read("proto/virtbus/v1/vm.proto")))
    numbered = [f"R{number}" for number in range(1, len(regressions) + 1)]
    records = [
        check("docs/REQUIREMENTS.md", requirements, REQUIRED, words, results, sys.stdout),
        check("docs/REGRESSIONS.md", regressions, numbered, [], results, sys.stdout),
        check("docs/INVARIANTS.md", invariants, INVARIANTS, [], results, sys.stdout),
    ]
    with open(path, "a", encoding="utf-8") as file:
        for record in records:
            print(json.dumps(record), file=file)
    return int(any(record["failed"] for record in records))


if __name__ == "__main__":
    sys.exit(main())
