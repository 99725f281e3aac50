/* `doctor`: looks at the whole deployment, and says how to mend each fault. */
#include <stdio.h>
#include <string.h>

#include "tools/virtbusctl/args.h"
#include "tools/virtbusctl/doctor.h"
#include "tools/virtbusctl/print.h"
#include "tools/virtbusctl/style.h"

char *doctor_help(void)
{
    return g_strdup("It needs nothing but a broker, and changes nothing. One line a check: ok, "
                    "warning or fault;\nbelow what is wrong stands the way to mend it. Exit status "
                    "1 where there are faults.\n");
}

static const char *verdict_word(DoctorVerdict verdict)
{
    switch (verdict) {
    case DOCTOR_OK:
        return "ok";
    case DOCTOR_WARNING:
        return "warning";
    case DOCTOR_FAULT:
        return "fault";
    }
    g_assert_not_reached();
}

static const char *verdict_colour(DoctorVerdict verdict)
{
    switch (verdict) {
    case DOCTOR_OK:
        return STYLE_GREEN;
    case DOCTOR_WARNING:
        return STYLE_YELLOW;
    case DOCTOR_FAULT:
        return STYLE_RED;
    }
    g_assert_not_reached();
}

static void findings_print(const GArray *findings)
{
    for (guint i = 0; i < findings->len; i++) {
        const DoctorFinding *finding = &g_array_index(findings, DoctorFinding, i);
        g_autofree char *padded = g_strdup_printf("%-7s", verdict_word(finding->verdict));
        g_autofree char *word = style_coloured(verdict_colour(finding->verdict), padded);
        g_autofree char *text = style_safe(finding->text);
        g_autofree char *mend = style_safe(finding->mend);
        printf("%s  %-14s  %s\n", word, finding->check, text);
        if (*mend != '\0') {
            printf("%25s  -> %s\n", "", mend);
        }
    }
}

static void findings_print_json(const GArray *findings, gboolean is_well)
{
    JsonArray *list = json_array_new();
    for (guint i = 0; i < findings->len; i++) {
        const DoctorFinding *finding = &g_array_index(findings, DoctorFinding, i);
        g_autofree char *text = g_utf8_make_valid(finding->text, -1);
        g_autofree char *mend = g_utf8_make_valid(finding->mend, -1);
        JsonObject *object = json_object_new();
        json_object_set_string_member(object, "check", finding->check);
        json_object_set_string_member(object, "verdict", verdict_word(finding->verdict));
        json_object_set_string_member(object, "text", text);
        json_object_set_string_member(object, "mend", mend);
        json_array_add_object_element(list, object);
    }
    JsonObject *document = json_object_new();
    json_object_set_boolean_member(document, "ok", is_well);
    json_object_set_array_member(document, "findings", list);
    print_json(json_node_init_object(json_node_alloc(), document));
    json_object_unref(document);
}

static CtlStatus judge(const Ctl *ctl, const DoctorFacts *facts)
{
    g_autoptr(GArray) findings = doctor_judge(facts);
    gboolean is_well = TRUE;
    for (guint i = 0; i < findings->len; i++) {
        is_well = is_well && g_array_index(findings, DoctorFinding, i).verdict != DOCTOR_FAULT;
    }
    if (ctl->json) {
        findings_print_json(findings, is_well);
    } else {
        findings_print(findings);
    }
    return is_well ? CTL_DONE : CTL_FAILED;
}

/* A service's group: as given, else as the service itself names it. */
static const char *group_of(const Ctl *ctl, const char *given, const char *service)
{
    return given != NULL ? arena_strdup(ctl->arena, given)
                         : arena_printf(ctl->arena, "%s.%s",
                                        options_get_string(ctl->options, "topic.prefix"), service);
}

CtlStatus cmd_doctor(Ctl *ctl)
{
    g_autofree char *vm_group = NULL;
    g_autofree char *volume_group = NULL;
    g_autoptr(GError) error = NULL;
    const GOptionEntry flags[] = {
        {"vm-service-group", 0, 0, G_OPTION_ARG_STRING, &vm_group,
         "The group.id of vm-service; default: the topic prefix and its name", "NAME"},
        {"volume-service-group", 0, 0, G_OPTION_ARG_STRING, &volume_group,
         "The group.id of volume-service; default: the same way", "NAME"},
        {0},
    };
    if (!args_parse(ctl, flags, 0, NULL, &error)) {
        return ctl_fail(ctl, error);
    }
    g_autoptr(GArray) hosts = g_array_new(FALSE, FALSE, sizeof(DoctorHost));
    g_autoptr(GArray) vms = g_array_new(FALSE, FALSE, sizeof(DoctorVm));
    DoctorFacts facts = {
        .arena = ctl->arena,
        .bootstrap = options_get_string(ctl->options, "bootstrap"),
        .prefix = options_get_string(ctl->options, "topic.prefix"),
        .services = {{.name = "vm-service", .group_id = group_of(ctl, vm_group, "vm-service")},
                     {.name = "volume-service",
                      .group_id = group_of(ctl, volume_group, "volume-service")}},
        .hosts = hosts,
        .vms = vms,
    };
    return doctor_facts_gather(ctl, &facts, &error) ? judge(ctl, &facts) : ctl_fail(ctl, error);
}
