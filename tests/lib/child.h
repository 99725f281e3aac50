/* What a test program starts does not outlive it, whatever becomes of the program. */
#pragma once

#include <glib.h>
#include <signal.h>
#include <sys/prctl.h>

/* For the child, between fork and exec; a GSpawnChildSetupFunc. */
static inline void child_dies_with_parent(gpointer unused)
{
    (void)unused;
    prctl(PR_SET_PDEATHSIG, SIGKILL);
}
