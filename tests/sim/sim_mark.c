/* See sim_mark.h. */
#include "tests/sim/sim_mark.h"

static const struct {
    const char *name;
    const char *sentence;
} infos[] = {
#define SIM_MARK_INFO(id, sentence) {#id, sentence},
    SIM_MARKS(SIM_MARK_INFO)
#undef SIM_MARK_INFO
};

static guint64 hits[SIM_N_MARKS];

void sim_mark(SimMark mark)
{
    hits[mark]++;
}

guint64 sim_mark_hits(SimMark mark)
{
    return hits[mark];
}

const char *sim_mark_name(SimMark mark)
{
    return infos[mark].name;
}

const char *sim_mark_sentence(SimMark mark)
{
    return infos[mark].sentence;
}
