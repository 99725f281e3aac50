# A VM that never started has nothing to delete, and no host to tell.
given created
    Created
destroy_vm as r2
    vm.events       StatusChanged Created -> Destroyed (Request)
    vm.events       Reply r2 ok
expunge_vm as r3
    vm.events       StatusChanged Destroyed -> Expunging (Request)
    vm.events       Progress Expunge ExpungingVolumes
    volume.commands ExpungeVolumes expires 00:00:58
    volume.events   VolumesExpunged 0 left
    vm.events       StatusChanged Expunging -> Expunged (OperationDone)
    vm.events       Reply r3 ok
show vm
    Expunged epoch 0 version 4
    deadline at 15d 00:00:00
    answered r1 ok, r2 ok, r3 ok
show volumes
    there is no record
