# After a silence the host looks, and says by itself what it found.
given running
    Running with vol2(NvRam Ready) vol1(Root Ready) vol3(TpmState Ready)
at 00:01:00 stop_vm mode=Forced as r3
    vm.events       StatusChanged Running -> Stopping (Request)
    vm.events       Progress Stop StoppingDomain
    $host-a         StopDomain Forced epoch 1
pass 2m
    vm-service      deadline elapsed at 00:02:05
    vm.events       StatusChanged Stopping -> Unknown (HostSilent) HOST_SILENT
    vm.events       Reply r3 HOST_SILENT "host $host-a did not answer in time; VM $vm is Unknown until the host reports, or ConfirmHostDown says that it is down and fenced"
host $host-a reports domain_observed running=true
    vm.events       StatusChanged Unknown -> Running (HostReport)
stop_vm mode=Forced as r4
    vm.events       StatusChanged Running -> Stopping (Request)
    vm.events       Progress Stop StoppingDomain
    $host-a         StopDomain Forced epoch 1
pass 2m
    vm-service      deadline elapsed at 00:04:05
    vm.events       StatusChanged Stopping -> Unknown (HostSilent) HOST_SILENT
    vm.events       Reply r4 HOST_SILENT "host $host-a did not answer in time; VM $vm is Unknown until the host reports, or ConfirmHostDown says that it is down and fenced"
host $host-a reports domain_observed running=false
    vm.events       StatusChanged Unknown -> Stopped (HostReport)
show vm
    Stopped epoch 1 host $host-a version 10
    nvram needed, vol2
    tpm Crb, state vol3 on $host-a
    hardware pc-q35-7.2 kvm Uefi+SecureBoot/540672 nic 0 Virtio (asked E1000)
    answered r1 ok, r2 ok, r3 HOST_SILENT, r4 HOST_SILENT

# A host that restarted finds the domain of a Running VM gone.
start_vm host_uuid=$host-a as r5
    vm.events       StatusChanged Stopped -> Starting (Request)
    vm.events       Progress Start PreparingVolumes
    volume.commands PrepareVolumes on $host-a nvram_needed Uefi+SecureBoot/540672 pinned expires 00:05:58
    volume.events   VolumesPrepared ok vol1(Root) vol2(NvRam) vol3(TpmState)
    vm.events       Progress Start StartingDomain
    $host-a         StartDomain vol1(Root) vol2(NvRam) vol3(TpmState) nvram_needed Uefi+SecureBoot/540672 hardware as before epoch 2 expires 00:05:56
host $host-a answers start_domain ok coerced=0
    vm.events       NicCoerced 0 E1000 -> Virtio "NIC 0 runs as Virtio instead of E1000: a vhost-user socket carries virtio only; the Windows guest needs the virtio network driver (NetKVM) installed"
    vm.events       StatusChanged Starting -> Running (OperationDone)
    vm.events       Reply r5 ok
host $host-a reports domain_observed running=true
    nothing
host $host-a reports domain_observed running=false
    vm.events       StatusChanged Running -> Stopped (HostReport)
