# Row 7: NVRAM is not needed any more: attached to nothing, kept for 30 days, then deleted.
settings nvram_for_all_uefi=true
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
    volume.events   VolumeChanged vol2(NvRam) Ready -> Retained
    volume.events   VolumesPrepared ok vol1(Root)
    vm.events       Progress Start StartingDomain
    $host-a         StartDomain vol1(Root) Uefi/540672 hardware as before epoch 2 expires 00:00:56
host $host-a answers start_domain ok
    vm.events       StatusChanged Starting -> Running (OperationDone)
    vm.events       Reply r4 ok
show volumes
    vol2(NvRam Retained) Raw 540672 of 1048576 bytes on $host-a nvRam/acct-default/vol-vol2/vol2.fd Uefi/540672 retained at 00:00:00 next at 30d 00:00:00
    vol1(Root Ready) Qcow2 196624 of 10737418240 bytes on $host-a rootVolumes/acct-default/vol-vol1/vol1.qcow2
    deadline at 30d 00:00:00
pass 29d
    nothing
pass 1d
    volume-service  deadline elapsed at 30d 00:00:00
    volume.events   VolumeChanged vol2(NvRam) Retained -> Deleting
    $host-a         DeleteVolumes vol2(NvRam) epoch 2

# A failure is a warning, and tried again until it is gone.
host $host-a answers delete_volumes fails NvRam STORAGE_IO "the disk is read-only"
    volume.events   VolumeWarning vol2 STORAGE_IO "the disk is read-only" at $host-a
    vm.events       Warning vol2 STORAGE_IO "the disk is read-only" at $host-a
pass 1m
    volume-service  deadline elapsed at 30d 00:00:20
    $host-a         DeleteVolumes vol2(NvRam) epoch 2
    volume-service  deadline elapsed at 30d 00:00:40
    $host-a         DeleteVolumes vol2(NvRam) epoch 2
host $host-a answers delete_volumes ok
    volume.events   VolumeChanged vol2(NvRam) Deleting -> Deleted
    vm.events       VolumeDeleted vol2(NvRam)
show volumes
    vol1(Root Ready) Qcow2 196624 of 10737418240 bytes on $host-a rootVolumes/acct-default/vol-vol1/vol1.qcow2
