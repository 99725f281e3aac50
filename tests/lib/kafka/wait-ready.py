#!/usr/bin/env python3
"""Waits until a Kafka broker answers a Metadata request that names a live broker.

usage: wait-ready.py HOST PORT PID SECONDS

Exit 0 when it does; 1 when process PID is gone or SECONDS have passed. It speaks the wire format
by hand, so that waiting costs no JVM and no client library.
"""
import os
import socket
import struct
import sys
import time

METADATA, VERSION = 3, 1


def read_exactly(sock, size):
    data = b""
    while len(data) < size:
        part = sock.recv(size - len(data))
        if not part:
            raise OSError("the broker closed the connection")
        data += part
    return data


def live_brokers(host, port):
    """The number of live brokers in the metadata; OSError while nothing answers."""
    client = b"wait-ready"
    # Header v1: key, version, correlation id, client id. Body v1: an empty array asks for no topic.
    request = struct.pack(">hhih", METADATA, VERSION, 1, len(client)) + client + struct.pack(">i", 0)
    with socket.create_connection((host, port), timeout=1) as sock:
        sock.settimeout(2)
        sock.sendall(struct.pack(">i", len(request)) + request)
        size = struct.unpack(">i", read_exactly(sock, 4))[0]
        return struct.unpack(">ii", read_exactly(sock, size)[:8])[1]


def alive(pid):
    try:
        with open(f"/proc/{pid}/stat") as stat:
            return stat.read().rsplit(") ", 1)[1][0] != "Z"
    except OSError:
        return False


def main():
    host, port, pid, seconds = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), float(sys.argv[4])
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        try:
            if live_brokers(host, port) > 0:
                return 0
        except OSError:
            pass
        if not alive(pid):
            return 1
        time.sleep(0.05)
    return 1


if __name__ == "__main__":
    sys.exit(main())
