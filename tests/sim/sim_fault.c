/* See sim_fault.h. */
#include "tests/sim/sim_fault.h"

static const SimFaultInfo infos[] = {
#define SIM_FAULT_INFO(id, name, rate, what) {name, rate, what},
    SIM_FAULTS(SIM_FAULT_INFO)
#undef SIM_FAULT_INFO
};

static guint64 hits[SIM_N_FAULTS];

const SimFaultInfo *sim_fault_info(SimFault fault)
{
    return &infos[fault];
}

gboolean sim_fault_parse(const char *name, SimFault *ret_fault)
{
    for (guint i = 0; i < SIM_N_FAULTS; i++) {
        if (g_str_equal(infos[i].name, name)) {
            *ret_fault = i;
            return TRUE;
        }
    }
    return FALSE;
}

void sim_fault_hit(SimFault fault)
{
    hits[fault]++;
}

guint64 sim_fault_hits(SimFault fault)
{
    return hits[fault];
}
