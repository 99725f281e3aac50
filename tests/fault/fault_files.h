/* The real file system, whose Nth call fails, and the books of what a power failure would leave.
 *
 * fsync is not carried out: to a process that lives on it shows nothing. What it promises is kept
 * here: bytes are durable once their file was synced, a name once its folder was. After a sync of a
 * file that failed its bytes are lost, whatever later syncs say, until they are written again: so
 * Linux does it. A file's owner and mode are not followed.
 *
 * qemu-img is left out too: make_disk writes a small file with a qcow2's first bytes. */
#pragma once

#include "services/host-agent/host.h"
#include "tests/fault/fault.h"

typedef struct FaultFiles FaultFiles;

/* Told before a name goes, and once one has come by a rename. */
typedef void (*FaultFilesTold)(void *data, const char *path);

FaultFiles *fault_files_new(Fault *fault, const char *root);
void fault_files_free(FaultFiles *files);
VbFiles *fault_files_vtable(FaultFiles *files);
void fault_files_set_told(FaultFiles *files, FaultFilesTold removes, FaultFilesTold renamed,
                          void *data);

/* Somebody else, a guest, has written to this file; or has made this file or folder. */
void fault_files_wrote(FaultFiles *files, const char *path);
void fault_files_made(FaultFiles *files, const char *path);
/* What a power failure would take of this path, below the root: a sentence (g_free); NULL: nothing.
 * A path that is not there must stay so. */
char *fault_files_unsafe(FaultFiles *files, const char *path);
