/* See spec.h. */
#include "tools/virtbusctl/spec.h"

#include <string.h>

#include "common/base/text.h"
#include "tools/virtbusctl/args.h"

void spec_flags_clear(SpecFlags *flags)
{
    char **texts[] = {&flags->name,        &flags->account,       &flags->platform,
                      &flags->firmware,    &flags->secure_boot,   &flags->vcpus,
                      &flags->memory,      &flags->machine,       &flags->image_platform,
                      &flags->domain_type, &flags->storage,       &flags->graphics,
                      &flags->clock,       &flags->restart_policy};
    for (size_t i = 0; i < G_N_ELEMENTS(texts); i++) {
        g_clear_pointer(texts[i], g_free);
    }
    g_clear_pointer(&flags->disks, g_strfreev);
    g_clear_pointer(&flags->cdroms, g_strfreev);
    g_clear_pointer(&flags->nics, g_strfreev);
}

/* What `text` may be for people: "bridge, vhost-user, user". */
static char *enum_words(const ProtobufCEnumDescriptor *type)
{
    GString *words = g_string_new(NULL);
    for (unsigned i = 0; i < type->n_values; i++) {
        if (type->values[i].value != 0) {
            g_autofree char *word = g_ascii_strdown(enum_code(type, type->values[i].value), -1);
            g_string_append_printf(words, "%s%s", words->len > 0 ? ", " : "",
                                   g_strdelimit(word, "_", '-'));
        }
    }
    return g_string_free(words, FALSE);
}

/* A value by its label or code, with '-' for '_', in any case. */
static gboolean enum_read(const char *flag, const ProtobufCEnumDescriptor *type, const char *text,
                          int *ret_value, GError **error)
{
    g_autofree char *code = g_strdelimit(g_strdup(text), "-", '_');
    if (enum_parse(type, code, ret_value) && *ret_value != 0) {
        return TRUE;
    }
    g_autofree char *words = enum_words(type);
    g_set_error(error, CTL_ERROR, CTL_USAGE, "%s: \"%s\" is not known; known are %s", flag, text,
                words);
    return FALSE;
}

/* ---- "FIRST,KEY=VALUE,KEY=VALUE": one table says which keys there are and what they set. */

typedef enum { KEY_TEXT, KEY_NUMBER, KEY_NUMBER64, KEY_SIZE, KEY_ENUM } KeyType;

typedef struct {
    const char *name;
    KeyType type;
    void *value; /* char *, uint32_t, uint64_t, int */
    const ProtobufCEnumDescriptor *words;
} Key;

typedef struct {
    VbArena *arena;
    const char *flag; /* "--disk" */
    const Key *keys;  /* The first is the one whose name may be left out. */
    size_t n_keys;
} KeyList;

static gboolean key_set(const KeyList *list, const Key *key, const char *text, GError **error)
{
    g_autofree char *where = g_strdup_printf("%s %s", list->flag, key->name);
    switch (key->type) {
    case KEY_TEXT:
        *(char **)key->value = arena_strdup(list->arena, text);
        return TRUE;
    case KEY_NUMBER:
        return args_number(where, text, 0, G_MAXUINT32, key->value, error);
    case KEY_NUMBER64: {
        guint32 number;
        if (!args_number(where, text, 0, G_MAXUINT32, &number, error)) {
            return FALSE;
        }
        *(guint64 *)key->value = number;
        return TRUE;
    }
    case KEY_SIZE:
        return args_size(where, text, key->value, error);
    case KEY_ENUM:
        return enum_read(where, key->words, text, key->value, error);
    }
    g_assert_not_reached();
}

static gboolean key_refuse(const KeyList *list, const char *what, const char *text, GError **error)
{
    g_autoptr(GString) known = g_string_new(NULL);
    for (size_t i = 0; i < list->n_keys; i++) {
        g_string_append_printf(known, "%s%s", i > 0 ? ", " : "", list->keys[i].name);
    }
    g_set_error(error, CTL_ERROR, CTL_USAGE, "%s: \"%s\" %s; known are %s", list->flag, text, what,
                known->str);
    return FALSE;
}

static gboolean keys_read(const KeyList *list, const char *text, GError **error)
{
    g_auto(GStrv) parts = g_strsplit(text, ",", -1);
    for (guint i = 0; parts[i] != NULL; i++) {
        char *equals = strchr(parts[i], '=');
        if (equals == NULL && i == 0) {
            if (!key_set(list, &list->keys[0], parts[i], error)) {
                return FALSE;
            }
            continue;
        }
        if (equals == NULL) {
            return key_refuse(list, "has no value, as KEY=VALUE", parts[i], error);
        }
        *equals = '\0';
        const Key *found = NULL;
        for (size_t k = 0; k < list->n_keys && found == NULL; k++) {
            found = strcmp(list->keys[k].name, parts[i]) == 0 ? &list->keys[k] : NULL;
        }
        if (found == NULL) {
            return key_refuse(list, "is no key", parts[i], error);
        }
        if (!key_set(list, found, equals + 1, error)) {
            return FALSE;
        }
    }
    return TRUE;
}

/* ---- Devices */

static gboolean disk_read(VbArena *arena, const char *text, DiskSpec *disk, GError **error)
{
    const Key keys[] = {
        {"size", KEY_SIZE, &disk->size_bytes, NULL},
        {"type", KEY_ENUM, &disk->type, &volume_type__descriptor},
        {"image", KEY_TEXT, &disk->image, NULL},
        {"mode", KEY_ENUM, &disk->image_mode, &image_mode__descriptor},
        {"bus", KEY_ENUM, &disk->bus, &disk_bus__descriptor},
        {"boot", KEY_NUMBER, &disk->boot_order, NULL},
        {"format", KEY_ENUM, &disk->format, &volume_format__descriptor},
        {"socket", KEY_TEXT, &disk->socket_path, NULL},
        {"iops", KEY_NUMBER64, &disk->iops_limit, NULL},
    };
    KeyList list = {arena, "--disk", keys, G_N_ELEMENTS(keys)};
    return keys_read(&list, text, error);
}

static gboolean cdrom_read(VbArena *arena, const char *text, CdromSpec *cdrom, GError **error)
{
    const Key keys[] = {
        {"image", KEY_TEXT, &cdrom->image, NULL},
        {"boot", KEY_NUMBER, &cdrom->boot_order, NULL},
    };
    KeyList list = {arena, "--cdrom", keys, G_N_ELEMENTS(keys)};
    return keys_read(&list, text, error);
}

static gboolean nic_read(VbArena *arena, const char *text, NicSpec *nic, GError **error)
{
    const Key keys[] = {
        {"type", KEY_ENUM, &nic->type, &nic_type__descriptor},
        {"bridge", KEY_TEXT, &nic->bridge, NULL},
        {"model", KEY_ENUM, &nic->model, &nic_model__descriptor},
        {"mac", KEY_TEXT, &nic->mac, NULL},
        {"queues", KEY_NUMBER, &nic->queues, NULL},
        {"boot", KEY_NUMBER, &nic->boot_order, NULL},
        {"mtu", KEY_NUMBER, &nic->mtu, NULL},
    };
    KeyList list = {arena, "--nic", keys, G_N_ELEMENTS(keys)};
    return keys_read(&list, text, error);
}

static gboolean graphics_read(VbArena *arena, const char *text, VmSpec *spec, GError **error)
{
    GraphicsSpec *graphics = ARENA_MSG(arena, graphics_spec);
    const Key keys[] = {
        {"type", KEY_ENUM, &graphics->type, &graphics_type__descriptor},
        {"listen", KEY_TEXT, &graphics->listen, NULL},
    };
    KeyList list = {arena, "--graphics", keys, G_N_ELEMENTS(keys)};
    spec->graphics = graphics;
    return keys_read(&list, text, error);
}

static gboolean storage_read(VbArena *arena, const char *text, VmSpec *spec, GError **error)
{
    const char *colon = strrchr(text, ':');
    if (colon == NULL || colon == text) {
        g_set_error(error, CTL_ERROR, CTL_USAGE,
                    "--storage: \"%s\" is not NAME:TYPE, such as main:local", text);
        return FALSE;
    }
    g_autofree char *name = g_strndup(text, (gsize)(colon - text));
    StorageRef *storage = ARENA_MSG(arena, storage_ref);
    storage->name = arena_strdup(arena, name);
    spec->storage = storage;
    return enum_read("--storage", &storage_type__descriptor, colon + 1, (int *)&storage->type,
                     error);
}

static gboolean disks_read(VbArena *arena, char **texts, VmSpec *spec, GError **error)
{
    spec->n_disks = 0;
    for (guint i = 0; texts[i] != NULL; i++) {
        DiskSpec *disk = ARENA_MSG(arena, disk_spec);
        disk->index = i;
        disk->type = i == 0 ? VOLUME_TYPE_ROOT : VOLUME_TYPE_DATA;
        ARENA_APPEND(arena, spec->n_disks, spec->disks, disk);
        if (!disk_read(arena, texts[i], disk, error)) {
            return FALSE;
        }
    }
    return TRUE;
}

static gboolean cdroms_read(VbArena *arena, char **texts, VmSpec *spec, GError **error)
{
    spec->n_cdroms = 0;
    for (guint i = 0; texts[i] != NULL; i++) {
        CdromSpec *cdrom = ARENA_MSG(arena, cdrom_spec);
        cdrom->index = i;
        ARENA_APPEND(arena, spec->n_cdroms, spec->cdroms, cdrom);
        if (!cdrom_read(arena, texts[i], cdrom, error)) {
            return FALSE;
        }
    }
    return TRUE;
}

static gboolean nics_read(VbArena *arena, char **texts, VmSpec *spec, GError **error)
{
    spec->n_nics = 0;
    for (guint i = 0; texts[i] != NULL; i++) {
        NicSpec *nic = ARENA_MSG(arena, nic_spec);
        nic->index = i;
        ARENA_APPEND(arena, spec->n_nics, spec->nics, nic);
        if (!nic_read(arena, texts[i], nic, error)) {
            return FALSE;
        }
    }
    return TRUE;
}

/* ---- The whole */

static void text_apply(VbArena *arena, const char *text, char **field)
{
    if (text != NULL) {
        *field = arena_strdup(arena, text);
    }
}

static gboolean scalars_apply(VbArena *arena, const SpecFlags *flags, VmSpec *spec, GError **error)
{
    const struct {
        const char *flag;
        const char *text;
        const ProtobufCEnumDescriptor *type;
        int *value;
    } enums[] = {
        {"--platform", flags->platform, &platform__descriptor, (int *)&spec->platform},
        {"--image-platform", flags->image_platform, &platform__descriptor,
         (int *)&spec->image_platform},
        {"--firmware", flags->firmware, &firmware__descriptor, (int *)&spec->firmware},
        {"--secure-boot", flags->secure_boot, &toggle__descriptor, (int *)&spec->secure_boot},
        {"--clock", flags->clock, &clock_offset__descriptor, (int *)&spec->clock},
        {"--restart-policy", flags->restart_policy, &restart_policy__descriptor,
         (int *)&spec->restart_policy},
    };
    text_apply(arena, flags->name, &spec->name);
    text_apply(arena, flags->account, &spec->account);
    text_apply(arena, flags->machine, &spec->machine);
    text_apply(arena, flags->domain_type, &spec->domain_type);
    for (size_t i = 0; i < G_N_ELEMENTS(enums); i++) {
        if (enums[i].text != NULL &&
            !enum_read(enums[i].flag, enums[i].type, enums[i].text, enums[i].value, error)) {
            return FALSE;
        }
    }
    return (flags->vcpus == NULL ||
            args_number("--vcpus", flags->vcpus, 1, G_MAXUINT16, &spec->vcpus, error)) &&
           (flags->memory == NULL ||
            args_size("--memory", flags->memory, &spec->memory_bytes, error));
}

static void boot_order_default(VmSpec *spec)
{
    DiskSpec *root = NULL;
    gboolean is_given = FALSE;
    for (size_t i = 0; i < spec->n_disks; i++) {
        is_given = is_given || spec->disks[i]->boot_order > 0;
        root = spec->disks[i]->type == VOLUME_TYPE_ROOT ? spec->disks[i] : root;
    }
    for (size_t i = 0; i < spec->n_cdroms; i++) {
        is_given = is_given || spec->cdroms[i]->boot_order > 0;
    }
    for (size_t i = 0; i < spec->n_nics; i++) {
        is_given = is_given || spec->nics[i]->boot_order > 0;
    }
    if (root != NULL && !is_given) {
        root->boot_order = 1;
    }
}

gboolean spec_apply(VbArena *arena, const SpecFlags *flags, VmSpec *spec, GError **error)
{
    if (!scalars_apply(arena, flags, spec, error) ||
        (flags->storage != NULL && !storage_read(arena, flags->storage, spec, error)) ||
        (flags->graphics != NULL && !graphics_read(arena, flags->graphics, spec, error)) ||
        (flags->disks != NULL && !disks_read(arena, flags->disks, spec, error)) ||
        (flags->cdroms != NULL && !cdroms_read(arena, flags->cdroms, spec, error)) ||
        (flags->nics != NULL && !nics_read(arena, flags->nics, spec, error))) {
        return FALSE;
    }
    if (flags->tpm) {
        spec->tpm = ARENA_MSG(arena, tpm_spec);
        spec->tpm->version = TPM_VERSION_2_0;
    }
    if (flags->serial) {
        spec->serial_console = TRUE;
    }
    if (flags->disks != NULL) {
        boot_order_default(spec);
    }
    return TRUE;
}
