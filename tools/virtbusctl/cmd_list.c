/* `vm list` and `host list`: the compacted topics as tables. */
#include <stdio.h>
#include <string.h>

#include "common/base/json.h"
#include "common/base/text.h"
#include "tools/virtbusctl/args.h"
#include "tools/virtbusctl/model.h"
#include "tools/virtbusctl/print.h"
#include "tools/virtbusctl/style.h"

typedef struct {
    const char *uuid;
    const void *message;
} Entry;

static const char *entry_name(const Entry *entry)
{
    const ProtobufCMessage *message = entry->message;
    if (message->descriptor == &host_info__descriptor) {
        return ((const HostInfo *)entry->message)->hostname;
    }
    const VmRecord *vm = model_vm(entry->message);
    return vm != NULL && vm->spec != NULL ? vm->spec->name : "";
}

static int entry_compare(gconstpointer a, gconstpointer b)
{
    int by_name = strcmp(entry_name(a), entry_name(b));
    return by_name != 0 ? by_name : strcmp(((const Entry *)a)->uuid, ((const Entry *)b)->uuid);
}

static GArray *entries_sorted(GHashTable *model)
{
    GArray *entries = g_array_new(FALSE, FALSE, sizeof(Entry));
    GHashTableIter iter;
    gpointer key;
    gpointer message;
    g_hash_table_iter_init(&iter, model);
    while (g_hash_table_iter_next(&iter, &key, &message)) {
        Entry entry = {.uuid = key, .message = message};
        g_array_append_val(entries, entry);
    }
    g_array_sort(entries, entry_compare);
    return entries;
}

/* ---- vm list */

static const char *vm_colour(VmStatus status)
{
    static const char *const colours[] = {
        [VM_STATUS_STARTING] = STYLE_YELLOW,   [VM_STATUS_RUNNING] = STYLE_GREEN,
        [VM_STATUS_STOPPING] = STYLE_YELLOW,   [VM_STATUS_REBOOTING] = STYLE_YELLOW,
        [VM_STATUS_DESTROYING] = STYLE_YELLOW, [VM_STATUS_DESTROYED] = STYLE_DIM,
        [VM_STATUS_EXPUNGING] = STYLE_YELLOW,  [VM_STATUS_MIGRATING] = STYLE_YELLOW,
        [VM_STATUS_PAUSED] = STYLE_YELLOW,     [VM_STATUS_CRASHED] = STYLE_RED,
        [VM_STATUS_UNKNOWN] = STYLE_RED,       [VM_STATUS_QUARANTINED] = STYLE_RED,
    };
    return (size_t)status < G_N_ELEMENTS(colours) ? colours[status] : NULL;
}

static void vm_row(VbColumns *columns, const Entry *entry, const VmRecord *vm, GHashTable *hosts)
{
    const HostInfo *host = g_hash_table_lookup(hosts, vm->host_uuid);
    g_autofree char *memory = style_size(vm->spec != NULL ? vm->spec->memory_bytes : 0);
    g_autofree char *vcpus = g_strdup_printf("%u", vm->spec != NULL ? vm->spec->vcpus : 0);
    g_autofree char *changed = style_ago(vm->changed_ms, print_now_ms());
    const char *host_text = host != NULL             ? host->hostname
                            : *vm->host_uuid != '\0' ? vm->host_uuid
                                                     : "-";
    columns_row(columns, entry_name(entry), entry->uuid, ENUM_LABEL(vm_status, vm->status), changed,
                host_text, vcpus, memory, NULL);
    columns_colour(columns, vm_colour(vm->status));
}

static void vms_print(GArray *entries, GHashTable *hosts)
{
    g_autoptr(VbColumns) columns =
        columns_new("NAME", "UUID", "STATUS", ">CHANGED", "HOST", ">VCPUS", ">MEMORY", NULL);
    for (guint i = 0; i < entries->len; i++) {
        const Entry *entry = &g_array_index(entries, Entry, i);
        const VmRecord *vm = model_vm(entry->message);
        if (vm != NULL) {
            vm_row(columns, entry, vm, hosts);
        }
    }
    if (columns_rows(columns) == 0) {
        printf("there is no VM; make one with `virtbusctl vm create`\n");
        return;
    }
    print_columns(columns);
}

/* [{"vm_uuid": ..., "version": ..., "vm": VmRecord}] */
static void vms_print_json(GArray *entries)
{
    JsonArray *list = json_array_new();
    for (guint i = 0; i < entries->len; i++) {
        const Entry *entry = &g_array_index(entries, Entry, i);
        const VmRecord *vm = model_vm(entry->message);
        if (vm == NULL) {
            continue;
        }
        JsonNode *node = message_to_json(entry->message);
        JsonObject *object = json_node_get_object(node);
        JsonObject *row = json_object_new();
        json_object_set_string_member(row, "vm_uuid", entry->uuid);
        json_object_set_member(row, "version", json_object_dup_member(object, "version"));
        json_object_set_member(row, "vm", json_object_dup_member(object, "vm"));
        json_array_add_object_element(list, row);
        json_node_unref(node);
    }
    print_json(json_node_init_array(json_node_alloc(), list));
    json_array_unref(list);
}

CtlStatus cmd_vm_list(Ctl *ctl)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(VbClient) client = NULL;
    g_autoptr(GHashTable) vms = NULL;
    g_autoptr(GHashTable) hosts = NULL;
    if (!args_parse(ctl, NULL, 0, NULL, &error) || (client = client_open(ctl, &error)) == NULL ||
        (vms = model_read(ctl, client, TOPIC_VM_STATE, &error)) == NULL ||
        (hosts = model_read(ctl, client, TOPIC_HOSTS, &error)) == NULL) {
        return ctl_fail(ctl, error);
    }
    g_autoptr(GArray) entries = entries_sorted(vms);
    if (ctl->json) {
        vms_print_json(entries);
    } else {
        vms_print(entries, hosts);
    }
    return CTL_DONE;
}

/* ---- host list */

/* "main (Local) 12.3 GiB free of 40 GiB" */
static char *storages_text(const HostInfo *host)
{
    GString *text = g_string_new(NULL);
    for (size_t i = 0; i < host->n_storages; i++) {
        const HostStorage *storage = host->storages[i];
        g_autofree char *available = style_size(storage->free_bytes);
        g_autofree char *total = style_size(storage->total_bytes);
        const StorageRef *ref = storage->storage;
        g_string_append_printf(text, "%s%s (%s)", i > 0 ? ", " : "", ref != NULL ? ref->name : "?",
                               ref != NULL ? ENUM_LABEL(storage_type, ref->type) : "?");
        if (storage->usable) {
            g_string_append_printf(text, " %s free of %s", available, total);
        } else {
            g_string_append_printf(text, " NOT USABLE: %s", storage->problem);
        }
    }
    return g_string_free(text, FALSE);
}

static const char *ovs_text(const HostInfo *host)
{
    return host->ovs_dpdk ? "DPDK" : host->ovs ? "no DPDK" : "no";
}

static void host_row(VbColumns *columns, const Entry *entry)
{
    const HostInfo *host = entry->message;
    g_autofree char *seen = style_ago(host->time_ms, print_now_ms());
    g_autofree char *running = g_strdup_printf("%u", host->running_vms);
    g_autofree char *firmware = g_strdup_printf("%zu", host->n_firmware);
    g_autofree char *storages = storages_text(host);
    g_autoptr(GStrvBuilder) builder = g_strv_builder_new();
    for (size_t i = 0; i < host->n_domain_types; i++) {
        g_strv_builder_add(builder, host->domain_types[i]);
    }
    g_auto(GStrv) types = g_strv_builder_end(builder);
    g_autofree char *domains = host->hypervisor_usable ? g_strjoinv(", ", types) : g_strdup("NONE");
    columns_row(columns, host->hostname, entry->uuid, seen, running, domains, firmware,
                host->tpm ? "yes" : "no", ovs_text(host), storages, NULL);
    gboolean is_old = print_now_ms() - host->time_ms > HEARTBEAT_OLD_MS;
    columns_colour(columns, is_old ? STYLE_RED : !host->hypervisor_usable ? STYLE_YELLOW : NULL);
}

static void hosts_print_json(GArray *entries)
{
    JsonArray *list = json_array_new();
    for (guint i = 0; i < entries->len; i++) {
        json_array_add_element(list, message_to_json(g_array_index(entries, Entry, i).message));
    }
    print_json(json_node_init_array(json_node_alloc(), list));
    json_array_unref(list);
}

CtlStatus cmd_host_list(Ctl *ctl)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(VbClient) client = NULL;
    g_autoptr(GHashTable) hosts = NULL;
    if (!args_parse(ctl, NULL, 0, NULL, &error) || (client = client_open(ctl, &error)) == NULL ||
        (hosts = model_read(ctl, client, TOPIC_HOSTS, &error)) == NULL) {
        return ctl_fail(ctl, error);
    }
    g_autoptr(GArray) entries = entries_sorted(hosts);
    if (ctl->json) {
        hosts_print_json(entries);
        return CTL_DONE;
    }
    g_autoptr(VbColumns) columns = columns_new("HOST", "UUID", ">SEEN", ">RUNNING", "DOMAINS",
                                               ">FIRMWARE", "TPM", "OVS", "STORAGE", NULL);
    for (guint i = 0; i < entries->len; i++) {
        host_row(columns, &g_array_index(entries, Entry, i));
    }
    if (entries->len == 0) {
        printf("no host has sent a heartbeat yet; start a host-agent\n");
        return CTL_DONE;
    }
    print_columns(columns);
    return CTL_DONE;
}
