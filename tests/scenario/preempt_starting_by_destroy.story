# A destroy while the host starts the domain: the host is asked to stop it. It works in order, so the
# start's own answer comes first; the hardware that the guest saw is kept.
given starting-domain
    Starting with vol2(NvRam Ready) vol1(Root Ready) vol3(TpmState Ready)
destroy_vm as r3
    vm.events       Reply r2 PREEMPTED "a destroy took the place of this request for VM $vm"
    vm.events       StatusChanged Starting -> Destroying (Request)
    vm.events       Progress Destroy StoppingDomain
    $host-a         StopDomain Forced epoch 1
host $host-a answers start_domain ok coerced=0
    vm.events       NicCoerced 0 E1000 -> Virtio "NIC 0 runs as Virtio instead of E1000: a vhost-user socket carries virtio only; the Windows guest needs the virtio network driver (NetKVM) installed"
host $host-a answers stop_domain ok
    vm.events       StatusChanged Destroying -> Destroyed (OperationDone)
    vm.events       Reply r3 ok
show vm
    Destroyed epoch 1 host $host-a version 6
    nvram needed, vol2
    tpm Crb, state vol3 on $host-a
    hardware pc-q35-7.2 kvm Uefi+SecureBoot/540672 nic 0 Virtio (asked E1000)
    answered r1 ok, r2 PREEMPTED, r3 ok
