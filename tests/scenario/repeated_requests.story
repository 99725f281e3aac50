# A repeat of a running request says nothing until its end; of a finished one, the same reply again.
given created
    Created
start_vm host_uuid=$host-a as r2
    vm.events       StatusChanged Created -> Starting (Request)
    vm.events       Progress Start PreparingVolumes
    volume.commands PrepareVolumes on $host-a nvram_needed Uefi+SecureBoot expires 00:00:58
    volume.events   VolumeChanged vol1(Root) NotInstantiated -> Creating
    volume.events   VolumeChanged vol2(NvRam) NotInstantiated -> Creating
    volume.events   VolumeChanged vol3(TpmState) NotInstantiated -> Creating
    $host-a         CreateVolumes vol1(Root) vol2(NvRam) vol3(TpmState) Uefi+SecureBoot epoch 1 expires 00:00:56
repeat r2
    nothing
host $host-a answers create_volumes ok
    volume.events   VolumeChanged vol1(Root) Creating -> Ready
    volume.events   VolumeChanged vol2(NvRam) Creating -> Ready
    volume.events   VolumeChanged vol3(TpmState) Creating -> Ready
    volume.events   VolumesPrepared ok vol1(Root) vol2(NvRam) vol3(TpmState)
    vm.events       Progress Start StartingDomain
    $host-a         StartDomain vol1(Root) vol2(NvRam) vol3(TpmState) nvram_needed Uefi+SecureBoot epoch 1 expires 00:00:56
repeat r2
    nothing
host $host-a answers start_domain ok coerced=0
    vm.events       NicCoerced 0 E1000 -> Virtio "NIC 0 runs as Virtio instead of E1000: a vhost-user socket carries virtio only; the Windows guest needs the virtio network driver (NetKVM) installed"
    vm.events       StatusChanged Starting -> Running (OperationDone)
    vm.events       Reply r2 ok
repeat r2
    vm.events       Reply r2 ok (again)
repeat r1
    vm.events       Reply r1 ok (again)

# Also a refusal is repeated, even when it would not be refused any more.
start_vm host_uuid=$host-a as r3
    vm.events       Reply r3 ILLEGAL_STATUS "VM $vm is Running; StartVm is legal in: Created, Stopped, Crashed"
stop_vm mode=Forced as r4
    vm.events       StatusChanged Running -> Stopping (Request)
    vm.events       Progress Stop StoppingDomain
    $host-a         StopDomain Forced epoch 1
host $host-a answers stop_domain ok
    vm.events       StatusChanged Stopping -> Stopped (OperationDone)
    vm.events       Reply r4 ok
repeat r3
    vm.events       Reply r3 ILLEGAL_STATUS "VM $vm is Running; StartVm is legal in: Created, Stopped, Crashed" (again)
show vm
    Stopped epoch 1 host $host-a version 7
    nvram needed, vol2
    tpm Crb, state vol3 on $host-a
    hardware pc-q35-7.2 kvm Uefi+SecureBoot/540672 nic 0 Virtio (asked E1000)
    answered r1 ok, r2 ok, r3 ILLEGAL_STATUS, r4 ok
