/* See sim_digest.h. */
#include "tests/sim/sim_digest.h"

#include <string.h>

#include "tests/sim/sim_host_private.h"

static void add(guint64 *digest, guint64 value)
{
    *digest = (*digest ^ value) * G_GUINT64_CONSTANT(0x9e3779b97f4a7c15);
    *digest ^= *digest >> 32;
}

static void add_bytes(guint64 *digest, const void *bytes, gsize size_bytes)
{
    const guint8 *at = bytes;
    add(digest, size_bytes);
    for (; size_bytes > 0;) {
        guint64 word = 0;
        gsize n = MIN(size_bytes, sizeof(word));
        memcpy(&word, at, n);
        add(digest, word);
        at += n;
        size_bytes -= n;
    }
}

/* ---- Records */

static void add_log(guint64 *digest, SimBroker *broker, VbTopic topic, const char *host_uuid,
                    int partition)
{
    const VbBusRecord *record = NULL;
    gint64 offset = 0;
    while ((record = sim_broker_read(broker, topic, host_uuid, partition, &offset)) != NULL) {
        add(digest, (guint64)record->offset);
        add(digest, (guint64)record->time_ms);
        add_bytes(digest, record->key, record->key_bytes);
        add_bytes(digest, record->value, record->value_bytes);
    }
    add(digest, (guint64)offset);
}

static void add_topic(guint64 *digest, const SimWorld *world, VbTopic topic)
{
    guint n = topic == TOPIC_HOST_COMMANDS ? world->plan->n_hosts
              : topic_info(topic)->per_vm  ? world->plan->n_partitions
                                           : 1;
    for (guint i = 0; i < n; i++) {
        if (topic == TOPIC_HOST_COMMANDS) {
            add_log(digest, world->broker, topic, world->host_uuids[i], 0);
        } else {
            add_log(digest, world->broker, topic, NULL, (int)i);
        }
    }
}

/* ---- Disks */

static void add_owner(guint64 *digest, const SimOwner *owner)
{
    add(digest, owner->mode);
    add(digest, owner->uid);
    add(digest, owner->gid);
}

/* `synced`: as a power loss would leave it. */
static void add_node(guint64 *digest, const SimNode *node, gboolean synced)
{
    const SimContent *content = synced ? node->disk_content : node->content;
    const GArray *entries = synced ? node->disk_entries : node->entries;
    add(digest, node->inode);
    add(digest, node->kind);
    add_owner(digest, synced ? &node->disk_owner : &node->owner);
    if (content != NULL) {
        add(digest, content->size_bytes);
        add_bytes(digest, content->bytes, content->n_bytes);
    }
    for (guint i = 0; entries != NULL && i < entries->len; i++) {
        const SimEntry *entry = &g_array_index(entries, SimEntry, i);
        add_bytes(digest, entry->name, strlen(entry->name));
        add_node(digest, entry->node, synced);
    }
}

static void add_disk(guint64 *digest, SimDisk *disk)
{
    add_node(digest, sim_disk_root(disk), FALSE);
    add_node(digest, sim_disk_root(disk), TRUE);
}

guint64 sim_digest(SimWorld *world)
{
    guint64 digest = 0;
    for (VbTopic topic = 0; topic < TOPIC_COUNT; topic++) {
        add_topic(&digest, world, topic);
    }
    for (guint i = 0; i < world->plan->n_hosts; i++) {
        add_disk(&digest, world->hosts[i]->root);
        add_disk(&digest, world->hosts[i]->run);
    }
    for (guint i = 0; i < world->plan->n_shared; i++) {
        add_disk(&digest, world->shared[i]);
    }
    return digest;
}
