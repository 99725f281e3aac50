# A uuid is used once, also while an operation runs, and for a while after the VM is gone.
given machines
create_vm windows as r1
    vm.events       StatusChanged Unspecified -> Created (Request)
    vm.events       Reply r1 ok
create_vm linux as r2
    vm.events       Reply r2 VM_EXISTS "VM $vm exists and is Created: use another uuid"
start_vm host_uuid=$host-a as r3
    vm.events       StatusChanged Created -> Starting (Request)
    vm.events       Progress Start PreparingVolumes
    volume.commands PrepareVolumes on $host-a nvram_needed Uefi+SecureBoot expires 00:00:58
    volume.events   VolumeChanged vol1(Root) NotInstantiated -> Creating
    volume.events   VolumeChanged vol2(NvRam) NotInstantiated -> Creating
    volume.events   VolumeChanged vol3(TpmState) NotInstantiated -> Creating
    $host-a         CreateVolumes vol1(Root) vol2(NvRam) vol3(TpmState) Uefi+SecureBoot epoch 1 expires 00:00:56
create_vm windows as r4
    vm.events       Reply r4 VM_EXISTS "VM $vm exists and is Starting: use another uuid"
destroy_vm as r5
    vm.events       Reply r3 PREEMPTED "a destroy took the place of this request for VM $vm"
    vm.events       StatusChanged Starting -> Destroyed (Request)
    vm.events       Reply r5 ok
create_vm windows as r6
    vm.events       Reply r6 VM_EXISTS "VM $vm exists and is Destroyed: use another uuid"
expunge_vm as r7
    vm.events       StatusChanged Destroyed -> Expunging (Request)
    vm.events       Progress Expunge ExpungingVolumes
    volume.commands ExpungeVolumes expires 00:00:58
    volume.events   VolumeChanged vol3(TpmState) Creating -> Deleting
    volume.events   VolumeChanged vol1(Root) Creating -> Deleting
    volume.events   VolumeChanged vol2(NvRam) Creating -> Deleting
    $host-a         DeleteVolumes vol2(NvRam) vol1(Root) vol3(TpmState) epoch 1
host $host-a answers create_volumes ok
    nothing
host $host-a answers delete_volumes ok
    volume.events   VolumeChanged vol2(NvRam) Deleting -> Deleted
    volume.events   VolumeChanged vol1(Root) Deleting -> Deleted
    volume.events   VolumeChanged vol3(TpmState) Deleting -> Deleted
    volume.events   VolumesExpunged 0 left
    vm.events       VolumeDeleted vol2(NvRam)
    vm.events       VolumeDeleted vol1(Root)
    vm.events       VolumeDeleted vol3(TpmState)
    $host-a         ForgetVm epoch 1
    vm.events       StatusChanged Expunging -> Expunged (OperationDone)
    vm.events       Reply r7 ok
create_vm windows as r8
    vm.events       Reply r8 VM_EXISTS "VM $vm exists and is Expunged: use another uuid"
