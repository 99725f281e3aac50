/* See kafka_conf.h. */
#include "common/bus/kafka_conf.h"

#include <stdatomic.h>
#include <string.h>

#include "common/runtime/health.h"
#include "common/runtime/log.h"
#include "common/runtime/metrics.h"

/* Under whatever role a handle has. */
static const VbKafkaPair common_pairs[] = {
    {"socket.nagle.disable", "true"},
    {"socket.keepalive.enable", "true"},
    {"log.connection.close", "false"},
    {"reconnect.backoff.max.ms", "1000"},
    {NULL, NULL},
};

/* Exactly-once and at-least-once rest on these. */
static const char *const fixed_names[] = {
    "acks",
    "allow.auto.create.topics",
    "auto.offset.reset",
    "bootstrap.servers",
    "enable.auto.commit",
    "enable.auto.offset.store",
    "enable.idempotence",
    "enable.partition.eof",
    "group.id",
    "group.instance.id",
    "isolation.level",
    "metadata.broker.list",
    "partition.assignment.strategy",
    "partitioner",
    "request.required.acks",
    "transactional.id",
    NULL,
};

VbKafkaSettings kafka_settings(const VbOptions *options, const char *client_id)
{
    VbKafkaSettings settings = {.bootstrap = options_get_string(options, "bootstrap"),
                                .client_id = client_id};
    settings.extra = options_get_kafka(options, &settings.n_extra);
    return settings;
}

/* ---- The health condition "broker" */

typedef enum { BROKER_NEVER_SEEN, BROKER_UP, BROKER_DOWN } BrokerState;

static _Atomic(BrokerState) broker_state;
static atomic_uint n_outages;

static VbMetric metric_up =
    METRICS_GAUGE("virtbus_broker_up", "1 while a Kafka broker answers, 0 while none does.");
static VbMetric metric_outages = METRICS_COUNTER("virtbus_broker_outages_total",
                                                 "Times that no Kafka broker answered any more.");

/* An outage is one line in the log and one at its end, however long it lasts. */
static void broker_down(const char *reason)
{
    BrokerState before = atomic_exchange(&broker_state, BROKER_DOWN);
    health_set_condition("broker", reason);
    if (before == BROKER_DOWN) {
        return;
    }
    metrics_set(&metric_up, 0);
    metrics_add(&metric_outages, 1);
    atomic_fetch_add(&n_outages, 1);
    log_event(VB_LOG_WARNING, "broker-lost",
              "No Kafka broker answers. It is tried again until one does; nothing is lost.",
              "error", reason, NULL);
}

VbKafkaOutage kafka_outage(void)
{
    return (VbKafkaOutage){.is_on = atomic_load(&broker_state) == BROKER_DOWN,
                           .n = atomic_load(&n_outages)};
}

void kafka_outage_inherit(VbKafkaOutage outage)
{
    metrics_register(&metric_up);
    metrics_register(&metric_outages);
    metrics_add(&metric_outages, outage.n);
    atomic_store(&n_outages, outage.n);
    if (outage.is_on) {
        atomic_store(&broker_state, BROKER_DOWN);
        health_set_condition("broker", "no broker has answered since before this program started");
    }
}

static void broker_up(void)
{
    BrokerState before = atomic_exchange(&broker_state, BROKER_UP);
    if (before == BROKER_UP) {
        return;
    }
    health_set_condition("broker", NULL);
    metrics_set(&metric_up, 1);
    if (before == BROKER_DOWN) {
        log_event(VB_LOG_INFO, "broker-back", "A Kafka broker answers again.", NULL);
    }
}

static rd_kafka_resp_err_t broker_ask(rd_kafka_t *handle, int timeout_ms)
{
    const struct rd_kafka_metadata *metadata;
    rd_kafka_resp_err_t code = rd_kafka_metadata(handle, 0, NULL, &metadata, timeout_ms);
    if (code == RD_KAFKA_RESP_ERR_NO_ERROR) {
        rd_kafka_metadata_destroy(metadata);
        broker_up();
    }
    return code;
}

void kafka_broker_check(rd_kafka_t *handle, int timeout_ms)
{
    if (atomic_load(&broker_state) != BROKER_UP) {
        broker_ask(handle, timeout_ms);
    }
}

void kafka_broker_probe(rd_kafka_t *handle, int timeout_ms)
{
    enum { SILENCES = 3 }; /* In a row: no broker answers. One is a slow broker. */
    static atomic_int n_silences;
    rd_kafka_resp_err_t code = broker_ask(handle, timeout_ms);
    if (code == RD_KAFKA_RESP_ERR_NO_ERROR) {
        atomic_store(&n_silences, 0);
    } else if (atomic_fetch_add(&n_silences, 1) + 1 >= SILENCES) {
        broker_down(rd_kafka_err2str(code));
    }
}

/* ---- Callbacks */

static void on_log(const rd_kafka_t *handle, int level, const char *facility, const char *text)
{
    enum { SYSLOG_WARNING = 4, SYSLOG_INFO = 6 };
    /* The operator's kafka.NAME go to every handle, also where one means nothing. */
    if (strcmp(facility, "CONFWARN") == 0 && strstr(text, "will be ignored by this") != NULL) {
        return;
    }
    /* What librdkafka calls an error is one broker that does not answer: it tries again. That none
     * does has been said once. */
    VbLogLevel ours = atomic_load(&broker_state) == BROKER_DOWN ? VB_LOG_DEBUG
                      : level <= SYSLOG_WARNING                 ? VB_LOG_WARNING
                      : level <= SYSLOG_INFO                    ? VB_LOG_INFO
                                                                : VB_LOG_DEBUG;
    log_event(ours, "kafka", text, "facility", facility, "client",
              handle != NULL ? rd_kafka_name(handle) : NULL, NULL);
}

/* A handle that was not polled for a while tells of an outage that may be over: it is asked before
 * it is believed, for longer than it waits between two tries to connect. */
static void on_error(rd_kafka_t *handle, int code, const char *reason, void *opaque)
{
    enum { ASK_MS = 2500 };
    (void)opaque;
    if (code == RD_KAFKA_RESP_ERR__ALL_BROKERS_DOWN &&
        (atomic_load(&broker_state) == BROKER_DOWN ||
         broker_ask(handle, ASK_MS) != RD_KAFKA_RESP_ERR_NO_ERROR)) {
        broker_down(reason);
    }
}

/* ---- Configurations */

static gboolean pair_set(rd_kafka_conf_t *conf, const char *name, const char *value, GError **error)
{
    char text[512];
    if (rd_kafka_conf_set(conf, name, value, text, sizeof(text)) != RD_KAFKA_CONF_OK) {
        g_set_error(error, BUS_ERROR, BUS_ERROR_SETUP, "kafka.%s: %s", name, text);
        return FALSE;
    }
    return TRUE;
}

static gboolean pairs_set(rd_kafka_conf_t *conf, const VbKafkaPair *pairs, GError **error)
{
    for (; pairs != NULL && pairs->name != NULL; pairs++) {
        if (!pair_set(conf, pairs->name, pairs->value, error)) {
            return FALSE;
        }
    }
    return TRUE;
}

static gboolean extra_set(rd_kafka_conf_t *conf, const VbKafkaSettings *settings, GError **error)
{
    for (size_t i = 0; i < settings->n_extra; i++) {
        const VbKafkaProperty *property = &settings->extra[i];
        if (g_strv_contains(fixed_names, property->name)) {
            g_set_error(error, BUS_ERROR, BUS_ERROR_SETUP,
                        "kafka.%s cannot be set: virtbus relies on its own value", property->name);
            return FALSE;
        }
        if (!pair_set(conf, property->name, property->value, error)) {
            return FALSE;
        }
    }
    return TRUE;
}

rd_kafka_conf_t *kafka_conf_new(const VbKafkaSettings *settings, const VbKafkaPair *pairs,
                                GError **error)
{
    const VbKafkaPair own[] = {{"bootstrap.servers", settings->bootstrap},
                               {"client.id", settings->client_id},
                               {NULL, NULL}};
    rd_kafka_conf_t *conf = rd_kafka_conf_new();
    rd_kafka_conf_set_log_cb(conf, on_log);
    rd_kafka_conf_set_error_cb(conf, on_error);
    if (!pairs_set(conf, own, error) || !pairs_set(conf, common_pairs, error) ||
        !pairs_set(conf, pairs, error) || !extra_set(conf, settings, error)) {
        rd_kafka_conf_destroy(conf);
        return NULL;
    }
    return conf;
}

/* ---- Handles */

rd_kafka_t *kafka_handle_new(rd_kafka_type_t type, rd_kafka_conf_t *conf, GError **error)
{
    char text[512];
    metrics_register(&metric_up);
    metrics_register(&metric_outages);
    if (atomic_load(&broker_state) == BROKER_NEVER_SEEN) {
        health_set_condition("broker", "no broker has answered yet");
    }
    rd_kafka_t *handle = rd_kafka_new(type, conf, text, sizeof(text));
    if (handle == NULL) {
        rd_kafka_conf_destroy(conf);
        g_set_error(error, BUS_ERROR, BUS_ERROR_SETUP, "librdkafka refuses to start: %s", text);
    } else if (type == RD_KAFKA_CONSUMER) {
        rd_kafka_poll_set_consumer(handle);
    }
    return handle;
}

rd_kafka_t *kafka_producer_new(const VbKafkaSettings *settings, VbKafkaDelivered delivered,
                               void *opaque, GError **error)
{
    static const VbKafkaPair pairs[] = {{"enable.idempotence", "true"},
                                        {"partitioner", "murmur2_random"},
                                        {"linger.ms", "0"},
                                        {NULL, NULL}};
    rd_kafka_conf_t *conf = kafka_conf_new(settings, pairs, error);
    if (conf == NULL) {
        return NULL;
    }
    rd_kafka_conf_set_opaque(conf, opaque);
    if (delivered != NULL) {
        rd_kafka_conf_set_dr_msg_cb(conf, delivered);
    }
    return kafka_handle_new(RD_KAFKA_PRODUCER, conf, error);
}

static rd_kafka_t *consumer_new(const VbKafkaSettings *settings, const char *group_id,
                                const char *fetch_wait_ms, GError **error)
{
    const VbKafkaPair pairs[] = {
        /* librdkafka assigns nothing without a group; a name that nobody joins costs nothing. */
        {"group.id", group_id != NULL ? group_id : settings->client_id},
        {"isolation.level", "read_committed"},
        {"enable.partition.eof", "true"},
        {"auto.offset.reset", "error"},
        {"enable.auto.commit", "false"},
        {"enable.auto.offset.store", "false"},
        {"allow.auto.create.topics", "false"},
        {"queued.max.messages.kbytes", "1024"},
        {"fetch.wait.max.ms", fetch_wait_ms},
        {NULL, NULL}};
    rd_kafka_conf_t *conf = kafka_conf_new(settings, pairs, error);
    return conf != NULL ? kafka_handle_new(RD_KAFKA_CONSUMER, conf, error) : NULL;
}

rd_kafka_t *kafka_consumer_new(const VbKafkaSettings *settings, const char *group_id,
                               GError **error)
{
    return consumer_new(settings, group_id, "500", error);
}

/* An end is known by a fetch that came back empty, after that wait. */
rd_kafka_t *kafka_reader_new(const VbKafkaSettings *settings, const char *group_id, GError **error)
{
    return consumer_new(settings, group_id, "10", error);
}

int kafka_partitions(rd_kafka_t *handle, const char *topic, int timeout_ms, GError **error)
{
    const struct rd_kafka_metadata *metadata;
    rd_kafka_topic_t *look_up = rd_kafka_topic_new(handle, topic, NULL);
    rd_kafka_resp_err_t code = look_up != NULL
                                   ? rd_kafka_metadata(handle, 0, look_up, &metadata, timeout_ms)
                                   : rd_kafka_last_error();
    int n_partitions = -1;
    if (code == RD_KAFKA_RESP_ERR_NO_ERROR) {
        broker_up();
        code = metadata->topics[0].err;
        n_partitions = metadata->topics[0].partition_cnt;
        rd_kafka_metadata_destroy(metadata);
    }
    if (look_up != NULL) {
        rd_kafka_topic_destroy(look_up);
    }
    if (code == RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART ||
        code == RD_KAFKA_RESP_ERR_TOPIC_EXCEPTION) {
        return 0;
    }
    /* A topic that was made this moment has no leader yet. Its partitions are known all the same.
     */
    if (code != RD_KAFKA_RESP_ERR_NO_ERROR && code != RD_KAFKA_RESP_ERR_LEADER_NOT_AVAILABLE) {
        gboolean is_denied = code == RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED;
        g_set_error(error, BUS_ERROR, is_denied ? BUS_ERROR_SETUP : BUS_ERROR_FATAL,
                    "topic %s cannot be looked up: %s", topic, rd_kafka_err2str(code));
        return -1;
    }
    return n_partitions;
}
