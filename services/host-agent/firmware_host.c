/* The firmware builds of this host: reads QEMU's descriptors and looks at the files they name.
 * Which of them fits is decided by firmware.c. A build whose files are not both there is none. */
#include "services/host-agent/volumes.h"

#include <fcntl.h>

#include "services/host-agent/firmware.h"
#include "services/host-agent/volume_files.h"

enum { DESCRIPTOR_MAX_BYTES = 64 * 1024 };

static const char *read_descriptor(VbHost *host, VbArena *arena, const char *path, GError **error)
{
    int fd = host->files->open(host->files, path, O_RDONLY | O_NONBLOCK, 0);
    if (fd < 0) {
        store_error(error, "open", path);
        return NULL;
    }
    void *bytes = NULL;
    size_t size_bytes = 0;
    gboolean ok =
        store_read(host->files, arena, fd, path, DESCRIPTOR_MAX_BYTES, &bytes, &size_bytes, error);
    host->files->close(host->files, fd);
    return ok ? bytes : NULL;
}

/* Of VbDescriptor, in no order; of equal names the last folder's only. */
static GArray *read_descriptors(VbHost *host, VbArena *arena, GPtrArray *problems)
{
    g_autoptr(GHashTable) by_name = g_hash_table_new(g_str_hash, g_str_equal);
    for (char **folder = host->config->firmware_dirs; *folder != NULL; folder++) {
        /* /etc/qemu/firmware is often not there. */
        g_auto(GStrv) names = host->files->list(host->files, *folder);
        for (guint i = 0; names != NULL && names[i] != NULL; i++) {
            if (!g_str_has_suffix(names[i], ".json")) {
                continue;
            }
            g_autoptr(GError) error = NULL;
            g_autofree char *path = g_build_filename(*folder, names[i], NULL);
            const char *json = read_descriptor(host, arena, path, &error);
            if (json != NULL) {
                g_hash_table_insert(by_name, arena_strdup(arena, names[i]), (char *)json);
            } else {
                g_ptr_array_add(problems, arena_strdup(arena, error->message));
            }
        }
    }
    GArray *descriptors = g_array_new(FALSE, FALSE, sizeof(VbDescriptor));
    GHashTableIter iter;
    void *name = NULL;
    void *json = NULL;
    g_hash_table_iter_init(&iter, by_name);
    while (g_hash_table_iter_next(&iter, &name, &json)) {
        VbDescriptor descriptor = {.name = name, .json = json};
        g_array_append_val(descriptors, descriptor);
    }
    return descriptors;
}

/* Whether both files of the build are there; then how large its variable store is. */
static gboolean look_at_build(VbHost *host, const FirmwareRef *build, guint64 *ret_nvram_bytes)
{
    guint64 code_bytes = 0;
    return store_file_size(host->files, build->code_path, &code_bytes) &&
           store_file_size(host->files, build->template_path, ret_nvram_bytes);
}

static GPtrArray *find_builds(VbHost *host, VbArena *arena, GPtrArray *problems)
{
    g_autoptr(GArray) descriptors = read_descriptors(host, arena, problems);
    GPtrArray *builds = firmware_parse(arena, (const VbDescriptor *)(void *)descriptors->data,
                                       descriptors->len, problems);
    for (guint i = 0; i < builds->len;) {
        FirmwareRef *build = builds->pdata[i];
        if (look_at_build(host, build, &build->class_->nvram_bytes)) {
            i++;
            continue;
        }
        g_ptr_array_add(problems,
                        arena_printf(arena, "%s: %s or %s is not there", build->descriptor,
                                     build->code_path, build->template_path));
        g_ptr_array_remove_index(builds, i);
    }
    return builds;
}

/* Told once, not with each heartbeat. One thread collects those. */
static void warn_of_problems(const GPtrArray *problems)
{
    static char *told;
    g_autoptr(GString) text = g_string_new(NULL);
    for (guint i = 0; i < problems->len; i++) {
        g_string_append_printf(text, "%s%s", i > 0 ? "; " : "", (const char *)problems->pdata[i]);
    }
    if (g_strcmp0(told != NULL ? told : "", text->str) == 0) {
        return;
    }
    if (text->len > 0) {
        g_warning("%s; install the firmware package anew, or remove what is left of it", text->str);
    }
    g_free(told);
    told = g_strdup(text->str);
}

GPtrArray *firmware_list(VbHost *host, VbArena *arena)
{
    g_autoptr(GPtrArray) problems = g_ptr_array_new();
    GPtrArray *builds = find_builds(host, arena, problems);
    warn_of_problems(problems);
    return builds;
}

/* The pinned build, when it is of the wanted class and its files are as they were. */
static FirmwareRef *try_pinned(VbHost *host, VbArena *arena, const FirmwareRef *pinned,
                               guint64 wanted_bytes)
{
    guint64 nvram_bytes = 0;
    if (!look_at_build(host, pinned, &nvram_bytes) ||
        (wanted_bytes != 0 && wanted_bytes != nvram_bytes)) {
        return NULL;
    }
    FirmwareRef *build = arena_copy(arena, pinned);
    build->class_->nvram_bytes = nvram_bytes;
    return build;
}

FirmwareRef *firmware_resolve(VbHost *host, VbArena *arena, const FirmwareClass *wanted,
                              const FirmwareRef *pinned, gboolean *ret_replaced, GError **error)
{
    FirmwareClass exact = *wanted;
    *ret_replaced = FALSE;
    if (pinned != NULL && pinned->class_ != NULL && pinned->class_->firmware == wanted->firmware &&
        pinned->class_->secure_boot == wanted->secure_boot) {
        if (exact.nvram_bytes == 0) {
            exact.nvram_bytes = pinned->class_->nvram_bytes;
        }
        FirmwareRef *build = try_pinned(host, arena, pinned, exact.nvram_bytes);
        if (build != NULL) {
            return build;
        }
        *ret_replaced = TRUE;
    }
    g_autoptr(GPtrArray) problems = g_ptr_array_new();
    g_autoptr(GPtrArray) builds = find_builds(host, arena, problems);
    const FirmwareRef *chosen = firmware_choose(builds, &exact, error);
    if (chosen != NULL) {
        return arena_copy(arena, chosen);
    }
    *ret_replaced = FALSE;
    g_prefix_error(error, "host %s: ", host->config->host_uuid);
    for (guint i = 0; error != NULL && i < problems->len; i++) {
        g_autofree char *text = (*error)->message;
        (*error)->message =
            g_strdup_printf("%s; left out: %s", text, (const char *)problems->pdata[i]);
    }
    return NULL;
}
