# S18: one volume's failure is a warning, the rest goes on, and it is retried until it is gone.
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
host $host-a answers delete_volumes fails NvRam STORAGE_IO "the file is immutable"
    volume.events   VolumeWarning vol2 STORAGE_IO "the file is immutable" at $host-a
    volume.events   VolumeChanged vol1(Root) Deleting -> Deleted
    volume.events   VolumeChanged vol3(TpmState) Deleting -> Deleted
    volume.events   VolumesExpunged 1 left
    vm.events       Warning vol2 STORAGE_IO "the file is immutable" at $host-a
    vm.events       VolumeDeleted vol1(Root)
    vm.events       VolumeDeleted vol3(TpmState)
    vm.events       Warning STORAGE_IO "1 volume(s) of VM $vm could not be deleted yet; the deletion is tried again until nothing is left"
    $host-a         ForgetVm epoch 1
    vm.events       StatusChanged Expunging -> Expunged (OperationDone)
    vm.events       Reply r5 ok
show vm
    Expunged epoch 1 host $host-a version 9
    deadline at 15d 00:00:20
    answered r1 ok, r2 ok, r3 ok, r4 ok, r5 ok
show volumes
    vol2(NvRam Deleting) Raw 540672 of 1048576 bytes on $host-a nvRam/acct-default/vol-vol2/vol2.fd Uefi+SecureBoot/540672 next at 00:00:40
      last error: STORAGE_IO "the file is immutable" at $host-a, failure 1 in a row
    the VM is expunged
    deadline at 00:00:40
pass 1m
    volume-service  deadline elapsed at 00:00:40
    $host-a         DeleteVolumes vol2(NvRam) epoch 1
    volume-service  deadline elapsed at 00:01:00
    $host-a         DeleteVolumes vol2(NvRam) epoch 1
host $host-a answers delete_volumes fails NvRam STORAGE_IO "the file is immutable"
    volume.events   VolumeWarning vol2 STORAGE_IO "the file is immutable" at $host-a
    vm.events       Warning vol2 STORAGE_IO "the file is immutable" at $host-a
pass 2m
    volume-service  deadline elapsed at 00:02:40
    $host-a         DeleteVolumes vol2(NvRam) epoch 1
show volumes
    vol2(NvRam Deleting) Raw 540672 of 1048576 bytes on $host-a nvRam/acct-default/vol-vol2/vol2.fd Uefi+SecureBoot/540672 next at 00:04:00
      last error: STORAGE_IO "the file is immutable" at $host-a, failure 4 in a row
    the VM is expunged
    deadline at 00:04:00
host $host-a answers delete_volumes ok
    volume.events   VolumeChanged vol2(NvRam) Deleting -> Deleted
    vm.events       VolumeDeleted vol2(NvRam)
show volumes
    there is no record
