# Quarantined until released; what happened to the domain meanwhile is not forgotten.
given running
    Running with vol2(NvRam Ready) vol1(Root Ready) vol3(TpmState Ready)
poison vm
    vm.events       StatusChanged Running -> Quarantined (Poison) QUARANTINED
release_quarantine as r3
    vm.events       StatusChanged Quarantined -> Running (Released)
    vm.events       Reply r3 ok
show vm
    Running epoch 1 host $host-a version 6
    nvram needed, vol2
    tpm Crb, state vol3 on $host-a
    hardware pc-q35-7.2 kvm Uefi+SecureBoot/540672 nic 0 Virtio (asked E1000)
    answered r1 ok, r2 ok, r3 ok
poison vm
    vm.events       StatusChanged Running -> Quarantined (Poison) QUARANTINED
host $host-a reports domain_stopped reason=GuestShutdown
    nothing
release_quarantine as r4
    vm.events       StatusChanged Quarantined -> Stopped (Released)
    vm.events       Reply r4 ok
show vm
    Stopped epoch 1 host $host-a version 9
    nvram needed, vol2
    tpm Crb, state vol3 on $host-a
    hardware pc-q35-7.2 kvm Uefi+SecureBoot/540672 nic 0 Virtio (asked E1000)
    answered r1 ok, r2 ok, r3 ok, r4 ok
