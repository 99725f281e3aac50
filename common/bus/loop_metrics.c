/* The table of the loop's metrics. */
#include "common/bus/loop_metrics.h"

static const double batch_bounds[] = {1, 2, 5, 10, 20, 50, 100, 200, 500};

VbMetric loop_metric_records =
    METRICS_COUNTER("virtbus_records_total", "Input records committed.", "topic");
VbMetric loop_metric_ignored =
    METRICS_COUNTER("virtbus_records_ignored_total",
                    "Input records that the VM's state had applied already.", "topic");
VbMetric loop_metric_steps = METRICS_COUNTER(
    "virtbus_steps_total", "Steps, by input and by what came of them.", "input", "result");
VbMetric loop_metric_batch =
    METRICS_HISTOGRAM("virtbus_batch_inputs", "Inputs of one transaction.", batch_bounds);
VbMetric loop_metric_outputs =
    METRICS_COUNTER("virtbus_outputs_total", "Messages that steps made.", "topic");
VbMetric loop_metric_moved = METRICS_COUNTER(
    "virtbus_moved_total", "Records found in a wrong partition and moved.", "topic");
VbMetric loop_metric_dlq =
    METRICS_COUNTER("virtbus_dlq_total", "Records sent to the dead letter queue.", "stage");
VbMetric loop_metric_poisoned = METRICS_COUNTER(
    "virtbus_poisoned_total", "Inputs that could not be handled; their VM was told.");
VbMetric loop_metric_aborts =
    METRICS_COUNTER("virtbus_aborts_total", "Transactions aborted and written again.", "reason");
VbMetric loop_metric_restored =
    METRICS_COUNTER("virtbus_restored_records_total", "State records read at restore.");
VbMetric loop_metric_broken = METRICS_GAUGE(
    "virtbus_broken_states", "VMs whose state record cannot be used; they take no commands.");
VbMetric loop_metric_foreign =
    METRICS_COUNTER("virtbus_foreign_states_total",
                    "State records read at restore whose key is no VM of their partition.");
VbMetric loop_metric_vms = METRICS_GAUGE("virtbus_vms", "VMs in the state table.");
VbMetric loop_metric_partitions =
    METRICS_GAUGE("virtbus_partitions", "Partitions that are restored and consumed.");

void loop_metrics_register(void)
{
    VbMetric *all[] = {&loop_metric_records,  &loop_metric_ignored,   &loop_metric_steps,
                       &loop_metric_batch,    &loop_metric_outputs,   &loop_metric_moved,
                       &loop_metric_dlq,      &loop_metric_poisoned,  &loop_metric_aborts,
                       &loop_metric_restored, &loop_metric_broken,    &loop_metric_foreign,
                       &loop_metric_vms,      &loop_metric_partitions};
    for (size_t i = 0; i < G_N_ELEMENTS(all); i++) {
        metrics_register(all[i]);
    }
}
