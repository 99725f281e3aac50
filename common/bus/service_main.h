/* The whole life of a service's process: options, log, health, metrics, signals, bus, loop. */
#pragma once

#include "common/base/step.h"

/* Returns the exit status. Does not return after a fatal error of the bus: it executes the program
 * again, in the same process, with a back-off. */
int service_main(int argc, char **argv, const VbService *service);
