/* Measures from outside, as a control plane sees it, in this process's monotonic clock. A hop is
 * the time between two records: from producing the first (or reading it, committed) to reading the
 * second, committed.
 *
 *   bench-client BOOTSTRAP bare PREFIX N RATE         two bare hops in a row: vm.commands ->
 *                                                     volume.commands -> vm.events of PREFIX
 *   bench-client BOOTSTRAP requests PREFIX N RATE     CreateVm, then GetVm of the same VMs
 *   bench-client BOOTSTRAP starts PREFIX N RATE HOST  StartVm on a host that answers at once: this
 *                                                     program plays it, so every hop is a service's
 *   bench-client BOOTSTRAP queue PREFIX N KIND PID    N queued records (KIND bare, get or create)
 *                                                     while process PID is stopped, then on
 *
 * RATE: records a second. It leaves its VMs behind. */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/message.h"
#include "tests/bench/bench_client.h"

enum { PAYLOAD_BYTES = 137, PATIENCE_MS = 30000 };

/* ---- VMs by number: the tag tells one run's from another's */

char *client_vm(const VbBenchClient *client, guint number)
{
    return g_strdup_printf("%08x-0000-4000-8000-%012x", client->tag, number);
}

gboolean client_number(const VbBenchClient *client, const rd_kafka_message_t *message,
                       guint *ret_number)
{
    char text[9] = "";
    if (message->key_len != 36) {
        return FALSE;
    }
    memcpy(text, message->key, 8);
    if (strtoul(text, NULL, 16) != client->tag) {
        return FALSE;
    }
    memcpy(text, (const char *)message->key + 28, 8);
    *ret_number = (guint)strtoul(text, NULL, 16);
    return *ret_number < client->n;
}

void client_send(VbBenchClient *client, VbTopic topic, const char *vm_uuid, const void *message)
{
    g_autofree char *name = topic_name(client->prefix, topic, NULL);
    g_autoptr(GBytes) bytes = message_pack(message);
    gsize size_bytes = 0;
    const void *data = g_bytes_get_data(bytes, &size_bytes);
    int partition = topic_partition(vm_uuid, strlen(vm_uuid), client->n_partitions);
    bench_produce(client->producer, name, partition, vm_uuid, data, size_bytes);
}

/* ---- The pace */

gboolean client_is_topic(const VbBenchClient *client, const rd_kafka_message_t *message,
                         VbTopic topic)
{
    g_autofree char *name = topic_name(client->prefix, topic, NULL);
    return strcmp(rd_kafka_topic_name(message->rkt), name) == 0;
}

void client_run(VbBenchClient *client, VbBenchSend send, VbBenchTake take)
{
    gint64 begin_us = g_get_monotonic_time();
    gint64 last_us = begin_us;
    guint n_sent = 0;
    client->n_done = 0;
    while (client->n_done < client->n) {
        gint64 now_us = g_get_monotonic_time();
        gint64 next_us = begin_us + (gint64)n_sent * G_USEC_PER_SEC / client->rate;
        if (n_sent < client->n && now_us >= next_us) {
            client->at_us[n_sent] = g_get_monotonic_time();
            send(client, n_sent++);
            continue;
        }
        int wait_ms = n_sent < client->n ? (int)((next_us - now_us + 999) / 1000) : 100;
        rd_kafka_poll(client->producer, 0);
        rd_kafka_message_t *message = bench_reader_next(&client->reader, wait_ms);
        if (message != NULL) {
            last_us = g_get_monotonic_time();
            take(client, message, last_us);
            rd_kafka_message_destroy(message);
        } else if (n_sent == client->n && g_get_monotonic_time() - last_us > PATIENCE_MS * 1000) {
            bench_die("only %u of %u were done, and nothing more comes", client->n_done, client->n);
        }
    }
}

/* ---- Bare hops */

static VbBenchSeries bare_hops[] = {{.name = "bare hop"},
                                    {.name = "bare hop, the second in a row"}};

static void bare_send(VbBenchClient *client, guint number)
{
    char payload[PAYLOAD_BYTES] = "";
    g_autofree char *vm_uuid = client_vm(client, number);
    g_autofree char *topic = topic_name(client->prefix, TOPIC_VM_COMMANDS, NULL);
    memcpy(payload, &number, sizeof(number));
    bench_produce(client->producer, topic, (int)number % client->n_partitions, vm_uuid, payload,
                  sizeof(payload));
}

static void bare_take(VbBenchClient *client, const rd_kafka_message_t *message, gint64 now_us)
{
    guint number = 0;
    memcpy(&number, message->payload, sizeof(number));
    gboolean is_second = client_is_topic(client, message, TOPIC_VM_EVENTS);
    bench_add(&bare_hops[is_second], now_us - client->at_us[number]);
    client->at_us[number] = now_us;
    client->n_done += is_second;
}

static void bare(VbBenchClient *client)
{
    client_run(client, bare_send, bare_take);
    bench_print(&bare_hops[0]);
    bench_print(&bare_hops[1]);
}

/* ---- Requests with a reply */

static VbBenchSeries request_series;

void client_create(VbBenchClient *client, guint number)
{
    g_autofree char *vm_uuid = client_vm(client, number);
    char request_id[37];
    char name[] = "bench";
    char storage_name[] = "local";
    StorageRef storage = STORAGE_REF__INIT;
    storage.name = storage_name;
    storage.type = STORAGE_TYPE_LOCAL;
    DiskSpec disk = DISK_SPEC__INIT;
    disk.type = VOLUME_TYPE_ROOT;
    disk.size_bytes = 1 << 30;
    DiskSpec *disks[] = {&disk};
    VmSpec spec = VM_SPEC__INIT;
    spec.name = name;
    spec.vcpus = 1;
    spec.memory_bytes = 64 << 20;
    spec.storage = &storage;
    spec.disks = disks;
    spec.n_disks = 1;
    CreateVm create = CREATE_VM__INIT;
    create.spec = &spec;
    VmCommand command = VM_COMMAND__INIT;
    command.vm_uuid = vm_uuid;
    command.request_id = client_request(client, number, request_id);
    command.command_case = VM_COMMAND__COMMAND_CREATE_VM;
    command.create_vm = &create;
    client_send(client, TOPIC_VM_COMMANDS, vm_uuid, &command);
}

char *client_request(VbBenchClient *client, guint number, char ret_text[37])
{
    g_snprintf(ret_text, 37, "%08x-%04x-4000-9000-%012x", client->tag, client->round, number);
    return ret_text;
}

static void get_send(VbBenchClient *client, guint number)
{
    g_autofree char *vm_uuid = client_vm(client, number % client->n_vms);
    char request_id[37];
    GetVm get = GET_VM__INIT;
    VmCommand command = VM_COMMAND__INIT;
    command.vm_uuid = vm_uuid;
    command.request_id = client_request(client, number, request_id);
    command.command_case = VM_COMMAND__COMMAND_GET_VM;
    command.get_vm = &get;
    client_send(client, TOPIC_VM_COMMANDS, vm_uuid, &command);
}

gboolean client_reply(VbBenchClient *client, const rd_kafka_message_t *message)
{
    guint number;
    if (!client_is_topic(client, message, TOPIC_VM_EVENTS) ||
        !client_number(client, message, &number)) {
        return FALSE;
    }
    VmEvent *event = vm_event__unpack(NULL, message->len, message->payload);
    if (event == NULL) {
        bench_die("an event of VM %u is none", number);
    }
    gboolean is_reply = event->event_case == VM_EVENT__EVENT_REPLY;
    if (is_reply && event->reply->error != NULL) {
        bench_die("a request failed: %s", event->reply->error->message);
    }
    vm_event__free_unpacked(event, NULL);
    return is_reply;
}

static void request_take(VbBenchClient *client, const rd_kafka_message_t *message, gint64 now_us)
{
    guint number = 0;
    if (client_reply(client, message) && client_number(client, message, &number)) {
        bench_add(&request_series, now_us - client->at_us[number]);
        client->n_done++;
    }
}

static void requests(VbBenchClient *client)
{
    request_series.name = "CreateVm -> Reply";
    client_run(client, client_create, request_take);
    bench_print(&request_series);
    client->round++;
    request_series.name = "GetVm -> Reply";
    client_run(client, get_send, request_take);
    bench_print(&request_series);
}

/* ---- Throughput */

static gint64 queue_first_us;
static gint64 queue_last_us;

static void queue_take(VbBenchClient *client, const rd_kafka_message_t *message, gint64 now_us)
{
    gboolean is_bare = client->send == bare_send;
    if (is_bare ? client_is_topic(client, message, TOPIC_VOLUME_COMMANDS)
                : client_reply(client, message)) {
        queue_last_us = now_us;
        client->n_done++;
    }
}

static void queue_send(VbBenchClient *client, guint number)
{
    client->send(client, number);
    if (number + 1 == client->n) {
        rd_kafka_flush(client->producer, PATIENCE_MS);
        queue_first_us = g_get_monotonic_time();
        kill(client->pid, SIGCONT);
    }
}

static void queue(VbBenchClient *client, const char *kind)
{
    client->rate = G_USEC_PER_SEC;
    client->n_vms = MIN(client->n, 200);
    client->send = strcmp(kind, "bare") == 0  ? bare_send
                   : strcmp(kind, "get") == 0 ? get_send
                                              : client_create;
    if (client->send == get_send) { /* Of VMs that there are. */
        guint n = client->n;
        client->n = client->n_vms;
        client_run(client, client_create, request_take);
        client->n = n;
        client->round++;
    }
    kill(client->pid, SIGSTOP);
    client_run(client, queue_send, queue_take);
    printf("throughput\t%s\t%u\t%.0f\n", kind, client->n,
           client->n * 1e6 / (double)(queue_last_us - queue_first_us));
}

/* ---- */

static void client_open(VbBenchClient *client, const char *host_uuid)
{
    static const VbTopic topics[] = {TOPIC_VM_EVENTS, TOPIC_VOLUME_COMMANDS, TOPIC_VOLUME_EVENTS};
    g_autoptr(GPtrArray) read = g_ptr_array_new_with_free_func(g_free);
    for (size_t i = 0; i < G_N_ELEMENTS(topics); i++) {
        g_ptr_array_add(read, topic_name(client->prefix, topics[i], NULL));
    }
    if (host_uuid != NULL) {
        g_ptr_array_add(read, topic_name(client->prefix, TOPIC_HOST_COMMANDS, host_uuid));
    }
    g_ptr_array_add(read, NULL);
    g_autofree char *commands = topic_name(client->prefix, TOPIC_VM_COMMANDS, NULL);
    g_autofree char *vm_reports = topic_name(client->prefix, TOPIC_VM_REPORTS, NULL);
    g_autofree char *volume_reports = topic_name(client->prefix, TOPIC_VOLUME_REPORTS, NULL);
    const char *const written[] = {commands, vm_reports, volume_reports, NULL};
    client->tag = g_random_int();
    client->at_us = g_new0(gint64, client->n);
    client->producer = bench_producer_new(client->bootstrap, written);
    client->n_partitions = bench_partitions(client->producer, commands);
    bench_reader_open(&client->reader, client->bootstrap, (const char *const *)read->pdata);
}

int main(int argc, char **argv)
{
    if (argc < 6) {
        bench_die("usage: bench-client BOOTSTRAP bare|requests|starts|queue PREFIX N ...");
    }
    const char *what = argv[2];
    VbBenchClient client = {.bootstrap = argv[1],
                            .prefix = argv[3],
                            .n = (guint)atoi(argv[4]),
                            .n_vms = (guint)atoi(argv[4]),
                            .rate = atoi(argv[5])};
    const char *last = argc > 6 ? argv[6] : NULL;
    client_open(&client, strcmp(what, "starts") == 0 ? last : NULL);
    if (strcmp(what, "bare") == 0) {
        bare(&client);
    } else if (strcmp(what, "requests") == 0) {
        requests(&client);
    } else if (strcmp(what, "starts") == 0 && last != NULL) {
        client.host_uuid = last;
        client_run(&client, client_create, request_take);
        client.round++;
        client_starts(&client);
    } else if (strcmp(what, "queue") == 0 && last != NULL) {
        client.pid = atoi(last);
        queue(&client, argv[5]);
    } else {
        bench_die("there is no measurement \"%s\"", what);
    }
    return EXIT_SUCCESS;
}
