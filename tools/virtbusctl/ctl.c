/* See ctl.h. */
#include "tools/virtbusctl/ctl.h"

#include "tools/virtbusctl/print.h"

#include <stdio.h>

G_DEFINE_QUARK(virtbusctl - error, ctl_error)

static void print_json_failure(const Ctl *ctl, CtlStatus status, const GError *error)
{
    g_autofree char *message = g_utf8_make_valid(error->message, -1);
    JsonObject *failure = json_object_new();
    json_object_set_int_member(failure, "exit_status", (gint64)status);
    json_object_set_string_member(failure, "message", message);
    if (ctl->vm_uuid != NULL) {
        json_object_set_string_member(failure, "vm_uuid", ctl->vm_uuid);
        json_object_set_string_member(failure, "request_id", ctl->request_id);
    }
    print_json(json_node_init_object(json_node_alloc(), failure));
    json_object_unref(failure);
}

CtlStatus ctl_fail(const Ctl *ctl, const GError *error)
{
    if (error == NULL) {
        return CTL_DONE; /* The help was printed. */
    }
    CtlStatus status = error->domain == CTL_ERROR ? (CtlStatus)error->code : CTL_USAGE;
    print_failure(error->message);
    if (status == CTL_NO_REPLY && ctl->vm_uuid != NULL) {
        fprintf(stderr,
                "  The request may be done or not. Ask again safely, with the same arguments and\n"
                "  --request-id %s\n",
                ctl->request_id);
    }
    if (ctl->json) {
        print_json_failure(ctl, status, error);
    }
    return status;
}
