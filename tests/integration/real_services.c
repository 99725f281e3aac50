/* See real_services.h. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "tests/integration/real_services.h"

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
