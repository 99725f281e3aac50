# A try that was cut off behind its work may have left a volume: only the same host is asked again, or there were two.
given starting
    Starting with vol2(NvRam Creating) vol1(Root Creating) vol3(TpmState Creating)
host $host-a answers create_volumes fails STORAGE_FULL "fast has 3 MiB left" unsure
    volume.events   VolumesPrepared STORAGE_FULL "fast has 3 MiB left" at $host-a
    vm.events       StatusChanged Starting -> Created (OperationFailed) STORAGE_FULL
    vm.events       Reply r2 STORAGE_FULL "fast has 3 MiB left" at $host-a
show volumes
    vol2(NvRam Creating) Raw 0 of 1048576 bytes on $host-a nvRam/acct-default/vol-vol2/vol2.fd Uefi+SecureBoot
      last error: STORAGE_FULL "fast has 3 MiB left" at $host-a
    vol1(Root Creating) Qcow2 0 of 42949672960 bytes on $host-a rootVolumes/acct-default/vol-vol1/vol1.qcow2
      last error: STORAGE_FULL "fast has 3 MiB left" at $host-a
    vol3(TpmState Creating) Directory 0 of 0 bytes on $host-a tpmState/acct-default/vol-vol3/vol3
      last error: STORAGE_FULL "fast has 3 MiB left" at $host-a
start_vm host_uuid=$host-b as r3
    vm.events       StatusChanged Created -> Starting (Request)
    vm.events       Progress Start PreparingVolumes
    volume.commands PrepareVolumes on $host-b nvram_needed Uefi+SecureBoot expires 00:01:00
    volume.events   VolumesPrepared STORAGE_NOT_FOUND "volume vol2 (NvRam) of VM $vm is on local storage of host $host-a: start the VM there"
    vm.events       StatusChanged Starting -> Created (OperationFailed) STORAGE_NOT_FOUND
    vm.events       Reply r3 STORAGE_NOT_FOUND "volume vol2 (NvRam) of VM $vm is on local storage of host $host-a: start the VM there"
start_vm host_uuid=$host-a as r4
    vm.events       StatusChanged Created -> Starting (Request)
    vm.events       Progress Start PreparingVolumes
    volume.commands PrepareVolumes on $host-a nvram_needed Uefi+SecureBoot expires 00:01:00
    $host-a         CreateVolumes vol1(Root) vol2(NvRam) vol3(TpmState) Uefi+SecureBoot epoch 3 expires 00:00:58
host $host-a answers create_volumes ok
    volume.events   VolumeChanged vol1(Root) Creating -> Ready
    volume.events   VolumeChanged vol2(NvRam) Creating -> Ready
    volume.events   VolumeChanged vol3(TpmState) Creating -> Ready
    volume.events   VolumesPrepared ok vol1(Root) vol2(NvRam) vol3(TpmState)
    vm.events       Progress Start StartingDomain
    $host-a         StartDomain vol1(Root) vol2(NvRam) vol3(TpmState) nvram_needed Uefi+SecureBoot epoch 3 expires 00:00:58
host $host-a answers start_domain ok
    vm.events       StatusChanged Starting -> Running (OperationDone)
    vm.events       Reply r4 ok
