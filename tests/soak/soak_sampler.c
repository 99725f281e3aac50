/* Looks five times a second which domains run where: QEMU's command line has the VM and its variable
 * store, its mounts the lab and so the host. It asks nobody. */
#include "tests/soak/soak.h"

#include <stdlib.h>
#include <string.h>

enum { SAMPLE_US = 200000 };

static char *proc_read(pid_t pid, const char *name, gsize *ret_bytes)
{
    g_autofree char *path = g_strdup_printf("/proc/%d/%s", (int)pid, name);
    char *text = NULL;
    return g_file_get_contents(path, &text, ret_bytes, NULL) ? text : NULL;
}

/* Ticks since boot; 0: it is gone, or only waits to be reaped. */
static guint64 start_of(pid_t pid)
{
    g_autofree char *text = proc_read(pid, "stat", NULL);
    const char *at = text != NULL ? strrchr(text, ')') : NULL;
    if (at == NULL || at[2] == 'Z' || at[2] == 'X') {
        return 0;
    }
    g_auto(GStrv) words = g_strsplit(at + 2, " ", 22);
    return g_strv_length(words) > 19 ? g_ascii_strtoull(words[19], NULL, 10) : 0;
}

/* The host in whose lab it lives; SOAK_HOSTS: none of ours. A domain has a mount namespace of its
 * own, derived from its lab's. */
static guint host_of(const Soak *soak, pid_t pid)
{
    g_autofree char *mounts = proc_read(pid, "mountinfo", NULL);
    for (guint i = 0; mounts != NULL && i < SOAK_HOSTS; i++) {
        g_autofree char *mark = g_strdup_printf("virtbus-lab:%s ", soak->hosts[i].lab);
        if (strstr(mounts, mark) != NULL) {
            return i;
        }
    }
    return SOAK_HOSTS;
}

/* The variable store that the words of a command line name; NULL: none. */
static char *nvram_of(const char *text, gsize n_bytes)
{
    for (const char *at = text; at < text + n_bytes; at += strlen(at) + 1) {
        const char *path = strstr(at, "/nvRam/");
        if (path == NULL) {
            continue;
        }
        const char *end = strstr(path, ".fd");
        const char *begin = path;
        while (begin > at && begin[-1] != '"' && begin[-1] != '=') {
            begin--;
        }
        return end != NULL ? g_strndup(begin, (gsize)(end + 3 - begin)) : NULL;
    }
    return NULL;
}

static void domain_free(void *data)
{
    SoakDomain *domain = data;
    g_free(domain->nvram_path);
    g_free(domain);
}

/* NULL: no domain of ours. */
static SoakDomain *domain_new(const Soak *soak, pid_t pid, guint64 start)
{
    gsize n_bytes = 0;
    g_autofree char *comm = proc_read(pid, "comm", NULL);
    if (comm == NULL || !g_str_has_prefix(comm, "qemu-system")) {
        return NULL;
    }
    g_autofree char *text = proc_read(pid, "cmdline", &n_bytes);
    const char *name = text != NULL ? memmem(text, n_bytes, "guest=vb-", 9) : NULL;
    guint host = host_of(soak, pid);
    if (name == NULL || host == SOAK_HOSTS) {
        return NULL;
    }
    SoakDomain *domain = g_new0(SoakDomain, 1);
    domain->pid = pid;
    domain->start = start;
    domain->host = host;
    g_strlcpy(domain->vm, name + 9, sizeof(domain->vm));
    domain->nvram_path = nvram_of(text, n_bytes);
    return domain;
}

static gboolean knows(const Soak *soak, pid_t pid)
{
    for (guint i = 0; i < soak->domains->len; i++) {
        if (((const SoakDomain *)g_ptr_array_index(soak->domains, i))->pid == pid) {
            return TRUE;
        }
    }
    return FALSE;
}

static void sample(Soak *soak)
{
    g_autoptr(GDir) dir = g_dir_open("/proc", 0, NULL);
    for (guint i = soak->domains->len; i-- > 0;) {
        const SoakDomain *domain = g_ptr_array_index(soak->domains, i);
        if (start_of(domain->pid) != domain->start) {
            g_ptr_array_remove_index_fast(soak->domains, i);
        }
    }
    for (const char *name; (name = g_dir_read_name(dir)) != NULL;) {
        pid_t pid = (pid_t)atoi(name);
        guint64 start = pid > 1 && !knows(soak, pid) ? start_of(pid) : 0;
        SoakDomain *domain = start != 0 ? domain_new(soak, pid, start) : NULL;
        if (domain != NULL) {
            g_ptr_array_add(soak->domains, domain);
        }
    }
}

static void sample_write(Soak *soak)
{
    g_autoptr(GString) line = g_string_new(NULL);
    for (guint i = 0; i < soak->domains->len; i++) {
        const SoakDomain *domain = g_ptr_array_index(soak->domains, i);
        g_string_append_printf(line, "%s[\"%s\", \"%s\", %d, \"%s\"]", i > 0 ? ", " : "",
                               soak->hosts[domain->host].uuid, domain->vm, (int)domain->pid,
                               domain->nvram_path != NULL ? domain->nvram_path : "");
    }
    soak_line(&soak->samples_file, "{\"time_ms\": %" G_GINT64_FORMAT ", \"running\": [%s]}",
              soak_now_ms(), line->str);
    soak->n_samples++;
}

void soak_domains_new(Soak *soak)
{
    soak->domains = g_ptr_array_new_with_free_func(domain_free);
}

gboolean soak_guest_has_written(Soak *soak, const char *vm)
{
    g_autofree char *path = NULL;
    g_autofree char *bytes = NULL;
    gsize n_bytes = 0;
    g_mutex_lock(&soak->domains_lock);
    for (guint i = 0; i < soak->domains->len; i++) {
        const SoakDomain *domain = g_ptr_array_index(soak->domains, i);
        path = path == NULL && strcmp(domain->vm, vm) == 0 ? g_strdup(domain->nvram_path) : path;
    }
    g_mutex_unlock(&soak->domains_lock);
    return path != NULL && g_file_get_contents(path, &bytes, &n_bytes, NULL) && n_bytes > 8 &&
           bytes[n_bytes - 8] != '\xff';
}

gpointer soak_sampler(gpointer data)
{
    Soak *soak = data;
    gboolean last = FALSE;
    while (!last) {
        /* Once more behind the end of everything: what runs then is compared with the states. */
        last = g_atomic_int_get(&soak->threads_stop) != 0;
        g_mutex_lock(&soak->domains_lock);
        sample(soak);
        sample_write(soak);
        g_mutex_unlock(&soak->domains_lock);
        g_usleep(SAMPLE_US);
    }
    return NULL;
}
