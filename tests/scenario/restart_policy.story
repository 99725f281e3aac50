# A VM that ran when its host went away starts again when the host is back without it: if that is its
# policy, and nobody has ended it.
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
host $host-a answers start_domain ok
    vm.events       StatusChanged Starting -> Running (OperationDone)
show vm
    Running epoch 2 host $host-a version 7
    hardware pc-q35-7.2 kvm
    answered r1 ok, r2 ok

# Also when the host was silent meanwhile, and the VM Unknown.
reboot_vm as r3
    vm.events       StatusChanged Running -> Rebooting (Request)
    vm.events       Progress Reboot StoppingDomain
    $host-a         StopDomain Graceful epoch 2 expires 00:00:56
pass 5m
    vm-service      deadline elapsed at 00:01:05
    vm.events       StatusChanged Rebooting -> Unknown (HostSilent) HOST_SILENT
    vm.events       Reply r3 HOST_SILENT "host $host-a did not answer in time; VM $vm is Unknown until the host reports, or ConfirmHostDown says that it is down and fenced"
host $host-a reports domain_observed running=false
    vm.events       StatusChanged Unknown -> Stopped (HostReport)
    vm.events       StatusChanged Stopped -> Starting (RestartPolicy)
    vm.events       Progress Start PreparingVolumes
    volume.commands PrepareVolumes on $host-a expires 00:05:58
    volume.events   VolumesPrepared ok vol1(Root)
    vm.events       Progress Start StartingDomain
    $host-a         StartDomain vol1(Root) hardware as before epoch 3 expires 00:05:56
host $host-a answers start_domain ok
    vm.events       StatusChanged Starting -> Running (OperationDone)

# A restart that fails is tried again, later and later; a request of its own takes its place.
host $host-a reports domain_stopped reason=NotRunning
    vm.events       StatusChanged Running -> Stopped (HostReport)
    vm.events       StatusChanged Stopped -> Starting (RestartPolicy)
    vm.events       Progress Start PreparingVolumes
    volume.commands PrepareVolumes on $host-a expires 00:05:58
    volume.events   VolumesPrepared ok vol1(Root)
    vm.events       Progress Start StartingDomain
    $host-a         StartDomain vol1(Root) hardware as before epoch 4 expires 00:05:56
host $host-a answers start_domain fails OVS_UNAVAILABLE "OVS is down"
    vm.events       StatusChanged Starting -> Stopped (OperationFailed) OVS_UNAVAILABLE
host $host-a reports domain_observed running=false
    nothing
pass 15s
    vm-service      deadline elapsed at 00:05:10
    vm.events       StatusChanged Stopped -> Starting (RestartPolicy)
    vm.events       Progress Start PreparingVolumes
    volume.commands PrepareVolumes on $host-a expires 00:06:08
    volume.events   VolumesPrepared ok vol1(Root)
    vm.events       Progress Start StartingDomain
    $host-a         StartDomain vol1(Root) hardware as before epoch 5 expires 00:06:06
host $host-a answers start_domain fails OVS_UNAVAILABLE "OVS is down"
    vm.events       StatusChanged Starting -> Stopped (OperationFailed) OVS_UNAVAILABLE
pass 1m
    vm-service      deadline elapsed at 00:05:35
    vm.events       StatusChanged Stopped -> Starting (RestartPolicy)
    vm.events       Progress Start PreparingVolumes
    volume.commands PrepareVolumes on $host-a expires 00:06:33
    volume.events   VolumesPrepared ok vol1(Root)
    vm.events       Progress Start StartingDomain
    $host-a         StartDomain vol1(Root) hardware as before epoch 6 expires 00:06:31
host $host-a answers start_domain ok
    vm.events       StatusChanged Starting -> Running (OperationDone)
host $host-a reports domain_stopped reason=NotRunning
    vm.events       StatusChanged Running -> Stopped (HostReport)
    vm.events       StatusChanged Stopped -> Starting (RestartPolicy)
    vm.events       Progress Start PreparingVolumes
    volume.commands PrepareVolumes on $host-a expires 00:07:13
    volume.events   VolumesPrepared ok vol1(Root)
    vm.events       Progress Start StartingDomain
    $host-a         StartDomain vol1(Root) hardware as before epoch 7 expires 00:07:11
host $host-a answers start_domain fails OVS_UNAVAILABLE "OVS is down"
    vm.events       StatusChanged Starting -> Stopped (OperationFailed) OVS_UNAVAILABLE

# Not when the guest or somebody else ended it.
start_vm host_uuid=$host-a as r4
    vm.events       StatusChanged Stopped -> Starting (Request)
    vm.events       Progress Start PreparingVolumes
    volume.commands PrepareVolumes on $host-a expires 00:07:13
    volume.events   VolumesPrepared ok vol1(Root)
    vm.events       Progress Start StartingDomain
    $host-a         StartDomain vol1(Root) hardware as before epoch 8 expires 00:07:11
host $host-a answers start_domain ok
    vm.events       StatusChanged Starting -> Running (OperationDone)
    vm.events       Reply r4 ok
host $host-a reports domain_stopped reason=GuestShutdown
    vm.events       StatusChanged Running -> Stopped (GuestShutdown)
start_vm host_uuid=$host-a as r5
    vm.events       StatusChanged Stopped -> Starting (Request)
    vm.events       Progress Start PreparingVolumes
    volume.commands PrepareVolumes on $host-a expires 00:07:13
    volume.events   VolumesPrepared ok vol1(Root)
    vm.events       Progress Start StartingDomain
    $host-a         StartDomain vol1(Root) hardware as before epoch 9 expires 00:07:11
host $host-a answers start_domain ok
    vm.events       StatusChanged Starting -> Running (OperationDone)
    vm.events       Reply r5 ok
host $host-a reports domain_stopped reason=Outside
    vm.events       StatusChanged Running -> Stopped (HostReport)
start_vm host_uuid=$host-a as r6
    vm.events       StatusChanged Stopped -> Starting (Request)
    vm.events       Progress Start PreparingVolumes
    volume.commands PrepareVolumes on $host-a expires 00:07:13
    volume.events   VolumesPrepared ok vol1(Root)
    vm.events       Progress Start StartingDomain
    $host-a         StartDomain vol1(Root) hardware as before epoch 10 expires 00:07:11
host $host-a answers start_domain ok
    vm.events       StatusChanged Starting -> Running (OperationDone)
    vm.events       Reply r6 ok
host $host-a reports domain_stopped reason=Crashed
    vm.events       StatusChanged Running -> Crashed (GuestCrash)
start_vm host_uuid=$host-a as r7
    vm.events       StatusChanged Crashed -> Starting (Request)
    vm.events       Progress Start PreparingVolumes
    volume.commands PrepareVolumes on $host-a expires 00:07:13
    volume.events   VolumesPrepared ok vol1(Root)
    vm.events       Progress Start StartingDomain
    $host-a         StartDomain vol1(Root) hardware as before epoch 11 expires 00:07:11
host $host-a answers start_domain ok
    vm.events       StatusChanged Starting -> Running (OperationDone)
    vm.events       Reply r7 ok

# Nor when a stop was asked for, and the host was silent.
stop_vm mode=Forced as r8
    vm.events       StatusChanged Running -> Stopping (Request)
    vm.events       Progress Stop StoppingDomain
    $host-a         StopDomain Forced epoch 11
pass 5m
    vm-service      deadline elapsed at 00:07:20
    vm.events       StatusChanged Stopping -> Unknown (HostSilent) HOST_SILENT
    vm.events       Reply r8 HOST_SILENT "host $host-a did not answer in time; VM $vm is Unknown until the host reports, or ConfirmHostDown says that it is down and fenced"
host $host-a reports domain_stopped reason=NotRunning
    vm.events       StatusChanged Unknown -> Stopped (HostReport)
show vm
    Stopped epoch 11 host $host-a version 42
    hardware pc-q35-7.2 kvm
    answered r1 ok, r2 ok, r3 HOST_SILENT, r4 ok, r5 ok, r6 ok, r7 ok, r8 HOST_SILENT
