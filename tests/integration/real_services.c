/* See real_services.h. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "tests/integration/real_services.h"

#include <errno.h>
#include <gio/gio.h>
#include <glib/gstdio.h>
#include <signal.h>
#include <string.h>
#include <unistd.h>

#include "tests/lib/child.h"

pid_t real_service_spawn(World *world, RealService service)
{
    static const char *const programs[] = {VM_SERVICE, VOLUME_SERVICE};
    const char *program = programs[service];
    g_autofree char *bootstrap = g_strdup_printf("--bootstrap=%s", world->bootstrap);
    g_autofree char *prefix = g_strdup_printf("--topic.prefix=%s", world->prefix);
    const char *const argv[] = {program,
                                bootstrap,
                                prefix,
                                "--instance.id=real",
                                "--log.level=error",
                                "--http.listen=127.0.0.1:0",
                                NULL};
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        child_dies_with_parent(NULL);
        execv(program, (char **)argv);
        _exit(127);
    }
    g_array_append_val(world->children, pid);
    return pid;
}

gint64 real_service_peak_bytes(pid_t pid)
{
    g_autofree char *path = g_strdup_printf("/proc/%d/status", (int)pid);
    g_autofree char *text = NULL;
    assert_true(g_file_get_contents(path, &text, NULL, NULL));
    const char *line = strstr(text, "VmHWM:");
    assert_non_null(line);
    return g_ascii_strtoll(line + strlen("VmHWM:"), NULL, 10) * 1024;
}

/* What virtbusctl wrote; it must end well. g_free. */
static char *virtbusctl(const char *const *words)
{
    g_autoptr(GPtrArray) argv = g_ptr_array_new();
    g_autoptr(GError) error = NULL;
    g_autofree char *errors = NULL;
    char *output = NULL;
    g_ptr_array_add(argv, (char *)VIRTBUSCTL);
    for (; *words != NULL; words++) {
        g_ptr_array_add(argv, (char *)*words);
    }
    g_ptr_array_add(argv, NULL);
    g_autoptr(GSubprocess) process =
        g_subprocess_newv((const char *const *)argv->pdata,
                          G_SUBPROCESS_FLAGS_STDOUT_PIPE | G_SUBPROCESS_FLAGS_STDERR_PIPE, &error);
    if (process == NULL ||
        !g_subprocess_communicate_utf8(process, NULL, NULL, &output, &errors, &error)) {
        fail_msg("virtbusctl: %s", error->message);
    }
    if (!g_subprocess_get_successful(process)) {
        fail_msg("virtbusctl does not end well: %s%s", errors, output);
    }
    return output;
}

void real_replay(World *world)
{
    g_autofree char *folder = g_dir_make_tmp("vb-replay-XXXXXX", NULL);
    const char *kept = g_getenv("RECORDINGS");
    g_autofree char *name =
        g_strdup_printf("%s-%s.recording", program_invocation_short_name, world->prefix);
    g_autofree char *path = g_build_filename(kept != NULL ? kept : folder, name, NULL);
    const char *const record[] = {
        "record",         path,          "--timeout", "3m", "--bootstrap", world->bootstrap,
        "--topic.prefix", world->prefix, NULL};
    const char *const replay[] = {"replay", path, NULL};
    g_free(virtbusctl(record));
    g_autofree char *words = virtbusctl(replay);
    if (kept == NULL) {
        g_unlink(path);
    }
    g_rmdir(folder);
    assert_non_null(strstr(words, "\n0 differences\n"));
    /* It was not for lack of something to compare. */
    assert_null(strstr(words, "\n0 steps"));
    assert_null(strstr(words, "\n0 states"));
    assert_null(strstr(words, "not recorded"));
}
