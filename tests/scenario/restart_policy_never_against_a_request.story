# What somebody wanted stopped is not started again, whatever the host finds first, nor what powers
# itself off while nobody watches.
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

# A destroy that met a silent host.
destroy_vm as r3
    vm.events       StatusChanged Running -> Destroying (Request)
    vm.events       Progress Destroy StoppingDomain
    $host-a         StopDomain Forced epoch 1
pass 5m
    vm-service      deadline elapsed at 00:01:05
    vm.events       StatusChanged Destroying -> Unknown (HostSilent) HOST_SILENT
    vm.events       Reply r3 HOST_SILENT "host $host-a did not answer in time; VM $vm is Unknown until the host reports, or ConfirmHostDown says that it is down and fenced"
host $host-a reports domain_observed running=true
    vm.events       StatusChanged Unknown -> Running (HostReport)
host $host-a answers stop_domain ok reason=NotRunning
    vm.events       StatusChanged Running -> Stopped (HostReport)
show vm
    Stopped epoch 1 host $host-a version 8
    hardware pc-q35-7.2 kvm
    answered r1 ok, r2 ok, r3 HOST_SILENT

# A graceful stop that did, and a host that lost its power later.
start_vm host_uuid=$host-a as r4
    vm.events       StatusChanged Stopped -> Starting (Request)
    vm.events       Progress Start PreparingVolumes
    volume.commands PrepareVolumes on $host-a expires 00:05:58
    volume.events   VolumesPrepared ok vol1(Root)
    vm.events       Progress Start StartingDomain
    $host-a         StartDomain vol1(Root) hardware as before epoch 2 expires 00:05:56
host $host-a answers start_domain ok
    vm.events       StatusChanged Starting -> Running (OperationDone)
    vm.events       Reply r4 ok
stop_vm as r5
    vm.events       StatusChanged Running -> Stopping (Request)
    vm.events       Progress Stop StoppingDomain
    $host-a         StopDomain Graceful epoch 2 expires 00:05:56
pass 5m
    vm-service      deadline elapsed at 00:06:05
    vm.events       StatusChanged Stopping -> Unknown (HostSilent) HOST_SILENT
    vm.events       Reply r5 HOST_SILENT "host $host-a did not answer in time; VM $vm is Unknown until the host reports, or ConfirmHostDown says that it is down and fenced"
host $host-a reports domain_observed running=true
    vm.events       StatusChanged Unknown -> Running (HostReport)
host $host-a reports domain_stopped reason=NotRunning
    vm.events       StatusChanged Running -> Stopped (HostReport)

# The guest was powering off when its agent died.
start_vm host_uuid=$host-a as r6
    vm.events       StatusChanged Stopped -> Starting (Request)
    vm.events       Progress Start PreparingVolumes
    volume.commands PrepareVolumes on $host-a expires 00:10:58
    volume.events   VolumesPrepared ok vol1(Root)
    vm.events       Progress Start StartingDomain
    $host-a         StartDomain vol1(Root) hardware as before epoch 3 expires 00:10:56
host $host-a answers start_domain ok
    vm.events       StatusChanged Starting -> Running (OperationDone)
    vm.events       Reply r6 ok
host $host-a reports guest_event type=Shutdown
    vm.events       GuestEvent Shutdown
host $host-a reports domain_stopped reason=NotRunning
    vm.events       StatusChanged Running -> Stopped (HostReport)

# A reboot's own shutdown does not count as the guest's.
start_vm host_uuid=$host-a as r7
    vm.events       StatusChanged Stopped -> Starting (Request)
    vm.events       Progress Start PreparingVolumes
    volume.commands PrepareVolumes on $host-a expires 00:10:58
    volume.events   VolumesPrepared ok vol1(Root)
    vm.events       Progress Start StartingDomain
    $host-a         StartDomain vol1(Root) hardware as before epoch 4 expires 00:10:56
host $host-a answers start_domain ok
    vm.events       StatusChanged Starting -> Running (OperationDone)
    vm.events       Reply r7 ok
reboot_vm as r8
    vm.events       StatusChanged Running -> Rebooting (Request)
    vm.events       Progress Reboot StoppingDomain
    $host-a         StopDomain Graceful epoch 4 expires 00:10:56
host $host-a reports guest_event type=Shutdown
    vm.events       GuestEvent Shutdown
pass 5m
    vm-service      deadline elapsed at 00:11:05
    vm.events       StatusChanged Rebooting -> Unknown (HostSilent) HOST_SILENT
    vm.events       Reply r8 HOST_SILENT "host $host-a did not answer in time; VM $vm is Unknown until the host reports, or ConfirmHostDown says that it is down and fenced"
host $host-a reports domain_observed running=false
    vm.events       StatusChanged Unknown -> Stopped (HostReport)
    vm.events       StatusChanged Stopped -> Starting (RestartPolicy)
    vm.events       Progress Start PreparingVolumes
    volume.commands PrepareVolumes on $host-a expires 00:15:58
    volume.events   VolumesPrepared ok vol1(Root)
    vm.events       Progress Start StartingDomain
    $host-a         StartDomain vol1(Root) hardware as before epoch 5 expires 00:15:56
host $host-a answers start_domain ok
    vm.events       StatusChanged Starting -> Running (OperationDone)
show vm
    Running epoch 5 host $host-a version 28
    hardware pc-q35-7.2 kvm
    answered r1 ok, r2 ok, r3 HOST_SILENT, r4 ok, r5 HOST_SILENT, r6 ok, r7 ok, r8 HOST_SILENT
