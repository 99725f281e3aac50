# Volumes that a host may have made are deleted too; one that was never asked for just goes.
given starting
    Starting with vol2(NvRam Creating) vol1(Root Creating) vol3(TpmState Creating)
destroy_vm as r3
    vm.events       Reply r2 PREEMPTED "a destroy took the place of this request for VM $vm"
    vm.events       StatusChanged Starting -> Destroyed (Request)
    vm.events       Reply r3 ok
expunge_vm as r4
    vm.events       StatusChanged Destroyed -> Expunging (Request)
    vm.events       Progress Expunge ExpungingVolumes
    volume.commands ExpungeVolumes expires 00:01:00
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
    vm.events       Reply r4 ok
show volumes
    there is no record
