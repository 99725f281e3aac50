# The host never answers StopDomain: the VM is Unknown. A forced stop may be asked again.
given running
    Running with vol2(NvRam Ready) vol1(Root Ready) vol3(TpmState Ready)
at 00:01:00 stop_vm as r3
    vm.events       StatusChanged Running -> Stopping (Request)
    vm.events       Progress Stop StoppingDomain
    $host-a         StopDomain Graceful epoch 1 expires 00:01:56
pass 2m
    vm-service      deadline elapsed at 00:02:05
    vm.events       StatusChanged Stopping -> Unknown (HostSilent) HOST_SILENT
    vm.events       Reply r3 HOST_SILENT "host $host-a did not answer in time; VM $vm is Unknown until the host reports, or ConfirmHostDown says that it is down and fenced"
stop_vm as r4
    vm.events       Reply r4 ILLEGAL_STATUS "VM $vm is Unknown; only a forced stop is legal there"
stop_vm mode=Forced as r5
    vm.events       StatusChanged Unknown -> Stopping (Request)
    vm.events       Progress Stop StoppingDomain
    $host-a         StopDomain Forced epoch 1
host $host-a answers stop_domain ok
    vm.events       StatusChanged Stopping -> Stopped (OperationDone)
    vm.events       Reply r5 ok
show vm
    Stopped epoch 1 host $host-a version 9
    nvram needed, vol2
    tpm Crb, state vol3 on $host-a
    hardware pc-q35-7.2 kvm Uefi+SecureBoot/540672 nic 0 Virtio (asked E1000)
    answered r1 ok, r2 ok, r3 HOST_SILENT, r4 ILLEGAL_STATUS, r5 ok
