/* What the step loop counts. */
#pragma once

#include "common/runtime/metrics.h"

extern VbMetric loop_metric_records;
extern VbMetric loop_metric_ignored;
extern VbMetric loop_metric_steps;
extern VbMetric loop_metric_batch;
extern VbMetric loop_metric_outputs;
extern VbMetric loop_metric_moved;
extern VbMetric loop_metric_dlq;
extern VbMetric loop_metric_poisoned;
extern VbMetric loop_metric_aborts;
extern VbMetric loop_metric_restored;
extern VbMetric loop_metric_broken;
extern VbMetric loop_metric_foreign;
extern VbMetric loop_metric_vms;
extern VbMetric loop_metric_partitions;

void loop_metrics_register(void);
