/* `topics create` and `topics delete`: the topics of a deployment. Nothing here changes one. */
#include <stdio.h>
#include <string.h>

#include "common/base/uuid.h"
#include "common/bus/bus_topics.h"
#include "tools/virtbusctl/args.h"
#include "tools/virtbusctl/client.h"
#include "tools/virtbusctl/print.h"

/* Fixed for good once the topics exist, so it leaves room: a partition costs little. */
#define DEFAULT_PARTITIONS "12"

enum { ANSWER_MS = 10000 };

typedef struct {
    char *partitions;
    char *replication;
    char **hosts;
} TopicsFlags;

static void topics_flags_clear(TopicsFlags *flags)
{
    g_free(flags->partitions);
    g_free(flags->replication);
    g_strfreev(flags->hosts);
}
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(TopicsFlags, topics_flags_clear)

static gboolean flags_read(Ctl *ctl, TopicsFlags *flags, VbTopicPlan *ret_plan, GError **error)
{
    const GOptionEntry entries[] = {
        {"partitions", 0, 0, G_OPTION_ARG_STRING, &flags->partitions,
         "Of each topic that is keyed by VM; fixed for good; default " DEFAULT_PARTITIONS, "P"},
        {"replication-factor", 0, 0, G_OPTION_ARG_STRING, &flags->replication,
         "Copies of each topic; default: the broker's", "R"},
        {"host", 0, 0, G_OPTION_ARG_STRING_ARRAY, &flags->hosts,
         "Also the command topic of this host; may be given several times", "UUID"},
        {0},
    };
    if (!args_parse(ctl, entries, 0, NULL, error)) {
        return FALSE;
    }
    guint32 partitions;
    guint32 replication = 0;
    const char *wanted = flags->partitions != NULL ? flags->partitions : DEFAULT_PARTITIONS;
    if (!args_number("--partitions", wanted, 1, 10000, &partitions, error) ||
        (flags->replication != NULL &&
         !args_number("--replication-factor", flags->replication, 1, 100, &replication, error))) {
        return FALSE;
    }
    for (char **host = flags->hosts; host != NULL && *host != NULL; host++) {
        if (!uuid_is_valid(*host)) {
            g_set_error(error, CTL_ERROR, CTL_USAGE,
                        "--host: \"%s\" is no uuid: 36 characters, lower case, with dashes", *host);
            return FALSE;
        }
    }
    *ret_plan = (VbTopicPlan){.prefix = options_get_string(ctl->options, "topic.prefix"),
                              .partitions = (int)partitions,
                              .replication = replication > 0 ? (int)replication : -1};
    return TRUE;
}

static gboolean topics_make(VbClient *client, const VbTopicPlan *plan, char **hosts,
                            GPtrArray *created, GError **error)
{
    g_autoptr(GError) cause = NULL;
    gboolean ok = bus_topics_create(client_handle(client), plan, created, &cause);
    for (char **host = hosts; ok && host != NULL && *host != NULL; host++) {
        gboolean is_new = FALSE;
        ok = bus_topics_create_host(client_handle(client), plan->prefix, *host, plan->replication,
                                    &is_new, &cause);
        if (ok && is_new) {
            g_ptr_array_add(created, topic_name(plan->prefix, TOPIC_HOST_COMMANDS, *host));
        }
    }
    if (!ok) {
        g_set_error_literal(error, CTL_ERROR, CTL_FAILED, cause->message);
    }
    return ok;
}

/* "created <topic>" a line, or one list. */
static void topics_print(const Ctl *ctl, const char *verb, const GPtrArray *topics,
                         const char *if_none)
{
    JsonArray *list = json_array_new();
    for (guint i = 0; i < topics->len; i++) {
        const char *topic = g_ptr_array_index(topics, i);
        json_array_add_string_element(list, topic);
        if (!ctl->json) {
            printf("%s %s\n", verb, topic);
        }
    }
    if (ctl->json) {
        print_json(json_node_init_array(json_node_alloc(), list));
    } else if (topics->len == 0) {
        printf("%s\n", if_none);
    }
    json_array_unref(list);
}

CtlStatus cmd_topics_create(Ctl *ctl)
{
    g_auto(TopicsFlags) flags = {0};
    g_autoptr(GError) error = NULL;
    g_autoptr(VbClient) client = NULL;
    g_autoptr(GPtrArray) created = g_ptr_array_new_with_free_func(g_free);
    VbTopicPlan plan;
    if (!flags_read(ctl, &flags, &plan, &error) || (client = client_open(ctl, &error)) == NULL ||
        !topics_make(client, &plan, flags.hosts, created, &error)) {
        return ctl_fail(ctl, error);
    }
    topics_print(ctl, "created", created, "every topic was there already");
    return CTL_DONE;
}

/* ---- topics delete */

/* The names of the broker's topics that are this deployment's: nothing else of the same prefix. */
static GPtrArray *topics_find(const Ctl *ctl, VbClient *client, GError **error)
{
    const char *prefix = options_get_string(ctl->options, "topic.prefix");
    const struct rd_kafka_metadata *metadata;
    rd_kafka_resp_err_t failed =
        rd_kafka_metadata(client_handle(client), 1, NULL, &metadata, ANSWER_MS);
    if (failed != RD_KAFKA_RESP_ERR_NO_ERROR) {
        g_set_error(error, CTL_ERROR, CTL_UNREACHABLE, "the broker does not list its topics: %s",
                    rd_kafka_err2str(failed));
        return NULL;
    }
    g_autofree char *hosts = topic_name(prefix, TOPIC_HOST_COMMANDS, "*");
    GPtrArray *found = g_ptr_array_new_with_free_func(g_free);
    for (int i = 0; i < metadata->topic_cnt; i++) {
        const char *name = metadata->topics[i].topic;
        gboolean is_ours = g_pattern_match_simple(hosts, name);
        for (int topic = 0; topic < TOPIC_COUNT && !is_ours; topic++) {
            g_autofree char *own = topic_name(prefix, (VbTopic)topic, "");
            is_ours = strcmp(own, name) == 0;
        }
        if (is_ours) {
            g_ptr_array_add(found, g_strdup(name));
        }
    }
    rd_kafka_metadata_destroy(metadata);
    return found;
}

/* Waits for the answer to one DeleteTopics and looks through it. */
static gboolean deletion_await(rd_kafka_queue_t *queue, GError **error)
{
    rd_kafka_event_t *event = rd_kafka_queue_poll(queue, ANSWER_MS * 3);
    const char *reason = event == NULL                      ? "no answer came"
                         : rd_kafka_event_error(event) != 0 ? rd_kafka_event_error_string(event)
                                                            : NULL;
    const rd_kafka_DeleteTopics_result_t *result =
        reason == NULL ? rd_kafka_event_DeleteTopics_result(event) : NULL;
    size_t n = 0;
    const rd_kafka_topic_result_t **topics =
        result != NULL ? rd_kafka_DeleteTopics_result_topics(result, &n) : NULL;
    const char *name = "";
    for (size_t i = 0; i < n && reason == NULL; i++) {
        if (rd_kafka_topic_result_error(topics[i]) != RD_KAFKA_RESP_ERR_NO_ERROR) {
            name = rd_kafka_topic_result_name(topics[i]);
            reason = rd_kafka_err2str(rd_kafka_topic_result_error(topics[i]));
        }
    }
    if (reason != NULL) {
        g_set_error(error, CTL_ERROR, CTL_FAILED, "not all topics are deleted: %s %s", name,
                    reason);
    }
    if (event != NULL) {
        rd_kafka_event_destroy(event);
    }
    return reason == NULL;
}

static gboolean topics_remove(VbClient *client, const GPtrArray *names, GError **error)
{
    if (names->len == 0) {
        return TRUE;
    }
    rd_kafka_t *handle = client_handle(client);
    g_autofree rd_kafka_DeleteTopic_t **topics = g_new0(rd_kafka_DeleteTopic_t *, names->len);
    for (guint i = 0; i < names->len; i++) {
        topics[i] = rd_kafka_DeleteTopic_new(g_ptr_array_index(names, i));
    }
    rd_kafka_queue_t *queue = rd_kafka_queue_new(handle);
    rd_kafka_DeleteTopics(handle, topics, names->len, NULL, queue);
    gboolean ok = deletion_await(queue, error);
    rd_kafka_queue_destroy(queue);
    rd_kafka_DeleteTopic_destroy_array(topics, names->len);
    return ok;
}

CtlStatus cmd_topics_delete(Ctl *ctl)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(VbClient) client = NULL;
    g_autoptr(GPtrArray) names = NULL;
    if (!args_parse(ctl, NULL, 0, NULL, &error)) {
        return ctl_fail(ctl, error);
    }
    if (ctl->topic_prefix == NULL) {
        g_set_error_literal(&error, CTL_ERROR, CTL_USAGE,
                            "this deletes every VM's record: say --topic.prefix on the command "
                            "line, whatever the environment says");
        return ctl_fail(ctl, error);
    }
    if ((client = client_open(ctl, &error)) == NULL ||
        (names = topics_find(ctl, client, &error)) == NULL ||
        !topics_remove(client, names, &error)) {
        return ctl_fail(ctl, error);
    }
    topics_print(ctl, "deleted", names, "there was no topic of this prefix");
    return CTL_DONE;
}
