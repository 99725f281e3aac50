# Row 5 again: the deletion does not end within the start's deadline. It was refused before and its
# next try is an hour away; a start that needs it gone asks at once, and tells why it could not go on.
settings nvram_for_all_uefi=true nvram_retain_ms=0 delete_retry_ms=1h
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
host $host-a answers delete_volumes fails NvRam STORAGE_IO "the disk is read-only"
    volume.events   VolumeWarning vol2 STORAGE_IO "the disk is read-only" at $host-a
    vm.events       Warning vol2 STORAGE_IO "the disk is read-only" at $host-a
host $host-a answers start_domain ok
    vm.events       StatusChanged Starting -> Running (OperationDone)
    vm.events       Reply r4 ok
stop_vm mode=Forced as r5
    vm.events       StatusChanged Running -> Stopping (Request)
    vm.events       Progress Stop StoppingDomain
    $host-a         StopDomain Forced epoch 2
host $host-a answers stop_domain ok
    vm.events       StatusChanged Stopping -> Stopped (OperationDone)
    vm.events       Reply r5 ok

settings nvram_for_all_uefi=true
start_vm host_uuid=$host-a as r6
    vm.events       StatusChanged Stopped -> Starting (Request)
    vm.events       Progress Start PreparingVolumes
    volume.commands PrepareVolumes on $host-a nvram_needed Uefi/540672 pinned expires 00:00:58
    $host-a         DeleteVolumes vol2(NvRam) epoch 3
host $host-a answers delete_volumes fails NvRam STORAGE_IO "the disk is still read-only"
    volume.events   VolumeWarning vol2 STORAGE_IO "the disk is still read-only" at $host-a
    vm.events       Warning vol2 STORAGE_IO "the disk is still read-only" at $host-a
pass 2m
    volume-service  deadline elapsed at 00:00:58
    volume.events   VolumesPrepared STORAGE_IO "the disk is still read-only" at $host-a
    vm.events       StatusChanged Starting -> Stopped (OperationFailed) STORAGE_IO
    vm.events       Reply r6 STORAGE_IO "the disk is still read-only" at $host-a
start_vm host_uuid=$host-a as r7
    vm.events       StatusChanged Stopped -> Starting (Request)
    vm.events       Progress Start PreparingVolumes
    volume.commands PrepareVolumes on $host-a nvram_needed Uefi/540672 pinned expires 00:02:58
    $host-a         DeleteVolumes vol2(NvRam) epoch 4
host $host-a answers delete_volumes ok
    volume.events   VolumeChanged vol2(NvRam) Deleting -> Deleted
    volume.events   VolumeChanged vol3(NvRam g2) NotInstantiated -> Creating
    $host-a         CreateVolumes vol3(NvRam g2) Uefi/540672 pinned epoch 4 expires 00:02:56
    vm.events       VolumeDeleted vol2(NvRam)
host $host-a answers create_volumes ok
    volume.events   VolumeChanged vol3(NvRam g2) Creating -> Ready
    volume.events   VolumesPrepared ok vol1(Root) vol3(NvRam g2)
    vm.events       Progress Start StartingDomain
    $host-a         StartDomain vol1(Root) vol3(NvRam g2) nvram_needed Uefi/540672 hardware as before epoch 4 expires 00:02:56
host $host-a answers start_domain ok
    vm.events       StatusChanged Starting -> Running (OperationDone)
    vm.events       Reply r7 ok
