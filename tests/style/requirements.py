#!/usr/bin/env python3
"""tests/lib/requirements.py finds what it is there to find: each plant below has its one fault."""
import importlib.util
import io

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
RESULTS = {
    ("unit", "test_a"): {"passed": ["one", "two"], "failed": ["bad"], "skipped": ["left: no disk"]},
    ("e2e", "test_b"): {"passed": ["three"], "failed": [], "skipped": []},
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
        "## Not yet\n| K4 | Replay | |\n## Here\n| S1 | Six | |", "S1: Six: no test shows it",
        required=["K4", "S1"], words=[])
    yield "a word of the contract that no row names is a fault", expect(
        GOOD, "StopVm: of the contract, and named by no row", words=["StartVm", "StopVm"])
    yield "a regression passes", expect(REGRESSION, required=["R1"], words=[])
    yield "a regression that cites nobody is a fault", expect(
        REGRESSION.replace("https:", ""), "R1: It was lost: cites no public issue",
        required=["R1"], words=[])


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
    source.report([*plants(), *contract()])
