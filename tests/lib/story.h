/* A story: a text file of what happens to one virtual machine, with what the cores did about it.
 *
 * A line that starts with four spaces is recorded output and belongs to the line above it; every
 * other line is played. A backslash at the end joins a line with the next.
 *
 *   # text                                 for people
 *   define NAME field=value ...            words that stand for others from here on
 *   given NAME                             plays given/NAME.txt without recording it
 *   at TIME [line]                         moves the time to TIME ("00:01:10", since the begin)
 *   pass DURATION                          moves the time by it ("70s", "30d")
 *   settings field=value ...               the deployment's choices
 *   COMMAND [NAME] [field=value ...] as R  a request; timeout_ms is the envelope's, the rest the
 *                                          command's ("create_vm windows spec.name=other as r1")
 *   no_command as R                        a request that holds none
 *   repeat R                               the same bytes again
 *   host ...                               see story_host.h
 *   plant vm|volumes field=value ...       changes a record as no input of this version can;
 *                                          deadline=DURATION gives it a deadline from now
 *   down vm|volumes, up vm|volumes         its service dies, and comes back
 *   poison vm|volumes                      a record of the VM went to the DLQ
 *   show vm|volumes                        the whole state
 */
#pragma once

#include <glib.h>

/* Plays the file. With `regenerate` the recorded lines are written anew, else compared. FALSE:
 * `ret_failure` says what went wrong where (g_free). */
gboolean story_run(const char *path, gboolean regenerate, char **ret_failure);
