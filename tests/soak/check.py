#!/usr/bin/env python3
"""Judges what a kill soak left behind: the topics, the agents' audit files, the samples of what ran, and the disks.

usage: check.py scan FOLDER    writes disks.jsonl: what is on the hosts' storages now
       check.py FOLDER         verifies, and tells so in TAP; exit 1 when anything is wrong

Each check counts what it has looked at, and one that looked at nothing fails. A finding names its evidence: the topic,
partition and offset of a record, or the line of a file. I1 to I10 are virtbus's invariants; K1 to K3 are what public
analyses of Kafka-like systems look for and have found, Jepsen's of Redpanda 21.10.1 and Bufstream 0.1.0 above all:
acknowledged writes that are lost, aborted ones that are read, reads that change or go back, torn transactions (a late
EndTxn that ends the transaction behind its own: KIP-890). The last judges the soak itself: whether it did what it is for.
"""
import collections
import glob
import hashlib
import json
import os
import re
import sys
import uuid

SHOWN = 10          # Findings of one check.
HELD_MS = 20000     # Longer than the soak holds any process.
KEPT = 16           # Finished requests that a VM's record remembers.
SEGMENT_S = 3600    # Before as long no state can have been compacted away.
COUNTER_AT = -8     # The guest's number of boots in its variable store: all ones before the first.
LIVE = ("VOLUME_STATUS_NOT_INSTANTIATED", "VOLUME_STATUS_CREATING", "VOLUME_STATUS_READY")
SETTLED = ("VM_STATUS_CREATED", "VM_STATUS_RUNNING", "VM_STATUS_STOPPED", "VM_STATUS_DESTROYED", "VM_STATUS_EXPUNGED",
           "VM_STATUS_CRASHED")
VERIFIED = {"nvram-verified": "VOLUME_TYPE_NV_RAM", "tpm-verified": "VOLUME_TYPE_TPM_STATE"}
READS = ("GetVm", "ListVolumes")
INPUTS = {"vm": ("vm.commands", "vm.reports", "volume.events"), "volume": ("volume.commands", "volume.reports")}
OUTPUTS = {"vm": ("vm.events", "volume.commands"), "volume": ("volume.events",)}


# ---- What there is

class Data:
    """All of it in memory. The self-test damages one of these."""

    def __init__(self, folder):
        with open(os.path.join(folder, "world.json"), encoding="utf-8") as file:
            self.world = json.load(file)
        self.requests = lines(folder, "requests.jsonl")
        self.reader = lines(folder, "reader.jsonl")
        self.samples = lines(folder, "samples.jsonl")
        self.disks = lines(folder, "disks.jsonl")
        self.records = lines(folder, "topics.jsonl")
        self.chaos = lines(folder, "chaos.jsonl")
        with open(os.path.join(folder, "replay.json"), encoding="utf-8") as file:
            self.replay = json.load(file)
        self.lost = lost_transactions(folder)
        self.audit = {host["uuid"]: lines(host["folder"], "audit.jsonl") for host in self.world["hosts"]}
        with open(self.world["template"], "rb") as file:
            self.template = file.read()


def lines(folder, name):
    with open(os.path.join(folder, name), encoding="utf-8") as file:
        return [json.loads(line) for line in file]


def lost_transactions(folder):
    """How often the services lost a transaction, and how, by what they logged."""
    lost = collections.Counter()
    for path in glob.glob(os.path.join(folder, "v*-service-?.log")):
        with open(path, encoding="utf-8", errors="replace") as file:
            lost.update(re.findall(r"^\S+ \w+ +\S+ (aborted|restart|fenced|partition-lost): ", file.read(), flags=re.M))
    return lost


def scan(folder):
    """Every file of the storages but the images, and the boots that a variable store has seen."""
    with open(os.path.join(folder, "world.json"), encoding="utf-8") as file:
        world = json.load(file)
    roots = [os.path.join(host["folder"], "storage") for host in world["hosts"]] + [world["shared"]]
    with open(os.path.join(folder, "disks.jsonl"), "w", encoding="utf-8") as out:
        for root in roots:
            for at, _, names in os.walk(root):
                for name in sorted(names):
                    path = os.path.join(at, name)
                    with open(path, "rb") as file:
                        content = file.read()
                    print(json.dumps({"path": path, "inode": os.lstat(path).st_ino, "size_bytes": len(content),
                                      "sha256": hashlib.sha256(content).hexdigest()}), file=out)


def at(record):
    """Where a record stands, for a person."""
    host = "/" + record["host"] if record["host"] else ""
    return f"{record['topic']}{host}/{record['partition']}/{record['offset']}"


class World:
    """The data, indexed."""

    def __init__(self, data):
        self.data = data
        self.by_topic = collections.defaultdict(list)
        for record in data.records:
            self.by_topic[record["topic"]].append(record)
        self.final = {"vm": {}, "volume": {}}
        for service, states in self.final.items():
            for record in self.by_topic[service + ".state"]:
                states[record["key"]] = record.get("message")
        self.folders = {host["uuid"]: host["folder"] for host in data.world["hosts"]}
        self.volumes = {}       # uuid -> (vm, volume), as any state has last said
        for record in self.by_topic["volume.state"]:
            for volume in record.get("message", {}).get("volumes", {}).get("volumes", []):
                self.volumes[volume["uuid"]] = (record["key"], volume)
        self.disks = {entry["path"]: entry for entry in data.disks}
        self.boots_of = {}      # SHA-256 -> number of boots
        prefix = hashlib.sha256(data.template[:COUNTER_AT])
        for boots in range(1 + sum(len(audit) for audit in data.audit.values())):
            content = prefix.copy()
            content.update(((boots - 1) & 0xffffffff).to_bytes(4, "little") + data.template[COUNTER_AT + 4:])
            self.boots_of[content.hexdigest()] = boots

    def path_of(self, volume, host):
        """Where a volume of the messages lies; None: no host was asked for it yet."""
        if volume["storage"]["name"] == "shared":
            return os.path.join(self.data.world["shared"], volume["install_path"])
        host = volume.get("host_uuid") or host
        return os.path.join(self.folders[host], "storage", volume["install_path"]) if host in self.folders else None

    def audited(self):
        """(host, number of the line, line) of all audit files, by time."""
        found = [(line["time_ms"], host, number, line) for host, audit in self.data.audit.items()
                 for number, line in enumerate(audit, 1)]
        return [entry[1:] for entry in sorted(found, key=lambda entry: entry[:3])]

    def commands(self, kind):
        """(record, message, body) of each host command of a kind."""
        for record in self.by_topic["host.commands"]:
            message = record["message"]
            if kind in message:
                yield record, message, message[kind]


# ---- I1 to I10

def i1(world, say):
    "I1 an acknowledged volume is on disk unless its deletion is committed"
    doomed = {volume["uuid"] for _, _, body in world.commands("delete_volumes") for volume in body["volumes"]}
    seen = set()
    for record in world.by_topic["volume.events"]:
        prepared = record["message"].get("volumes_prepared")
        for volume in prepared.get("volumes", []) if prepared and "error" not in prepared else []:
            # A TPM's folder is empty until its first start.
            if volume["uuid"] in seen or volume["type"] == "VOLUME_TYPE_TPM_STATE":
                continue
            seen.add(volume["uuid"])
            path = world.path_of(volume, None)
            if path not in world.disks and volume["uuid"] not in doomed:
                say(f"{at(record)} acknowledged {volume['type']} {volume['uuid']}; {path} is gone, and no DeleteVolumes "
                    "was ever committed")
    folders = {}
    for where, path, inode in tpms_that_ran(world, doomed):
        seen.add(path)
        state = world.disks.get(os.path.join(path, "tpm2", "tpm2-00.permall"))
        if not state or not state["size_bytes"]:
            say(f"{where}: a domain ran with the TPM in {path}, which has no state, and no DeleteVolumes was committed")
        if folders.setdefault(path, inode) != inode:
            say(f"{where}: the TPM's folder {path} was inode {folders[path]}, and is {inode}")
    return len(seen), "volumes"


def tpms_that_ran(world, doomed):
    """(where it is said, folder, inode) for each domain that was made with a TPM that nobody has doomed."""
    made = {line["operation"] for _, _, line in world.audited() if line["effect"] == "domain-created"}
    for host, number, line in world.audited():
        if line["effect"] == "tpm-verified" and line["operation"] in made and os.path.basename(line["path"]) not in doomed:
            yield f"audit of {host}, line {number}", line["path"], line["inode"]


def i2(world, say):
    "I2 a VM has at most one live NVRAM and an NVRAM one VM"
    owners = {}
    count = 0
    for record in world.by_topic["volume.state"]:
        volumes = record.get("message", {}).get("volumes", {}).get("volumes", [])
        live = [volume["uuid"] for volume in volumes
                if volume["type"] == "VOLUME_TYPE_NV_RAM" and volume["status"] in LIVE]
        count += bool(live)
        if len(live) > 1:
            say(f"{at(record)}: VM {record['key']} has the live stores {', '.join(live)}")
        for volume in volumes:
            owner = owners.setdefault(volume["install_path"], record["key"])
            if owner != record["key"]:
                say(f"{at(record)}: {volume['install_path']} belongs to VM {record['key']} and to VM {owner}")
    return count, "states with a live NVRAM"


def path_named(world, host, body, kind):
    """The path of a kind of volume that a StartDomain names; None: it names none."""
    for volume in body.get("volumes", []):
        if volume["type"] == kind:
            return world.path_of(volume, host)
    return None


def i3(world, say):
    "I3 NVRAM and TPM are verified right before each start at its epoch and before its expiry"
    starts = {message["operation_id"]: (record, message, body)
              for record, message, body in world.commands("start_domain")}
    verified = {}           # (host, vm, what) -> the line, until a domain was made with it
    ever = collections.defaultdict(list)
    count = 0
    for host, number, line in world.audited():
        where = f"audit of {host}, line {number}"
        if line["effect"] in VERIFIED:
            verified[host, line["vm"], line["effect"]] = line
            ever[host, line["path"]].append(line["time_ms"])
        if line["effect"] in ("domain-destroyed", "volume-deleted"):
            for effect in VERIFIED:
                verified.pop((host, line["vm"], effect), None)
        if line["effect"] != "domain-created":
            continue
        if line["operation"] not in starts:
            say(f"{where}: a domain of VM {line['vm']} was made without a StartDomain in the topic")
            continue
        record, message, body = starts[line["operation"]]
        if record["host"] != host or int(message["epoch"]) != line["epoch"]:
            say(f"{where}: not the host or epoch of {at(record)}")
        expires = int(message.get("expires_ms", 0))
        for effect, kind in VERIFIED.items():
            named = path_named(world, host, body, kind)
            if not named and not (kind == "VOLUME_TYPE_NV_RAM" and body.get("nvram_needed")):
                continue
            count += 1
            proof = verified.pop((host, line["vm"], effect), None)
            if not proof or proof["operation"] != line["operation"] or proof["epoch"] != line["epoch"]:
                say(f"{where}: VM {line['vm']} was started without {effect} for operation {line['operation']}")
            elif proof["path"] != named:
                say(f"{where}: {proof['path']} was verified, {at(record)} names {named}")
            elif expires and (proof["time_ms"] >= expires or line["time_ms"] >= expires + HELD_MS):
                say(f"{where}: VM {line['vm']} was started {line['time_ms'] - expires} ms behind its expiry")
    seen = set()
    for number, sample in enumerate(world.data.samples, 1):
        for host, vm, pid, path in sample["running"]:
            if path and (host, pid) not in seen:
                seen.add((host, pid))
                if not any(time <= sample["time_ms"] for time in ever[host, path]):
                    say(f"sample {number}: VM {vm} runs on {path}, which was never verified before")
    return count + len(seen), "stores of starts, and domains seen"


def i4(world, say):
    "I4 a volume's bytes go only behind its committed DeleteVolumes"
    committed = {}
    for record, message, body in world.commands("delete_volumes"):
        for volume in body["volumes"]:
            key = record["host"], message["operation_id"], world.path_of(volume, record["host"])
            committed.setdefault(key, record)
    count = 0
    for host, number, line in world.audited():
        if line["effect"] != "volume-deleted":
            continue
        count += 1
        record = committed.get((host, line["operation"], line["path"]))
        if record is None:
            say(f"audit of {host}, line {number}: {line['path']} was deleted, and no DeleteVolumes of operation "
                f"{line['operation']} for it is in the topic")
        elif record["time_ms"] > line["time_ms"]:
            say(f"audit of {host}, line {number}: {line['path']} was deleted {record['time_ms'] - line['time_ms']} ms "
                f"before {at(record)}")
    return count, "deletions"


def i5(world, say):
    "I5 a template is copied once and content never goes back"
    created = {}
    last = {}       # path -> (boots, whether a guest may have written since, where)
    count = 0
    for host, number, line in world.audited():
        where = f"audit of {host}, line {number}"
        path = line.get("path", "")
        if "/nvRam/" not in path or line["effect"] == "volume-deleted" or "sha256" not in line:
            continue
        count += 1
        boots = world.boots_of.get(line["sha256"])
        if boots is None:
            say(f"{where}: {path} holds what no number of boots explains ({line['effect']})")
            continue
        if line["effect"] == "volume-created":
            if path in created:
                say(f"{where}: {path} was made from the template again, first in {created[path]}")
            if boots != 0:
                say(f"{where}: {path} was made with the content of {boots} boots")
            created[path] = where
        before, open_, since = last.get(path, (0, line["effect"] == "volume-found", "its creation"))
        if not before <= boots <= before + (1 if open_ else 0):
            say(f"{where}: {path} has {boots} boots ({line['effect']}), {before} since {since}")
        last[path] = boots, line["effect"] == "nvram-verified", where
    for path, (boots, open_, since) in last.items():
        if path in world.disks:
            count += 1
            found = world.boots_of.get(world.disks[path]["sha256"])
            if found is None or not boots <= found <= boots + (1 if open_ else 0):
                say(f"{path} ends with {found} boots, {boots} since {since}")
    return count, "contents"


def i6(world, say):
    "I6 one domain runs per NVRAM and VM while epochs only grow"
    count = 0
    for number, sample in enumerate(world.data.samples, 1):
        seen = {}
        for host, vm, pid, path in sample["running"]:
            count += 1
            for key in (vm, path):
                if key and key in seen:
                    say(f"sample {number}: {key} runs as process {seen[key]} and as {host} {pid}")
                seen[key] = f"{host} {pid}"
    epochs = {}
    for record in world.by_topic["vm.state"]:
        epoch = int(record.get("message", {}).get("vm", {}).get("epoch", 0))
        if epoch < epochs.get(record["key"], 0):
            say(f"{at(record)}: the epoch of VM {record['key']} went back from {epochs[record['key']]} to {epoch}")
        epochs[record["key"]] = epoch
    newest = {}
    for host, number, line in world.audited():
        if line["effect"] == "domain-created":
            if line["epoch"] <= newest.get(line["vm"], 0):
                say(f"audit of {host}, line {number}: VM {line['vm']} was made at epoch {line['epoch']} after "
                    f"{newest[line['vm']]}")
            newest[line["vm"]] = line["epoch"]
    return count, "domains in samples"


def i7(world, say):
    "I7 a replay of the recording makes the same states and outputs"
    numbers = world.data.replay
    nothing = ["differences", "other_logic_differences", "vms_without_beginning", "steps_not_made", "before_journals",
               "beyond_end", "not_taken"]
    # All has settled and all daemons have ended before the topics are recorded: nothing is under way.
    for name in nothing + (["states_compacted"] if world.data.world["chaos_s"] < SEGMENT_S / 2 else []):
        if numbers[name]:
            say(f"replay.json: {name} is {numbers[name]}, and not 0")
    for name, there in (("steps", sum(1 for service in INPUTS for _ in journaled(world, service))),
                        ("states", sum(len(world.by_topic[service + ".state"]) for service in INPUTS))):
        if numbers[name] != there:
            say(f"replay.json: {numbers[name]} {name} were made again, the topics have {there}")
    return numbers["steps"], "steps"


def is_forgotten(finished, request):
    """Whether it was answered anew only behind so many others that no record kept it."""
    places = [index for index, other in enumerate(finished) if other == request]
    return all(after - before > KEPT for before, after in zip(places, places[1:]))


def cannot_be_forgotten(world, record):
    """A host without OVS cannot say that a VM has no port there."""
    nics = [nic["type"] for state in world.by_topic["vm.state"] if state["key"] == record["key"] and "message" in state
            for nic in state["message"]["vm"]["spec"].get("nics", [])]
    return "forget_vm" in record["message"] and "NIC_TYPE_VHOST_USER" in nics


def i8(world, say):
    "I8 each accepted request has one reply that is not repeated and all has settled"
    asked = collections.Counter()
    what = {}
    for line in world.data.requests:
        if line["request"]:
            asked[line["request"]] += line["acked"]
            what[line["request"]] = line["what"]
    first, repeated, unheard = collections.Counter(), collections.Counter(), collections.Counter()
    answered = collections.defaultdict(list)    # VM -> its requests, as they were finished
    for record in world.by_topic["vm.events"]:
        reply = record["message"].get("reply")
        if reply is None:
            continue
        (repeated if reply.get("repeated") else first)[reply["request_id"]] += 1
        if not reply.get("repeated") and (what.get(reply["request_id"]) not in READS or "error" in reply):
            answered[record["key"]].append(reply["request_id"])
        # What no record keeps is answered anew: reads, and where there is no VM.
        unheard[reply["request_id"]] += "version" not in record["message"]
        if reply["request_id"] not in asked:
            say(f"{at(record)} answers request {reply['request_id']}, which nobody sent")
    for request, times in asked.items():
        most = times if what[request] in READS or unheard[request] else 1
        if times and first[request] > 1 and most == 1 and all(is_forgotten(known, request) for known in
                                                              answered.values() if request in known):
            most = times
        if times and not 1 <= first[request] <= most:
            say(f"{what[request]} {request} was accepted {times} times and has {first[request]} first replies")
        if first[request] + repeated[request] > max(times, 1):
            say(f"{what[request]} {request} was accepted {times} times and has "
                f"{first[request] + repeated[request]} replies")
    for vm, state in world.final["vm"].items():
        status = state["vm"]["status"] if state else SETTLED[0]
        if status not in SETTLED or state and "operation" in state["vm"]:
            say(f"VM {vm} ends as {status}")
    reported = {record["message"].get("operation_id") for topic in ("vm.reports", "volume.reports")
                for record in world.by_topic[topic]}
    for record in world.by_topic["host.commands"]:
        if record["message"]["operation_id"] not in reported and not cannot_be_forgotten(world, record):
            say(f"{at(record)} has no report")
    return sum(1 for times in asked.values() if times), "requests"


def journaled(world, service):
    """(journal record, step) of each step."""
    for record in world.by_topic[service + ".journal"]:
        for step in record["message"]["steps"]:
            yield record, step


def i9(world, say):
    "I9 each consumed record is in one journal record or in the dead letters"
    dead = collections.Counter()
    prefix = world.data.world["prefix"] + "."
    for record in world.by_topic["dlq"]:
        dead[record["dlq_topic"][len(prefix):], int(record["dlq_partition"]), int(record["dlq_offset"])] += 1
    count = 0
    for service, topics in INPUTS.items():
        stepped = collections.Counter()
        for record, step in journaled(world, service):
            if "topic" in step:
                stepped[step["topic"], record["partition"], int(step.get("offset", 0))] += 1
        known = set()
        for topic in topics:
            for record in world.by_topic[topic]:
                key = topic, record["partition"], record["offset"]
                known.add(key)
                count += 1
                if stepped[key] + dead[key] != 1:
                    say(f"{at(record)} is in {stepped[key]} journal records and {dead[key]} dead letters")
        for key in set(stepped) - known:
            say(f"the journal of {service} has a step of {key[0]}/{key[1]}/{key[2]}, and there is no such record")
    return count, "records"


def i10(world, say):
    "I10 domains and files are what the last states say"
    runs = {vm: (host, path) for host, vm, _, path in world.data.samples[-1]["running"]}
    count = 0
    for vm, state in world.final["vm"].items():
        wanted = state and state["vm"]["status"] == "VM_STATUS_RUNNING"
        count += 1
        if wanted and (vm not in runs or runs[vm][0] != state["vm"]["host_uuid"]):
            say(f"VM {vm} is Running on {state['vm']['host_uuid']}, and no domain is there")
        if vm in runs and not wanted:
            say(f"VM {vm} is {state and state['vm']['status']}, and a domain runs on {runs[vm][0]}")
    for vm in set(runs) - set(world.final["vm"]):
        say(f"a domain of VM {vm} runs, and there is no such VM")
    expected, half_made, folders = {}, set(), []
    for vm, state in world.final["volume"].items():
        for volume in (state or {}).get("volumes", {}).get("volumes", []):
            path = world.path_of(volume, None)
            if path is None:
                continue
            if volume["type"] == "VOLUME_TYPE_TPM_STATE":
                folders.append(path + "/")
            elif volume["status"] in ("VOLUME_STATUS_READY", "VOLUME_STATUS_RETAINED"):
                expected[path] = vm
            else:
                half_made |= {path, os.path.join(os.path.dirname(path), f".{os.path.basename(path)}.new")}
    for path, vm in expected.items():
        count += 1
        if path not in world.disks:
            say(f"{path} of VM {vm} is Ready or Retained, and is not on disk")
    for path in world.disks:
        count += 1
        if path not in expected and path not in half_made and not path.startswith(tuple(folders)):
            say(f"{path} is on disk, and no record knows it")
    return count, "VMs, volumes and files"


# ---- Kafka

def k1(world, say):
    "K1 no acknowledged command is lost or there twice"
    there = {(record["partition"], record["offset"]): record for record in world.by_topic["vm.commands"]}
    acked = set()
    count = sent = 0
    for number, line in enumerate(world.data.requests, 1):
        sent += 1
        if not line["acked"]:
            continue
        count += 1
        place = line["partition"], line["offset"]
        record = there.get(place)
        if record is None or record["sha256"] != line["sha256"]:
            say(f"requests.jsonl, line {number}: vm.commands/{place[0]}/{place[1]} was acknowledged and "
                f"{'is gone' if record is None else 'holds another record'}")
        if place in acked:
            say(f"requests.jsonl, line {number}: two commands were acknowledged at vm.commands/{place[0]}/{place[1]}")
        acked.add(place)
    if len(there) > sent:
        say(f"vm.commands has {len(there)} records, {sent} were sent")
    return count, "acknowledged commands"


def k2(world, say):
    "K2 who read while it happened has seen what is there now in order and without a gap"
    there = collections.defaultdict(dict)
    for record in world.data.records:
        there[record["topic"], record["host"], record["partition"]][record["offset"]] = record["sha256"]
    seen = collections.defaultdict(list)
    count = 0
    for number, (topic, host, partition, offset, sha256) in enumerate(world.data.reader, 1):
        place = topic, host, partition
        count += 1
        if seen[place] and offset <= seen[place][-1]:
            say(f"reader.jsonl, line {number}: {topic}/{partition} went back from {seen[place][-1]} to {offset}")
        seen[place].append(offset)
        if there[place].get(offset) != sha256:
            say(f"reader.jsonl, line {number}: {topic}/{partition}/{offset} was read, and is "
                f"{'another record' if offset in there[place] else 'not there'} now")
    for place, offsets in seen.items():
        missed = [offset for offset in there[place] if offset < max(offsets) and offset not in set(offsets)]
        if missed:
            say(f"{place[0]}/{place[2]}: {len(missed)} records were passed over, first {min(missed)}")
    return count, "records read"


def origins(world, service):
    """(journal record, VM, names that the origin of a step may have, how many of its outputs could not be sent) of each
    step. What cannot be sent, to a host without a topic, is stepped as Undeliverable at once, with the same origin."""
    newest = collections.Counter()
    for record in world.by_topic[service + ".state"]:
        version = int(record.get("message", {}).get("version", 0))
        newest[record["key"]] = max(newest[record["key"]], version)
    for record in world.by_topic[service + ".journal"]:
        found = []
        for step in record["message"]["steps"]:
            vm, made = step["vm_uuid"], step.get("runtime_input", {})
            if "topic" in step:
                names = [f"{step['topic']}/{record['partition']}/{step.get('offset', 0)}"]
                found.append([record, vm, names, 0])
            elif "deadline_elapsed" in made:
                deadline = made["deadline_elapsed"]["deadline_id"]
                names = [f"deadline/{deadline}/{version}" for version in range(newest[vm] + 1)]
                found.append([record, vm, names, 0])
            elif "undeliverable" in made:
                found[-1][3] += 1
        yield from found


def k3(world, say):
    "K3 each output is in one whole transaction"
    count = 0
    for service, topics in OUTPUTS.items():
        outputs = {}
        for topic in topics + ("host.commands",):
            for record in world.by_topic[topic]:
                key = record["key"], record["ce_id"]
                if key in outputs:
                    say(f"{at(record)} is the output that {at(outputs[key])} is")
                outputs[key] = record
        for record, vm, names, unsent in origins(world, service):
            for name in names:
                found = []
                # One that is missing is seen by those behind it.
                for index in range(32):
                    key = vm, str(uuid.uuid5(uuid.UUID(vm), f"{name}/{index}"))
                    if outputs.pop(key, None) is not None:
                        found.append(index)
                count += len(found)
                if found and len(found) + unsent < found[-1] + 1:
                    say(f"{at(record)}: of the step {name} only the outputs {found} are there, and {unsent} were not sent")
        for record in outputs.values():
            if record["topic"] != "host.commands":
                say(f"{at(record)} is the output of no step that is in a journal")
        world.host_outputs = outputs if service == "vm" else world.host_outputs.keys() & outputs.keys()
    for key in world.host_outputs:
        say(f"a host command {key[1]} for VM {key[0]} is the output of no step that is in a journal")
    count += versions(world, say)
    return count, "outputs and states"


def versions(world, say):
    """A state that was written by two transactions that did not see each other has a version that does not grow."""
    count = 0
    for service in INPUTS:
        last = {}
        steps = {(step["topic"], record["partition"], int(step.get("offset", 0)), step["vm_uuid"])
                 for record, step in journaled(world, service) if "topic" in step}
        for record in world.by_topic[service + ".state"]:
            count += 1
            message = record.get("message")
            version = int(message["version"]) if message else 0
            if message and version <= last.get(record["key"], 0):
                say(f"{at(record)}: version {version} of VM {record['key']} comes after {last[record['key']]}")
            last[record["key"]] = version
            for applied in message.get("applied", []) if message else []:
                if (applied["topic"], record["partition"], int(applied.get("offset", 0)), record["key"]) not in steps:
                    say(f"{at(record)} has applied {applied['topic']}/{applied.get('offset', 0)}, and no journal has")
    return count


# ---- The soak

def k4(world, say):
    "K4 the soak has killed and lost what it has to"
    data = world.data
    counts = collections.Counter(line["target"] for line in data.chaos if line["what"] == "kill")
    for target, least in data.world["kills"].items():
        if counts[target] < least:
            say(f"chaos.jsonl: {counts[target]} kills of {target}, and not {least}")
    minutes = data.world["chaos_s"] / 60
    n_aborted = data.lost["aborted"] + data.lost["restart"] + data.lost["fenced"]
    tpms = [line for _, _, line in world.audited() if line["effect"] == "tpm-verified"]
    held, zombies = ([line for line in data.chaos if line["what"] == what] for what in ("hold", "zombie"))
    for name, found, least in (("transactions that were lost", n_aborted, minutes / 2),
                               ("services that were held amid a transaction", len(zombies), data.world["zombies"]),
                               ("services that were fenced", data.lost["fenced"], data.world["zombies"] / 2),
                               ("partitions that were lost", data.lost["partition-lost"], 2 * minutes),
                               ("processes that were held", len(held), 2 * minutes),
                               ("starts with a TPM", len(tpms), 3)):
        if found < least:
            say(f"{found} {name}, and not {least:.1f} or more")
    return sum(counts.values()), "kills"


CHECKS = (i1, i2, i3, i4, i5, i6, i7, i8, i9, i10, k1, k2, k3, k4)


def verify(data, only=None):
    """(name, what was counted, findings) of each check, or of `only`. One that looked at nothing has a finding."""
    world = World(data)
    for check in CHECKS:
        if only and only != check.__doc__.split()[0]:
            continue
        findings = []
        count, unit = check(world, findings.append)
        if count == 0:
            findings.append(f"nothing was checked: there are no {unit}")
        yield check.__doc__, f"{count} {unit}", findings


def show_effects(data):
    effects = collections.Counter(line["effect"] for audit in data.audit.values() for line in audit)
    print("# effects: " + ", ".join(f"{count} {name}" for name, count in sorted(effects.items())))
    print("# services' transactions: " + ", ".join(f"{count} {name}" for name, count in sorted(data.lost.items())))


def main():
    if sys.argv[1] == "scan":
        scan(sys.argv[2])
        return 0
    data = Data(sys.argv[1])
    show_effects(data)
    bad = 0
    print(f"1..{len(CHECKS)}")
    for number, (name, counted, findings) in enumerate(verify(data), 1):
        print(f"#   looked at {counted}\n{'not ' if findings else ''}ok {number} - {name}")
        for finding in findings[:SHOWN]:
            print(f"#   {finding}")
        if len(findings) > SHOWN:
            print(f"#   and {len(findings) - SHOWN} more")
        bad += bool(findings)
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
