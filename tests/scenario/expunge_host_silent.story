# The host says nothing: the VM's record is done at the deadline; the deletion goes on by itself.
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
pass 1m
    volume-service  deadline elapsed at 00:00:30
    $host-a         DeleteVolumes vol2(NvRam) vol1(Root) vol3(TpmState) epoch 1
    volume-service  deadline elapsed at 00:00:50
    $host-a         DeleteVolumes vol2(NvRam) vol1(Root) vol3(TpmState) epoch 1
    volume-service  deadline elapsed at 00:01:18
    volume.events   VolumesExpunged 3 left
    vm.events       Warning STORAGE_IO "3 volume(s) of VM $vm could not be deleted yet; the deletion is tried again until nothing is left"
    $host-a         ForgetVm epoch 1
    vm.events       StatusChanged Expunging -> Expunged (OperationDone)
    vm.events       Reply r5 ok
show vm
    Expunged epoch 1 host $host-a version 9
    deadline at 15d 00:01:18
    answered r1 ok, r2 ok, r3 ok, r4 ok, r5 ok
show volumes
    vol2(NvRam Deleting) Raw 540672 of 1048576 bytes on $host-a nvRam/acct-default/vol-vol2/vol2.fd Uefi+SecureBoot/540672 next at 00:01:30
    vol1(Root Deleting) Qcow2 196624 of 42949672960 bytes on $host-a rootVolumes/acct-default/vol-vol1/vol1.qcow2 next at 00:01:30
    vol3(TpmState Deleting) Directory 4096 of 0 bytes on $host-a tpmState/acct-default/vol-vol3/vol3 next at 00:01:30
    the VM is expunged
    deadline at 00:01:30
host $host-a answers delete_volumes ok
    volume.events   VolumeChanged vol2(NvRam) Deleting -> Deleted
    volume.events   VolumeChanged vol1(Root) Deleting -> Deleted
    volume.events   VolumeChanged vol3(TpmState) Deleting -> Deleted
    vm.events       VolumeDeleted vol2(NvRam)
    vm.events       VolumeDeleted vol1(Root)
    vm.events       VolumeDeleted vol3(TpmState)
show volumes
    there is no record
