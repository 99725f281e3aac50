/* fuzz_spec_flags: what `virtbusctl vm create` and `vm update` are given, one flag a line. What is
 * taken can be sent, and a refusal says why. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/message.h"
#include "tests/fuzz/fuzz.h"
#include "tools/virtbusctl/spec.h"

/* The last one of a name counts; --disk, --cdrom, --nic and their --no- forms add up. */
static void flag_set(SpecFlags *flags, const char *name, const char *value, GPtrArray **lists)
{
    static const char *const list_names[] = {"disk",    "cdrom",    "nic",
                                             "no-disk", "no-cdrom", "no-nic"};
    struct {
        const char *name;
        char **to;
    } texts[] = {{"name", &flags->name},           {"account", &flags->account},
                 {"platform", &flags->platform},   {"image-platform", &flags->image_platform},
                 {"firmware", &flags->firmware},   {"secure-boot", &flags->secure_boot},
                 {"tpm-model", &flags->tpm_model}, {"vcpus", &flags->vcpus},
                 {"memory", &flags->memory},       {"huge-pages", &flags->huge_pages},
                 {"machine", &flags->machine},     {"domain-type", &flags->domain_type},
                 {"storage", &flags->storage},     {"nvram-size", &flags->nvram_size},
                 {"graphics", &flags->graphics},   {"clock", &flags->clock},
                 {"hyperv", &flags->hyperv},       {"restart-policy", &flags->restart_policy}};
    for (size_t i = 0; i < G_N_ELEMENTS(texts); i++) {
        if (strcmp(texts[i].name, name) == 0) {
            g_free(*texts[i].to);
            *texts[i].to = g_strdup(value);
        }
    }
    for (size_t i = 0; i < G_N_ELEMENTS(list_names); i++) {
        if (strcmp(list_names[i], name) == 0) {
            g_ptr_array_add(lists[i], g_strdup(value));
        }
    }
    flags->tpm = flags->tpm || strcmp(name, "tpm") == 0;
    flags->no_tpm = flags->no_tpm || strcmp(name, "no-tpm") == 0;
    flags->is_repeated = flags->is_repeated || strcmp(name, "repeated") == 0;
}

static char **list_end(GPtrArray *list)
{
    g_ptr_array_add(list, NULL);
    return (char **)g_ptr_array_free(list, list->len == 1);
}

static void lines_parse(SpecFlags *flags, char **lines)
{
    GPtrArray *lists[6];
    for (size_t i = 0; i < G_N_ELEMENTS(lists); i++) {
        lists[i] = g_ptr_array_new();
    }
    for (char **line = lines; *line != NULL; line++) {
        char *value = strchr(*line, '=');
        if (value != NULL) {
            *value++ = '\0';
        }
        flag_set(flags, *line, value != NULL ? value : "", lists);
    }
    flags->disks = list_end(lists[0]);
    flags->cdroms = list_end(lists[1]);
    flags->nics = list_end(lists[2]);
    flags->no_disks = list_end(lists[3]);
    flags->no_cdroms = list_end(lists[4]);
    flags->no_nics = list_end(lists[5]);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size_bytes)
{
    g_autoptr(VbArena) arena = arena_new();
    g_autofree char *text = g_strndup((const char *)data, size_bytes);
    g_auto(GStrv) lines = g_strsplit(text, "\n", 64);
    g_auto(SpecFlags) flags = {0};
    VmSpec *spec = ARENA_MSG(arena, vm_spec);
    lines_parse(&flags, lines);
    for (int i = 0; i < 2; i++) { /* As create does, then as update does. */
        g_autoptr(GError) error = NULL;
        if (!spec_apply(arena, &flags, spec, &error)) {
            if (error == NULL) {
                abort();
            }
            return 0;
        }
        g_autoptr(GBytes) packed = message_pack(spec);
        gsize packed_bytes = g_bytes_get_size(packed);
        if (packed_bytes <= MESSAGE_MAX_BYTES &&
            message_unpack(arena, &vm_spec__descriptor, g_bytes_get_data(packed, NULL),
                           packed_bytes, NULL) == NULL) {
            abort();
        }
    }
    return 0;
}
