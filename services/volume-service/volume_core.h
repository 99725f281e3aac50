/* Every volume of a VM, and NVRAM's whole life, as one pure step. The four-way table: nvram.c. */
#pragma once

#include "common/base/step.h"

extern const VbService volume_service;
