/* What a bus in memory holds, as a recording: through the writer and the reader, as a file's. */
#pragma once

#include "common/bus/recording.h"
#include "tests/lib/bus_memory.h"

/* `hosts`: uuids of the command topics that are recorded, up to NULL. */
VbRecording *memory_recording(VbMemoryBus *memory, const char *prefix, int n_partitions,
                              const char *const *hosts);
