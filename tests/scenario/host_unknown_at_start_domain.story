# The host's topic goes between the volumes and the start.
given starting
    Starting with vol2(NvRam Creating) vol1(Root Creating) vol3(TpmState Creating)
host $host-a is unknown
host $host-a answers create_volumes ok
    volume.events   VolumeChanged vol1(Root) Creating -> Ready
    volume.events   VolumeChanged vol2(NvRam) Creating -> Ready
    volume.events   VolumeChanged vol3(TpmState) Creating -> Ready
    volume.events   VolumesPrepared ok vol1(Root) vol2(NvRam) vol3(TpmState)
    vm.events       Progress Start StartingDomain
    $host-a         StartDomain vol1(Root) vol2(NvRam) vol3(TpmState) nvram_needed Uefi+SecureBoot epoch 1 expires 00:00:58
    $host-a         is unknown
    vm.events       StatusChanged Starting -> Created (OperationFailed) HOST_UNKNOWN
    vm.events       Reply r2 HOST_UNKNOWN "host $host-a has no command topic, so VM $vm was not started there: see `virtbusctl host list`"
show vm
    Created epoch 1 host $host-a version 4
    nvram needed, vol2
    tpm Crb, state vol3
    last error HOST_UNKNOWN "host $host-a has no command topic, so VM $vm was not started there: see `virtbusctl host list`"
    answered r1 ok, r2 HOST_UNKNOWN
host $host-a is known
start_vm host_uuid=$host-a as r3
    vm.events       StatusChanged Created -> Starting (Request)
    vm.events       Progress Start PreparingVolumes
    volume.commands PrepareVolumes on $host-a nvram_needed Uefi+SecureBoot expires 00:01:00
    volume.events   VolumesPrepared ok vol1(Root) vol2(NvRam) vol3(TpmState)
    vm.events       Progress Start StartingDomain
    $host-a         StartDomain vol1(Root) vol2(NvRam) vol3(TpmState) nvram_needed Uefi+SecureBoot epoch 2 expires 00:00:58
host $host-a answers start_domain ok coerced=0
    vm.events       NicCoerced 0 E1000 -> Virtio "NIC 0 runs as Virtio instead of E1000: a vhost-user socket carries virtio only; the Windows guest needs the virtio network driver (NetKVM) installed"
    vm.events       StatusChanged Starting -> Running (OperationDone)
    vm.events       Reply r3 ok
