/* Plays every *.story of this folder, each as a test of its own name.
 *
 * usage: test_scenario [NAME...]     those stories only
 *        VIRTBUS_REGENERATE=1 test_scenario [NAME...]     writes their recordings anew
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "tests/lib/story.h"

static const char FOLDER[] = SOURCE_DIR "/tests/scenario";
static const char SUFFIX[] = ".story";

static void play(void **state)
{
    g_autofree char *file = g_strconcat(*state, SUFFIX, NULL);
    g_autofree char *path = g_build_filename(FOLDER, file, NULL);
    g_autofree char *failure = NULL;
    if (!story_run(path, g_getenv("VIRTBUS_REGENERATE") != NULL, &failure)) {
        fail_msg("%s", failure);
    }
}

static int by_name(gconstpointer a, gconstpointer b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

/* The names of all stories, sorted. */
static GPtrArray *stories(void)
{
    GPtrArray *names = g_ptr_array_new_with_free_func(g_free);
    g_autoptr(GDir) folder = g_dir_open(FOLDER, 0, NULL);
    const char *file;
    while (folder != NULL && (file = g_dir_read_name(folder)) != NULL) {
        if (g_str_has_suffix(file, SUFFIX)) {
            g_ptr_array_add(names, g_strndup(file, strlen(file) - strlen(SUFFIX)));
        }
    }
    g_ptr_array_sort(names, by_name);
    return names;
}

int main(int argc, char **argv)
{
    g_autoptr(GPtrArray) names = stories();
    g_autoptr(GArray) tests = g_array_new(FALSE, TRUE, sizeof(struct CMUnitTest));
    for (guint i = 0; i < names->len; i++) {
        char *name = g_ptr_array_index(names, i);
        if (argc > 1 && !g_strv_contains((const char *const *)argv + 1, name)) {
            continue;
        }
        struct CMUnitTest test = {.name = name, .test_func = play, .initial_state = name};
        g_array_append_val(tests, test);
    }
    if (tests->len == 0) {
        fprintf(stderr, "test_scenario: no such story in %s\n", FOLDER);
        return EXIT_FAILURE;
    }
    return _cmocka_run_group_tests("stories", (const struct CMUnitTest *)(void *)tests->data,
                                   tests->len, NULL, NULL);
}
