# Shutdown, crash and a kill from outside become status; a reboot and a panic are events only.
given running
    Running with vol2(NvRam Ready) vol1(Root Ready) vol3(TpmState Ready)
host $host-a reports guest_event type=Reboot
    vm.events       GuestEvent Reboot
host $host-a reports guest_event type=Shutdown
    vm.events       GuestEvent Shutdown
host $host-a reports domain_stopped reason=GuestShutdown
    vm.events       StatusChanged Running -> Stopped (GuestShutdown)
show vm
    Stopped epoch 1 host $host-a version 6
    nvram needed, vol2
    tpm Crb, state vol3 on $host-a
    hardware pc-q35-7.2 kvm Uefi+SecureBoot/540672 nic 0 Virtio (asked E1000)
    answered r1 ok, r2 ok
start_vm host_uuid=$host-a as r3
    vm.events       StatusChanged Stopped -> Starting (Request)
    vm.events       Progress Start PreparingVolumes
    volume.commands PrepareVolumes on $host-a nvram_needed Uefi+SecureBoot/540672 pinned expires 00:01:03
    volume.events   VolumesPrepared ok vol1(Root) vol2(NvRam) vol3(TpmState)
    vm.events       Progress Start StartingDomain
    $host-a         StartDomain vol1(Root) vol2(NvRam) vol3(TpmState) nvram_needed Uefi+SecureBoot/540672 hardware as before epoch 2 expires 00:01:01
host $host-a answers start_domain ok coerced=0
    vm.events       NicCoerced 0 E1000 -> Virtio "NIC 0 runs as Virtio instead of E1000: a vhost-user socket carries virtio only; the Windows guest needs the virtio network driver (NetKVM) installed"
    vm.events       StatusChanged Starting -> Running (OperationDone)
    vm.events       Reply r3 ok
host $host-a reports guest_event type=Panic
    vm.events       GuestEvent Panic
host $host-a reports domain_stopped reason=Crashed
    vm.events       StatusChanged Running -> Crashed (GuestCrash)
start_vm host_uuid=$host-a as r4
    vm.events       StatusChanged Crashed -> Starting (Request)
    vm.events       Progress Start PreparingVolumes
    volume.commands PrepareVolumes on $host-a nvram_needed Uefi+SecureBoot/540672 pinned expires 00:01:03
    volume.events   VolumesPrepared ok vol1(Root) vol2(NvRam) vol3(TpmState)
    vm.events       Progress Start StartingDomain
    $host-a         StartDomain vol1(Root) vol2(NvRam) vol3(TpmState) nvram_needed Uefi+SecureBoot/540672 hardware as before epoch 3 expires 00:01:01
host $host-a answers start_domain ok coerced=0
    vm.events       NicCoerced 0 E1000 -> Virtio "NIC 0 runs as Virtio instead of E1000: a vhost-user socket carries virtio only; the Windows guest needs the virtio network driver (NetKVM) installed"
    vm.events       StatusChanged Starting -> Running (OperationDone)
    vm.events       Reply r4 ok
host $host-a reports domain_stopped reason=Outside
    vm.events       StatusChanged Running -> Stopped (HostReport)
show volumes
    vol2(NvRam Ready) Raw 540672 of 1048576 bytes on $host-a nvRam/acct-default/vol-vol2/vol2.fd Uefi+SecureBoot/540672
    vol1(Root Ready) Qcow2 196624 of 42949672960 bytes on $host-a rootVolumes/acct-default/vol-vol1/vol1.qcow2
    vol3(TpmState Ready) Directory 4096 of 0 bytes on $host-a tpmState/acct-default/vol-vol3/vol3
