# A quarantine hides nothing that hosts say: a release leads to where the VM is by then.

# Volumes were prepared: no host was asked for anything.
given machines
create_vm legacy as r1
    vm.events       StatusChanged Unspecified -> Created (Request)
    vm.events       Reply r1 ok
down volumes
start_vm host_uuid=$host-a as r2
    vm.events       StatusChanged Created -> Starting (Request)
    vm.events       Progress Start PreparingVolumes
    volume.commands PrepareVolumes on $host-a expires 00:00:58
poison vm
    vm.events       StatusChanged Starting -> Quarantined (Poison) QUARANTINED
    vm.events       Reply r2 QUARANTINED "a record of VM $vm could not be handled: vm.commands-3@41, the step failed three times; see the DLQ, then ReleaseQuarantine"
release_quarantine as r3
    vm.events       StatusChanged Quarantined -> Created (Released)
    vm.events       Reply r3 ok
show vm
    Created epoch 1 version 4
    answered r1 ok, r2 QUARANTINED, r3 ok
up volumes
    volume.events   VolumeChanged vol1(Root) NotInstantiated -> Creating
    $host-a         CreateVolumes vol1(Root) epoch 1 expires 00:00:56
start_vm host_uuid=$host-a as r4
    vm.events       StatusChanged Created -> Starting (Request)
    vm.events       Progress Start PreparingVolumes
    volume.commands PrepareVolumes on $host-a expires 00:00:58
    $host-a         CreateVolumes vol1(Root) epoch 2 expires 00:00:56
host $host-a answers create_volumes ok
    volume.events   VolumeChanged vol1(Root) Creating -> Ready
host $host-a answers create_volumes ok
    volume.events   VolumesPrepared ok vol1(Root)
    vm.events       Progress Start StartingDomain
    $host-a         StartDomain vol1(Root) epoch 2 expires 00:00:56

# The domain started meanwhile.
poison vm
    vm.events       StatusChanged Starting -> Quarantined (Poison) QUARANTINED
    vm.events       Reply r4 QUARANTINED "a record of VM $vm could not be handled: vm.commands-3@41, the step failed three times; see the DLQ, then ReleaseQuarantine"
host $host-a answers start_domain ok
    nothing
release_quarantine as r5
    vm.events       StatusChanged Quarantined -> Running (Released)
    vm.events       Reply r5 ok
show vm
    Running epoch 2 host $host-a version 9
    hardware pc-q35-7.2 kvm
    answered r1 ok, r2 QUARANTINED, r3 ok, r4 QUARANTINED, r5 ok

# A start failed meanwhile.
stop_vm mode=Forced as r6
    vm.events       StatusChanged Running -> Stopping (Request)
    vm.events       Progress Stop StoppingDomain
    $host-a         StopDomain Forced epoch 2
host $host-a answers stop_domain ok
    vm.events       StatusChanged Stopping -> Stopped (OperationDone)
    vm.events       Reply r6 ok
start_vm host_uuid=$host-a as r7
    vm.events       StatusChanged Stopped -> Starting (Request)
    vm.events       Progress Start PreparingVolumes
    volume.commands PrepareVolumes on $host-a expires 00:00:58
    volume.events   VolumesPrepared ok vol1(Root)
    vm.events       Progress Start StartingDomain
    $host-a         StartDomain vol1(Root) hardware as before epoch 3 expires 00:00:56
poison vm
    vm.events       StatusChanged Starting -> Quarantined (Poison) QUARANTINED
    vm.events       Reply r7 QUARANTINED "a record of VM $vm could not be handled: vm.commands-3@41, the step failed three times; see the DLQ, then ReleaseQuarantine"
host $host-a answers start_domain fails OVS_UNAVAILABLE "OVS is down"
    nothing
release_quarantine as r8
    vm.events       StatusChanged Quarantined -> Stopped (Released)
    vm.events       Reply r8 ok

# A host that was confirmed down is back with the domain.
start_vm host_uuid=$host-a as r9
    vm.events       StatusChanged Stopped -> Starting (Request)
    vm.events       Progress Start PreparingVolumes
    volume.commands PrepareVolumes on $host-a expires 00:00:58
    volume.events   VolumesPrepared ok vol1(Root)
    vm.events       Progress Start StartingDomain
    $host-a         StartDomain vol1(Root) hardware as before epoch 4 expires 00:00:56
host $host-a answers start_domain ok
    vm.events       StatusChanged Starting -> Running (OperationDone)
    vm.events       Reply r9 ok
reboot_vm as r10
    vm.events       StatusChanged Running -> Rebooting (Request)
    vm.events       Progress Reboot StoppingDomain
    $host-a         StopDomain Graceful epoch 4 expires 00:00:56
pass 5m
    vm-service      deadline elapsed at 00:01:05
    vm.events       StatusChanged Rebooting -> Unknown (HostSilent) HOST_SILENT
    vm.events       Reply r10 HOST_SILENT "host $host-a did not answer in time; VM $vm is Unknown until the host reports, or ConfirmHostDown says that it is down and fenced"
confirm_host_down host_uuid=$host-a as r11
    vm.events       StatusChanged Unknown -> Stopped (HostConfirmedDown)
    vm.events       Reply r11 ok
poison vm
    vm.events       StatusChanged Stopped -> Quarantined (Poison) QUARANTINED
host $host-a reports domain_observed running=true
    $host-a         StopDomain Forced epoch 4
    vm.events       Warning STALE_EPOCH "host $host-a still runs VM $vm of epoch 4, which the VM has left; it is stopped there by force"
release_quarantine as r12
    vm.events       StatusChanged Quarantined -> Stopped (Released)
    vm.events       Reply r12 ok
show vm
    Stopped epoch 4 host $host-a version 24
    hardware pc-q35-7.2 kvm
    answered r1 ok, r2 QUARANTINED, r3 ok, r4 QUARANTINED, r5 ok, r6 ok, r7 QUARANTINED, r8 ok, r9 ok, r10 HOST_SILENT, r11 ok, r12 ok
