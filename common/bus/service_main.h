/* The whole life of a service's process: options, log, health, metrics, signals, bus, loop. */
#pragma once

#include "common/base/step.h"

/* Returns the exit status. After an error of the bus that came later than the start it executes
 * the program again, in the same process: see service_restart.h. */
int service_main(int argc, char **argv, const VbService *service);
