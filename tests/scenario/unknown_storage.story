# The host has no storage of that name: its own words are the answer, and nothing was made.
given machines
create_vm legacy spec.storage.name=nowhere as r1
    vm.events       StatusChanged Unspecified -> Created (Request)
    vm.events       Reply r1 ok
start_vm host_uuid=$host-a as r2
    vm.events       StatusChanged Created -> Starting (Request)
    vm.events       Progress Start PreparingVolumes
    volume.commands PrepareVolumes on $host-a expires 00:00:58
    volume.events   VolumeChanged vol1(Root) NotInstantiated -> Creating
    $host-a         CreateVolumes vol1(Root) epoch 1 expires 00:00:56
host $host-a answers create_volumes fails Root STORAGE_NOT_FOUND "host $host-a has no storage nowhere of type Local"
    volume.events   VolumeChanged vol1(Root) Creating -> NotInstantiated
    volume.events   VolumesPrepared STORAGE_NOT_FOUND "host $host-a has no storage nowhere of type Local" at $host-a
    vm.events       StatusChanged Starting -> Created (OperationFailed) STORAGE_NOT_FOUND
    vm.events       Reply r2 STORAGE_NOT_FOUND "host $host-a has no storage nowhere of type Local" at $host-a
show vm
    Created epoch 1 version 3
    last error STORAGE_NOT_FOUND "host $host-a has no storage nowhere of type Local" at $host-a
    answered r1 ok, r2 STORAGE_NOT_FOUND
show volumes
    vol1(Root NotInstantiated) Qcow2 0 of 10737418240 bytes rootVolumes/acct-default/vol-vol1/vol1.qcow2
      last error: STORAGE_NOT_FOUND "host $host-a has no storage nowhere of type Local" at $host-a
