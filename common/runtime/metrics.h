/*
 * metrics: counters, gauges and histograms, printed as Prometheus text.
 *
 *   static VbMetric steps = METRICS_COUNTER("virtbus_steps_total", "Inputs stepped.", "topic");
 *   metrics_register(&steps);              once, at start-up
 *   metrics_add(&steps, 1, "vm.commands"); from any thread
 *
 * Metrics are static and live for ever; label values are copied. It refuses unbounded label
 * values: past METRICS_SERIES_MAX series of one metric, further values are counted as "other", so
 * that an id put into a label by mistake cannot eat the memory.
 */
#pragma once

#include <glib.h>
#include <stdbool.h>
#include <stddef.h>

#define METRICS_LABELS_MAX 2
#define METRICS_SERIES_MAX 512

typedef enum {
    VB_METRIC_COUNTER,
    VB_METRIC_GAUGE,
    VB_METRIC_HISTOGRAM,
} VbMetricType;

typedef struct {
    VbMetricType type;
    const char *name; /* Prometheus' rules: base unit last (_seconds, _bytes), counters _total */
    const char *help;
    const char *labels[METRICS_LABELS_MAX];
    const double *bounds; /* histogram: upper bounds, rising, without +Inf */
    size_t n_bounds;
    GHashTable *series_set; /* private; NULL until registered */
    GPtrArray *series;      /* private; in the order of first use */
} VbMetric;

/* Each takes the names of no, one or two labels at the end. bounds is an array, not a pointer. */
#define METRICS_COUNTER(name_, help_, ...)                                                         \
    {                                                                                              \
        .type = VB_METRIC_COUNTER, .name = name_, .help = help_, .labels = { __VA_ARGS__ }         \
    }
#define METRICS_GAUGE(name_, help_, ...)                                                           \
    {                                                                                              \
        .type = VB_METRIC_GAUGE, .name = name_, .help = help_, .labels = { __VA_ARGS__ }           \
    }
#define METRICS_HISTOGRAM(name_, help_, bounds_, ...)                                              \
    {                                                                                              \
        .type = VB_METRIC_HISTOGRAM, .name = name_, .help = help_, .bounds = bounds_,              \
        .n_bounds = G_N_ELEMENTS(bounds_), .labels = {                                             \
            __VA_ARGS__                                                                            \
        }                                                                                          \
    }

/* Bounds for how long something took, in seconds: 1 ms to 60 s. */
#define METRICS_SECONDS_BOUNDS_N 15
extern const double metrics_seconds_bounds[METRICS_SECONDS_BOUNDS_N];

/* Puts a metric into the registry; again is harmless. A metric without labels shows 0 at once.
 * Using a metric that is not registered, or with another number of labels, aborts. */
void metrics_register(VbMetric *metric);

/* Counter: amount >= 0. Gauge: any amount. */
#define metrics_add(metric, amount, ...)                                                           \
    metrics_add_labels(metric, amount, (const char *const[METRICS_LABELS_MAX]){__VA_ARGS__})
/* Gauge only. */
#define metrics_set(metric, value, ...)                                                            \
    metrics_set_labels(metric, value, (const char *const[METRICS_LABELS_MAX]){__VA_ARGS__})
/* Histogram only. */
#define metrics_observe(metric, value, ...)                                                        \
    metrics_observe_labels(metric, value, (const char *const[METRICS_LABELS_MAX]){__VA_ARGS__})

void metrics_add_labels(VbMetric *metric, double amount, const char *const *labels);
void metrics_set_labels(VbMetric *metric, double value, const char *const *labels);
void metrics_observe_labels(VbMetric *metric, double value, const char *const *labels);

/* Everything registered, and the process's memory, CPU and start time. The caller frees it. */
char *metrics_print(void);
