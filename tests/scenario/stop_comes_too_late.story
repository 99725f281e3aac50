# The host sees the stop after its expiry and did nothing: what ran before still runs.
given running
    Running with vol2(NvRam Ready) vol1(Root Ready) vol3(TpmState Ready)
at 00:01:00 stop_vm mode=Forced as r3
    vm.events       StatusChanged Running -> Stopping (Request)
    vm.events       Progress Stop StoppingDomain
    $host-a         StopDomain Forced epoch 1
at 00:02:00 host $host-a answers stop_domain fails EXPIRED "seen after its expiry"
    vm.events       StatusChanged Stopping -> Running (OperationFailed) EXPIRED
    vm.events       Reply r3 EXPIRED "seen after its expiry" at $host-a
destroy_vm as r4
    vm.events       StatusChanged Running -> Destroying (Request)
    vm.events       Progress Destroy StoppingDomain
    $host-a         StopDomain Forced epoch 1
host $host-a answers stop_domain fails EXPIRED "seen after its expiry"
    vm.events       StatusChanged Destroying -> Unknown (OperationFailed) EXPIRED
    vm.events       Reply r4 EXPIRED "seen after its expiry" at $host-a
show vm
    Unknown epoch 1 host $host-a version 8
    nvram needed, vol2
    tpm Crb, state vol3 on $host-a
    hardware pc-q35-7.2 kvm Uefi+SecureBoot/540672 nic 0 Virtio (asked E1000)
    last error EXPIRED "seen after its expiry" at $host-a
    answered r1 ok, r2 ok, r3 EXPIRED, r4 EXPIRED

# From Unknown nobody knows what ran before, so an expired stop makes no certainty.
stop_vm mode=Forced as r5
    vm.events       StatusChanged Unknown -> Stopping (Request)
    vm.events       Progress Stop StoppingDomain
    $host-a         StopDomain Forced epoch 1
host $host-a answers stop_domain fails EXPIRED "seen after its expiry"
    vm.events       StatusChanged Stopping -> Unknown (OperationFailed) EXPIRED
    vm.events       Reply r5 EXPIRED "seen after its expiry" at $host-a
show vm
    Unknown epoch 1 host $host-a version 10
    nvram needed, vol2
    tpm Crb, state vol3 on $host-a
    hardware pc-q35-7.2 kvm Uefi+SecureBoot/540672 nic 0 Virtio (asked E1000)
    last error EXPIRED "seen after its expiry" at $host-a
    answered r1 ok, r2 ok, r3 EXPIRED, r4 EXPIRED, r5 EXPIRED
stop_vm mode=Forced as r6
    vm.events       StatusChanged Unknown -> Stopping (Request)
    vm.events       Progress Stop StoppingDomain
    $host-a         StopDomain Forced epoch 1
host $host-a answers stop_domain ok reason=NotRunning
    vm.events       StatusChanged Stopping -> Stopped (OperationDone)
    vm.events       Reply r6 ok
