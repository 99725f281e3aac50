# Row 8: NVRAM is not needed and there is none: UEFI without a variable store runs stateless.
given machines
create_vm linux as r1
    vm.events       StatusChanged Unspecified -> Created (Request)
    vm.events       Reply r1 ok
start_vm host_uuid=$host-a as r2
    vm.events       StatusChanged Created -> Starting (Request)
    vm.events       Progress Start PreparingVolumes
    volume.commands PrepareVolumes on $host-a Uefi expires 00:00:58
    volume.events   VolumeChanged vol1(Root) NotInstantiated -> Creating
    $host-a         CreateVolumes vol1(Root) Uefi epoch 1 expires 00:00:56
host $host-a answers create_volumes ok
    volume.events   VolumeChanged vol1(Root) Creating -> Ready
    volume.events   VolumesPrepared ok vol1(Root)
    vm.events       Progress Start StartingDomain
    $host-a         StartDomain vol1(Root) Uefi epoch 1 expires 00:00:56
host $host-a answers start_domain ok
    vm.events       StatusChanged Starting -> Running (OperationDone)
    vm.events       Reply r2 ok
show vm
    Running epoch 1 host $host-a version 4
    hardware pc-q35-7.2 kvm Uefi/540672
    answered r1 ok, r2 ok
show volumes
    vol1(Root Ready) Qcow2 196624 of 10737418240 bytes on $host-a rootVolumes/acct-default/vol-vol1/vol1.qcow2
