/* See spec.h. */
#include "tools/virtbusctl/spec.h"

#include <string.h>

#include "common/base/text.h"
#include "tools/virtbusctl/args.h"

#define WORD_DEFAULT "default"
#define WORD_NONE    "none"

void spec_flags_clear(SpecFlags *flags)
{
    char **texts[] = {
        &flags->name,       &flags->account,        &flags->platform,  &flags->firmware,
        &flags->vcpus,      &flags->secure_boot,    &flags->memory,    &flags->machine,
        &flags->graphics,   &flags->image_platform, &flags->storage,   &flags->domain_type,
        &flags->clock,      &flags->restart_policy, &flags->tpm_model, &flags->huge_pages,
        &flags->nvram_size, &flags->hyperv,
    };
    char ***lists[] = {&flags->disks,    &flags->cdroms,    &flags->nics,
                       &flags->no_disks, &flags->no_cdroms, &flags->no_nics};
    for (size_t i = 0; i < G_N_ELEMENTS(texts); i++) {
        g_clear_pointer(texts[i], g_free);
    }
    for (size_t i = 0; i < G_N_ELEMENTS(lists); i++) {
        g_clear_pointer(lists[i], g_strfreev);
    }
}

/* ---- Words of an enum */

static char *words_make(const ProtobufCEnumDescriptor *type, gboolean has_default,
                        const char *between)
{
    GString *words = g_string_new(has_default ? WORD_DEFAULT : NULL);
    for (unsigned i = 0; i < type->n_values; i++) {
        if (type->values[i].value != 0) {
            g_autofree char *word = g_ascii_strdown(enum_code(type, type->values[i].value), -1);
            g_string_append_printf(words, "%s%s", words->len > 0 ? between : "",
                                   g_strdelimit(word, "_", '-'));
        }
    }
    return g_string_free(words, FALSE);
}

const char *spec_words(const ProtobufCEnumDescriptor *type, gboolean has_default)
{
    g_autofree char *words = words_make(type, has_default, "|");
    return g_intern_string(words);
}

/* A value by its label or code, with '-' for '_', in any case. */
static gboolean enum_read(const char *flag, const ProtobufCEnumDescriptor *type,
                          gboolean has_default, const char *text, int *ret_value, GError **error)
{
    if (has_default && strcmp(text, WORD_DEFAULT) == 0) {
        *ret_value = 0;
        return TRUE;
    }
    g_autofree char *code = g_strdelimit(g_strdup(text), "-", '_');
    if (enum_parse(type, code, ret_value) && *ret_value != 0) {
        return TRUE;
    }
    g_autofree char *words = words_make(type, has_default, ", ");
    return args_usage(error, "%s: \"%s\" is not known; known are %s", flag, text, words);
}

/* ---- "FIRST,KEY=VALUE,KEY=VALUE": one table says which keys there are and what they set. */

typedef enum {
    KEY_TEXT,     /* char * */
    KEY_NUMBER,   /* uint32_t */
    KEY_NUMBER64, /* uint64_t */
    KEY_SIZE,     /* uint64_t */
    KEY_WORD,     /* An enum. */
    KEY_CHOICE,   /* An enum that may be left to a default. */
} KeyType;

typedef struct {
    const char *name;
    KeyType type;
    size_t offset; /* Of the field. */
    const ProtobufCEnumDescriptor *words;
    const char *hint; /* In --help; NULL: by type. */
} Key;

/* A kind of device of which a VM has several. Of its keys the first is the one whose name may be
 * left out. */
typedef struct {
    const char *flag;
    const char *noun;
    const ProtobufCMessageDescriptor *type;
    const Key *keys;
    size_t n_keys;
    size_t index_offset;
} Kind;

/* clang-format off: tables. */
static const Key disk_keys[] = {
    {"size", KEY_SIZE, offsetof(DiskSpec, size_bytes), NULL, NULL},
    {"type", KEY_WORD, offsetof(DiskSpec, type), &volume_type__descriptor, "root|data"},
    {"image", KEY_TEXT, offsetof(DiskSpec, image), NULL, "FILE"},
    {"mode", KEY_CHOICE, offsetof(DiskSpec, image_mode), &image_mode__descriptor, NULL},
    {"format", KEY_CHOICE, offsetof(DiskSpec, format), &volume_format__descriptor,
     "default|raw|qcow2"},
    {"bus", KEY_CHOICE, offsetof(DiskSpec, bus), &disk_bus__descriptor, NULL},
    {"socket", KEY_TEXT, offsetof(DiskSpec, socket_path), NULL, "PATH"},
    {"iops", KEY_NUMBER64, offsetof(DiskSpec, iops_limit), NULL, NULL},
    {"boot", KEY_NUMBER, offsetof(DiskSpec, boot_order), NULL, NULL},
    {"index", KEY_NUMBER, offsetof(DiskSpec, index), NULL, NULL},
};
static const Key cdrom_keys[] = {
    {"image", KEY_TEXT, offsetof(CdromSpec, image), NULL, "FILE"},
    {"boot", KEY_NUMBER, offsetof(CdromSpec, boot_order), NULL, NULL},
    {"index", KEY_NUMBER, offsetof(CdromSpec, index), NULL, NULL},
};
static const Key nic_keys[] = {
    {"type", KEY_WORD, offsetof(NicSpec, type), &nic_type__descriptor, NULL},
    {"bridge", KEY_TEXT, offsetof(NicSpec, bridge), NULL, "NAME"},
    {"model", KEY_CHOICE, offsetof(NicSpec, model), &nic_model__descriptor, NULL},
    {"mac", KEY_TEXT, offsetof(NicSpec, mac), NULL, "MAC"},
    {"queues", KEY_NUMBER, offsetof(NicSpec, queues), NULL, NULL},
    {"mtu", KEY_NUMBER, offsetof(NicSpec, mtu), NULL, NULL},
    {"boot", KEY_NUMBER, offsetof(NicSpec, boot_order), NULL, NULL},
    {"index", KEY_NUMBER, offsetof(NicSpec, index), NULL, NULL},
};
static const Key graphics_keys[] = {
    {"type", KEY_WORD, offsetof(GraphicsSpec, type), &graphics_type__descriptor, NULL},
    {"listen", KEY_TEXT, offsetof(GraphicsSpec, listen), NULL, "ADDRESS"},
};
static const Kind disk_kind = {"--disk",
                               "disk",
                               &disk_spec__descriptor,
                               disk_keys,
                               G_N_ELEMENTS(disk_keys),
                               offsetof(DiskSpec, index)};
static const Kind cdrom_kind = {"--cdrom",  "CD-ROM drive",           &cdrom_spec__descriptor,
                                cdrom_keys, G_N_ELEMENTS(cdrom_keys), offsetof(CdromSpec, index)};
static const Kind nic_kind = {"--nic",
                              "NIC",
                              &nic_spec__descriptor,
                              nic_keys,
                              G_N_ELEMENTS(nic_keys),
                              offsetof(NicSpec, index)};
static const Kind graphics_kind = {"--graphics",
                                   "graphics",
                                   &graphics_spec__descriptor,
                                   graphics_keys,
                                   G_N_ELEMENTS(graphics_keys),
                                   0};
/* clang-format on */

typedef struct {
    VbArena *arena;
    const Kind *kind;
    void *device;
} Target;

static gboolean key_set(const Target *target, const Key *key, const char *text, GError **error)
{
    g_autofree char *where = g_strdup_printf("%s %s", target->kind->flag, key->name);
    void *field = (char *)target->device + key->offset;
    switch (key->type) {
    case KEY_TEXT:
        *(char **)field = arena_strdup(target->arena, text);
        return TRUE;
    case KEY_NUMBER:
        return args_number(where, text, 0, G_MAXUINT32, field, error);
    case KEY_NUMBER64: {
        guint32 number;
        if (!args_number(where, text, 0, G_MAXUINT32, &number, error)) {
            return FALSE;
        }
        *(guint64 *)field = number;
        return TRUE;
    }
    case KEY_SIZE:
        return args_size(where, text, field, error);
    case KEY_WORD:
        return enum_read(where, key->words, FALSE, text, field, error);
    case KEY_CHOICE:
        return enum_read(where, key->words, TRUE, text, field, error);
    }
    g_assert_not_reached();
}

static gboolean key_refuse(const Kind *kind, const char *what, const char *text, GError **error)
{
    g_autoptr(GString) known = g_string_new(NULL);
    for (size_t i = 0; i < kind->n_keys; i++) {
        g_string_append_printf(known, "%s%s", i > 0 ? ", " : "", kind->keys[i].name);
    }
    return args_usage(error, "%s: \"%s\" %s; known are %s", kind->flag, text, what, known->str);
}

static const Key *key_find(const Kind *kind, const char *name)
{
    for (size_t i = 0; i < kind->n_keys; i++) {
        if (strcmp(kind->keys[i].name, name) == 0) {
            return &kind->keys[i];
        }
    }
    return NULL;
}

static gboolean keys_read(const Target *target, const char *text, GError **error)
{
    g_auto(GStrv) parts = g_strsplit(text, ",", -1);
    for (guint i = 0; parts[i] != NULL; i++) {
        char *equals = strchr(parts[i], '=');
        if (equals == NULL && i == 0) {
            if (!key_set(target, &target->kind->keys[0], parts[i], error)) {
                return FALSE;
            }
            continue;
        }
        if (equals == NULL) {
            return key_refuse(target->kind, "has no value, as KEY=VALUE", parts[i], error);
        }
        *equals = '\0';
        const Key *found = key_find(target->kind, parts[i]);
        if (found == NULL) {
            return key_refuse(target->kind, "is no key", parts[i], error);
        }
        if (!key_set(target, found, equals + 1, error)) {
            return FALSE;
        }
    }
    return TRUE;
}

/* ---- Devices of which there are several */

static guint32 *index_of(const Kind *kind, void *device)
{
    return (guint32 *)(void *)((char *)device + kind->index_offset);
}

static void *device_find(const Kind *kind, size_t n, void **devices, guint32 index)
{
    for (size_t i = 0; i < n; i++) {
        if (*index_of(kind, devices[i]) == index) {
            return devices[i];
        }
    }
    return NULL;
}

/* The "index=N" of a device's text. FALSE and no error: it has none. */
static gboolean index_given(const Kind *kind, const char *text, guint32 *ret_index, GError **error)
{
    g_auto(GStrv) parts = g_strsplit(text, ",", -1);
    g_autofree char *where = g_strconcat(kind->flag, " index", NULL);
    for (char **part = parts; *part != NULL; part++) {
        if (g_str_has_prefix(*part, "index=")) {
            return args_number(where, *part + strlen("index="), 0, G_MAXUINT32, ret_index, error);
        }
    }
    return FALSE;
}

/* The device that `text` is about: one of `devices`, or a new one. NULL and an error. */
static void *device_choose(VbArena *arena, const Kind *kind, const char *text, size_t n,
                           void **devices, gboolean *ret_is_new, GError **error)
{
    GError *cause = NULL;
    guint32 index = 0;
    *ret_is_new = TRUE;
    if (index_given(kind, text, &index, &cause)) {
        void *there = device_find(kind, n, devices, index);
        *ret_is_new = there == NULL;
        if (there != NULL) {
            return there;
        }
    } else if (cause != NULL) {
        g_propagate_error(error, cause);
        return NULL;
    } else {
        while (device_find(kind, n, devices, index) != NULL) {
            index++;
        }
    }
    void *device = arena_message(arena, kind->type);
    *index_of(kind, device) = index;
    return device;
}

static gboolean has_root(const VmSpec *spec)
{
    for (size_t i = 0; i < spec->n_disks; i++) {
        if (spec->disks[i]->type == VOLUME_TYPE_ROOT) {
            return TRUE;
        }
    }
    return FALSE;
}

static gboolean devices_read(VbArena *arena, const Kind *kind, char **texts, const VmSpec *spec,
                             size_t *n, void ***devices, GError **error)
{
    for (; texts != NULL && *texts != NULL; texts++) {
        gboolean is_new;
        void *device = device_choose(arena, kind, *texts, *n, *devices, &is_new, error);
        if (device == NULL) {
            return FALSE;
        }
        if (is_new && kind == &disk_kind) {
            ((DiskSpec *)device)->type = has_root(spec) ? VOLUME_TYPE_DATA : VOLUME_TYPE_ROOT;
        }
        if (is_new) {
            ARENA_APPEND(arena, *n, *devices, device);
        }
        Target target = {arena, kind, device};
        if (!keys_read(&target, *texts, error)) {
            return FALSE;
        }
    }
    return TRUE;
}

static gboolean devices_remove(const Kind *kind, char **texts, gboolean is_repeated, size_t *n,
                               void **devices, GError **error)
{
    g_autofree char *flag = g_strdup_printf("--no-%s", kind->flag + 2);
    for (; texts != NULL && *texts != NULL; texts++) {
        guint32 index;
        if (!args_number(flag, *texts, 0, G_MAXUINT32, &index, error)) {
            return FALSE;
        }
        void *gone = device_find(kind, *n, devices, index);
        if (gone == NULL && !is_repeated) {
            return args_usage(error, "%s: the VM has no %s with index %u", flag, kind->noun, index);
        }
        size_t left = 0;
        for (size_t i = 0; i < *n; i++) {
            if (devices[i] != gone) {
                devices[left++] = devices[i];
            }
        }
        *n = left;
    }
    return TRUE;
}

static gboolean devices_apply(VbArena *arena, const SpecFlags *flags, VmSpec *spec, GError **error)
{
    void **disks = (void **)spec->disks;
    void **cdroms = (void **)spec->cdroms;
    void **nics = (void **)spec->nics;
    gboolean again = flags->is_repeated;
    return devices_remove(&disk_kind, flags->no_disks, again, &spec->n_disks, disks, error) &&
           devices_remove(&cdrom_kind, flags->no_cdroms, again, &spec->n_cdroms, cdroms, error) &&
           devices_remove(&nic_kind, flags->no_nics, again, &spec->n_nics, nics, error) &&
           devices_read(arena, &disk_kind, flags->disks, spec, &spec->n_disks,
                        (void ***)&spec->disks, error) &&
           devices_read(arena, &cdrom_kind, flags->cdroms, spec, &spec->n_cdroms,
                        (void ***)&spec->cdroms, error) &&
           devices_read(arena, &nic_kind, flags->nics, spec, &spec->n_nics, (void ***)&spec->nics,
                        error);
}

NicSpec *spec_nic(VbArena *arena, const char *text, const VmSpec *spec, GError **error)
{
    gboolean is_new;
    const NicSpec *chosen =
        device_choose(arena, &nic_kind, text, spec->n_nics, (void **)spec->nics, &is_new, error);
    if (chosen == NULL) {
        return NULL;
    }
    NicSpec *nic = ARENA_MSG(arena, nic_spec);
    nic->index = chosen->index;
    Target target = {arena, &nic_kind, nic};
    return keys_read(&target, text, error) ? nic : NULL;
}

/* ---- Single parts */

static gboolean graphics_read(VbArena *arena, const char *text, VmSpec *spec, GError **error)
{
    spec->graphics = ARENA_MSG(arena, graphics_spec);
    Target target = {arena, &graphics_kind, spec->graphics};
    return keys_read(&target, text, error);
}

static gboolean storage_read(VbArena *arena, const char *text, VmSpec *spec, GError **error)
{
    const char *colon = strrchr(text, ':');
    if (colon == NULL || colon == text) {
        return args_usage(error, "--storage: \"%s\" is not NAME:TYPE, such as main:local", text);
    }
    g_autofree char *name = g_strndup(text, (gsize)(colon - text));
    spec->storage = ARENA_MSG(arena, storage_ref);
    spec->storage->name = arena_strdup(arena, name);
    return enum_read("--storage", &storage_type__descriptor, FALSE, colon + 1,
                     (int *)&spec->storage->type, error);
}

static gboolean nvram_size_read(VbArena *arena, const char *text, VmSpec *spec, GError **error)
{
    if (spec->nvram == NULL) {
        spec->nvram = ARENA_MSG(arena, nvram_spec);
    }
    return args_size("--nvram-size", text, &spec->nvram->size_bytes, error);
}

static gboolean tpm_apply(VbArena *arena, const SpecFlags *flags, VmSpec *spec, GError **error)
{
    if (flags->no_tpm) {
        spec->tpm = NULL;
    }
    if (!flags->tpm && flags->tpm_model == NULL) {
        return TRUE;
    }
    if (flags->no_tpm) {
        return args_usage(error, "--no-tpm and %s exclude each other",
                          flags->tpm ? "--tpm" : "--tpm-model");
    }
    if (spec->tpm == NULL) {
        spec->tpm = ARENA_MSG(arena, tpm_spec);
        spec->tpm->version = TPM_VERSION_2_0;
    }
    return flags->tpm_model == NULL || enum_read("--tpm-model", &tpm_model__descriptor, TRUE,
                                                 flags->tpm_model, (int *)&spec->tpm->model, error);
}

/* A field that is on or off, by two flags. */
static gboolean switch_apply(const char *name, gboolean on, gboolean off, protobuf_c_boolean *field,
                             GError **error)
{
    if (on && off) {
        return args_usage(error, "--%s and --no-%s exclude each other", name, name);
    }
    *field = on || (*field && !off);
    return TRUE;
}

/* ---- The whole */

static void text_apply(VbArena *arena, const char *text, char **field)
{
    if (text != NULL) {
        *field = arena_strdup(arena, text);
    }
}

/* A text that may be left to a default, which is the empty one. */
static void choice_apply(VbArena *arena, const char *text, char **field)
{
    text_apply(arena, g_strcmp0(text, WORD_DEFAULT) == 0 ? "" : text, field);
}

static gboolean enums_apply(const SpecFlags *flags, VmSpec *spec, GError **error)
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
        {"--hyperv", flags->hyperv, &toggle__descriptor, (int *)&spec->hyperv},
        {"--restart-policy", flags->restart_policy, &restart_policy__descriptor,
         (int *)&spec->restart_policy},
    };
    for (size_t i = 0; i < G_N_ELEMENTS(enums); i++) {
        if (enums[i].text != NULL &&
            !enum_read(enums[i].flag, enums[i].type, TRUE, enums[i].text, enums[i].value, error)) {
            return FALSE;
        }
    }
    return TRUE;
}

static gboolean huge_pages_apply(const char *text, VmSpec *spec, GError **error)
{
    if (text != NULL && strcmp(text, WORD_NONE) == 0) {
        spec->huge_page_bytes = 0;
        return TRUE;
    }
    return text == NULL || args_size("--huge-pages", text, &spec->huge_page_bytes, error);
}

static gboolean scalars_apply(VbArena *arena, const SpecFlags *flags, VmSpec *spec, GError **error)
{
    text_apply(arena, flags->name, &spec->name);
    text_apply(arena, flags->account, &spec->account);
    choice_apply(arena, flags->machine, &spec->machine);
    choice_apply(arena, flags->domain_type, &spec->domain_type);
    return enums_apply(flags, spec, error) &&
           (flags->vcpus == NULL ||
            args_number("--vcpus", flags->vcpus, 1, G_MAXUINT16, &spec->vcpus, error)) &&
           (flags->memory == NULL ||
            args_size("--memory", flags->memory, &spec->memory_bytes, error)) &&
           huge_pages_apply(flags->huge_pages, spec, error) &&
           switch_apply("serial", flags->serial, flags->no_serial, &spec->serial_console, error) &&
           switch_apply("panic-device", flags->panic_device, flags->no_panic_device,
                        &spec->panic_device, error);
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
    if (!scalars_apply(arena, flags, spec, error) || !tpm_apply(arena, flags, spec, error) ||
        (flags->storage != NULL && !storage_read(arena, flags->storage, spec, error)) ||
        (flags->nvram_size != NULL && !nvram_size_read(arena, flags->nvram_size, spec, error)) ||
        (flags->graphics != NULL && !graphics_read(arena, flags->graphics, spec, error)) ||
        !devices_apply(arena, flags, spec, error)) {
        return FALSE;
    }
    if (flags->disks != NULL) {
        boot_order_default(spec);
    }
    return TRUE;
}

/* ---- Help */

/* "size=SIZE" */
static char *key_help(const Key *key)
{
    const char *value = key->hint != NULL       ? key->hint
                        : key->words != NULL    ? spec_words(key->words, key->type == KEY_CHOICE)
                        : key->type == KEY_SIZE ? "SIZE"
                                                : "N";
    return g_strdup_printf("%s=%s", key->name, value);
}

/* "  --disk      size=SIZE  type=root|data ...": as many lines as needed, below each other. */
static void keys_append(GString *page, const char *heading, const Kind *kind)
{
    enum { HEADING = 14, WIDTH = 96 };
    gsize column = HEADING;
    g_string_append_printf(page, "  %-*s", HEADING - 4, heading);
    for (size_t i = 0; i < kind->n_keys; i++) {
        g_autofree char *text = key_help(&kind->keys[i]);
        if (i > 0 && column + 2 + strlen(text) > WIDTH) {
            g_string_append_printf(page, "\n%*s", HEADING - 2, "");
            column = HEADING;
        }
        g_string_append_printf(page, "  %s", text);
        column += 2 + strlen(text);
    }
    g_string_append_c(page, '\n');
}

static GString *devices_help(void)
{
    GString *page = g_string_new("Keys of a device (the first one's name may be left out)\n");
    keys_append(page, "--disk", &disk_kind);
    keys_append(page, "--cdrom", &cdrom_kind);
    keys_append(page, "--nic", &nic_kind);
    keys_append(page, "--graphics", &graphics_kind);
    g_string_append(page,
                    "  A new disk is Root where there is none yet, else Data, unless type says "
                    "so. If nothing has a\n  boot order, the root disk gets the first.\n");
    return page;
}

char *spec_create_help(void)
{
    GString *page = devices_help();
    g_string_append(
        page,
        "\nExample\n"
        "  virtbusctl vm create --name web --platform linux --firmware uefi --secure-boot on \\\n"
        "      --tpm --vcpus 2 --memory 2GiB --storage main:local --nic vhost-user \\\n"
        "      --disk 20GiB,image=debian.qcow2 --graphics vnc --serial\n");
    return g_string_free(page, FALSE);
}

char *spec_update_help(void)
{
    GString *page = devices_help();
    g_string_append(
        page,
        "\nHow it merges\n"
        "  The VM's record is read, the options change it, and the whole is sent. What is not\n"
        "  given stays. A device with an index that is there changes key by key; another one is\n"
        "  added. What --no-... names goes first. The word default takes a choice back.\n"
        "\nExample\n"
        "  virtbusctl vm update web --memory 4GiB --no-nic 1 --nic index=0,queues=2 --disk "
        "50GiB\n");
    return g_string_free(page, FALSE);
}

char *spec_nic_help(void)
{
    GString *page = g_string_new("NIC is TYPE[,KEY=VALUE...]\n");
    keys_append(page, "NIC", &nic_kind);
    g_string_append(page, "  Without an index it gets the first free one.\n"
                          "\nExample\n"
                          "  virtbusctl vm attach-nic web bridge,bridge=br0,model=virtio\n");
    return g_string_free(page, FALSE);
}
