/* Effects over a hypervisor and a switch that fail on order, and a real file system: each failure
 * has its code, and nothing that comes after it was called. The way that succeeds is shown on the
 * real libvirt and OVS by tests/e2e/test_host_effects.c.
 *
 * What the fakes are asked is kept as one line: "look probe plug/1 create look". */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <glib/gstdio.h>
#include <grp.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "services/host-agent/audit.h"
#include "services/host-agent/effect.h"
#include "services/host-agent/files_posix.h"
#include "tests/lib/lab_guest.h"

#define PLAIN_VARS "/usr/share/OVMF/OVMF_VARS_4M.fd"

enum {
    SOCKET_PATH_MAX_BYTES = 107,
    NIC = 7, /* That is attached and detached. */
};

/* ---- The fakes */

typedef struct {
    LabGuest *guest;
    VbHypervisor hypervisor;
    VbSwitch ports;
    VbHost host;
    GString *calls;
    const char *fail_call; /* The call that fails; NULL: none. */
    ErrorCode fail_code;
    VbDomainPresence presence;
    guint64 epoch;
    gboolean starting_up;
    gboolean vanishes; /* The domain ends as soon as it is made. */
    gboolean shared_memory;
    guint busy_looks;   /* So many looks find libvirt at work on the domain. */
    guint let_go_looks; /* After so many looks the guest lets go of a NIC. */
    gboolean asked_to_let_go;
    NicType nic_type; /* Of NIC 7, which is there. */
    NicModel nic_model;
    const char *nic_mac;
    guint nics;         /* In the running domain: bits by index. */
    Hardware *hardware; /* More of the running domain; may be NULL. */
    gboolean heeds;     /* The guest powers off when it is asked. */
    gboolean ovs;
    gboolean dpdk;
    char *nvram_path; /* Of the domain that is up. */
    const gint *preempted;
    guint plugged; /* Bits by NIC index. */
    gint64 now_ms;
    char *xml;
} World;

static World *world;

static gboolean call(const char *name, GError **error)
{
    g_string_append_printf(world->calls, "%s%s", world->calls->len > 0 ? " " : "", name);
    if (g_strcmp0(world->fail_call, name) != 0) {
        return TRUE;
    }
    g_set_error(error, VB_ERROR, (gint)world->fail_code, "the fake fails at %s", name);
    return FALSE;
}

static gboolean call_indexed(const char *name, guint index, GError **error)
{
    g_autofree char *text = g_strdup_printf("%s/%u", name, index);
    return call(text, error);
}

static Hardware *live_hardware(VbArena *arena)
{
    Hardware *hardware =
        world->hardware != NULL ? arena_copy(arena, world->hardware) : ARENA_MSG(arena, hardware);
    hardware->shared_memory = world->shared_memory;
    for (guint i = 0; i < 32; i++) {
        if ((world->nics & (1u << i)) != 0) {
            EffectiveNic *nic = ARENA_MSG(arena, effective_nic);
            nic->index = i;
            nic->mac = arena_strdup(arena, world->nic_mac);
            nic->effective_model = world->nic_model;
            ARENA_APPEND(arena, hardware->n_nics, hardware->nics, nic);
        }
    }
    return hardware;
}

static NicType *live_nic_types(VbArena *arena)
{
    NicType *types = arena_alloc(arena, 32 * sizeof(*types));
    for (guint i = 0; i < 32; i++) {
        types[i] = world->nic_type;
    }
    return types;
}

static gboolean fake_look(VbHypervisor *self, VbArena *arena, const char *vm_uuid,
                          VbDomainFacts *ret_facts, GError **error)
{
    (void)self;
    assert_string_equal(vm_uuid, world->guest->vm->vm_uuid);
    *ret_facts = (VbDomainFacts){.presence = world->presence,
                                 .epoch = world->epoch,
                                 .starting_up = world->starting_up,
                                 .changing = world->busy_looks > 0,
                                 .nvram_path = world->nvram_path,
                                 .hardware = live_hardware(arena),
                                 .nic_types = live_nic_types(arena)};
    world->busy_looks -= world->busy_looks > 0 ? 1 : 0;
    if (world->asked_to_let_go && world->let_go_looks-- == 0) {
        world->asked_to_let_go = FALSE;
        world->nics = 0;
    }
    return call("look", error);
}

/* Only ever NIC 7: what comes and goes. */
static gboolean fake_attach(VbHypervisor *self, const char *vm_uuid, const char *xml,
                            const gint *preempted, GError **error)
{
    (void)self;
    (void)vm_uuid;
    assert_ptr_equal(preempted, world->preempted);
    g_free(world->xml);
    world->xml = g_strdup(xml);
    if (!call("attach", error)) {
        return FALSE;
    }
    world->nics |= 1u << NIC;
    return TRUE;
}

static gboolean fake_detach(VbHypervisor *self, const char *vm_uuid, const char *alias,
                            const gint *preempted, GError **error)
{
    (void)self;
    (void)vm_uuid;
    assert_ptr_equal(preempted, world->preempted);
    assert_string_equal(alias, "ua-nic-7");
    world->asked_to_let_go = TRUE;
    return call("detach", error);
}

static gboolean fake_create(VbHypervisor *self, const char *vm_uuid, const char *xml,
                            gint64 timeout_ms, GError **error)
{
    (void)self;
    (void)vm_uuid;
    assert_true(timeout_ms > 0);
    g_free(world->xml);
    world->xml = g_strdup(xml);
    if (!call("create", error)) {
        return FALSE;
    }
    world->presence = world->vanishes ? DOMAIN_NONE : DOMAIN_OURS;
    return TRUE;
}

static gboolean fake_shutdown(VbHypervisor *self, const char *vm_uuid, GError **error)
{
    (void)self;
    (void)vm_uuid;
    if (world->heeds) {
        world->presence = DOMAIN_NONE;
    }
    return call("shutdown", error);
}

static gboolean fake_destroy(VbHypervisor *self, const char *vm_uuid, GError **error)
{
    (void)self;
    (void)vm_uuid;
    if (!call("destroy", error)) {
        return FALSE;
    }
    world->presence = DOMAIN_NONE;
    return TRUE;
}

static const char *const *fake_domain_types(VbHypervisor *self)
{
    (void)self;
    static const char *const types[] = {"qemu", NULL};
    return types;
}

static gboolean fake_plug(VbSwitch *self, const VbPort *port, GError **error)
{
    (void)self;
    /* QEMU's folder is there before the port. */
    g_autofree char *folder = g_path_get_dirname(port->socket_path);
    struct stat facts;
    assert_int_equal(lstat(folder, &facts), 0);
    assert_int_equal(facts.st_mode & 07777, 02770);
    if (!call_indexed("plug", port->nic_index, error)) {
        return FALSE;
    }
    world->plugged |= 1u << port->nic_index;
    return TRUE;
}

static gboolean fake_unplug(VbSwitch *self, const char *vm_uuid, guint nic_index, GError **error)
{
    (void)self;
    (void)vm_uuid;
    if (!call_indexed("unplug", nic_index, error)) {
        return FALSE;
    }
    world->plugged &= ~(1u << nic_index);
    return TRUE;
}

static GArray *fake_ports_of(VbSwitch *self, const char *vm_uuid, GError **error)
{
    (void)self;
    (void)vm_uuid;
    if (!call("ports_of", error)) {
        return NULL;
    }
    GArray *indexes = g_array_new(FALSE, FALSE, sizeof(guint));
    for (guint i = 0; i < 32; i++) {
        if ((world->plugged & (1u << i)) != 0) {
            g_array_append_val(indexes, i);
        }
    }
    return indexes;
}

static void fake_probe(VbSwitch *self, gboolean *ret_ovs, gboolean *ret_dpdk, char **ret_problem)
{
    (void)self;
    call("probe", NULL);
    *ret_ovs = world->ovs;
    *ret_dpdk = world->dpdk;
    *ret_problem = world->ovs && world->dpdk ? NULL : g_strdup("the fake has none");
}

static gint64 fake_now_ms(void *clock)
{
    (void)clock;
    return world->now_ms;
}

static void fake_wait_ms(void *clock, gint64 duration_ms)
{
    (void)clock;
    world->now_ms += duration_ms;
}

/* ---- The world: a BIOS guest with vhost-user NICs 1 and 3; ours and up is none. */

static int setup(void **state)
{
    (void)state;
    world = g_new0(World, 1);
    world->guest = lab_guest_new(GUEST_IDLES);
    /* Whoever runs the test may give files to himself. */
    world->guest->config.qemu_user = (char *)g_get_user_name();
    world->guest->config.ovs_group = arena_strdup(world->guest->arena, getgrgid(getgid())->gr_name);
    lab_guest_add_vhost_user_nic(world->guest, 1);
    lab_guest_add_vhost_user_nic(world->guest, 3);
    world->hypervisor = (VbHypervisor){.look = fake_look,
                                       .create = fake_create,
                                       .attach_device = fake_attach,
                                       .detach_device = fake_detach,
                                       .shutdown = fake_shutdown,
                                       .destroy = fake_destroy,
                                       .domain_types = fake_domain_types};
    world->ports = (VbSwitch){
        .plug = fake_plug, .unplug = fake_unplug, .ports_of = fake_ports_of, .probe = fake_probe};
    world->host = lab_host(world->guest, &world->hypervisor, &world->ports);
    world->host.now_ms = fake_now_ms;
    world->host.wait_ms = fake_wait_ms;
    world->calls = g_string_new(NULL);
    world->epoch = 7;
    world->nic_type = NIC_TYPE_VHOST_USER;
    world->nic_model = NIC_MODEL_VIRTIO;
    world->nic_mac = "52:54:00:00:00:07";
    world->ovs = TRUE;
    world->dpdk = TRUE;
    world->now_ms = 1000;
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    lab_guest_free(world->guest);
    g_string_free(world->calls, TRUE);
    g_free(world->xml);
    g_free(world);
    return 0;
}

static StartDomain *start_of(void)
{
    return world->guest->vm->command->start_domain;
}

static VbEffectResult run(VbEffect kind)
{
    VbEffectRequest request = {.kind = kind, .vm = world->guest->vm, .preempted = world->preempted};
    VbEffectResult result;
    g_string_truncate(world->calls, 0);
    effect_run(&world->host, world->guest->arena, &request, &result);
    return result;
}

static void assert_calls(const char *calls)
{
    assert_string_equal(world->calls->str, calls);
}

static VbEffectResult run_ok(VbEffect kind, const char *calls)
{
    VbEffectResult result = run(kind);
    if (result.error != NULL) {
        fail_msg("%s", result.error->message);
    }
    assert_calls(calls);
    return result;
}

static VbEffectResult run_fails(VbEffect kind, ErrorCode code, const char *calls)
{
    VbEffectResult result = run(kind);
    assert_non_null(result.error);
    assert_int_equal(result.error->code, code);
    assert_calls(calls);
    return result;
}

static void start_refused(ErrorCode code, const char *calls)
{
    VbEffectResult result = run_fails(EFFECT_START, code, calls);
    assert_true(result.nothing_created);
    assert_null(result.report);
    assert_null(strstr(world->calls->str, "create"));
}

static char *socket_folder_path(void)
{
    return socket_folder(&world->host, world->guest->arena, world->guest->vm->vm_uuid);
}

static gboolean exists(const char *path)
{
    return g_file_test(path, G_FILE_TEST_EXISTS);
}

/* A volume of the start, with its path below the storage. */
static Volume *add_volume(VolumeType type, const char *install_path)
{
    VbArena *arena = world->guest->arena;
    StartDomain *start = start_of();
    Volume *volume = arena_copy(arena, start->volumes[0]);
    volume->type = type;
    volume->install_path =
        arena_printf(arena, "%s/vol-%s/%s", install_path, volume->uuid, volume->uuid);
    ARENA_APPEND(arena, start->n_volumes, start->volumes, volume);
    return volume;
}

static char *volume_file(const Volume *volume)
{
    char *path = volume_path(&world->host, world->guest->arena, volume, NULL);
    g_autofree char *folder = g_path_get_dirname(path);
    assert_int_equal(g_mkdir_with_parents(folder, 0755), 0);
    return path;
}

static void use_uefi(void)
{
    static char *dirs[] = {(char *)"/usr/share/qemu/firmware", NULL};
    StartDomain *start = start_of();
    world->guest->config.firmware_dirs = dirs;
    start->spec->firmware = FIRMWARE_UEFI;
    start->firmware_class = ARENA_MSG(world->guest->arena, firmware_class);
    start->firmware_class->firmware = FIRMWARE_UEFI;
}

/* UEFI with the plain variable store. */
static char *use_nvram(void)
{
    use_uefi();
    start_of()->nvram_needed = TRUE;
    char *path = volume_file(add_volume(VOLUME_TYPE_NV_RAM, "nvRam/acct-default"));
    g_autofree char *bytes = NULL;
    gsize size_bytes = 0;
    assert_true(g_file_get_contents(PLAIN_VARS, &bytes, &size_bytes, NULL));
    assert_true(g_file_set_contents(path, bytes, (gssize)size_bytes, NULL));
    return path;
}

static char *use_tpm(void)
{
    StartDomain *start = start_of();
    start->spec->tpm = ARENA_MSG(world->guest->arena, tpm_spec);
    Volume *volume = add_volume(VOLUME_TYPE_TPM_STATE, "tpmState/acct-default");
    start->tpm_volume_uuid = volume->uuid;
    char *path = volume_file(volume);
    assert_int_equal(g_mkdir_with_parents(path, 0755), 0);
    return path;
}

/* ---- EFFECT_START */

static void start_goes_from_look_to_report(void **state)
{
    (void)state;
    VbEffectResult result = run_ok(EFFECT_START, "look probe plug/1 plug/3 create look");
    assert_false(result.nothing_created);
    Hardware *hardware = result.report->domain_started->hardware;
    assert_int_equal(hardware->n_nics, 2);
    assert_true(hardware->nics[1]->coerced);
    assert_null(result.state_paths[0]);
    assert_null(result.report->domain_started->replaced_firmware);
}

static void start_without_vhost_user_asks_no_switch(void **state)
{
    (void)state;
    start_of()->spec->n_nics = 0;
    world->ovs = FALSE;
    run_ok(EFFECT_START, "look create look");
    assert_false(exists(socket_folder_path()));
}

static void volumes_are_found_by_type(void **state)
{
    (void)state;
    StartDomain *start = start_of();
    char *nvram = use_nvram();
    Volume *root = start->volumes[0];
    start->volumes[0] = start->volumes[1];
    start->volumes[1] = root;
    VbEffectResult result = run_ok(EFFECT_START, "look probe plug/1 plug/3 create look");
    assert_non_null(strstr(world->xml, nvram));
    assert_string_equal(result.state_paths[0], nvram);
    assert_null(result.state_paths[1]);
    assert_int_equal(result.report->domain_started->hardware->firmware->class_->firmware,
                     FIRMWARE_UEFI);
}

static void replaced_firmware_is_reported(void **state)
{
    (void)state;
    use_nvram();
    FirmwareRef *pinned = ARENA_MSG(world->guest->arena, firmware_ref);
    pinned->class_ = start_of()->firmware_class;
    pinned->code_path = pinned->template_path = (char *)"/usr/share/OVMF/gone.fd";
    start_of()->hardware = ARENA_MSG(world->guest->arena, hardware);
    start_of()->hardware->firmware = pinned;
    VbEffectResult result = run_ok(EFFECT_START, "look probe plug/1 plug/3 create look");
    assert_string_equal(result.report->domain_started->replaced_firmware->code_path,
                        pinned->code_path);
    assert_string_not_equal(result.report->domain_started->hardware->firmware->code_path,
                            pinned->code_path);
    result = run_ok(EFFECT_LOOK, "look"); /* The agent died before it could say so. */
    assert_string_equal(result.replaced_firmware->code_path, pinned->code_path);
}

static void missing_volumes_are_refused_before_all_else(void **state)
{
    (void)state;
    StartDomain *start = start_of();
    start->nvram_needed = TRUE; /* S14 */
    start_refused(ERROR_CODE_VOLUME_NOT_FOUND, "");
    start->nvram_needed = FALSE;
    start->spec->tpm = ARENA_MSG(world->guest->arena, tpm_spec);
    start_refused(ERROR_CODE_VOLUME_NOT_FOUND, "");
    start->spec->tpm = NULL;
    start->tpm_volume_uuid = world->guest->vm->vm_uuid;
    start_refused(ERROR_CODE_VOLUME_NOT_FOUND, "");
    start->tpm_volume_uuid = (char *)"";
    start->volumes[0]->disk_index = 1;
    start_refused(ERROR_CODE_VOLUME_NOT_FOUND, "");
}

/* What enforces it lives in the variables. */
static void secure_boot_without_nvram_is_refused(void **state)
{
    (void)state;
    StartDomain *start = start_of();
    start->spec->firmware = FIRMWARE_UEFI;
    start->firmware_class = ARENA_MSG(world->guest->arena, firmware_class);
    start->firmware_class->secure_boot = TRUE;
    start_refused(ERROR_CODE_VOLUME_NOT_FOUND, "");
}

static void vhost_user_nic_starts_as_virtio_whatever_was_asked(void **state)
{
    (void)state;
    start_of()->spec->nics[0]->model = NIC_MODEL_E1000;
    VbEffectResult result = run_ok(EFFECT_START, "look probe plug/1 plug/3 create look");
    assert_null(strstr(world->xml, "e1000"));
    const EffectiveNic *nic = result.report->domain_started->hardware->nics[0];
    assert_true(nic->coerced);
    assert_int_equal(nic->effective_model, NIC_MODEL_VIRTIO);
}

static void nvram_of_another_name_than_the_specs_is_refused(void **state)
{
    (void)state;
    use_nvram();
    start_of()->spec->nvram = ARENA_MSG(world->guest->arena, nvram_spec);
    start_of()->spec->nvram->volume_uuid = world->guest->vm->vm_uuid;
    start_refused(ERROR_CODE_VOLUME_NOT_FOUND, "");
}

static void two_nvrams_are_refused(void **state)
{
    (void)state;
    use_nvram();
    add_volume(VOLUME_TYPE_NV_RAM, "nvRam/acct-other");
    start_refused(ERROR_CODE_NVRAM_AMBIGUOUS, "");
}

/* A run folder that makes the sockets' paths this long. */
static void set_socket_path_bytes(size_t length_bytes)
{
    VbArena *arena = world->guest->arena;
    size_t rest_bytes = strlen("/") + strlen(world->guest->vm->vm_uuid) + strlen("/1");
    size_t fill_bytes = length_bytes - rest_bytes - strlen(world->guest->folder) - strlen("/");
    g_autofree char *fill = g_strnfill(fill_bytes, 'x');
    world->guest->config.run_dir = arena_printf(arena, "%s/%s", world->guest->folder, fill);
}

static void socket_path_too_long_is_refused_before_anything_is_made(void **state)
{
    (void)state;
    set_socket_path_bytes(SOCKET_PATH_MAX_BYTES + 1);
    start_refused(ERROR_CODE_SOCKET_PATH_TOO_LONG, "");
    assert_false(exists(world->guest->config.run_dir));
    set_socket_path_bytes(SOCKET_PATH_MAX_BYTES);
    run_ok(EFFECT_START, "look probe plug/1 plug/3 create look");
}

static void libvirt_away_is_said(void **state)
{
    (void)state;
    world->fail_call = "look";
    world->fail_code = ERROR_CODE_HYPERVISOR_UNAVAILABLE;
    start_refused(ERROR_CODE_HYPERVISOR_UNAVAILABLE, "look");
}

static void foreign_domain_is_refused(void **state)
{
    (void)state;
    world->presence = DOMAIN_FOREIGN;
    start_refused(ERROR_CODE_FOREIGN_DOMAIN, "look");
}

static void domain_that_is_there_decides(void **state)
{
    (void)state;
    world->presence = DOMAIN_OURS;
    VbEffectResult result = run_ok(EFFECT_START, "look look");
    assert_true(result.report->domain_started->hardware->nics[0]->coerced);
    world->starting_up = TRUE;
    result = run_fails(EFFECT_START, ERROR_CODE_INTERRUPTED, "look");
    assert_false(result.nothing_created);
    world->starting_up = FALSE;
    world->epoch = 6;
    result = run_fails(EFFECT_START, ERROR_CODE_ILLEGAL_STATUS, "look");
    assert_false(result.nothing_created);
    for (int half = 0; half < 2; half++) {
        world->epoch = 8;
        world->starting_up = half != 0;
        result = run_fails(EFFECT_START, ERROR_CODE_STALE_EPOCH, "look");
        assert_true(result.nothing_created);
        assert_int_equal(result.facts.epoch, 8);
    }
}

static void domain_type_that_is_not_offered_is_refused(void **state)
{
    (void)state;
    start_of()->spec->domain_type = (char *)"kvm";
    start_refused(ERROR_CODE_UNSUPPORTED, "look");
}

static void firmware_that_is_not_installed_is_refused(void **state)
{
    (void)state;
    use_uefi();
    start_of()->spec->firmware = FIRMWARE_UEFI_WITH_CSM;
    start_refused(ERROR_CODE_FIRMWARE_NOT_FOUND, "look");
}

static void missing_files_are_refused(void **state)
{
    (void)state;
    StartDomain *start = start_of();
    CdromSpec *cdrom = ARENA_MSG(world->guest->arena, cdrom_spec);
    cdrom->image = (char *)"drivers.iso";
    ARENA_APPEND(world->guest->arena, start->spec->n_cdroms, start->spec->cdroms, cdrom);
    start_refused(ERROR_CODE_IMAGE_NOT_FOUND, "look");
    char *disk = volume_path(&world->host, world->guest->arena, start->volumes[0], NULL);
    assert_int_equal(unlink(disk), 0);
    start_refused(ERROR_CODE_VOLUME_NOT_FOUND, "look");
}

static void ovs_down_never_falls_back(void **state)
{
    (void)state;
    world->ovs = FALSE;
    start_refused(ERROR_CODE_OVS_UNAVAILABLE, "look probe");
    world->ovs = TRUE;
    world->dpdk = FALSE;
    start_refused(ERROR_CODE_OVS_UNAVAILABLE, "look probe");
    assert_false(exists(socket_folder_path()));
}

/* What libvirt's schema refuses is refused while there is still nothing to undo. */
static void start_of_what_no_domain_can_be_makes_nothing(void **state)
{
    (void)state;
    VbArena *arena = world->guest->arena;
    char *link =
        arena_printf(arena, "%s/%s", world->guest->config.swtpm_dir, world->guest->vm->vm_uuid);
    use_tpm();
    start_of()->spec->vcpus = 65536;
    start_refused(ERROR_CODE_INVALID_ARGUMENT, "look probe");
    assert_false(exists(socket_folder_path()));
    assert_false(g_file_test(link, G_FILE_TEST_IS_SYMLINK));
    start_of()->spec->n_nics = 0;
    start_refused(ERROR_CODE_INVALID_ARGUMENT, "look");
}

static void bad_nvram_is_refused_before_anything_is_made(void **state)
{
    (void)state;
    char *path = use_nvram();
    assert_int_equal(truncate(path, 4096), 0);
    start_refused(ERROR_CODE_NVRAM_CORRUPT, "look probe");
    assert_int_equal(unlink(path), 0);
    start_refused(ERROR_CODE_NVRAM_MISSING, "look probe");
    assert_false(exists(socket_folder_path()));
}

/* What the first start reports is what makes the second one strict. */
static void tpm_that_started_once_must_have_state(void **state)
{
    (void)state;
    char *folder = use_tpm();
    VbEffectResult first = run_ok(EFFECT_START, "look probe plug/1 plug/3 create look");
    assert_string_equal(first.state_paths[0], folder);
    world->presence = DOMAIN_NONE;
    start_of()->hardware = first.report->domain_started->hardware;
    start_refused(ERROR_CODE_TPM_STATE_MISSING, "look probe");
}

static void refused_port_ends_the_start(void **state)
{
    (void)state;
    world->fail_code = ERROR_CODE_OVS_PORT_REFUSED;
    world->fail_call = "plug/1";
    start_refused(ERROR_CODE_OVS_PORT_REFUSED, "look probe plug/1");
    world->fail_call = "plug/3";
    start_refused(ERROR_CODE_OVS_PORT_REFUSED, "look probe plug/1 plug/3");
}

static void start_that_expires_on_the_way_creates_nothing(void **state)
{
    (void)state;
    for (gint64 late_ms = 0; late_ms < 2; late_ms++) {
        world->guest->vm->command->expires_ms = world->now_ms - late_ms;
        start_refused(ERROR_CODE_EXPIRED, "look probe plug/1 plug/3");
    }
    world->guest->vm->command->expires_ms = world->now_ms + 1;
    run_ok(EFFECT_START, "look probe plug/1 plug/3 create look");
}

static void failed_create_may_have_made_a_domain(void **state)
{
    (void)state;
    const char *calls = "look probe plug/1 plug/3 create";
    world->fail_call = "create";
    world->fail_code = ERROR_CODE_HYPERVISOR;
    assert_false(run_fails(EFFECT_START, ERROR_CODE_HYPERVISOR, calls).nothing_created);
    world->fail_code = ERROR_CODE_TIMEOUT;
    assert_false(
        run_fails(EFFECT_START, ERROR_CODE_VHOST_USER_NOT_CONNECTED, calls).nothing_created);
    start_of()->spec->n_nics = 0;
    run_fails(EFFECT_START, ERROR_CODE_TIMEOUT, "look create");
}

static void domain_that_ends_at_once_is_no_success(void **state)
{
    (void)state;
    world->vanishes = TRUE;
    VbEffectResult result =
        run_fails(EFFECT_START, ERROR_CODE_HYPERVISOR, "look probe plug/1 plug/3 create look");
    assert_null(result.report);
}

static void stale_sockets_are_removed_at_start(void **state)
{
    (void)state;
    g_autofree char *stale = g_strdup_printf("%s/1", socket_folder_path());
    assert_int_equal(g_mkdir_with_parents(socket_folder_path(), 0700), 0);
    assert_true(g_file_set_contents(stale, "", 0, NULL));
    run_ok(EFFECT_START, "look probe plug/1 plug/3 create look");
    assert_false(exists(stale));
}

/* ---- EFFECT_LOOK */

static void look_completes_the_hardware_of_a_start(void **state)
{
    (void)state;
    char *nvram = use_nvram();
    world->presence = DOMAIN_OURS;
    VbEffectResult result = run_ok(EFFECT_LOOK, "look");
    assert_int_equal(result.facts.presence, DOMAIN_OURS);
    assert_true(result.facts.hardware->nics[0]->coerced);
    assert_non_null(result.facts.hardware->firmware->template_path);
    assert_string_equal(result.state_paths[0], nvram);
    world->guest->vm->command = NULL;
    result = run_ok(EFFECT_LOOK, "look");
    assert_int_equal(result.facts.hardware->n_nics, 0);
    assert_null(result.state_paths[0]);
}

/* The journal was lost: what must be synced is read from what runs. */
static void look_finds_the_state_of_a_running_domain(void **state)
{
    (void)state;
    char *folder = use_tpm();
    run_ok(EFFECT_START, "look probe plug/1 plug/3 create look");
    world->guest->vm->command = NULL;
    world->nvram_path = (char *)"/pool/nvram.fd";
    VbEffectResult result = run_ok(EFFECT_LOOK, "look");
    assert_string_equal(result.state_paths[0], "/pool/nvram.fd");
    assert_string_equal(result.state_paths[1], folder);
    assert_null(result.state_paths[2]);
    char *known[] = {folder};
    world->guest->vm->state_paths = known;
    world->guest->vm->n_state_paths = 1;
    assert_null(run_ok(EFFECT_LOOK, "look").state_paths); /* The journal's stay. */
    world->guest->vm->n_state_paths = 0;
}

static void nvram_is_read_from_domain_xml(void **state)
{
    (void)state;
    VbArena *arena = world->guest->arena;
    assert_string_equal(
        domain_xml_read_nvram(arena, "<domain><os><loader/><nvram template='/t'>/pool/a&amp;b.fd"
                                     "</nvram></os></domain>"),
        "/pool/a&b.fd");
    assert_null(domain_xml_read_nvram(arena, "<domain><os><loader/></os></domain>"));
    assert_null(domain_xml_read_nvram(arena, "<domain/>"));
    assert_null(domain_xml_read_nvram(arena, "no XML"));
}

/* ---- EFFECT_CLEAN_UP and EFFECT_FORGET */

static void clean_up_takes_everything_down(void **state)
{
    (void)state;
    run_ok(EFFECT_START, "look probe plug/1 plug/3 create look");
    run_ok(EFFECT_CLEAN_UP, "look destroy ports_of unplug/1 unplug/3");
    assert_false(exists(socket_folder_path()));
    world->plugged = 0;
    run_ok(EFFECT_CLEAN_UP, "look ports_of");
}

static void nothing_is_touched_while_the_domain_may_run(void **state)
{
    (void)state;
    run_ok(EFFECT_START, "look probe plug/1 plug/3 create look");
    world->fail_code = ERROR_CODE_HYPERVISOR_UNAVAILABLE;
    world->fail_call = "look";
    VbEffectResult failed = run_fails(EFFECT_CLEAN_UP, ERROR_CODE_HYPERVISOR_UNAVAILABLE, "look");
    assert_int_equal(failed.left, LEFT_DOMAIN);
    world->fail_call = "destroy";
    run_fails(EFFECT_CLEAN_UP, ERROR_CODE_HYPERVISOR_UNAVAILABLE, "look destroy");
    g_autofree char *log = g_strdup_printf("%s/%s.serial.log", world->guest->config.log_dir,
                                           world->guest->vm->vm_uuid);
    assert_true(g_file_set_contents(log, "", 0, NULL));
    run_fails(EFFECT_FORGET, ERROR_CODE_HYPERVISOR_UNAVAILABLE, "look destroy");
    assert_true(exists(log));
    assert_true(exists(socket_folder_path()));
    world->epoch = 8;
    run_fails(EFFECT_CLEAN_UP, ERROR_CODE_STALE_EPOCH, "look");
}

static void foreign_domain_is_left_and_the_rest_goes(void **state)
{
    (void)state;
    run_ok(EFFECT_START, "look probe plug/1 plug/3 create look");
    world->presence = DOMAIN_FOREIGN;
    VbEffectResult result =
        run_fails(EFFECT_CLEAN_UP, ERROR_CODE_FOREIGN_DOMAIN, "look ports_of unplug/1 unplug/3");
    assert_int_equal(result.left, LEFT_FILES);
}

static void ovs_away_matters_only_where_ports_were(void **state)
{
    (void)state;
    world->fail_call = "ports_of";
    world->fail_code = ERROR_CODE_OVS_UNAVAILABLE;
    run_ok(EFFECT_CLEAN_UP, "look ports_of");
    uint32_t ports[] = {1, 3};
    world->guest->vm->n_ports = 2;
    world->guest->vm->ports = ports;
    VbEffectResult result = run_fails(EFFECT_CLEAN_UP, ERROR_CODE_OVS_UNAVAILABLE, "look ports_of");
    assert_int_equal(result.left, LEFT_PORTS);
    world->guest->vm->n_ports = 0;
}

static void one_port_that_stays_stops_no_other(void **state)
{
    (void)state;
    run_ok(EFFECT_START, "look probe plug/1 plug/3 create look");
    world->fail_call = "unplug/1";
    world->fail_code = ERROR_CODE_OVS_UNAVAILABLE;
    run_fails(EFFECT_CLEAN_UP, ERROR_CODE_OVS_UNAVAILABLE,
              "look destroy ports_of unplug/1 unplug/3");
}

/* A path below a file cannot be synced; one that is gone needs not be. */
static void state_that_cannot_be_synced_is_said_before_ports(void **state)
{
    (void)state;
    VbArena *arena = world->guest->arena;
    char *nvram = use_nvram();
    char *paths[] = {arena_printf(arena, "%s/below", nvram), nvram,
                     arena_printf(arena, "%s.gone", nvram)};
    world->guest->vm->state_paths = paths;
    world->guest->vm->n_state_paths = G_N_ELEMENTS(paths);
    world->plugged = 1u << 1;
    world->fail_call = "unplug/1";
    world->fail_code = ERROR_CODE_OVS_UNAVAILABLE;
    run_fails(EFFECT_CLEAN_UP, ERROR_CODE_STORAGE_IO, "look ports_of unplug/1");
    world->fail_call = NULL;
    world->guest->vm->state_paths = paths + 1;
    world->guest->vm->n_state_paths = 2;
    run_ok(EFFECT_CLEAN_UP, "look ports_of unplug/1");
    world->guest->vm->n_state_paths = 0;
}

static int full_fsync(VbFiles *self, int fd)
{
    (void)self;
    (void)fd;
    errno = ENOSPC;
    return -1;
}

/* vm-service knows STORAGE_IO as "gone, but not synced", and no other code. */
static void state_that_a_full_disk_refuses_is_said_as_any_other(void **state)
{
    (void)state;
    char *nvram = use_nvram();
    VbFiles files = *world->host.files;
    files.fsync = full_fsync;
    world->host.files = &files;
    world->guest->vm->state_paths = &nvram;
    world->guest->vm->n_state_paths = 1;
    VbEffectResult result = run_fails(EFFECT_CLEAN_UP, ERROR_CODE_STORAGE_IO, "look ports_of");
    assert_int_equal(result.left, LEFT_FILES);
    world->guest->vm->n_state_paths = 0;
}

/* Counts what is synced and opened to be written to. */
static guint n_synced;
static guint n_written;

static int counting_fsync(VbFiles *self, int fd)
{
    (void)self;
    n_synced++;
    return files_posix()->fsync(files_posix(), fd);
}

static int counting_open(VbFiles *self, const char *path, int flags, mode_t mode)
{
    (void)self;
    n_written += (flags & O_ACCMODE) != O_RDONLY;
    return files_posix()->open(files_posix(), path, flags, mode);
}

/* The last sync of the NVRAM has failed. */
static char *use_unsynced_nvram(VbFiles *files)
{
    char *nvram = use_nvram();
    *files = *world->host.files;
    world->host.files = files;
    world->host.failed_syncs = failed_syncs_new();
    files->fsync = full_fsync;
    assert_false(state_sync(&world->host, nvram, NULL));
    files->fsync = counting_fsync;
    files->open = counting_open;
    return nvram;
}

static void expect_settled(guint n_syncs, guint n_writes)
{
    assert_int_equal(n_synced, n_syncs);
    assert_int_equal(n_written, n_writes);
    n_synced = n_written = 0;
}

static void forget_unsynced(void)
{
    world->guest->vm->n_state_paths = 0;
    world->guest->vm->domain_expected = FALSE;
    failed_syncs_free(world->host.failed_syncs);
    world->host.failed_syncs = NULL;
}

static void nvram_beside_a_foreign_domain_is_not_written(void **state)
{
    (void)state;
    VbFiles files;
    char *nvram = use_unsynced_nvram(&files);
    HostVm *vm = world->guest->vm;
    n_synced = n_written = 0;
    world->presence = DOMAIN_FOREIGN;
    run_fails(EFFECT_START, ERROR_CODE_FOREIGN_DOMAIN, "look");
    expect_settled(0, 0);
    vm->state_paths = &nvram;
    vm->n_state_paths = 1;
    vm->domain_expected = TRUE; /* The one of ours that is gone. */
    run_fails(EFFECT_CLEAN_UP, ERROR_CODE_FOREIGN_DOMAIN, "look ports_of");
    expect_settled(1, 0);
    world->presence = DOMAIN_NONE;
    run_ok(EFFECT_CLEAN_UP, "look ports_of");
    expect_settled(2, 1);
    run_ok(EFFECT_CLEAN_UP, "look ports_of");
    expect_settled(1, 0);
    vm->unsettled = ERROR_CODE_STORAGE_IO; /* As an agent has left it that is no more. */
    run_ok(EFFECT_CLEAN_UP, "look ports_of");
    expect_settled(2, 1);
    vm->unsettled = ERROR_CODE_UNSPECIFIED;
    forget_unsynced();
}

/* It may be another's: no domain of ours has had it. */
static void nvram_of_a_refused_start_is_not_written(void **state)
{
    (void)state;
    VbFiles files;
    char *nvram = use_unsynced_nvram(&files);
    HostVm *vm = world->guest->vm;
    n_synced = n_written = 0;
    run_ok(EFFECT_CLEAN_UP, "look ports_of");
    expect_settled(1, 0);
    vm->state_paths = &nvram;
    vm->n_state_paths = 1;
    run_ok(EFFECT_CLEAN_UP, "look ports_of");
    expect_settled(1, 0);
    /* Nor does the older domain that is cleared away make it ours. */
    char *older = arena_printf(world->guest->arena, "%s.older", nvram);
    vm->state_paths = &older;
    vm->domain_expected = TRUE;
    run_ok(EFFECT_CLEAN_UP, "look ports_of");
    expect_settled(1, 0);
    forget_unsynced();
}

static void nvram_of_two_names_is_not_written(void **state)
{
    (void)state;
    VbFiles files;
    char *nvram = use_unsynced_nvram(&files);
    g_autofree char *other = g_strdup_printf("%s.of-a-running-vm", nvram);
    assert_int_equal(link(nvram, other), 0);
    n_synced = n_written = 0;
    VbEffectResult result = run(EFFECT_START);
    assert_int_equal(result.error->code, ERROR_CODE_NVRAM_UNSAFE_FILE);
    assert_true(result.nothing_created);
    world->guest->vm->state_paths = &nvram;
    world->guest->vm->n_state_paths = 1;
    world->guest->vm->domain_expected = TRUE;
    run_ok(EFFECT_CLEAN_UP, "look ports_of");
    expect_settled(1, 0);
    forget_unsynced();
}

/* Folders that were synced, one a line. */
static GString *synced;

static int noting_fsync(VbFiles *self, int fd)
{
    (void)self;
    g_autofree char *link = g_strdup_printf("/proc/self/fd/%d", fd);
    g_autofree char *path = g_file_read_link(link, NULL);
    g_string_append_printf(synced, "%s\n", path);
    return files_posix()->fsync(files_posix(), fd);
}

/* The journal goes next: nothing would know of a log that came back. */
static void forgotten_does_not_come_back_behind_a_power_failure(void **state)
{
    (void)state;
    VbFiles files = *world->host.files;
    g_autofree char *log_dir = g_strdup_printf("%s\n", world->guest->config.log_dir);
    g_autofree char *swtpm_dir = g_strdup_printf("%s\n", world->guest->config.swtpm_dir);
    use_tpm();
    run_ok(EFFECT_START, "look probe plug/1 plug/3 create look");
    synced = g_string_new(NULL);
    files.fsync = noting_fsync;
    world->host.files = &files;
    run_ok(EFFECT_FORGET, "look destroy ports_of unplug/1 unplug/3");
    assert_non_null(strstr(synced->str, log_dir));
    assert_non_null(strstr(synced->str, swtpm_dir));
    g_string_free(synced, TRUE);
}

static void forget_removes_logs_and_the_tpms_link(void **state)
{
    (void)state;
    const char *log_dir = world->guest->config.log_dir;
    const char *uuid = world->guest->vm->vm_uuid;
    g_autofree char *log = g_strdup_printf("%s/%s.serial.log", log_dir, uuid);
    g_autofree char *older = g_strdup_printf("%s/%s.serial.log.0", log_dir, uuid);
    g_autofree char *other = g_strdup_printf("%s/other.serial.log", log_dir);
    g_autofree char *link = g_strdup_printf("%s/%s", world->guest->config.swtpm_dir, uuid);
    char *folder = use_tpm();
    run_ok(EFFECT_START, "look probe plug/1 plug/3 create look");
    assert_true(g_file_test(link, G_FILE_TEST_IS_SYMLINK));
    assert_true(g_file_set_contents(log, "", 0, NULL));
    assert_true(g_file_set_contents(older, "", 0, NULL));
    assert_true(g_file_set_contents(other, "", 0, NULL));
    run_ok(EFFECT_FORGET, "look destroy ports_of unplug/1 unplug/3");
    assert_false(exists(log));
    assert_false(exists(older));
    assert_true(exists(other));
    assert_false(g_file_test(link, G_FILE_TEST_IS_SYMLINK));
    assert_true(exists(folder));
}

/* ---- EFFECT_STOP */

static void command_stop(StopMode mode, gint64 expires_ms)
{
    VbArena *arena = world->guest->arena;
    HostCommand *command = ARENA_MSG(arena, host_command);
    command->epoch = world->epoch;
    command->expires_ms = expires_ms;
    command->command_case = HOST_COMMAND__COMMAND_STOP_DOMAIN;
    command->stop_domain = ARENA_MSG(arena, stop_domain);
    command->stop_domain->mode = mode;
    world->guest->vm->command = command;
    world->presence = DOMAIN_OURS;
}

static void stop_of_what_does_not_run_says_so(void **state)
{
    (void)state;
    command_stop(STOP_MODE_FORCED, 0);
    world->presence = DOMAIN_NONE;
    assert_int_equal(run_ok(EFFECT_STOP, "look").stop_reason, STOP_REASON_NOT_RUNNING);
    world->presence = DOMAIN_FOREIGN;
    assert_int_equal(run_ok(EFFECT_STOP, "look").stop_reason, STOP_REASON_NOT_RUNNING);
}

static void forced_stop_does_not_ask(void **state)
{
    (void)state;
    command_stop(STOP_MODE_FORCED, 0);
    assert_int_equal(run_ok(EFFECT_STOP, "look destroy").stop_reason, STOP_REASON_REQUESTED);
}

static void late_stop_touches_no_newer_domain(void **state)
{
    static const StopMode modes[] = {STOP_MODE_FORCED, STOP_MODE_GRACEFUL,
                                     STOP_MODE_GRACEFUL_THEN_FORCED};
    (void)state;
    for (size_t i = 0; i < G_N_ELEMENTS(modes); i++) {
        command_stop(modes[i], 0);
        world->guest->vm->command->epoch = world->epoch - 1;
        run_fails(EFFECT_STOP, ERROR_CODE_STALE_EPOCH, "look");
    }
}

static void forced_stop_takes_the_place_of_one_that_waits(void **state)
{
    static const StopMode modes[] = {STOP_MODE_GRACEFUL, STOP_MODE_GRACEFUL_THEN_FORCED};
    (void)state;
    gint preempted = 1;
    world->preempted = &preempted;
    for (size_t i = 0; i < G_N_ELEMENTS(modes); i++) {
        command_stop(modes[i], world->now_ms + 400);
        run_fails(EFFECT_STOP, ERROR_CODE_PREEMPTED, "look shutdown look");
    }
    command_stop(STOP_MODE_FORCED, 0); /* It waits for nobody. */
    run_ok(EFFECT_STOP, "look destroy");
}

/* As after a crash: the core lets no expired stop begin. */
static void stop_that_has_expired_only_looks(void **state)
{
    static const StopMode modes[] = {STOP_MODE_UNSPECIFIED, STOP_MODE_GRACEFUL,
                                     STOP_MODE_GRACEFUL_THEN_FORCED, STOP_MODE_FORCED};
    (void)state;
    for (size_t i = 0; i < G_N_ELEMENTS(modes); i++) {
        command_stop(modes[i], world->now_ms);
        run_fails(EFFECT_STOP, ERROR_CODE_GUEST_DID_NOT_STOP, "look");
        world->presence = DOMAIN_NONE;
        assert_int_equal(run_ok(EFFECT_STOP, "look").stop_reason, STOP_REASON_NOT_RUNNING);
    }
}

/* libvirt needs up to 12 s to pull the plug. */
static void forced_end_is_left_time_before_the_expiry(void **state)
{
    static const struct {
        gint64 left_ms;
        gint64 asked_ms;
    } rows[] = {{60000, 48000}, {20000, 10000}, {400, 200}};
    (void)state;
    for (size_t i = 0; i < G_N_ELEMENTS(rows); i++) {
        gint64 begin_ms = world->now_ms;
        command_stop(STOP_MODE_GRACEFUL_THEN_FORCED, begin_ms + rows[i].left_ms);
        assert_null(run(EFFECT_STOP).error);
        assert_int_equal(world->now_ms - begin_ms, rows[i].asked_ms);
    }
}

static void graceful_stop_waits_for_the_guest(void **state)
{
    (void)state;
    command_stop(STOP_MODE_UNSPECIFIED, world->now_ms + 400);
    world->heeds = TRUE;
    assert_int_equal(run_ok(EFFECT_STOP, "look shutdown look").stop_reason, STOP_REASON_REQUESTED);
}

static void deaf_guest_runs_on_after_a_graceful_stop(void **state)
{
    (void)state;
    command_stop(STOP_MODE_GRACEFUL, world->now_ms + 400);
    run_fails(EFFECT_STOP, ERROR_CODE_GUEST_DID_NOT_STOP, "look shutdown look look look");
    assert_int_equal(world->presence, DOMAIN_OURS);
}

static void deaf_guest_is_forced_at_the_deadline(void **state)
{
    (void)state;
    command_stop(STOP_MODE_GRACEFUL_THEN_FORCED, world->now_ms + 400);
    run_ok(EFFECT_STOP, "look shutdown look look destroy");
    command_stop(STOP_MODE_GRACEFUL_THEN_FORCED, world->now_ms + 400);
    world->fail_call = "shutdown";
    world->fail_code = ERROR_CODE_HYPERVISOR;
    run_ok(EFFECT_STOP, "look shutdown destroy");
}

static void stop_that_libvirt_refuses_fails(void **state)
{
    (void)state;
    world->fail_code = ERROR_CODE_HYPERVISOR;
    world->fail_call = "shutdown";
    command_stop(STOP_MODE_GRACEFUL, world->now_ms + 400);
    run_fails(EFFECT_STOP, ERROR_CODE_HYPERVISOR, "look shutdown");
    world->fail_call = "destroy";
    command_stop(STOP_MODE_FORCED, 0);
    run_fails(EFFECT_STOP, ERROR_CODE_HYPERVISOR, "look destroy");
    world->fail_call = "look";
    run_fails(EFFECT_STOP, ERROR_CODE_HYPERVISOR, "look");
}

/* ---- EFFECT_ATTACH and EFFECT_DETACH: NIC 7 of a domain that runs with NICs 1 and 3 */

#define ATTACHED "look probe plug/7 attach look"

static NicSpec *running_nic(HostCommand__CommandCase kind, NicType type, gint64 expires_ms)
{
    static const guint32 indexes[] = {1, 3, NIC}; /* The record may know it from before. */
    VbArena *arena = world->guest->arena;
    HostCommand *command = ARENA_MSG(arena, host_command);
    command->operation_id = (char *)"op";
    command->epoch = 7;
    command->expires_ms = expires_ms;
    command->command_case = kind;
    NicSpec *nic = ARENA_MSG(arena, nic_spec);
    nic->index = NIC;
    nic->type = type;
    Hardware *known = ARENA_MSG(arena, hardware);
    known->firmware = ARENA_MSG(arena, firmware_ref);
    known->firmware->descriptor = (char *)"as pinned";
    for (size_t i = 0; i < G_N_ELEMENTS(indexes); i++) {
        EffectiveNic *effective = ARENA_MSG(arena, effective_nic);
        effective->index = indexes[i];
        effective->mac = arena_printf(arena, "52:54:00:00:00:%02u", indexes[i]);
        effective->coerced = TRUE;
        ARENA_APPEND(arena, known->n_nics, known->nics, effective);
    }
    DeviceAddress *tpm = ARENA_MSG(arena, device_address);
    tpm->device = (char *)"tpm/0";
    ARENA_APPEND(arena, known->n_addresses, known->addresses, tpm);
    if (kind == HOST_COMMAND__COMMAND_ATTACH_DEVICE) {
        command->attach_device = ARENA_MSG(arena, attach_device);
        command->attach_device->nic = nic;
        command->attach_device->spec = world->guest->spec;
        command->attach_device->hardware = known;
    } else {
        command->detach_device = ARENA_MSG(arena, detach_device);
        command->detach_device->nic = nic;
        command->detach_device->spec = world->guest->spec;
        command->detach_device->hardware = known;
    }
    world->guest->vm->command = command;
    world->presence = DOMAIN_OURS;
    world->shared_memory = TRUE;
    world->hardware = ARENA_MSG(arena, hardware);
    world->hardware->machine = (char *)"pc-i440fx-7.2";
    world->nics |= 1u << 1 | 1u << 3;
    return nic;
}

static NicSpec *command_attach(gint64 expires_ms)
{
    return running_nic(HOST_COMMAND__COMMAND_ATTACH_DEVICE, NIC_TYPE_VHOST_USER, expires_ms);
}

/* NIC 7 is there, with its port and its socket; the socket's path. */
static char *command_detach(gint64 expires_ms)
{
    running_nic(HOST_COMMAND__COMMAND_DETACH_DEVICE, NIC_TYPE_VHOST_USER, expires_ms);
    world->nics |= 1u << NIC;
    world->plugged |= 1u << NIC;
    char *path = arena_printf(world->guest->arena, "%s/%d", socket_folder_path(), NIC);
    assert_int_equal(g_mkdir_with_parents(socket_folder_path(), 0700), 0);
    assert_true(g_file_set_contents(path, "", 0, NULL));
    return path;
}

/* A socket of a NIC that runs. */
static char *running_socket(void)
{
    char *path = arena_printf(world->guest->arena, "%s/1", socket_folder_path());
    assert_int_equal(g_mkdir_with_parents(socket_folder_path(), 0700), 0);
    assert_true(g_file_set_contents(path, "", 0, NULL));
    return path;
}

static void assert_hardware_kept(const Hardware *hardware, size_t n_nics)
{
    assert_int_equal(hardware->n_nics, n_nics);
    assert_string_equal(hardware->nics[0]->mac, "52:54:00:00:00:01");
    assert_true(hardware->nics[1]->coerced);
    assert_string_equal(hardware->firmware->descriptor, "as pinned");
    assert_int_equal(hardware->n_addresses, 1);
    assert_string_equal(hardware->addresses[0]->device, "tpm/0");
    assert_true(hardware->shared_memory);
}

static void attach_goes_from_look_to_report(void **state)
{
    (void)state;
    command_attach(2000)->queues = 9;
    world->guest->spec->vcpus = 2;
    char *other = running_socket();
    char *stale = arena_printf(world->guest->arena, "%s/%d", socket_folder_path(), NIC);
    assert_true(g_file_set_contents(stale, "", 0, NULL));
    VbEffectResult result = run_ok(EFFECT_ATTACH, ATTACHED);
    assert_int_equal(result.nic, NIC_THERE);
    const DeviceChanged *changed = result.report->device_changed;
    assert_int_equal(changed->attached->index, NIC);
    assert_null(changed->detached);
    assert_hardware_kept(changed->hardware, 3);
    const EffectiveNic *nic = changed->hardware->nics[2];
    assert_int_equal(nic->index, NIC);
    assert_int_equal(nic->asked_model, NIC_MODEL_E1000); /* Windows. */
    assert_int_equal(nic->effective_model, NIC_MODEL_VIRTIO);
    assert_true(nic->coerced);
    assert_int_equal(nic->queues, 2);
    assert_non_null(strstr(world->xml, "<model type=\"virtio\"/>"));
    assert_true(exists(other));
    assert_false(exists(stale));
}

static void attach_of_what_is_there_only_reports(void **state)
{
    (void)state;
    /* Also when it has expired: it came in time. */
    command_attach(500)->mac = (char *)"52:54:00:00:00:07";
    world->nics |= 1u << NIC;
    VbEffectResult result = run_ok(EFFECT_ATTACH, "look");
    assert_int_equal(result.nic, NIC_THERE);
    assert_hardware_kept(result.report->device_changed->hardware, 3);
    assert_true(result.report->device_changed->hardware->nics[2]->coerced);
}

/* Of an attach that a forced stop cut short, and the guest runs on all the same. */
static void attach_where_another_nic_is_says_so(void **state)
{
    static const struct {
        NicType type;
        NicModel model;
        const char *mac;
        gboolean plugged; /* Its port stays. */
    } rows[] = {
        {NIC_TYPE_VHOST_USER, NIC_MODEL_VIRTIO, "52:54:00:00:00:99", TRUE},
        {NIC_TYPE_VHOST_USER, NIC_MODEL_VIRTIO_TRANSITIONAL, "52:54:00:00:00:07", TRUE},
        {NIC_TYPE_USER, NIC_MODEL_VIRTIO, "52:54:00:00:00:07", FALSE},
    };
    (void)state;
    command_attach(0)->mac = (char *)"52:54:00:00:00:07";
    for (size_t i = 0; i < G_N_ELEMENTS(rows); i++) {
        world->nics |= 1u << NIC;
        world->plugged = 1u << NIC;
        world->nic_type = rows[i].type;
        world->nic_model = rows[i].model;
        world->nic_mac = rows[i].mac;
        VbEffectResult result = run_fails(EFFECT_ATTACH, ERROR_CODE_UNSUPPORTED,
                                          rows[i].plugged ? "look" : "look unplug/7");
        assert_null(result.report);
        assert_int_equal(result.nic, rows[i].plugged ? NIC_THERE : NIC_NOTHING);
        assert_int_equal(world->plugged != 0, rows[i].plugged);
        assert_non_null(strstr(result.error->message, rows[i].mac));
        assert_non_null(strstr(result.error->message, "VhostUser, Virtio, 52:54:00:00:00:07"));
        assert_non_null(strstr(result.error->message, "detach it first, or stop and start"));
    }
    world->nic_type = NIC_TYPE_VHOST_USER;
    world->guest->vm->command->attach_device->nic->mac = (char *)"52:54:00:AA:00:07";
    world->nic_mac = "52:54:00:aa:00:07"; /* As libvirt writes it. */
    run_ok(EFFECT_ATTACH, "look");
}

/* An attempt that was cut off is stuck in QEMU: what the XML shows is not believed. */
static void attach_waits_while_libvirt_is_at_work(void **state)
{
    (void)state;
    command_attach(1500)->mac = (char *)"52:54:00:00:00:07";
    world->nics |= 1u << NIC;
    world->busy_looks = 3;
    run_ok(EFFECT_ATTACH, "look look look look");
    gint preempted = 1;
    world->preempted = &preempted;
    world->busy_looks = 3;
    VbEffectResult result = run_fails(EFFECT_ATTACH, ERROR_CODE_PREEMPTED, "look");
    assert_int_equal(result.nic, NIC_THERE);
    assert_int_equal(result.stop_reason, STOP_REASON_UNSPECIFIED); /* Nobody has ended it yet. */
    world->preempted = NULL;
}

static void attach_of_other_types_asks_no_switch(void **state)
{
    (void)state;
    running_nic(HOST_COMMAND__COMMAND_ATTACH_DEVICE, NIC_TYPE_USER, 0);
    world->shared_memory = FALSE;
    world->ovs = FALSE;
    run_ok(EFFECT_ATTACH, "look attach look");
    assert_non_null(strstr(world->xml, "<model type=\"e1000\"/>")); /* N3 */
    assert_false(exists(socket_folder_path()));
}

/* Refused by `code` after `calls`; nothing is left behind. */
static void attach_refused(ErrorCode code, const char *calls)
{
    VbEffectResult result = run_fails(EFFECT_ATTACH, code, calls);
    assert_int_equal(result.nic, NIC_NOTHING);
    assert_null(result.report);
    assert_int_equal(world->plugged, 0);
    assert_int_equal(world->nics & (1u << NIC), 0);
    char *path = arena_printf(world->guest->arena, "%s/%d", socket_folder_path(), NIC);
    assert_false(exists(path));
}

static void attach_that_cannot_be_is_refused_before_anything_is_made(void **state)
{
    (void)state;
    NicSpec *nic = command_attach(0);
    world->shared_memory = FALSE; /* N6 */
    attach_refused(ERROR_CODE_UNSUPPORTED, "look unplug/7");
    world->shared_memory = TRUE;
    world->hardware->machine = (char *)"pc-q35-7.2"; /* Without a port. */
    attach_refused(ERROR_CODE_UNSUPPORTED, "look unplug/7");
    world->hardware->machine = (char *)"pc-i440fx-7.2";
    world->ovs = FALSE; /* N9 */
    attach_refused(ERROR_CODE_OVS_UNAVAILABLE, "look probe unplug/7");
    world->ovs = TRUE;
    set_socket_path_bytes(SOCKET_PATH_MAX_BYTES + 1); /* N8 */
    attach_refused(ERROR_CODE_SOCKET_PATH_TOO_LONG, "");
    nic->type = NIC_TYPE_UNSPECIFIED;
    attach_refused(ERROR_CODE_INVALID_ARGUMENT, "look");
    world->guest->vm->command->attach_device->nic = NULL;
    attach_refused(ERROR_CODE_INVALID_ARGUMENT, "");
    assert_false(exists(world->guest->config.run_dir));
}

static void attach_needs_the_domain_of_its_epoch(void **state)
{
    (void)state;
    command_attach(0);
    world->presence = DOMAIN_NONE;
    attach_refused(ERROR_CODE_DOMAIN_NOT_RUNNING, "look unplug/7");
    world->presence = DOMAIN_FOREIGN;
    attach_refused(ERROR_CODE_FOREIGN_DOMAIN, "look unplug/7");
    world->presence = DOMAIN_OURS;
    world->starting_up = TRUE;
    attach_refused(ERROR_CODE_DOMAIN_NOT_RUNNING, "look unplug/7");
    world->starting_up = FALSE;
    world->epoch = 6;
    attach_refused(ERROR_CODE_DOMAIN_NOT_RUNNING, "look unplug/7");
    world->epoch = 8; /* Its port, if it has one, is not ours to take. */
    VbEffectResult result = run_fails(EFFECT_ATTACH, ERROR_CODE_STALE_EPOCH, "look");
    assert_int_equal(result.nic, NIC_THERE);
    assert_int_equal(result.facts.epoch, 8);
}

/* As after a crash: the core lets no expired command begin. */
static void attach_that_has_expired_takes_its_port_away(void **state)
{
    (void)state;
    command_attach(world->now_ms);
    world->plugged = 1u << NIC;
    attach_refused(ERROR_CODE_INTERRUPTED, "look unplug/7");
}

static void attach_that_fails_leaves_nothing(void **state)
{
    (void)state;
    command_attach(0);
    world->fail_call = "plug/7";
    world->fail_code = ERROR_CODE_OVS_PORT_REFUSED;
    attach_refused(ERROR_CODE_OVS_PORT_REFUSED, "look probe plug/7 unplug/7");
    world->fail_call = "attach";
    world->fail_code = ERROR_CODE_HYPERVISOR;
    attach_refused(ERROR_CODE_HYPERVISOR, "look probe plug/7 attach unplug/7");
    world->fail_code = ERROR_CODE_DOMAIN_NOT_RUNNING;
    attach_refused(ERROR_CODE_DOMAIN_NOT_RUNNING, "look probe plug/7 attach unplug/7");
}

static void attach_whose_undo_fails_says_so(void **state)
{
    (void)state;
    command_attach(0);
    world->ovs = FALSE;
    world->fail_call = "unplug/7";
    world->fail_code = ERROR_CODE_OVS_UNAVAILABLE;
    VbEffectResult result =
        run_fails(EFFECT_ATTACH, ERROR_CODE_OVS_UNAVAILABLE, "look probe unplug/7");
    assert_int_equal(result.nic, NIC_PORT);
    /* Later. */
    uint32_t loose[] = {NIC};
    world->guest->vm->n_loose_ports = 1;
    world->guest->vm->loose_ports = loose;
    world->guest->vm->command = NULL;
    run_fails(EFFECT_UNPLUG, ERROR_CODE_OVS_UNAVAILABLE, "unplug/7");
    world->fail_call = NULL;
    run_ok(EFFECT_UNPLUG, "unplug/7");
    world->guest->vm->n_loose_ports = 0;
}

/* It may be in, or about to be: nothing is taken away before libvirt is asked. */
static void attach_is_not_undone_while_libvirt_is_away(void **state)
{
    (void)state;
    command_attach(0);
    world->fail_call = "attach";
    world->fail_code = ERROR_CODE_HYPERVISOR_UNAVAILABLE;
    VbEffectResult result =
        run_fails(EFFECT_ATTACH, ERROR_CODE_HYPERVISOR_UNAVAILABLE, "look probe plug/7 attach");
    assert_int_equal(result.nic, NIC_THERE);
    assert_int_equal(world->plugged, 1u << NIC);
    world->fail_call = "look";
    run_fails(EFFECT_ATTACH, ERROR_CODE_HYPERVISOR_UNAVAILABLE, "look");
    world->fail_call = NULL;
    run_ok(EFFECT_ATTACH, ATTACHED); /* Again, from the beginning. */
}

static void preempted_call_has_ended_the_domain(void **state)
{
    (void)state;
    command_attach(0);
    world->fail_call = "attach";
    world->fail_code = ERROR_CODE_PREEMPTED;
    VbEffectResult result =
        run_fails(EFFECT_ATTACH, ERROR_CODE_PREEMPTED, "look probe plug/7 attach");
    assert_int_equal(result.stop_reason, STOP_REASON_REQUESTED);
    assert_int_equal(result.nic, NIC_THERE); /* The clean-up that follows takes the port. */
    command_detach(0);
    world->fail_call = "detach";
    result = run_fails(EFFECT_DETACH, ERROR_CODE_PREEMPTED, "look detach");
    assert_int_equal(result.stop_reason, STOP_REASON_REQUESTED);
}

/* N8: the device before the port. */
static void detach_goes_from_device_to_port(void **state)
{
    (void)state;
    char *path = command_detach(9000);
    char *other = running_socket();
    world->let_go_looks = 2;
    world->nics = 1u << NIC;
    VbEffectResult result = run_ok(EFFECT_DETACH, "look detach look look look look unplug/7");
    assert_int_equal(result.nic, NIC_NOTHING);
    const DeviceChanged *changed = result.report->device_changed;
    assert_int_equal(changed->detached->index, NIC);
    assert_null(changed->attached);
    assert_hardware_kept(changed->hardware, 2);
    assert_false(exists(path));
    assert_true(exists(other));
}

static void detach_of_what_is_gone_goes_on_with_the_port(void **state)
{
    (void)state;
    char *path = command_detach(500); /* Also when it has expired. */
    world->nics = 0;
    VbEffectResult result = run_ok(EFFECT_DETACH, "look unplug/7");
    assert_int_equal(result.nic, NIC_NOTHING);
    assert_false(exists(path));
    world->fail_call = "unplug/7";
    world->fail_code = ERROR_CODE_OVS_UNAVAILABLE;
    result = run_ok(EFFECT_DETACH, "look unplug/7"); /* The NIC is gone; that is what was asked. */
    assert_int_equal(result.nic, NIC_PORT);
    assert_non_null(result.report);
}

static void guest_may_keep_a_device(void **state)
{
    (void)state;
    static const gint64 limits_ms[] = {400, 0};
    for (size_t i = 0; i < G_N_ELEMENTS(limits_ms); i++) {
        gint64 begin_ms = world->now_ms;
        char *path = command_detach(limits_ms[i] != 0 ? begin_ms + limits_ms[i] : 0);
        world->let_go_looks = G_MAXUINT;
        VbEffectResult result = run(EFFECT_DETACH);
        assert_int_equal(result.error->code, ERROR_CODE_GUEST_KEEPS_DEVICE);
        assert_int_equal(result.nic, NIC_THERE);
        assert_null(result.report);
        assert_int_equal(world->now_ms - begin_ms, limits_ms[i] != 0 ? limits_ms[i] : 60000);
        assert_true(exists(path));
        assert_int_equal(world->plugged, 1u << NIC);
    }
    command_detach(world->now_ms); /* After a crash: it is not asked again. */
    run_fails(EFFECT_DETACH, ERROR_CODE_GUEST_KEEPS_DEVICE, "look");
}

static void detach_stops_waiting_for_a_forced_stop(void **state)
{
    (void)state;
    gint preempted = 1;
    command_detach(0);
    world->let_go_looks = G_MAXUINT;
    world->preempted = &preempted;
    VbEffectResult result = run_fails(EFFECT_DETACH, ERROR_CODE_PREEMPTED, "look detach look");
    assert_int_equal(result.stop_reason, STOP_REASON_UNSPECIFIED);
    world->preempted = NULL;
}

static void detach_that_libvirt_refuses_changes_nothing(void **state)
{
    static const ErrorCode codes[] = {ERROR_CODE_HYPERVISOR, ERROR_CODE_HYPERVISOR_UNAVAILABLE,
                                      ERROR_CODE_DOMAIN_NOT_RUNNING};
    (void)state;
    char *path = command_detach(0);
    for (size_t i = 0; i < G_N_ELEMENTS(codes); i++) {
        world->fail_call = "detach";
        world->fail_code = codes[i];
        world->let_go_looks = G_MAXUINT;
        VbEffectResult result = run_fails(EFFECT_DETACH, codes[i], "look detach");
        assert_int_equal(result.nic, NIC_THERE);
        world->fail_call = "look";
        run_fails(EFFECT_DETACH, codes[i], "look");
        assert_true(exists(path));
    }
    world->guest->vm->command->detach_device->nic = NULL;
    run_fails(EFFECT_DETACH, ERROR_CODE_INVALID_ARGUMENT, "");
}

#define TEST(function) cmocka_unit_test_setup_teardown(function, setup, teardown)

/* ---- The audit file */

/* "nvram-verified port-plugged domain-created": the effects of all lines. */
static char *audited(const char *path)
{
    g_autofree char *text = NULL;
    g_autoptr(GString) effects = g_string_new(NULL);
    assert_true(g_file_get_contents(path, &text, NULL, NULL));
    g_auto(GStrv) lines = g_strsplit(text, "\n", -1);
    for (char **line = lines; **line != '\0'; line++) {
        const char *at = strstr(*line, "\"effect\":\"");
        assert_non_null(at);
        at += strlen("\"effect\":\"");
        g_string_append_printf(effects, "%s%.*s", effects->len > 0 ? " " : "",
                               (int)(strchr(at, '"') - at), at);
    }
    return g_string_free(g_steal_pointer(&effects), FALSE);
}

static void effects_leave_their_lines(void **state)
{
    (void)state;
    g_autofree char *path = g_build_filename(world->guest->folder, "audit.jsonl", NULL);
    use_nvram();
    world->host.audit = audit_new(path, "a-host", NULL);
    run_ok(EFFECT_START, "look probe plug/1 plug/3 create look");
    run_ok(EFFECT_STOP, "look destroy");
    run_ok(EFFECT_CLEAN_UP, "look ports_of unplug/1 unplug/3");
    g_autofree char *effects = audited(path);
    assert_string_equal(effects,
                        "nvram-verified port-plugged port-plugged domain-created domain-destroyed "
                        "domain-gone state-synced port-unplugged port-unplugged");
    /* What fails leaves none. */
    g_unlink(path);
    world->fail_call = "create";
    world->fail_code = ERROR_CODE_HYPERVISOR;
    run(EFFECT_START);
    g_autofree char *failed = audited(path);
    assert_string_equal(failed, "nvram-verified port-plugged port-plugged");
    /* Nor is what stands beside ours said to be gone. */
    g_unlink(path);
    world->presence = DOMAIN_FOREIGN;
    run(EFFECT_CLEAN_UP);
    g_autofree char *foreign = audited(path);
    assert_null(strstr(foreign, "domain-gone"));
    audit_free(world->host.audit);
    world->host.audit = NULL;
}

static const struct CMUnitTest tests[] = {
    TEST(start_goes_from_look_to_report),
    TEST(start_without_vhost_user_asks_no_switch),
    TEST(volumes_are_found_by_type),
    TEST(replaced_firmware_is_reported),
    TEST(missing_volumes_are_refused_before_all_else),
    TEST(secure_boot_without_nvram_is_refused),
    TEST(vhost_user_nic_starts_as_virtio_whatever_was_asked),
    TEST(nvram_of_another_name_than_the_specs_is_refused),
    TEST(two_nvrams_are_refused),
    TEST(socket_path_too_long_is_refused_before_anything_is_made),
    TEST(libvirt_away_is_said),
    TEST(foreign_domain_is_refused),
    TEST(domain_that_is_there_decides),
    TEST(domain_type_that_is_not_offered_is_refused),
    TEST(firmware_that_is_not_installed_is_refused),
    TEST(missing_files_are_refused),
    TEST(ovs_down_never_falls_back),
    TEST(start_of_what_no_domain_can_be_makes_nothing),
    TEST(bad_nvram_is_refused_before_anything_is_made),
    TEST(tpm_that_started_once_must_have_state),
    TEST(refused_port_ends_the_start),
    TEST(start_that_expires_on_the_way_creates_nothing),
    TEST(failed_create_may_have_made_a_domain),
    TEST(domain_that_ends_at_once_is_no_success),
    TEST(stale_sockets_are_removed_at_start),
    TEST(look_completes_the_hardware_of_a_start),
    TEST(look_finds_the_state_of_a_running_domain),
    TEST(nvram_is_read_from_domain_xml),
    TEST(clean_up_takes_everything_down),
    TEST(nothing_is_touched_while_the_domain_may_run),
    TEST(foreign_domain_is_left_and_the_rest_goes),
    TEST(ovs_away_matters_only_where_ports_were),
    TEST(one_port_that_stays_stops_no_other),
    TEST(state_that_cannot_be_synced_is_said_before_ports),
    TEST(state_that_a_full_disk_refuses_is_said_as_any_other),
    TEST(nvram_beside_a_foreign_domain_is_not_written),
    TEST(nvram_of_a_refused_start_is_not_written),
    TEST(nvram_of_two_names_is_not_written),
    TEST(forget_removes_logs_and_the_tpms_link),
    TEST(forgotten_does_not_come_back_behind_a_power_failure),
    TEST(stop_of_what_does_not_run_says_so),
    TEST(forced_stop_does_not_ask),
    TEST(late_stop_touches_no_newer_domain),
    TEST(forced_stop_takes_the_place_of_one_that_waits),
    TEST(stop_that_has_expired_only_looks),
    TEST(forced_end_is_left_time_before_the_expiry),
    TEST(graceful_stop_waits_for_the_guest),
    TEST(deaf_guest_runs_on_after_a_graceful_stop),
    TEST(deaf_guest_is_forced_at_the_deadline),
    TEST(stop_that_libvirt_refuses_fails),
    TEST(attach_goes_from_look_to_report),
    TEST(attach_of_what_is_there_only_reports),
    TEST(attach_where_another_nic_is_says_so),
    TEST(attach_waits_while_libvirt_is_at_work),
    TEST(attach_of_other_types_asks_no_switch),
    TEST(attach_that_cannot_be_is_refused_before_anything_is_made),
    TEST(attach_needs_the_domain_of_its_epoch),
    TEST(attach_that_has_expired_takes_its_port_away),
    TEST(attach_that_fails_leaves_nothing),
    TEST(attach_whose_undo_fails_says_so),
    TEST(attach_is_not_undone_while_libvirt_is_away),
    TEST(preempted_call_has_ended_the_domain),
    TEST(detach_goes_from_device_to_port),
    TEST(detach_of_what_is_gone_goes_on_with_the_port),
    TEST(guest_may_keep_a_device),
    TEST(detach_stops_waiting_for_a_forced_stop),
    TEST(detach_that_libvirt_refuses_changes_nothing),
    TEST(effects_leave_their_lines),
};

int main(void)
{
    return cmocka_run_group_tests(tests, NULL, NULL);
}
