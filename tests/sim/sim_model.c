/* A naive model of what should exist: known from requests, their replies and what guests find, and
 * from nothing inside virtbus. It is slower to notice and knows less than sim_check.c, and shares
 * nothing with it: what both overlook has to be overlooked twice.
 *
 *   exists    CreateVm was answered, and no ExpungeVm since
 *   may run   StartVm was answered, or nobody knows; and no StopVm, DestroyVm, ConfirmHostDown since
 *   counter   what the last guest left in its variables. The next one finds that. Only a request for
 *             another store (ResetNvram, AdoptVolume, UpdateVm) or damage lets it find another. */
#include "tests/sim/sim_model.h"

#include <string.h>

#include "tests/sim/sim_check.h"

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
    gboolean shaken;         /* Ever. */
} Fact;

struct SimModel {
    SimWorld *world;
    Fact *facts;
    GHashTable *requests; /* id -> command case, of those that were not answered. */
};

SimModel *sim_model_new(SimWorld *world)
{
    SimModel *model = g_new0(SimModel, 1);
    model->world = world;
    model->facts = g_new0(Fact, world->plan->n_vms);
    model->requests = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL);
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
    gboolean is_new =
        g_hash_table_insert(model->requests, g_strdup(command->request_id), GINT_TO_POINTER(kind));
    if (leads_to_other_store(kind)) {
        fact->may_find_other = TRUE;
        fact->must_be_new = FALSE;
        fact->n_stores_asked += is_new;
        fact->n_resets += kind == VM_COMMAND__COMMAND_RESET_NVRAM;
    } else if (kind == VM_COMMAND__COMMAND_EXPUNGE_VM) {
        fact->may_exist = TRUE;
    }
}

static void born(Fact *fact)
{
    *fact = (Fact){.exists = TRUE,
                   .n_stores_asked = fact->n_stores_asked,
                   .may_find_other = fact->n_stores_asked > 0,
                   .shaken = fact->shaken};
}

/* Whether a start that is answered so may have left a domain. */
static gboolean start_may_run(int code)
{
    return code == ERROR_CODE_UNSPECIFIED || code == ERROR_CODE_HOST_SILENT ||
           code == ERROR_CODE_QUARANTINED || code == ERROR_CODE_PREEMPTED;
}

static void take_reply(Fact *fact, VmCommand__CommandCase kind, int code)
{
    gboolean done = code == ERROR_CODE_UNSPECIFIED;
    if (kind == VM_COMMAND__COMMAND_CREATE_VM && done) {
        born(fact);
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
        fact->must_be_new = fact->n_stores_asked == 0;
    }
}

void sim_model_replied(SimModel *model, const VmEvent *event)
{
    Fact *fact = fact_of(model, event->vm_uuid);
    const Reply *reply = event->reply;
    gpointer kind = NULL;
    if (fact == NULL ||
        !g_hash_table_lookup_extended(model->requests, reply->request_id, NULL, &kind)) {
        return;
    }
    g_hash_table_remove(model->requests, reply->request_id);
    fact->n_stores_asked -= leads_to_other_store(GPOINTER_TO_INT(kind));
    take_reply(fact, GPOINTER_TO_INT(kind), reply->error != NULL ? (int)reply->error->code : 0);
}

void sim_model_booted(SimModel *model, const char *vm_uuid, guint64 counter_found)
{
    Fact *fact = fact_of(model, vm_uuid);
    if (fact == NULL) {
        return;
    }
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

void sim_model_shaken(SimModel *model, const char *vm_uuid)
{
    Fact *fact = fact_of(model, vm_uuid);
    if (fact != NULL) {
        fact->may_find_other = TRUE;
        fact->shaken = TRUE;
    }
}

/* ---- The end */

/* What lies under each VM's account, on all hosts; the plan gives each VM one of its own. */
typedef struct {
    SimModel *model;
    guint *n_files;
    guint *n_stores;
    guint *n_domains;
} Found;

static void find_file(void *data, const SimFile *file)
{
    Found *found = data;
    if (*(strrchr(file->path, '/') + 1) == '.') {
        return; /* A temporary file that a crash left is no volume. */
    }
    for (guint i = 0; i < found->model->world->plan->n_vms; i++) {
        g_autofree char *account = g_strdup_printf("/acct-vm-%u/", i);
        if (strstr(file->path, account) != NULL) {
            found->n_files[i]++;
            found->n_stores[i] += g_str_has_suffix(file->path, ".fd");
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
    const CheckVm *vm = &model->world->check->vms[i];
    gboolean recorded = vm->exists && vm->status != VM_STATUS_EXPUNGED;
    /* A host that has lost its journal of it may have made volumes a second time: orphans. */
    gboolean may_have_orphans = vm->journals_harmed != 0;
    if (recorded != fact->exists && !fact->may_exist) {
        sim_fail(sim, "model", vm->uuid, "by its replies it %s, by its record it %s",
                 fact->exists ? "exists" : "does not exist", recorded ? "does" : "does not");
    }
    if (!fact->may_run && found->n_domains[i] > 0) {
        sim_fail(sim, "model", vm->uuid, "by its replies nothing runs, and %u domains are there",
                 found->n_domains[i]);
    }
    /* A deletion that still fails is told as a warning, and its volume stays on record. */
    if (!fact->exists && !fact->may_exist && found->n_files[i] > 0 && vm->volumes->len == 0 &&
        !may_have_orphans) {
        sim_fail(sim, "model", vm->uuid, "it is expunged, and %u files of it are left",
                 found->n_files[i]);
    }
    if (found->n_stores[i] > 1 + fact->n_resets && !may_have_orphans) {
        sim_fail(sim, "model", vm->uuid, "it has %u variable stores after %u resets",
                 found->n_stores[i], fact->n_resets);
    }
    if (fact->exists && !fact->may_exist && fact->has_booted && !fact->may_find_other &&
        !fact->shaken && found->n_stores[i] == 0) {
        sim_fail(sim, "model", vm->uuid, "its guest has written variables, and no store is left");
    }
}

void sim_model_end(SimModel *model)
{
    SimWorld *world = model->world;
    guint n = world->plan->n_vms;
    g_autofree guint *n_files = g_new0(guint, n);
    g_autofree guint *n_stores = g_new0(guint, n);
    g_autofree guint *n_domains = g_new0(guint, n);
    Found found = {
        .model = model, .n_files = n_files, .n_stores = n_stores, .n_domains = n_domains};
    for (guint i = 0; i < world->plan->n_hosts; i++) {
        sim_host_each_file(world->hosts[i], "", find_file, &found);
        sim_host_each_domain(world->hosts[i], find_domain, &found);
    }
    for (guint i = 0; i < n; i++) {
        compare(model, i, &found);
    }
}
