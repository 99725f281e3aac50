# The forced stop that took the start's place comes too late: whether anything runs is not known.
given starting-domain
    Starting with vol2(NvRam Ready) vol1(Root Ready) vol3(TpmState Ready)
stop_vm mode=Forced as r3
    vm.events       Reply r2 PREEMPTED "a forced stop took the place of this request for VM $vm"
    vm.events       StatusChanged Starting -> Stopping (Request)
    vm.events       Progress Stop StoppingDomain
    $host-a         StopDomain Forced epoch 1 expires 00:00:59
host $host-a answers start_domain fails HYPERVISOR "QEMU exited"
    nothing
host $host-a answers stop_domain fails EXPIRED "seen after its expiry"
    vm.events       StatusChanged Stopping -> Unknown (OperationFailed) EXPIRED
    vm.events       Reply r3 EXPIRED "seen after its expiry" at $host-a
show vm
    Unknown epoch 1 host $host-a version 5
    nvram needed, vol2
    tpm Crb, state vol3
    last error EXPIRED "seen after its expiry" at $host-a
    answered r1 ok, r2 PREEMPTED, r3 EXPIRED
host $host-a reports domain_observed running=false
    vm.events       StatusChanged Unknown -> Stopped (HostReport)
