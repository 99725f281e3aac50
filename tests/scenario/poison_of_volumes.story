# The same in volume-service: the operation fails with its cause, and the next one goes on.
given starting
    Starting with vol2(NvRam Creating) vol1(Root Creating) vol3(TpmState Creating)
poison volumes
    volume.events   VolumesPrepared INTERNAL "a record for the volumes of VM $vm could not be handled: the step failed three times"
    vm.events       StatusChanged Starting -> Created (OperationFailed) INTERNAL
    vm.events       Reply r2 INTERNAL "a record for the volumes of VM $vm could not be handled: the step failed three times"
show volumes
    vol2(NvRam Creating) Raw 0 of 1048576 bytes on $host-a nvRam/acct-default/vol-vol2/vol2.fd Uefi+SecureBoot
    vol1(Root Creating) Qcow2 0 of 42949672960 bytes on $host-a rootVolumes/acct-default/vol-vol1/vol1.qcow2
    vol3(TpmState Creating) Directory 0 of 0 bytes on $host-a tpmState/acct-default/vol-vol3/vol3
host $host-a answers create_volumes ok
    volume.events   VolumeChanged vol1(Root) Creating -> Ready
    volume.events   VolumeChanged vol2(NvRam) Creating -> Ready
    volume.events   VolumeChanged vol3(TpmState) Creating -> Ready
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
