/* What the compacted topics say: the read model of VMs and hosts. */
#pragma once

#include "tools/virtbusctl/client.h"
#include "virtbus/v1/virtbus.h"

/* A heartbeat that is older than this is worth a look: agents send one every few seconds. */
enum { HEARTBEAT_OLD_MS = 30000 };

/* Key (char *) -> the last message (of the topic's type, in ctl's arena), read up to the topic's
 * present end. Keys without a value are left out. Free with g_hash_table_unref; NULL and an error.
 */
GHashTable *model_read(const Ctl *ctl, VbClient *client, VbTopic topic, GError **error);

/* The uuid of a VM or host given by uuid (taken as it is) or by name (looked up), in the arena.
 * NULL and CTL_USAGE where there is none or more than one of that name. */
const char *model_find_vm(const Ctl *ctl, VbClient *client, const char *word, GError **error);
const char *model_find_host(const Ctl *ctl, VbClient *client, const char *word, GError **error);

/* The state's VM record; NULL: none, or one that was expunged. */
const VmRecord *model_vm(const StateRecord *state);
