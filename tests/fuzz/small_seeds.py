#!/usr/bin/env python3
"""Makes the seeds of the fuzzers whose input is small enough to be written by hand.

usage: small_seeds.py FOLDER     writes FOLDER/TARGET/NAME

Variable stores are built as edk2 lays them out, in 4 KiB instead of the 528 KiB of OVMF's own
templates; firmware descriptors are those of this machine's packages.
"""
import os
import struct
import sys

DESCRIPTORS = "/usr/share/qemu/firmware"
RECORDING = os.path.join(os.path.dirname(__file__), "..", "replay", "logic-4.recording")
AUTHENTICATED = bytes.fromhex("782cf3aa7b949a43a1802e144ec37792")
PLAIN = bytes.fromhex("1636cfdd7532644198b6fe85707ffe7d")
NV_DATA = bytes.fromhex("8d2bf1ff96768b4ca9852747075b4f50")
GLOBAL = bytes.fromhex("61dfe48bca93d211aa0d00e098032b8c")
ENABLE = bytes.fromhex("c70ba3f008af564599c4001009c93a44")
MTC = bytes.fromhex("114070eb0214d3118e7700a0c969723b")
ADDED, REPLACED, DELETED, TORN = 0x3f, 0x3e, 0x3d, 0xff


def variable(guid, name, data, state=ADDED, authenticated=True):
    text = name.encode("utf-16-le") + b"\0\0"
    header = struct.pack("<HBBI", 0x55aa, state, 0, 7)
    header += bytes(28) if authenticated else b""
    header += struct.pack("<II", len(text), len(data)) + guid
    whole = header + text + data
    return whole + b"\xff" * (-len(whole) % 4)


def store(variables, guid=AUTHENTICATED, size=4096, header_bytes=72):
    volume = bytes(16) + NV_DATA + struct.pack("<Q4sIHHHBB", size, b"_FVH", 0x4feff, header_bytes,
                                               0, 0, 0, 2)
    volume += struct.pack("<IIII", 1, size, 0, 0)
    total = sum(struct.unpack(f"<{header_bytes // 2}H", volume)) & 0xffff
    volume = volume[:50] + struct.pack("<H", -total & 0xffff) + volume[52:]
    body = guid + struct.pack("<IBBHI", size - header_bytes, 0x5a, 0xfe, 0, 0)
    body += b"".join(variables)
    return volume + body + b"\xff" * (size - header_bytes - len(body))


def stores():
    pk = variable(GLOBAL, "PK", b"key" * 20)
    on = variable(ENABLE, "SecureBootEnable", b"\1")
    off = variable(ENABLE, "SecureBootEnable", b"\0")
    boot = variable(GLOBAL, "Boot0000", b"\1\0\0\0disk")
    mtc = variable(MTC, "MTC", b"\7\0\0\0")
    old = variable(GLOBAL, "Boot0000", b"old", REPLACED)
    yield "empty", store([])
    yield "enrolled", store([pk, on, boot, mtc])
    yield "enrolled-off", store([pk, off])
    yield "replaced", store([old, boot, variable(GLOBAL, "gone", b"x", DELETED)])
    yield "torn", store([boot, variable(GLOBAL, "half", b"", TORN)])
    yield "plain-format", store([variable(GLOBAL, "PK", b"key", ADDED, False)], PLAIN)


def descriptors():
    texts = []
    for name in sorted(os.listdir(DESCRIPTORS)):
        with open(os.path.join(DESCRIPTORS, name), "rb") as file:
            texts.append(file.read())
        yield name, texts[-1]
    yield "several", b"\0".join(texts[:4])
    yield "hidden", texts[0] + b"\0" + texts[-1] + b"\0\0"


def flags():
    yield "create", (b"name=vm\nplatform=windows\nfirmware=uefi\nsecure-boot=on\ntpm\nvcpus=4\n"
                     b"memory=4GiB\nstorage=fast:local\ndisk=40GiB,bus=virtio,image=a.qcow2,"
                     b"image-mode=overlay\ncdrom=win.iso,boot-order=2\n"
                     b"nic=vhost-user,model=e1000,queues=2,mac=52:54:00:12:34:56\n"
                     b"graphics=vnc,listen=::1\nclock=utc\nhyperv=on\nrestart-policy=restart")
    yield "update", (b"no-disk=1\nno-nic=0\nno-cdrom=0\nno-tpm\ndisk=1TiB,index=3,format=raw,"
                     b"iops-limit=1000\ndisk=0,bus=vhost-user,socket-path=/run/a\n"
                     b"nic=bridge,bridge=br0,mtu=9000,index=1\nhuge-pages=2MiB\nnvram-size=1MiB\n"
                     b"machine=pc-q35-7.2\ndomain-type=kvm\ntpm-model=tis\nrepeated")


def options():
    yield "file", (b"[virtbus]\nbootstrap=a:9092\ninstance.id=i1\ntopic.prefix=x\n"
                   b"start.timeout=60s\nnvram.retain=30d\nlog.level=debug\nkafka.ssl.ca.location=/x\n"
                   b"\0--log.format=json\0--stop.timeout\x003m\0VIRTBUS_METRICS_PORT=0\0")
    yield "arguments", (b"\0--bootstrap=h:1\0--instance.id\0i2\0--default.storage=fast:local\0"
                        b"--nvram.policy=all-uefi\0--max.batch=64\0--help\0")
    yield "environment", b"\0VIRTBUS_BOOTSTRAP=h:1\0VIRTBUS_INSTANCE_ID=i3\0VIRTBUS_KAFKA_LINGER_MS=5\0"


def json():
    yield "spec", (b'\0{"name": "vm", "platform": "Windows", "vcpus": 2, "memory_bytes": 1073741824,'
                   b'"disks": [{"type": "Root", "size_bytes": "1000", "bus": "virtio"}],'
                   b'"tpm": {}, "serial_console": true, "nics": [null, {"index": 1}]}')
    yield "command", b'\1{"vm_uuid": "x", "create_vm": {"spec": {"name": "\\u00fc"}}, "sender": null}'
    yield "state", b'\6{"version": "18446744073709551615", "step_ms": -1, "vm": {"status": 3}}'


def journal():
    yield "torn", b"\0VBHVM1\n\0\1\0\0\0"
    yield "empty", b"\0"


def varint(data, at):
    value = shift = 0
    while True:
        value |= (data[at] & 0x7f) << shift
        shift += 7
        at += 1
        if data[at - 1] < 0x80:
            return value, at


def recordings():
    """A recorded life, each of its frames an item of fuzz.Recording; less of it; and cut off."""
    with open(RECORDING, "rb") as file:
        data = file.read()
    at = data.index(b"\n") + 1
    frames = []
    while at < len(data):
        size, behind = varint(data, at)
        frames.append(b"\x0a" + data[at:behind + size])
        at = behind + size
    frames.pop()  # The end.
    ends_well = b"\x10\x01"
    yield "whole", b"".join(frames) + ends_well
    yield "half", b"".join(frames[:1] + frames[1::2]) + ends_well
    yield "header", frames[0] + ends_well
    yield "cut-off", b"".join(frames[:20])


def main():
    folder = sys.argv[1]
    for target, seeds in (("nvram_vars", stores()), ("firmware", descriptors()),
                          ("spec_flags", flags()), ("options", options()), ("json", json()),
                          ("journal", journal()), ("recording", recordings())):
        os.makedirs(os.path.join(folder, target), exist_ok=True)
        for name, data in seeds:
            with open(os.path.join(folder, target, name), "wb") as file:
                file.write(data)


if __name__ == "__main__":
    main()
