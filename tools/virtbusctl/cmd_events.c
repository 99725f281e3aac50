/* `events`: what happens to VMs, line by line. */
#include <stdio.h>
#include <string.h>

#include "common/base/json.h"
#include "tools/virtbusctl/args.h"
#include "tools/virtbusctl/events.h"
#include "tools/virtbusctl/model.h"
#include "tools/virtbusctl/print.h"
#include "tools/virtbusctl/style.h"

typedef struct {
    Ctl *ctl;
    gboolean follow;
    const char *vm_uuid; /* NULL: all. */
    JsonArray *list;     /* --json without --follow: one document at the end. */
} Events;

/* From where each partition is read: without --follow all there is, else what comes. */
static gboolean sources_add(const Events *events, VbClient *client, gboolean from_beginning,
                            GError **error)
{
    int n_partitions = client_partitions_needed(client, TOPIC_VM_EVENTS, error);
    int only = events->vm_uuid != NULL && n_partitions > 0
                   ? topic_partition(events->vm_uuid, strlen(events->vm_uuid), n_partitions)
                   : -1;
    for (int partition = 0; partition < n_partitions; partition++) {
        if (only >= 0 && only != partition) {
            continue;
        }
        gint64 from = -1;
        if (events->follow && !from_beginning &&
            (from = client_end(client, TOPIC_VM_EVENTS, NULL, partition, error)) < 0) {
            return FALSE;
        }
        if (!client_read(client, TOPIC_VM_EVENTS, NULL, partition, from, error)) {
            return FALSE;
        }
    }
    return n_partitions > 0 && client_read_start(client, error);
}

void events_show(const Ctl *ctl, gint64 time_ms, const VmEvent *event,
                 const VbDescription *description)
{
    if (ctl->json) {
        g_autofree char *line = message_to_json_text(event, FALSE);
        printf("%s\n", line);
    } else {
        g_autofree char *clock = style_clock(time_ms);
        g_autofree char *safe = style_safe(description->text);
        g_autofree char *text = style_coloured(print_colour(description->tone), safe);
        g_autofree char *uuid = style_safe(event->vm_uuid);
        printf("%s  %s  %-16s  %s\n", clock, uuid, description->kind, text);
    }
    fflush(stdout);
}

static void record_take(const Events *events, const ClientRecord *record)
{
    const VmEvent *event = (const VmEvent *)client_record_message(record, events->ctl->arena);
    if (event == NULL ||
        (events->vm_uuid != NULL && strcmp(event->vm_uuid, events->vm_uuid) != 0)) {
        return;
    }
    if (events->list != NULL) {
        json_array_add_element(events->list, message_to_json(event));
        return;
    }
    VbDescription description = describe(events->ctl->arena, event);
    events_show(events->ctl, record->time_ms, event, &description);
}

static gboolean events_read(const Events *events, VbClient *client, GError **error)
{
    gint64 deadline_us =
        events->follow ? G_MAXINT64
                       : g_get_monotonic_time() + events->ctl->timeout_ms * G_TIME_SPAN_MILLISECOND;
    for (;;) {
        g_auto(ClientRecord) record = {0};
        switch (client_next(client, deadline_us, &record, error)) {
        case CLIENT_RECORD:
            record_take(events, &record);
            if (events->follow) {
                arena_reset(events->ctl->arena);
            }
            break;
        case CLIENT_ENDS:
            if (!events->follow) {
                return TRUE;
            }
            break;
        case CLIENT_TIMEOUT:
            g_set_error_literal(error, CTL_ERROR, CTL_UNREACHABLE,
                                "the broker did not give all events in time; see --timeout");
            return FALSE;
        case CLIENT_ERROR:
            return FALSE;
        }
    }
}

CtlStatus cmd_events(Ctl *ctl)
{
    g_autofree char *vm = NULL;
    g_autofree char *vm_uuid = NULL;
    gboolean from_beginning = FALSE;
    Events events = {.ctl = ctl};
    g_autoptr(GError) error = NULL;
    g_autoptr(VbClient) client = NULL;
    const GOptionEntry flags[] = {
        {"follow", 'f', 0, G_OPTION_ARG_NONE, &events.follow,
         "Go on with each new one; with --json one document a line", NULL},
        {"vm", 0, 0, G_OPTION_ARG_STRING, &vm, "Only of this VM", "VM"},
        {"from-beginning", 0, 0, G_OPTION_ARG_NONE, &from_beginning,
         "With --follow: first those that are there. Without it they are all that is shown", NULL},
        {0},
    };
    if (!args_parse(ctl, flags, 0, NULL, &error) || (client = client_open(ctl, &error)) == NULL) {
        return ctl_fail(ctl, error);
    }
    if (vm != NULL) {
        /* The arena is reset while events are followed. */
        vm_uuid = g_strdup(model_find_vm(ctl, client, vm, &error));
        events.vm_uuid = vm_uuid;
    }
    g_autoptr(JsonArray) list = ctl->json && !events.follow ? json_array_new() : NULL;
    events.list = list;
    if (error != NULL || !sources_add(&events, client, from_beginning, &error) ||
        !events_read(&events, client, &error)) {
        return ctl_fail(ctl, error);
    }
    if (list != NULL) {
        print_json(json_node_init_array(json_node_alloc(), list));
    }
    return CTL_DONE;
}
