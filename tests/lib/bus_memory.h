/* A bus in memory: topics, committed transactions, partitions given and taken, faults on request.
 *
 * It is strict where Kafka is patient: polling or looking up a host inside a transaction, producing
 * outside of one, or a second begin end the test.
 */
#pragma once

#include "common/base/step.h"
#include "common/bus/bus.h"

typedef struct VbMemoryBus VbMemoryBus;

VbMemoryBus *memory_bus_new(const VbService *service, int n_partitions);
void memory_bus_free(VbMemoryBus *memory);
VbBus *memory_bus(VbMemoryBus *memory);

void memory_bus_set_now(VbMemoryBus *memory, gint64 now_ms);

/* A committed record at the end of its topic, with the time that is now. Returns its offset. */
gint64 memory_bus_append(VbMemoryBus *memory, const VbBusMessage *message);
/* What a topic holds: an array of VbBusRecord, owned by the bus. */
const GPtrArray *memory_bus_log(VbMemoryBus *memory, VbTopic topic, const char *host_uuid,
                                int partition);
/* Reading starts there unless the group has committed. As after a deletion of old records. */
void memory_bus_set_begin(VbMemoryBus *memory, VbTopic topic, int partition, gint64 offset);

void memory_bus_gain(VbMemoryBus *memory, int partition);
void memory_bus_lose(VbMemoryBus *memory, int partition);
void memory_bus_add_host(VbMemoryBus *memory, const char *host_uuid);
/* The committed offset of an input; -1: none. */
gint64 memory_bus_committed(VbMemoryBus *memory, VbTopic topic, int partition);
void memory_bus_set_committed(VbMemoryBus *memory, VbTopic topic, int partition, gint64 offset);
/* Is called once, when committed offsets are next asked for: a broker lets the transaction that a
 * dead instance left come to its end before it answers. */
void memory_bus_on_committed(VbMemoryBus *memory, void (*end)(void *user), void *user);

/* The next `n` calls of that function fail. "commit", "produce", "flush", "send_offsets", "begin".
 */
void memory_bus_fail(VbMemoryBus *memory, const char *function, int n, VbBusError code);
/* An open transaction is aborted, as by the init_transactions of a process that follows a dead one. */
void memory_bus_drop(VbMemoryBus *memory);
/* A record with a larger value is refused at flush. */
void memory_bus_set_max_value(VbMemoryBus *memory, size_t max_bytes);
/* What confirm_end answers. After a no, the end of each input is told again. */
void memory_bus_set_confirm_end(VbMemoryBus *memory, gboolean at_end);

typedef struct {
    guint commits, aborts, host_lookups, polls;
    int last_wait_ms; /* The longest wait that poll was asked for since this was cleared. */
} VbMemoryCounts;
VbMemoryCounts *memory_bus_counts(VbMemoryBus *memory);
