# The guest does not hear: at the deadline it still runs, and so does the VM. Force helps.
given running
    Running with vol2(NvRam Ready) vol1(Root Ready) vol3(TpmState Ready)
at 00:01:00 stop_vm mode=Graceful timeout_ms=30s as r3
    vm.events       StatusChanged Running -> Stopping (Request)
    vm.events       Progress Stop StoppingDomain
    $host-a         StopDomain Graceful epoch 1 expires 00:01:26
at 00:01:26 host $host-a answers stop_domain fails GUEST_DID_NOT_STOP "the guest still runs"
    vm.events       StatusChanged Stopping -> Running (OperationFailed) GUEST_DID_NOT_STOP
    vm.events       Reply r3 GUEST_DID_NOT_STOP "the guest still runs" at $host-a
show vm
    Running epoch 1 host $host-a version 6
    nvram needed, vol2
    tpm Crb, state vol3 on $host-a
    hardware pc-q35-7.2 kvm Uefi+SecureBoot/540672 nic 0 Virtio (asked E1000)
    last error GUEST_DID_NOT_STOP "the guest still runs" at $host-a
    answered r1 ok, r2 ok, r3 GUEST_DID_NOT_STOP
stop_vm mode=GracefulThenForced as r4
    vm.events       StatusChanged Running -> Stopping (Request)
    vm.events       Progress Stop StoppingDomain
    $host-a         StopDomain GracefulThenForced epoch 1 expires 00:02:22
host $host-a answers stop_domain ok
    vm.events       StatusChanged Stopping -> Stopped (OperationDone)
    vm.events       Reply r4 ok
