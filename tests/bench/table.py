#!/usr/bin/env python3
"""Reads what the measuring programs wrote, tab-separated lines, and prints tables for people. Of a latency that was
measured in several rounds, the medians of its percentiles."""
import statistics
import sys

BARE = "bare hop"
SECOND = "bare hop, the second in a row"
# A hop that begins with a record that was read, not produced, is compared with a bare hop that does the same.
READ_TO_READ = {SECOND, "PrepareVolumes -> CreateVolumes", "VolumesPrepared -> StartDomain"}
KINDS = {"bare": "bare hop", "get": "GetVm, answered", "create": "CreateVm, answered"}


def latencies(rows):
    rounds = {}
    for name, number, p50, p99 in rows:
        rounds.setdefault(name, []).append((int(number), float(p50), float(p99)))
    found = {name: [sum(r[0] for r in of)] + [statistics.median(r[i] for r in of) for i in (1, 2)]
             for name, of in rounds.items()}
    print(f"\nLatency, ms ({len(rounds[BARE])} rounds; read committed, one record a transaction)")
    print(f"  {'':<36}{'n':>6}{'p50':>8}{'p99':>8}   {'p50 and p99 in bare hops':<24}")
    for name, (number, p50, p99) in found.items():
        bare = found[SECOND if name in READ_TO_READ else BARE]
        ratio = "" if name in (BARE, SECOND) else f"{p50 / bare[1]:>6.2f}{p99 / bare[2]:>8.2f}"
        print(f"  {name:<36}{number:>6}{p50:>8.1f}{p99:>8.1f}   {ratio}")


def throughputs(rows):
    bare = max(float(row[2]) for row in rows if row[0] == "bare")
    print("\nThroughput of queued records, in batches of up to 500")
    print(f"  {'':<36}{'n':>6}{'a second':>10}   {'of the bare hop':<20}")
    for kind in KINDS:
        of = [row for row in rows if row[0] == kind]
        if of:
            best = max(float(row[2]) for row in of)
            print(f"  {KINDS[kind]:<36}{of[0][1]:>6}{best:>10.0f}   {100 * best / bare:>5.0f} %")


def starts(rows):
    print("\nThe agent's start against plain `virsh create --validate` of the same XML, ms, medians")
    print(f"  {'':<36}{'n':>6}{'agent':>8}{'virsh':>8}{'ratio':>8}   {'ovs-vsctl add-port alone':<24}")
    for kind in dict.fromkeys(row[0] for row in rows):
        of = [[float(value) for value in row[1:]] for row in rows if row[0] == kind]
        agent, virsh, port = (statistics.median(row[i] for row in of) for i in range(3))
        print(f"  {kind:<36}{len(of):>6}{agent:>8.0f}{virsh:>8.0f}{agent / virsh:>8.2f}   {port:>6.0f}")
    print("  With a vhost-user NIC both wait for OVS, which looks for a new socket once a second: up to 1000 ms of chance.")


def idle(rows):
    print("\nIdle for 30 s, measured over 20 s (aims: RSS under 15 MB, CPU near 0)")
    print(f"  {'':<30}{'RSS':>9}{'anonymous':>11}{'PSS':>9}{'private':>9}{'CPU':>9}{'switches':>11}{'threads':>9}")
    for label, name, *values in rows:
        rss, anonymous, pss, private = (int(value) / 1024 for value in values[:4])
        cpu, switches, threads = values[4:]
        print(f"  {name + ', ' + label:<30}{rss:>6.1f} MB{anonymous:>8.1f} MB{pss:>6.1f} MB{private:>6.1f} MB"
              f"{float(cpu):>7.2f} %{switches:>9}/s{threads:>9}")


PRINTERS = {"latency": latencies, "throughput": throughputs, "start": starts, "idle": idle}
lines = [line.rstrip("\n").split("\t") for line in sys.stdin]
for kind, printer in PRINTERS.items():
    of = [line[1:] for line in lines if line[0] == kind]
    if of:
        printer(of)
