# An attach has the rules of the whole configuration; nothing reaches a host that breaks them.
given running
    Running with vol2(NvRam Ready) vol1(Root Ready) vol3(TpmState Ready)
attach_nic as r3
    vm.events       Reply r3 INVALID_ARGUMENT "attach_nic.nic is missing"
attach_nic nic.index=0 nic.type=User as r4
    vm.events       Reply r4 INVALID_ARGUMENT "attach_nic.nic: spec.nics[1].index 0 stands twice: each NIC needs its own"
attach_nic nic.index=1 as r5
    vm.events       Reply r5 INVALID_ARGUMENT "attach_nic.nic: spec.nics[1].type is missing: Bridge, VhostUser or User is allowed"
attach_nic nic.index=1 nic.type=User nic.mac=02:00:00:00:00:0g as r6
    vm.events       Reply r6 INVALID_ARGUMENT "attach_nic.nic: spec.nics[1].mac is "02:00:00:00:00:0g": a unicast address such as 52:54:00:12:34:56, or none, is allowed"
detach_nic index=7 as r7
    vm.events       Reply r7 INVALID_ARGUMENT "detach_nic.index is 7: VM $vm has no such NIC, see GetVm"

# One change at a time; only destroy and forced stop do not wait.
attach_nic nic.index=1 nic.type=User as r8
    vm.events       Progress AttachNic ChangingDevice
    $host-a         AttachDevice nic 1 epoch 1 expires 00:01:01
detach_nic index=0 as r9
    vm.events       Reply r9 BUSY "VM $vm is Running, and its AttachNic runs: wait for the reply"
stop_vm as r10
    vm.events       Reply r10 BUSY "VM $vm is Running; only a forced stop is legal there"
reboot_vm as r11
    vm.events       Reply r11 BUSY "VM $vm is Running, and its AttachNic runs: wait for the reply"
host $host-a answers attach_device fails OVS_UNAVAILABLE "OVS is down"
    vm.events       Reply r8 OVS_UNAVAILABLE "OVS is down" at $host-a
show vm
    Running epoch 1 host $host-a version 14
    nvram needed, vol2
    tpm Crb, state vol3 on $host-a
    hardware pc-q35-7.2 kvm Uefi+SecureBoot/540672 nic 0 Virtio (asked E1000)
    answered r1 ok, r2 ok, r3 INVALID_ARGUMENT, r4 INVALID_ARGUMENT, r5 INVALID_ARGUMENT, r6 INVALID_ARGUMENT, r7 INVALID_ARGUMENT, r9 BUSY, r10 BUSY, r11 BUSY, r8 OVS_UNAVAILABLE

# The guest keeps it: nothing has changed.
detach_nic index=0 as r12
    vm.events       Progress DetachNic ChangingDevice
    $host-a         DetachDevice nic 0 epoch 1 expires 00:01:01
host $host-a answers detach_device fails GUEST_KEEPS_DEVICE "the guest keeps it"
    vm.events       Reply r12 GUEST_KEEPS_DEVICE "the guest keeps it" at $host-a
show vm
    Running epoch 1 host $host-a version 16
    nvram needed, vol2
    tpm Crb, state vol3 on $host-a
    hardware pc-q35-7.2 kvm Uefi+SecureBoot/540672 nic 0 Virtio (asked E1000)
    answered r1 ok, r2 ok, r3 INVALID_ARGUMENT, r4 INVALID_ARGUMENT, r5 INVALID_ARGUMENT, r6 INVALID_ARGUMENT, r7 INVALID_ARGUMENT, r9 BUSY, r10 BUSY, r11 BUSY, r8 OVS_UNAVAILABLE, r12 GUEST_KEEPS_DEVICE
