# Row 3: NVRAM is needed and there is one of another firmware class: refused, and nothing is made.
given stopped
    Stopped with vol2(NvRam Ready) vol1(Root Ready) vol3(TpmState Ready)
update_vm windows spec.secure_boot=Off as r10
    vm.events       Reply r10 ok
start_vm host_uuid=$host-a as r4
    vm.events       StatusChanged Stopped -> Starting (Request)
    vm.events       Progress Start PreparingVolumes
    volume.commands PrepareVolumes on $host-a nvram_needed Uefi expires 00:01:09
    volume.events   VolumesPrepared NVRAM_TEMPLATE_MISMATCH "variable store vol2 of VM $vm was made for another firmware class; the VM now wants Uefi with Secure Boot off: ResetNvram makes a new one and keeps the old"
    vm.events       StatusChanged Starting -> Stopped (OperationFailed) NVRAM_TEMPLATE_MISMATCH
    vm.events       Reply r4 NVRAM_TEMPLATE_MISMATCH "variable store vol2 of VM $vm was made for another firmware class; the VM now wants Uefi with Secure Boot off: ResetNvram makes a new one and keeps the old"
show volumes
    vol2(NvRam Ready) Raw 540672 of 1048576 bytes on $host-a nvRam/acct-default/vol-vol2/vol2.fd Uefi+SecureBoot/540672
    vol1(Root Ready) Qcow2 196624 of 42949672960 bytes on $host-a rootVolumes/acct-default/vol-vol1/vol1.qcow2
    vol3(TpmState Ready) Directory 4096 of 0 bytes on $host-a tpmState/acct-default/vol-vol3/vol3

# Back as it was, the same volume starts again.
update_vm windows as r11
    vm.events       Reply r11 ok
start_vm host_uuid=$host-a as r5
    vm.events       StatusChanged Stopped -> Starting (Request)
    vm.events       Progress Start PreparingVolumes
    volume.commands PrepareVolumes on $host-a nvram_needed Uefi+SecureBoot/540672 pinned expires 00:01:09
    volume.events   VolumesPrepared ok vol1(Root) vol2(NvRam) vol3(TpmState)
    vm.events       Progress Start StartingDomain
    $host-a         StartDomain vol1(Root) vol2(NvRam) vol3(TpmState) nvram_needed Uefi+SecureBoot/540672 hardware as before epoch 3 expires 00:01:07
host $host-a answers start_domain ok coerced=0
    vm.events       NicCoerced 0 E1000 -> Virtio "NIC 0 runs as Virtio instead of E1000: a vhost-user socket carries virtio only; the Windows guest needs the virtio network driver (NetKVM) installed"
    vm.events       StatusChanged Starting -> Running (OperationDone)
    vm.events       Reply r5 ok

# The same with a Retained one: it stays Retained.
stop_vm mode=Forced as r6
    vm.events       StatusChanged Running -> Stopping (Request)
    vm.events       Progress Stop StoppingDomain
    $host-a         StopDomain Forced epoch 3
host $host-a answers stop_domain ok
    vm.events       StatusChanged Stopping -> Stopped (OperationDone)
    vm.events       Reply r6 ok
update_vm windows spec.secure_boot=Off as r12
    vm.events       Reply r12 ok
plant volumes volumes[0].status=Retained
start_vm host_uuid=$host-a as r7
    vm.events       StatusChanged Stopped -> Starting (Request)
    vm.events       Progress Start PreparingVolumes
    volume.commands PrepareVolumes on $host-a nvram_needed Uefi expires 00:01:09
    volume.events   VolumesPrepared NVRAM_TEMPLATE_MISMATCH "variable store vol2 of VM $vm was made for another firmware class; the VM now wants Uefi with Secure Boot off: ResetNvram makes a new one and keeps the old"
    vm.events       StatusChanged Starting -> Stopped (OperationFailed) NVRAM_TEMPLATE_MISMATCH
    vm.events       Reply r7 NVRAM_TEMPLATE_MISMATCH "variable store vol2 of VM $vm was made for another firmware class; the VM now wants Uefi with Secure Boot off: ResetNvram makes a new one and keeps the old"
show volumes
    vol2(NvRam Retained) Raw 540672 of 1048576 bytes on $host-a nvRam/acct-default/vol-vol2/vol2.fd Uefi+SecureBoot/540672
    vol1(Root Ready) Qcow2 196624 of 42949672960 bytes on $host-a rootVolumes/acct-default/vol-vol1/vol1.qcow2
    vol3(TpmState Ready) Directory 4096 of 0 bytes on $host-a tpmState/acct-default/vol-vol3/vol3
