/* See audit.h. It uses the system's calls itself: what counts or fails the calls of the effects
 * does not see it. */
#include "services/host-agent/audit.h"

#include <errno.h>
#include <fcntl.h>
#include <json-glib/json-glib.h>
#include <unistd.h>

/* What a variable store has at most. Disks are not read. */
enum { HASHED_MAX_BYTES = 8 * 1024 * 1024 };

struct VbAudit {
    char *path;
    char *host_uuid;
    GMutex writing; /* Held from the look at the file's end to the write. */
};

static const char *effect_name(VbAuditEffect effect)
{
    switch (effect) {
    case AUDIT_VOLUME_CREATED:
        return "volume-created";
    case AUDIT_VOLUME_FOUND:
        return "volume-found";
    case AUDIT_VOLUME_DELETED:
        return "volume-deleted";
    case AUDIT_NVRAM_VERIFIED:
        return "nvram-verified";
    case AUDIT_TPM_VERIFIED:
        return "tpm-verified";
    case AUDIT_DOMAIN_CREATED:
        return "domain-created";
    case AUDIT_DOMAIN_DESTROYED:
        return "domain-destroyed";
    case AUDIT_DOMAIN_GONE:
        return "domain-gone";
    case AUDIT_STATE_SYNCED:
        return "state-synced";
    case AUDIT_PORT_PLUGGED:
        return "port-plugged";
    case AUDIT_PORT_UNPLUGGED:
        return "port-unplugged";
    case AUDIT_NIC_ATTACHED:
        return "nic-attached";
    case AUDIT_NIC_DETACHED:
        return "nic-detached";
    }
    g_assert_not_reached();
}

/* --- The file */

/* A regular file: a pipe could hold an effect up for ever. -1: errno says why. */
static int audit_open(const char *path)
{
    struct stat facts;
    int fd = open(path, O_RDWR | O_APPEND | O_CREAT | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC, 0640);
    if (fd < 0 || (fstat(fd, &facts) == 0 && S_ISREG(facts.st_mode))) {
        return fd;
    }
    close(fd);
    errno = EINVAL;
    return -1;
}

VbAudit *audit_new(const char *path, const char *host_uuid, GError **error)
{
    int fd = audit_open(path);
    if (fd < 0) {
        g_set_error(error, VB_ERROR, ERROR_CODE_INVALID_ARGUMENT,
                    "audit.file: %s cannot be written: %s; name another regular file, or leave it "
                    "empty",
                    path, g_strerror(errno));
        return NULL;
    }
    close(fd);
    VbAudit *audit = g_new0(VbAudit, 1);
    audit->path = g_strdup(path);
    audit->host_uuid = g_strdup(host_uuid);
    g_mutex_init(&audit->writing);
    return audit;
}

void audit_free(VbAudit *audit)
{
    if (audit != NULL) {
        g_mutex_clear(&audit->writing);
        g_free(audit->path);
        g_free(audit->host_uuid);
        g_free(audit);
    }
}

/* A full disk cuts a line short. */
static gboolean ends_within_a_line(int fd)
{
    char last;
    off_t size_bytes = lseek(fd, 0, SEEK_END);
    return size_bytes > 0 && pread(fd, &last, 1, size_bytes - 1) == 1 && last != '\n';
}

/* Opened for each line, so that a file that was renamed away is not written any more. */
static void audit_write(VbAudit *audit, GString *line)
{
    g_autoptr(GMutexLocker) locker G_GNUC_UNUSED = g_mutex_locker_new(&audit->writing);
    int fd = audit_open(audit->path);
    if (fd >= 0 && ends_within_a_line(fd)) {
        g_string_prepend_c(line, '\n');
    }
    ssize_t n = fd >= 0 ? write(fd, line->str, line->len) : -1;
    if (n != (ssize_t)line->len) {
        g_warning("the audit file %s was not written: %s; lost: %s", audit->path,
                  n < 0 ? g_strerror(errno) : "only a part of the line had room", line->str);
    }
    if (fd >= 0) {
        close(fd);
    }
}

/* --- A line */

static void add_text(JsonObject *line, const char *name, const char *text)
{
    json_object_set_string_member(line, name, text);
}

static JsonObject *line_new(VbHost *host, const HostVm *vm, VbAuditEffect effect, const char *path)
{
    const HostCommand *command = vm->command;
    JsonObject *line = json_object_new();
    json_object_set_int_member(line, "time_ms", host->now_ms(host->clock));
    add_text(line, "host", host->audit->host_uuid);
    add_text(line, "vm", vm->vm_uuid);
    json_object_set_int_member(line, "epoch",
                               (gint64)(command != NULL ? command->epoch : vm->domain_epoch));
    add_text(line, "operation", command != NULL ? command->operation_id : "");
    add_text(line, "effect", effect_name(effect));
    if (path != NULL) {
        add_text(line, "path", path);
    }
    return line;
}

static void line_end(VbHost *host, JsonObject *line)
{
    g_autoptr(JsonNode) node = json_node_alloc();
    json_node_init_object(node, line);
    json_object_unref(line);
    g_autofree char *text = json_to_string(node, FALSE);
    g_autoptr(GString) bytes = g_string_new(text);
    g_string_append_c(bytes, '\n');
    audit_write(host->audit, bytes);
}

static void add_stat(JsonObject *line, const struct stat *facts)
{
    json_object_set_int_member(line, "inode", (gint64)facts->st_ino);
    if (S_ISREG(facts->st_mode)) {
        json_object_set_int_member(line, "size_bytes", (gint64)facts->st_size);
    }
}

static void add_hash(JsonObject *line, int fd)
{
    g_autoptr(GChecksum) sum = g_checksum_new(G_CHECKSUM_SHA256);
    guint8 bytes[16384];
    ssize_t n;
    while ((n = read(fd, bytes, sizeof(bytes))) > 0) {
        g_checksum_update(sum, bytes, n);
    }
    if (n == 0) {
        add_text(line, "sha256", g_checksum_get_string(sum));
    }
}

static void add_file(JsonObject *line, const char *path)
{
    struct stat facts;
    int fd = open(path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    if (fd < 0) {
        return;
    }
    if (fstat(fd, &facts) == 0) {
        add_stat(line, &facts);
        if (S_ISREG(facts.st_mode) && facts.st_size <= HASHED_MAX_BYTES) {
            add_hash(line, fd);
        }
    }
    close(fd);
}

void audit_add(VbHost *host, const HostVm *vm, VbAuditEffect effect, const char *path)
{
    if (host->audit == NULL) {
        return;
    }
    JsonObject *line = line_new(host, vm, effect, path);
    if (path != NULL) {
        add_file(line, path);
    }
    line_end(host, line);
}

void audit_add_nic(VbHost *host, const HostVm *vm, VbAuditEffect effect, guint nic_index)
{
    if (host->audit != NULL) {
        g_autofree char *name = g_strdup_printf("nic/%u", nic_index);
        line_end(host, line_new(host, vm, effect, name));
    }
}

void audit_add_deleted(VbHost *host, const HostVm *vm, const char *path, gboolean there,
                       const struct stat *facts)
{
    if (host->audit == NULL) {
        return;
    }
    JsonObject *line = line_new(host, vm, AUDIT_VOLUME_DELETED, path);
    if (there) {
        add_stat(line, facts);
    }
    line_end(host, line);
}
