/* The agent's options; see agent_options.h. */
#include "services/host-agent/agent_options.h"

#include <errno.h>
#include <fcntl.h>
#include <glib/gstdio.h>
#include <string.h>
#include <sys/file.h>

#include "common/base/text.h"
#include "common/base/uuid.h"

#define MACHINE_ID_PATH "/etc/machine-id"
enum { MACHINE_ID_DIGITS = 32 };

static const char *const domain_type_words[] = {"auto", "kvm", "qemu", NULL};

const VbOption agent_option_rows[] = {
    {.name = "host.uuid",
     .help = "This host's uuid. Empty: derived from /etc/machine-id, the same as long as that is; "
             "machines that were cloned with one machine-id must each be given their own."},
    {.name = "storage",
     .flags = VB_OPTION_REPEATABLE,
     .help = "A primary storage as NAME:TYPE:PATH, for example pool:local:/srv/vms. TYPE is local, "
             "nfs, shared-mount-point, shared-block or ceph-rbd."},
    {.name = "state.dir",
     .fallback = "/var/lib/virtbus/agent",
     .help = "The agent's journal: one small file per VM. Never delete it while VMs run."},
    {.name = "run.dir",
     .fallback = "/run/virtbus",
     .help =
         "vhost-user sockets, one folder per VM. Keep it short: a socket's path has at most 107 "
         "bytes."},
    {.name = "log.dir", .fallback = "/var/log/virtbus", .help = "Logs of serial consoles."},
    {.name = "libvirt.uri", .fallback = "qemu:///system", .help = "Where libvirtd listens."},
    {.name = "domain.type",
     .type = VB_OPTION_ENUM,
     .fallback = "auto",
     .words = domain_type_words,
     .help = "How guests run: kvm, qemu (emulated), or auto: what UEFI guests can use here."},
    {.name = "swtpm.dir",
     .fallback = "/var/lib/libvirt/swtpm",
     .help = "libvirt's folder of TPM states."},
    {.name = "firmware.dirs",
     .flags = VB_OPTION_REPEATABLE,
     .help = "Folders of QEMU's firmware descriptors; a later one hides files of equal name in an "
             "earlier one. None: /usr/share/qemu/firmware and /etc/qemu/firmware."},
    {.name = "qemu.user",
     .fallback = "libvirt-qemu",
     .help = "The user QEMU runs as; it gets socket folders and TPM state."},
    {.name = "ovs.db",
     .fallback = "unix:/run/openvswitch/db.sock",
     .help = "Where ovs-vsctl finds Open vSwitch."},
    {.name = "ovs.bridge",
     .fallback = "br-int",
     .help = "The bridge of a vhost-user NIC that names none."},
    {.name = "ovs.group",
     .fallback = "root",
     .help = "The group that Open vSwitch runs as; it gets into socket folders."},
    {.name = "nic.max.queues",
     .type = VB_OPTION_INT,
     .fallback = "8",
     .min = 1,
     .max = 256,
     .help = "The most queues that one NIC gets."},
    {.name = "drain.timeout",
     .type = VB_OPTION_DURATION,
     .fallback = "10s",
     .min = 0,
     .max = 600000,
     .help = "How long SIGTERM waits for work in progress. VMs keep running in any case."},
    {.name = "audit.file",
     .help = "A file that gets one JSON line for each thing done to this host. Empty: none is "
             "written."},
    {.name = NULL},
};

static gboolean fail(GError **error, const char *format, ...) G_GNUC_PRINTF(2, 3);
static gboolean fail(GError **error, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    g_autofree char *text = g_strdup_vprintf(format, args);
    va_end(args);
    g_set_error_literal(error, VB_ERROR, ERROR_CODE_INVALID_ARGUMENT, text);
    return FALSE;
}

/* --- Storages */

/* "shared-mount-point" -> STORAGE_TYPE_SHARED_MOUNT_POINT */
static gboolean storage_type_parse(const char *text, StorageType *ret_type)
{
    g_autofree char *code = g_strdelimit(g_strdup(text), "-", '_');
    int value = 0;
    if (!enum_parse(&storage_type__descriptor, code, &value) || value == STORAGE_TYPE_UNSPECIFIED) {
        return FALSE;
    }
    *ret_type = (StorageType)value;
    return TRUE;
}

static VbStorage *storage_parse(const char *text, GError **error)
{
    g_auto(GStrv) parts = g_strsplit(text, ":", 3);
    StorageType type = STORAGE_TYPE_UNSPECIFIED;
    if (g_strv_length(parts) != 3 || parts[0][0] == '\0' || !storage_type_parse(parts[1], &type) ||
        !g_path_is_absolute(parts[2])) {
        fail(error,
             "storage \"%s\": write NAME:TYPE:PATH with a known type and an absolute path, "
             "for example pool:local:/srv/vms",
             text);
        return NULL;
    }
    VbStorage *storage = g_new0(VbStorage, 1);
    storage_ref__init(&storage->ref);
    storage->ref.name = g_strdup(parts[0]);
    storage->ref.type = type;
    storage->path = g_strdup(parts[2]);
    return storage;
}

static gboolean storages_parse(VbHostConfig *config, const char *const *texts, GError **error)
{
    config->storages = g_ptr_array_new();
    for (; *texts != NULL; texts++) {
        VbStorage *storage = storage_parse(*texts, error);
        if (storage == NULL) {
            return FALSE;
        }
        for (guint i = 0; i < config->storages->len; i++) {
            const VbStorage *other = g_ptr_array_index(config->storages, i);
            if (g_str_equal(other->ref.name, storage->ref.name)) {
                return fail(error, "storage %s is there twice: give each its own name",
                            other->ref.name);
            }
        }
        g_ptr_array_add(config->storages, storage);
    }
    return TRUE;
}

/* --- Folders and identity */

static gboolean folder_make(const char *path, int mode, GError **error)
{
    if (g_mkdir_with_parents(path, mode) != 0) {
        return fail(error, "cannot make the folder %s: %s", path, g_strerror(errno));
    }
    return TRUE;
}

/* Two agents on one journal would both run its VMs. The lock lives as long as the process. */
static gboolean state_lock(const char *state_dir, GError **error)
{
    g_autofree char *path = g_build_filename(state_dir, "lock", NULL);
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (fd < 0 || flock(fd, LOCK_EX | LOCK_NB) != 0) {
        const char *question =
            errno == EWOULDBLOCK ? "; does another agent run on this state.dir?" : "";
        return fail(error, "cannot lock %s: %s%s", path, g_strerror(errno), question);
    }
    return TRUE;
}

/* The namespace of host uuids. The machine's id itself is not for others to know. */
#define HOST_NAMESPACE "9c0d2b6e-5f0a-4b7e-8d43-6a1f2e7c9b58"

char *agent_host_uuid(const char *wanted, const char *machine_id_path, GError **error)
{
    g_autofree char *machine_id = NULL;
    if (wanted[0] != '\0') {
        if (!uuid_is_valid(wanted)) {
            fail(error, "host.uuid \"%.64s\": write a uuid in lower case", wanted);
            return NULL;
        }
        return g_strdup(wanted);
    }
    if (!g_file_get_contents(machine_id_path, &machine_id, NULL, NULL) ||
        strspn(machine_id, "0123456789abcdef") != MACHINE_ID_DIGITS) {
        fail(error,
             "%s holds no id of this machine: make one with systemd-machine-id-setup, or set "
             "host.uuid",
             machine_id_path);
        return NULL;
    }
    g_autoptr(VbArena) arena = arena_new();
    return g_strdup(uuid_derive(arena, HOST_NAMESPACE, g_strstrip(machine_id)));
}

/* --- Together */

static const char *const default_firmware_dirs[] = {"/usr/share/qemu/firmware",
                                                    "/etc/qemu/firmware", NULL};

static char *text_of(const VbOptions *options, const char *name)
{
    return g_strdup(options_get_string(options, name));
}

VbHostConfig *agent_host_config(const VbOptions *options, GError **error)
{
    VbHostConfig *config = g_new0(VbHostConfig, 1);
    const char *const *dirs = options_get_list(options, "firmware.dirs");
    config->run_dir = text_of(options, "run.dir");
    config->state_dir = text_of(options, "state.dir");
    config->log_dir = text_of(options, "log.dir");
    config->swtpm_dir = text_of(options, "swtpm.dir");
    config->libvirt_uri = text_of(options, "libvirt.uri");
    config->domain_type = g_strdup(domain_type_words[options_get_enum(options, "domain.type")]);
    config->firmware_dirs = g_strdupv((char **)(dirs[0] != NULL ? dirs : default_firmware_dirs));
    config->ovs_db = text_of(options, "ovs.db");
    config->ovs_bridge = text_of(options, "ovs.bridge");
    config->qemu_user = text_of(options, "qemu.user");
    config->ovs_group = text_of(options, "ovs.group");
    config->max_queues = (guint)options_get_int(options, "nic.max.queues");
    if (!storages_parse(config, options_get_list(options, "storage"), error) ||
        !folder_make(config->state_dir, 0700, error) ||
        !folder_make(config->run_dir, 0755, error) || !folder_make(config->log_dir, 0755, error) ||
        !state_lock(config->state_dir, error)) {
        return NULL;
    }
    config->host_uuid =
        agent_host_uuid(options_get_string(options, "host.uuid"), MACHINE_ID_PATH, error);
    return config->host_uuid != NULL ? config : NULL;
}
