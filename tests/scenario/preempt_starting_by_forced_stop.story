# A forced stop while the host starts the domain, and the start fails by itself.
given starting-domain
    Starting with vol2(NvRam Ready) vol1(Root Ready) vol3(TpmState Ready)
stop_vm mode=Forced as r3
    vm.events       Reply r2 PREEMPTED "a forced stop took the place of this request for VM $vm"
    vm.events       StatusChanged Starting -> Stopping (Request)
    vm.events       Progress Stop StoppingDomain
    $host-a         StopDomain Forced epoch 1
host $host-a answers start_domain fails HYPERVISOR "QEMU exited"
    nothing
host $host-a answers stop_domain ok reason=NotRunning
    vm.events       StatusChanged Stopping -> Stopped (OperationDone)
    vm.events       Reply r3 ok
show vm
    Stopped epoch 1 host $host-a version 5
    nvram needed, vol2
    tpm Crb, state vol3
    answered r1 ok, r2 PREEMPTED, r3 ok
