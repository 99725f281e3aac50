"""Reads `virtbusctl --json vm timeline` and prints each hop of each saga: who took how long to answer what.

A hop is the time between two records of one saga, by the broker's clock. State, journal and progress are no hops.
"""
import json
import sys

ANSWERS = {"Reply", "VolumesPrepared", "VolumesExpunged", "VolumesRead"}
READS = {"GetVm", "ListVolumes"}
WHO = {"volume.commands": "vm-service", "vm.events": "vm-service", "volume.events": "volume-service",
       "vm.reports": "host-agent", "volume.reports": "host-agent"}


def is_hop(row):
    topic, kind = row["topic"], row["kind"]
    if topic in ("vm.events", "volume.events"):
        return kind in ANSWERS
    return topic == "vm.commands" or topic.endswith((".commands", ".reports"))


def who(row):
    """Who wrote the record. Both services write to hosts; what is asked tells which."""
    if row["topic"].startswith("host."):
        return "volume-service" if row["kind"].endswith("Volumes") else "vm-service"
    return WHO[row["topic"]]


def sagas(rows):
    """Each command of a control plane with the hops up to its reply."""
    saga = []
    for row in filter(is_hop, rows):
        if row["topic"] == "vm.commands":
            saga = [row]
        elif saga:
            saga.append(row)
            if row["kind"] == "Reply":
                if saga[0]["kind"] not in READS:
                    yield saga
                saga = []


print(f"  {'saga':<12} {'who':<15} {'from':<16} {'to':<16} {'ms':>7}")
for number, saga in enumerate(sagas(json.load(sys.stdin))):
    name = saga[0]["kind"]
    for before, after in zip(saga, saga[1:]):
        took_ms = after["time_ms"] - before["time_ms"]
        print(f"  {name:<12} {who(after):<15} {before['kind']:<16} {after['kind']:<16} {took_ms:>7}")
        name = ""
    total_ms = saga[-1]["time_ms"] - saga[0]["time_ms"]
    print(f"  {'':<12} {'':<15} {'':<16} {'in all':<16} {total_ms:>7}")
