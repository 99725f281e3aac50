# A host falls silent; the operator fences it and says so. When it comes back with the domain after
# all, the domain is stopped there: it must not run beside the next one.
given starting-domain
    Starting with vol2(NvRam Ready) vol1(Root Ready) vol3(TpmState Ready)
pass 3m
    vm-service      deadline elapsed at 00:02:03
    vm.events       StatusChanged Starting -> Unknown (HostSilent) HOST_SILENT
    vm.events       Reply r2 HOST_SILENT "host $host-a did not answer in time; VM $vm is Unknown until the host reports, or ConfirmHostDown says that it is down and fenced"
confirm_host_down host_uuid=$host-b as r3
    vm.events       Reply r3 INVALID_ARGUMENT "VM $vm is on host $host-a, not on $host-b: confirm for that host"
confirm_host_down host_uuid=$host-a as r4
    vm.events       StatusChanged Unknown -> Stopped (HostConfirmedDown)
    vm.events       Reply r4 ok
show vm
    Stopped epoch 1 host $host-a version 6
    nvram needed, vol2
    tpm Crb, state vol3
    answered r1 ok, r2 HOST_SILENT, r3 INVALID_ARGUMENT, r4 ok
host $host-a answers start_domain ok
    $host-a         StopDomain Forced epoch 1
    vm.events       Warning STALE_EPOCH "host $host-a still runs VM $vm of epoch 1, which the VM has left; it is stopped there by force"
host $host-a answers stop_domain ok
    nothing
start_vm host_uuid=$host-a as r5
    vm.events       StatusChanged Stopped -> Starting (Request)
    vm.events       Progress Start PreparingVolumes
    volume.commands PrepareVolumes on $host-a nvram_needed Uefi+SecureBoot expires 00:04:01
    volume.events   VolumesPrepared ok vol1(Root) vol2(NvRam) vol3(TpmState)
    vm.events       Progress Start StartingDomain
    $host-a         StartDomain vol1(Root) vol2(NvRam) vol3(TpmState) nvram_needed Uefi+SecureBoot epoch 2 expires 00:03:59
host $host-a answers start_domain ok
    vm.events       StatusChanged Starting -> Running (OperationDone)
    vm.events       Reply r5 ok

# A late word of the old epoch does not touch the new domain.
host $host-a reports domain_observed epoch=1 running=true
    $host-a         StopDomain Forced epoch 1
    vm.events       Warning STALE_EPOCH "host $host-a still runs VM $vm of epoch 1, which the VM has left; it is stopped there by force"
host $host-a answers stop_domain fails STALE_EPOCH "a newer one runs"
    nothing
show vm
    Running epoch 2 host $host-a version 9
    nvram needed, vol2
    tpm Crb, state vol3 on $host-a
    hardware pc-q35-7.2 kvm Uefi+SecureBoot/540672 nic 0 E1000
    answered r1 ok, r2 HOST_SILENT, r3 INVALID_ARGUMENT, r4 ok, r5 ok
