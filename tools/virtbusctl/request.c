/* See request.h. */
#include "tools/virtbusctl/request.h"

#include <stdio.h>
#include <string.h>

#include "common/base/text.h"
#include "common/base/uuid.h"
#include "tools/virtbusctl/describe.h"
#include "tools/virtbusctl/print.h"
#include "tools/virtbusctl/style.h"

enum { SENDER_MAX_BYTES = 255 };

VmCommand *request_new(Ctl *ctl, const char *vm_uuid)
{
    VmCommand *command = ARENA_MSG(ctl->arena, vm_command);
    command->vm_uuid = arena_strdup(ctl->arena, vm_uuid);
    return command;
}

static const char *sender_make(VbArena *arena)
{
    g_autofree char *raw = g_strdup_printf("%s@%s", g_get_user_name(), g_get_host_name());
    g_autofree char *safe = style_safe(raw);
    g_autofree char *cut = g_strndup(safe, SENDER_MAX_BYTES);
    g_autofree char *valid = g_utf8_make_valid(cut, -1);
    return arena_strdup(arena, strlen(valid) <= SENDER_MAX_BYTES ? valid : "virtbusctl");
}

static void show_progress(const Ctl *ctl, const VmEvent *event, gint64 begin_us)
{
    if (ctl->quiet || event->event_case == VM_EVENT__EVENT_REPLY) {
        return;
    }
    print_progress(g_get_monotonic_time() - begin_us, describe(ctl->arena, event));
}

/* Reads until the reply to `command` arrives. */
static const VmEvent *reply_await(const Ctl *ctl, VbClient *client, const VmCommand *command,
                                  gint64 begin_us, GError **error)
{
    gint64 deadline_us = begin_us + ctl->timeout_ms * G_TIME_SPAN_MILLISECOND;
    for (;;) {
        g_auto(ClientRecord) record = {0};
        ClientNext next = client_next(client, deadline_us, &record, error);
        if (next == CLIENT_ERROR) {
            return NULL;
        }
        if (next == CLIENT_TIMEOUT) {
            g_autofree char *waited = style_duration(ctl->timeout_ms);
            g_set_error(error, CTL_ERROR, CTL_NO_REPLY, "no reply came within %s", waited);
            return NULL;
        }
        if (next == CLIENT_ENDS || g_strcmp0(record.key, command->vm_uuid) != 0) {
            continue;
        }
        const VmEvent *event = (const VmEvent *)client_record_message(&record, ctl->arena);
        if (event == NULL) {
            continue;
        }
        if (event->event_case == VM_EVENT__EVENT_REPLY &&
            strcmp(event->reply->request_id, command->request_id) == 0) {
            return event;
        }
        show_progress(ctl, event, begin_us);
    }
}

static gboolean events_start(VbClient *client, const char *vm_uuid, GError **error)
{
    int partition = client_vm_partition(client, TOPIC_VM_EVENTS, vm_uuid, error);
    if (partition < 0) {
        return FALSE;
    }
    gint64 end = client_end(client, TOPIC_VM_EVENTS, NULL, partition, error);
    return end >= 0 && client_read(client, TOPIC_VM_EVENTS, NULL, partition, end, error) &&
           client_read_start(client, error);
}

/* The refusal's sentence follows by itself, so its code is enough here. */
static VbDescription last_line(VbArena *arena, const Reply *reply)
{
    const char *repeated = reply->repeated ? " (the answer of an earlier time)" : "";
    if (reply->error == NULL) {
        return (VbDescription){.text = arena_printf(arena, "done%s", repeated), .tone = TONE_GOOD};
    }
    const char *code = ENUM_CODE(error_code, reply->error->code);
    return (VbDescription){.text = arena_printf(arena, "%s%s", code, repeated), .tone = TONE_BAD};
}

/* Sends, and reads until the reply: shows nothing by itself. */
static const VmEvent *command_send(const Ctl *ctl, VbClient *client, VmCommand *command,
                                   gint64 begin_us, GError **error)
{
    command->sender = (char *)sender_make(ctl->arena);
    const VmEvent *event = NULL;
    if (client_produce(client, TOPIC_VM_COMMANDS, command->vm_uuid, command, error)) {
        event = reply_await(ctl, client, command, begin_us, error);
    }
    client_read_stop(client);
    return event;
}

const VmEvent *request_run(Ctl *ctl, VbClient *client, VmCommand *command, const char *what,
                           GError **error)
{
    if (ctl->request_id == NULL) {
        ctl->request_id = g_malloc(UUID_TEXT_BYTES);
        uuid_random(ctl->request_id);
    }
    command->request_id = ctl->request_id;
    if (!events_start(client, command->vm_uuid, error)) {
        return NULL;
    }
    gint64 begin_us = g_get_monotonic_time();
    ctl->vm_uuid = command->vm_uuid;
    if (!ctl->quiet) {
        VbDescription first = {
            .text = arena_printf(ctl->arena, "%s, request %s", what, command->request_id)};
        print_progress(0, first);
    }
    const VmEvent *event = command_send(ctl, client, command, begin_us, error);
    if (event != NULL && !ctl->quiet) {
        print_progress(g_get_monotonic_time() - begin_us, last_line(ctl->arena, event->reply));
    }
    return event;
}

const VmEvent *request_record(Ctl *ctl, VbClient *client, const char *vm_uuid,
                              CtlStatus *ret_status)
{
    char request_id[UUID_TEXT_BYTES];
    g_autoptr(GError) error = NULL;
    VmCommand *command = request_new(ctl, vm_uuid);
    /* An id of its own: --request-id names the request that follows. */
    uuid_random(request_id);
    command->request_id = request_id;
    command->command_case = VM_COMMAND__COMMAND_GET_VM;
    command->get_vm = ARENA_MSG(ctl->arena, get_vm);
    Ctl silent = *ctl;
    silent.quiet = TRUE;
    const VmEvent *event =
        events_start(client, vm_uuid, &error)
            ? command_send(&silent, client, command, g_get_monotonic_time(), &error)
            : NULL;
    if (event == NULL) {
        *ret_status = ctl_fail(ctl, error);
        return NULL;
    }
    if (event->reply->error != NULL) {
        *ret_status = request_finish(ctl, event, NULL);
        return NULL;
    }
    if (event->reply->vm == NULL || event->reply->vm->spec == NULL) {
        g_set_error(&error, CTL_ERROR, CTL_FAILED,
                    "VM %s has no configuration to start from: it is %s", vm_uuid,
                    ENUM_LABEL(vm_status, event->status));
        *ret_status = ctl_fail(ctl, error);
        return NULL;
    }
    return event;
}

CtlStatus request_finish(const Ctl *ctl, const VmEvent *event, const char *done)
{
    if (ctl->json) {
        print_json_message(event->reply);
    } else if (event->reply->error != NULL) {
        print_refusal(event->reply->error);
    } else if (done != NULL) {
        printf("%s\n", done);
    }
    return event->reply->error != NULL ? CTL_FAILED : CTL_DONE;
}

const char *request_outcome(const Ctl *ctl, const VmEvent *event)
{
    const char *status = ENUM_LABEL(vm_status, event->status);
    return *event->host_uuid != '\0' && event->status == VM_STATUS_RUNNING
               ? arena_printf(ctl->arena, "VM %s is %s on host %s", event->vm_uuid, status,
                              event->host_uuid)
               : arena_printf(ctl->arena, "VM %s is %s", event->vm_uuid, status);
}
