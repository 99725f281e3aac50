/* The command line: global flags, the command's words, the command's own flags.
 *
 * It reads no file: bootstrap, topic.prefix, timeout and kafka.NAME come from the command line or
 * the environment (VIRTBUS_BOOTSTRAP ...), through the same table as the daemons'. Variables of the
 * daemons are left alone.
 */
#pragma once

#include "tools/virtbusctl/ctl.h"

/* CTL_USAGE with this text; FALSE. */
gboolean args_usage(GError **error, const char *format, ...) G_GNUC_PRINTF(2, 3);

void args_clear(Ctl *ctl);

/* Reads the global flags in front of the words, and finds the command; NULL command and no error:
 * --help was asked for. `argv` must outlive `ctl`. */
gboolean args_begin(Ctl *ctl, int argc, char **argv, GError **error);

/* Called by each command: reads its flags and what global flags stand among them, then the options.
 * Exactly `n_words` other words must remain; they are ret_words[0..] (free with g_strfreev). FALSE
 * and no error: the command's --help was printed. */
gboolean args_parse(Ctl *ctl, const GOptionEntry *flags, guint n_words, char ***ret_words,
                    GError **error);

/* The same with the flags in groups. */
gboolean args_parse_groups(Ctl *ctl, const CtlFlags *groups, guint n_words, char ***ret_words,
                           GError **error);

/* args_parse for a command that speaks to no broker. */
gboolean args_parse_offline(Ctl *ctl, const GOptionEntry *flags, guint n_words, char ***ret_words,
                            GError **error);

/* The same for one without flags. */
gboolean args_parse_words(Ctl *ctl, guint n_words, char ***ret_words, GError **error);

/* Calls `look` with the flags of a command, which does no work then, or with those of all. The
 * flags are gone when it returns. */
void args_look(const CtlCommand *command, CtlLook look, gpointer data);
void args_look_global(CtlLook look, gpointer data);

/* The page of `virtbusctl --help`. g_free. */
char *args_help(void);

/* "2GiB", "500ms" ... as the daemons' options; 0 is refused. `flag` is named in the error. */
gboolean args_size(const char *flag, const char *text, guint64 *ret_bytes, GError **error);
gboolean args_duration(const char *flag, const char *text, gint64 *ret_ms, GError **error);
gboolean args_number(const char *flag, const char *text, guint32 min, guint32 max,
                     guint32 *ret_number, GError **error);
