# volume-service is down: the requester is told that the deletion goes on by itself, and it does.
given destroyed
    Destroyed with vol2(NvRam Ready) vol1(Root Ready) vol3(TpmState Ready)
down volumes
expunge_vm as r5
    vm.events       StatusChanged Destroyed -> Expunging (Request)
    vm.events       Progress Expunge ExpungingVolumes
    volume.commands ExpungeVolumes expires 00:01:18
pass 90s
    vm-service      deadline elapsed at 00:01:20
    vm.events       Reply r5 TIMEOUT "VM $vm is not expunged yet; the deletion goes on by itself"
    vm.events       Progress Expunge ExpungingVolumes
    volume.commands ExpungeVolumes expires 00:02:18
show vm
    Expunging epoch 1 host $host-a version 9
    operation op3 Expunge ExpungingVolumes for nobody until 00:02:20
    deadline at 00:02:20
    nvram needed, vol2
    tpm Crb, state vol3 on $host-a
    hardware pc-q35-7.2 kvm Uefi+SecureBoot/540672 nic 0 Virtio (asked E1000)
    answered r1 ok, r2 ok, r3 ok, r4 ok, r5 TIMEOUT
up volumes
    volume.events   VolumeChanged vol3(TpmState) Ready -> Deleting
    volume.events   VolumeChanged vol1(Root) Ready -> Deleting
    volume.events   VolumeChanged vol2(NvRam) Ready -> Deleting
    $host-a         DeleteVolumes vol2(NvRam) vol1(Root) vol3(TpmState) epoch 1
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
show vm
    Expunged epoch 1 host $host-a version 10
    deadline at 15d 00:01:50
    answered r1 ok, r2 ok, r3 ok, r4 ok, r5 TIMEOUT
show volumes
    there is no record
