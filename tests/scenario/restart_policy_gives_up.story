# After eight starts that failed a person must look; a destroy and another policy end it before.
given machines
create_vm legacy spec.restart_policy=Restart as r1
    vm.events       StatusChanged Unspecified -> Created (Request)
    vm.events       Reply r1 ok
start_vm host_uuid=$host-a as r2
    vm.events       StatusChanged Created -> Starting (Request)
    vm.events       Progress Start PreparingVolumes
    volume.commands PrepareVolumes on $host-a expires 00:00:58
    volume.events   VolumeChanged vol1(Root) NotInstantiated -> Creating
    $host-a         CreateVolumes vol1(Root) epoch 1 expires 00:00:56
host $host-a answers create_volumes ok
    volume.events   VolumeChanged vol1(Root) Creating -> Ready
    volume.events   VolumesPrepared ok vol1(Root)
    vm.events       Progress Start StartingDomain
    $host-a         StartDomain vol1(Root) epoch 1 expires 00:00:56
host $host-a answers start_domain ok
    vm.events       StatusChanged Starting -> Running (OperationDone)
    vm.events       Reply r2 ok
host $host-a reports domain_stopped reason=NotRunning
    vm.events       StatusChanged Running -> Stopped (HostReport)
    vm.events       StatusChanged Stopped -> Starting (RestartPolicy)
    vm.events       Progress Start PreparingVolumes
    volume.commands PrepareVolumes on $host-a expires 00:00:58
    volume.events   VolumesPrepared ok vol1(Root)
    vm.events       Progress Start StartingDomain
    $host-a         StartDomain vol1(Root) hardware as before epoch 2 expires 00:00:56
host $host-a answers start_domain fails STORAGE_NOT_FOUND "no such storage"
    vm.events       StatusChanged Starting -> Stopped (OperationFailed) STORAGE_NOT_FOUND
pass 15s
    vm-service      deadline elapsed at 00:00:10
    vm.events       StatusChanged Stopped -> Starting (RestartPolicy)
    vm.events       Progress Start PreparingVolumes
    volume.commands PrepareVolumes on $host-a expires 00:01:08
    volume.events   VolumesPrepared ok vol1(Root)
    vm.events       Progress Start StartingDomain
    $host-a         StartDomain vol1(Root) hardware as before epoch 3 expires 00:01:06
host $host-a answers start_domain fails STORAGE_NOT_FOUND "no such storage"
    vm.events       StatusChanged Starting -> Stopped (OperationFailed) STORAGE_NOT_FOUND
pass 25s
    vm-service      deadline elapsed at 00:00:35
    vm.events       StatusChanged Stopped -> Starting (RestartPolicy)
    vm.events       Progress Start PreparingVolumes
    volume.commands PrepareVolumes on $host-a expires 00:01:33
    volume.events   VolumesPrepared ok vol1(Root)
    vm.events       Progress Start StartingDomain
    $host-a         StartDomain vol1(Root) hardware as before epoch 4 expires 00:01:31
host $host-a answers start_domain fails STORAGE_NOT_FOUND "no such storage"
    vm.events       StatusChanged Starting -> Stopped (OperationFailed) STORAGE_NOT_FOUND
pass 45s
    vm-service      deadline elapsed at 00:01:20
    vm.events       StatusChanged Stopped -> Starting (RestartPolicy)
    vm.events       Progress Start PreparingVolumes
    volume.commands PrepareVolumes on $host-a expires 00:02:18
    volume.events   VolumesPrepared ok vol1(Root)
    vm.events       Progress Start StartingDomain
    $host-a         StartDomain vol1(Root) hardware as before epoch 5 expires 00:02:16
host $host-a answers start_domain fails STORAGE_NOT_FOUND "no such storage"
    vm.events       StatusChanged Starting -> Stopped (OperationFailed) STORAGE_NOT_FOUND
pass 85s
    vm-service      deadline elapsed at 00:02:45
    vm.events       StatusChanged Stopped -> Starting (RestartPolicy)
    vm.events       Progress Start PreparingVolumes
    volume.commands PrepareVolumes on $host-a expires 00:03:43
    volume.events   VolumesPrepared ok vol1(Root)
    vm.events       Progress Start StartingDomain
    $host-a         StartDomain vol1(Root) hardware as before epoch 6 expires 00:03:41
host $host-a answers start_domain fails STORAGE_NOT_FOUND "no such storage"
    vm.events       StatusChanged Starting -> Stopped (OperationFailed) STORAGE_NOT_FOUND
pass 165s
    vm-service      deadline elapsed at 00:05:30
    vm.events       StatusChanged Stopped -> Starting (RestartPolicy)
    vm.events       Progress Start PreparingVolumes
    volume.commands PrepareVolumes on $host-a expires 00:06:28
    volume.events   VolumesPrepared ok vol1(Root)
    vm.events       Progress Start StartingDomain
    $host-a         StartDomain vol1(Root) hardware as before epoch 7 expires 00:06:26
host $host-a answers start_domain fails STORAGE_NOT_FOUND "no such storage"
    vm.events       StatusChanged Starting -> Stopped (OperationFailed) STORAGE_NOT_FOUND
pass 305s
    vm-service      deadline elapsed at 00:10:35
    vm.events       StatusChanged Stopped -> Starting (RestartPolicy)
    vm.events       Progress Start PreparingVolumes
    volume.commands PrepareVolumes on $host-a expires 00:11:33
    volume.events   VolumesPrepared ok vol1(Root)
    vm.events       Progress Start StartingDomain
    $host-a         StartDomain vol1(Root) hardware as before epoch 8 expires 00:11:31
host $host-a answers start_domain fails STORAGE_NOT_FOUND "no such storage"
    vm.events       StatusChanged Starting -> Stopped (OperationFailed) STORAGE_NOT_FOUND
pass 305s
    vm-service      deadline elapsed at 00:15:40
    vm.events       StatusChanged Stopped -> Starting (RestartPolicy)
    vm.events       Progress Start PreparingVolumes
    volume.commands PrepareVolumes on $host-a expires 00:16:38
    volume.events   VolumesPrepared ok vol1(Root)
    vm.events       Progress Start StartingDomain
    $host-a         StartDomain vol1(Root) hardware as before epoch 9 expires 00:16:36
host $host-a answers start_domain fails STORAGE_NOT_FOUND "no such storage"
    vm.events       StatusChanged Starting -> Stopped (OperationFailed) STORAGE_NOT_FOUND
pass 1d
    nothing
show vm
    Stopped epoch 9 host $host-a version 28
    hardware pc-q35-7.2 kvm
    last error STORAGE_NOT_FOUND "no such storage" at $host-a
    answered r1 ok, r2 ok

# Started by hand it counts anew.
start_vm host_uuid=$host-a as r3
    vm.events       StatusChanged Stopped -> Starting (Request)
    vm.events       Progress Start PreparingVolumes
    volume.commands PrepareVolumes on $host-a expires 1d 00:16:43
    volume.events   VolumesPrepared ok vol1(Root)
    vm.events       Progress Start StartingDomain
    $host-a         StartDomain vol1(Root) hardware as before epoch 10 expires 1d 00:16:41
host $host-a answers start_domain ok
    vm.events       StatusChanged Starting -> Running (OperationDone)
    vm.events       Reply r3 ok
host $host-a reports domain_stopped reason=NotRunning
    vm.events       StatusChanged Running -> Stopped (HostReport)
    vm.events       StatusChanged Stopped -> Starting (RestartPolicy)
    vm.events       Progress Start PreparingVolumes
    volume.commands PrepareVolumes on $host-a expires 1d 00:16:43
    volume.events   VolumesPrepared ok vol1(Root)
    vm.events       Progress Start StartingDomain
    $host-a         StartDomain vol1(Root) hardware as before epoch 11 expires 1d 00:16:41
host $host-a answers start_domain fails STORAGE_NOT_FOUND "no such storage"
    vm.events       StatusChanged Starting -> Stopped (OperationFailed) STORAGE_NOT_FOUND
update_vm legacy as r4
    vm.events       Reply r4 ok
pass 1d
    vm-service      deadline elapsed at 1d 00:15:55
start_vm host_uuid=$host-a as r5
    vm.events       StatusChanged Stopped -> Starting (Request)
    vm.events       Progress Start PreparingVolumes
    volume.commands PrepareVolumes on $host-a expires 2d 00:16:43
    volume.events   VolumesPrepared ok vol1(Root)
    vm.events       Progress Start StartingDomain
    $host-a         StartDomain vol1(Root) hardware as before epoch 12 expires 2d 00:16:41
host $host-a answers start_domain ok
    vm.events       StatusChanged Starting -> Running (OperationDone)
    vm.events       Reply r5 ok
update_vm legacy spec.restart_policy=Restart as r6
    vm.events       Reply r6 ILLEGAL_STATUS "VM $vm is Running; UpdateVm is legal in: Created, Stopped, Crashed"
stop_vm mode=Forced as r7
    vm.events       StatusChanged Running -> Stopping (Request)
    vm.events       Progress Stop StoppingDomain
    $host-a         StopDomain Forced epoch 12
host $host-a answers stop_domain ok
    vm.events       StatusChanged Stopping -> Stopped (OperationDone)
    vm.events       Reply r7 ok
update_vm legacy spec.restart_policy=Restart as r8
    vm.events       Reply r8 ok
start_vm host_uuid=$host-a as r9
    vm.events       StatusChanged Stopped -> Starting (Request)
    vm.events       Progress Start PreparingVolumes
    volume.commands PrepareVolumes on $host-a expires 2d 00:16:43
    volume.events   VolumesPrepared ok vol1(Root)
    vm.events       Progress Start StartingDomain
    $host-a         StartDomain vol1(Root) hardware as before epoch 13 expires 2d 00:16:41
host $host-a answers start_domain ok
    vm.events       StatusChanged Starting -> Running (OperationDone)
    vm.events       Reply r9 ok
host $host-a reports domain_stopped reason=NotRunning
    vm.events       StatusChanged Running -> Stopped (HostReport)
    vm.events       StatusChanged Stopped -> Starting (RestartPolicy)
    vm.events       Progress Start PreparingVolumes
    volume.commands PrepareVolumes on $host-a expires 2d 00:16:43
    volume.events   VolumesPrepared ok vol1(Root)
    vm.events       Progress Start StartingDomain
    $host-a         StartDomain vol1(Root) hardware as before epoch 14 expires 2d 00:16:41
host $host-a answers start_domain fails STORAGE_NOT_FOUND "no such storage"
    vm.events       StatusChanged Starting -> Stopped (OperationFailed) STORAGE_NOT_FOUND
destroy_vm as r10
    vm.events       StatusChanged Stopped -> Destroyed (Request)
    vm.events       Reply r10 ok
pass 1d
    nothing
show vm
    Destroyed epoch 14 host $host-a version 50
    hardware pc-q35-7.2 kvm
    answered r1 ok, r2 ok, r3 ok, r4 ok, r5 ok, r6 ILLEGAL_STATUS, r7 ok, r8 ok, r9 ok, r10 ok
