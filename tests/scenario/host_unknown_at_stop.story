# The host's topic is gone while the VM runs: its domain's fate is not known.
given running
    Running with vol2(NvRam Ready) vol1(Root Ready) vol3(TpmState Ready)
host $host-a is unknown
stop_vm mode=Forced as r3
    vm.events       StatusChanged Running -> Stopping (Request)
    vm.events       Progress Stop StoppingDomain
    $host-a         StopDomain Forced epoch 1
    $host-a         is unknown
    vm.events       StatusChanged Stopping -> Unknown (OperationFailed) HOST_UNKNOWN
    vm.events       Reply r3 HOST_UNKNOWN "host $host-a has no command topic, so VM $vm was not reached there: see `virtbusctl host list`"
show vm
    Unknown epoch 1 host $host-a version 6
    nvram needed, vol2
    tpm Crb, state vol3 on $host-a
    hardware pc-q35-7.2 kvm Uefi+SecureBoot/540672 nic 0 Virtio (asked E1000)
    last error HOST_UNKNOWN "host $host-a has no command topic, so VM $vm was not reached there: see `virtbusctl host list`"
    answered r1 ok, r2 ok, r3 HOST_UNKNOWN
destroy_vm as r4
    vm.events       StatusChanged Unknown -> Destroying (Request)
    vm.events       Progress Destroy StoppingDomain
    $host-a         StopDomain Forced epoch 1
    $host-a         is unknown
    vm.events       StatusChanged Destroying -> Unknown (OperationFailed) HOST_UNKNOWN
    vm.events       Reply r4 HOST_UNKNOWN "host $host-a has no command topic, so VM $vm was not reached there: see `virtbusctl host list`"
host $host-a is known
destroy_vm as r5
    vm.events       StatusChanged Unknown -> Destroying (Request)
    vm.events       Progress Destroy StoppingDomain
    $host-a         StopDomain Forced epoch 1
host $host-a answers stop_domain ok
    vm.events       StatusChanged Destroying -> Destroyed (OperationDone)
    vm.events       Reply r5 ok
