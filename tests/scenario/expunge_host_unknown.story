# The host's topic is gone: asked again until it is back.
given destroyed
    Destroyed with vol2(NvRam Ready) vol1(Root Ready) vol3(TpmState Ready)
host $host-a is unknown
expunge_vm as r5
    vm.events       StatusChanged Destroyed -> Expunging (Request)
    vm.events       Progress Expunge ExpungingVolumes
    volume.commands ExpungeVolumes expires 00:01:18
    volume.events   VolumeChanged vol3(TpmState) Ready -> Deleting
    volume.events   VolumeChanged vol1(Root) Ready -> Deleting
    volume.events   VolumeChanged vol2(NvRam) Ready -> Deleting
    $host-a         DeleteVolumes vol2(NvRam) vol1(Root) vol3(TpmState) epoch 1
    $host-a         is unknown
    volume.events   VolumeWarning vol2 HOST_UNKNOWN "host $host-a has no command topic; the deletion is tried again later"
    volume.events   VolumeWarning vol1 HOST_UNKNOWN "host $host-a has no command topic; the deletion is tried again later"
    volume.events   VolumeWarning vol3 HOST_UNKNOWN "host $host-a has no command topic; the deletion is tried again later"
    volume.events   VolumesExpunged 3 left
    vm.events       Warning vol2 HOST_UNKNOWN "host $host-a has no command topic; the deletion is tried again later"
    vm.events       Warning vol1 HOST_UNKNOWN "host $host-a has no command topic; the deletion is tried again later"
    vm.events       Warning vol3 HOST_UNKNOWN "host $host-a has no command topic; the deletion is tried again later"
    vm.events       Warning STORAGE_IO "3 volume(s) of VM $vm could not be deleted yet; the deletion is tried again until nothing is left"
    $host-a         ForgetVm epoch 1
    vm.events       StatusChanged Expunging -> Expunged (OperationDone)
    vm.events       Reply r5 ok
    $host-a         is unknown
pass 1m
    volume-service  deadline elapsed at 00:00:40
    $host-a         DeleteVolumes vol2(NvRam) vol1(Root) vol3(TpmState) epoch 1
    $host-a         is unknown
    volume.events   VolumeWarning vol2 HOST_UNKNOWN "host $host-a has no command topic; the deletion is tried again later"
    volume.events   VolumeWarning vol1 HOST_UNKNOWN "host $host-a has no command topic; the deletion is tried again later"
    volume.events   VolumeWarning vol3 HOST_UNKNOWN "host $host-a has no command topic; the deletion is tried again later"
    vm.events       Warning vol2 HOST_UNKNOWN "host $host-a has no command topic; the deletion is tried again later"
    vm.events       Warning vol1 HOST_UNKNOWN "host $host-a has no command topic; the deletion is tried again later"
    vm.events       Warning vol3 HOST_UNKNOWN "host $host-a has no command topic; the deletion is tried again later"
    volume-service  deadline elapsed at 00:01:20
    $host-a         DeleteVolumes vol2(NvRam) vol1(Root) vol3(TpmState) epoch 1
    $host-a         is unknown
    volume.events   VolumeWarning vol2 HOST_UNKNOWN "host $host-a has no command topic; the deletion is tried again later"
    volume.events   VolumeWarning vol1 HOST_UNKNOWN "host $host-a has no command topic; the deletion is tried again later"
    volume.events   VolumeWarning vol3 HOST_UNKNOWN "host $host-a has no command topic; the deletion is tried again later"
    vm.events       Warning vol2 HOST_UNKNOWN "host $host-a has no command topic; the deletion is tried again later"
    vm.events       Warning vol1 HOST_UNKNOWN "host $host-a has no command topic; the deletion is tried again later"
    vm.events       Warning vol3 HOST_UNKNOWN "host $host-a has no command topic; the deletion is tried again later"
host $host-a is known
pass 2m
    volume-service  deadline elapsed at 00:02:40
    $host-a         DeleteVolumes vol2(NvRam) vol1(Root) vol3(TpmState) epoch 1
host $host-a answers delete_volumes ok
    volume.events   VolumeChanged vol2(NvRam) Deleting -> Deleted
    volume.events   VolumeChanged vol1(Root) Deleting -> Deleted
    volume.events   VolumeChanged vol3(TpmState) Deleting -> Deleted
    vm.events       VolumeDeleted vol2(NvRam)
    vm.events       VolumeDeleted vol1(Root)
    vm.events       VolumeDeleted vol3(TpmState)
show volumes
    there is no record
