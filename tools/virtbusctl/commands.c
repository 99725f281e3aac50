/* The table of commands. */
#include "tools/virtbusctl/ctl.h"

static const char life[] = "A VM's life";
static const char change[] = "Changing a VM";
static const char look[] = "Looking";
static const char trouble[] = "Ways out of trouble";
static const char incident[] = "Looking into an incident";
static const char deployment[] = "The deployment";

/* clang-format off: a table. */
const CtlCommand ctl_commands[] = {
    {life, "vm create", "--name NAME ...", "Records a new VM; prints its uuid.", cmd_vm_create,
     spec_create_help},
    {life, "vm start", "VM --host HOST", "Starts it there, making what volumes are missing.",
     cmd_vm_start, NULL},
    {life, "vm stop", "VM", "Asks the guest to power off; --force pulls the plug.", cmd_vm_stop,
     NULL},
    {life, "vm reboot", "VM", "Stops it, as vm stop does, and starts it on its host.",
     cmd_vm_reboot, NULL},
    {life, "vm destroy", "VM", "Stops it by force; recoverable, no volume is touched.",
     cmd_vm_destroy, NULL},
    {life, "vm recover", "VM", "Takes a destroyed VM back to Stopped.", cmd_vm_recover, NULL},
    {life, "vm expunge", "VM", "Deletes a destroyed VM for good, with all its volumes.",
     cmd_vm_expunge, NULL},

    {change, "vm update", "VM ...", "Changes the configuration of a VM that is not running.",
     cmd_vm_update, spec_update_help},
    {change, "vm attach-nic", "VM NIC", "Plugs a network card into a running VM.",
     cmd_vm_attach_nic, spec_nic_help},
    {change, "vm detach-nic", "VM INDEX", "Takes a network card out of a running VM.",
     cmd_vm_detach_nic, NULL},

    {look, "vm list", "", "Shows every VM.", cmd_vm_list, NULL},
    {look, "vm show", "VM", "Shows all that is known of it.", cmd_vm_show, NULL},
    {look, "vm watch", "VM", "Shows its status, then each thing that happens to it.", cmd_vm_watch,
     NULL},
    {look, "vm timeline", "VM", "Shows its records on every topic, each with its cause and time.",
     cmd_vm_timeline, timeline_help},
    {look, "volume list", "VM", "Shows its volumes.", cmd_volume_list, NULL},
    {look, "host list", "", "Shows the hosts and what they can do.", cmd_host_list, NULL},
    {look, "events", "", "Shows what happened to VMs; --follow goes on.", cmd_events, NULL},

    {trouble, "doctor", "", "Looks at the whole deployment, and says how to mend each fault.",
     cmd_doctor, doctor_help},
    {trouble, "vm confirm-host-down", "VM --host HOST",
     "Your word that the host of an Unknown VM is down and fenced.", cmd_vm_confirm_host_down,
     NULL},
    {trouble, "vm reset-nvram", "VM",
     "A new, empty variable store for the next start; keeps the old.", cmd_vm_reset_nvram, NULL},
    {trouble, "vm adopt-volume", "VM VOLUME", "Says which of several variable stores is the VM's.",
     cmd_vm_adopt_volume, NULL},
    {trouble, "vm release", "VM", "Ends the quarantine of a VM.", cmd_vm_release, NULL},

    {incident, "record", "FILE", "Writes what the topics hold to one file.", cmd_record,
     record_help},
    {incident, "replay", "FILE", "Makes each recorded step again, and compares.", cmd_replay,
     replay_help},

    {deployment, "topics create", "", "Makes the topics of a deployment; never changes one.",
     cmd_topics_create, NULL},
    {deployment, "topics delete", "--topic.prefix PREFIX",
     "Deletes a deployment's topics and all they hold.", cmd_topics_delete, NULL},
    {deployment, "completion", "SHELL", "Prints the completions for your shell.", cmd_completion,
     completion_help},
    {NULL, "completion-names", "KIND", "What completion asks for names of VMs or hosts.",
     cmd_completion_names, NULL},
    {0},
};
/* clang-format on */

const char *const ctl_status_texts[] = {
    [CTL_DONE] = "done",
    [CTL_FAILED] = "refused or failed; doctor: there are faults; replay: there are differences",
    [CTL_USAGE] = "wrong usage: nothing was sent",
    [CTL_NO_REPLY] = "no answer in time: safe to ask again with --request-id",
    [CTL_UNREACHABLE] = "no broker answers",
    [CTL_OTHER_LOGIC] = "replay: differences only where another logic version stepped",
};
