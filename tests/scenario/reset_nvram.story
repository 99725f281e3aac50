# Secure Boot is turned off: the old variables do not fit. ResetNvram records a new generation and
# retains the old one, which no later start picks up by itself.
given stopped
    Stopped with vol2(NvRam Ready) vol1(Root Ready) vol3(TpmState Ready)
update_vm windows spec.secure_boot=Off as r4
    vm.events       Reply r4 ok
start_vm host_uuid=$host-a as r5
    vm.events       StatusChanged Stopped -> Starting (Request)
    vm.events       Progress Start PreparingVolumes
    volume.commands PrepareVolumes on $host-a nvram_needed Uefi expires 00:01:09
    volume.events   VolumesPrepared NVRAM_TEMPLATE_MISMATCH "variable store vol2 of VM $vm was made for another firmware class; the VM now wants Uefi with Secure Boot off: ResetNvram makes a new one and keeps the old"
    vm.events       StatusChanged Starting -> Stopped (OperationFailed) NVRAM_TEMPLATE_MISMATCH
    vm.events       Reply r5 NVRAM_TEMPLATE_MISMATCH "variable store vol2 of VM $vm was made for another firmware class; the VM now wants Uefi with Secure Boot off: ResetNvram makes a new one and keeps the old"
reset_nvram as r6
    vm.events       Progress ResetNvram ChangingVolumes
    volume.commands ReplaceNvram expires 00:01:09
    volume.events   VolumeChanged vol2(NvRam) Ready -> Retained
    volume.events   NvramReplaced ok
    vm.events       Reply r6 ok
show volumes
    vol2(NvRam Retained) Raw 540672 of 1048576 bytes on $host-a nvRam/acct-default/vol-vol2/vol2.fd Uefi+SecureBoot/540672 retained at 00:00:11 next at 30d 00:00:11
    vol1(Root Ready) Qcow2 196624 of 42949672960 bytes on $host-a rootVolumes/acct-default/vol-vol1/vol1.qcow2
    vol3(TpmState Ready) Directory 4096 of 0 bytes on $host-a tpmState/acct-default/vol-vol3/vol3
    vol4(NvRam g2 NotInstantiated) Raw 0 of 1048576 bytes nvRam/acct-default/vol-vol4/vol4.fd Uefi
    deadline at 30d 00:00:11
start_vm host_uuid=$host-a as r7
    vm.events       StatusChanged Stopped -> Starting (Request)
    vm.events       Progress Start PreparingVolumes
    volume.commands PrepareVolumes on $host-a nvram_needed Uefi expires 00:01:09
    volume.events   VolumeChanged vol4(NvRam g2) NotInstantiated -> Creating
    $host-a         CreateVolumes vol4(NvRam g2) Uefi epoch 3 expires 00:01:07
host $host-a answers create_volumes ok
    volume.events   VolumeChanged vol4(NvRam g2) Creating -> Ready
    volume.events   VolumesPrepared ok vol1(Root) vol4(NvRam g2) vol3(TpmState)
    vm.events       Progress Start StartingDomain
    $host-a         StartDomain vol1(Root) vol4(NvRam g2) vol3(TpmState) nvram_needed Uefi hardware as before epoch 3 expires 00:01:07
host $host-a answers start_domain ok
    vm.events       StatusChanged Starting -> Running (OperationDone)
    vm.events       Reply r7 ok
reset_nvram as r8
    vm.events       Reply r8 ILLEGAL_STATUS "VM $vm is Running; ResetNvram is legal in: Created, Stopped, Crashed"
stop_vm mode=Forced as r9
    vm.events       StatusChanged Running -> Stopping (Request)
    vm.events       Progress Stop StoppingDomain
    $host-a         StopDomain Forced epoch 3
host $host-a answers stop_domain ok
    vm.events       StatusChanged Stopping -> Stopped (OperationDone)
    vm.events       Reply r9 ok

# The old one goes when its retention ends, and only that one.
pass 30d
    volume-service  deadline elapsed at 30d 00:00:11
    volume.events   VolumeChanged vol2(NvRam) Retained -> Deleting
    $host-a         DeleteVolumes vol2(NvRam) epoch 3
host $host-a answers delete_volumes ok
    volume.events   VolumeChanged vol2(NvRam) Deleting -> Deleted
    vm.events       VolumeDeleted vol2(NvRam)
show volumes
    vol1(Root Ready) Qcow2 196624 of 42949672960 bytes on $host-a rootVolumes/acct-default/vol-vol1/vol1.qcow2
    vol3(TpmState Ready) Directory 4096 of 0 bytes on $host-a tpmState/acct-default/vol-vol3/vol3
    vol4(NvRam g2 Ready) Raw 540672 of 1048576 bytes on $host-a nvRam/acct-default/vol-vol4/vol4.fd Uefi/540672

# A VM without NVRAM has none to reset.
update_vm windows spec.secure_boot=Off spec.tpm=none as r10
    vm.events       Reply r10 ok
reset_nvram as r11
    vm.events       Reply r11 UNSUPPORTED "VM $vm needs no variable store, so there is none to reset"
