# Row 7 where nothing is retained: deleted at once, and the start waits for nothing.
settings nvram_for_all_uefi=true nvram_retain_ms=0
given machines
create_vm linux as r1
    vm.events       StatusChanged Unspecified -> Created (Request)
    vm.events       Reply r1 ok
start_vm host_uuid=$host-a as r2
    vm.events       StatusChanged Created -> Starting (Request)
    vm.events       Progress Start PreparingVolumes
    volume.commands PrepareVolumes on $host-a nvram_needed Uefi expires 00:00:58
    volume.events   VolumeChanged vol1(Root) NotInstantiated -> Creating
    volume.events   VolumeChanged vol2(NvRam) NotInstantiated -> Creating
    $host-a         CreateVolumes vol1(Root) vol2(NvRam) Uefi epoch 1 expires 00:00:56
host $host-a answers create_volumes ok
    volume.events   VolumeChanged vol1(Root) Creating -> Ready
    volume.events   VolumeChanged vol2(NvRam) Creating -> Ready
    volume.events   VolumesPrepared ok vol1(Root) vol2(NvRam)
    vm.events       Progress Start StartingDomain
    $host-a         StartDomain vol1(Root) vol2(NvRam) nvram_needed Uefi epoch 1 expires 00:00:56
host $host-a answers start_domain ok
    vm.events       StatusChanged Starting -> Running (OperationDone)
    vm.events       Reply r2 ok
stop_vm mode=Forced as r3
    vm.events       StatusChanged Running -> Stopping (Request)
    vm.events       Progress Stop StoppingDomain
    $host-a         StopDomain Forced epoch 1
host $host-a answers stop_domain ok
    vm.events       StatusChanged Stopping -> Stopped (OperationDone)
    vm.events       Reply r3 ok
settings nvram_for_all_uefi=false
start_vm host_uuid=$host-a as r4
    vm.events       StatusChanged Stopped -> Starting (Request)
    vm.events       Progress Start PreparingVolumes
    volume.commands PrepareVolumes on $host-a Uefi/540672 pinned expires 00:00:58
    volume.events   VolumeChanged vol2(NvRam) Ready -> Deleting
    volume.events   VolumesPrepared ok vol1(Root)
    $host-a         DeleteVolumes vol2(NvRam) epoch 2
    vm.events       Progress Start StartingDomain
    $host-a         StartDomain vol1(Root) Uefi/540672 hardware as before epoch 2 expires 00:00:56
host $host-a answers start_domain ok
    vm.events       StatusChanged Starting -> Running (OperationDone)
    vm.events       Reply r4 ok

# The host says nothing about the deletion: it is asked again.
pass 30s
    volume-service  deadline elapsed at 00:00:10
    $host-a         DeleteVolumes vol2(NvRam) epoch 2
    volume-service  deadline elapsed at 00:00:30
    $host-a         DeleteVolumes vol2(NvRam) epoch 2
host $host-a answers delete_volumes ok
    volume.events   VolumeChanged vol2(NvRam) Deleting -> Deleted
    vm.events       VolumeDeleted vol2(NvRam)
show volumes
    vol1(Root Ready) Qcow2 196624 of 10737418240 bytes on $host-a rootVolumes/acct-default/vol-vol1/vol1.qcow2
