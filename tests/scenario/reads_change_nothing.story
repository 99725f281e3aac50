# GetVm and ListVolumes leave the record as it is, whatever runs.
given starting-domain
    Starting with vol2(NvRam Ready) vol1(Root Ready) vol3(TpmState Ready)
show vm
    Starting epoch 1 host $host-a version 3
    operation op1 Start StartingDomain for r2 until 00:01:02
    deadline at 00:02:03
    nvram needed, vol2
    tpm Crb, state vol3
    answered r1 ok
get_vm as r3
    vm.events       Reply r3 ok vm Starting epoch 1
list_volumes as r4
    volume.commands ReadVolumes for r4
    volume.events   VolumesRead vol2(NvRam Ready) vol1(Root Ready) vol3(TpmState Ready)
    vm.events       Reply r4 ok vol2(NvRam Ready) vol1(Root Ready) vol3(TpmState Ready)
get_vm timeout_ms=1s as r5
    vm.events       Reply r5 INVALID_ARGUMENT "timeout_ms is 1000: 0, or 10000 to 3600000, is allowed"
show vm
    Starting epoch 1 host $host-a version 3
    operation op1 Start StartingDomain for r2 until 00:01:02
    deadline at 00:02:03
    nvram needed, vol2
    tpm Crb, state vol3
    answered r1 ok
host $host-a answers start_domain ok coerced=0
    vm.events       NicCoerced 0 E1000 -> Virtio "NIC 0 runs as Virtio instead of E1000: a vhost-user socket carries virtio only; the Windows guest needs the virtio network driver (NetKVM) installed"
    vm.events       StatusChanged Starting -> Running (OperationDone)
    vm.events       Reply r2 ok
