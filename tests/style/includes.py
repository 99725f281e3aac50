#!/usr/bin/env python3
"""Includes go one way: proto <- base <- runtime <- bus <- services, and services stay apart."""
import os
import re

import source

INCLUDE = re.compile(r'^\s*#\s*include\s*([<"])([^>"]+)[>"]', re.M)

# What each layer may include besides itself. Tests may include everything.
ALLOWED = {
    "base": {"proto"},
    "runtime": {"proto", "base"},
    "bus": {"proto", "base", "runtime"},
    "service": {"proto", "base", "runtime", "bus"},
    "tools": {"proto", "base", "runtime", "bus"},
}

# Libraries that only some files may know.
LIBRARIES = [
    ("libvirt is known to services/host-agent/hypervisor_libvirt.c only",
     r"libvirt/", r"services/host-agent/hypervisor_libvirt\.c|tests/"),
    ("librdkafka is known to common/bus, the agent's bus, tools and tests only",
     r"librdkafka/", r"common/bus/|services/host-agent/agent_bus\w*\.[ch]|tools/|tests/"),
    ("libmicrohttpd is known to common/runtime only", r"microhttpd", r"common/runtime/|tests/"),
]

# What a pure module may include besides base, proto and the pure headers of its own service.
PURE_SYSTEM = re.compile(
    r"(assert|ctype|errno|inttypes|limits|stdarg|stdbool|stddef|stdint|stdio|stdlib|string)\.h$"
    r"|glib(-object)?\.h$|protobuf-c/|uuid/uuid\.h$"
)
PURE_LIBRARY = {
    "services/host-agent/firmware": re.compile(r"json-glib/"),
    "services/host-agent/domain_": re.compile(r"libxml/"),
}


def layer(name):
    """The layer of a file or of an include written from the root."""
    for prefix, found in (
        ("virtbus/v1/", "proto"), ("proto/", "proto"), ("common/base/", "base"),
        ("common/runtime/", "runtime"), ("common/bus/", "bus"), ("tools/", "tools"),
        ("tests/", "tests"),
    ):
        if name.startswith(prefix):
            return found
    match = re.match(r"services/([^/]+)/", name)
    return "service " + match.group(1) if match else None


def resolve(name, include):
    """The included file, as written from the root; None when there is none, nor a generated one."""
    for candidate in (os.path.normpath(os.path.join(os.path.dirname(name), include)), include):
        if candidate.endswith(".pb-c.h") or layer(candidate) == "proto" or os.path.exists(source.path(candidate)):
            return candidate
    return None


def wrong_way(name, target):
    """Whether NAME may not include TARGET, by their layers."""
    own, other = layer(name), layer(target)
    if own == other or own == "tests":
        return False
    if own == "tools" and source.PURE.search(target):
        return False  # What is pure may be looked at from anywhere.
    return other not in ALLOWED.get("service" if own.startswith("service ") else own, set())


def impure(name, kind, include):
    """Whether the pure module NAME may not include this."""
    if kind == "<":
        libraries = [rule for prefix, rule in PURE_LIBRARY.items() if name.startswith(prefix)]
        return not any(rule.match(include) for rule in [PURE_SYSTEM, *libraries])
    target = resolve(name, include)
    if target is None or layer(target) in ("proto", "base"):
        return False
    return layer(target) != layer(name) or not is_pure_header(target)


def is_pure_header(target):
    """A header of a pure module; or one that belongs to no .c file: plain types and tables."""
    return bool(source.PURE.search(target)) or not os.path.exists(
        source.path(re.sub(r"\.h$", ".c", target)))


def main():
    unknown, direction, purity = [], [], []
    libraries = [[] for _ in LIBRARIES]
    for name in source.c_files():
        for kind, include in INCLUDE.findall(source.read(name)):
            said = f"{name} includes {kind}{include}{'>' if kind == '<' else kind}"
            target = resolve(name, include) if kind == '"' else None
            if kind == '"' and target is None:
                unknown.append(f"{said}, and the tree has no such file")
            elif target and layer(name) and layer(target) and wrong_way(name, target):
                direction.append(f"{said}: {layer(name)} may not know {layer(target)}")
            if source.PURE.search(name) and impure(name, kind, include):
                purity.append(f"{said}: a pure module may not")
            for faults, (_, library, owners) in zip(libraries, LIBRARIES):
                if kind == "<" and re.match(library, include) and not re.match(owners, name):
                    faults.append(said)
    source.report([
        ("quoted includes name files of the tree", unknown),
        ("includes go one way", direction),
        ("pure modules include base, proto and their own only", purity),
        *((rule[0], faults) for rule, faults in zip(LIBRARIES, libraries)),
    ])


if __name__ == "__main__":
    main()
