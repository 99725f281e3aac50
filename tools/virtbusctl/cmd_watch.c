/* `vm watch`: one VM's present status, then what happens to it. */
#include <stdio.h>
#include <string.h>

#include "common/base/json.h"
#include "common/base/text.h"
#include "tools/virtbusctl/args.h"
#include "tools/virtbusctl/events.h"
#include "tools/virtbusctl/model.h"
#include "tools/virtbusctl/print.h"
#include "tools/virtbusctl/spec.h"
#include "tools/virtbusctl/style.h"

typedef struct {
    Ctl *ctl;
    VbClient *client;
    char *vm_uuid;
    int until; /* VM_STATUS_UNSPECIFIED: without end. */
    guint64 version;
    VmStatus status; /* The last that was seen. */
} Watch;

static gboolean until_parse(const char *text, int *ret_status, GError **error)
{
    g_autofree char *code = text != NULL ? g_strdelimit(g_strdup(text), "-", '_') : NULL;
    if (text == NULL ||
        (enum_parse(&vm_status__descriptor, code, ret_status) && *ret_status != 0)) {
        return TRUE;
    }
    g_auto(GStrv) words = g_strsplit(spec_words(&vm_status__descriptor, FALSE), "|", -1);
    g_autofree char *known = g_strjoinv(", ", words);
    g_set_error(error, CTL_ERROR, CTL_USAGE, "--until: \"%s\" is no status; known are %s", text,
                known);
    return FALSE;
}

/* Reads the VM's record, and shows it as an event that says nothing but how it is. */
static gboolean present_show(Watch *watch, GError **error)
{
    g_autoptr(GHashTable) vms = model_read(watch->ctl, watch->client, TOPIC_VM_STATE, error);
    if (vms == NULL) {
        return FALSE;
    }
    const StateRecord *state = g_hash_table_lookup(vms, watch->vm_uuid);
    if (state == NULL || state->body_case != STATE_RECORD__BODY_VM) {
        g_set_error(error, CTL_ERROR, CTL_FAILED,
                    "there is no VM %s; `virtbusctl vm list` shows those that there are",
                    watch->vm_uuid);
        return FALSE;
    }
    watch->version = state->version;
    watch->status = state->vm->status;
    VmEvent now = VM_EVENT__INIT;
    now.vm_uuid = watch->vm_uuid;
    now.version = state->version;
    now.status = state->vm->status;
    now.epoch = state->vm->epoch;
    now.host_uuid = state->vm->host_uuid;
    now.time_ms = state->vm->changed_ms;
    VbDescription description = {.kind = "Now",
                                 .text = state->vm->last_error != NULL
                                             ? arena_printf(watch->ctl->arena, "%s (%s)",
                                                            ENUM_LABEL(vm_status, watch->status),
                                                            state->vm->last_error->message)
                                             : ENUM_LABEL(vm_status, watch->status)};
    events_show(watch->ctl, state->vm->changed_ms, &now, &description);
    return TRUE;
}

static gboolean is_reached(const Watch *watch)
{
    return watch->until != VM_STATUS_UNSPECIFIED && (int)watch->status == watch->until;
}

static void record_take(Watch *watch, const ClientRecord *record)
{
    const VmEvent *event = (const VmEvent *)client_record_message(record, watch->ctl->arena);
    if (event == NULL || strcmp(event->vm_uuid, watch->vm_uuid) != 0) {
        return;
    }
    /* The record that was shown first may be newer than the first events behind it. */
    gboolean is_change = event->event_case == VM_EVENT__EVENT_STATUS_CHANGED;
    if (is_change && event->version <= watch->version) {
        return;
    }
    VbDescription description = describe(watch->ctl->arena, event);
    events_show(watch->ctl, record->time_ms, event, &description);
    if (is_change) {
        watch->status = event->status_changed->to;
    }
}

static gboolean follow(Watch *watch, gint64 deadline_us, GError **error)
{
    while (!is_reached(watch)) {
        g_auto(ClientRecord) record = {0};
        switch (client_next(watch->client, deadline_us, &record, error)) {
        case CLIENT_RECORD:
            record_take(watch, &record);
            arena_reset(watch->ctl->arena);
            break;
        case CLIENT_ENDS:
            break;
        case CLIENT_TIMEOUT: {
            g_autofree char *waited = style_duration(watch->ctl->timeout_ms);
            g_set_error(error, CTL_ERROR, CTL_NO_REPLY, "VM %s is still %s after %s",
                        watch->vm_uuid, ENUM_LABEL(vm_status, watch->status), waited);
            return FALSE;
        }
        case CLIENT_ERROR:
            return FALSE;
        }
    }
    return TRUE;
}

/* The end of the events is asked for before the record is read, so that nothing is missed. */
static gboolean run(Watch *watch, gint64 deadline_us, GError **error)
{
    int partition = client_vm_partition(watch->client, TOPIC_VM_EVENTS, watch->vm_uuid, error);
    if (partition < 0) {
        return FALSE;
    }
    gint64 end = client_end(watch->client, TOPIC_VM_EVENTS, NULL, partition, error);
    return end >= 0 && present_show(watch, error) &&
           client_read(watch->client, TOPIC_VM_EVENTS, NULL, partition, end, error) &&
           client_read_start(watch->client, error) && follow(watch, deadline_us, error);
}

CtlStatus cmd_vm_watch(Ctl *ctl)
{
    g_autofree char *until = NULL;
    g_auto(GStrv) words = NULL;
    g_autoptr(GError) error = NULL;
    g_autoptr(VbClient) client = NULL;
    Watch watch = {.ctl = ctl};
    const GOptionEntry flags[] = {
        {"until", 0, 0, G_OPTION_ARG_STRING, &until,
         "End once it has this status, at most after --timeout if that is given; else on Ctrl-C",
         spec_words(&vm_status__descriptor, FALSE)},
        {0},
    };
    if (!args_parse(ctl, flags, 1, &words, &error) || !until_parse(until, &watch.until, &error) ||
        (client = client_open(ctl, &error)) == NULL) {
        return ctl_fail(ctl, error);
    }
    watch.client = client;
    /* The arena is reset while events are followed. */
    g_autofree char *vm_uuid = g_strdup(model_find_vm(ctl, client, words[0], &error));
    watch.vm_uuid = vm_uuid;
    gint64 deadline_us = until != NULL && ctl->timeout != NULL
                             ? g_get_monotonic_time() + ctl->timeout_ms * G_TIME_SPAN_MILLISECOND
                             : G_MAXINT64;
    if (vm_uuid == NULL || !run(&watch, deadline_us, &error)) {
        return ctl_fail(ctl, error);
    }
    return CTL_DONE;
}
