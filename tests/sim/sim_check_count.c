/* See sim_check_count.h. */
#include "tests/sim/sim_check_count.h"

static const struct {
    const char *name;
    const char *sentence;
} infos[] = {
#define SIM_INVARIANT_INFO(name, sentence) {#name, sentence},
    SIM_INVARIANTS(SIM_INVARIANT_INFO)
#undef SIM_INVARIANT_INFO
};

static guint64 n_judged[SIM_N_INVARIANTS];
static guint64 n_excused[SIM_N_INVARIANTS];

gboolean sim_judge(SimInvariant invariant, gboolean excused)
{
    (excused ? n_excused : n_judged)[invariant]++;
    return !excused;
}

guint64 sim_judged(SimInvariant invariant)
{
    return n_judged[invariant];
}

guint64 sim_excused(SimInvariant invariant)
{
    return n_excused[invariant];
}

const char *sim_invariant_name(SimInvariant invariant)
{
    return infos[invariant].name;
}

const char *sim_invariant_sentence(SimInvariant invariant)
{
    return infos[invariant].sentence;
}
