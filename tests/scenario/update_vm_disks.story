# A disk of an index that has a volume is that volume: a wish for another one is refused as soon as it
# is known, and nothing that was made becomes something else.
given machines
create_vm legacy spec.disks[1].index=1 spec.disks[1].type=Data spec.disks[1].size_bytes=1GiB as r1
    vm.events       StatusChanged Unspecified -> Created (Request)
    vm.events       Reply r1 ok
start_vm host_uuid=$host-a as r2
    vm.events       StatusChanged Created -> Starting (Request)
    vm.events       Progress Start PreparingVolumes
    volume.commands PrepareVolumes on $host-a expires 00:00:58
    volume.events   VolumeChanged vol1(Root) NotInstantiated -> Creating
    volume.events   VolumeChanged vol2(Data) NotInstantiated -> Creating
    $host-a         CreateVolumes vol1(Root) vol2(Data) epoch 1 expires 00:00:56
host $host-a answers create_volumes ok
    volume.events   VolumeChanged vol1(Root) Creating -> Ready
    volume.events   VolumeChanged vol2(Data) Creating -> Ready
    volume.events   VolumesPrepared ok vol1(Root) vol2(Data)
    vm.events       Progress Start StartingDomain
    $host-a         StartDomain vol1(Root) vol2(Data) epoch 1 expires 00:00:56
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

# Taken out, its volume stays.
update_vm legacy as r4
    vm.events       Reply r4 ok
show volumes
    vol1(Root Ready) Qcow2 196624 of 10737418240 bytes on $host-a rootVolumes/acct-default/vol-vol1/vol1.qcow2
    vol2(Data Ready) Qcow2 196624 of 1073741824 bytes on $host-a dataVolumes/acct-default/vol-vol2/vol2.qcow2

# Back with another size and image: the older volume has the index.
update_vm legacy spec.disks[1].index=1 spec.disks[1].type=Data spec.disks[1].size_bytes=500GiB \
  spec.disks[1].image=other.qcow2 as r5
    vm.events       Reply r5 ok
start_vm host_uuid=$host-a as r6
    vm.events       StatusChanged Stopped -> Starting (Request)
    vm.events       Progress Start PreparingVolumes
    volume.commands PrepareVolumes on $host-a expires 00:00:58
    volume.events   VolumesPrepared UNSUPPORTED "disk 1 of VM $vm has the volume vol2 already (Qcow2, 1073741824 bytes), which cannot become another one: ask for it as it is, or give the new disk an index of its own"
    vm.events       StatusChanged Starting -> Stopped (OperationFailed) UNSUPPORTED
    vm.events       Reply r6 UNSUPPORTED "disk 1 of VM $vm has the volume vol2 already (Qcow2, 1073741824 bytes), which cannot become another one: ask for it as it is, or give the new disk an index of its own"
show vm
    Stopped epoch 2 host $host-a version 10
    hardware pc-q35-7.2 kvm
    last error UNSUPPORTED "disk 1 of VM $vm has the volume vol2 already (Qcow2, 1073741824 bytes), which cannot become another one: ask for it as it is, or give the new disk an index of its own"
    answered r1 ok, r2 ok, r3 ok, r4 ok, r5 ok, r6 UNSUPPORTED

# As it was, or with an index of its own, it starts.
update_vm legacy spec.disks[1].index=1 spec.disks[1].type=Data spec.disks[1].size_bytes=1GiB \
  spec.disks[2].index=2 spec.disks[2].type=Data spec.disks[2].size_bytes=500GiB as r9
    vm.events       Reply r9 ok
start_vm host_uuid=$host-a as r10
    vm.events       StatusChanged Stopped -> Starting (Request)
    vm.events       Progress Start PreparingVolumes
    volume.commands PrepareVolumes on $host-a expires 00:00:58
    volume.events   VolumeChanged vol3(Data) NotInstantiated -> Creating
    $host-a         CreateVolumes vol3(Data) epoch 3 expires 00:00:56
host $host-a answers create_volumes fails DATA STORAGE_FULL "no room"
    volume.events   VolumeChanged vol3(Data) Creating -> NotInstantiated
    volume.events   VolumesPrepared STORAGE_FULL "no room" at $host-a
    vm.events       StatusChanged Starting -> Stopped (OperationFailed) STORAGE_FULL
    vm.events       Reply r10 STORAGE_FULL "no room" at $host-a

# What no host has made can still be asked for otherwise.
update_vm legacy as r11
    vm.events       Reply r11 ok
update_vm legacy spec.disks[1].index=2 spec.disks[1].type=Data spec.disks[1].size_bytes=2GiB as r12
    vm.events       Reply r12 ok
start_vm host_uuid=$host-a as r13
    vm.events       StatusChanged Stopped -> Starting (Request)
    vm.events       Progress Start PreparingVolumes
    volume.commands PrepareVolumes on $host-a expires 00:00:58
    volume.events   VolumeChanged vol3(Data) NotInstantiated -> Creating
    $host-a         CreateVolumes vol3(Data) epoch 4 expires 00:00:56
host $host-a answers create_volumes ok
    volume.events   VolumeChanged vol3(Data) Creating -> Ready
    volume.events   VolumesPrepared ok vol1(Root) vol3(Data)
    vm.events       Progress Start StartingDomain
    $host-a         StartDomain vol1(Root) vol3(Data) hardware as before epoch 4 expires 00:00:56
host $host-a answers start_domain ok
    vm.events       StatusChanged Starting -> Running (OperationDone)
    vm.events       Reply r13 ok
show volumes
    vol1(Root Ready) Qcow2 196624 of 10737418240 bytes on $host-a rootVolumes/acct-default/vol-vol1/vol1.qcow2
    vol2(Data Ready) Qcow2 196624 of 1073741824 bytes on $host-a dataVolumes/acct-default/vol-vol2/vol2.qcow2
    vol3(Data Ready) Qcow2 196624 of 2147483648 bytes on $host-a dataVolumes/acct-default/vol-vol3/vol3.qcow2
