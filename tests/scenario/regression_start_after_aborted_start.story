# A start of a Secure Boot VM is broken off, twice. Elsewhere such a VM never started again; here the
# next start takes the variable store and the TPM that were there.
given stopped
    Stopped with vol2(NvRam Ready) vol1(Root Ready) vol3(TpmState Ready)
start_vm host_uuid=$host-a as r4
    vm.events       StatusChanged Stopped -> Starting (Request)
    vm.events       Progress Start PreparingVolumes
    volume.commands PrepareVolumes on $host-a nvram_needed Uefi+SecureBoot/540672 pinned expires 00:01:09
    volume.events   VolumesPrepared ok vol1(Root) vol2(NvRam) vol3(TpmState)
    vm.events       Progress Start StartingDomain
    $host-a         StartDomain vol1(Root) vol2(NvRam) vol3(TpmState) nvram_needed Uefi+SecureBoot/540672 hardware as before epoch 2 expires 00:01:07
stop_vm mode=Forced as r5
    vm.events       Reply r4 PREEMPTED "a forced stop took the place of this request for VM $vm"
    vm.events       StatusChanged Starting -> Stopping (Request)
    vm.events       Progress Stop StoppingDomain
    $host-a         StopDomain Forced epoch 2
host $host-a answers start_domain fails INTERRUPTED "the agent died"
    nothing
host $host-a answers stop_domain ok reason=NotRunning
    vm.events       StatusChanged Stopping -> Stopped (OperationDone)
    vm.events       Reply r5 ok
show vm
    Stopped epoch 2 host $host-a version 10
    nvram needed, vol2
    tpm Crb, state vol3 on $host-a
    hardware pc-q35-7.2 kvm Uefi+SecureBoot/540672 nic 0 Virtio (asked E1000)
    answered r1 ok, r2 ok, r3 ok, r4 PREEMPTED, r5 ok
show volumes
    vol2(NvRam Ready) Raw 540672 of 1048576 bytes on $host-a nvRam/acct-default/vol-vol2/vol2.fd Uefi+SecureBoot/540672
    vol1(Root Ready) Qcow2 196624 of 42949672960 bytes on $host-a rootVolumes/acct-default/vol-vol1/vol1.qcow2
    vol3(TpmState Ready) Directory 4096 of 0 bytes on $host-a tpmState/acct-default/vol-vol3/vol3

# Broken off by a destroy, while the domain comes up after all.
start_vm host_uuid=$host-a as r6
    vm.events       StatusChanged Stopped -> Starting (Request)
    vm.events       Progress Start PreparingVolumes
    volume.commands PrepareVolumes on $host-a nvram_needed Uefi+SecureBoot/540672 pinned expires 00:01:09
    volume.events   VolumesPrepared ok vol1(Root) vol2(NvRam) vol3(TpmState)
    vm.events       Progress Start StartingDomain
    $host-a         StartDomain vol1(Root) vol2(NvRam) vol3(TpmState) nvram_needed Uefi+SecureBoot/540672 hardware as before epoch 3 expires 00:01:07
destroy_vm as r7
    vm.events       Reply r6 PREEMPTED "a destroy took the place of this request for VM $vm"
    vm.events       StatusChanged Starting -> Destroying (Request)
    vm.events       Progress Destroy StoppingDomain
    $host-a         StopDomain Forced epoch 3
host $host-a answers start_domain ok coerced=0
    nothing
host $host-a answers stop_domain ok
    vm.events       StatusChanged Destroying -> Destroyed (OperationDone)
    vm.events       Reply r7 ok
recover_vm as r8
    vm.events       StatusChanged Destroyed -> Stopped (Request)
    vm.events       Reply r8 ok
start_vm host_uuid=$host-a as r9
    vm.events       StatusChanged Stopped -> Starting (Request)
    vm.events       Progress Start PreparingVolumes
    volume.commands PrepareVolumes on $host-a nvram_needed Uefi+SecureBoot/540672 pinned expires 00:01:09
    volume.events   VolumesPrepared ok vol1(Root) vol2(NvRam) vol3(TpmState)
    vm.events       Progress Start StartingDomain
    $host-a         StartDomain vol1(Root) vol2(NvRam) vol3(TpmState) nvram_needed Uefi+SecureBoot/540672 hardware as before epoch 4 expires 00:01:07
host $host-a answers start_domain ok coerced=0
    vm.events       NicCoerced 0 E1000 -> Virtio "NIC 0 runs as Virtio instead of E1000: a vhost-user socket carries virtio only; the Windows guest needs the virtio network driver (NetKVM) installed"
    vm.events       StatusChanged Starting -> Running (OperationDone)
    vm.events       Reply r9 ok
show vm
    Running epoch 4 host $host-a version 18
    nvram needed, vol2
    tpm Crb, state vol3 on $host-a
    hardware pc-q35-7.2 kvm Uefi+SecureBoot/540672 nic 0 Virtio (asked E1000)
    answered r1 ok, r2 ok, r3 ok, r4 PREEMPTED, r5 ok, r6 PREEMPTED, r7 ok, r8 ok, r9 ok
show volumes
    vol2(NvRam Ready) Raw 540672 of 1048576 bytes on $host-a nvRam/acct-default/vol-vol2/vol2.fd Uefi+SecureBoot/540672
    vol1(Root Ready) Qcow2 196624 of 42949672960 bytes on $host-a rootVolumes/acct-default/vol-vol1/vol1.qcow2
    vol3(TpmState Ready) Directory 4096 of 0 bytes on $host-a tpmState/acct-default/vol-vol3/vol3
