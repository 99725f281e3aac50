/* What a run comes down to, in one number: every record that readers see, and every disk, as it is
 * and as a power loss would leave it. */
#pragma once

#include "tests/sim/sim_world.h"

/* While the broker is down it has no records. */
guint64 sim_digest(SimWorld *world);
