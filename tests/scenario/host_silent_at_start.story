# The host never answers StartDomain: only after its expiry, a whole start and the clocks' skew is
# that a fact. Then the VM is Unknown, until the host says otherwise.
given starting-domain
    Starting with vol2(NvRam Ready) vol1(Root Ready) vol3(TpmState Ready)
pass 1m
    nothing
pass 2m
    vm-service      deadline elapsed at 00:02:03
    vm.events       StatusChanged Starting -> Unknown (HostSilent) HOST_SILENT
    vm.events       Reply r2 HOST_SILENT "host $host-a did not answer in time; VM $vm is Unknown until the host reports, or ConfirmHostDown says that it is down and fenced"
show vm
    Unknown epoch 1 host $host-a version 4
    nvram needed, vol2
    tpm Crb, state vol3
    last error HOST_SILENT "host $host-a did not answer in time; VM $vm is Unknown until the host reports, or ConfirmHostDown says that it is down and fenced"
    answered r1 ok, r2 HOST_SILENT
start_vm host_uuid=$host-b as r3
    vm.events       Reply r3 ILLEGAL_STATUS "VM $vm is Unknown; StartVm is legal in: Created, Stopped, Crashed"
host $host-a answers start_domain ok coerced=0
    vm.events       NicCoerced 0 E1000 -> Virtio "NIC 0 runs as Virtio instead of E1000: a vhost-user socket carries virtio only; the Windows guest needs the virtio network driver (NetKVM) installed"
    vm.events       StatusChanged Unknown -> Running (HostReport)
show vm
    Running epoch 1 host $host-a version 6
    nvram needed, vol2
    tpm Crb, state vol3 on $host-a
    hardware pc-q35-7.2 kvm Uefi+SecureBoot/540672 nic 0 Virtio (asked E1000)
    answered r1 ok, r2 HOST_SILENT, r3 ILLEGAL_STATUS
