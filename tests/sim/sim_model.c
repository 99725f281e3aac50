/* A naive model of what should exist: known from requests, the replies that clients have read and what
 * guests find, and from nothing inside virtbus. At the end it is held against the disks, the domains
 * and the last records. It is slower to notice and knows less than sim_check.c, and shares nothing
 * with it: what both overlook has to be overlooked twice.
 *
 *   exists    CreateVm was answered, and no ExpungeVm since
 *   may run   StartVm was answered, or nobody knows; and no StopVm, DestroyVm, ConfirmHostDown since
 *   counter   what the last guest left in its variables. The next one finds that. Only a request for
 *             another store (ResetNvram, AdoptVolume, UpdateVm) or damage lets it find another. */
#include "tests/sim/sim_model.h"

#include <string.h>

#include "tests/sim/sim_check_count.h"

typedef struct {
    gboolean exists;
    gboolean may_exist; /* An expunge was cut short, or is not answered: it goes on by itself. */
    gboolean may_run;
    guint64 counter;
    gboolean has_booted;     /* With a variable store, in this life. */
    gboolean may_find_other; /* Since the last boot: see above. */
    gboolean must_be_new;    /* ResetNvram was answered, and nothing was asked since. */
    guint n_stores_asked;    /* Requests not answered yet that lead to another store. */
    guint n_resets;          /* Asked for in this life. */
    guint n_boots;
    gboolean shaken;           /* Since the last boot, by power or by somebody. */
    gboolean may_have_orphans; /* Somebody destroyed what a host knew of it. */
} Fact;

/* A request. One that is sent again may be done again, once its outcome is forgotten. */
typedef struct {
    VmCommand__CommandCase kind;
    guint n_boots; /* Fact.n_boots at its last sending. */
    guint n_open;  /* Sendings that were not answered. */
} Asked;

struct SimModel {
    SimWorld *world;
    Fact *facts;
    GHashTable *requests; /* id -> Asked */
};

SimModel *sim_model_new(SimWorld *world)
{
    SimModel *model = g_new0(SimModel, 1);
    model->world = world;
    model->facts = g_new0(Fact, world->plan->n_vms);
    model->requests = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, g_free);
    return model;
}

void sim_model_free(SimModel *model)
{
    g_hash_table_unref(model->requests);
    g_free(model->facts);
    g_free(model);
}

static Fact *fact_of(SimModel *model, const char *vm_uuid)
{
    int index = sim_world_vm_index(model->world, vm_uuid);
    return index >= 0 ? &model->facts[index] : NULL;
}

static gboolean leads_to_other_store(VmCommand__CommandCase kind)
{
    return kind == VM_COMMAND__COMMAND_RESET_NVRAM || kind == VM_COMMAND__COMMAND_ADOPT_VOLUME ||
           kind == VM_COMMAND__COMMAND_UPDATE_VM;
}

void sim_model_requested(SimModel *model, const VmCommand *command)
{
    Fact *fact = fact_of(model, command->vm_uuid);
    VmCommand__CommandCase kind = command->command_case;
    if (fact == NULL) {
        return;
    }
    Asked *asked = g_hash_table_lookup(model->requests, command->request_id);
    if (asked == NULL) {
        asked = g_new0(Asked, 1);
        asked->kind = kind;
        g_hash_table_insert(model->requests, g_strdup(command->request_id), asked);
    }
    if (asked->n_open++ == 0) {
        asked->n_boots = fact->n_boots;
    }
    if (leads_to_other_store(kind)) {
        fact->may_find_other = TRUE;
        fact->must_be_new = FALSE;
        fact->n_stores_asked++;
        fact->n_resets += kind == VM_COMMAND__COMMAND_RESET_NVRAM;
    } else if (kind == VM_COMMAND__COMMAND_EXPUNGE_VM) {
        fact->may_exist = TRUE;
    }
}

static void born(Fact *fact, gboolean booted_since)
{
    *fact = (Fact){.exists = TRUE,
                   .may_exist = fact->may_exist,
                   .n_boots = fact->n_boots,
                   .n_stores_asked = fact->n_stores_asked,
                   .may_find_other = fact->n_stores_asked > 0 || booted_since,
                   .shaken = fact->shaken,
                   .may_have_orphans = fact->may_have_orphans};
}

/* Whether a start that is answered so may have left a domain. */
static gboolean start_may_run(int code)
{
    return code == ERROR_CODE_UNSPECIFIED || code == ERROR_CODE_HOST_SILENT ||
           code == ERROR_CODE_QUARANTINED || code == ERROR_CODE_PREEMPTED;
}

/* What a guest did between a request and the client's reading of its answer came before or behind
 * what was asked for: nobody outside can tell. */
static void take_reply(Fact *fact, const Asked *asked, int code)
{
    VmCommand__CommandCase kind = asked->kind;
    gboolean booted_since = fact->n_boots != asked->n_boots;
    gboolean done = code == ERROR_CODE_UNSPECIFIED;
    if (kind == VM_COMMAND__COMMAND_CREATE_VM && done) {
        born(fact, booted_since);
    } else if (kind == VM_COMMAND__COMMAND_EXPUNGE_VM && done) {
        fact->exists = FALSE;
        fact->may_exist = FALSE;
        fact->may_run = FALSE;
    } else if (kind == VM_COMMAND__COMMAND_START_VM || kind == VM_COMMAND__COMMAND_REBOOT_VM) {
        fact->may_run = fact->may_run || start_may_run(code);
    } else if (done &&
               (kind == VM_COMMAND__COMMAND_STOP_VM || kind == VM_COMMAND__COMMAND_DESTROY_VM ||
                kind == VM_COMMAND__COMMAND_CONFIRM_HOST_DOWN)) {
        fact->may_run = FALSE;
    } else if (done && kind == VM_COMMAND__COMMAND_RESET_NVRAM) {
        fact->must_be_new = fact->n_stores_asked == 0 && !booted_since;
    }
}

void sim_model_replied(SimModel *model, const VmEvent *event)
{
    Fact *fact = fact_of(model, event->vm_uuid);
    const Reply *reply = event->reply;
    Asked *asked = g_hash_table_lookup(model->requests, reply->request_id);
    if (fact == NULL || asked == NULL || asked->n_open == 0) {
        return;
    }
    asked->n_open--;
    fact->n_stores_asked -= leads_to_other_store(asked->kind);
    if (!reply->repeated) {
        take_reply(fact, asked, reply->error != NULL ? (int)reply->error->code : 0);
    }
}

void sim_model_booted(SimModel *model, const char *vm_uuid, guint64 counter_found)
{
    Fact *fact = fact_of(model, vm_uuid);
    if (fact == NULL) {
        return;
    }
    sim_judge(SIM_MODEL, fact->may_find_other && !fact->must_be_new);
    if (fact->must_be_new && counter_found != 0) {
        sim_fail(model->world->sim, "model", vm_uuid,
                 "its variables were reset, and its guest finds %" G_GUINT64_FORMAT, counter_found);
    } else if (!fact->may_find_other && counter_found != fact->counter) {
        sim_fail(model->world->sim, "model", vm_uuid,
                 "its guest finds %" G_GUINT64_FORMAT " in its variables; the last one left "
                 "%" G_GUINT64_FORMAT ", and nobody asked for another store",
                 counter_found, fact->counter);
    }
    fact->counter = counter_found + 1;
    fact->n_boots++;
    fact->shaken = FALSE;
    fact->has_booted = TRUE;
    fact->must_be_new = FALSE;
    fact->may_find_other = fact->n_stores_asked > 0;
}

void sim_model_wrote(SimModel *model, const char *vm_uuid, guint64 counter)
{
    Fact *fact = fact_of(model, vm_uuid);
    if (fact != NULL) {
        fact->counter = counter;
    }
}

/* Whose volume lies there; the plan gives each VM an account of its own. NULL: nobody's. */
static Fact *fact_of_path(SimModel *model, const char *path, guint *ret_index)
{
    for (guint i = 0; i < model->world->plan->n_vms; i++) {
        char account[32];
        g_snprintf(account, sizeof(account), "/acct-vm-%u/", i);
        if (strstr(path, account) != NULL) {
            *ret_index = i;
            return &model->facts[i];
        }
    }
    return NULL;
}

static void shake(void *data, const SimFile *file)
{
    guint index = 0;
    Fact *fact = fact_of_path(data, file->path, &index);
    if (fact != NULL) {
        fact->may_find_other = TRUE;
        fact->shaken = TRUE;
    }
}

void sim_model_power_lost(SimModel *model, SimHost *host)
{
    sim_host_each_file(host, "", shake, model);
}

void sim_model_harmed(SimModel *model, const char *path)
{
    SimFile file = {.path = path};
    shake(model, &file);
    for (guint i = 0; i < model->world->plan->n_vms; i++) {
        gboolean is_its = strstr(path, model->world->vm_uuids[i]) != NULL;
        model->facts[i].may_have_orphans = model->facts[i].may_have_orphans || is_its;
    }
}

/* ---- The end */

/* What is there, by VM: files and domains of all hosts, and the last record. */
typedef struct {
    SimModel *model;
    guint *n_files;
    guint *n_stores;
    guint *n_domains;
    gboolean *recorded;
} Found;

static void find_file(void *data, const SimFile *file)
{
    Found *found = data;
    if (*(strrchr(file->path, '/') + 1) == '.') {
        return; /* A temporary file that a crash left is no volume. */
    }
    guint i = 0;
    if (fact_of_path(found->model, file->path, &i) != NULL) {
        found->n_files[i]++;
        found->n_stores[i] += g_str_has_suffix(file->path, ".fd");
    }
}

static void find_record(Found *found, const VbBusRecord *record)
{
    char uuid[UUID_TEXT_BYTES];
    g_snprintf(uuid, sizeof(uuid), "%.*s", (int)record->key_bytes, (const char *)record->key);
    int index = sim_world_vm_index(found->model->world, uuid);
    StateRecord *state = record->value != NULL
                             ? state_record__unpack(NULL, record->value_bytes, record->value)
                             : NULL;
    if (index >= 0) {
        found->recorded[index] =
            state != NULL && state->vm != NULL && state->vm->status != VM_STATUS_EXPUNGED;
    }
    protobuf_c_message_free_unpacked(state != NULL ? &state->base : NULL, NULL);
}

static void find_records(Found *found)
{
    const SimWorld *world = found->model->world;
    for (guint i = 0; i < world->plan->n_partitions; i++) {
        const VbBusRecord *record = NULL;
        gint64 offset = 0;
        while ((record = sim_broker_read(world->broker, TOPIC_VM_STATE, NULL, (int)i, &offset)) !=
               NULL) {
            find_record(found, record);
        }
    }
}

static void find_domain(void *data, const SimDomain *domain)
{
    Found *found = data;
    int index = sim_world_vm_index(found->model->world, domain->vm_uuid);
    if (index >= 0 && domain->ours) {
        found->n_domains[index]++;
    }
}

static void compare(SimModel *model, guint i, const Found *found)
{
    Sim *sim = model->world->sim;
    const Fact *fact = &model->facts[i];
    const char *uuid = model->world->vm_uuids[i];
    if (sim_judge(SIM_MODEL, fact->may_exist) && found->recorded[i] != fact->exists) {
        sim_fail(sim, "model", uuid, "by its replies it %s, by its record it %s",
                 fact->exists ? "exists" : "does not exist",
                 found->recorded[i] ? "does" : "does not");
    }
    if (sim_judge(SIM_MODEL, fact->may_run) && found->n_domains[i] > 0) {
        sim_fail(sim, "model", uuid, "by its replies nothing runs, and %u domains are there",
                 found->n_domains[i]);
    }
    /* A host that has lost its journal of it may have made volumes a second time: orphans. */
    if (!fact->exists && !fact->may_exist && sim_judge(SIM_MODEL, fact->may_have_orphans) &&
        found->n_files[i] > 0) {
        sim_fail(sim, "model", uuid, "it is expunged, and %u files of it are left",
                 found->n_files[i]);
    }
    if (sim_judge(SIM_MODEL, fact->may_have_orphans) && found->n_stores[i] > 1 + fact->n_resets) {
        sim_fail(sim, "model", uuid, "it has %u variable stores after %u resets",
                 found->n_stores[i], fact->n_resets);
    }
    if (fact->exists && !fact->may_exist && fact->has_booted &&
        sim_judge(SIM_MODEL, fact->may_find_other || fact->shaken) && found->n_stores[i] == 0) {
        sim_fail(sim, "model", uuid, "its guest has written variables, and no store is left");
    }
}

void sim_model_end(SimModel *model)
{
    SimWorld *world = model->world;
    guint n = world->plan->n_vms;
    g_autofree guint *n_files = g_new0(guint, n);
    g_autofree guint *n_stores = g_new0(guint, n);
    g_autofree guint *n_domains = g_new0(guint, n);
    g_autofree gboolean *recorded = g_new0(gboolean, n);
    Found found = {.model = model,
                   .n_files = n_files,
                   .n_stores = n_stores,
                   .n_domains = n_domains,
                   .recorded = recorded};
    find_records(&found);
    for (guint i = 0; i < world->plan->n_hosts; i++) {
        sim_host_each_file(world->hosts[i], "", find_file, &found);
        sim_host_each_domain(world->hosts[i], find_domain, &found);
    }
    for (guint i = 0; i < n; i++) {
        compare(model, i, &found);
    }
}
