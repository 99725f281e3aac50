/* The driver of the kill soak: see soak.h.
 *
 *   soak FOLDER LAB_A LAB_B BOOTSTRAP --seconds=N --settle=N --seed=N --broker-kills=N
 *
 * Exit 0: faults stopped, everything settled, works, and all daemons ended in order. */
#include "tests/soak/soak.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>

enum { TURN_US = 50000, STOP_S = 40 };

static volatile sig_atomic_t interrupted;

static void on_signal(int signal)
{
    (void)signal;
    interrupted = 1;
}

gint64 soak_now_ms(void)
{
    return g_get_real_time() / 1000;
}

void soak_die(const char *format, ...)
{
    va_list args;
    va_start(args, format);
    fputs("soak: ", stderr);
    vfprintf(stderr, format, args);
    fputc('\n', stderr);
    va_end(args);
    exit(EXIT_FAILURE);
}

guint soak_pick(GRand *rand, guint n)
{
    return (guint)g_rand_int_range(rand, 0, (gint32)n);
}

/* ---- Files */

void soak_line(SoakFile *file, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    g_mutex_lock(&file->lock);
    vfprintf(file->stream, format, args);
    fputc('\n', file->stream);
    file->n_lines++;
    g_mutex_unlock(&file->lock);
    va_end(args);
}

static void file_open(const Soak *soak, SoakFile *file, const char *name)
{
    g_autofree char *path = g_build_filename(soak->folder, name, NULL);
    file->stream = fopen(path, "we");
    if (file->stream == NULL) {
        soak_die("%s cannot be made: %s", path, g_strerror(errno));
    }
    g_mutex_init(&file->lock);
}

static void file_close(SoakFile *file)
{
    if (fclose(file->stream) != 0) {
        soak_die("a file of the soak was not written: %s", g_strerror(errno));
    }
}

/* ---- The line of counts, and the summary */

const char *soak_target_name(SoakTarget target)
{
    static const char *const names[TARGET_COUNT] = {"vm-service", "volume-service", "host-agent",
                                                    "libvirtd",   "qemu",           "broker"};
    return names[target];
}

static guint n_unanswered(Soak *soak)
{
    GHashTableIter iter;
    gpointer value;
    guint n = 0;
    g_hash_table_iter_init(&iter, soak->table.requests);
    while (g_hash_table_iter_next(&iter, NULL, &value)) {
        const SoakRequest *request = value;
        n += request->n_acked > 0 && request->n_first == 0;
    }
    return n;
}

static void show_counts(Soak *soak, const char *phase, gint64 begin_us)
{
    guint n_kills = 0;
    for (int i = 0; i < TARGET_COUNT; i++) {
        n_kills += soak->kills[i] + soak->holds[i];
    }
    g_mutex_lock(&soak->domains_lock);
    guint n_domains = soak->domains->len;
    g_mutex_unlock(&soak->domains_lock);
    g_mutex_lock(&soak->table.lock);
    fprintf(stderr,
            "  %4d s  %-8s %5" G_GUINT64_FORMAT " sent, %4u unanswered, %3u VMs, %2u domains, "
            "%3u faults\n",
            (int)((g_get_monotonic_time() - begin_us) / G_USEC_PER_SEC), phase, soak->table.n_sent,
            n_unanswered(soak), g_hash_table_size(soak->table.vms), n_domains, n_kills);
    g_mutex_unlock(&soak->table.lock);
}

typedef struct {
    guint n_done;
    guint n_refused;
    guint n_repeated;
    guint n_lost;
} Tally;

static gint compare_text(gconstpointer a, gconstpointer b)
{
    return strcmp(a, b);
}

static void show_requests(Soak *soak)
{
    g_autoptr(GHashTable) tallies = g_hash_table_new_full(g_str_hash, g_str_equal, NULL, g_free);
    GHashTableIter iter;
    gpointer value;
    g_hash_table_iter_init(&iter, soak->table.requests);
    while (g_hash_table_iter_next(&iter, NULL, &value)) {
        const SoakRequest *request = value;
        Tally *tally = g_hash_table_lookup(tallies, request->what);
        if (tally == NULL) {
            tally = g_new0(Tally, 1);
            g_hash_table_insert(tallies, (char *)request->what, tally);
        }
        tally->n_done += request->n_first > 0 && request->code == 0;
        tally->n_refused += request->n_first > 0 && request->code != 0;
        tally->n_lost += request->n_first == 0;
        tally->n_repeated += request->n_repeated;
    }
    g_autoptr(GList) names = g_list_sort(g_hash_table_get_keys(tallies), compare_text);
    printf("  %-18s %6s %8s %9s %9s\n", "request", "done", "refused", "repeated", "no reply");
    for (GList *name = names; name != NULL; name = name->next) {
        const Tally *tally = g_hash_table_lookup(tallies, name->data);
        printf("  %-18s %6u %8u %9u %9u\n", (char *)name->data, tally->n_done, tally->n_refused,
               tally->n_repeated, tally->n_lost);
    }
}

static void show_summary(Soak *soak)
{
    show_requests(soak);
    printf("  %-18s %6s %8s\n", "fault", "killed", "held");
    for (int i = 0; i < TARGET_COUNT; i++) {
        printf("  %-18s %6u %8u\n", soak_target_name(i), soak->kills[i], soak->holds[i]);
    }
    printf("  %u daemons ended by themselves, %u samples of what runs\n", soak->n_died,
           soak->n_samples);
}

/* ---- Phases */

static void chaos(Soak *soak, gint64 begin_us)
{
    g_autoptr(GRand) rand = g_rand_new_with_seed((guint32)(soak->seed * 2654435761u));
    gint64 end_us = g_get_monotonic_time() + soak->chaos_s * G_USEC_PER_SEC;
    gint64 show_us = 0;
    while (g_get_monotonic_time() < end_us && !interrupted) {
        soak_chaos_turn(soak, rand);
        if (g_get_monotonic_time() >= show_us) {
            show_us = g_get_monotonic_time() + 10 * G_USEC_PER_SEC;
            show_counts(soak, "chaos", begin_us);
        }
        g_usleep(TURN_US);
    }
}

/* NULL, or what has not settled. */
static char *settle(Soak *soak, gint64 begin_us)
{
    gint64 end_us = g_get_monotonic_time() + soak->settle_s * G_USEC_PER_SEC;
    gint64 show_us = 0;
    guint n_quiet = 0;
    for (;;) {
        soak_chaos_end(soak);
        char *owed = soak_owed(soak);
        n_quiet = owed == NULL ? n_quiet + 1 : 0;
        /* For a while: a report may still be on its way. */
        if (n_quiet >= 40 || (owed != NULL && (g_get_monotonic_time() > end_us || interrupted))) {
            return owed;
        }
        g_free(owed);
        if (g_get_monotonic_time() >= show_us) {
            show_us = g_get_monotonic_time() + 10 * G_USEC_PER_SEC;
            show_counts(soak, "settle", begin_us);
        }
        g_usleep(TURN_US);
    }
}

static gboolean all_ended(Soak *soak)
{
    gboolean ended = TRUE;
    for (guint i = 0; i < soak->processes->len; i++) {
        SoakProcess *process = g_ptr_array_index(soak->processes, i);
        int status = 0;
        if (process->pid != 0 && waitpid(process->pid, &status, WNOHANG) == process->pid) {
            if (!WIFEXITED(status) || WEXITSTATUS(status) != 0) {
                fprintf(stderr, "soak: %s did not end in order: %d\n", process->name, status);
                soak->n_died++;
            }
            process->pid = 0;
        }
        ended = ended && process->pid == 0;
    }
    return ended;
}

static gboolean stop_daemons(Soak *soak)
{
    gint64 end_us = g_get_monotonic_time() + STOP_S * G_USEC_PER_SEC;
    for (guint i = 0; i < soak->processes->len; i++) {
        SoakProcess *process = g_ptr_array_index(soak->processes, i);
        kill(process->pid, SIGTERM);
    }
    while (!all_ended(soak)) {
        if (g_get_monotonic_time() > end_us) {
            return FALSE;
        }
        g_usleep(TURN_US);
    }
    return TRUE;
}

static void write_world(Soak *soak)
{
    SoakFile file = {0};
    file_open(soak, &file, "world.json");
    soak_line(&file,
              "{\"seed\": %" G_GUINT64_FORMAT ", \"prefix\": \"%s\", \"shared\": \"%s\", "
              "\"partitions\": %d, \"template\": \"%s/VARS.fd\", \"hosts\": [",
              soak->seed, soak->prefix, soak->shared_folder, SOAK_PARTITIONS, soak->folder);
    for (int i = 0; i < SOAK_HOSTS; i++) {
        soak_line(&file, "  {\"uuid\": \"%s\", \"folder\": \"%s\"}%s", soak->hosts[i].uuid,
                  soak->hosts[i].folder, i + 1 < SOAK_HOSTS ? "," : "");
    }
    soak_line(&file, "], \"chaos_s\": %" G_GINT64_FORMAT ", \"zombies\": %u, \"kills\": {",
              soak->chaos_s, soak_zombies_floor(soak));
    for (int i = 0; i < TARGET_COUNT; i++) {
        soak_line(&file, "  \"%s\": %u%s", soak_target_name(i), soak_chaos_floor(soak, i),
                  i + 1 < TARGET_COUNT ? "," : "");
    }
    soak_line(&file, "}}");
    file_close(&file);
}

static gboolean run(Soak *soak)
{
    GThread *streams[SOAK_STREAMS];
    gint64 begin_us = g_get_monotonic_time();
    GThread *reader = g_thread_new("reader", soak_reader, soak);
    GThread *sampler = g_thread_new("sampler", soak_sampler, soak);
    for (int i = 0; i < SOAK_STREAMS; i++) {
        streams[i] = g_thread_new("stream", soak_stream, soak);
    }
    chaos(soak, begin_us);
    g_atomic_int_set(&soak->streams_stop, 1);
    soak_chaos_end(soak);
    for (int i = 0; i < SOAK_STREAMS; i++) {
        g_thread_join(streams[i]);
    }
    g_autofree char *before = settle(soak, begin_us);
    g_autofree char *problem = before == NULL ? soak_closing(soak) : NULL;
    g_autofree char *owed = before == NULL ? settle(soak, begin_us) : g_steal_pointer(&before);
    gboolean stopped = stop_daemons(soak);
    g_atomic_int_set(&soak->threads_stop, 1);
    g_thread_join(reader);
    g_thread_join(sampler);
    show_counts(soak, "end", begin_us);
    show_summary(soak);
    if (owed != NULL) {
        fprintf(stderr, "soak: %" G_GINT64_FORMAT " s after the last fault this is still open:\n%s",
                soak->settle_s, owed);
    }
    if (problem != NULL) {
        fprintf(stderr, "soak: after the last fault %s\n", problem);
    }
    if (!stopped) {
        fputs("soak: a daemon does not end at SIGTERM\n", stderr);
    }
    return owed == NULL && problem == NULL && stopped && !interrupted;
}

static void parse(Soak *soak, int argc, char **argv)
{
    GOptionEntry entries[] = {
        {"seconds", 0, 0, G_OPTION_ARG_INT64, &soak->chaos_s, NULL, NULL},
        {"settle", 0, 0, G_OPTION_ARG_INT64, &soak->settle_s, NULL, NULL},
        {"seed", 0, 0, G_OPTION_ARG_INT64, &soak->seed, NULL, NULL},
        {"broker-kills", 0, 0, G_OPTION_ARG_INT, &soak->broker_kills, NULL, NULL},
        {NULL, 0, 0, G_OPTION_ARG_NONE, NULL, NULL, NULL},
    };
    g_autoptr(GOptionContext) context = g_option_context_new("FOLDER LAB_A LAB_B BOOTSTRAP");
    g_autoptr(GError) error = NULL;
    g_option_context_add_main_entries(context, entries, NULL);
    if (!g_option_context_parse(context, &argc, &argv, &error)) {
        soak_die("%s", error->message);
    }
    if (argc != 5) {
        soak_die("usage: soak FOLDER LAB_A LAB_B BOOTSTRAP [OPTION...]");
    }
    soak->folder = argv[1];
    soak->hosts[0].lab = argv[2];
    soak->hosts[1].lab = argv[3];
    soak->bootstrap = argv[4];
    soak->prefix = "soak";
}

int main(int argc, char **argv)
{
    static Soak soak = {.chaos_s = 120, .settle_s = 120, .seed = 1, .broker_kills = 2};
    parse(&soak, argc, argv);
    signal(SIGINT, on_signal);
    signal(SIGTERM, on_signal);
    file_open(&soak, &soak.requests_file, "requests.jsonl");
    file_open(&soak, &soak.reader_file, "reader.jsonl");
    file_open(&soak, &soak.samples_file, "samples.jsonl");
    file_open(&soak, &soak.chaos_file, "chaos.jsonl");
    soak_ground_new(&soak);
    soak_slots_new(&soak);
    soak_domains_new(&soak);
    write_world(&soak);
    gboolean settled = run(&soak);
    file_close(&soak.requests_file);
    file_close(&soak.reader_file);
    file_close(&soak.samples_file);
    file_close(&soak.chaos_file);
    return settled && soak.n_died == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
