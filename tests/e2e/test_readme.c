/* README.md's code for other languages, run as it is printed there, against the whole stack: first
 * its shell block, then its Python block. Only the folder that README installs into is replaced, by
 * one of the stack's own: nobody's is touched, and runs do not meet. virtbusctl sees the same life.
 * It needs the network, for what the shell block installs. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <string.h>

#include "tests/lib/lab_guest.h"
#include "tests/lib/stack.h"

#define MARKER "<!-- The test e2e/test_readme runs these two blocks as they are printed here. -->\n"
#define VENV   "/tmp/virtbus-venv" /* README's. */

static Stack *stack;
static char *venv; /* Instead of README's. */

/* The block of this language that follows `from`, with `venv` in it. Free with g_free. */
static char *block(const char *from, const char *language, const char **ret_end)
{
    g_autofree char *fence = g_strdup_printf("```%s\n", language);
    const char *begin = strstr(from, fence);
    assert_non_null(begin);
    begin += strlen(fence);
    const char *end = strstr(begin, "```\n");
    assert_non_null(end);
    *ret_end = end;
    g_autoptr(GString) code = g_string_new_len(begin, end - begin);
    assert_true(g_string_replace(code, VENV, venv, 0) > 0);
    assert_null(strstr(code->str, "/tmp/virtbus"));
    return g_strdup(code->str);
}

/* Runs `code` as this program's script, in the source's folder, with what README says to export.
 * What it printed (g_free). */
static char *run(const char *program, const char *code)
{
    g_autofree char *script = g_build_filename(stack->folder, "script", NULL);
    assert_true(g_file_set_contents(script, code, -1, NULL));
    g_autoptr(GSubprocessLauncher) launcher =
        g_subprocess_launcher_new(G_SUBPROCESS_FLAGS_STDOUT_PIPE | G_SUBPROCESS_FLAGS_STDERR_MERGE);
    g_subprocess_launcher_set_cwd(launcher, SOURCE_DIR);
    g_subprocess_launcher_setenv(launcher, "BOOTSTRAP", lab_env("BOOTSTRAP"), TRUE);
    g_subprocess_launcher_setenv(launcher, "PREFIX", stack->prefix, TRUE);
    g_subprocess_launcher_setenv(launcher, "HOST", stack->host_uuid, TRUE);
    g_autoptr(GError) error = NULL;
    g_autoptr(GSubprocess) process =
        g_subprocess_launcher_spawn(launcher, &error, program, script, NULL);
    char *output = NULL;
    if (process == NULL ||
        !g_subprocess_communicate_utf8(process, NULL, NULL, &output, NULL, &error)) {
        stack_fail(stack, "%s: %s", program, error->message);
    }
    if (!g_subprocess_get_successful(process)) {
        stack_fail(stack, "README's code for %s failed: %s", program, output);
    }
    return output;
}

static void printed(const char **text, const char *line)
{
    const char *found = strstr(*text, line);
    if (found == NULL) {
        stack_fail(stack, "README's Python did not print \"%s\": %s", line, *text);
    }
    *text = found + strlen(line);
}

/* virtbusctl, which followed all the time, has seen the same. */
static void assert_followed(void)
{
    static const char *const statuses[] = {"CREATED", "STARTING",  "RUNNING",   "STOPPING",
                                           "STOPPED", "DESTROYED", "EXPUNGING", "EXPUNGED"};
    stack_events_read(stack);
    assert_true(stack->events->len > 0);
    g_autofree char *vm = stack_text(g_ptr_array_index(stack->events, 0), "vm_uuid");
    for (guint i = 0; i < G_N_ELEMENTS(statuses); i++) {
        g_autofree char *status = g_strdup_printf("VM_STATUS_%s", statuses[i]);
        stack_event(stack, vm, "status_changed.to", status);
    }
}

static void readme_runs_as_printed(void **state)
{
    (void)state;
    g_autofree char *readme = NULL;
    assert_true(g_file_get_contents(SOURCE_DIR "/README.md", &readme, NULL, NULL));
    const char *at = strstr(readme, MARKER);
    assert_non_null(at);
    g_autofree char *shell = block(at, "sh", &at);
    g_autofree char *python = block(at, "python", &at);
    g_autofree char *script = g_strdup_printf("set -e\n%s", shell);
    g_free(run("sh", script));
    g_autofree char *interpreter = g_build_filename(venv, "bin", "python3", NULL);
    g_autofree char *output = run(interpreter, python);
    const char *text = output;
    printed(&text, "create_vm -> VM_STATUS_CREATED\n");
    printed(&text, "NIC 0 runs as Virtio instead of E1000");
    printed(&text, "start_vm -> VM_STATUS_RUNNING\n");
    printed(&text, "stop_vm -> VM_STATUS_STOPPED\n");
    printed(&text, "destroy_vm -> VM_STATUS_DESTROYED\n");
    printed(&text, "expunge_vm -> VM_STATUS_EXPUNGED\n");
    assert_followed();
}

static int group_setup(void **state)
{
    (void)state;
    stack = stack_new();
    venv = g_build_filename(stack->folder, "venv", NULL);
    return 0;
}

static int group_teardown(void **state)
{
    (void)state;
    g_free(venv);
    stack_free(stack);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(readme_runs_as_printed)};
    return cmocka_run_group_tests(tests, group_setup, group_teardown);
}
