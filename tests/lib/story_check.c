#include "tests/lib/story_check.h"

#include <string.h>

#include "common/base/limits.h"
#include "common/base/text.h"

typedef struct {
    char *name;
    guint n_replies; /* That are no repeats. */
} Asked;

typedef struct {
    gboolean was_ready;
    gboolean deletion_asked;
} Mark;

struct StoryCheck {
    GHashTable *asked; /* request id -> Asked */
    GHashTable *marks; /* volume uuid -> Mark */
    guint n_live_planted;
    char *domain_host; /* Where a domain may run; NULL: nowhere. */
    guint64 domain_epoch;
};

static void asked_free(gpointer data)
{
    Asked *asked = data;
    g_free(asked->name);
    g_free(asked);
}

StoryCheck *check_new(void)
{
    StoryCheck *check = g_new0(StoryCheck, 1);
    check->asked = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, asked_free);
    check->marks = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, g_free);
    return check;
}

void check_free(StoryCheck *check)
{
    g_hash_table_destroy(check->asked);
    g_hash_table_destroy(check->marks);
    g_free(check->domain_host);
    g_free(check);
}

void check_asked(StoryCheck *check, const char *request_id, const char *name)
{
    Asked *asked = g_new0(Asked, 1);
    asked->name = g_strdup(name);
    g_hash_table_insert(check->asked, g_strdup(request_id), asked);
}

char *check_end(const StoryCheck *check)
{
    GHashTableIter iter;
    gpointer value;
    g_hash_table_iter_init(&iter, check->asked);
    while (g_hash_table_iter_next(&iter, NULL, &value)) {
        const Asked *asked = value;
        if (asked->n_replies != 1) {
            return g_strdup_printf("I8: request %s had %u terminal replies at the story's end",
                                   asked->name, asked->n_replies);
        }
    }
    return NULL;
}

/* --- Volumes */

static Mark *mark_of(StoryCheck *check, const char *uuid)
{
    Mark *mark = g_hash_table_lookup(check->marks, uuid);
    if (mark == NULL) {
        mark = g_new0(Mark, 1);
        g_hash_table_insert(check->marks, g_strdup(uuid), mark);
    }
    return mark;
}

static const Volume *volume_in(const StateRecord *state, const char *uuid)
{
    for (size_t i = 0; state != NULL && i < state->volumes->n_volumes; i++) {
        if (strcmp(state->volumes->volumes[i]->uuid, uuid) == 0) {
            return state->volumes->volumes[i];
        }
    }
    return NULL;
}

static guint count_live_nvram(const StateRecord *state)
{
    guint n = 0;
    for (size_t i = 0; state != NULL && i < state->volumes->n_volumes; i++) {
        const Volume *volume = state->volumes->volumes[i];
        n += volume->type == VOLUME_TYPE_NV_RAM &&
             (volume->status == VOLUME_STATUS_NOT_INSTANTIATED ||
              volume->status == VOLUME_STATUS_CREATING || volume->status == VOLUME_STATUS_READY);
    }
    return n;
}

static char *check_deletions(StoryCheck *check, const StoryStep *step, const DeleteVolumes *delete)
{
    for (size_t i = 0; i < delete->n_volumes; i++) {
        const Volume *volume = volume_in(step->after, delete->volumes[i]->uuid);
        if (volume == NULL || volume->status != VOLUME_STATUS_DELETING) {
            return g_strdup_printf("I4: DeleteVolumes names volume %s, which is not Deleting",
                                   delete->volumes[i]->uuid);
        }
        mark_of(check, volume->uuid)->deletion_asked = TRUE;
    }
    return NULL;
}

static char *check_creations(StoryCheck *check, const StoryStep *step, const CreateVolumes *create)
{
    for (size_t i = 0; i < create->n_volumes; i++) {
        const Volume *volume = volume_in(step->after, create->volumes[i]->uuid);
        if (volume == NULL || volume->status != VOLUME_STATUS_CREATING) {
            return g_strdup_printf("CreateVolumes names volume %s, which is not Creating",
                                   create->volumes[i]->uuid);
        }
        if (mark_of(check, volume->uuid)->was_ready) {
            return g_strdup_printf("I5: volume %s was Ready once and is made anew", volume->uuid);
        }
    }
    return NULL;
}

static char *check_survival(StoryCheck *check, const StoryStep *step)
{
    for (size_t i = 0; step->before != NULL && i < step->before->volumes->n_volumes; i++) {
        const Volume *was = step->before->volumes->volumes[i];
        const Volume *is = volume_in(step->after, was->uuid);
        Mark *mark = mark_of(check, was->uuid);
        mark->was_ready = mark->was_ready || was->status == VOLUME_STATUS_READY ||
                          was->status == VOLUME_STATUS_RETAINED;
        gboolean gone = is == NULL || is->status == VOLUME_STATUS_DELETED;
        if (mark->was_ready && gone && !mark->deletion_asked) {
            return g_strdup_printf("I1: volume %s was Ready and is gone, never deleted", was->uuid);
        }
        if (mark->was_ready && !gone &&
            (is->status == VOLUME_STATUS_NOT_INSTANTIATED ||
             is->status == VOLUME_STATUS_CREATING)) {
            return g_strdup_printf("I5: volume %s was Ready and is %s again", was->uuid,
                                   ENUM_LABEL(volume_status, is->status));
        }
    }
    return NULL;
}

static char *check_volume_state(StoryCheck *check, const StateRecord *after)
{
    if (after == NULL) {
        return NULL;
    }
    guint n_live = count_live_nvram(after);
    if (n_live > MAX(1, check->n_live_planted)) {
        return g_strdup_printf("I2: the VM has %u live variable stores", n_live);
    }
    if (after->volumes->operation != NULL && after->deadline_ms == 0) {
        return g_strdup("I8: the volumes' operation has no deadline");
    }
    return NULL;
}

/* --- The VM */

static gboolean is_transitional(VmStatus status)
{
    return status == VM_STATUS_STARTING || status == VM_STATUS_STOPPING ||
           status == VM_STATUS_REBOOTING || status == VM_STATUS_DESTROYING ||
           status == VM_STATUS_EXPUNGING || status == VM_STATUS_MIGRATING;
}

static char *check_vm_state(const StateRecord *after)
{
    if (after == NULL) {
        return NULL;
    }
    const VmRecord *vm = after->vm;
    /* A change of volumes or of a NIC is an operation too, but the VM rests or runs meanwhile. */
    gboolean changes =
        vm->operation != NULL && (vm->operation->phase == OPERATION_PHASE_CHANGING_VOLUMES ||
                                  (vm->operation->phase == OPERATION_PHASE_CHANGING_DEVICE &&
                                   vm->status == VM_STATUS_RUNNING));
    gboolean moves = changes || is_transitional(vm->status);
    if (moves != (vm->operation != NULL) || (moves && after->deadline_ms == 0)) {
        return g_strdup_printf("I8: the VM is %s with %s and %s", ENUM_LABEL(vm_status, vm->status),
                               vm->operation != NULL ? "an operation" : "no operation",
                               after->deadline_ms != 0 ? "a deadline" : "no deadline");
    }
    if (vm->n_outcomes > OUTCOMES_KEPT) {
        return g_strdup_printf("the VM's record keeps %zu outcomes", vm->n_outcomes);
    }
    return NULL;
}

static char *check_start(StoryCheck *check, const StoryStep *step, const VbOutput *output)
{
    const HostCommand *command = output->message;
    const StartDomain *start = command->start_domain;
    guint n_nvram = 0;
    for (size_t i = 0; i < start->n_volumes; i++) {
        n_nvram += start->volumes[i]->type == VOLUME_TYPE_NV_RAM;
        if (start->volumes[i]->status != VOLUME_STATUS_READY) {
            return g_strdup_printf("I3: StartDomain names volume %s, which is %s",
                                   start->volumes[i]->uuid,
                                   ENUM_LABEL(volume_status, start->volumes[i]->status));
        }
    }
    if (n_nvram != (start->nvram_needed ? 1 : 0)) {
        return g_strdup_printf("I3: StartDomain has %u variable stores", n_nvram);
    }
    if (command->epoch != step->after->vm->epoch || command->expires_ms <= step->now_ms) {
        return g_strdup("I3: StartDomain has another epoch, or has expired already");
    }
    if (check->domain_host != NULL) {
        return g_strdup_printf("I6: StartDomain while a domain may run on %s", check->domain_host);
    }
    check->domain_host = g_strdup(output->host_uuid);
    check->domain_epoch = command->epoch;
    return NULL;
}

static void domain_is_gone(StoryCheck *check)
{
    g_clear_pointer(&check->domain_host, g_free);
}

void check_reported(StoryCheck *check, const HostReport *report)
{
    if (check->domain_host == NULL || strcmp(check->domain_host, report->host_uuid) != 0 ||
        check->domain_epoch != report->epoch) {
        return;
    }
    gboolean failed = report->error != NULL;
    HostReport__ReportCase kind = report->report_case;
    if ((kind == HOST_REPORT__REPORT_DOMAIN_STARTED && failed) ||
        (kind == HOST_REPORT__REPORT_DOMAIN_STOPPED &&
         (!failed || report->error->code == ERROR_CODE_STORAGE_IO)) || /* Gone, not synced. */
        (kind == HOST_REPORT__REPORT_DOMAIN_OBSERVED && !failed &&
         !report->domain_observed->running)) {
        domain_is_gone(check);
    }
}

/* --- Both */

static char *check_reply(StoryCheck *check, const Reply *reply)
{
    Asked *asked = g_hash_table_lookup(check->asked, reply->request_id);
    if (asked == NULL) {
        return g_strdup_printf("a reply to %s, which nobody asked", reply->request_id);
    }
    asked->n_replies += !reply->repeated;
    if (asked->n_replies != 1) {
        return g_strdup_printf("I8: request %s has %u terminal replies", asked->name,
                               asked->n_replies);
    }
    return NULL;
}

static char *check_version(const StoryStep *step, guint64 version)
{
    /* Events of the step that ends a record carry the version that it would have had. */
    guint64 is = step->after != NULL ? step->after->version : version;
    if (version != is) {
        return g_strdup_printf("an event carries version %" G_GUINT64_FORMAT
                               ", the record has %" G_GUINT64_FORMAT,
                               version, is);
    }
    return NULL;
}

static char *check_host_command(StoryCheck *check, const StoryStep *step, const VbOutput *output)
{
    const HostCommand *command = output->message;
    if (command->command_case == HOST_COMMAND__COMMAND_CREATE_VOLUMES) {
        return check_creations(check, step, command->create_volumes);
    }
    if (command->command_case == HOST_COMMAND__COMMAND_DELETE_VOLUMES) {
        return check_deletions(check, step, command->delete_volumes);
    }
    if (command->command_case == HOST_COMMAND__COMMAND_START_DOMAIN) {
        return check_start(check, step, output);
    }
    return NULL;
}

static char *check_output(StoryCheck *check, const StoryStep *step, const VbOutput *output)
{
    if (output->topic == TOPIC_HOST_COMMANDS) {
        return check_host_command(check, step, output);
    }
    if (output->topic == TOPIC_VOLUME_EVENTS) {
        const VolumeEvent *event = output->message;
        return check_version(step, event->version);
    }
    if (output->topic == TOPIC_VM_EVENTS) {
        const VmEvent *event = output->message;
        char *broken = check_version(step, event->version);
        if (broken == NULL && event->event_case == VM_EVENT__EVENT_REPLY) {
            broken = check_reply(check, event->reply);
        }
        return broken;
    }
    return NULL;
}

static char *check_deadline(const StoryStep *step)
{
    gboolean elapsed =
        step->runtime != NULL && step->before != NULL &&
        step->runtime->input_case == RUNTIME_INPUT__INPUT_DEADLINE_ELAPSED &&
        strcmp(step->runtime->deadline_elapsed->deadline_id, step->before->deadline_id) == 0;
    if (elapsed && step->after != NULL && step->after->version == step->before->version) {
        return g_strdup_printf("I8: deadline %s of %s elapsed and changed nothing",
                               step->before->deadline_id, step->service->name);
    }
    return NULL;
}

char *check_step(StoryCheck *check, const StoryStep *step)
{
    /* Nothing was sent, so nothing runs. */
    if (step->runtime != NULL && step->runtime->input_case == RUNTIME_INPUT__INPUT_UNDELIVERABLE &&
        check->domain_host != NULL &&
        strcmp(step->runtime->undeliverable->host_uuid, check->domain_host) == 0 &&
        step->before->body_case == STATE_RECORD__BODY_VM &&
        step->before->vm->status == VM_STATUS_STARTING) {
        domain_is_gone(check);
    }
    char *broken = check_deadline(step);
    for (guint i = 0; broken == NULL && i < step->outputs->len; i++) {
        broken = check_output(check, step, &g_array_index(step->outputs, VbOutput, i));
    }
    if (broken != NULL) {
        return broken;
    }
    if (step->service->state_topic == TOPIC_VM_STATE) {
        return check_vm_state(step->after);
    }
    broken = check_survival(check, step);
    if (step->after == NULL) {
        g_hash_table_remove_all(check->marks); /* A next life of the uuid is another VM. */
    }
    return broken != NULL ? broken : check_volume_state(check, step->after);
}

void check_planted(StoryCheck *check, const StateRecord *state)
{
    if (state->body_case == STATE_RECORD__BODY_VOLUMES) {
        check->n_live_planted = count_live_nvram(state);
    }
}
