# A record that no step could handle: the VM is Quarantined, what ran is answered, reads go on.
given starting-domain
    Starting with vol2(NvRam Ready) vol1(Root Ready) vol3(TpmState Ready)
poison vm
    vm.events       StatusChanged Starting -> Quarantined (Poison) QUARANTINED
    vm.events       Reply r2 QUARANTINED "a record of VM $vm could not be handled: vm.commands-3@41, the step failed three times; see the DLQ, then ReleaseQuarantine"
show vm
    Quarantined epoch 1 host $host-a version 4
    nvram needed, vol2
    tpm Crb, state vol3
    last error QUARANTINED "a record of VM $vm could not be handled: vm.commands-3@41, the step failed three times; see the DLQ, then ReleaseQuarantine"
    answered r1 ok, r2 QUARANTINED
start_vm host_uuid=$host-a as r3
    vm.events       Reply r3 QUARANTINED "VM $vm is Quarantined; StartVm is legal in: Created, Stopped, Crashed"
destroy_vm as r4
    vm.events       Reply r4 QUARANTINED "VM $vm is Quarantined; DestroyVm is legal in: Created, Starting, Running, Stopping, Stopped, Rebooting, Migrating, Paused, Crashed, Unknown"
get_vm as r5
    vm.events       Reply r5 ok vm Quarantined epoch 1
list_volumes as r6
    volume.commands ReadVolumes for r6
    volume.events   VolumesRead vol2(NvRam Ready) vol1(Root Ready) vol3(TpmState Ready)
    vm.events       Reply r6 ok vol2(NvRam Ready) vol1(Root Ready) vol3(TpmState Ready)
host $host-a answers start_domain ok coerced=0
    vm.events       NicCoerced 0 E1000 -> Virtio "NIC 0 runs as Virtio instead of E1000: a vhost-user socket carries virtio only; the Windows guest needs the virtio network driver (NetKVM) installed"
poison vm
    nothing
