/* What of virtbusctl needs no broker: the command line, specifications, tables, the timeline. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

#include "common/base/uuid.h"
#include "tools/virtbusctl/args.h"
#include "tools/virtbusctl/columns.h"
#include "tools/virtbusctl/completion.h"
#include "tools/virtbusctl/describe.h"
#include "tools/virtbusctl/error_table.h"
#include "tools/virtbusctl/help.h"
#include "tools/virtbusctl/spec.h"
#include "tools/virtbusctl/style.h"
#include "tools/virtbusctl/suggest.h"
#include "tools/virtbusctl/timeline.h"

#define VM_UUID "11111111-2222-4333-8444-555555555555"

/* ---- The command line */

typedef struct {
    Ctl ctl;
    char **argv; /* Owns the texts. */
    char **used; /* What GOption may move about. */
    char *host;
    char **words;
    GError *error;
} Line;

/* Parses a line as `vm start` does, with its flag --host. */
static gboolean line_parse(Line *line, const char *text, guint n_words)
{
    const GOptionEntry flags[] = {
        {"host", 0, 0, G_OPTION_ARG_STRING, &line->host, "", "HOST"},
        {0},
    };
    *line = (Line){0};
    line->argv = g_strsplit(text, " ", -1);
    guint argc = g_strv_length(line->argv);
    line->used = g_memdup2(line->argv, (argc + 1) * sizeof(char *));
    return args_begin(&line->ctl, (int)argc, line->used, &line->error) &&
           line->ctl.command != NULL &&
           args_parse(&line->ctl, flags, n_words, &line->words, &line->error);
}

static void line_clear(Line *line)
{
    args_clear(&line->ctl);
    g_strfreev(line->argv);
    g_free(line->used);
    g_free(line->host);
    g_strfreev(line->words);
    g_clear_error(&line->error);
}

static int environment_clear(void **state)
{
    (void)state;
    static const char *const names[] = {"VIRTBUS_BOOTSTRAP", "VIRTBUS_TOPIC_PREFIX",
                                        "VIRTBUS_TIMEOUT", "VIRTBUS_KAFKA_LINGER_MS",
                                        "VIRTBUS_INSTANCE_ID"};
    for (size_t i = 0; i < G_N_ELEMENTS(names); i++) {
        g_unsetenv(names[i]);
    }
    return 0;
}

static void reads_global_flags_wherever_they_stand(void **state)
{
    (void)state;
    Line line;
    assert_true(line_parse(&line,
                           "virtbusctl -b one:1 --json vm start --timeout 2s " VM_UUID
                           " --host=h1 --topic.prefix=lab --kafka.linger.ms=5 --kafka.acks all",
                           1));
    assert_string_equal(line.ctl.command->words, "vm start");
    assert_string_equal(line.words[0], VM_UUID);
    assert_string_equal(line.host, "h1");
    assert_true(line.ctl.json);
    assert_int_equal(line.ctl.timeout_ms, 2000);
    assert_string_equal(options_get_string(line.ctl.options, "bootstrap"), "one:1");
    assert_string_equal(options_get_string(line.ctl.options, "topic.prefix"), "lab");
    size_t n_properties;
    const VbKafkaProperty *properties = options_get_kafka(line.ctl.options, &n_properties);
    assert_int_equal(n_properties, 2);
    assert_string_equal(properties[0].name, "linger.ms");
    assert_string_equal(properties[0].value, "5");
    assert_string_equal(properties[1].name, "acks");
    assert_string_equal(properties[1].value, "all");
    line_clear(&line);
}

static void reads_its_part_of_the_environment(void **state)
{
    (void)state;
    Line line;
    g_setenv("VIRTBUS_BOOTSTRAP", "two:2", TRUE);
    g_setenv("VIRTBUS_TOPIC_PREFIX", "lab", TRUE);
    g_setenv("VIRTBUS_TIMEOUT", "7s", TRUE);
    g_setenv("VIRTBUS_KAFKA_LINGER_MS", "9", TRUE);
    g_setenv("VIRTBUS_INSTANCE_ID", "a daemon's", TRUE);
    assert_true(line_parse(&line, "virtbusctl vm list --topic.prefix own", 0));
    assert_string_equal(options_get_string(line.ctl.options, "bootstrap"), "two:2");
    assert_string_equal(options_get_string(line.ctl.options, "topic.prefix"), "own");
    assert_int_equal(line.ctl.timeout_ms, 7000);
    size_t n_properties;
    assert_string_equal(options_get_kafka(line.ctl.options, &n_properties)[0].value, "9");
    assert_int_equal(n_properties, 1);
    line_clear(&line);
}

static void refuses_a_wrong_command_line(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        guint n_words;
        const char *names; /* What the error must hold. */
    } cases[] = {
        {"virtbusctl -b a:1", 0, "a command is missing"},
        {"virtbusctl -b a:1 vm strat x", 1, "no command \"vm strat\"; did you mean \"vm start\"?"},
        {"virtbusctl -b a:1 doctr", 0, "did you mean \"doctor\"?"},
        {"virtbusctl -b a:1 reticulate splines", 0, "\"reticulate splines\"; virtbusctl --help"},
        {"virtbusctl -b a:1 topics", 0, "\"topics\" needs one more word: create, delete"},
        {"virtbusctl -b a:1 vm start", 1,
         "VM is missing; the usage is: virtbusctl vm start VM --host HOST"},
        {"virtbusctl -b a:1 vm adopt-volume x", 2, "VOLUME is missing"},
        {"virtbusctl -b a:1 vm start x y", 1, "\"y\" is one word too many; the usage is"},
        {"virtbusctl -b a:1 vm start x --hots y", 1, "--hots; did you mean --host?"},
        {"virtbusctl -b a:1 vm start x --zzz y", 1, "virtbusctl vm start --help lists"},
        {"virtbusctl --tpoic.prefix x vm start x", 1, "did you mean --topic.prefix?"},
        {"virtbusctl vm start x", 1, "give --bootstrap HOST:PORT, or set VIRTBUS_BOOTSTRAP"},
        {"virtbusctl -b a:1 vm start x --timeout 5", 1, "\"5\" is not allowed"},
        {"virtbusctl -b a:1 vm start x --request-id 5", 1, "--request-id: \"5\" is no uuid"},
        {"virtbusctl -b a:1 vm start x --kafka.linger.ms", 1, "--kafka.linger.ms: a value"},
    };
    for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
        Line line;
        if (line_parse(&line, cases[i].text, cases[i].n_words)) {
            fail_msg("accepted: %s", cases[i].text);
        }
        assert_true(g_error_matches(line.error, CTL_ERROR, CTL_USAGE));
        if (strstr(line.error->message, cases[i].names) == NULL) {
            fail_msg("%s\nsays: %s\nnot:  %s", cases[i].text, line.error->message, cases[i].names);
        }
        line_clear(&line);
    }
}

static void assert_lines_fit(const char *page)
{
    g_auto(GStrv) lines = g_strsplit(page, "\n", -1);
    for (char **line = lines; *line != NULL; line++) {
        if (g_utf8_strlen(*line, -1) > 100) {
            fail_msg("too wide for a terminal: %s", *line);
        }
    }
}

static void lists_every_command_in_its_help(void **state)
{
    (void)state;
    g_autofree char *page = args_help();
    for (const CtlCommand *command = ctl_commands; command->words != NULL; command++) {
        assert_int_equal(strstr(page, command->words) != NULL, command->group != NULL);
        assert_int_equal(strstr(page, command->summary) != NULL, command->group != NULL);
        assert_non_null(command->run);
    }
    for (int status = 0; status <= CTL_OTHER_LOGIC; status++) {
        assert_non_null(strstr(page, ctl_status_texts[status]));
    }
    assert_non_null(strstr(page, "--kafka.NAME"));
    assert_non_null(strstr(page, "--request-id"));
    assert_lines_fit(page);
}

static void page_check(const CtlFlags *flags, gpointer data)
{
    static const GOptionEntry none[] = {{0}};
    const CtlCommand *command = data;
    g_autofree char *page = help_command(command, flags, none);
    assert_lines_fit(page);
    for (; flags->heading != NULL; flags++) {
        for (const GOptionEntry *flag = flags->entries; flag && flag->long_name; flag++) {
            assert_non_null(strstr(page, flag->long_name));
            /* Completion and help need to know what its value is. */
            assert_int_equal(flag->arg_description != NULL, flag->arg != G_OPTION_ARG_NONE);
            assert_true(strlen(flag->description) > 3);
        }
    }
}

static void helps_with_every_command(void **state)
{
    (void)state;
    for (const CtlCommand *command = ctl_commands; command->words != NULL; command++) {
        args_look(command, page_check, (gpointer)command);
    }
}

static void suggests_what_was_meant(void **state)
{
    (void)state;
    static const char *const known[] = {"start", "stop", "expunge", NULL};
    assert_string_equal(suggest_nearest("strat", known), "start");
    assert_string_equal(suggest_nearest("stpo", known), "stop");
    assert_string_equal(suggest_nearest("expugne", known), "expunge");
    assert_string_equal(suggest_nearest("stop", known), "stop");
    assert_null(suggest_nearest("list", known));
    assert_null(suggest_nearest("", known));
    g_autofree char *endless = g_strnfill(100, 's');
    assert_null(suggest_nearest(endless, known));
}

/* ---- Completion */

static const char *completion_path;

/* What bash offers behind these words, the last of which is being typed. */
static char *completed(const char *words)
{
    g_autoptr(GError) error = NULL;
    g_autofree char *code =
        g_strdup_printf("source %s; COMP_WORDS=(%s); COMP_CWORD=$((${#COMP_WORDS[@]}-1)); "
                        "_virtbusctl; echo -n \"${COMPREPLY[*]}\"",
                        completion_path, words);
    const char *argv[] = {"bash", "--norc", "-c", code, NULL};
    char *output = NULL;
    g_autofree char *errors = NULL;
    assert_true(g_spawn_sync(NULL, (char **)argv, NULL, G_SPAWN_SEARCH_PATH, NULL, NULL, &output,
                             &errors, NULL, &error));
    assert_string_equal(errors, "");
    return output;
}

static void assert_completed(const char *words, const char *expected)
{
    g_autofree char *found = completed(words);
    assert_string_equal(found, expected);
}

static void completes_a_command_line(void **state)
{
    (void)state;
    g_autoptr(GError) error = NULL;
    g_autofree char *script = completion_script(COMPLETION_BASH);
    g_autofree char *path = NULL;
    int fd = g_file_open_tmp("completion-XXXXXX", &path, &error);
    assert_true(fd >= 0);
    close(fd);
    assert_true(g_file_set_contents(path, script, -1, &error));
    completion_path = path;

    assert_completed("virtbusctl top", "topics");
    assert_completed("virtbusctl vm sta", "start");
    assert_completed("virtbusctl vm re", "reboot recover reset-nvram release");
    assert_completed("virtbusctl completion-", "");
    assert_completed("virtbusctl vm stop x --fo", "--force");
    assert_completed("virtbusctl vm stop x --req", "--request-id");
    assert_completed("virtbusctl --js", "--json");
    assert_completed("virtbusctl vm create --platform wi", "windows windows-virtio");
    assert_completed("virtbusctl vm create --platform = pa", "paravirtualization");
    assert_completed("virtbusctl vm watch x --until run", "running");
    assert_completed("virtbusctl completion ''", "bash zsh");
    /* The values of options are no words of the command. */
    assert_completed("virtbusctl -b host : 9092 --timeout = 5s --kafka.acks all vm update x --no-t",
                     "--no-tpm");
    /* What a flag takes is not known for every flag: then nothing wrong is offered. */
    assert_completed("virtbusctl vm create --memory ''", "");
    remove(path);
}

/* ---- vm create */

static void makes_a_specification_of_flags(void **state)
{
    (void)state;
    g_autoptr(VbArena) arena = arena_new();
    g_autoptr(GError) error = NULL;
    char *disks[] = {"40GiB,image=debian.qcow2,mode=overlay,bus=sata", "1TiB,format=raw,iops=500",
                     NULL};
    char *nics[] = {"vhost-user,model=virtio-non-transitional,queues=2,bridge=br0",
                    "bridge,bridge=br1,mac=52:54:00:00:00:01,mtu=9000", NULL};
    char *cdroms[] = {"virtio-win.iso", NULL};
    SpecFlags flags = {
        .name = "web",
        .platform = "windows-virtio",
        .firmware = "uefi",
        .secure_boot = "on",
        .tpm = TRUE,
        .vcpus = "4",
        .memory = "2GiB",
        .storage = "my:main:shared-mount-point",
        .graphics = "vnc,listen=0.0.0.0",
        .serial = TRUE,
        .disks = disks,
        .nics = nics,
        .cdroms = cdroms,
    };
    VmSpec *spec = ARENA_MSG(arena, vm_spec);
    assert_true(spec_apply(arena, &flags, spec, &error));
    assert_string_equal(spec->name, "web");
    assert_int_equal(spec->platform, PLATFORM_WINDOWS_VIRTIO);
    assert_int_equal(spec->firmware, FIRMWARE_UEFI);
    assert_int_equal(spec->secure_boot, TOGGLE_ON);
    assert_int_equal(spec->tpm->version, TPM_VERSION_2_0);
    assert_int_equal(spec->vcpus, 4);
    assert_true(spec->memory_bytes == G_GUINT64_CONSTANT(2) << 30);
    assert_string_equal(spec->storage->name, "my:main");
    assert_int_equal(spec->storage->type, STORAGE_TYPE_SHARED_MOUNT_POINT);
    assert_int_equal(spec->graphics->type, GRAPHICS_TYPE_VNC);
    assert_string_equal(spec->graphics->listen, "0.0.0.0");
    assert_true(spec->serial_console);

    assert_int_equal(spec->n_disks, 2);
    const DiskSpec *root = spec->disks[0];
    assert_int_equal(root->index, 0);
    assert_int_equal(root->type, VOLUME_TYPE_ROOT);
    assert_true(root->size_bytes == G_GUINT64_CONSTANT(40) << 30);
    assert_string_equal(root->image, "debian.qcow2");
    assert_int_equal(root->image_mode, IMAGE_MODE_OVERLAY);
    assert_int_equal(root->bus, DISK_BUS_SATA);
    assert_int_equal(root->boot_order, 1);
    const DiskSpec *data = spec->disks[1];
    assert_int_equal(data->index, 1);
    assert_int_equal(data->type, VOLUME_TYPE_DATA);
    assert_int_equal(data->format, VOLUME_FORMAT_RAW);
    assert_true(data->iops_limit == 500);
    assert_int_equal(data->boot_order, 0);

    assert_int_equal(spec->n_nics, 2);
    assert_int_equal(spec->nics[0]->type, NIC_TYPE_VHOST_USER);
    assert_int_equal(spec->nics[0]->model, NIC_MODEL_VIRTIO_NON_TRANSITIONAL);
    assert_int_equal(spec->nics[0]->queues, 2);
    assert_int_equal(spec->nics[1]->index, 1);
    assert_string_equal(spec->nics[1]->mac, "52:54:00:00:00:01");
    assert_int_equal(spec->nics[1]->mtu, 9000);
    assert_int_equal(spec->n_cdroms, 1);
    assert_string_equal(spec->cdroms[0]->image, "virtio-win.iso");
}

/* A spec with a root disk, two NICs and a TPM. */
static VmSpec *spec_some(VbArena *arena)
{
    g_autoptr(GError) error = NULL;
    VmSpec *spec = ARENA_MSG(arena, vm_spec);
    char *disks[] = {"20GiB,image=debian.qcow2", NULL};
    char *nics[] = {"vhost-user,queues=2,mac=52:54:00:00:00:01", "user", NULL};
    SpecFlags flags = {.name = "web",
                       .vcpus = "3",
                       .secure_boot = "on",
                       .tpm = TRUE,
                       .serial = TRUE,
                       .disks = disks,
                       .nics = nics};
    assert_true(spec_apply(arena, &flags, spec, &error));
    return spec;
}

static void keeps_what_flags_do_not_name(void **state)
{
    (void)state;
    g_autoptr(VbArena) arena = arena_new();
    g_autoptr(GError) error = NULL;
    VmSpec *spec = spec_some(arena);
    char *nics[] = {"index=0,queues=4", "bridge,bridge=br0", NULL};
    char *disks[] = {"1GiB", "index=0,bus=sata", NULL};
    SpecFlags flags = {.memory = "2GiB", .secure_boot = "default", .disks = disks, .nics = nics};
    assert_true(spec_apply(arena, &flags, spec, &error));
    assert_string_equal(spec->name, "web");
    assert_int_equal(spec->vcpus, 3);
    assert_int_equal(spec->secure_boot, TOGGLE_UNSPECIFIED);
    assert_non_null(spec->tpm);
    assert_true(spec->serial_console);
    assert_int_equal(spec->n_nics, 3);
    assert_int_equal(spec->nics[0]->type, NIC_TYPE_VHOST_USER);
    assert_int_equal(spec->nics[0]->queues, 4);
    assert_string_equal(spec->nics[0]->mac, "52:54:00:00:00:01");
    assert_int_equal(spec->nics[2]->index, 2);
    assert_string_equal(spec->nics[2]->bridge, "br0");
    assert_int_equal(spec->n_disks, 2);
    assert_int_equal(spec->disks[0]->type, VOLUME_TYPE_ROOT);
    assert_int_equal(spec->disks[0]->bus, DISK_BUS_SATA);
    assert_string_equal(spec->disks[0]->image, "debian.qcow2");
    assert_int_equal(spec->disks[0]->boot_order, 1);
    assert_int_equal(spec->disks[1]->type, VOLUME_TYPE_DATA);
}

static void takes_away_what_is_named(void **state)
{
    (void)state;
    g_autoptr(VbArena) arena = arena_new();
    g_autoptr(GError) error = NULL;
    VmSpec *spec = spec_some(arena);
    char *no_nics[] = {"0", NULL};
    char *nics[] = {"bridge", NULL}; /* Gets the place that has become free. */
    SpecFlags flags = {.no_tpm = TRUE, .no_serial = TRUE, .no_nics = no_nics, .nics = nics};
    assert_true(spec_apply(arena, &flags, spec, &error));
    assert_null(spec->tpm);
    assert_false(spec->serial_console);
    assert_int_equal(spec->n_nics, 2);
    assert_int_equal(spec->nics[0]->index, 1);
    assert_int_equal(spec->nics[0]->type, NIC_TYPE_USER);
    assert_int_equal(spec->nics[1]->index, 0);
    assert_int_equal(spec->nics[1]->type, NIC_TYPE_BRIDGE);
    assert_int_equal(spec->n_disks, 1);

    char *gone[] = {"7", NULL};
    flags = (SpecFlags){.no_disks = gone};
    assert_false(spec_apply(arena, &flags, spec, &error));
    assert_string_equal(error->message, "--no-disk: the VM has no disk with index 7");
    g_clear_error(&error);
    flags.is_repeated = TRUE; /* The first time may have done it. */
    assert_true(spec_apply(arena, &flags, spec, &error));
    assert_int_equal(spec->n_disks, 1);
    flags = (SpecFlags){.no_tpm = TRUE, .tpm = TRUE};
    assert_false(spec_apply(arena, &flags, spec, &error));
    assert_string_equal(error->message, "--no-tpm and --tpm exclude each other");
}

static void gives_a_disk_its_type_by_what_is_there(void **state)
{
    (void)state;
    g_autoptr(VbArena) arena = arena_new();
    g_autoptr(GError) error = NULL;
    VmSpec *spec = ARENA_MSG(arena, vm_spec);
    char *disks[] = {"1GiB,type=data", "2GiB", "3GiB", NULL};
    char *nics[] = {"user,boot=1", NULL};
    SpecFlags flags = {.disks = disks, .nics = nics};
    assert_true(spec_apply(arena, &flags, spec, &error));
    assert_int_equal(spec->disks[0]->type, VOLUME_TYPE_DATA);
    assert_int_equal(spec->disks[1]->type, VOLUME_TYPE_ROOT);
    assert_int_equal(spec->disks[1]->boot_order, 0); /* The NIC boots. */
    assert_int_equal(spec->disks[2]->type, VOLUME_TYPE_DATA);
}

static void gives_a_nic_the_first_free_index(void **state)
{
    (void)state;
    g_autoptr(VbArena) arena = arena_new();
    g_autoptr(GError) error = NULL;
    const VmSpec *spec = spec_some(arena);
    const NicSpec *nic = spec_nic(arena, "user,model=e1000e", spec, &error);
    assert_int_equal(nic->index, 2);
    assert_int_equal(nic->model, NIC_MODEL_E1000E);
    nic = spec_nic(arena, "bridge,bridge=br0,index=9", spec, &error);
    assert_int_equal(nic->index, 9);
    assert_int_equal(nic->queues, 0);
    /* One that is there is refused by the service, or answered once more: not by us. */
    nic = spec_nic(arena, "user,index=0", spec, &error);
    assert_int_equal(nic->index, 0);
    assert_int_equal(nic->queues, 0);
    assert_int_equal(spec->nics[0]->queues, 2);
    assert_null(spec_nic(arena, "user,index=x", spec, &error));
    assert_true(g_error_matches(error, CTL_ERROR, CTL_USAGE));
}

/* The names of fields that have their default value, "disks.iops_limit"; repeated messages by their
 * first one. */
static void unset_collect(const ProtobufCMessage *message, const char *path, GString *unset)
{
    const char *base = (const char *)message;
    for (unsigned i = 0; i < message->descriptor->n_fields; i++) {
        const ProtobufCFieldDescriptor *field = &message->descriptor->fields[i];
        g_autofree char *own = g_strdup_printf("%s%s", path, field->name);
        const void *value = base + field->offset;
        gboolean is_repeated = field->label == PROTOBUF_C_LABEL_REPEATED;
        if (is_repeated) {
            size_t n = *(const size_t *)(const void *)(base + field->quantifier_offset);
            value = n > 0 ? *(const void *const *)value : NULL;
        }
        if (field->type == PROTOBUF_C_TYPE_MESSAGE) {
            const ProtobufCMessage *inner =
                value != NULL ? *(const ProtobufCMessage *const *)value : NULL;
            g_autofree char *below = g_strconcat(own, ".", NULL);
            if (inner == NULL) {
                g_string_append_printf(unset, "%s ", own);
            } else {
                unset_collect(inner, below, unset);
            }
            continue;
        }
        gboolean is_set = field->type == PROTOBUF_C_TYPE_STRING
                              ? **(const char *const *)value != '\0'
                          : field->type == PROTOBUF_C_TYPE_UINT64 ? *(const uint64_t *)value != 0
                                                                  : *(const int *)value != 0;
        if (!is_set) {
            g_string_append_printf(unset, "%s ", own);
        }
    }
}

/* Fails when the contract gets a field for which there is no flag. */
static void can_say_everything_that_a_spec_holds(void **state)
{
    (void)state;
    g_autoptr(VbArena) arena = arena_new();
    g_autoptr(GError) error = NULL;
    g_autoptr(GString) unset = g_string_new(NULL);
    char *disks[] = {"1GiB,type=root,image=a,mode=overlay,format=qcow2,bus=scsi,socket=/s,iops=1,"
                     "boot=1,index=1",
                     NULL};
    char *cdroms[] = {"a.iso,boot=2,index=1", NULL};
    char *nics[] = {"bridge,bridge=b,model=e1000,mac=m,queues=1,mtu=1,boot=3,index=1", NULL};
    SpecFlags flags = {
        .name = "n",
        .account = "a",
        .platform = "linux",
        .firmware = "uefi",
        .secure_boot = "off",
        .image_platform = "other",
        .tpm_model = "tis",
        .vcpus = "1",
        .memory = "1GiB",
        .huge_pages = "2MiB",
        .machine = "pc",
        .domain_type = "kvm",
        .storage = "s:nfs",
        .nvram_size = "2MiB",
        .disks = disks,
        .cdroms = cdroms,
        .nics = nics,
        .graphics = "vnc,listen=::",
        .serial = TRUE,
        .panic_device = TRUE,
        .clock = "utc",
        .hyperv = "on",
        .restart_policy = "restart",
    };
    VmSpec *spec = ARENA_MSG(arena, vm_spec);
    assert_true(spec_apply(arena, &flags, spec, &error));
    unset_collect(&spec->base, "", unset);
    /* The service decides these. */
    assert_string_equal(unset->str, "nvram.storage nvram.name nvram.volume_uuid ");
}

static void refuses_wrong_devices(void **state)
{
    (void)state;
    const struct {
        SpecFlags flags;
        const char *names;
    } cases[] = {
        {{.disks = (char *[]){"40GB", NULL}}, "--disk size: \"40GB\" is not allowed"},
        {{.disks = (char *[]){"1GiB,imgae=x", NULL}},
         "--disk: \"imgae\" is no key; known are size"},
        {{.disks = (char *[]){"1GiB,raw", NULL}}, "--disk: \"raw\" has no value"},
        {{.disks = (char *[]){"1GiB,bus=ide", NULL}},
         "--disk bus: \"ide\" is not known; known are "},
        {{.disks = (char *[]){"1GiB,boot=-1", NULL}}, "--disk boot: \"-1\""},
        {{.nics = (char *[]){"vhost", NULL}}, "known are bridge, vhost-user, user"},
        {{.nics = (char *[]){"unspecified", NULL}}, "--nic type: \"unspecified\" is not known"},
        {{.storage = "main"}, "\"main\" is not NAME:TYPE"},
        {{.storage = "main:disk"}, "--storage: \"disk\" is not known"},
        {{.memory = "0"}, "--memory: \"0\" is not allowed"},
        {{.vcpus = "two"}, "--vcpus: \"two\" is not allowed"},
        {{.secure_boot = "yes"}, "--secure-boot: \"yes\" is not known; known are default, on, off"},
        {{.nics = (char *[]){"default", NULL}}, "--nic type: \"default\" is not known"},
        {{.nics = (char *[]){"user,index=one", NULL}}, "--nic index: \"one\" is not allowed"},
        {{.huge_pages = "0"}, "--huge-pages: \"0\" is not allowed"},
        {{.serial = TRUE, .no_serial = TRUE}, "--serial and --no-serial exclude each other"},
    };
    g_autoptr(VbArena) arena = arena_new();
    for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
        g_autoptr(GError) error = NULL;
        if (spec_apply(arena, &cases[i].flags, ARENA_MSG(arena, vm_spec), &error)) {
            fail_msg("accepted: case %zu, %s", i, cases[i].names);
        }
        assert_true(g_error_matches(error, CTL_ERROR, CTL_USAGE));
        if (strstr(error->message, cases[i].names) == NULL) {
            fail_msg("says: %s\nnot:  %s", error->message, cases[i].names);
        }
    }
}

/* ---- How things look */

static void assert_text(char *made, const char *expected)
{
    g_autofree char *text = made;
    assert_string_equal(text, expected);
}

static void writes_humane_times_and_sizes(void **state)
{
    (void)state;
    assert_text(style_duration(0), "0 ms");
    assert_text(style_duration(999), "999 ms");
    assert_text(style_duration(1284), "1.28 s");
    assert_text(style_duration(12840), "12.8 s");
    assert_text(style_duration(128000), "2 min 8 s");
    assert_text(style_duration(3 * 3600000 + 4 * 60000), "3 h 4 min");
    assert_text(style_duration(G_GINT64_CONSTANT(5) * 86400000 + 6 * 3600000), "5 d 6 h");
    assert_text(style_duration(-40), "-40 ms");
    assert_text(style_ago(0, 1000), "-");
    assert_text(style_ago(1000, 4999), "3 s ago");
    assert_text(style_ago(1000, 1000 + 7200000), "2 h ago");
    assert_text(style_ago(9000, 1000), "0 s ago");
    assert_text(style_size(0), "-");
    assert_text(style_size(540672), "528 KiB");
    assert_text(style_size(131073), "131073 B");
    assert_text(style_size(G_GUINT64_CONSTANT(3) << 29), "1.5 GiB");
    assert_text(style_size(G_GUINT64_CONSTANT(13214567890)), "12.3 GiB");
    assert_text(style_safe("a\033[31mb\nc\xff"), "a?[31mb?c\357\277\275");
}

static void makes_columns_as_wide_as_needed(void **state)
{
    (void)state;
    g_autoptr(VbColumns) columns = columns_new("NAME", ">N", "TEXT", NULL);
    columns_row(columns, "a", "1", "short", NULL);
    columns_row(columns, "", NULL);
    columns_row(columns, "größer", "100", "", NULL);
    assert_text(columns_text(columns), "NAME      N  TEXT\n"
                                       "a         1  short\n"
                                       "\n"
                                       "größer  100\n");
    assert_int_equal(columns_rows(columns), 3);
}

static void explains_every_error_code(void **state)
{
    (void)state;
    assert_int_equal(error_table_n, error_code__descriptor.n_values);
    for (size_t i = 0; i < error_table_n; i++) {
        assert_true(strlen(error_table[i].text) > 5);
    }
}

static void describes_messages_in_a_line(void **state)
{
    (void)state;
    g_autoptr(VbArena) arena = arena_new();
    NicCoerced coerced = NIC_COERCED__INIT;
    coerced.index = 1;
    coerced.asked_model = NIC_MODEL_E1000;
    coerced.effective_model = NIC_MODEL_VIRTIO;
    coerced.reason = "because";
    VmEvent event = VM_EVENT__INIT;
    event.operation_id = "op";
    event.event_case = VM_EVENT__EVENT_NIC_COERCED;
    event.nic_coerced = &coerced;
    VbDescription description = describe(arena, &event);
    assert_string_equal(description.kind, "NicCoerced");
    assert_string_equal(description.text, "because");
    assert_string_equal(description.operation_id, "op");
    assert_int_equal(description.tone, TONE_WARNING);

    Error error = ERROR__INIT;
    error.code = ERROR_CODE_STORAGE_FULL;
    error.message = "main is full";
    VolumesCreated created = VOLUMES_CREATED__INIT;
    HostReport report = HOST_REPORT__INIT;
    report.error = &error;
    report.report_case = HOST_REPORT__REPORT_VOLUMES_CREATED;
    report.volumes_created = &created;
    description = describe(arena, &report);
    assert_string_equal(description.kind, "VolumesCreated");
    assert_string_equal(description.text, "STORAGE_FULL: main is full");
    assert_int_equal(description.tone, TONE_BAD);

    StatusChanged changed = STATUS_CHANGED__INIT;
    changed.from = VM_STATUS_STARTING;
    changed.to = VM_STATUS_STOPPED;
    changed.cause = CAUSE_OPERATION_FAILED;
    changed.error = &error;
    event.event_case = VM_EVENT__EVENT_STATUS_CHANGED;
    event.status_changed = &changed;
    description = describe(arena, &event);
    assert_string_equal(description.text, "Starting -> Stopped (STORAGE_FULL)");

    GetVm get = GET_VM__INIT;
    VmCommand command = VM_COMMAND__INIT;
    command.command_case = VM_COMMAND__COMMAND_GET_VM;
    command.get_vm = &get;
    description = describe(arena, &command);
    assert_string_equal(description.kind, "GetVm");
    assert_string_equal(description.text, "");
}

/* ---- The timeline */

static void row_add(GArray *rows, VbArena *arena, gint64 time_ms, VbTopic topic, gint64 offset,
                    const void *message)
{
    TimelineRow row = {.time_ms = time_ms, .topic = topic, .offset = offset, .message = message};
    row.description = describe(arena, message);
    g_array_append_val(rows, row);
}

static void assert_row(GArray *rows, guint i, VbTopic topic, gint64 delta_ms, gboolean is_begin)
{
    const TimelineRow *row = &g_array_index(rows, TimelineRow, i);
    assert_int_equal(row->topic, topic);
    assert_int_equal(row->delta_ms, delta_ms);
    assert_int_equal(row->is_begin, is_begin);
}

/* A start runs while somebody reads the VM: each record counts from the command it belongs to. */
static void orders_the_records_of_a_saga(void **state)
{
    (void)state;
    g_autoptr(VbArena) arena = arena_new();
    g_autoptr(GArray) rows = g_array_new(FALSE, FALSE, sizeof(TimelineRow));
    StartVm start_body = START_VM__INIT;
    VmCommand start = VM_COMMAND__INIT;
    start.request_id = "start";
    start.command_case = VM_COMMAND__COMMAND_START_VM;
    start.start_vm = &start_body;
    GetVm get_body = GET_VM__INIT;
    VmCommand get = VM_COMMAND__INIT;
    get.request_id = "get";
    get.command_case = VM_COMMAND__COMMAND_GET_VM;
    get.get_vm = &get_body;
    DestroyVm destroy_body = DESTROY_VM__INIT;
    VmCommand destroy = VM_COMMAND__INIT;
    destroy.request_id = "destroy";
    destroy.command_case = VM_COMMAND__COMMAND_DESTROY_VM;
    destroy.destroy_vm = &destroy_body;
    Operation operation = OPERATION__INIT;
    operation.id = "op";
    operation.request_id = "start";
    VmRecord record = VM_RECORD__INIT;
    record.operation = &operation;
    StateRecord starting = STATE_RECORD__INIT;
    starting.body_case = STATE_RECORD__BODY_VM;
    starting.vm = &record;
    HostReport report = HOST_REPORT__INIT;
    report.operation_id = "op";
    Reply get_reply_body = REPLY__INIT;
    get_reply_body.request_id = "get";
    VmEvent get_reply = VM_EVENT__INIT;
    get_reply.event_case = VM_EVENT__EVENT_REPLY;
    get_reply.reply = &get_reply_body;

    row_add(rows, arena, 1700, TOPIC_VM_REPORTS, 0, &report); /* Late: of the start. */
    row_add(rows, arena, 1600, TOPIC_VM_COMMANDS, 2, &destroy);
    row_add(rows, arena, 1502, TOPIC_VM_EVENTS, 0, &get_reply);
    row_add(rows, arena, 1500, TOPIC_VM_COMMANDS, 1, &get);
    row_add(rows, arena, 1000, TOPIC_VM_STATE, 0, &starting);
    row_add(rows, arena, 1000, TOPIC_VM_COMMANDS, 0, &start);
    row_add(rows, arena, 1800, TOPIC_VM_COMMANDS, 3, &destroy); /* The same request once more. */
    timeline_sort(rows);
    assert_row(rows, 0, TOPIC_VM_COMMANDS, 0, TRUE);
    assert_row(rows, 1, TOPIC_VM_STATE, 0, FALSE);
    assert_row(rows, 2, TOPIC_VM_COMMANDS, 0, FALSE);
    assert_row(rows, 3, TOPIC_VM_EVENTS, 2, FALSE);
    assert_row(rows, 4, TOPIC_VM_COMMANDS, 0, TRUE);
    assert_row(rows, 5, TOPIC_VM_REPORTS, 700, FALSE);
    assert_row(rows, 6, TOPIC_VM_COMMANDS, 200, FALSE);
}

typedef struct {
    VbTopic topic;
    gint64 offset;
    const void *message;
    const char *from; /* What its id is made of; NULL: it has none. */
    gint64 step_ms;
    int cause;
} CauseCase;

/* Rows in partition 2, one a millisecond. */
static void assert_causes(VbArena *arena, const CauseCase *cases, size_t n_cases)
{
    g_autoptr(GArray) rows = g_array_new(FALSE, FALSE, sizeof(TimelineRow));
    for (size_t i = 0; i < n_cases; i++) {
        row_add(rows, arena, 1000 + (gint64)i, cases[i].topic, cases[i].offset, cases[i].message);
        TimelineRow *row = &g_array_index(rows, TimelineRow, i);
        row->topic_name = topic_info(cases[i].topic)->suffix;
        row->partition = 2;
        row->step_ms = cases[i].step_ms;
        row->event_id = cases[i].from != NULL ? uuid_derive(arena, VM_UUID, cases[i].from) : NULL;
    }
    timeline_link(rows, arena, VM_UUID);
    for (size_t i = 0; i < n_cases; i++) {
        int cause = g_array_index(rows, TimelineRow, i).cause;
        if (cause != cases[i].cause) {
            fail_msg("row %zu: %d, not %d", i, cause, cases[i].cause);
        }
    }
}

/* An output's id names its input; a report answers its operation's command; a state tells. */
static void finds_the_cause_of_each_record(void **state)
{
    (void)state;
    g_autoptr(VbArena) arena = arena_new();
    VmCommand command = VM_COMMAND__INIT;
    VmEvent event = VM_EVENT__INIT;
    HostCommand host_command = HOST_COMMAND__INIT;
    host_command.operation_id = "op";
    HostReport report = HOST_REPORT__INIT;
    report.operation_id = "op";
    HostReport own_report = HOST_REPORT__INIT;
    RuntimeInput input = RUNTIME_INPUT__INIT;
    AppliedOffset applied_command = APPLIED_OFFSET__INIT;
    applied_command.topic = "vm.commands";
    applied_command.offset = 7;
    AppliedOffset applied_report = APPLIED_OFFSET__INIT;
    applied_report.topic = "vm.reports";
    applied_report.offset = 4;
    AppliedOffset *first[] = {&applied_command};
    AppliedOffset *second[] = {&applied_command, &applied_report};
    VmRecord vm = VM_RECORD__INIT;
    StateRecord states[4] = {STATE_RECORD__INIT, STATE_RECORD__INIT, STATE_RECORD__INIT,
                             STATE_RECORD__INIT};
    states[0].n_applied = 1;
    states[0].applied = first;
    states[1].n_applied = 2;
    states[1].applied = second;
    states[2].n_applied = 2;
    states[2].applied = second; /* No record led to it: a deadline did. */
    states[2].step_ms = 55;
    AppliedOffset *both[] = {&applied_report, &applied_command};
    states[3].n_applied = 2;
    states[3].applied = both; /* Two steps of one transaction: the later one made it what it is. */
    for (int i = 0; i < 4; i++) {
        states[i].body_case = STATE_RECORD__BODY_VM;
        states[i].vm = &vm;
    }
    const CauseCase cases[] = {
        {TOPIC_VM_COMMANDS, 7, &command, NULL, 0, TIMELINE_NO_CAUSE},
        {TOPIC_HOST_COMMANDS, 1, &host_command, "vm.commands/2/7/0", 1, 0},
        {TOPIC_VM_EVENTS, 1, &event, "vm.commands/2/7/1", 1, 0},
        {TOPIC_VM_STATE, 1, &states[0], NULL, 0, 0},
        {TOPIC_VM_REPORTS, 4, &report, NULL, 0, 1},
        {TOPIC_VM_STATE, 2, &states[1], NULL, 0, 4},
        {TOPIC_VM_REPORTS, 5, &own_report, NULL, 0, TIMELINE_NO_CAUSE},
        {TOPIC_VM_JOURNAL, 3, &input, NULL, 55, TIMELINE_NO_CAUSE},
        {TOPIC_VM_EVENTS, 2, &event, "deadline/d/1/0", 55, 7},
        {TOPIC_VM_STATE, 3, &states[2], NULL, 0, 7},
        {TOPIC_VOLUME_STATE, 1, &states[3], NULL, 0, 4},
        {TOPIC_VM_EVENTS, 3, &event, "vm.commands/3/7/0", 0, TIMELINE_NO_CAUSE},
    };
    assert_causes(arena, cases, G_N_ELEMENTS(cases));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(reads_global_flags_wherever_they_stand, environment_clear),
        cmocka_unit_test_setup_teardown(reads_its_part_of_the_environment, environment_clear,
                                        environment_clear),
        cmocka_unit_test_setup(refuses_a_wrong_command_line, environment_clear),
        cmocka_unit_test(lists_every_command_in_its_help),
        cmocka_unit_test(helps_with_every_command),
        cmocka_unit_test(suggests_what_was_meant),
        cmocka_unit_test_setup(completes_a_command_line, environment_clear),
        cmocka_unit_test(makes_a_specification_of_flags),
        cmocka_unit_test(keeps_what_flags_do_not_name),
        cmocka_unit_test(takes_away_what_is_named),
        cmocka_unit_test(gives_a_disk_its_type_by_what_is_there),
        cmocka_unit_test(gives_a_nic_the_first_free_index),
        cmocka_unit_test(can_say_everything_that_a_spec_holds),
        cmocka_unit_test(refuses_wrong_devices),
        cmocka_unit_test(writes_humane_times_and_sizes),
        cmocka_unit_test(makes_columns_as_wide_as_needed),
        cmocka_unit_test(explains_every_error_code),
        cmocka_unit_test(describes_messages_in_a_line),
        cmocka_unit_test(orders_the_records_of_a_saga),
        cmocka_unit_test(finds_the_cause_of_each_record),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
