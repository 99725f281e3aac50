/* Control planes: each stream sends random commands about random VMs at a pace, mostly such as make
 * sense for what the VM's last status was, some that never do, some twice, some once more later, and
 * a few records that are no commands at all. It waits for nothing; soak_reader.c hears the replies.
 *
 * An expunged VM's uuid is taken for good: its slot gets a new one. */
#include "tests/soak/soak.h"

#include <string.h>

#include "common/base/message.h"

enum {
    RECENT_MAX = 6, /* virtbus remembers 16 requests of a VM: a repeat comes before that many. */
    PAUSE_MAX_MS = 250,
    MIB = 1024 * 1024,
    ASK_S = 90,
    NOBODY_IN = 40, /* One start in so many names a host that is not there. */
};

typedef struct {
    Soak *soak;
    GRand *rand;
    rd_kafka_t *producer;
    char *topic;
    VbArena *arena;
    gboolean is_orderly; /* It sends only what must succeed. */
} Stream;

/* What the delivery report has to know. */
typedef struct {
    Soak *soak;
    SoakRequest *request; /* NULL: a record that is no command. */
    char *sha256;
} Sent;

/* One time in n. */
static gboolean by_chance(Stream *stream, guint n)
{
    return !stream->is_orderly && soak_pick(stream->rand, n) == 0;
}

/* ---- What was sent */

static void on_delivered(rd_kafka_t *producer, const rd_kafka_message_t *message, void *opaque)
{
    Sent *sent = message->_private;
    SoakTable *table = &sent->soak->table;
    gboolean is_acked = message->err == RD_KAFKA_RESP_ERR_NO_ERROR;
    (void)producer;
    (void)opaque;
    g_mutex_lock(&table->lock);
    table->n_acked += is_acked;
    table->n_failed += !is_acked;
    if (sent->request != NULL) {
        sent->request->n_acked += is_acked;
        sent->request->n_open--;
    }
    g_mutex_unlock(&table->lock);
    soak_line(&sent->soak->requests_file,
              "{\"time_ms\": %" G_GINT64_FORMAT
              ", \"acked\": %s, \"partition\": %d, \"offset\": %" G_GINT64_FORMAT
              ", \"request\": \"%s\", \"vm\": \"%s\", \"what\": \"%s\", \"sha256\": \"%s\"}",
              soak_now_ms(), is_acked ? "true" : "false", (int)message->partition, message->offset,
              sent->request != NULL ? sent->request->id : "",
              sent->request != NULL ? sent->request->vm : "",
              sent->request != NULL ? sent->request->what : "garbage", sent->sha256);
    g_free(sent->sha256);
    g_free(sent);
}

static void produce(Stream *stream, SoakRequest *request, const char *key, GBytes *value)
{
    Sent *sent = g_new0(Sent, 1);
    gsize size_bytes = 0;
    const void *bytes = g_bytes_get_data(value, &size_bytes);
    sent->soak = stream->soak;
    sent->request = request;
    sent->sha256 = g_compute_checksum_for_bytes(G_CHECKSUM_SHA256, value);
    rd_kafka_resp_err_t code = rd_kafka_producev(
        stream->producer, RD_KAFKA_V_TOPIC(stream->topic),
        RD_KAFKA_V_PARTITION(topic_partition(key, strlen(key), SOAK_PARTITIONS)),
        RD_KAFKA_V_MSGFLAGS(RD_KAFKA_MSG_F_COPY), RD_KAFKA_V_KEY(key, strlen(key)),
        RD_KAFKA_V_VALUE((void *)bytes, size_bytes), RD_KAFKA_V_OPAQUE(sent), RD_KAFKA_V_END);
    if (code != RD_KAFKA_RESP_ERR_NO_ERROR) {
        soak_die("a command cannot be sent: %s", rd_kafka_err2str(code));
    }
    stream->soak->table.n_sent++;
    if (request != NULL) {
        request->n_open++;
    }
}

/* ---- Configurations */

static DiskSpec *disk_new(Stream *stream, VolumeType type, guint index)
{
    DiskSpec *disk = ARENA_MSG(stream->arena, disk_spec);
    disk->type = type;
    disk->index = index;
    disk->size_bytes = MIB;
    disk->format = type == VOLUME_TYPE_DATA ? VOLUME_FORMAT_QCOW2 : VOLUME_FORMAT_RAW;
    return disk;
}

static NicSpec *nic_new(Stream *stream, guint index, NicType type)
{
    NicSpec *nic = ARENA_MSG(stream->arena, nic_spec);
    nic->index = index;
    nic->type = type;
    nic->model = NIC_MODEL_VIRTIO;
    return nic;
}

static VmSpec *spec_new(Stream *stream, SoakFlavour flavour)
{
    VbArena *arena = stream->arena;
    VmSpec *spec = ARENA_MSG(arena, vm_spec);
    gboolean shared = flavour == FLAVOUR_SHARED;
    gboolean is_uefi = flavour == FLAVOUR_UEFI || flavour == FLAVOUR_TPM || shared;
    spec->name = arena_printf(arena, "soak %u", soak_pick(stream->rand, 1000));
    spec->vcpus = 1;
    spec->memory_bytes = 16 * MIB;
    spec->platform = PLATFORM_LINUX;
    spec->firmware = is_uefi ? FIRMWARE_UEFI : FIRMWARE_LEGACY_BIOS;
    spec->storage = ARENA_MSG(arena, storage_ref);
    spec->storage->name = arena_strdup(arena, shared ? "shared" : "local");
    spec->storage->type = shared ? STORAGE_TYPE_SHARED_MOUNT_POINT : STORAGE_TYPE_LOCAL;
    if (flavour != FLAVOUR_BARE) {
        ARENA_APPEND(arena, spec->n_disks, spec->disks, disk_new(stream, VOLUME_TYPE_ROOT, 0));
    }
    if (flavour == FLAVOUR_DISKS) {
        ARENA_APPEND(arena, spec->n_disks, spec->disks, disk_new(stream, VOLUME_TYPE_DATA, 1));
    }
    if (flavour == FLAVOUR_TPM) {
        spec->tpm = ARENA_MSG(arena, tpm_spec);
    }
    if (flavour == FLAVOUR_VHOST) {
        ARENA_APPEND(arena, spec->n_nics, spec->nics, nic_new(stream, 0, NIC_TYPE_VHOST_USER));
    } else if (soak_pick(stream->rand, 2) == 0) {
        ARENA_APPEND(arena, spec->n_nics, spec->nics, nic_new(stream, 0, NIC_TYPE_USER));
    }
    if (by_chance(stream, 30)) {
        spec->memory_bytes = 12345; /* Refused. */
    }
    return spec;
}

/* ---- Commands */

#define COMMANDS(_)                                                                                \
    _(CREATE_VM, "CreateVm")                                                                       \
    _(UPDATE_VM, "UpdateVm")                                                                       \
    _(START_VM, "StartVm")                                                                         \
    _(STOP_VM, "StopVm")                                                                           \
    _(REBOOT_VM, "RebootVm")                                                                       \
    _(DESTROY_VM, "DestroyVm")                                                                     \
    _(RECOVER_VM, "RecoverVm")                                                                     \
    _(EXPUNGE_VM, "ExpungeVm")                                                                     \
    _(GET_VM, "GetVm")                                                                             \
    _(LIST_VOLUMES, "ListVolumes")                                                                 \
    _(RESET_NVRAM, "ResetNvram")                                                                   \
    _(ADOPT_VOLUME, "AdoptVolume")                                                                 \
    _(RELEASE_QUARANTINE, "ReleaseQuarantine")                                                     \
    _(ATTACH_NIC, "AttachNic")                                                                     \
    _(DETACH_NIC, "DetachNic")                                                                     \
    _(MIGRATE_VM, "MigrateVm")

static const struct {
    VmCommand__CommandCase kind;
    const char *name;
} commands[] = {
#define COMMAND(kind, name) {VM_COMMAND__COMMAND_##kind, name},
    COMMANDS(COMMAND)
#undef COMMAND
};

static const char *command_name(VmCommand__CommandCase kind)
{
    for (size_t i = 0; i < G_N_ELEMENTS(commands); i++) {
        if (commands[i].kind == kind) {
            return commands[i].name;
        }
    }
    g_assert_not_reached();
}

/* Milliseconds; mostly enough for the real thing, sometimes not. */
static gint64 timeout_ms(Stream *stream, VmCommand__CommandCase kind)
{
    gint64 ms = stream->is_orderly      ? 60000
                : by_chance(stream, 20) ? 50 /* Refused. */
                : by_chance(stream, 20) ? 6000
                                        : g_rand_int_range(stream->rand, 12000, 25000);
    return kind == VM_COMMAND__COMMAND_REBOOT_VM ? 2 * ms : ms;
}

static char *host_choose(Stream *stream, const SoakSlot *slot)
{
    Soak *soak = stream->soak;
    if (by_chance(stream, NOBODY_IN)) {
        char *nobody = arena_alloc(stream->arena, UUID_TEXT_BYTES);
        uuid_random(nobody);
        return nobody;
    }
    guint other = by_chance(stream, slot->flavour == FLAVOUR_BARE ? 2 : 8) ? 1 : 0;
    return arena_strdup(stream->arena, soak->hosts[(slot->host + other) % SOAK_HOSTS].uuid);
}

static StopMode mode_choose(Stream *stream)
{
    static const StopMode modes[] = {STOP_MODE_FORCED, STOP_MODE_FORCED, STOP_MODE_FORCED,
                                     STOP_MODE_GRACEFUL, STOP_MODE_GRACEFUL_THEN_FORCED};
    return stream->is_orderly ? STOP_MODE_FORCED
                              : modes[soak_pick(stream->rand, G_N_ELEMENTS(modes))];
}

/* The members that the command's kind has. */
static void command_fill(Stream *stream, const SoakSlot *slot, VmCommand *command)
{
    VbArena *arena = stream->arena;
    switch (command->command_case) {
    case VM_COMMAND__COMMAND_CREATE_VM:
        command->create_vm = ARENA_MSG(arena, create_vm);
        command->create_vm->spec = spec_new(stream, slot->flavour);
        break;
    case VM_COMMAND__COMMAND_UPDATE_VM:
        command->update_vm = ARENA_MSG(arena, update_vm);
        command->update_vm->spec = spec_new(stream, slot->flavour);
        break;
    case VM_COMMAND__COMMAND_START_VM:
        command->start_vm = ARENA_MSG(arena, start_vm);
        command->start_vm->host_uuid = host_choose(stream, slot);
        break;
    case VM_COMMAND__COMMAND_STOP_VM:
        command->stop_vm = ARENA_MSG(arena, stop_vm);
        command->stop_vm->mode = mode_choose(stream);
        break;
    case VM_COMMAND__COMMAND_REBOOT_VM:
        command->reboot_vm = ARENA_MSG(arena, reboot_vm);
        command->reboot_vm->mode = STOP_MODE_FORCED;
        break;
    case VM_COMMAND__COMMAND_ADOPT_VOLUME:
        command->adopt_volume = ARENA_MSG(arena, adopt_volume);
        command->adopt_volume->volume_uuid = arena_strdup(arena, slot->uuid);
        break;
    case VM_COMMAND__COMMAND_ATTACH_NIC:
        command->attach_nic = ARENA_MSG(arena, attach_nic);
        command->attach_nic->nic = nic_new(stream, 1 + soak_pick(stream->rand, 2), NIC_TYPE_USER);
        break;
    case VM_COMMAND__COMMAND_DETACH_NIC:
        command->detach_nic = ARENA_MSG(arena, detach_nic);
        command->detach_nic->index = 1 + soak_pick(stream->rand, 2);
        break;
    case VM_COMMAND__COMMAND_MIGRATE_VM:
        command->migrate_vm = ARENA_MSG(arena, migrate_vm);
        command->migrate_vm->host_uuid = host_choose(stream, slot);
        break;
    default:
        /* The others have no members: any message of no fields does. */
        command->get_vm = ARENA_MSG(arena, get_vm);
        break;
    }
}

static SoakRequest *command_send(Stream *stream, SoakSlot *slot, VmCommand__CommandCase kind)
{
    SoakTable *table = &stream->soak->table;
    SoakRequest *request = g_new0(SoakRequest, 1);
    VmCommand *command = ARENA_MSG(stream->arena, vm_command);
    uuid_random(request->id);
    g_strlcpy(request->vm, slot->uuid, sizeof(request->vm));
    request->what = command_name(kind);
    command->vm_uuid = slot->uuid;
    command->request_id = request->id;
    command->sender = arena_strdup(stream->arena, "soak");
    command->timeout_ms = timeout_ms(stream, kind);
    command->command_case = kind;
    command_fill(stream, slot, command);
    request->packed = message_pack(command);
    g_hash_table_insert(table->requests, request->id, request);
    g_ptr_array_add(slot->recent, request);
    if (slot->recent->len > RECENT_MAX) {
        g_ptr_array_remove_index(slot->recent, 0);
    }
    slot->is_created |= kind == VM_COMMAND__COMMAND_CREATE_VM;
    produce(stream, request, slot->uuid, request->packed);
    if (by_chance(stream, 30)) {
        produce(stream, request, slot->uuid, request->packed);
    }
    return request;
}

/* ---- The choice */

typedef struct {
    VmCommand__CommandCase kind;
    guint weight;
} Chance;

#define CHANCE(kind, weight)                                                                       \
    {                                                                                              \
        VM_COMMAND__COMMAND_##kind, weight                                                         \
    }

static const Chance when_none[] = {CHANCE(CREATE_VM, 20), CHANCE(GET_VM, 1), CHANCE(START_VM, 1)};
static const Chance when_off[] = {CHANCE(START_VM, 24),   CHANCE(UPDATE_VM, 3),
                                  CHANCE(RESET_NVRAM, 2), CHANCE(DESTROY_VM, 3),
                                  CHANCE(GET_VM, 2),      CHANCE(LIST_VOLUMES, 2)};
static const Chance when_running[] = {
    CHANCE(STOP_VM, 14),   CHANCE(REBOOT_VM, 6), CHANCE(ATTACH_NIC, 2),  CHANCE(DETACH_NIC, 1),
    CHANCE(DESTROY_VM, 2), CHANCE(GET_VM, 2),    CHANCE(LIST_VOLUMES, 2)};
static const Chance when_destroyed[] = {CHANCE(RECOVER_VM, 8), CHANCE(EXPUNGE_VM, 8),
                                        CHANCE(START_VM, 1), CHANCE(LIST_VOLUMES, 1)};
/* An end of what has just begun is rare, or nothing would ever run. */
static const Chance when_busy[] = {CHANCE(GET_VM, 40), CHANCE(LIST_VOLUMES, 30),
                                   CHANCE(START_VM, 1), CHANCE(STOP_VM, 1), CHANCE(DESTROY_VM, 1)};

static VmCommand__CommandCase draw(Stream *stream, const Chance *chances, size_t n)
{
    guint sum = 0;
    for (size_t i = 0; i < n; i++) {
        sum += chances[i].weight;
    }
    guint at = soak_pick(stream->rand, sum);
    for (size_t i = 0; i < n; i++) {
        if (at < chances[i].weight) {
            return chances[i].kind;
        }
        at -= chances[i].weight;
    }
    g_assert_not_reached();
}

#define DRAW(stream, chances) draw((stream), (chances), G_N_ELEMENTS(chances))

static VmCommand__CommandCase command_choose(Stream *stream, const SoakSlot *slot)
{
    const SoakVm *vm = g_hash_table_lookup(stream->soak->table.vms, slot->uuid);
    if (soak_pick(stream->rand, 8) == 0 && slot->is_created) {
        return commands[soak_pick(stream->rand, G_N_ELEMENTS(commands))].kind;
    }
    const SoakRequest *last =
        slot->recent->len > 0 ? g_ptr_array_index(slot->recent, slot->recent->len - 1) : NULL;
    if (last != NULL && last->n_first == 0 && soak_pick(stream->rand, 8) != 0) {
        return DRAW(stream, when_busy);
    }
    switch (vm != NULL ? vm->status : VM_STATUS_UNSPECIFIED) {
    case VM_STATUS_CREATED:
    case VM_STATUS_STOPPED:
    case VM_STATUS_CRASHED:
        return DRAW(stream, when_off);
    case VM_STATUS_RUNNING:
    case VM_STATUS_PAUSED:
        return DRAW(stream, when_running);
    case VM_STATUS_DESTROYED:
    case VM_STATUS_EXPUNGED:
        return DRAW(stream, when_destroyed);
    case VM_STATUS_UNSPECIFIED:
        return DRAW(stream, when_none);
    default:
        return DRAW(stream, when_busy);
    }
}

static void slot_renew(SoakSlot *slot, GRand *rand)
{
    uuid_random(slot->uuid);
    static const SoakFlavour flavours[] = {
        FLAVOUR_UEFI, FLAVOUR_UEFI,  FLAVOUR_UEFI, FLAVOUR_UEFI,   FLAVOUR_BARE,
        FLAVOUR_BARE, FLAVOUR_DISKS, FLAVOUR_TPM,  FLAVOUR_SHARED, FLAVOUR_VHOST};
    slot->flavour = flavours[soak_pick(rand, G_N_ELEMENTS(flavours))];
    slot->host = soak_pick(rand, SOAK_HOSTS);
    slot->is_created = FALSE;
    g_ptr_array_set_size(slot->recent, 0);
}

void soak_slots_new(Soak *soak)
{
    g_autoptr(GRand) rand = g_rand_new_with_seed((guint32)soak->seed);
    soak->table.requests = g_hash_table_new(g_str_hash, g_str_equal);
    soak->table.reported = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL);
    soak->table.orders = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, g_free);
    soak->table.vms = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, g_free);
    for (int i = 0; i < SOAK_SLOTS; i++) {
        soak->table.slots[i].recent = g_ptr_array_new();
        slot_renew(&soak->table.slots[i], rand);
    }
}

static void garbage_send(Stream *stream, const SoakSlot *slot)
{
    guint8 bytes[24];
    for (size_t i = 0; i < sizeof(bytes); i++) {
        bytes[i] = (guint8)soak_pick(stream->rand, 256);
    }
    bytes[0] = 0xff; /* No field begins so. */
    g_autoptr(GBytes) value = g_bytes_new(bytes, sizeof(bytes));
    produce(stream, NULL, slot->uuid, value);
}

static void turn(Stream *stream)
{
    SoakTable *table = &stream->soak->table;
    g_mutex_lock(&table->lock);
    SoakSlot *slot = &table->slots[soak_pick(stream->rand, SOAK_SLOTS)];
    const SoakVm *vm = g_hash_table_lookup(table->vms, slot->uuid);
    guint n = soak_pick(stream->rand, 100);
    if (vm != NULL && vm->status == VM_STATUS_EXPUNGED && n < 60) {
        slot_renew(slot, stream->rand);
    } else if (n < 8 && slot->recent->len > 0) {
        SoakRequest *again =
            g_ptr_array_index(slot->recent, soak_pick(stream->rand, slot->recent->len));
        produce(stream, again, again->vm, again->packed);
    } else if (n < 10) {
        garbage_send(stream, slot);
    } else {
        command_send(stream, slot, command_choose(stream, slot));
    }
    g_mutex_unlock(&table->lock);
    arena_reset(stream->arena);
}

static void stream_open(Stream *stream, Soak *soak, guint32 own)
{
    g_autoptr(GError) error = NULL;
    VbKafkaSettings settings = {.bootstrap = soak->bootstrap, .client_id = "soak"};
    *stream = (Stream){.soak = soak,
                       .rand = g_rand_new_with_seed((guint32)soak->seed * 1000003u + own),
                       .topic = topic_name(soak->prefix, TOPIC_VM_COMMANDS, NULL),
                       .arena = arena_new()};
    stream->producer = kafka_producer_new(&settings, on_delivered, NULL, &error);
    if (stream->producer == NULL) {
        soak_die("%s", error->message);
    }
}

/* Until the fate of each record is known: the broker is there, or comes back. */
static void stream_close(Stream *stream)
{
    while (rd_kafka_outq_len(stream->producer) > 0) {
        rd_kafka_poll(stream->producer, 100);
    }
    rd_kafka_destroy(stream->producer);
    arena_free(stream->arena);
    g_rand_free(stream->rand);
    g_free(stream->topic);
}

gpointer soak_stream(gpointer data)
{
    static gint number;
    Soak *soak = data;
    Stream stream;
    stream_open(&stream, soak, (guint32)g_atomic_int_add(&number, 1) + 1);
    while (g_atomic_int_get(&soak->streams_stop) == 0) {
        turn(&stream);
        gint64 until_us =
            g_get_monotonic_time() + (gint64)g_rand_int_range(stream.rand, 20, PAUSE_MAX_MS) * 1000;
        while (g_get_monotonic_time() < until_us) {
            rd_kafka_poll(stream.producer, 20);
        }
    }
    stream_close(&stream);
    return NULL;
}

/* ---- The end: it all still works */

static gboolean is_answered(Stream *stream, const SoakRequest *request, int *ret_code)
{
    rd_kafka_poll(stream->producer, 50);
    g_mutex_lock(&stream->soak->table.lock);
    gboolean answered = request->n_first > 0;
    *ret_code = request->code;
    g_mutex_unlock(&stream->soak->table.lock);
    return answered;
}

/* NULL: done. Else why not. */
static char *ask(Stream *stream, SoakSlot *slot, VmCommand__CommandCase kind)
{
    gint64 end_us = g_get_monotonic_time() + ASK_S * G_USEC_PER_SEC;
    int code = 0;
    g_mutex_lock(&stream->soak->table.lock);
    const SoakRequest *request = command_send(stream, slot, kind);
    g_mutex_unlock(&stream->soak->table.lock);
    while (!is_answered(stream, request, &code)) {
        if (g_get_monotonic_time() > end_us) {
            return g_strdup_printf("%s of VM %s has no reply", request->what, slot->uuid);
        }
    }
    while (code == 0 && kind == VM_COMMAND__COMMAND_START_VM &&
           !soak_guest_has_written(stream->soak, slot->uuid)) {
        if (g_get_monotonic_time() > end_us) {
            return g_strdup_printf("the guest of VM %s does nothing", slot->uuid);
        }
        g_usleep(50000);
    }
    return code == 0 ? NULL
                     : g_strdup_printf("%s of VM %s is refused with code %d", request->what,
                                       slot->uuid, code);
}

char *soak_closing(Soak *soak)
{
    static const VmCommand__CommandCase stays[] = {
        VM_COMMAND__COMMAND_CREATE_VM, VM_COMMAND__COMMAND_START_VM, VM_COMMAND__COMMAND_STOP_VM,
        VM_COMMAND__COMMAND_START_VM, VM_COMMAND__COMMAND__NOT_SET};
    static const VmCommand__CommandCase goes[] = {
        VM_COMMAND__COMMAND_CREATE_VM, VM_COMMAND__COMMAND_START_VM, VM_COMMAND__COMMAND_DESTROY_VM,
        VM_COMMAND__COMMAND_EXPUNGE_VM, VM_COMMAND__COMMAND__NOT_SET};
    const VmCommand__CommandCase *const lives[SOAK_HOSTS] = {stays, goes};
    Stream stream;
    char *problem = NULL;
    stream_open(&stream, soak, 0);
    stream.is_orderly = TRUE;
    for (guint i = 0; i < SOAK_HOSTS && problem == NULL; i++) {
        SoakSlot slot = {.flavour = FLAVOUR_TPM, .host = i, .recent = g_ptr_array_new()};
        uuid_random(slot.uuid);
        for (const VmCommand__CommandCase *kind = lives[i]; *kind != 0 && problem == NULL; kind++) {
            problem = ask(&stream, &slot, *kind);
        }
        g_ptr_array_unref(slot.recent);
    }
    stream_close(&stream);
    return problem;
}
