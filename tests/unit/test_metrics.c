/*
 * test_metrics: the Prometheus text, escaping, the bound on series, and counting from threads.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "common/runtime/metrics.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static void expect_on_page(const char *expected)
{
    g_autofree char *page = metrics_print();
    if (!strstr(page, expected))
        fail_msg("not on the page:\n%s\nthe page:\n%s", expected, page);
}

static double value_on_page(const char *name)
{
    g_autofree char *page = metrics_print();
    g_autofree char *line = g_strdup_printf("\n%s ", name);
    const char *at = strstr(page, line);
    assert_non_null(at);
    return strtod(at + strlen(line), NULL);
}

static void test_counter(void **state)
{
    (void)state;
    static VbMetric plain = METRICS_COUNTER("t_plain_total", "Without labels.");
    static VbMetric one = METRICS_COUNTER("t_one_total", "One label.", "topic");
    static VbMetric two = METRICS_COUNTER("t_two_total", "Two labels.", "topic", "kind");
    metrics_register(&plain);
    metrics_register(&one);
    metrics_register(&one);
    metrics_register(&two);
    expect_on_page("# HELP t_plain_total Without labels.\n# TYPE t_plain_total counter\n"
                   "t_plain_total 0\n# HELP t_one_total One label.\n# TYPE t_one_total counter\n"
                   "# HELP t_two_total");
    metrics_add(&plain, 1);
    metrics_add(&plain, 0.1);
    metrics_add(&one, 3, "b");
    metrics_add(&one, 1, "a");
    metrics_add(&one, 2, "b");
    metrics_add(&two, 9007199254740992.0, "a", "b");
    metrics_add(&two, 1, "ab", "");
    expect_on_page("t_plain_total 1.1\n");
    expect_on_page("t_one_total{topic=\"b\"} 5\nt_one_total{topic=\"a\"} 1\n");
    expect_on_page("t_two_total{topic=\"a\",kind=\"b\"} 9007199254740992\n"
                   "t_two_total{topic=\"ab\",kind=\"\"} 1\n");
}

static void test_gauge(void **state)
{
    (void)state;
    static VbMetric gauge = METRICS_GAUGE("t_gauge", "A gauge.", "partition");
    metrics_register(&gauge);
    metrics_set(&gauge, 5, "0");
    metrics_add(&gauge, -7, "0");
    metrics_set(&gauge, NAN, "1");
    metrics_set(&gauge, -INFINITY, "2");
    expect_on_page("# TYPE t_gauge gauge\nt_gauge{partition=\"0\"} -2\n"
                   "t_gauge{partition=\"1\"} NaN\nt_gauge{partition=\"2\"} -Inf\n");
}

static void test_histogram(void **state)
{
    (void)state;
    static const double bounds[] = {0.1, 1, 10};
    static VbMetric plain = METRICS_HISTOGRAM("t_seconds", "A histogram.", bounds);
    static VbMetric labelled =
        METRICS_HISTOGRAM("t_hop_seconds", "By hop.", metrics_seconds_bounds, "hop");
    metrics_register(&plain);
    metrics_register(&labelled);
    metrics_observe(&plain, 0.1); /* a bound belongs to its own bucket */
    metrics_observe(&plain, 0.5);
    metrics_observe(&plain, 0.5);
    metrics_observe(&plain, 100);
    expect_on_page("# TYPE t_seconds histogram\nt_seconds_bucket{le=\"0.1\"} 1\n"
                   "t_seconds_bucket{le=\"1\"} 3\nt_seconds_bucket{le=\"10\"} 3\n"
                   "t_seconds_bucket{le=\"+Inf\"} 4\nt_seconds_sum 101.1\nt_seconds_count 4\n");
    metrics_observe(&labelled, 0.003, "start");
    expect_on_page("t_hop_seconds_bucket{hop=\"start\",le=\"0.002\"} 0\n"
                   "t_hop_seconds_bucket{hop=\"start\",le=\"0.005\"} 1\n");
    expect_on_page("t_hop_seconds_sum{hop=\"start\"} 0.003\n"
                   "t_hop_seconds_count{hop=\"start\"} 1\n");
}

static void test_label_values_are_escaped(void **state)
{
    (void)state;
    static VbMetric metric = METRICS_COUNTER("t_escape_total", "Escapes.", "v");
    metrics_register(&metric);
    metrics_add(&metric, 1, "a\"b\\c\nd\xff");
    expect_on_page("t_escape_total{v=\"a\\\"b\\\\c\\nd\xef\xbf\xbd\"} 1\n");
}

static void test_series_are_bounded(void **state)
{
    (void)state;
    static VbMetric metric = METRICS_COUNTER("t_bound_total", "Bounded.", "vm");
    metrics_register(&metric);
    for (int i = 0; i < METRICS_SERIES_MAX + 10; i++) {
        g_autofree char *label = g_strdup_printf("vm-%d", i);
        metrics_add(&metric, 1, label);
    }
    metrics_add(&metric, 1, "vm-3");
    expect_on_page("t_bound_total{vm=\"vm-3\"} 2\n");
    expect_on_page("t_bound_total{vm=\"other\"} 10\n");
    assert_int_equal(metric.series->len, METRICS_SERIES_MAX + 1);
}

#define THREADS 4
#define ADDS    20000
static VbMetric shared = METRICS_COUNTER("t_shared_total", "From threads.", "thread");

static gpointer add_many(gpointer name)
{
    for (int i = 0; i < ADDS; i++) {
        metrics_add(&shared, 1, "all");
        metrics_add(&shared, 1, name);
    }
    return NULL;
}

static void test_threads(void **state)
{
    (void)state;
    static char names[THREADS][2] = {"a", "b", "c", "d"};
    GThread *threads[THREADS];
    metrics_register(&shared);
    for (int t = 0; t < THREADS; t++)
        threads[t] = g_thread_new(names[t], add_many, names[t]);
    for (int t = 0; t < THREADS; t++)
        g_thread_join(threads[t]);
    assert_int_equal((int)value_on_page("t_shared_total{thread=\"all\"}"), THREADS * ADDS);
    assert_int_equal((int)value_on_page("t_shared_total{thread=\"d\"}"), ADDS);
}

static void test_process_metrics(void **state)
{
    (void)state;
    double rss_bytes = value_on_page("process_resident_memory_bytes");
    assert_true(rss_bytes > 100e3 && rss_bytes < 1e9);
    double age_s = (double)time(NULL) - value_on_page("process_start_time_seconds");
    assert_true(age_s > -2 && age_s < 3600);

    double before_s = value_on_page("process_cpu_seconds_total");
    clock_t begin = clock();
    while (clock() - begin < CLOCKS_PER_SEC / 20)
        continue;
    assert_true(value_on_page("process_cpu_seconds_total") - before_s > 0.04);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_counter),
        cmocka_unit_test(test_gauge),
        cmocka_unit_test(test_histogram),
        cmocka_unit_test(test_label_values_are_escaped),
        cmocka_unit_test(test_series_are_bounded),
        cmocka_unit_test(test_threads),
        cmocka_unit_test(test_process_metrics),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
