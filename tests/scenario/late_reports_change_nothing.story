# What another host, another epoch or an older command says is late. It changes nothing.
given running
    Running with vol2(NvRam Ready) vol1(Root Ready) vol3(TpmState Ready)
host $host-a repeats create_volumes
    nothing
host $host-a repeats start_domain
    nothing
host $host-b reports domain_stopped reason=Crashed
    nothing
host $host-a reports domain_stopped reason=Crashed epoch=0
    nothing
host $host-a reports domain_stopped reason=Crashed epoch=2
    nothing
host $host-a reports domain_observed running=false epoch=7
    nothing
show vm
    Running epoch 1 host $host-a version 4
    nvram needed, vol2
    tpm Crb, state vol3 on $host-a
    hardware pc-q35-7.2 kvm Uefi+SecureBoot/540672 nic 0 Virtio (asked E1000)
    answered r1 ok, r2 ok

at 00:01:00 stop_vm mode=Forced as r3
    vm.events       StatusChanged Running -> Stopping (Request)
    vm.events       Progress Stop StoppingDomain
    $host-a         StopDomain Forced epoch 1
host $host-a answers stop_domain ok
    vm.events       StatusChanged Stopping -> Stopped (OperationDone)
    vm.events       Reply r3 ok
host $host-a repeats stop_domain
    nothing
host $host-a reports domain_observed running=true
    $host-a         StopDomain Forced epoch 1
    vm.events       Warning STALE_EPOCH "host $host-a still runs VM $vm of epoch 1, which the VM has left; it is stopped there by force"
at 00:02:00 start_vm host_uuid=$host-a as r4
    vm.events       StatusChanged Stopped -> Starting (Request)
    vm.events       Progress Start PreparingVolumes
    volume.commands PrepareVolumes on $host-a nvram_needed Uefi+SecureBoot/540672 pinned expires 00:02:58
    volume.events   VolumesPrepared ok vol1(Root) vol2(NvRam) vol3(TpmState)
    vm.events       Progress Start StartingDomain
    $host-a         StartDomain vol1(Root) vol2(NvRam) vol3(TpmState) nvram_needed Uefi+SecureBoot/540672 hardware as before epoch 2 expires 00:02:56
host $host-a repeats stop_domain
    nothing
host $host-a reports domain_stopped reason=Crashed epoch=1
    nothing
host $host-a answers start_domain ok coerced=0
    vm.events       NicCoerced 0 E1000 -> Virtio "NIC 0 runs as Virtio instead of E1000: a vhost-user socket carries virtio only; the Windows guest needs the virtio network driver (NetKVM) installed"
    vm.events       StatusChanged Starting -> Running (OperationDone)
    vm.events       Reply r4 ok
host $host-a repeats stop_domain
    nothing
show vm
    Running epoch 2 host $host-a version 9
    nvram needed, vol2
    tpm Crb, state vol3 on $host-a
    hardware pc-q35-7.2 kvm Uefi+SecureBoot/540672 nic 0 Virtio (asked E1000)
    answered r1 ok, r2 ok, r3 ok, r4 ok
