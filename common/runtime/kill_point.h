/* Places where a crash hurts most, by name: nothing at all, but in a build for tests.
 *
 * With -DVIRTBUS_KILL_POINTS=ON a process that comes to one of the points that its environment names
 * leaves a file of that name and kills itself there and then: no handler runs, nothing is written out.
 *
 *   VB_KILL_POINTS   "NAME NAME:N ...": at the first or the Nth time that this process is there
 *   VB_KILL_FOLDER   where it leaves PROGRAM.NAME; where that is already, the point is passed
 *
 * tests/fault/test_kill_points.c finds the names in the source, and lets each of them kill once.
 */
#pragma once

#ifndef VIRTBUS_KILL_POINTS

#define KILL_POINT(name)                                                                           \
    do {                                                                                           \
    } while (0)

#else

#include <errno.h>
#include <fcntl.h>
#include <glib.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static inline gboolean kill_point_is_armed(const char *name, gint n_reached)
{
    g_auto(GStrv) words = g_strsplit(g_getenv("VB_KILL_POINTS") ?: "", " ", -1);
    for (char **word = words; *word != NULL; word++) {
        char *colon = strchr(*word, ':');
        gint n_wanted = colon != NULL ? atoi(colon + 1) : 1;
        if (colon != NULL) {
            *colon = '\0';
        }
        if (strcmp(*word, name) == 0 && n_wanted == n_reached) {
            return TRUE;
        }
    }
    return FALSE;
}

static inline void kill_point_reached(const char *name, gint n_reached)
{
    const char *folder = g_getenv("VB_KILL_FOLDER");
    if (folder == NULL || !kill_point_is_armed(name, n_reached)) {
        return;
    }
    g_autofree char *path =
        g_strdup_printf("%s/%s.%s", folder, program_invocation_short_name, name);
    int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (fd >= 0) {
        close(fd);
        kill(getpid(), SIGKILL);
    }
}

#define KILL_POINT(name)                                                                           \
    do {                                                                                           \
        static gint kill_point_n;                                                                  \
        kill_point_reached(name, g_atomic_int_add(&kill_point_n, 1) + 1);                          \
    } while (0)

#endif
