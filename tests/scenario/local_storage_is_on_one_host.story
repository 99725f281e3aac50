# A volume on local storage is only where it was made; another host is refused with its name.
given stopped
    Stopped with vol2(NvRam Ready) vol1(Root Ready) vol3(TpmState Ready)
start_vm host_uuid=$host-b as r4
    vm.events       StatusChanged Stopped -> Starting (Request)
    vm.events       Progress Start PreparingVolumes
    volume.commands PrepareVolumes on $host-b nvram_needed Uefi+SecureBoot/540672 pinned expires 00:01:09
    volume.events   VolumesPrepared STORAGE_NOT_FOUND "volume vol2 (NvRam) of VM $vm is on local storage of host $host-a: start the VM there"
    vm.events       StatusChanged Starting -> Stopped (OperationFailed) STORAGE_NOT_FOUND
    vm.events       Reply r4 STORAGE_NOT_FOUND "volume vol2 (NvRam) of VM $vm is on local storage of host $host-a: start the VM there"
show vm
    Stopped epoch 2 host $host-a version 8
    nvram needed, vol2
    tpm Crb, state vol3 on $host-a
    hardware pc-q35-7.2 kvm Uefi+SecureBoot/540672 nic 0 Virtio (asked E1000)
    last error STORAGE_NOT_FOUND "volume vol2 (NvRam) of VM $vm is on local storage of host $host-a: start the VM there"
    answered r1 ok, r2 ok, r3 ok, r4 STORAGE_NOT_FOUND
start_vm host_uuid=$host-a as r5
    vm.events       StatusChanged Stopped -> Starting (Request)
    vm.events       Progress Start PreparingVolumes
    volume.commands PrepareVolumes on $host-a nvram_needed Uefi+SecureBoot/540672 pinned expires 00:01:09
    volume.events   VolumesPrepared ok vol1(Root) vol2(NvRam) vol3(TpmState)
    vm.events       Progress Start StartingDomain
    $host-a         StartDomain vol1(Root) vol2(NvRam) vol3(TpmState) nvram_needed Uefi+SecureBoot/540672 hardware as before epoch 3 expires 00:01:07
host $host-a answers start_domain ok coerced=0
    vm.events       NicCoerced 0 E1000 -> Virtio "NIC 0 runs as Virtio instead of E1000: a vhost-user socket carries virtio only; the Windows guest needs the virtio network driver (NetKVM) installed"
    vm.events       StatusChanged Starting -> Running (OperationDone)
    vm.events       Reply r5 ok
