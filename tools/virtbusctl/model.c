/* See model.h. */
#include "tools/virtbusctl/model.h"

#include <string.h>

#include "common/base/uuid.h"

typedef struct {
    const Ctl *ctl;
    GHashTable *model;
} Reading;

static gboolean record_take(const ClientRecord *record, gpointer data)
{
    const Reading *reading = data;
    if (record->key == NULL) {
        return TRUE;
    }
    ProtobufCMessage *message = client_record_message(record, reading->ctl->arena);
    if (message != NULL) {
        g_hash_table_insert(reading->model, g_strdup(record->key), message);
    } else if (record->value == NULL) {
        g_hash_table_remove(reading->model, record->key);
    }
    return TRUE;
}

GHashTable *model_read(const Ctl *ctl, VbClient *client, VbTopic topic, GError **error)
{
    g_autoptr(GHashTable) model = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL);
    int n_partitions = client_partitions_needed(client, topic, error);
    if (n_partitions < 0) {
        return NULL;
    }
    for (int partition = 0; partition < n_partitions; partition++) {
        if (!client_read(client, topic, NULL, partition, -1, error)) {
            return NULL;
        }
    }
    Reading reading = {ctl, model};
    gboolean ok = client_read_start(client, error) &&
                  client_read_to_end(client, ctl->timeout_ms, record_take, &reading, error);
    client_read_stop(client);
    return ok ? g_steal_pointer(&model) : NULL;
}

const VmRecord *model_vm(const StateRecord *state)
{
    gboolean is_vm =
        state->body_case == STATE_RECORD__BODY_VM && state->vm->status != VM_STATUS_EXPUNGED;
    return is_vm ? state->vm : NULL;
}

static const char *vm_name(const void *message)
{
    const VmRecord *vm = model_vm(message);
    return vm != NULL && vm->spec != NULL ? vm->spec->name : NULL;
}

static const char *host_name(const void *message)
{
    return ((const HostInfo *)message)->hostname;
}

static const char *find(const Ctl *ctl, VbClient *client, VbTopic topic, const char *word,
                        const char *(*name_of)(const void *message), GError **error)
{
    const char *noun = topic == TOPIC_HOSTS ? "host" : "VM";
    if (uuid_is_valid(word)) {
        return word;
    }
    g_autoptr(GHashTable) model = model_read(ctl, client, topic, error);
    if (model == NULL) {
        return NULL;
    }
    const char *found = NULL;
    GHashTableIter iter;
    gpointer key;
    gpointer message;
    g_hash_table_iter_init(&iter, model);
    while (g_hash_table_iter_next(&iter, &key, &message)) {
        if (g_strcmp0(name_of(message), word) != 0) {
            continue;
        }
        if (found != NULL) {
            g_set_error(error, CTL_ERROR, CTL_USAGE,
                        "\"%s\" is the name of more than one %s: give the uuid", word, noun);
            return NULL;
        }
        found = arena_strdup(ctl->arena, key);
    }
    if (found == NULL) {
        g_set_error(error, CTL_ERROR, CTL_USAGE,
                    "no %s has the name \"%s\", and it is no uuid (36 characters, lower case); "
                    "`virtbusctl %s list` shows them",
                    noun, word, topic == TOPIC_HOSTS ? "host" : "vm");
    }
    return found;
}

const char *model_find_vm(const Ctl *ctl, VbClient *client, const char *word, GError **error)
{
    return find(ctl, client, TOPIC_VM_STATE, word, vm_name, error);
}

const char *model_find_host(const Ctl *ctl, VbClient *client, const char *word, GError **error)
{
    return find(ctl, client, TOPIC_HOSTS, word, host_name, error);
}
