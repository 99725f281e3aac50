# A reboot is a stop and a start of one request: the same volumes, and a new epoch.
given running
    Running with vol2(NvRam Ready) vol1(Root Ready) vol3(TpmState Ready)
reboot_vm as r3
    vm.events       StatusChanged Running -> Rebooting (Request)
    vm.events       Progress Reboot StoppingDomain
    $host-a         StopDomain Graceful epoch 1 expires 00:01:01
host $host-a answers stop_domain ok
    vm.events       Progress Reboot PreparingVolumes
    volume.commands PrepareVolumes on $host-a nvram_needed Uefi+SecureBoot/540672 pinned expires 00:01:03
    volume.events   VolumesPrepared ok vol1(Root) vol2(NvRam) vol3(TpmState)
    vm.events       Progress Reboot StartingDomain
    $host-a         StartDomain vol1(Root) vol2(NvRam) vol3(TpmState) nvram_needed Uefi+SecureBoot/540672 hardware as before epoch 2 expires 00:01:01
host $host-a answers start_domain ok coerced=0
    vm.events       NicCoerced 0 E1000 -> Virtio "NIC 0 runs as Virtio instead of E1000: a vhost-user socket carries virtio only; the Windows guest needs the virtio network driver (NetKVM) installed"
    vm.events       StatusChanged Rebooting -> Running (OperationDone)
    vm.events       Reply r3 ok
show vm
    Running epoch 2 host $host-a version 8
    nvram needed, vol2
    tpm Crb, state vol3 on $host-a
    hardware pc-q35-7.2 kvm Uefi+SecureBoot/540672 nic 0 Virtio (asked E1000)
    answered r1 ok, r2 ok, r3 ok

# What the old domain still says is late.
host $host-a repeats stop_domain
    nothing
repeat r3
    vm.events       Reply r3 ok (again)

# By force, with a time of its own: half of it for each part.
reboot_vm mode=Forced timeout_ms=40000 as r4
    vm.events       StatusChanged Running -> Rebooting (Request)
    vm.events       Progress Reboot StoppingDomain
    $host-a         StopDomain Forced epoch 2 expires 00:00:21
host $host-a answers stop_domain ok
    vm.events       Progress Reboot PreparingVolumes
    volume.commands PrepareVolumes on $host-a nvram_needed Uefi+SecureBoot/540672 pinned expires 00:00:23
    volume.events   VolumesPrepared ok vol1(Root) vol2(NvRam) vol3(TpmState)
    vm.events       Progress Reboot StartingDomain
    $host-a         StartDomain vol1(Root) vol2(NvRam) vol3(TpmState) nvram_needed Uefi+SecureBoot/540672 hardware as before epoch 3 expires 00:00:21
host $host-a answers start_domain ok coerced=0
    vm.events       NicCoerced 0 E1000 -> Virtio "NIC 0 runs as Virtio instead of E1000: a vhost-user socket carries virtio only; the Windows guest needs the virtio network driver (NetKVM) installed"
    vm.events       StatusChanged Rebooting -> Running (OperationDone)
    vm.events       Reply r4 ok
show volumes
    vol2(NvRam Ready) Raw 540672 of 1048576 bytes on $host-a nvRam/acct-default/vol-vol2/vol2.fd Uefi+SecureBoot/540672
    vol1(Root Ready) Qcow2 196624 of 42949672960 bytes on $host-a rootVolumes/acct-default/vol-vol1/vol1.qcow2
    vol3(TpmState Ready) Directory 4096 of 0 bytes on $host-a tpmState/acct-default/vol-vol3/vol3
