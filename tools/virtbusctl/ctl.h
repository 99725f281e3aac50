/* What every command of virtbusctl is given, and how each one ends.
 *
 * Data goes to standard output, everything else (progress, errors) to standard error, so that a
 * pipe gets data only. With --json exactly one document is written, also after a failure.
 */
#pragma once

#include <glib.h>

#include "common/base/arena.h"
#include "common/runtime/options.h"

/* Exit statuses. The others than DONE are also the codes of CTL_ERROR. */
typedef enum {
    CTL_DONE = 0,
    CTL_FAILED = 1,      /* Refused or failed; the reply, or the sentence, says why. */
    CTL_USAGE = 2,       /* Nothing was sent: the command line is wrong. */
    CTL_NO_REPLY = 3,    /* The request may be done or not: ask again with the same request id. */
    CTL_UNREACHABLE = 4, /* No broker answers. */
    CTL_OTHER_LOGIC = 5, /* A replay differs, but only where another logic version stepped. */
} CtlStatus;

#define CTL_ERROR (ctl_error_quark())
GQuark ctl_error_quark(void);

typedef struct Ctl Ctl;

typedef struct {
    const char *group;     /* Its heading in --help; NULL: hidden. */
    const char *words;     /* "vm start" */
    const char *arguments; /* "VM --host HOST": words of the user's first, in their order. */
    const char *summary;   /* One sentence. */
    CtlStatus (*run)(Ctl *ctl);
    char *(*details)(void); /* Below the flags of its --help: new text; NULL: nothing. */
} CtlCommand;

/* Some flags of a command, under a heading of their own. An array of these ends with heading NULL.
 * A flag's arg_description says what may be given; words with '|' between them are all there are,
 * and completion offers them. */
typedef struct {
    const char *heading;
    const GOptionEntry *entries;
} CtlFlags;

/* Given each command's flags in place of its work: see args_look. */
typedef void (*CtlLook)(const CtlFlags *flags, gpointer data);

struct Ctl {
    const CtlCommand *command;
    int argc; /* What is left for the command; argv[0] is the program. */
    char **argv;

    /* Global flags. */
    char *bootstrap;
    char *topic_prefix;
    char *timeout;
    char *request_id; /* NULL: a new one. */
    gboolean json;
    gboolean quiet;
    gboolean verbose;
    gboolean help;
    CtlLook look; /* NULL: the command does its work. */
    gpointer look_data;
    GPtrArray *kafka_arguments; /* "--kafka.NAME=VALUE" */

    /* Made of them by args_parse. */
    VbOptions *options;
    gint64 timeout_ms;
    VbArena *arena;      /* Lives as long as the process. */
    const char *vm_uuid; /* Of the request that was sent; NULL: none was. */
};

/* Says what went wrong (on standard output too, with --json) and returns the exit status. An error
 * of another domain than CTL_ERROR was found in the command line or in a file that it names. */
CtlStatus ctl_fail(const Ctl *ctl, const GError *error);

/* The commands, in the order of --help. Ends with words NULL. */
extern const CtlCommand ctl_commands[];

/* What each exit status means, for --help. */
extern const char *const ctl_status_texts[CTL_OTHER_LOGIC + 1];

/* Long texts of --help. */
char *spec_create_help(void);
char *spec_update_help(void);
char *spec_nic_help(void);
char *timeline_help(void);
char *doctor_help(void);
char *completion_help(void);
char *record_help(void);
char *replay_help(void);

CtlStatus cmd_topics_create(Ctl *ctl);
CtlStatus cmd_topics_delete(Ctl *ctl);
CtlStatus cmd_host_list(Ctl *ctl);
CtlStatus cmd_vm_create(Ctl *ctl);
CtlStatus cmd_vm_update(Ctl *ctl);
CtlStatus cmd_vm_start(Ctl *ctl);
CtlStatus cmd_vm_stop(Ctl *ctl);
CtlStatus cmd_vm_reboot(Ctl *ctl);
CtlStatus cmd_vm_destroy(Ctl *ctl);
CtlStatus cmd_vm_recover(Ctl *ctl);
CtlStatus cmd_vm_expunge(Ctl *ctl);
CtlStatus cmd_vm_attach_nic(Ctl *ctl);
CtlStatus cmd_vm_detach_nic(Ctl *ctl);
CtlStatus cmd_vm_confirm_host_down(Ctl *ctl);
CtlStatus cmd_vm_release(Ctl *ctl);
CtlStatus cmd_vm_reset_nvram(Ctl *ctl);
CtlStatus cmd_vm_adopt_volume(Ctl *ctl);
CtlStatus cmd_vm_show(Ctl *ctl);
CtlStatus cmd_vm_list(Ctl *ctl);
CtlStatus cmd_vm_watch(Ctl *ctl);
CtlStatus cmd_vm_timeline(Ctl *ctl);
CtlStatus cmd_volume_list(Ctl *ctl);
CtlStatus cmd_events(Ctl *ctl);
CtlStatus cmd_doctor(Ctl *ctl);
CtlStatus cmd_record(Ctl *ctl);
CtlStatus cmd_replay(Ctl *ctl);
CtlStatus cmd_completion(Ctl *ctl);
CtlStatus cmd_completion_names(Ctl *ctl);
