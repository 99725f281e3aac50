#!/usr/bin/env python3
"""tests/lib/requirements.py finds what it is there to find: each plant below has its one fault."""
import importlib.util
import io
import os
import tempfile

import source

REQUIRED = ["S1", "VM1"]
WORDS = ["StartVm"]
GOOD = """
| id | behaviour | tests |
|---|---|---|
| S1 | Six types | `unit/test_a: one, two` |
| VM1 | `StartVm` starts | `e2e/test_b: three` |
"""
REGRESSION = """
## R1. It was lost
Elsewhere: [them #1](https://example.org/1). `unit/test_a: one`
"""
INVARIANT = """
## I1. It lasts
| tests | `unit/test_a: one` `sim/virtbus-sim: I1, model` `soak/run: I1 it is there` |
"""
RESULTS = {
    ("unit", "test_a"): {"passed": ["one", "two"], "failed": ["bad"], "skipped": ["left: no disk"]},
    ("e2e", "test_b"): {"passed": ["three"], "failed": [], "skipped": []},
    ("sim", "virtbus-sim"): {"passed": ["I1", "I2", "model"], "failed": [], "skipped": []},
    ("soak", "run"): {"passed": ["I1 it is there"], "failed": [], "skipped": []},
}


def load(path):
    spec = importlib.util.spec_from_file_location("judge", source.path(path))
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


judge = load("tests/lib/requirements.py")
tally = load("tests/lib/tally.py")


def faults(text, required=REQUIRED, words=WORDS):
    record = judge.check("plant", judge.parse(text), required, words, RESULTS, io.StringIO())
    assert bool(record["passed"]) != bool(record["failed"])
    return record["failed"]


def expect(text, *expected, **options):
    """What is wrong with the judgement of TEXT: it must be exactly these faults."""
    found = faults(text, **options)
    return [] if found == list(expected) else [f"expected {list(expected)}, found {found}"]


def plants():
    def without(line):
        return "\n".join(text for text in GOOD.splitlines() if not text.startswith(line))

    yield "a whole document passes", expect(GOOD)
    yield "a missing id is a fault", expect(without("| S1"), "S1: no row has this id")
    yield "an id that is no requirement is a fault", expect(
        GOOD + "| S99 | More | `unit/test_a: one` |", "S99: not an id of the list")
    yield "an id that is there twice is a fault", expect(
        GOOD + "| S1 | Again | `unit/test_a: one` |", "S1: twice there")
    yield "an unknown test is a fault", expect(
        GOOD.replace("two", "tow"), "S1: unit/test_a: tow: no such test")
    yield "a failed test is a fault", expect(
        GOOD.replace("two", "bad"), "S1: unit/test_a: bad: failed")
    yield "a skipped test is a fault", expect(
        GOOD.replace("two", "left"), "S1: unit/test_a: left: was skipped")
    yield "a program that did not run is a fault", expect(
        GOOD.replace("test_b", "test_c"), "VM1: e2e/test_c: three: its program did not run")
    yield "a suite that there is not is a fault", expect(
        GOOD.replace("e2e/", "e3e/"), "VM1: e3e/test_b: three: no such suite")
    yield "a row without a test is a fault", expect(
        GOOD.replace("`e2e/test_b: three`", ""), "VM1: `StartVm` starts: no test shows it")
    yield "a row may lack a test only where that is said", expect(
        "## Not yet\n| K6 | Containers | |\n## Here\n| S1 | Six | |", "S1: Six: no test shows it",
        required=["K6", "S1"], words=[])
    yield "a word of the contract that no row names is a fault", expect(
        GOOD, "StopVm: of the contract, and named by no row", words=["StartVm", "StopVm"])
    yield "a regression passes", expect(REGRESSION, required=["R1"], words=[])
    yield "a regression that cites nobody is a fault", expect(
        REGRESSION.replace("https:", ""), "R1: It was lost: cites no public issue",
        required=["R1"], words=[])
    yield "an invariant passes", expect(INVARIANT, required=["I1"], words=[])
    yield "an invariant without the simulator's check of it is a fault", expect(
        INVARIANT.replace("sim: I1", "sim: I2"), "I1: It lasts: sim's own check of it is not named",
        required=["I1"], words=[])
    yield "an invariant without the soak's check of it is a fault", expect(
        INVARIANT.replace("soak/run: I1 it is there", ""),
        "I1: It lasts: soak's own check of it is not named", required=["I1"], words=[])


def ctest(ends, status):
    """What tally.py finds wrong with a ctest that reports these ends and has this status."""
    with tempfile.TemporaryDirectory() as folder:
        name = os.path.join(folder, "ctest")
        with open(name, "w", encoding="utf-8") as file:
            file.write("#!/bin/sh\n")
            for number, (of, how) in enumerate(ends, 1):
                file.write(f"echo '{number}: 1..1'\necho '{number}: ok 1 - one'\n"
                           f"echo '{number}/{of} Test #{number}: test_a ...   {how}    0.01 sec'\n")
            file.write(f"exit {status}\n")
        os.chmod(name, 0o755)
        before = os.environ["PATH"]
        os.environ["PATH"] = f"{folder}:{before}"
        try:
            runs = list(tally.run_ctest(".", "1", ["unit"]))
        finally:
            os.environ["PATH"] = before
    return [fault for result, _, _ in runs for fault in result["failed"]]


def expect_ctest(ends, status, *expected):
    found = ctest(ends, status)
    return [] if found == list(expected) else [f"expected {list(expected)}, found {found}"]


def tallies():
    yield "a ctest that ran all it announced passes", expect_ctest(
        [(2, "Passed"), (2, "Passed")], 0)
    yield "a ctest that ended too soon is a fault", expect_ctest(
        [(3, "Passed"), (3, "Passed")], 0, "ctest ended with status 0 after 2 of 3 programs")
    yield "a ctest that died is a fault", expect_ctest(
        [(1, "Passed")], 134, "ctest ended with status 134, and no program failed")
    yield "a ctest that died before its first program is a fault", expect_ctest(
        [], 134, "ctest ended with status 134, and no program failed")
    yield "a program that failed is told once", expect_ctest(
        [(1, "***Failed")], 8, "test_a ended badly after its tests (Failed)")


def contract():
    words = list(judge.contract_words(source.read("proto/virtbus/v1/types.proto"),
                                      source.read("proto/virtbus/v1/vm.proto")))
    yield "commands, statuses and fields are read from the contract", [
        f"{word} is not found" for word in ("CreateVm", "MigrateVm", "Quarantined", "nvram", "disks",
                                            "panic_device") if word not in words]
    record = tally.judge("test_a", ["1..2", "ok 1 - one", "not ok 2 - bad"], False, "exit status 1")
    yield "tally.py gives names", [] if (record["passed"], record["failed"]) == (
        ["one"], ["bad"]) else [str(record)]


if __name__ == "__main__":
    source.report([*plants(), *tallies(), *contract()])
