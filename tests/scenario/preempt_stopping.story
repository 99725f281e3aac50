# A graceful stop gives way to a forced one, and that to a destroy; nothing takes a destroy's place.
given running
    Running with vol2(NvRam Ready) vol1(Root Ready) vol3(TpmState Ready)
stop_vm as r3
    vm.events       StatusChanged Running -> Stopping (Request)
    vm.events       Progress Stop StoppingDomain
    $host-a         StopDomain Graceful epoch 1 expires 00:01:01
stop_vm mode=Forced as r4
    vm.events       Reply r3 PREEMPTED "a forced stop took the place of this request for VM $vm"
    vm.events       Progress Stop StoppingDomain
    $host-a         StopDomain Forced epoch 1
destroy_vm as r5
    vm.events       Reply r4 PREEMPTED "a destroy took the place of this request for VM $vm"
    vm.events       StatusChanged Stopping -> Destroying (Request)
    vm.events       Progress Destroy StoppingDomain
    $host-a         StopDomain Forced epoch 1
stop_vm mode=Forced as r6
    vm.events       Reply r6 BUSY "VM $vm is Destroying; StopVm is legal in: Starting, Running, Stopping, Rebooting, Migrating, Paused, Unknown"
destroy_vm as r7
    vm.events       Reply r7 BUSY "VM $vm is Destroying; DestroyVm is legal in: Created, Starting, Running, Stopping, Stopped, Rebooting, Migrating, Paused, Crashed, Unknown"
host $host-a answers stop_domain fails GUEST_DID_NOT_STOP "given up for another command"
    nothing
host $host-a answers stop_domain ok
    vm.events       StatusChanged Destroying -> Destroyed (OperationDone)
    vm.events       Reply r5 ok
host $host-a answers stop_domain ok reason=NotRunning
    nothing
show vm
    Destroyed epoch 1 host $host-a version 10
    nvram needed, vol2
    tpm Crb, state vol3 on $host-a
    hardware pc-q35-7.2 kvm Uefi+SecureBoot/540672 nic 0 Virtio (asked E1000)
    answered r1 ok, r2 ok, r3 PREEMPTED, r4 PREEMPTED, r6 BUSY, r7 BUSY, r5 ok
