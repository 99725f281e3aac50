/* The table of commands. */
#include "tools/virtbusctl/ctl.h"

static const char create_details[] =
    "Disk keys:  type=root|data  image=FILE  mode=copy|overlay  boot=N  format=raw|qcow2\n"
    "            bus=virtio|sata|scsi|vhost-user  socket=PATH  iops=N\n"
    "            The first disk is Root and the others Data, unless type says so. If nothing has\n"
    "            a boot order, the root disk gets the first.\n"
    "NIC types:  bridge, vhost-user, user\n"
    "NIC keys:   bridge=NAME  mac=MAC  queues=N  boot=N  mtu=N\n"
    "            model=virtio|virtio-transitional|virtio-non-transitional|e1000|e1000e|rtl8139\n\n"
    "  virtbusctl vm create --name web --platform linux --firmware uefi --secure-boot on --tpm \\\n"
    "      --vcpus 2 --memory 2GiB --storage main:local --disk 20GiB,image=debian.qcow2 \\\n"
    "      --nic vhost-user --graphics vnc --serial\n";

const CtlCommand ctl_commands[] = {
    {"topics create", "", "Makes the topics of a deployment; never changes one.", cmd_topics_create,
     NULL},
    {"topics delete", "--topic.prefix PREFIX", "Deletes a deployment's topics and all they hold.",
     cmd_topics_delete, NULL},
    {"host list", "", "Shows the hosts and what they can do.", cmd_host_list, NULL},
    {"vm create", "--name NAME ...", "Records a new VM; prints its uuid.", cmd_vm_create,
     create_details},
    {"vm start", "VM --host HOST", "Starts it there, making what volumes are missing.",
     cmd_vm_start, NULL},
    {"vm stop", "VM", "Asks the guest to power off; --force pulls the plug.", cmd_vm_stop, NULL},
    {"vm destroy", "VM", "Stops it by force; recoverable, no volume is touched.", cmd_vm_destroy,
     NULL},
    {"vm expunge", "VM", "Deletes a destroyed VM for good, with all its volumes.", cmd_vm_expunge,
     NULL},
    {"vm recover", "VM", "Takes a destroyed VM back to Stopped.", cmd_vm_recover, NULL},
    {"vm confirm-host-down", "VM --host HOST",
     "Your word that the host of an Unknown VM is down and fenced.", cmd_vm_confirm_host_down,
     NULL},
    {"vm reset-nvram", "VM", "A new, empty variable store for the next start; keeps the old one.",
     cmd_vm_reset_nvram, NULL},
    {"vm adopt-volume", "VM VOLUME", "Says which of several variable stores is the VM's.",
     cmd_vm_adopt_volume, NULL},
    {"vm release", "VM", "Ends the quarantine of a VM.", cmd_vm_release, NULL},
    {"vm show", "VM", "Shows all that is known of it.", cmd_vm_show, NULL},
    {"vm list", "", "Shows every VM.", cmd_vm_list, NULL},
    {"vm timeline", "VM", "Shows each of its records on every topic, with its time.",
     cmd_vm_timeline, NULL},
    {"volume list", "VM", "Shows its volumes.", cmd_volume_list, NULL},
    {"events", "[--follow]", "Shows what happens to VMs.", cmd_events, NULL},
    {0},
};
