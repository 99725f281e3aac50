/* See service_options.h. */
#include "common/bus/service_options.h"

#include <string.h>

#include "common/base/text.h"

/* Times far ahead are added to: a century is enough, and never overflows. */
#define KEEP_MAX_MS (G_GINT64_CONSTANT(36500) * 24 * 3600 * 1000)

static const char *const secure_boot_words[] = {"off", "on", NULL};
static const char *const nvram_policy_words[] = {"default", "all-uefi", NULL};

const VbOption service_options[] = {
    {.name = "instance.id",
     .flags = VB_OPTION_MANDATORY,
     .help = "Name of this instance: unique among those that run, and the same after a restart."},
    {.name = "group.id",
     .help = "Consumer group of the instances that share the work. Empty: the topic prefix, a dot "
             "and the service's name."},
    {.name = "secureboot.default",
     .type = VB_OPTION_ENUM,
     .words = secure_boot_words,
     .fallback = "off",
     .help = "Secure Boot of VMs whose specification says default."},
    {.name = "nvram.policy",
     .type = VB_OPTION_ENUM,
     .words = nvram_policy_words,
     .fallback = "default",
     .help = "Which UEFI VMs get an NVRAM volume: those with TPM or Secure Boot, or all of them."},
    {.name = "nvram.retain",
     .type = VB_OPTION_DURATION,
     .fallback = "30d",
     .max = KEEP_MAX_MS,
     .help = "How long an NVRAM volume is kept that its VM no longer needs. 0: not at all."},
    {.name = "start.timeout",
     .type = VB_OPTION_DURATION,
     .fallback = "60s",
     .min = 1000,
     .max = 86400000,
     .help = "For a start or a reboot whose command names no timeout."},
    {.name = "stop.timeout",
     .type = VB_OPTION_DURATION,
     .fallback = "120s",
     .min = 1000,
     .max = 86400000,
     .help = "For a stop or a destroy whose command names no timeout."},
    {.name = "expunge.timeout",
     .type = VB_OPTION_DURATION,
     .fallback = "120s",
     .min = 1000,
     .max = 86400000,
     .help = "For an expunge whose command names no timeout."},
    {.name = "allowed.skew",
     .type = VB_OPTION_DURATION,
     .fallback = "2s",
     .max = 3600000,
     .help = "How much any two clocks of the deployment may differ."},
    {.name = "delete.retry",
     .type = VB_OPTION_DURATION,
     .fallback = "10s",
     .min = 100,
     .max = 3600000,
     .help = "First pause before a volume's failed deletion is tried again. It doubles up to an "
             "hour."},
    {.name = "expunged.keep",
     .type = VB_OPTION_DURATION,
     .fallback = "15d",
     .max = KEEP_MAX_MS,
     .help = "How long an expunged VM's uuid stays taken. Longer than the retention of the input "
             "topics."},
    {.name = "default.storage",
     .help = "Primary storage of VMs whose specification names none, as NAME:TYPE, such as "
             "default:Local. Empty: such a VM is refused."},
    {.name = NULL},
};

static gboolean storage_parse(VbServiceOptions *service, const char *text, GError **error)
{
    const char *colon = strrchr(text, ':');
    int type = 0;
    if (*text == '\0') {
        return TRUE;
    }
    if (colon == NULL || colon == text ||
        !enum_parse(&storage_type__descriptor, colon + 1, &type) ||
        type == STORAGE_TYPE_UNSPECIFIED) {
        g_set_error(error, VB_OPTIONS_ERROR, VB_OPTIONS_ERROR_VALUE,
                    "default.storage: \"%s\" is not NAME:TYPE with one of the types Local, Nfs, "
                    "SharedMountPoint, SharedBlock, CephRbd",
                    text);
        return FALSE;
    }
    service->storage_name = g_strndup(text, (gsize)(colon - text));
    storage_ref__init(&service->default_storage);
    service->default_storage.name = service->storage_name;
    service->default_storage.type = (StorageType)type;
    service->settings.default_storage = &service->default_storage;
    return TRUE;
}

/* It becomes part of Kafka's own ids, where odd characters only lead to confusion. */
static gboolean id_check(const char *id, GError **error)
{
    static const char allowed[] =
        "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-";
    if (strspn(id, allowed) == strlen(id) && strlen(id) <= 100) {
        return TRUE;
    }
    g_set_error(error, VB_OPTIONS_ERROR, VB_OPTIONS_ERROR_VALUE,
                "instance.id: \"%s\" is not at most 100 letters, digits, dots, dashes and "
                "underscores",
                id);
    return FALSE;
}

static void settings_fill(Settings *settings, const VbOptions *options)
{
    settings__init(settings);
    settings->secure_boot_default =
        options_get_enum(options, "secureboot.default") == 1 ? TOGGLE_ON : TOGGLE_OFF;
    settings->nvram_for_all_uefi = options_get_enum(options, "nvram.policy") == 1;
    settings->nvram_retain_ms = options_get_duration_ms(options, "nvram.retain");
    settings->start_timeout_ms = options_get_duration_ms(options, "start.timeout");
    settings->stop_timeout_ms = options_get_duration_ms(options, "stop.timeout");
    settings->expunge_timeout_ms = options_get_duration_ms(options, "expunge.timeout");
    settings->allowed_skew_ms = options_get_duration_ms(options, "allowed.skew");
    settings->delete_retry_ms = options_get_duration_ms(options, "delete.retry");
    settings->expunged_keep_ms = options_get_duration_ms(options, "expunged.keep");
}

VbServiceOptions *service_options_new(const VbOptions *options, const char *service_name,
                                      GError **error)
{
    g_autoptr(VbServiceOptions) service = g_new0(VbServiceOptions, 1);
    const char *group_id = options_get_string(options, "group.id");
    settings_fill(&service->settings, options);
    service->instance_id = options_get_string(options, "instance.id");
    service->client_id = g_strdup_printf("%s/%s", service_name, service->instance_id);
    service->group_id =
        *group_id != '\0'
            ? g_strdup(group_id)
            : g_strdup_printf("%s.%s", options_get_string(options, "topic.prefix"), service_name);
    if (!id_check(service->instance_id, error) ||
        !storage_parse(service, options_get_string(options, "default.storage"), error)) {
        return NULL;
    }
    return g_steal_pointer(&service);
}

void service_options_free(VbServiceOptions *service)
{
    if (service != NULL) {
        g_free(service->storage_name);
        g_free(service->group_id);
        g_free(service->client_id);
        g_free(service);
    }
}
