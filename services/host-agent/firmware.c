/* Firmware descriptors of QEMU (docs/interop/firmware.json) to builds, and the choice among them.
 * Refuses to guess: what a descriptor does not say in full is left out, with the reason. */
#include "services/host-agent/firmware.h"

#include <json-glib/json-glib.h>
#include <string.h>

#include "common/base/message.h"
#include "common/base/text.h"

/* One descriptor as far as it concerns us. */
typedef struct {
    JsonObject *root;
    JsonObject *mapping;
    JsonObject *executable;
    JsonObject *nvram_template;
} Descriptor;

/* --- Reading JSON without trusting its shape. NULL: absent or of another type. */

static JsonObject *get_object(JsonObject *object, const char *name)
{
    JsonNode *node = object != NULL ? json_object_get_member(object, name) : NULL;
    return node != NULL && JSON_NODE_HOLDS_OBJECT(node) ? json_node_get_object(node) : NULL;
}

static JsonArray *get_array(JsonObject *object, const char *name)
{
    JsonNode *node = object != NULL ? json_object_get_member(object, name) : NULL;
    return node != NULL && JSON_NODE_HOLDS_ARRAY(node) ? json_node_get_array(node) : NULL;
}

static const char *node_text(JsonNode *node)
{
    gboolean is_text = node != NULL && JSON_NODE_HOLDS_VALUE(node) &&
                       json_node_get_value_type(node) == G_TYPE_STRING;
    return is_text ? json_node_get_string(node) : NULL;
}

static const char *get_text(JsonObject *object, const char *name)
{
    return object != NULL ? node_text(json_object_get_member(object, name)) : NULL;
}

static gboolean array_has(JsonArray *array, const char *wanted)
{
    for (guint i = 0; array != NULL && i < json_array_get_length(array); i++) {
        if (g_strcmp0(node_text(json_array_get_element(array, i)), wanted) == 0) {
            return TRUE;
        }
    }
    return FALSE;
}

/* --- One descriptor */

/* "pc-q35-*", "pc-*" and "pc-q35-9.0" mean q35; "pc-i440fx-*" does not. */
static gboolean machines_have_q35(JsonArray *machines)
{
    for (guint i = 0; machines != NULL && i < json_array_get_length(machines); i++) {
        const char *pattern = node_text(json_array_get_element(machines, i));
        if (pattern != NULL &&
            (g_str_has_prefix(pattern, "pc-q35-") || g_pattern_match_simple(pattern, "pc-q35-"))) {
            return TRUE;
        }
    }
    return FALSE;
}

static gboolean targets_fit(JsonArray *targets)
{
    for (guint i = 0; targets != NULL && i < json_array_get_length(targets); i++) {
        JsonNode *node = json_array_get_element(targets, i);
        JsonObject *target = JSON_NODE_HOLDS_OBJECT(node) ? json_node_get_object(node) : NULL;
        if (g_strcmp0(get_text(target, "architecture"), "x86_64") == 0 &&
            machines_have_q35(get_array(target, "machines"))) {
            return TRUE;
        }
    }
    return FALSE;
}

/* What every descriptor must have, by QEMU's own definition. NULL: it has. */
static const char *find_fault(const Descriptor *descriptor)
{
    if (get_array(descriptor->root, "interface-types") == NULL) {
        return "has no list \"interface-types\"";
    }
    if (get_array(descriptor->root, "targets") == NULL) {
        return "has no list \"targets\"";
    }
    if (get_array(descriptor->root, "features") == NULL) {
        return "has no list \"features\"";
    }
    if (get_text(descriptor->mapping, "device") == NULL) {
        return "has no \"mapping\" with a \"device\"";
    }
    return NULL;
}

/* A variable store of one's own beside read-only code, both raw files. */
static gboolean is_split_raw_flash(const Descriptor *descriptor)
{
    const char *mode = get_text(descriptor->mapping, "mode");
    return g_strcmp0(get_text(descriptor->mapping, "device"), "flash") == 0 &&
           (mode == NULL || strcmp(mode, "split") == 0) &&
           g_strcmp0(get_text(descriptor->executable, "format"), "raw") == 0 &&
           g_strcmp0(get_text(descriptor->nvram_template, "format"), "raw") == 0;
}

/* FALSE: some of the three, not all. */
static gboolean read_secure_boot(JsonArray *features, protobuf_c_boolean *ret_secure_boot)
{
    static const char *const all[] = {"secure-boot", "enrolled-keys", "requires-smm"};
    guint found = 0;
    for (size_t i = 0; i < G_N_ELEMENTS(all); i++) {
        found += array_has(features, all[i]) ? 1 : 0;
    }
    *ret_secure_boot = found == G_N_ELEMENTS(all);
    return found == 0 || found == G_N_ELEMENTS(all);
}

static Firmware read_interface(JsonArray *types)
{
    if (!array_has(types, "uefi")) {
        return FIRMWARE_LEGACY_BIOS;
    }
    return array_has(types, "bios") ? FIRMWARE_UEFI_WITH_CSM : FIRMWARE_UEFI;
}

/* NULL and no fault: a sound descriptor of a build that virtbus has no use for. */
static FirmwareRef *read_descriptor(VbArena *arena, const char *name, JsonObject *root,
                                    const char **ret_fault)
{
    JsonObject *mapping = get_object(root, "mapping");
    Descriptor descriptor = {.root = root,
                             .mapping = mapping,
                             .executable = get_object(mapping, "executable"),
                             .nvram_template = get_object(mapping, "nvram-template")};
    *ret_fault = find_fault(&descriptor);
    if (*ret_fault != NULL || !is_split_raw_flash(&descriptor) ||
        !targets_fit(get_array(root, "targets"))) {
        return NULL;
    }
    FirmwareClass *class = ARENA_MSG(arena, firmware_class);
    class->firmware = read_interface(get_array(root, "interface-types"));
    if (class->firmware == FIRMWARE_LEGACY_BIOS ||
        !read_secure_boot(get_array(root, "features"), &class->secure_boot)) {
        return NULL;
    }
    const char *code_path = get_text(descriptor.executable, "filename");
    const char *template_path = get_text(descriptor.nvram_template, "filename");
    if (code_path == NULL || !g_path_is_absolute(code_path) || template_path == NULL ||
        !g_path_is_absolute(template_path)) {
        *ret_fault = "names no absolute path for its executable or its variable template";
        return NULL;
    }
    FirmwareRef *ref = ARENA_MSG(arena, firmware_ref);
    ref->class_ = class;
    ref->code_path = arena_strdup(arena, code_path);
    ref->template_path = arena_strdup(arena, template_path);
    ref->descriptor = arena_strdup(arena, name);
    if (!message_check(&ref->base, NULL)) {
        *ret_fault = "has a path or name that cannot be told to others: control characters";
        return NULL;
    }
    return ref;
}

static FirmwareRef *parse_one(VbArena *arena, const VbDescriptor *descriptor, GPtrArray *problems)
{
    g_autoptr(JsonParser) parser = json_parser_new_immutable();
    g_autoptr(GError) error = NULL;
    const char *fault = NULL;
    FirmwareRef *ref = NULL;
    if (!json_parser_load_from_data(parser, descriptor->json, -1, &error)) {
        fault = error->message;
    } else {
        JsonNode *root = json_parser_get_root(parser);
        if (root == NULL || !JSON_NODE_HOLDS_OBJECT(root)) {
            fault = "is no JSON object";
        } else {
            ref = read_descriptor(arena, descriptor->name, json_node_get_object(root), &fault);
        }
    }
    if (fault != NULL && problems != NULL) {
        g_ptr_array_add(problems, arena_printf(arena, "firmware descriptor %s is left out: %s",
                                               descriptor->name, fault));
    }
    return ref;
}

/* --- All descriptors */

static gint compare_names(gconstpointer a, gconstpointer b)
{
    const VbDescriptor *const *left = a;
    const VbDescriptor *const *right = b;
    return strcmp((*left)->name, (*right)->name);
}

GPtrArray *firmware_parse(VbArena *arena, const VbDescriptor *descriptors, size_t n_descriptors,
                          GPtrArray *problems)
{
    g_autoptr(GHashTable) last = g_hash_table_new(g_str_hash, g_str_equal);
    for (size_t i = 0; i < n_descriptors; i++) {
        g_hash_table_replace(last, (char *)descriptors[i].name, (void *)&descriptors[i]);
    }
    g_autoptr(GPtrArray) ordered = g_ptr_array_new();
    for (size_t i = 0; i < n_descriptors; i++) {
        if (g_hash_table_lookup(last, descriptors[i].name) == &descriptors[i]) {
            g_ptr_array_add(ordered, (void *)&descriptors[i]);
        }
    }
    g_ptr_array_sort(ordered, compare_names);
    GPtrArray *refs = g_ptr_array_new();
    for (guint i = 0; i < ordered->len; i++) {
        const VbDescriptor *descriptor = g_ptr_array_index(ordered, i);
        if (descriptor->json[0] == '\0') {
            continue;
        }
        FirmwareRef *ref = parse_one(arena, descriptor, problems);
        if (ref != NULL) {
            g_ptr_array_add(refs, ref);
        }
    }
    return refs;
}

static void describe_class(GString *text, const FirmwareClass *class)
{
    g_string_append_printf(text, "%s with Secure Boot %s", ENUM_LABEL(firmware, class->firmware),
                           class->secure_boot ? "on" : "off");
    if (class->nvram_bytes != 0) {
        g_string_append_printf(text, " and a variable template of %" G_GUINT64_FORMAT " bytes",
                               class->nvram_bytes);
    }
}

static void set_not_found(GError **error, const GPtrArray *refs, const FirmwareClass *wanted)
{
    g_autoptr(GString) text = g_string_new("this host has no firmware build for ");
    describe_class(text, wanted);
    g_string_append(text, "; it has ");
    for (guint i = 0; i < refs->len; i++) {
        const FirmwareRef *ref = g_ptr_array_index(refs, i);
        g_string_append_printf(text, "%s%s (", i == 0 ? "" : ", ", ref->descriptor);
        describe_class(text, ref->class_);
        g_string_append_c(text, ')');
    }
    g_string_append(text, refs->len == 0 ? "none" : "");
    g_string_append(text, ". Install one with its QEMU descriptor, or choose another host");
    g_set_error_literal(error, VB_ERROR, ERROR_CODE_FIRMWARE_NOT_FOUND, text->str);
}

const FirmwareRef *firmware_choose(const GPtrArray *refs, const FirmwareClass *wanted,
                                   GError **error)
{
    for (guint i = 0; i < refs->len; i++) {
        const FirmwareRef *ref = g_ptr_array_index(refs, i);
        if (ref->class_->firmware == wanted->firmware &&
            !ref->class_->secure_boot == !wanted->secure_boot &&
            (wanted->nvram_bytes == 0 || ref->class_->nvram_bytes == wanted->nvram_bytes)) {
            return ref;
        }
    }
    set_not_found(error, refs, wanted);
    return NULL;
}
