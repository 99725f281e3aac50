/* The agent's memory: one file per VM, <state_dir>/<vm uuid>.vm, always replaced whole.
 *
 *   "VBHVM1\n\0"   8 bytes
 *   length         4 bytes, little-endian, of the HostVm
 *   SHA-256        32 bytes, of the HostVm
 *   HostVm         protobuf
 *
 * What journal_save returned for is there after a power failure: write a new file, fsync it, rename
 * it over the old one, fsync the folder. A torn or foreign file is never believed and never
 * deleted: it is set aside as <vm uuid>.vm.bad. It refuses to know what a HostVm means. */
#pragma once

#include "services/host-agent/host.h"

typedef struct VbJournal VbJournal;

/* `files` and `state_dir` are borrowed. */
VbJournal *journal_new(VbFiles *files, const char *state_dir);
void journal_free(VbJournal *journal);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(VbJournal, journal_free)

/* One VM of the folder. `packed` is its HostVm, borrowed; NULL: its file was bad and was set aside,
 * `problem` says why. */
typedef void (*VbJournalFound)(void *data, const char *vm_uuid, GBytes *packed,
                               const char *problem);

/* Makes the folder if need be, removes what an interrupted save left, and calls `found` for each
 * VM; a bad one is found again, perhaps twice, until it is saved. STORAGE_IO: the folder or a file
 * cannot be read or set aside. */
gboolean journal_load(VbJournal *journal, VbJournalFound found, void *data, GError **error);

/* STORAGE_IO: the old file is still there, whole. */
gboolean journal_save(VbJournal *journal, const char *vm_uuid, GBytes *packed, GError **error);
/* With what was set aside of this VM. A file that is not there is a success. */
gboolean journal_remove(VbJournal *journal, const char *vm_uuid, GError **error);
