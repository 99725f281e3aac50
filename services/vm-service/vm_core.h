/* The VM record's whole behaviour, as one pure step. What is legal when: the table at the top of
 * vm_core.c. */
#pragma once

#include "common/base/step.h"

extern const VbService vm_service;
