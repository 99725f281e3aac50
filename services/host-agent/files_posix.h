/* The files vtable over the real system calls. */
#pragma once

#include "services/host-agent/host.h"

/* Static storage, valid for ever. Thread-safe. */
VbFiles *files_posix(void);
