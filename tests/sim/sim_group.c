/* See sim_broker.h: a consumer group of static members and its offsets.
 *
 *     stable --somebody comes or goes--> preparing --all who are left have joined--> stable
 *
 * A member that comes back under its instance id while its session lasts takes its partitions back
 * and nobody else notices. One that is silent for longer is no member any more: its partitions go
 * to the others, and whatever it still sends is refused by its generation. */
#include "tests/sim/sim_broker.h"

#include <string.h>

enum { SESSION_US = 6 * SIM_S };

struct SimMember {
    SimGroup *group;
    char *instance_id;
    guint incarnation; /* Kafka's member id. */
    SimAssigned assigned;
    void *client; /* NULL: the broker does not know it, but nobody is there. */
    gboolean is_in;
    gboolean has_joined; /* The rebalance that is being prepared. */
    gint64 heard_us;
    int first;
    int n;
};

struct SimGroup {
    SimBroker *broker;
    Sim *sim;
    const VbService *service;
    char *id;
    int n_partitions;
    gint64 *committed; /* [partition * n_inputs + input] */
    guint *pending;    /* Open transactions with offsets, by partition. */
    guint generation;
    gboolean is_preparing;
    GPtrArray *members; /* of SimMember, also those that are out, by instance id */
    gboolean check_is_due;
};

/* ---- Offsets */

const char *sim_group_id(const SimGroup *group)
{
    return group->id;
}

const VbService *sim_group_service(const SimGroup *group)
{
    return group->service;
}

gint64 sim_group_committed(const SimGroup *group, int partition, size_t input)
{
    return group->committed[(size_t)partition * group->service->n_inputs + input];
}

gboolean sim_group_is_pending(const SimGroup *group, int partition)
{
    return group->pending[partition] > 0;
}

void sim_group_pend(SimGroup *group, int partition, int change)
{
    group->pending[partition] += (guint)change;
}

void sim_group_commit(SimGroup *group, const VbBusOffsets *offsets)
{
    memcpy(&group->committed[(size_t)offsets->partition * group->service->n_inputs], offsets->next,
           group->service->n_inputs * sizeof(gint64));
}

/* ---- Rebalance */

static guint members_count(const SimGroup *group)
{
    guint n = 0;
    for (guint i = 0; i < group->members->len; i++) {
        n += ((const SimMember *)g_ptr_array_index(group->members, i))->is_in != FALSE;
    }
    return n;
}

/* Range assignment: the members in order, each a run of partitions, the first ones one more. */
static void assign(SimGroup *group)
{
    int n_members = (int)members_count(group);
    int first = 0;
    int rank = 0;
    for (guint i = 0; i < group->members->len; i++) {
        SimMember *member = g_ptr_array_index(group->members, i);
        if (member->is_in) {
            member->first = first;
            member->n =
                group->n_partitions / n_members + (rank < group->n_partitions % n_members ? 1 : 0);
            member->has_joined = FALSE;
            member->heard_us = sim_now_us(group->sim);
            first += member->n;
            rank++;
        }
    }
}

static void member_tell(SimMember *member)
{
    sim_say(member->group->sim, NULL, "broker",
            "%s, generation %u: %s gets %d partitions from %d on", member->group->id,
            member->group->generation, member->instance_id, member->n, member->first);
    if (member->client != NULL) {
        member->assigned(member->client, member->group->generation, member->first, member->n);
    }
}

static void rebalance_try(SimGroup *group)
{
    for (guint i = 0; i < group->members->len; i++) {
        const SimMember *member = g_ptr_array_index(group->members, i);
        if (member->is_in && !member->has_joined) {
            return;
        }
    }
    group->is_preparing = FALSE;
    group->generation++;
    assign(group);
    for (guint i = 0; i < group->members->len; i++) {
        SimMember *member = g_ptr_array_index(group->members, i);
        if (member->is_in) {
            member_tell(member);
        }
    }
}

static void rebalance_begin(SimGroup *group)
{
    for (guint i = 0; i < group->members->len && !group->is_preparing; i++) {
        ((SimMember *)g_ptr_array_index(group->members, i))->has_joined = FALSE;
    }
    group->is_preparing = TRUE;
}

static void member_expel(SimMember *member)
{
    sim_say(member->group->sim, NULL, "broker", "%s: %s is no member any more", member->group->id,
            member->instance_id);
    member->is_in = FALSE;
    rebalance_begin(member->group);
}

/* ---- Sessions */

static void sessions_check(void *data);

/* Whoever waits for the others to join needs not be heard. */
static gboolean is_watched(const SimMember *member)
{
    return member->is_in && !(member->group->is_preparing && member->has_joined);
}

static void sessions_plan(SimGroup *group)
{
    gint64 first_us = G_MAXINT64;
    for (guint i = 0; i < group->members->len; i++) {
        const SimMember *member = g_ptr_array_index(group->members, i);
        if (is_watched(member)) {
            first_us = MIN(first_us, member->heard_us + SESSION_US);
        }
    }
    if (!group->check_is_due && first_us < G_MAXINT64) {
        group->check_is_due = TRUE;
        sim_at(group->sim, first_us + 1, sessions_check, group);
    }
}

static void sessions_check(void *data)
{
    SimGroup *group = data;
    gboolean is_changed = FALSE;
    group->check_is_due = FALSE;
    for (guint i = 0; i < group->members->len && !sim_broker_is_down(group->broker); i++) {
        SimMember *member = g_ptr_array_index(group->members, i);
        if (is_watched(member) && sim_now_us(group->sim) - member->heard_us > SESSION_US) {
            member_expel(member);
            is_changed = TRUE;
        }
    }
    if (is_changed) {
        rebalance_try(group);
    }
    if (!sim_broker_is_down(group->broker)) {
        sessions_plan(group); /* Else sim_group_revive does. */
    }
}

void sim_group_revive(SimGroup *group)
{
    for (guint i = 0; i < group->members->len; i++) {
        ((SimMember *)g_ptr_array_index(group->members, i))->heard_us = sim_now_us(group->sim);
    }
    sessions_plan(group);
}

/* Somebody's heartbeats did not come through, or the group just rebalances. */
void sim_group_disturb(SimGroup *group)
{
    if (members_count(group) == 0) {
        return;
    }
    SimMember *member =
        g_ptr_array_index(group->members, sim_below(group->sim, group->members->len));
    if (member->is_in && sim_chance(group->sim, 500000)) {
        sim_fault_hit(FAULT_REBALANCE);
        member_expel(member);
        rebalance_try(group);
    } else if (!group->is_preparing) {
        sim_fault_hit(FAULT_REBALANCE);
        rebalance_begin(group);
    }
    sessions_plan(group);
}

/* ---- What a member asks */

static SimMember *member_get(SimGroup *group, const char *instance_id)
{
    guint at = 0;
    for (; at < group->members->len; at++) {
        SimMember *member = g_ptr_array_index(group->members, at);
        int order = strcmp(member->instance_id, instance_id);
        if (order == 0) {
            return member;
        }
        if (order > 0) {
            break;
        }
    }
    SimMember *member = g_new0(SimMember, 1);
    member->group = group;
    member->instance_id = g_strdup(instance_id);
    g_ptr_array_insert(group->members, (int)at, member);
    return member;
}

SimMember *sim_group_join(SimGroup *group, const char *instance_id, SimAssigned assigned,
                          void *client, guint *ret_incarnation)
{
    SimMember *member = member_get(group, instance_id);
    gboolean is_known = member->is_in;
    *ret_incarnation = ++member->incarnation;
    member->assigned = assigned;
    member->client = client;
    member->is_in = TRUE;
    member->heard_us = sim_now_us(group->sim);
    if (is_known && !group->is_preparing) {
        member_tell(member);
    } else {
        rebalance_begin(group);
        member->has_joined = TRUE;
        rebalance_try(group);
    }
    sessions_plan(group);
    return member;
}

void sim_member_forget_client(SimMember *member, void *client)
{
    if (member->client == client) {
        member->client = NULL;
    }
}

SimBeat sim_member_beat(SimMember *member, guint incarnation)
{
    if (!member->is_in || member->incarnation != incarnation) {
        return SIM_BEAT_UNKNOWN;
    }
    member->heard_us = sim_now_us(member->group->sim);
    return member->group->is_preparing ? SIM_BEAT_REBALANCE : SIM_BEAT_GOOD;
}

gboolean sim_member_is_current(const SimMember *member, guint incarnation, guint generation)
{
    return member->is_in && member->incarnation == incarnation &&
           member->group->generation == generation;
}

SimGroup *sim_member_group(const SimMember *member)
{
    return member->group;
}

/* ---- Life */

SimGroup *sim_group_new(SimBroker *broker, const VbService *service)
{
    SimGroup *group = g_new0(SimGroup, 1);
    group->broker = broker;
    group->sim = sim_broker_world(broker)->sim;
    group->service = service;
    group->id = g_strdup_printf(SIM_PREFIX ".%s", service->name);
    group->n_partitions = (int)sim_broker_world(broker)->plan->n_partitions;
    size_t n = (size_t)group->n_partitions * service->n_inputs;
    group->committed = g_new(gint64, n);
    for (size_t i = 0; i < n; i++) {
        group->committed[i] = -1;
    }
    group->pending = g_new0(guint, group->n_partitions);
    group->members = g_ptr_array_new();
    return group;
}

void sim_group_free(SimGroup *group)
{
    for (guint i = 0; i < group->members->len; i++) {
        SimMember *member = g_ptr_array_index(group->members, i);
        g_free(member->instance_id);
        g_free(member);
    }
    g_ptr_array_unref(group->members);
    g_free(group->committed);
    g_free(group->pending);
    g_free(group->id);
    g_free(group);
}
