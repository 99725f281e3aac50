/* fuzz_options: a configuration file, a zero byte, then arguments and NAME=value variables, each
 * ended by a zero byte, arguments first. What is loaded is within the table's bounds, can be
 * printed, and is enough for a service. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "common/bus/service_options.h"
#include "tests/fuzz/fuzz.h"

enum { WORDS_MAX = 32 };

static G_NORETURN void broken(const char *what, const char *name)
{
    fprintf(stderr, "BROKEN: %s: %s\n", what, name);
    abort();
}

static void number_judge(const VbOption *option, gint64 number)
{
    gboolean bounded = option->min != 0 || option->max != 0;
    if ((bounded && (number < option->min || number > option->max)) ||
        (!bounded && option->type != VB_OPTION_INT && number < 0)) {
        broken("a number out of its bounds", option->name);
    }
}

static void option_judge(const VbOptions *options, const VbOption *option)
{
    switch (option->type) {
    case VB_OPTION_STRING:
        if ((option->flags & VB_OPTION_REPEATABLE) != 0) {
            for (const char *const *item = options_get_list(options, option->name); *item; item++) {
                if (!g_utf8_validate(*item, -1, NULL)) {
                    broken("a list's item is not UTF-8", option->name);
                }
            }
            return;
        }
        if (!g_utf8_validate(options_get_string(options, option->name), -1, NULL) ||
            ((option->flags & VB_OPTION_MANDATORY) != 0 &&
             *options_get_string(options, option->name) == '\0')) {
            broken("a string is not UTF-8, or missing", option->name);
        }
        return;
    case VB_OPTION_INT:
        number_judge(option, options_get_int(options, option->name));
        return;
    case VB_OPTION_DURATION:
        number_judge(option, options_get_duration_ms(options, option->name));
        return;
    case VB_OPTION_SIZE:
        number_judge(option, options_get_size_bytes(options, option->name));
        return;
    case VB_OPTION_BOOL:
        options_get_bool(options, option->name);
        return;
    case VB_OPTION_ENUM:
        if ((guint)options_get_enum(options, option->name) >=
            g_strv_length((char **)option->words)) {
            broken("an enum is none of its words", option->name);
        }
        return;
    }
}

static void loaded_judge(const VbOptions *options)
{
    for (const VbOption *option = service_options; option->name != NULL; option++) {
        option_judge(options, option);
    }
    g_free(options_help(options));
    g_autoptr(GError) error = NULL;
    g_autoptr(VbServiceOptions) service = service_options_new(options, "vm-service", &error);
    if (service == NULL && error == NULL) {
        broken("no service options and no reason", "");
    }
    if (service != NULL && service->settings.start_timeout_ms <= 0) {
        broken("a service without a timeout", "");
    }
}

/* The words behind the file: to `argv` those before the first that looks like a variable. */
static void words_split(const char *text, size_t size_bytes, GPtrArray *argv,
                        GPtrArray *environment)
{
    for (size_t at = 0; at < size_bytes && argv->len + environment->len < WORDS_MAX;
         at += strlen(text + at) + 1) {
        gboolean variable = environment->len > 0 || g_str_has_prefix(text + at, "VIRTBUS_");
        /* No other file than the fuzzer's own is read. */
        if (strstr(text + at, "config") == NULL && strstr(text + at, "CONFIG") == NULL) {
            g_ptr_array_add(variable ? environment : argv, (char *)text + at);
        }
    }
    g_ptr_array_add(argv, NULL);
    g_ptr_array_add(environment, NULL);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size_bytes)
{
    static const VbProgram program = {
        .name = "vm-service", .version = "0", .summary = "Fuzzed.", .options = service_options};
    static int file = -1;
    g_autofree char *text = g_malloc0(size_bytes + 1);
    memcpy(text, data, size_bytes);
    if (file < 0) {
        file = memfd_create("config", 0);
    }
    g_assert(ftruncate(file, 0) == 0 && pwrite(file, text, strlen(text), 0) >= 0);
    g_autofree char *path = g_strdup_printf("--config=/proc/self/fd/%d", file);
    g_autoptr(GPtrArray) argv = g_ptr_array_new();
    g_autoptr(GPtrArray) environment = g_ptr_array_new();
    size_t rest = MIN(strlen(text) + 1, size_bytes);
    g_ptr_array_add(argv, "vm-service");
    g_ptr_array_add(argv, path);
    words_split(text + rest, size_bytes - rest, argv, environment);
    g_autoptr(VbOptions) options = options_new(&program);
    g_autoptr(GError) error = NULL;
    if (!options_load(options, (int)argv->len - 1, (char *const *)argv->pdata,
                      (const char *const *)environment->pdata, &error)) {
        if (error == NULL || !g_utf8_validate(error->message, -1, NULL)) {
            broken("no reason, or none that can be shown", error != NULL ? error->message : "");
        }
    } else if (options_action(options) == VB_OPTIONS_RUN) {
        loaded_judge(options);
    }
    return 0;
}
