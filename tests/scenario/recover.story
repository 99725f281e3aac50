# Destroy takes nothing away: recover leads back to Stopped, and the same variable store starts again.
given destroyed
    Destroyed with vol2(NvRam Ready) vol1(Root Ready) vol3(TpmState Ready)
recover_vm as r10
    vm.events       StatusChanged Destroyed -> Stopped (Request)
    vm.events       Reply r10 ok
start_vm host_uuid=$host-a as r11
    vm.events       StatusChanged Stopped -> Starting (Request)
    vm.events       Progress Start PreparingVolumes
    volume.commands PrepareVolumes on $host-a nvram_needed Uefi+SecureBoot/540672 pinned expires 00:01:18
    volume.events   VolumesPrepared ok vol1(Root) vol2(NvRam) vol3(TpmState)
    vm.events       Progress Start StartingDomain
    $host-a         StartDomain vol1(Root) vol2(NvRam) vol3(TpmState) nvram_needed Uefi+SecureBoot/540672 hardware as before epoch 2 expires 00:01:16
host $host-a answers start_domain ok
    vm.events       StatusChanged Starting -> Running (OperationDone)
    vm.events       Reply r11 ok
recover_vm as r12
    vm.events       Reply r12 ILLEGAL_STATUS "VM $vm is Running; RecoverVm is legal in: Destroyed"
