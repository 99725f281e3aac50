# A NIC comes and goes while the VM runs: the configuration and the hardware follow.
given running
    Running with vol2(NvRam Ready) vol1(Root Ready) vol3(TpmState Ready)
attach_nic nic.index=1 nic.type=VhostUser nic.model=E1000 as r3
    vm.events       Progress AttachNic ChangingDevice
    $host-a         AttachDevice nic 1 epoch 1 expires 00:01:01
host $host-a answers attach_device ok coerced=1
    vm.events       NicCoerced 1 E1000 -> Virtio "NIC 1 runs as Virtio instead of E1000: a vhost-user socket carries virtio only; the Windows guest needs the virtio network driver (NetKVM) installed"
    vm.events       Reply r3 ok
show vm
    Running epoch 1 host $host-a version 6
    nvram needed, vol2
    tpm Crb, state vol3 on $host-a
    hardware pc-q35-7.2 kvm Uefi+SecureBoot/540672 nic 0 E1000 nic 1 Virtio (asked E1000)
    answered r1 ok, r2 ok, r3 ok
host $host-a repeats attach_device
    nothing
detach_nic index=0 as r4
    vm.events       Progress DetachNic ChangingDevice
    $host-a         DetachDevice nic 0 epoch 1 expires 00:01:01
host $host-a answers detach_device ok coerced=1
    vm.events       Reply r4 ok
show vm
    Running epoch 1 host $host-a version 8
    nvram needed, vol2
    tpm Crb, state vol3 on $host-a
    hardware pc-q35-7.2 kvm Uefi+SecureBoot/540672 nic 1 Virtio (asked E1000)
    answered r1 ok, r2 ok, r3 ok, r4 ok

# The next start has it.
stop_vm mode=Forced as r5
    vm.events       StatusChanged Running -> Stopping (Request)
    vm.events       Progress Stop StoppingDomain
    $host-a         StopDomain Forced epoch 1
host $host-a answers stop_domain ok
    vm.events       StatusChanged Stopping -> Stopped (OperationDone)
    vm.events       Reply r5 ok
start_vm host_uuid=$host-a as r6
    vm.events       StatusChanged Stopped -> Starting (Request)
    vm.events       Progress Start PreparingVolumes
    volume.commands PrepareVolumes on $host-a nvram_needed Uefi+SecureBoot/540672 pinned expires 00:01:03
    volume.events   VolumesPrepared ok vol1(Root) vol2(NvRam) vol3(TpmState)
    vm.events       Progress Start StartingDomain
    $host-a         StartDomain vol1(Root) vol2(NvRam) vol3(TpmState) nvram_needed Uefi+SecureBoot/540672 hardware as before epoch 2 expires 00:01:01
host $host-a answers start_domain ok coerced=1
    vm.events       NicCoerced 1 E1000 -> Virtio "NIC 1 runs as Virtio instead of E1000: a vhost-user socket carries virtio only; the Windows guest needs the virtio network driver (NetKVM) installed"
    vm.events       StatusChanged Starting -> Running (OperationDone)
    vm.events       Reply r6 ok
show vm
    Running epoch 2 host $host-a version 13
    nvram needed, vol2
    tpm Crb, state vol3 on $host-a
    hardware pc-q35-7.2 kvm Uefi+SecureBoot/540672 nic 1 Virtio (asked E1000)
    answered r1 ok, r2 ok, r3 ok, r4 ok, r5 ok, r6 ok

# A guest that kept its NIC lets go of it later, by itself; said twice it changes nothing more.
detach_nic index=1 as r7
    vm.events       Progress DetachNic ChangingDevice
    $host-a         DetachDevice nic 1 epoch 2 expires 00:01:01
host $host-a answers detach_device fails GUEST_KEEPS_DEVICE "the guest keeps it"
    vm.events       Reply r7 GUEST_KEEPS_DEVICE "the guest keeps it" at $host-a
host $host-a reports device_changed detached.index=1
    nothing
host $host-a reports device_changed detached.index=1
    nothing
show vm
    Running epoch 2 host $host-a version 16
    nvram needed, vol2
    tpm Crb, state vol3 on $host-a
    hardware pc-q35-7.2 kvm Uefi+SecureBoot/540672
    answered r1 ok, r2 ok, r3 ok, r4 ok, r5 ok, r6 ok, r7 GUEST_KEEPS_DEVICE
