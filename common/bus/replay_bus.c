/* The bus of a replay: it knows what hosts there were, and takes what is produced to be judged.
 *
 * A partition that is restored over it begins empty: what there was before is put there later. */
#include <string.h>

#include "common/bus/replay_private.h"

static gboolean replay_committed(VbBus *bus, VbBusOffsets *offsets, GError **error)
{
    (void)bus;
    (void)offsets;
    (void)error;
    return TRUE;
}

static gboolean replay_state_end(VbBus *bus, int partition, gint64 *ret_end, GError **error)
{
    (void)bus;
    (void)partition;
    (void)error;
    *ret_end = 0;
    return TRUE;
}

static gboolean replay_read_state(VbBus *bus, int partition, gint64 end, VbBusRead read, void *user,
                                  GError **error)
{
    (void)bus;
    (void)partition;
    (void)end;
    (void)read;
    (void)user;
    (void)error;
    return TRUE;
}

static gboolean replay_consume(VbBus *bus, VbBusOffsets *offsets, GError **error)
{
    const Replay *replay = (const Replay *)bus;
    (void)error;
    for (size_t i = 0; i < replay->service.n_inputs; i++) {
        offsets->next[i] = 0;
    }
    return TRUE;
}

/* Whether the Poisoned step of this visit was made. */
static gboolean is_poisoned_by_now(const Replay *replay)
{
    const VbBatchPart *part = g_ptr_array_index(replay->loop->batch.parts, 0);
    for (guint i = replay->visit->steps_before; i < part->steps->len; i++) {
        const JournalStep *step = g_ptr_array_index(part->steps, i);
        if (step->runtime_input != NULL &&
            step->runtime_input->input_case == RUNTIME_INPUT__INPUT_POISONED) {
            return TRUE;
        }
    }
    return FALSE;
}

/* What failed left nothing in the journal. It failed at its first step, which asks nothing before,
 * or at one for a host that did not exist. */
static gboolean replay_host_exists(VbBus *bus, const char *host_uuid, gboolean *ret_exists,
                                   GError **error)
{
    const Replay *replay = (const Replay *)bus;
    const VbReplayVisit *told = &replay->visit->told;
    (void)error;
    *ret_exists = !replay->visit->is_fault || is_poisoned_by_now(replay);
    for (size_t i = 0; i < told->n_more && *ret_exists; i++) {
        *ret_exists =
            strcmp(told->more[i]->runtime_input->undeliverable->host_uuid, host_uuid) != 0;
    }
    return TRUE;
}

static gboolean replay_begin(VbBus *bus, GError **error)
{
    (void)bus;
    (void)error;
    return TRUE;
}

static gboolean replay_produce(VbBus *bus, const VbBusMessage *message, GError **error)
{
    (void)error;
    replay_judge((Replay *)bus, message);
    return TRUE;
}

static gboolean replay_send_offsets(VbBus *bus, const VbBusOffsets *offsets, size_t n_offsets,
                                    GError **error)
{
    (void)bus;
    (void)offsets;
    (void)n_offsets;
    (void)error;
    return TRUE;
}

static gint64 replay_now_ms(VbBus *bus)
{
    (void)bus;
    return 0;
}

void replay_bus_init(Replay *replay)
{
    /* No poll, no confirm_end, no abort: nothing here waits, and nothing fails. */
    replay->bus = (VbBus){.committed = replay_committed,
                          .state_end = replay_state_end,
                          .read_state = replay_read_state,
                          .consume = replay_consume,
                          .host_exists = replay_host_exists,
                          .begin = replay_begin,
                          .produce = replay_produce,
                          .flush = replay_begin,
                          .send_offsets = replay_send_offsets,
                          .commit = replay_begin,
                          .now_ms = replay_now_ms};
}
