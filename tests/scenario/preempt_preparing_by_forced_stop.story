# The same by a forced stop; a graceful one is refused. The next start takes what was made.
given starting
    Starting with vol2(NvRam Creating) vol1(Root Creating) vol3(TpmState Creating)
stop_vm as r3
    vm.events       Reply r3 BUSY "VM $vm is Starting; only a forced stop is legal there"
stop_vm mode=Forced as r4
    vm.events       Reply r2 PREEMPTED "a forced stop took the place of this request for VM $vm"
    vm.events       StatusChanged Starting -> Stopped (Request)
    vm.events       Reply r4 ok
start_vm host_uuid=$host-a as r5
    vm.events       StatusChanged Stopped -> Starting (Request)
    vm.events       Progress Start PreparingVolumes
    volume.commands PrepareVolumes on $host-a nvram_needed Uefi+SecureBoot expires 00:01:00
    $host-a         CreateVolumes vol1(Root) vol2(NvRam) vol3(TpmState) Uefi+SecureBoot epoch 2 expires 00:00:58
host $host-a answers create_volumes ok
    volume.events   VolumeChanged vol1(Root) Creating -> Ready
    volume.events   VolumeChanged vol2(NvRam) Creating -> Ready
    volume.events   VolumeChanged vol3(TpmState) Creating -> Ready
host $host-a answers create_volumes ok
    volume.events   VolumesPrepared ok vol1(Root) vol2(NvRam) vol3(TpmState)
    vm.events       Progress Start StartingDomain
    $host-a         StartDomain vol1(Root) vol2(NvRam) vol3(TpmState) nvram_needed Uefi+SecureBoot epoch 2 expires 00:00:58
host $host-a answers start_domain ok coerced=0
    vm.events       NicCoerced 0 E1000 -> Virtio "NIC 0 runs as Virtio instead of E1000: a vhost-user socket carries virtio only; the Windows guest needs the virtio network driver (NetKVM) installed"
    vm.events       StatusChanged Starting -> Running (OperationDone)
    vm.events       Reply r5 ok
