# Where a reboot fails decides what is left: a guest that runs on, a VM that is stopped, or Unknown.
given running
    Running with vol2(NvRam Ready) vol1(Root Ready) vol3(TpmState Ready)

# The guest does not power off.
reboot_vm as r3
    vm.events       StatusChanged Running -> Rebooting (Request)
    vm.events       Progress Reboot StoppingDomain
    $host-a         StopDomain Graceful epoch 1 expires 00:01:01
host $host-a answers stop_domain fails GUEST_DID_NOT_STOP "the guest did not power off"
    vm.events       StatusChanged Rebooting -> Running (OperationFailed) GUEST_DID_NOT_STOP
    vm.events       Reply r3 GUEST_DID_NOT_STOP "the guest did not power off" at $host-a

# The domain is gone, and cannot start again.
reboot_vm as r4
    vm.events       StatusChanged Running -> Rebooting (Request)
    vm.events       Progress Reboot StoppingDomain
    $host-a         StopDomain Graceful epoch 1 expires 00:01:01
host $host-a answers stop_domain ok
    vm.events       Progress Reboot PreparingVolumes
    volume.commands PrepareVolumes on $host-a nvram_needed Uefi+SecureBoot/540672 pinned expires 00:01:03
    volume.events   VolumesPrepared ok vol1(Root) vol2(NvRam) vol3(TpmState)
    vm.events       Progress Reboot StartingDomain
    $host-a         StartDomain vol1(Root) vol2(NvRam) vol3(TpmState) nvram_needed Uefi+SecureBoot/540672 hardware as before epoch 2 expires 00:01:01
host $host-a answers start_domain fails OVS_UNAVAILABLE "OVS is down"
    vm.events       StatusChanged Rebooting -> Stopped (OperationFailed) OVS_UNAVAILABLE
    vm.events       Reply r4 OVS_UNAVAILABLE "OVS is down" at $host-a
start_vm host_uuid=$host-a as r5
    vm.events       StatusChanged Stopped -> Starting (Request)
    vm.events       Progress Start PreparingVolumes
    volume.commands PrepareVolumes on $host-a nvram_needed Uefi+SecureBoot/540672 pinned expires 00:01:03
    volume.events   VolumesPrepared ok vol1(Root) vol2(NvRam) vol3(TpmState)
    vm.events       Progress Start StartingDomain
    $host-a         StartDomain vol1(Root) vol2(NvRam) vol3(TpmState) nvram_needed Uefi+SecureBoot/540672 hardware as before epoch 3 expires 00:01:01
host $host-a answers start_domain ok
    vm.events       StatusChanged Starting -> Running (OperationDone)
    vm.events       Reply r5 ok

# It is gone, and its variables may not be on disk: the start is not tried.
reboot_vm as r6
    vm.events       StatusChanged Running -> Rebooting (Request)
    vm.events       Progress Reboot StoppingDomain
    $host-a         StopDomain Graceful epoch 3 expires 00:01:01
host $host-a answers stop_domain fails STORAGE_IO "cannot sync"
    vm.events       Warning STORAGE_IO "cannot sync" at $host-a
    vm.events       StatusChanged Rebooting -> Stopped (OperationFailed) STORAGE_IO
    vm.events       Reply r6 STORAGE_IO "cannot sync" at $host-a
start_vm host_uuid=$host-a as r7
    vm.events       StatusChanged Stopped -> Starting (Request)
    vm.events       Progress Start PreparingVolumes
    volume.commands PrepareVolumes on $host-a nvram_needed Uefi+SecureBoot/540672 pinned expires 00:01:03
    volume.events   VolumesPrepared ok vol1(Root) vol2(NvRam) vol3(TpmState)
    vm.events       Progress Start StartingDomain
    $host-a         StartDomain vol1(Root) vol2(NvRam) vol3(TpmState) nvram_needed Uefi+SecureBoot/540672 hardware as before epoch 4 expires 00:01:01
host $host-a answers start_domain ok
    vm.events       StatusChanged Starting -> Running (OperationDone)
    vm.events       Reply r7 ok

# The host is silent, first at the stop, then at the start.
reboot_vm timeout_ms=20000 as r8
    vm.events       StatusChanged Running -> Rebooting (Request)
    vm.events       Progress Reboot StoppingDomain
    $host-a         StopDomain Graceful epoch 4 expires 00:00:11
pass 2m
    vm-service      deadline elapsed at 00:00:20
    vm.events       StatusChanged Rebooting -> Unknown (HostSilent) HOST_SILENT
    vm.events       Reply r8 HOST_SILENT "host $host-a did not answer in time; VM $vm is Unknown until the host reports, or ConfirmHostDown says that it is down and fenced"
host $host-a reports domain_observed running=true
    vm.events       StatusChanged Unknown -> Running (HostReport)
reboot_vm timeout_ms=20000 as r9
    vm.events       StatusChanged Running -> Rebooting (Request)
    vm.events       Progress Reboot StoppingDomain
    $host-a         StopDomain Graceful epoch 4 expires 00:02:11
host $host-a answers stop_domain ok
    vm.events       Progress Reboot PreparingVolumes
    volume.commands PrepareVolumes on $host-a nvram_needed Uefi+SecureBoot/540672 pinned expires 00:02:13
    volume.events   VolumesPrepared ok vol1(Root) vol2(NvRam) vol3(TpmState)
    vm.events       Progress Reboot StartingDomain
    $host-a         StartDomain vol1(Root) vol2(NvRam) vol3(TpmState) nvram_needed Uefi+SecureBoot/540672 hardware as before epoch 5 expires 00:02:11
pass 5m
    vm-service      deadline elapsed at 00:03:16
    vm.events       StatusChanged Rebooting -> Unknown (HostSilent) HOST_SILENT
    vm.events       Reply r9 HOST_SILENT "host $host-a did not answer in time; VM $vm is Unknown until the host reports, or ConfirmHostDown says that it is down and fenced"
host $host-a reports domain_stopped reason=NotRunning
    vm.events       StatusChanged Unknown -> Stopped (HostReport)
show vm
    Stopped epoch 5 host $host-a version 26
    nvram needed, vol2
    tpm Crb, state vol3 on $host-a
    hardware pc-q35-7.2 kvm Uefi+SecureBoot/540672 nic 0 E1000
    answered r1 ok, r2 ok, r3 GUEST_DID_NOT_STOP, r4 OVS_UNAVAILABLE, r5 ok, r6 STORAGE_IO, r7 ok, r8 HOST_SILENT, r9 HOST_SILENT
