/*
 * metrics: see metrics.h. One mutex guards all: an update is a hash look-up without allocation.
 */
#include "common/runtime/metrics.h"

#include <math.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

const double metrics_seconds_bounds[METRICS_SECONDS_BOUNDS_N] = {
    0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 60};

typedef struct {
    const char *labels[METRICS_LABELS_MAX]; /* first: the hash table's key is the series itself */
    double value;                           /* histogram: sum of the observations */
    guint64 count;
    guint64 buckets[]; /* not cumulative; one for each bound */
} Series;

static GMutex lock;
static GPtrArray *registry; /* VbMetric; made by the first registration */
static double start_time_s;

/* The start of this program, also where it executed itself again: its counters begin at zero. */
__attribute__((constructor)) static void note_start_time(void)
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    start_time_s = (double)now.tv_sec + (double)(now.tv_nsec / 1000000) / 1000;
}

static guint series_hash(gconstpointer key)
{
    const Series *series = key;
    guint hash = 0;
    for (int i = 0; i < METRICS_LABELS_MAX && series->labels[i]; i++)
        hash = hash * 31 + g_str_hash(series->labels[i]);
    return hash;
}

static gboolean series_equal(gconstpointer a, gconstpointer b)
{
    const Series *left = a;
    const Series *right = b;
    for (int i = 0; i < METRICS_LABELS_MAX; i++)
        if (g_strcmp0(left->labels[i], right->labels[i]) != 0)
            return FALSE;
    return TRUE;
}

static Series *series_add(VbMetric *metric, const char *const *labels)
{
    Series *series = g_malloc0(sizeof(Series) + metric->n_bounds * sizeof(series->buckets[0]));
    for (int i = 0; i < METRICS_LABELS_MAX; i++)
        series->labels[i] = g_strdup(labels[i]);
    g_hash_table_add(metric->series_set, series);
    g_ptr_array_add(metric->series, series);
    return series;
}

/* Called with the lock held. */
static Series *series_get(VbMetric *metric, const char *const *labels)
{
    g_assert(metric->series_set != NULL);
    for (int i = 0; i < METRICS_LABELS_MAX; i++)
        g_assert((labels[i] != NULL) == (metric->labels[i] != NULL));

    Series key = {.labels = {labels[0], labels[1]}};
    Series *series = g_hash_table_lookup(metric->series_set, &key);
    if (series || metric->series->len < METRICS_SERIES_MAX)
        return series ? series : series_add(metric, labels);

    Series other = {
        .labels = {metric->labels[0] ? "other" : NULL, metric->labels[1] ? "other" : NULL}};
    series = g_hash_table_lookup(metric->series_set, &other);
    return series ? series : series_add(metric, other.labels);
}

void metrics_register(VbMetric *metric)
{
    static const char *const no_labels[METRICS_LABELS_MAX];
    g_mutex_lock(&lock);
    if (!metric->series_set) {
        metric->series_set = g_hash_table_new(series_hash, series_equal);
        metric->series = g_ptr_array_new();
        if (!registry)
            registry = g_ptr_array_new();
        g_ptr_array_add(registry, metric);
        if (!metric->labels[0])
            series_get(metric, no_labels);
    }
    g_mutex_unlock(&lock);
}

void metrics_add_labels(VbMetric *metric, double amount, const char *const *labels)
{
    g_assert(metric->type == VB_METRIC_GAUGE || (metric->type == VB_METRIC_COUNTER && amount >= 0));
    g_mutex_lock(&lock);
    series_get(metric, labels)->value += amount;
    g_mutex_unlock(&lock);
}

void metrics_set_labels(VbMetric *metric, double value, const char *const *labels)
{
    g_assert(metric->type == VB_METRIC_GAUGE);
    g_mutex_lock(&lock);
    series_get(metric, labels)->value = value;
    g_mutex_unlock(&lock);
}

void metrics_observe_labels(VbMetric *metric, double value, const char *const *labels)
{
    g_assert(metric->type == VB_METRIC_HISTOGRAM);
    g_mutex_lock(&lock);
    Series *series = series_get(metric, labels);
    series->value += value;
    series->count++;
    size_t bucket = 0;
    while (bucket < metric->n_bounds && value > metric->bounds[bucket])
        bucket++;
    if (bucket < metric->n_bounds)
        series->buckets[bucket]++;
    g_mutex_unlock(&lock);
}

static void append_number(GString *page, double number)
{
    char text[G_ASCII_DTOSTR_BUF_SIZE];
    if (isnan(number)) {
        g_string_append(page, "NaN");
    } else if (isinf(number)) {
        g_string_append(page, number > 0 ? "+Inf" : "-Inf");
    } else {
        /* The short form where it is exact: 0.1, and not 0.10000000000000001. */
        g_ascii_formatd(text, sizeof(text), "%.15g", number);
        if (g_ascii_strtod(text, NULL) != number)
            g_ascii_dtostr(text, sizeof(text), number);
        g_string_append(page, text);
    }
    g_string_append_c(page, '\n');
}

static void append_label(GString *page, char *separator, const char *name, const char *value)
{
    g_autofree char *valid = g_utf8_make_valid(value, -1);
    g_string_append_printf(page, "%c%s=\"", *separator, name);
    for (const char *p = valid; *p; p++) {
        if (*p == '\n')
            g_string_append(page, "\\n");
        else if (*p == '"' || *p == '\\')
            g_string_append_printf(page, "\\%c", *p);
        else
            g_string_append_c(page, *p);
    }
    g_string_append_c(page, '"');
    *separator = ',';
}

/* One sample line. le is the bucket's upper bound as text, or NULL outside histograms. */
static void append_sample(GString *page, const VbMetric *metric, const char *suffix,
                          const Series *series, const char *le, double value)
{
    char separator = '{';
    g_string_append_printf(page, "%s%s", metric->name, suffix);
    for (int i = 0; i < METRICS_LABELS_MAX && series->labels[i]; i++)
        append_label(page, &separator, metric->labels[i], series->labels[i]);
    if (le)
        append_label(page, &separator, "le", le);
    g_string_append(page, separator == ',' ? "} " : " ");
    append_number(page, value);
}

static void append_histogram(GString *page, const VbMetric *metric, const Series *series)
{
    guint64 below = 0;
    for (size_t i = 0; i < metric->n_bounds; i++) {
        char le[G_ASCII_DTOSTR_BUF_SIZE];
        below += series->buckets[i];
        g_ascii_formatd(le, sizeof(le), "%g", metric->bounds[i]);
        append_sample(page, metric, "_bucket", series, le, (double)below);
    }
    append_sample(page, metric, "_bucket", series, "+Inf", (double)series->count);
    append_sample(page, metric, "_sum", series, NULL, series->value);
    append_sample(page, metric, "_count", series, NULL, (double)series->count);
}

static void append_head(GString *page, const char *name, const char *help, VbMetricType type)
{
    static const char *const words[] = {"counter", "gauge", "histogram"};
    g_string_append_printf(page, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, words[type]);
}

static void append_process_metric(GString *page, const char *name, const char *help,
                                  VbMetricType type, double value)
{
    append_head(page, name, help, type);
    g_string_append_printf(page, "%s ", name);
    append_number(page, value);
}

static double resident_bytes(void)
{
    long pages = 0;
    FILE *file = fopen("/proc/self/statm", "re");
    if (file) {
        if (fscanf(file, "%*s %ld", &pages) != 1)
            pages = 0;
        fclose(file);
    }
    return (double)pages * (double)sysconf(_SC_PAGESIZE);
}

static double cpu_seconds(void)
{
    struct rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    return (double)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) +
           (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1e6;
}

char *metrics_print(void)
{
    GString *page = g_string_sized_new(4096);
    append_process_metric(page, "process_resident_memory_bytes", "Resident memory size in bytes.",
                          VB_METRIC_GAUGE, resident_bytes());
    append_process_metric(page, "process_cpu_seconds_total", "User and system CPU time spent.",
                          VB_METRIC_COUNTER, cpu_seconds());
    append_process_metric(page, "process_start_time_seconds",
                          "Start time since the Unix epoch in seconds.", VB_METRIC_GAUGE,
                          start_time_s);
    g_mutex_lock(&lock);
    for (guint m = 0; registry && m < registry->len; m++) {
        const VbMetric *metric = g_ptr_array_index(registry, m);
        append_head(page, metric->name, metric->help, metric->type);
        for (guint s = 0; s < metric->series->len; s++) {
            const Series *series = g_ptr_array_index(metric->series, s);
            if (metric->type == VB_METRIC_HISTOGRAM)
                append_histogram(page, metric, series);
            else
                append_sample(page, metric, "", series, NULL, series->value);
        }
    }
    g_mutex_unlock(&lock);
    return g_string_free(page, FALSE);
}
