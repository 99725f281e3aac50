# UpdateVm replaces the configuration of a VM at rest, and nothing else: volumes and pins stay.
given stopped
    Stopped with vol2(NvRam Ready) vol1(Root Ready) vol3(TpmState Ready)
update_vm windows spec.vcpus=4 spec.nics[1].index=1 spec.nics[1].type=User as r4
    vm.events       Reply r4 ok
show vm
    Stopped epoch 1 host $host-a version 7
    nvram needed, vol2
    tpm Crb, state vol3 on $host-a
    hardware pc-q35-7.2 kvm Uefi+SecureBoot/540672 nic 0 Virtio (asked E1000)
    answered r1 ok, r2 ok, r3 ok, r4 ok
update_vm windows spec.storage.name=other as r5
    vm.events       Reply r5 UNSUPPORTED "VM $vm has been started, so its volumes are on storage fast: they cannot move to another one"
update_vm windows expected_version=3 as r24
    vm.events       Reply r24 VERSION_CONFLICT "VM $vm has version 8 and not 3: it has changed since it was read; read it again"
update_vm windows spec.vcpus=0 as r6
    vm.events       Reply r6 INVALID_ARGUMENT "spec.vcpus is 0, 1 to 512 are allowed"
update_vm windows spec.tpm=none as r7
    vm.events       Reply r7 ok
start_vm host_uuid=$host-a as r8
    vm.events       StatusChanged Stopped -> Starting (Request)
    vm.events       Progress Start PreparingVolumes
    volume.commands PrepareVolumes on $host-a nvram_needed Uefi+SecureBoot/540672 pinned expires 00:01:09
    volume.events   VolumesPrepared ok vol1(Root) vol2(NvRam)
    vm.events       Progress Start StartingDomain
    $host-a         StartDomain vol1(Root) vol2(NvRam) nvram_needed Uefi+SecureBoot/540672 hardware as before epoch 2 expires 00:01:07
host $host-a answers start_domain ok
    vm.events       StatusChanged Starting -> Running (OperationDone)
    vm.events       Reply r8 ok
update_vm windows as r9
    vm.events       Reply r9 ILLEGAL_STATUS "VM $vm is Running; UpdateVm is legal in: Created, Stopped, Crashed"
stop_vm mode=Forced as r10
    vm.events       StatusChanged Running -> Stopping (Request)
    vm.events       Progress Stop StoppingDomain
    $host-a         StopDomain Forced epoch 2
host $host-a answers stop_domain ok
    vm.events       StatusChanged Stopping -> Stopped (OperationDone)
    vm.events       Reply r10 ok

# The TPM comes back with the state that it had.
update_vm windows as r11
    vm.events       Reply r11 ok
start_vm host_uuid=$host-a as r12
    vm.events       StatusChanged Stopped -> Starting (Request)
    vm.events       Progress Start PreparingVolumes
    volume.commands PrepareVolumes on $host-a nvram_needed Uefi+SecureBoot/540672 pinned expires 00:01:09
    volume.events   VolumesPrepared ok vol1(Root) vol2(NvRam) vol3(TpmState)
    vm.events       Progress Start StartingDomain
    $host-a         StartDomain vol1(Root) vol2(NvRam) vol3(TpmState) nvram_needed Uefi+SecureBoot/540672 hardware as before epoch 3 expires 00:01:07
host $host-a answers start_domain ok
    vm.events       StatusChanged Starting -> Running (OperationDone)
    vm.events       Reply r12 ok
show vm
    Running epoch 3 host $host-a version 21
    nvram needed, vol2
    tpm Crb, state vol3 on $host-a
    hardware pc-q35-7.2 kvm Uefi+SecureBoot/540672 nic 0 E1000
    answered r1 ok, r2 ok, r3 ok, r4 ok, r5 UNSUPPORTED, r24 VERSION_CONFLICT, r6 INVALID_ARGUMENT, r7 ok, r8 ok, r9 ILLEGAL_STATUS, r10 ok, r11 ok, r12 ok
