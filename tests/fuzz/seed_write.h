/* What the makers of seeds share: FOLDER/TARGET/NAME with a packed message or with bytes. A file
 * that cannot be written ends the process. */
#pragma once

#include "common/base/message.h"

static inline void seed_write_bytes(const char *folder, const char *target, const char *name,
                                    const void *bytes, size_t size_bytes)
{
    g_autoptr(GError) error = NULL;
    g_autofree char *path = g_build_filename(folder, target, name, NULL);
    g_autofree char *parent = g_path_get_dirname(path);
    g_mkdir_with_parents(parent, 0777);
    if (!g_file_set_contents(path, bytes, (gssize)size_bytes, &error)) {
        g_error("%s", error->message);
    }
}

static inline void seed_write(const char *folder, const char *target, const char *name,
                              const void *message)
{
    g_autoptr(GBytes) packed = message_pack(message);
    seed_write_bytes(folder, target, name, g_bytes_get_data(packed, NULL),
                     g_bytes_get_size(packed));
}
