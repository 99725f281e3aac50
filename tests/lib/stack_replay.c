/* See stack.h: what a test program did, recorded and made again (I7, I9). */
#include "tests/lib/stack.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <string.h>

static gint64 number(StackAnswer *answer, const char *name)
{
    g_autofree char *text = stack_text(answer->json, name);
    return g_ascii_strtoll(text, NULL, 10);
}

/* For the suite `replay`, which replays it again. */
static void recording_keep(Stack *stack, const char *path)
{
    const char *folder = g_getenv("RECORDINGS");
    if (folder == NULL) {
        return;
    }
    g_autoptr(GError) error = NULL;
    g_autofree char *name =
        g_strdup_printf("%s-%s.recording", program_invocation_short_name, stack->prefix);
    g_autofree char *kept = g_build_filename(folder, name, NULL);
    g_autoptr(GFile) from = g_file_new_for_path(path);
    g_autoptr(GFile) to = g_file_new_for_path(kept);
    if (!g_file_copy(from, to, G_FILE_COPY_OVERWRITE, NULL, NULL, NULL, &error)) {
        stack_fail(stack, "the recording cannot be kept: %s", error->message);
    }
}

void stack_replay(Stack *stack)
{
    static const char *const none[] = {"differences",      "other_logic_differences",
                                       "steps_not_made",   "vms_without_beginning",
                                       "states_compacted", "before_journals"};
    g_autofree char *path = g_build_filename(stack->folder, "replay.recording", NULL);
    stack_answer_free(stack_done(stack, "record", path, NULL));
    recording_keep(stack, path);
    g_autoptr(StackAnswer) replayed = stack_ask(stack, "replay", path, NULL);
    for (guint i = 0; i < G_N_ELEMENTS(none); i++) {
        if (number(replayed, none[i]) != 0) {
            g_autofree char *found = json_to_string(replayed->json, TRUE);
            stack_fail(stack, "replay: %s is not 0: %s", none[i], found);
        }
    }
    assert_int_equal(replayed->status, 0);
    /* It was not for lack of something to compare. */
    assert_true(number(replayed, "steps") > 0);
    assert_true(number(replayed, "states") > 0);
    assert_true(number(replayed, "outputs") > 0);
}
