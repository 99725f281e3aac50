#!/usr/bin/env python3
"""Tests check.py: takes what a soak left behind, which check.py found good, damages it in one way after the other, and
says in TAP whether the right check found each.

usage: test_check.py FOLDER
"""
import copy
import os
import sys
import uuid

import check


def records(data, topic, member=None):
    return [record for record in data.records if record["topic"] == topic
            and (member is None or member in record.get("message", {}))]


def audited(data, effect):
    """(the list it is in, the line) of each audit line of an effect."""
    return [(audit, line) for audit in data.audit.values() for line in audit if line["effect"] == effect]


def doomed_by(data):
    return {volume["uuid"] for record in records(data, "host.commands", "delete_volumes")
            for volume in record["message"]["delete_volumes"]["volumes"]}


def last(found):
    """What to damage. A soak in which there is none cannot show that the damage is found."""
    if not found:
        raise LookupError("the soak has nothing that could be damaged so")
    return found[-1]


# ---- Damages. Each names the check that must find it.

def volume_file_vanishes(data):
    "I1"
    doomed = doomed_by(data)
    kept = [entry for entry in data.disks if not any(uuid in entry["path"] for uuid in doomed)
            and "/nvRam/" in entry["path"]]
    data.disks.remove(last(kept))


def second_live_nvram(data):
    "I2"
    found = [volumes for record in records(data, "volume.state")
             for volumes in [record.get("message", {}).get("volumes", {}).get("volumes", [])]
             if any(volume["type"] == "VOLUME_TYPE_NV_RAM" and volume["status"] == "VOLUME_STATUS_READY"
                    for volume in volumes)]
    volumes = last(found)
    volumes.append(dict(next(volume for volume in volumes if volume["type"] == "VOLUME_TYPE_NV_RAM"
                             and volume["status"] == "VOLUME_STATUS_READY"), uuid="0"))


def one_nvram_of_two_vms(data):
    "I2"
    states = [record for record in records(data, "volume.state")
              if record.get("message", {}).get("volumes", {}).get("volumes")]
    first = states[0]
    other = last([record for record in states if record["key"] != first["key"]])
    other["message"]["volumes"]["volumes"].append(first["message"]["volumes"]["volumes"][0])


def start_without_verification(data):
    "I3"
    created = {line["operation"] for _, line in audited(data, "domain-created")}
    audit, line = last([found for found in audited(data, "nvram-verified") if found[1]["operation"] in created])
    audit.remove(line)


def start_behind_its_expiry(data):
    "I3"
    created = {line["operation"] for _, line in audited(data, "domain-created")}
    record = last([record for record in records(data, "host.commands", "start_domain")
                   if record["message"]["operation_id"] in created
                   and record["message"]["start_domain"].get("nvram_needed")])
    record["message"]["expires_ms"] = str(int(record["message"]["expires_ms"]) - 1000000)


def deletion_without_record(data):
    "I4"
    _, line = last(audited(data, "volume-deleted"))
    for record in records(data, "host.commands", "delete_volumes"):
        if record["message"]["operation_id"] == line["operation"]:
            data.records.remove(record)


def deletion_too_early(data):
    "I4"
    _, line = last(audited(data, "volume-deleted"))
    line["time_ms"] -= 1000000


def content_goes_back(data):
    "I5"
    blank = last([line["sha256"] for _, line in audited(data, "volume-created") if "/nvRam/" in line["path"]])
    _, line = last([found for found in audited(data, "nvram-verified") if found[1]["sha256"] != blank])
    line["sha256"] = blank


def content_of_nobody(data):
    "I5"
    entry = last([entry for entry in data.disks if any(entry["path"] == line["path"]
                                                       for _, line in audited(data, "volume-created")
                                                       if "/nvRam/" in line["path"])])
    entry["sha256"] = "0" * 64


def template_copied_again(data):
    "I5"
    audit, line = last([found for found in audited(data, "volume-created") if "/nvRam/" in found[1]["path"]])
    audit.append(dict(line, time_ms=line["time_ms"] + 1))


def two_domains_on_one_nvram(data):
    "I6"
    running = last([sample["running"] for sample in data.samples if any(entry[3] for entry in sample["running"])])
    entry = next(entry for entry in running if entry[3])
    running.append([entry[0], "another", entry[2] + 1, entry[3]])


def epoch_goes_back(data):
    "I6"
    seen = set()
    states = []
    for record in records(data, "vm.state", "vm"):
        if int(record["message"]["vm"].get("epoch", 0)) > 0:
            if record["key"] in seen:
                states.append(record)
            seen.add(record["key"])
    last(states)["message"]["vm"]["epoch"] = "0"


def tpm_state_vanishes(data):
    "I1"
    _, path, _ = last(list(check.tpms_that_ran(check.World(data), doomed_by(data))))
    data.disks[:] = [entry for entry in data.disks if not entry["path"].startswith(path + "/")]


def tpm_folder_is_another(data):
    "I1"
    paths = [path for _, path, _ in check.tpms_that_ran(check.World(data), doomed_by(data))]
    path = last([path for path in paths if paths.count(path) > 1])
    last([line for _, line in audited(data, "tpm-verified") if line["path"] == path])["inode"] += 1


def start_without_its_tpm(data):
    "I3"
    created = {line["operation"] for _, line in audited(data, "domain-created")}
    audit, line = last([found for found in audited(data, "tpm-verified") if found[1]["operation"] in created])
    audit.remove(line)


def step_is_made_otherwise(data):
    "I7"
    data.replay["differences"] = 1


def step_is_not_made_again(data):
    "I7"
    data.replay["steps_not_made"] = 1


def state_is_passed_over(data):
    "I7"
    data.replay["states_compacted"] = 1


def output_is_behind_the_end(data):
    "I7"
    data.replay["beyond_end"] = 1


def input_is_not_taken(data):
    "I7"
    data.replay["not_taken"] = 1


def record_is_before_the_journals(data):
    "I7"
    data.replay["before_journals"] = 1


def replay_knows_fewer_steps(data):
    "I7"
    data.replay["steps"] -= 1


def reply_is_missing(data):
    "I8"
    data.records.remove(last(records(data, "vm.events", "reply")))


def reply_comes_twice(data):
    "I8"
    found = [record for record in records(data, "vm.events", "reply") if "vm" not in record["message"]["reply"]
             and "volumes" not in record["message"]["reply"]
             and "version" in record["message"]]
    reads = {line["request"] for line in data.requests if line["what"] in check.READS}
    record = last([record for record in found if record["message"]["reply"]["request_id"] not in reads])
    data.records.append(dict(copy.deepcopy(record), offset=record["offset"] + 1000000))


def vm_stays_transitional(data):
    "I8"
    last(records(data, "vm.state", "vm"))["message"]["vm"]["status"] = "VM_STATUS_STARTING"


def host_command_without_report(data):
    "I8"
    report = last(records(data, "vm.reports", "domain_started"))
    for record in records(data, "vm.reports"):
        if record["message"].get("operation_id") == report["message"].get("operation_id"):
            data.records.remove(record)


def record_never_stepped(data):
    "I9"
    found = [record["message"]["steps"] for record in records(data, "vm.journal")]
    del last([steps for steps in found if "topic" in steps[-1]])[-1]


def record_stepped_twice(data):
    "I9"
    journals = [record for record in records(data, "vm.journal") if "topic" in record["message"]["steps"][-1]]
    record = last(journals)
    data.records.append(dict(copy.deepcopy(record), offset=record["offset"] + 1000000))


def domain_is_missing(data):
    "I10"
    state = last([record for record in records(data, "vm.state", "vm")
                  if record["message"]["vm"]["status"] == "VM_STATUS_RUNNING"])
    data.records.append(dict(copy.deepcopy(state), offset=state["offset"] + 1000000))
    for entry in [entry for entry in data.samples[-1]["running"] if entry[1] == state["key"]]:
        data.samples[-1]["running"].remove(entry)


def file_of_nobody(data):
    "I10"
    entry = last([entry for entry in data.disks if "/tpmState/" not in entry["path"]])
    data.disks.append(dict(entry, path=entry["path"].replace(".", "-2.")))


def acknowledged_write_is_lost(data):
    "K1"
    data.records.remove(last(records(data, "vm.commands")))


def acknowledged_write_is_another(data):
    "K1"
    last(records(data, "vm.commands"))["sha256"] = "0" * 64


def read_record_is_gone(data):
    "K2"
    data.records.remove(last(records(data, "vm.events", "progress")))


def reader_goes_back(data):
    "K2"
    data.reader.append(data.reader[0])


def reader_passes_one_over(data):
    "K2"
    offsets = [line for line in data.reader if line[:3] == ["vm.commands", "", 0]]
    data.reader.remove(offsets[len(offsets) // 2])


def outputs_of_a_step(data):
    """(journal record, its outputs) of the last step that has at least two."""
    outputs = {(record["key"], record["ce_id"]): record for record in data.records if "ce_id" in record}
    found = []
    for journal, vm, names, _ in check.origins(check.World(data), "vm"):
        keys = [(vm, str(uuid.uuid5(uuid.UUID(vm), f"{names[-1]}/{index}"))) for index in range(8)]
        made = [outputs[key] for key in keys if key in outputs]
        if len(made) > 1:
            found.append((journal, made))
    return last(found)


def transaction_in_part(data):
    "K3"
    data.records.remove(outputs_of_a_step(data)[0])


def output_of_a_step_is_missing(data):
    "K3"
    data.records.remove(outputs_of_a_step(data)[1][0])


def output_comes_twice(data):
    "K3"
    record = last(records(data, "volume.events"))
    data.records.append(dict(copy.deepcopy(record), offset=record["offset"] + 1000000))


def two_writers_of_one_state(data):
    "K3"
    record = last(records(data, "vm.state", "vm"))
    data.records.append(dict(copy.deepcopy(record), offset=record["offset"] + 1000000))


def nothing_to_check(data):
    "I4"
    for audit in data.audit.values():
        audit[:] = [line for line in audit if line["effect"] != "volume-deleted"]


def broker_is_not_killed(data):
    "K4"
    data.chaos[:] = [line for line in data.chaos if line["target"] != "broker"]


def agents_are_not_killed(data):
    "K4"
    data.chaos[:] = [line for line in data.chaos if line["target"] != "host-agent" or line["what"] != "kill"]


def no_transaction_is_aborted(data):
    "K4"
    data.lost.clear()
    data.lost["partition-lost"] = 1000


def nobody_is_held_amid_a_transaction(data):
    "K4"
    data.chaos[:] = [line for line in data.chaos if line["what"] != "zombie"]


def nobody_is_fenced(data):
    "K4"
    data.lost["aborted"] += data.lost.pop("fenced", 0)


DAMAGES = (volume_file_vanishes, second_live_nvram, one_nvram_of_two_vms, start_without_verification,
           start_behind_its_expiry, deletion_without_record, deletion_too_early, content_goes_back, content_of_nobody,
           template_copied_again, tpm_state_vanishes, tpm_folder_is_another, start_without_its_tpm,
           step_is_made_otherwise, step_is_not_made_again, state_is_passed_over, output_is_behind_the_end,
           input_is_not_taken, record_is_before_the_journals, replay_knows_fewer_steps, two_domains_on_one_nvram, epoch_goes_back, reply_is_missing, reply_comes_twice,
           vm_stays_transitional, host_command_without_report, record_never_stepped, record_stepped_twice,
           domain_is_missing, file_of_nobody, acknowledged_write_is_lost, acknowledged_write_is_another,
           read_record_is_gone, reader_goes_back, reader_passes_one_over, transaction_in_part,
           output_of_a_step_is_missing, output_comes_twice, two_writers_of_one_state, broker_is_not_killed,
           agents_are_not_killed, no_transaction_is_aborted, nobody_is_held_amid_a_transaction, nobody_is_fenced, nothing_to_check)


def is_found(data, damage):
    """In a child, so that the data stay good."""
    sys.stdout.flush()
    child = os.fork()
    if child == 0:
        try:
            damage(data)
            found = any(findings for _, _, findings in check.verify(data, damage.__doc__))
            os._exit(0 if found else 1)
        except LookupError as error:
            print(f"#   {error}", flush=True)
            os._exit(1)
        finally:
            os._exit(2)
    return os.waitpid(child, 0)[1] == 0


def main():
    data = check.Data(sys.argv[1])
    bad = 0
    print(f"1..{len(DAMAGES)}")
    for number, damage in enumerate(DAMAGES, 1):
        ok = is_found(data, damage)
        bad += not ok
        print(f"{'' if ok else 'not '}ok {number} - {damage.__doc__} finds: {damage.__name__.replace('_', ' ')}")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
