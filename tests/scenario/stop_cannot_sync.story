# The guest is gone, but its variables could not be synced to disk: Stopped, and told as it is.
given running
    Running with vol2(NvRam Ready) vol1(Root Ready) vol3(TpmState Ready)
at 00:01:00 stop_vm mode=Forced as r3
    vm.events       StatusChanged Running -> Stopping (Request)
    vm.events       Progress Stop StoppingDomain
    $host-a         StopDomain Forced epoch 1
at 00:01:02 host $host-a answers stop_domain fails STORAGE_IO "nvRam/x.fd: input/output error"
    vm.events       Warning STORAGE_IO "nvRam/x.fd: input/output error" at $host-a
    vm.events       StatusChanged Stopping -> Stopped (OperationDone) STORAGE_IO
    vm.events       Reply r3 STORAGE_IO "nvRam/x.fd: input/output error" at $host-a
show vm
    Stopped epoch 1 host $host-a version 6
    nvram needed, vol2
    tpm Crb, state vol3 on $host-a
    hardware pc-q35-7.2 kvm Uefi+SecureBoot/540672 nic 0 Virtio (asked E1000)
    last error STORAGE_IO "nvRam/x.fd: input/output error" at $host-a
    answered r1 ok, r2 ok, r3 STORAGE_IO
start_vm host_uuid=$host-a as r4
    vm.events       StatusChanged Stopped -> Starting (Request)
    vm.events       Progress Start PreparingVolumes
    volume.commands PrepareVolumes on $host-a nvram_needed Uefi+SecureBoot/540672 pinned expires 00:02:00
    volume.events   VolumesPrepared ok vol1(Root) vol2(NvRam) vol3(TpmState)
    vm.events       Progress Start StartingDomain
    $host-a         StartDomain vol1(Root) vol2(NvRam) vol3(TpmState) nvram_needed Uefi+SecureBoot/540672 hardware as before epoch 2 expires 00:01:58
host $host-a answers start_domain ok
    vm.events       StatusChanged Starting -> Running (OperationDone)
    vm.events       Reply r4 ok

# The same when the guest ends by itself.
host $host-a reports domain_stopped reason=GuestShutdown error={} error.code=STORAGE_IO error.message=unsynced
    vm.events       Warning STORAGE_IO "unsynced"
    vm.events       StatusChanged Running -> Stopped (GuestShutdown)
show vm
    Stopped epoch 2 host $host-a version 10
    nvram needed, vol2
    tpm Crb, state vol3 on $host-a
    hardware pc-q35-7.2 kvm Uefi+SecureBoot/540672 nic 0 E1000
    answered r1 ok, r2 ok, r3 STORAGE_IO, r4 ok
