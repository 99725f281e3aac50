# As before, but the start had failed: the late report frees the VM.
given starting-domain
    Starting with vol2(NvRam Ready) vol1(Root Ready) vol3(TpmState Ready)
pass 3m
    vm-service      deadline elapsed at 00:02:03
    vm.events       StatusChanged Starting -> Unknown (HostSilent) HOST_SILENT
    vm.events       Reply r2 HOST_SILENT "host $host-a did not answer in time; VM $vm is Unknown until the host reports, or ConfirmHostDown says that it is down and fenced"
host $host-a answers start_domain fails HYPERVISOR "QEMU exited"
    vm.events       StatusChanged Unknown -> Stopped (HostReport) HYPERVISOR
show vm
    Stopped epoch 1 host $host-a version 5
    nvram needed, vol2
    tpm Crb, state vol3
    last error HYPERVISOR "QEMU exited" at $host-a
    answered r1 ok, r2 HOST_SILENT
start_vm host_uuid=$host-a as r3
    vm.events       StatusChanged Stopped -> Starting (Request)
    vm.events       Progress Start PreparingVolumes
    volume.commands PrepareVolumes on $host-a nvram_needed Uefi+SecureBoot expires 00:04:01
    volume.events   VolumesPrepared ok vol1(Root) vol2(NvRam) vol3(TpmState)
    vm.events       Progress Start StartingDomain
    $host-a         StartDomain vol1(Root) vol2(NvRam) vol3(TpmState) nvram_needed Uefi+SecureBoot epoch 2 expires 00:03:59
host $host-a answers start_domain ok coerced=0
    vm.events       NicCoerced 0 E1000 -> Virtio "NIC 0 runs as Virtio instead of E1000: a vhost-user socket carries virtio only; the Windows guest needs the virtio network driver (NetKVM) installed"
    vm.events       StatusChanged Starting -> Running (OperationDone)
    vm.events       Reply r3 ok
