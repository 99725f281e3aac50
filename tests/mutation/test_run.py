#!/usr/bin/env python3
"""Tests run: whether a mutant is called caught where a test failed, and nowhere else.

usage: test_run.py [--build DIR]    the same folder as run's: nothing is built twice

The mutants here do not stand in the mutants' files, but for two. It says in TAP what it found.
"""
import importlib.machinery
import importlib.util
import os
import sys
import tempfile

sys.dont_write_bytecode = True
LOADER = importlib.machinery.SourceFileLoader(
    "run", os.path.join(os.path.dirname(os.path.abspath(__file__)), "run"))
gate = importlib.util.module_from_spec(importlib.util.spec_from_loader("run", LOADER))
LOADER.exec_module(gate)

PROGRAM = "test_volume_core"
FILE = "services/volume-service/volume_core.c"
REAL, REAL_SIM = "volume-deadline-of-something-else-counts", "volume-second-nvram"
BEGIN = "__attribute__((constructor)) static void begin(void)\n"


class Appended(gate.Mutant):
    """A mutant that is the file with a text behind it."""

    def __init__(self, catcher, text):
        super().__init__(f"[x]\nbreaks nothing\nin {FILE}\ncaught by {catcher}\n-x\n", "here")
        self.text = text

    def mutated(self):
        with open(os.path.join(gate.ROOT, FILE), encoding="utf-8") as file:
            return {FILE: file.read() + self.text}


def real(name, catcher):
    """A mutant of the files, with another catcher."""
    mutant = next(mutant for mutant in gate.read_mutants() if mutant.name == name)
    mutant.catchers = [gate.Catcher(catcher, "here")]
    return mutant


def cases(build):
    """(what it is, mutant, what must become of it)"""
    failing = build.notice(gate.Catcher(PROGRAM, "here"), failing_program(build))
    other = min(build.tests[PROGRAM] - {failing})
    crash = BEGIN + "{\n    __builtin_trap();\n}\n"
    yield "changes_nothing", Appended(PROGRAM, "\n"), gate.SURVIVED
    yield "does_not_compile", Appended(PROGRAM, "#error no\n"), gate.ERROR
    yield "does_not_link", Appended(PROGRAM, "int main(void);\nint main(void)\n{ return 0; }\n"), gate.ERROR
    yield "has_lines_that_are_gone", gate.Mutant(
        f"[x]\nbreaks nothing\nin {FILE}\ncaught by {PROGRAM}\n-    no such line\n", "here"), gate.ERROR
    yield "crashes_at_once", Appended(PROGRAM, crash), gate.ERROR
    yield "ends_with_an_error_and_no_test", Appended(
        PROGRAM, "#include <unistd.h>\n" + BEGIN + "{\n    _exit(3);\n}\n"), gate.ERROR
    yield "ends_well_and_with_no_test", Appended(
        PROGRAM, "#include <unistd.h>\n" + BEGIN + "{\n    _exit(0);\n}\n"), gate.ERROR
    hang = "#include <unistd.h>\n" + BEGIN + "{\n    for (;;) {\n        pause();\n    }\n}\n"
    yield "hangs", Appended(PROGRAM, hang), gate.ERROR
    yield "hangs_as_it_should", Appended(f"{PROGRAM} (hang)", hang), gate.CAUGHT
    abort = BEGIN + "{\n    g_assert_not_reached();\n}\n"
    yield "aborts", Appended(PROGRAM, abort), gate.ERROR
    yield "aborts_as_it_should", Appended(f"{PROGRAM} (abort)", abort), gate.CAUGHT
    yield "fails_a_test", real(REAL, PROGRAM), gate.CAUGHT
    yield "fails_the_named_test", real(REAL, f"{PROGRAM}: {failing}"), gate.CAUGHT
    yield "fails_another_test", real(REAL, f"{PROGRAM}: {other}"), gate.SURVIVED
    yield "names_no_test_that_is_there", real(REAL, f"{PROGRAM}: no_such_test"), gate.ERROR
    yield "fails_and_should_hang", real(REAL, f"{PROGRAM} (hang)"), gate.SURVIVED
    yield "changes_nothing_in_the_simulator", Appended("sim: I2", "\n"), gate.SURVIVED
    yield "breaks_its_invariant", real(REAL_SIM, "sim: I2"), gate.CAUGHT
    yield "breaks_another_invariant", real(REAL_SIM, "sim: I7"), gate.SURVIVED
    yield "crashes_the_simulator_at_once", Appended("sim: I2", crash), gate.ERROR


def failing_program(build):
    """The program with the real mutant in it; it lies in the build's folder."""
    return build.link_with(PROGRAM, build.mutate(real(REAL, PROGRAM), build.scratch), build.scratch)


def is_missed_when_the_simulator_is_broken_itself(build):
    """A seed that breaks an invariant without the mutant too says nothing about the mutant."""
    mutant = real(REAL_SIM, "sim: I2")
    path = build.link_with("sim", build.mutate(mutant, build.scratch), build.scratch)
    front, _, libraries = build.link["sim"]
    build.link["sim"] = front, path, libraries
    return build.notice(mutant.catchers[0], path) is None


def is_no_catch_when_the_program_is_gone(build):
    try:
        build.notice(gate.Catcher(PROGRAM, "here"), "/no/such/program")
        return False
    except gate.Broken:
        return True


def judged(build):
    """(name, whether the gate said the right thing, what it said) of each test"""
    for name, mutant, expected in cases(build):
        verdict, notes = gate.judge(build, mutant)
        yield f"{name}: {expected}", verdict == expected, [f"it is {verdict}", *notes]
    for test in (is_no_catch_when_the_program_is_gone, is_missed_when_the_simulator_is_broken_itself):
        yield test.__name__, test(build), []
    for text in ("sim", "sim: I2 (hang)", "test_x: (hang)", "test_x test_y"):
        try:
            gate.Catcher(text, "here")
            yield f"refuses the entry '{text}'", False, []
        except gate.Broken:
            yield f"refuses the entry '{text}'", True, []


def main():
    gate.SIM_SEEDS = 2 * gate.SIM_PART
    with tempfile.TemporaryDirectory() as folder:
        if sys.argv[1:2] == ["--build"]:
            folder = os.path.abspath(sys.argv[2])
        build = gate.Build(folder, sorted((PROGRAM, gate.SIM)), os.cpu_count())
        build.limit_s[PROGRAM] = 20
        with tempfile.TemporaryDirectory(dir=folder) as build.scratch:
            bad = number = 0
            for number, (name, ok, notes) in enumerate(judged(build), 1):
                bad += not ok
                print(f"{'ok' if ok else 'not ok'} {number} - {name}", flush=True)
                for note in notes if not ok else []:
                    print(f"# {note}")
        print(f"1..{number}")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
