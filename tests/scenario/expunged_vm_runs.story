# libvirt makes a domain after all when its VM is expunged and its host has forgotten it. It goes, and
# what the host keeps of it since.
given destroyed
    Destroyed with vol2(NvRam Ready) vol1(Root Ready) vol3(TpmState Ready)
expunge_vm as r5
    vm.events       StatusChanged Destroyed -> Expunging (Request)
    vm.events       Progress Expunge ExpungingVolumes
    volume.commands ExpungeVolumes expires 00:01:18
    volume.events   VolumeChanged vol3(TpmState) Ready -> Deleting
    volume.events   VolumeChanged vol1(Root) Ready -> Deleting
    volume.events   VolumeChanged vol2(NvRam) Ready -> Deleting
    $host-a         DeleteVolumes vol2(NvRam) vol1(Root) vol3(TpmState) epoch 1
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
    vm.events       Reply r5 ok
host $host-a answers forget_vm ok
    nothing
host $host-a reports domain_observed epoch=1 running=true
    $host-a         ForgetVm epoch 1
    vm.events       Warning STALE_EPOCH "host $host-a still runs VM $vm of epoch 1, which the VM has left; it is stopped there by force"
host $host-a answers forget_vm ok
    nothing
show vm
    Expunged epoch 1 host $host-a version 9
    deadline at 15d 00:00:20
    answered r1 ok, r2 ok, r3 ok, r4 ok, r5 ok
