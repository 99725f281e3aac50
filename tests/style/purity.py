#!/usr/bin/env python3
"""The pure modules call no clock, no I/O, no randomness, no log, no Kafka, and end no process.

common/base, on which they stand, may make random ids (for clients) and check its callers with
assertions; the other rules hold for it too.
"""
import re

import source

FORBIDDEN = {
    "clock": r"time|clock_gettime|gettimeofday|localtime(_r)?|g_get_(real|monotonic)_time"
             r"|g_date_time_new_now\w*|sleep|usleep|nanosleep|g_usleep",
    "I/O": r"open|openat|read|write|pread|pwrite|close|fopen|fdopen|fread|fwrite|fprintf|printf|puts"
           r"|fputs|fgets|unlink|rename|stat|fstat|lstat|mkdir|socket|connect|system|popen|execv\w*"
           r"|fork|getenv|g_getenv|g_file_\w+|g_fopen|g_open|g_spawn_\w+|g_subprocess_\w+"
           r"|json_parser_load_from_(file|stream)\w*|xml(Read|Parse)File|xmlSave\w*File\w*",
    "randomness": r"\w*uuid_random\w*|rand|random|getrandom|g_random_\w+|g_rand_\w+|g_uuid_string_random"
                  r"|uuid_generate|uuid_generate_(random|time)\w*",
    "log": r"g_log\w*|g_message|g_warning|g_critical|g_debug|g_info|g_print\w*|syslog|log_\w+|perror",
    "Kafka": r"rd_kafka_\w+",
    "end of the process": r"abort|exit|_exit|assert|g_assert\w*|g_error|g_abort|raise|kill",
}

BASE_MAY = ("randomness", "end of the process")
# libxml2 reports a lack of memory, and only that; it ends the process here as with GLib.
WRITES_XML = "services/host-agent/domain_xml"


def main():
    tests = []
    files = source.c_files()
    pure = [name for name in files if source.PURE.search(name)]
    base = [name for name in files if name.startswith("common/base/")]
    # g_print matches g_print and g_printerr, never g_strdup_printf: names are matched whole.
    for what, names in FORBIDDEN.items():
        call = re.compile(rf"(?<![\w.>])({names})\s*\(")
        faults = []
        for name in pure if what in BASE_MAY else pure + base:
            if what == "end of the process" and name.startswith(WRITES_XML):
                continue
            for number, line in enumerate(source.code(name).splitlines(), 1):
                for match in call.finditer(line):
                    faults.append(f"{name}:{number}: {match.group(1)}()")
        tests.append((f"pure modules use no {what}", faults))
    tests.append(("there are pure modules", [] if pure else ["no file matches: see source.py"]))
    source.report(tests)


if __name__ == "__main__":
    main()
