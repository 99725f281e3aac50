/* The few things that the store does with files, over the files vtable. They name the path and the
 * cause in every error: a full disk is STORAGE_FULL, all else STORAGE_IO. */
#pragma once

#include "services/host-agent/host.h"

/* Sets the error for a call that left its cause in errno: "cannot <doing> <path>: <cause>". */
void store_error(GError **error, const char *doing, const char *path);

/* Reads an open file to its end into the arena, with a NUL behind it; more than limit_bytes is an
 * error. */
gboolean store_read(VbFiles *files, VbArena *arena, int fd, const char *path, size_t limit_bytes,
                    void **ret_bytes, size_t *ret_size_bytes, GError **error);

/* Writes all of it to an open file, in as many calls as it takes. FALSE: errno says why. */
gboolean store_write_all(VbFiles *files, int fd, const void *bytes, size_t size_bytes);

/* The same, and fsync. */
gboolean store_write_and_sync(VbFiles *files, int fd, const char *path, const void *bytes,
                              size_t size_bytes, GError **error);

/* Makes a new file with these bytes and mode 0600, synced. It must not exist. */
gboolean store_write(VbFiles *files, const char *path, const void *bytes, size_t size_bytes,
                     GError **error);

/* fsync of one file or folder. `flags` are added to O_RDONLY. */
gboolean store_sync(VbFiles *files, const char *path, int flags, GError **error);

/* Removes a file; one that is not there is a success. */
gboolean store_unlink(VbFiles *files, const char *path, GError **error);

/* Removes a folder and the files in it, or a file. Links in it are removed, never followed. What is
 * not there is a success; a folder in it is an error: whoever owns `path` could make a link of that
 * one while it is removed. `path` itself must lie in a folder of root's. */
gboolean store_remove_folder(VbFiles *files, const char *path, GError **error);

/* lstat; FALSE with `ret_there` FALSE and no error: nothing has this name. */
gboolean store_look(VbFiles *files, const char *path, gboolean *ret_there, struct stat *ret_stat,
                    GError **error);

/* Size of a regular file, links followed; FALSE: it is not there or is no file. */
gboolean store_file_size(VbFiles *files, const char *path, guint64 *ret_size_bytes);

/* FALSE: this host has no such user. */
gboolean store_find_user(const char *name, uid_t *ret_uid);
