#!/usr/bin/env python3
"""Runs one suite and counts its single tests, as the test programs report them in TAP.

usage: tally.py RESULT SUITE ctest BUILD_DIR JOBS LABEL...
       tally.py RESULT SUITE programs PROGRAM...      each with its arguments in one word

It shows one line a program, what a program says beside TAP, and a failed one's whole output. RESULT
gets one JSON object a program: its suite, its name, and the tests that passed, failed and were
skipped. Exit 1 when anything failed. A program that crashed, that ran out of time, that ran fewer
tests than it announced, or none, counts as failed even when each test that it reported passed. So
does a ctest that ended before all of its programs had.
"""
import json
import os
import re
import shlex
import subprocess
import sys
import time

TAP = re.compile(r"(not )?ok\b(?: (\d+))?(?:\s*-)?\s*(# ?SKIP\b)?\s*(.*)")
PLAN = re.compile(r"1\.\.(\d+)$")
CTEST_OUTPUT = re.compile(r"^(\d+): ?(.*)$")
CTEST_END = re.compile(r"^ *\d+/(\d+) Test +#(\d+): (\S+) \.+ *(.*?) +([\d.]+) sec")


def judge(name, lines, healthy, ending):
    """Counts the TAP in LINES. HEALTHY: the program ended with status 0; ENDING says how it did."""
    passed, failed, skipped, announced, reported = [], [], [], 0, 0
    for number, line in enumerate(lines):
        plan, test = PLAN.match(line), TAP.match(line)
        if plan:
            announced += int(plan.group(1))
        elif test:
            reported += test.group(2) is not None
            if test.group(3):
                reason = lines[number - 1] if number and not is_tap(lines[number - 1]) else ""
                skipped.append(f"{test.group(4)}: {reason or 'it gives no reason'}")
            elif test.group(1):
                failed.append(test.group(4))
            else:
                passed.append(test.group(4))
    if not passed + failed + skipped:
        failed.append(f"{name} reported no test ({ending})")
    elif reported < announced:
        failed.append(f"{name} reported {reported} of {announced} tests ({ending})")
    elif not healthy and not failed:
        failed.append(f"{name} ended badly after its tests ({ending})")
    return {"name": name, "passed": passed, "failed": failed, "skipped": skipped}


def is_tap(line):
    return bool(PLAN.match(line) or TAP.match(line))


def show(result, lines, seconds):
    failed, skipped = len(result["failed"]), len(result["skipped"])
    counts = f"{len(result['passed']):4} passed"
    counts += f", {failed} FAILED" if failed else ""
    counts += f", {skipped} skipped" if skipped else ""
    print(f"  {result['name']:<28}{seconds:8.2f} s  {counts}", flush=True)
    if failed:
        for line in lines:
            print(f"    | {line}")
    for name in result["failed"]:
        print(f"    FAILED {name}")
    for name in result["skipped"]:
        print(f"    skipped {name}")
    sys.stdout.flush()


def run_ctest(build, jobs, labels):
    """Yields (result, lines, seconds) for each test that ctest runs under one of the labels; then,
    when that cannot have been all, one for ctest itself."""
    outputs, other = {}, []
    count = announced = bad = 0
    begin = time.monotonic()
    command = ["ctest", "--test-dir", build, "-V", "-j", jobs, "-L", f"^({'|'.join(labels)})$"]
    with subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, text=True, errors="replace",
                          env={**os.environ, "CMOCKA_MESSAGE_OUTPUT": "TAP"}) as process:
        for line in process.stdout:
            line = line.rstrip("\n")
            output, end = CTEST_OUTPUT.match(line), CTEST_END.match(line)
            if output:
                outputs.setdefault(output.group(1), []).append(output.group(2))
            elif end:
                # The first lines are ctest's own: the command, its folder, its time limit.
                lines = [text for text in outputs.get(end.group(2), [])
                         if not re.match(r"(Test command|Working Directory|Environment "
                                         r"variables):|Test timeout computed", text)]
                how = end.group(4).strip("*: ")
                result = judge(end.group(3), lines, how == "Passed", how)
                announced = int(end.group(1))
                count += 1
                bad += bool(result["failed"])
                yield result, lines, float(end.group(5))
            else:
                other.append(line)
    ending = f"ctest ended with status {process.returncode}"
    failed = ([f"{ending} after {count} of {announced} programs"] if count < announced else
              [f"{ending}, and no program failed"] if process.returncode and not bad else [])
    if failed:
        result = {"name": "ctest", "passed": [], "failed": failed, "skipped": []}
        yield result, other, time.monotonic() - begin


def run_programs(programs):
    for program in programs:
        begin, command = time.monotonic(), shlex.split(program)
        done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, text=True, errors="replace")
        lines = done.stdout.splitlines()
        result = judge(os.path.basename(command[0]), lines, done.returncode == 0,
                       f"exit status {done.returncode}")
        yield result, lines, time.monotonic() - begin
        for line in lines if not result["failed"] else []:
            if not is_tap(line) and not line.startswith("#"):
                print(f"    {line}", flush=True)


def main():
    result_path, suite, kind, *rest = sys.argv[1:]
    runs = run_ctest(rest[0], rest[1], rest[2:]) if kind == "ctest" else run_programs(rest)
    count = bad = 0
    with open(result_path, "a", encoding="utf-8") as file:
        for result, lines, seconds in runs:
            show(result, lines, seconds)
            print(json.dumps({"suite": suite, **result}), file=file, flush=True)
            count += 1
            bad += bool(result["failed"])
        if not count:
            name = " ".join(rest)
            print(f"  no test found: {name}")
            print(json.dumps({"suite": suite, "name": name, "passed": [],
                              "failed": [f"{name}: no test found"], "skipped": []}), file=file)
    return 1 if bad or not count else 0


if __name__ == "__main__":
    sys.exit(main())
