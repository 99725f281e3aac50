/* I8: each request that reached the broker gets one terminal reply that is no repeat; and while it is
 * calm, what is under way ends at its deadline, and Unknown with its host's return.
 *
 * What the design allows, and so does this: a request that is sent again gets its reply again as a
 * repeat only as long as the VM's record keeps it. Reads are not kept; nor is what was refused where
 * there is no record, or before the core saw it; nor what sixteen newer ones have pushed out. */
#include <string.h>

#include "common/base/limits.h"
#include "common/base/message.h"
#include "common/base/text.h"
#include "tests/sim/sim_check.h"

enum {
    SLACK_MS =
        120 * 1000, /* For services that were down when the calm began, and their restores. */
    UNKNOWN_MS = 30 * 1000,
    UNKNOWN_SLACK_MS = 30 * 1000,
};

void sim_check_requested(SimCheck *check, const VmCommand *command, gint64 offset)
{
    (void)offset;
    CheckRequest *request = g_hash_table_lookup(check->requests, command->request_id);
    if (request == NULL) {
        request = g_new0(CheckRequest, 1);
        request->vm = sim_world_vm_index(check->world, command->vm_uuid);
        request->is_read = command->command_case == VM_COMMAND__COMMAND_GET_VM ||
                           command->command_case == VM_COMMAND__COMMAND_LIST_VOLUMES;
        request->is_refused = !message_check(&command->base, NULL);
        g_hash_table_insert(check->requests, g_strdup(command->request_id), request);
    }
    request->n_sent++;
}

static void mark_reply(const CheckVm *vm, const VmEvent *event)
{
    const Error *error = event->reply->error;
    int code = error != NULL ? (int)error->code : ERROR_CODE_UNSPECIFIED;
    if (event->reply->repeated) {
        sim_mark(MARK_REQUEST_REPEATED);
    }
    if (code == ERROR_CODE_PREEMPTED) {
        sim_mark(MARK_PREEMPTED);
    } else if (code == ERROR_CODE_VM_EXISTS && vm->status == VM_STATUS_EXPUNGED) {
        sim_mark(MARK_UUID_NOT_REUSABLE);
    } else if (code >= ERROR_CODE_NVRAM_TEMPLATE_MISMATCH &&
               code <= ERROR_CODE_NVRAM_SECURE_BOOT_MISMATCH) {
        sim_mark(MARK_NVRAM_REFUSED);
    }
}

static gboolean may_answer_again(const CheckVm *vm, const CheckRequest *request)
{
    return request->n_replies < request->n_sent &&
           (request->is_read || request->is_refused || !request->was_kept ||
            request->lives != vm->lives || vm->n_replies - request->reply_number >= OUTCOMES_KEPT);
}

void check_reply(SimCheck *check, CheckVm *vm, const VmEvent *event)
{
    const Reply *reply = event->reply;
    CheckRequest *request = g_hash_table_lookup(check->requests, reply->request_id);
    if (request == NULL) {
        sim_fail(check->sim, "I8", vm->uuid, "request %s is answered, which nobody asked",
                 reply->request_id);
        return;
    }
    mark_reply(vm, event);
    sim_judge(SIM_I8, FALSE);
    if (reply->repeated) {
        if (request->n_replies == 0 || request->n_sent < 2) {
            sim_fail(check->sim, "I8", vm->uuid, "request %s is answered as a repeat: %s",
                     reply->request_id,
                     request->n_sent < 2 ? "it was sent once" : "it was never answered");
        }
        return;
    }
    if (request->n_replies > 0 && !may_answer_again(vm, request)) {
        sim_fail(check->sim, "I8", vm->uuid,
                 "request %s, sent %u times, gets its reply number %u, and that is no repeat",
                 reply->request_id, request->n_sent, request->n_replies + 1);
    }
    request->n_replies++;
    request->was_kept = event->version != 0;
    request->reply_number = ++vm->n_replies;
    request->lives = vm->lives;
}

void check_replies_end(SimCheck *check)
{
    GHashTableIter iter;
    gpointer key = NULL;
    gpointer value = NULL;
    g_hash_table_iter_init(&iter, check->requests);
    while (g_hash_table_iter_next(&iter, &key, &value)) {
        const CheckRequest *request = value;
        sim_judge(SIM_I8, FALSE);
        if (request->n_replies == 0) {
            sim_fail(check->sim, "I8", request->vm >= 0 ? check->vms[request->vm].uuid : NULL,
                     "request %s was never answered", (const char *)key);
        }
    }
    if (g_hash_table_size(check->inputs) > 0) {
        sim_fail(check->sim, "I9", NULL, "%u records were never consumed",
                 g_hash_table_size(check->inputs));
    }
}

/* ---- Calm */

gboolean check_is_excused(SimCheck *check, const CheckVm *vm)
{
    int host = check_host_index(check, vm->host_uuid);
    if (host < 0) {
        return FALSE;
    }
    SimDomain domain;
    gboolean is_foreign = check_domain_find(check, (guint)host, vm, &domain) && !domain.ours;
    return is_foreign || check_is_forgetful(vm, host) ||
           ((vm->unheard | vm->unforgiven | vm->crossed) >> host & 1) != 0;
}

static void check_deadline(SimCheck *check, const CheckVm *vm, gint64 deadline_ms, const char *what)
{
    gint64 now_ms = sim_now_ms(check->sim);
    if (deadline_ms == 0 || check->services_ready_ms == 0) {
        return;
    }
    sim_judge(SIM_I8, FALSE);
    if (now_ms > MAX(deadline_ms, check->services_ready_ms) + SLACK_MS) {
        sim_fail(check->sim, "I8", vm->uuid,
                 "%s had to end %" G_GINT64_FORMAT " ms ago, and it is calm", what,
                 now_ms - deadline_ms);
    }
}

static void check_unknown(SimCheck *check, const CheckVm *vm)
{
    int host = check_host_index(check, vm->host_uuid);
    if (vm->status != VM_STATUS_UNKNOWN || vm->has_operation || host < 0 ||
        check->host_ready_ms[host] == 0 || check->services_ready_ms == 0 ||
        !sim_judge(SIM_I8, check_is_excused(check, vm))) {
        return;
    }
    gint64 since_ms = MAX(vm->status_since_ms, check->host_ready_ms[host]);
    since_ms = MAX(since_ms, MAX(check->services_ready_ms, check->calm_ms));
    if (sim_now_ms(check->sim) > since_ms + UNKNOWN_MS + UNKNOWN_SLACK_MS) {
        sim_fail(check->sim, "I8", vm->uuid,
                 "it is Unknown, and its host %s has been back for %" G_GINT64_FORMAT " ms",
                 sim_world_name(check->world, vm->host_uuid),
                 sim_now_ms(check->sim) - check->host_ready_ms[host]);
    }
}

void check_calm(SimCheck *check)
{
    for (guint i = 0; i < check->world->plan->n_vms; i++) {
        const CheckVm *vm = &check->vms[i];
        if (vm->has_operation) {
            check_deadline(check, vm, vm->deadline_ms, ENUM_LABEL(vm_status, vm->status));
        }
        check_deadline(check, vm, vm->volumes_deadline_ms, "the volumes' operation");
        check_unknown(check, vm);
    }
}

/* ---- At rest */

static gboolean vm_is_at_rest(SimCheck *check, const CheckVm *vm)
{
    gint64 soon_ms = sim_now_ms(check->sim) + 10 * 60 * 1000;
    gboolean waits = vm->deadline_ms != 0 && vm->status != VM_STATUS_EXPUNGED;
    if (vm->has_operation || waits || vm->volumes_deadline_ms != 0 ||
        vm->status == VM_STATUS_QUARANTINED ||
        (vm->status == VM_STATUS_UNKNOWN && !check_is_excused(check, vm))) {
        return FALSE;
    }
    for (guint i = 0; i < vm->volumes->len; i++) {
        const CheckVolume *volume = g_ptr_array_index(vm->volumes, i);
        if (volume->next_ms != 0 && volume->next_ms < soon_ms) {
            return FALSE;
        }
    }
    return TRUE;
}

gboolean sim_check_is_at_rest(SimCheck *check)
{
    if (g_hash_table_size(check->inputs) > 0) {
        return FALSE;
    }
    for (guint i = 0; i < check->world->plan->n_vms; i++) {
        if (!vm_is_at_rest(check, &check->vms[i])) {
            return FALSE;
        }
    }
    return TRUE;
}
