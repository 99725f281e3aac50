/* The hops of a start, on a host that takes no time: what is asked of it is answered at once, as
 * done. So every hop that is measured is a service's. */
#include <string.h>

#include "common/base/arena.h"
#include "tests/bench/bench_client.h"

typedef enum {
    HOP_PREPARE,
    HOP_CREATE,
    HOP_PREPARED,
    HOP_START,
    HOP_REPLY,
    HOP_COUNT,
} Hop;

static VbBenchSeries hops[HOP_COUNT] = {
    [HOP_PREPARE] = {.name = "StartVm -> PrepareVolumes"},
    [HOP_CREATE] = {.name = "PrepareVolumes -> CreateVolumes"},
    [HOP_PREPARED] = {.name = "VolumesCreated -> VolumesPrepared"},
    [HOP_START] = {.name = "VolumesPrepared -> StartDomain"},
    [HOP_REPLY] = {.name = "DomainStarted -> Reply"},
};
static VbBenchSeries whole = {.name = "a start's five hops in all"};
static gint64 *begun_us;

static void start_send(VbBenchClient *client, guint number)
{
    g_autofree char *vm_uuid = client_vm(client, number);
    char request_id[37];
    StartVm start = START_VM__INIT;
    start.host_uuid = (char *)client->host_uuid;
    VmCommand command = VM_COMMAND__INIT;
    command.vm_uuid = vm_uuid;
    command.request_id = client_request(client, number, request_id);
    command.command_case = VM_COMMAND__COMMAND_START_VM;
    command.start_vm = &start;
    begun_us[number] = client->at_us[number];
    client_send(client, TOPIC_VM_COMMANDS, vm_uuid, &command);
}

static void volumes_report(VbBenchClient *client, VbArena *arena, const HostCommand *command,
                           HostReport *report)
{
    VolumesCreated *created = ARENA_MSG(arena, volumes_created);
    for (size_t i = 0; i < command->create_volumes->n_volumes; i++) {
        VolumeResult *result = ARENA_MSG(arena, volume_result);
        result->volume = command->create_volumes->volumes[i];
        result->volume->status = VOLUME_STATUS_READY;
        result->volume->actual_size_bytes = result->volume->capacity_bytes;
        ARENA_APPEND(arena, created->n_results, created->results, result);
    }
    report->report_case = HOST_REPORT__REPORT_VOLUMES_CREATED;
    report->volumes_created = created;
    client_send(client, TOPIC_VOLUME_REPORTS, command->vm_uuid, report);
}

static void domain_report(VbBenchClient *client, VbArena *arena, const HostCommand *command,
                          HostReport *report)
{
    DomainStarted *started = ARENA_MSG(arena, domain_started);
    started->hardware = ARENA_MSG(arena, hardware);
    started->hardware->machine = arena_strdup(arena, "pc-q35-7.2");
    report->report_case = HOST_REPORT__REPORT_DOMAIN_STARTED;
    report->domain_started = started;
    client_send(client, TOPIC_VM_REPORTS, command->vm_uuid, report);
}

/* Answers, and says which hop ended with the command. The next one begins with the answer. */
static Hop host_answer(VbBenchClient *client, const rd_kafka_message_t *message)
{
    g_autoptr(VbArena) arena = arena_new();
    HostCommand *command =
        host_command__unpack(arena_allocator(arena, SIZE_MAX), message->len, message->payload);
    HostReport *report = ARENA_MSG(arena, host_report);
    if (command == NULL) {
        bench_die("what came for the host is no command");
    }
    report->vm_uuid = command->vm_uuid;
    report->host_uuid = (char *)client->host_uuid;
    report->operation_id = command->operation_id;
    report->epoch = command->epoch;
    report->time_ms = g_get_real_time() / 1000;
    if (command->command_case == HOST_COMMAND__COMMAND_CREATE_VOLUMES) {
        volumes_report(client, arena, command, report);
        return HOP_CREATE;
    }
    if (command->command_case != HOST_COMMAND__COMMAND_START_DOMAIN) {
        bench_die("the host was asked for something else than a start");
    }
    domain_report(client, arena, command, report);
    return HOP_START;
}

/* The other events tell what became of each volume. */
static gboolean is_prepared(const rd_kafka_message_t *message)
{
    VolumeEvent *event = volume_event__unpack(NULL, message->len, message->payload);
    gboolean is = event != NULL && event->event_case == VOLUME_EVENT__EVENT_VOLUMES_PREPARED;
    volume_event__free_unpacked(event, NULL);
    return is;
}

static void start_take(VbBenchClient *client, const rd_kafka_message_t *message, gint64 now_us)
{
    guint number;
    Hop hop;
    gint64 next_us = now_us;
    if (!client_number(client, message, &number)) {
        return;
    }
    if (client_is_topic(client, message, TOPIC_VOLUME_COMMANDS)) {
        hop = HOP_PREPARE;
    } else if (client_is_topic(client, message, TOPIC_VOLUME_EVENTS)) {
        if (!is_prepared(message)) {
            return;
        }
        hop = HOP_PREPARED;
    } else if (!client_is_topic(client, message, TOPIC_VM_EVENTS)) {
        next_us = g_get_monotonic_time();
        hop = host_answer(client, message);
    } else if (client_reply(client, message)) {
        hop = HOP_REPLY;
        bench_add(&whole, now_us - begun_us[number]);
        client->n_done++;
    } else {
        return;
    }
    bench_add(&hops[hop], now_us - client->at_us[number]);
    client->at_us[number] = next_us;
}

void client_starts(VbBenchClient *client)
{
    begun_us = g_new0(gint64, client->n);
    client_run(client, start_send, start_take);
    for (int hop = 0; hop < HOP_COUNT; hop++) {
        bench_print(&hops[hop]);
    }
    bench_print(&whole);
    g_free(begun_us);
}
