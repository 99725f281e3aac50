/* What the soak stands on: the folders of two hosts, a firmware whose guest writes to its variable
 * store, and the daemons.
 *
 * The firmware is 64 KiB of code above a variable store that QEMU maps right below it. All that it
 * does is to add one to a number in the last 8 bytes of the store, by the flash's own commands, and
 * to halt: a guest that writes as a real one does, and costs no time. So each content that a store
 * may ever have is known by the number of boots. */
#include "tests/soak/soak.h"

#include <errno.h>
#include <fcntl.h>
#include <gio/gio.h>
#include <glib/gstdio.h>
#include <signal.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/lib/child.h"

#define LAB_TOOL      SOURCE_DIR "/tests/lib/lab"
#define VARS_TEMPLATE "/usr/share/OVMF/OVMF_VARS_4M.fd"

enum { CODE_BYTES = 65536, CODE_AT = CODE_BYTES - 256, GDT_AT = 0x40, RESET_AT = 0xf0 };

/* ---- The guest */

static const guint8 code[] = {
    0xfa,                               /* cli */
    0x2e, 0x66, 0x0f, 0x01, 0x16, 0x58, /* lgdt cs:[0xff58] */
    0xff, 0x0f, 0x20, 0xc0,             /* mov eax, cr0 */
    0x0c, 0x01,                         /* or al, 1 */
    0x0f, 0x22, 0xc0,                   /* mov cr0, eax: protected mode */
    0x66, 0xea, 0x18, 0xff, 0xff, 0xff, /* jmp 8:0xffffff18 */
    0x08, 0x00,                         /* From here on 32-bit code: */
    0xb8, 0x10, 0x00, 0x00, 0x00,       /* mov eax, 16 */
    0x8e, 0xd8,                         /* mov ds, eax */
    0xbf, 0xf8, 0xff, 0xfe, 0xff,       /* mov edi, 0xfffefff8: the store's last 8 bytes */
    0x8b, 0x07,                         /* mov eax, [edi] */
    0x40,                               /* inc eax */
    0xb9, 0x04, 0x00, 0x00, 0x00,       /* mov ecx, 4 */
    0xc6, 0x07, 0x40,                   /* again: mov byte [edi], 0x40: program a byte */
    0x88, 0x07,                         /* mov [edi], al */
    0xc1, 0xe8, 0x08,                   /* shr eax, 8 */
    0x47,                               /* inc edi */
    0xe2, 0xf5,                         /* loop again */
    0xc6, 0x07, 0xff,                   /* mov byte [edi], 0xff: read again */
    0xf4, 0xeb, 0xfd,                   /* halt: hlt; jmp halt */
};
/* None, code, data; then what lgdt reads: size and address. */
static const guint8 gdt[] = {0, 0,    0,    0,    0,    0, 0,    0,    0xff, 0xff,
                             0, 0,    0,    0x9b, 0xcf, 0, 0xff, 0xff, 0,    0,
                             0, 0x93, 0xcf, 0,    0x17, 0, 0x40, 0xff, 0xff, 0xff};
static const guint8 reset[] = {0xe9, 0x0d, 0xff}; /* jmp to code[0] */

static void write_file(const char *folder, const char *name, const void *bytes, gssize size_bytes)
{
    g_autofree char *path = g_build_filename(folder, name, NULL);
    g_autoptr(GError) error = NULL;
    if (!g_file_set_contents(path, bytes, size_bytes, &error) || g_chmod(path, 0644) != 0) {
        soak_die("%s cannot be written: %s", path, error != NULL ? error->message : "chmod");
    }
}

static void make_firmware(const Soak *soak)
{
    g_autofree guint8 *image = g_malloc(CODE_BYTES);
    g_autofree char *vars = NULL;
    gsize vars_bytes = 0;
    memset(image, 0xff, CODE_BYTES);
    memcpy(image + CODE_AT, code, sizeof(code));
    memcpy(image + CODE_AT + GDT_AT, gdt, sizeof(gdt));
    memcpy(image + CODE_AT + RESET_AT, reset, sizeof(reset));
    write_file(soak->folder, "CODE.fd", image, CODE_BYTES);
    if (!g_file_get_contents(VARS_TEMPLATE, &vars, &vars_bytes, NULL)) {
        soak_die("%s is not there: install the package ovmf", VARS_TEMPLATE);
    }
    write_file(soak->folder, "VARS.fd", vars, (gssize)vars_bytes);
    g_autofree char *folder = g_build_filename(soak->folder, "firmware", NULL);
    g_autofree char *descriptor = g_strdup_printf(
        "{\"description\": \"counts its boots\", \"interface-types\": [\"uefi\"],\n"
        " \"mapping\": {\"device\": \"flash\", \"mode\": \"split\",\n"
        "  \"executable\": {\"filename\": \"%s/CODE.fd\", \"format\": \"raw\"},\n"
        "  \"nvram-template\": {\"filename\": \"%s/VARS.fd\", \"format\": \"raw\"}},\n"
        " \"targets\": [{\"architecture\": \"x86_64\", \"machines\": [\"pc-q35-*\"]}],\n"
        " \"features\": [], \"tags\": []}\n",
        soak->folder, soak->folder);
    g_mkdir(folder, 0755);
    write_file(folder, "10-soak.json", descriptor, -1);
}

/* ---- Processes */

static void add(GPtrArray *argv, const char *format, ...) G_GNUC_PRINTF(2, 3);

static void add(GPtrArray *argv, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    g_ptr_array_add(argv, g_strdup_vprintf(format, args));
    va_end(args);
}

static GPtrArray *argv_new(const Soak *soak, const char *program)
{
    GPtrArray *argv = g_ptr_array_new();
    add(argv, "%s", program);
    add(argv, "--bootstrap=%s", soak->bootstrap);
    add(argv, "--topic.prefix=%s", soak->prefix);
    add(argv, "--log.format=text");
    add(argv, "--http.listen=127.0.0.1:0");
    return argv;
}

static SoakProcess *process_add(Soak *soak, SoakTarget target, const char *name, GPtrArray *argv)
{
    SoakProcess *process = g_new0(SoakProcess, 1);
    g_ptr_array_add(argv, NULL);
    process->target = target;
    process->name = g_strdup(name);
    process->argv = (char **)g_ptr_array_free(argv, FALSE);
    g_ptr_array_add(soak->processes, process);
    return process;
}

void soak_process_start(Soak *soak, SoakProcess *process)
{
    g_autofree char *log = g_strdup_printf("%s/%s.log", soak->folder, process->name);
    int fd = open(log, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
    process->pid = fork();
    if (fd < 0 || process->pid < 0) {
        soak_die("%s cannot be started: %s", process->name, g_strerror(errno));
    }
    if (process->pid == 0) {
        child_dies_with_parent(NULL);
        dup2(fd, STDOUT_FILENO);
        dup2(fd, STDERR_FILENO);
        execv(process->argv[0], process->argv);
        _exit(127);
    }
    close(fd);
    process->start_us = 0;
    process->wake_us = 0;
}

/* A second later: what ends again and again does not fill its log. */
void soak_processes_reap(Soak *soak)
{
    for (guint i = 0; i < soak->processes->len; i++) {
        SoakProcess *process = g_ptr_array_index(soak->processes, i);
        int status = 0;
        if (process->pid == 0 || waitpid(process->pid, &status, WNOHANG) != process->pid) {
            continue;
        }
        soak->n_died++;
        soak_line(&soak->chaos_file,
                  "{\"time_ms\": %" G_GINT64_FORMAT
                  ", \"what\": \"died\", \"who\": \"%s\", \"status\": %d}",
                  soak_now_ms(), process->name, status);
        fprintf(stderr, "soak: %s ended by itself (status %d); see %s/%s.log\n", process->name,
                status, soak->folder, process->name);
        process->pid = 0;
        process->start_us = g_get_monotonic_time() + G_USEC_PER_SEC;
    }
}

/* ---- The lab's own processes */

pid_t soak_lab_pid(const char *lab, const char *record)
{
    g_autofree char *path = g_strdup_printf("%s/%s.proc", lab, record);
    g_autofree char *text = NULL;
    if (!g_file_get_contents(path, &text, NULL, NULL)) {
        return 0;
    }
    pid_t pid = (pid_t)g_ascii_strtoll(text, NULL, 10);
    return pid > 0 && kill(pid, 0) == 0 ? pid : 0;
}

void soak_lab_run(const char *command, const char *lab, const char *part)
{
    const char *argv[] = {LAB_TOOL, command, lab, part, NULL};
    g_autoptr(GError) error = NULL;
    if (!g_spawn_async(NULL, (char **)argv, NULL,
                       G_SPAWN_STDOUT_TO_DEV_NULL | G_SPAWN_STDERR_TO_DEV_NULL, NULL, NULL, NULL,
                       &error)) {
        soak_die("%s %s: %s", LAB_TOOL, command, error->message);
    }
}

/* ---- Hosts and services */

static void add_service(Soak *soak, SoakTarget target, const char *name, const char *program)
{
    for (int i = 0; i < SOAK_INSTANCES; i++) {
        g_autofree char *instance = g_strdup_printf("%s-%d", name, i + 1);
        GPtrArray *argv = argv_new(soak, program);
        add(argv, "--instance.id=%s", instance);
        add(argv, "--nvram.policy=all-uefi");
        add(argv, "--nvram.retain=20s");
        add(argv, "--delete.retry=1s");
        add(argv, "--default.storage=local:Local");
        process_add(soak, target, instance, argv);
    }
}

static char *folder_make(const char *parent, const char *name)
{
    char *path = g_build_filename(parent, name, NULL);
    if (g_mkdir_with_parents(path, 0755) != 0 || g_chmod(path, 0755) != 0) {
        soak_die("%s cannot be made: %s", path, g_strerror(errno));
    }
    return path;
}

static void add_host(Soak *soak, int number)
{
    SoakHost *host = &soak->hosts[number];
    g_autofree char *name = g_strdup_printf("host-%c", 'a' + number);
    host->folder = folder_make(soak->folder, name);
    uuid_random(host->uuid);
    g_autofree char *storage = folder_make(host->folder, "storage");
    g_free(folder_make(storage, "images"));
    GPtrArray *argv = argv_new(soak, HOST_AGENT);
    add(argv, "--host.uuid=%s", host->uuid);
    add(argv, "--run.dir=%s/run", host->folder);
    add(argv, "--state.dir=%s/agent", host->folder);
    add(argv, "--log.dir=%s/serial", host->folder);
    add(argv, "--storage=local:local:%s", storage);
    add(argv, "--storage=shared:shared-mount-point:%s", soak->shared_folder);
    add(argv, "--libvirt.uri=qemu+unix:///system?socket=%s/libvirt/run/libvirt/libvirt-sock",
        host->lab);
    add(argv, "--swtpm.dir=%s/libvirt/lib/swtpm", host->lab);
    add(argv, "--ovs.db=unix:%s/no-such-ovs", host->folder);
    add(argv, "--domain.type=qemu");
    add(argv, "--firmware.dirs=%s/firmware", soak->folder);
    add(argv, "--audit.file=%s/audit.jsonl", host->folder);
    host->agent = process_add(soak, TARGET_AGENT, name, argv);
}

static void make_topics(const Soak *soak)
{
    for (int i = 0; i < SOAK_HOSTS; i++) {
        const char *argv[] = {VIRTBUSCTL,
                              "--quiet",
                              "--bootstrap",
                              soak->bootstrap,
                              "--topic.prefix",
                              soak->prefix,
                              "topics",
                              "create",
                              "--partitions",
                              G_STRINGIFY(4),
                              "--host",
                              soak->hosts[i].uuid,
                              NULL};
        int status = 0;
        g_autoptr(GError) error = NULL;
        if (!g_spawn_sync(NULL, (char **)argv, NULL, G_SPAWN_STDOUT_TO_DEV_NULL, NULL, NULL, NULL,
                          NULL, &status, &error) ||
            status != 0) {
            soak_die("the topics cannot be made: %s", error != NULL ? error->message : "see above");
        }
    }
}

void soak_ground_new(Soak *soak)
{
    soak->processes = g_ptr_array_new();
    soak->shared_folder = folder_make(soak->folder, "shared");
    g_free(folder_make(soak->shared_folder, "images"));
    make_firmware(soak);
    add_service(soak, TARGET_VM_SERVICE, "vm-service", VM_SERVICE);
    add_service(soak, TARGET_VOLUME_SERVICE, "volume-service", VOLUME_SERVICE);
    for (int i = 0; i < SOAK_HOSTS; i++) {
        add_host(soak, i);
    }
    make_topics(soak);
    for (guint i = 0; i < soak->processes->len; i++) {
        soak_process_start(soak, g_ptr_array_index(soak->processes, i));
    }
}
