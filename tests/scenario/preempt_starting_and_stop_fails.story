# The forced stop that took the start's place fails too: whether anything runs is not known.
given starting-domain
    Starting with vol2(NvRam Ready) vol1(Root Ready) vol3(TpmState Ready)
stop_vm mode=Forced as r3
    vm.events       Reply r2 PREEMPTED "a forced stop took the place of this request for VM $vm"
    vm.events       StatusChanged Starting -> Stopping (Request)
    vm.events       Progress Stop StoppingDomain
    $host-a         StopDomain Forced epoch 1
host $host-a answers start_domain fails HYPERVISOR "QEMU exited"
    nothing
host $host-a answers stop_domain fails HYPERVISOR "libvirt refuses"
    vm.events       StatusChanged Stopping -> Unknown (OperationFailed) HYPERVISOR
    vm.events       Reply r3 HYPERVISOR "libvirt refuses" at $host-a
show vm
    Unknown epoch 1 host $host-a version 5
    nvram needed, vol2
    tpm Crb, state vol3
    last error HYPERVISOR "libvirt refuses" at $host-a
    answered r1 ok, r2 PREEMPTED, r3 HYPERVISOR
host $host-a reports domain_observed running=false
    vm.events       StatusChanged Unknown -> Stopped (HostReport)
