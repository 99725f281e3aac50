#!/usr/bin/env python3
"""What idle daemons cost. Arguments: seconds, a label, NAME=PID ... One line each, separated by tabs:
idle, label, name, then RSS, anonymous RSS, PSS and private memory in kB, CPU in percent of one core, context
switches a second, threads."""
import glob
import sys
import time


def kilobytes(pid, file, *names):
    with open(f"/proc/{pid}/{file}") as lines:
        return sum(int(line.split()[1]) for line in lines if line.split(":")[0] in names)


def spent(pid):
    """CPU time in seconds, exact to nanoseconds where ticks are 10 ms, and context switches; of all threads."""
    cpu_ns = switches = 0
    for task in glob.glob(f"/proc/{pid}/task/*"):
        with open(f"{task}/schedstat") as file:
            cpu_ns += int(file.read().split()[0])
        with open(f"{task}/status") as lines:
            switches += sum(int(line.split()[1]) for line in lines if "ctxt_switches" in line)
    return cpu_ns / 1e9, switches


seconds, label, *daemons = sys.argv[1:]
pids = dict(daemon.split("=") for daemon in daemons)
before = {name: spent(pid) for name, pid in pids.items()}
begin = time.monotonic()
time.sleep(int(seconds))
after = {name: spent(pid) for name, pid in pids.items()}
took = time.monotonic() - begin
for name, pid in pids.items():
    print("idle", label, name, kilobytes(pid, "status", "VmRSS"), kilobytes(pid, "status", "RssAnon"),
          kilobytes(pid, "smaps_rollup", "Pss"),
          kilobytes(pid, "smaps_rollup", "Private_Clean", "Private_Dirty"),
          round(100 * (after[name][0] - before[name][0]) / took, 3),
          round((after[name][1] - before[name][1]) / took, 1),
          kilobytes(pid, "status", "Threads"), sep="\t")
