# Something else ends the attach; what the host says it has done is believed as long as the VM may run.
given running
    Running with vol2(NvRam Ready) vol1(Root Ready) vol3(TpmState Ready)

# The guest powers off.
attach_nic nic.index=1 nic.type=User as r3
    vm.events       Progress AttachNic ChangingDevice
    $host-a         AttachDevice nic 1 epoch 1 expires 00:01:01
host $host-a reports domain_stopped reason=GuestShutdown
    vm.events       Reply r3 INTERRUPTED "the domain of VM $vm ended while its AttachNic was under way"
    vm.events       StatusChanged Running -> Stopped (GuestShutdown)
host $host-a answers attach_device fails DOMAIN_NOT_RUNNING "it does not run"
    nothing
start_vm host_uuid=$host-a as r4
    vm.events       StatusChanged Stopped -> Starting (Request)
    vm.events       Progress Start PreparingVolumes
    volume.commands PrepareVolumes on $host-a nvram_needed Uefi+SecureBoot/540672 pinned expires 00:01:03
    volume.events   VolumesPrepared ok vol1(Root) vol2(NvRam) vol3(TpmState)
    vm.events       Progress Start StartingDomain
    $host-a         StartDomain vol1(Root) vol2(NvRam) vol3(TpmState) nvram_needed Uefi+SecureBoot/540672 hardware as before epoch 2 expires 00:01:01
host $host-a answers start_domain ok
    vm.events       StatusChanged Starting -> Running (OperationDone)
    vm.events       Reply r4 ok

# A forced stop.
attach_nic nic.index=2 nic.type=User as r5
    vm.events       Progress AttachNic ChangingDevice
    $host-a         AttachDevice nic 2 epoch 2 expires 00:01:01
stop_vm mode=Forced as r6
    vm.events       Reply r5 PREEMPTED "a forced stop took the place of this request for VM $vm"
    vm.events       StatusChanged Running -> Stopping (Request)
    vm.events       Progress Stop StoppingDomain
    $host-a         StopDomain Forced epoch 2
host $host-a answers attach_device ok
    nothing
host $host-a answers stop_domain ok
    vm.events       StatusChanged Stopping -> Stopped (OperationDone)
    vm.events       Reply r6 ok
start_vm host_uuid=$host-a as r7
    vm.events       StatusChanged Stopped -> Starting (Request)
    vm.events       Progress Start PreparingVolumes
    volume.commands PrepareVolumes on $host-a nvram_needed Uefi+SecureBoot/540672 pinned expires 00:01:03
    volume.events   VolumesPrepared ok vol1(Root) vol2(NvRam) vol3(TpmState)
    vm.events       Progress Start StartingDomain
    $host-a         StartDomain vol1(Root) vol2(NvRam) vol3(TpmState) nvram_needed Uefi+SecureBoot/540672 hardware as before epoch 3 expires 00:01:01
host $host-a answers start_domain ok
    vm.events       StatusChanged Starting -> Running (OperationDone)
    vm.events       Reply r7 ok
show vm
    Running epoch 3 host $host-a version 16
    nvram needed, vol2
    tpm Crb, state vol3 on $host-a
    hardware pc-q35-7.2 kvm Uefi+SecureBoot/540672 nic 0 E1000 nic 2 E1000
    answered r1 ok, r2 ok, r3 INTERRUPTED, r4 ok, r5 PREEMPTED, r6 ok, r7 ok

# The host is silent, and back with the NIC.
attach_nic nic.index=3 nic.type=User as r8
    vm.events       Progress AttachNic ChangingDevice
    $host-a         AttachDevice nic 3 epoch 3 expires 00:01:01
pass 3m
    vm-service      deadline elapsed at 00:01:10
    vm.events       StatusChanged Running -> Unknown (HostSilent) HOST_SILENT
    vm.events       Reply r8 HOST_SILENT "host $host-a did not answer in time; VM $vm is Unknown until the host reports, or ConfirmHostDown says that it is down and fenced"
host $host-a answers attach_device ok
    vm.events       StatusChanged Unknown -> Running (HostReport)
show vm
    Running epoch 3 host $host-a version 19
    nvram needed, vol2
    tpm Crb, state vol3 on $host-a
    hardware pc-q35-7.2 kvm Uefi+SecureBoot/540672 nic 0 E1000 nic 2 E1000 nic 3 E1000
    answered r1 ok, r2 ok, r3 INTERRUPTED, r4 ok, r5 PREEMPTED, r6 ok, r7 ok, r8 HOST_SILENT

# Silent again; the operator's word ends it, and what the host says after that is no longer asked for.
attach_nic nic.index=4 nic.type=User as r9
    vm.events       Progress AttachNic ChangingDevice
    $host-a         AttachDevice nic 4 epoch 3 expires 00:04:01
pass 3m
    vm-service      deadline elapsed at 00:04:10
    vm.events       StatusChanged Running -> Unknown (HostSilent) HOST_SILENT
    vm.events       Reply r9 HOST_SILENT "host $host-a did not answer in time; VM $vm is Unknown until the host reports, or ConfirmHostDown says that it is down and fenced"
confirm_host_down host_uuid=$host-a as r10
    vm.events       StatusChanged Unknown -> Stopped (HostConfirmedDown)
    vm.events       Reply r10 ok
host $host-a answers attach_device ok
    $host-a         StopDomain Forced epoch 3
    vm.events       Warning STALE_EPOCH "host $host-a still runs VM $vm of epoch 3, which the VM has left; it is stopped there by force"
show vm
    Stopped epoch 3 host $host-a version 22
    nvram needed, vol2
    tpm Crb, state vol3 on $host-a
    hardware pc-q35-7.2 kvm Uefi+SecureBoot/540672 nic 0 E1000 nic 2 E1000 nic 3 E1000
    answered r1 ok, r2 ok, r3 INTERRUPTED, r4 ok, r5 PREEMPTED, r6 ok, r7 ok, r8 HOST_SILENT, r9 HOST_SILENT, r10 ok
host $host-a answers stop_domain ok
    nothing

# The host has no topic any more.
start_vm host_uuid=$host-a as r11
    vm.events       StatusChanged Stopped -> Starting (Request)
    vm.events       Progress Start PreparingVolumes
    volume.commands PrepareVolumes on $host-a nvram_needed Uefi+SecureBoot/540672 pinned expires 00:07:03
    volume.events   VolumesPrepared ok vol1(Root) vol2(NvRam) vol3(TpmState)
    vm.events       Progress Start StartingDomain
    $host-a         StartDomain vol1(Root) vol2(NvRam) vol3(TpmState) nvram_needed Uefi+SecureBoot/540672 hardware as before epoch 4 expires 00:07:01
host $host-a answers start_domain ok
    vm.events       StatusChanged Starting -> Running (OperationDone)
    vm.events       Reply r11 ok
host $host-a is unknown
attach_nic nic.index=4 nic.type=User as r12
    vm.events       Progress AttachNic ChangingDevice
    $host-a         AttachDevice nic 4 epoch 4 expires 00:07:01
    $host-a         is unknown
    vm.events       StatusChanged Running -> Unknown (OperationFailed) HOST_UNKNOWN
    vm.events       Reply r12 HOST_UNKNOWN "host $host-a has no command topic, so VM $vm was not reached there: see `virtbusctl host list`"
show vm
    Unknown epoch 4 host $host-a version 27
    nvram needed, vol2
    tpm Crb, state vol3 on $host-a
    hardware pc-q35-7.2 kvm Uefi+SecureBoot/540672 nic 0 E1000 nic 2 E1000 nic 3 E1000
    last error HOST_UNKNOWN "host $host-a has no command topic, so VM $vm was not reached there: see `virtbusctl host list`"
    answered r1 ok, r2 ok, r3 INTERRUPTED, r4 ok, r5 PREEMPTED, r6 ok, r7 ok, r8 HOST_SILENT, r9 HOST_SILENT, r10 ok, r11 ok, r12 HOST_UNKNOWN
