# Row 6: NVRAM is needed and several claim the VM: refused, naming them. Only an import or a bug can
# lead here, so the story plants the second one.
given stopped
    Stopped with vol2(NvRam Ready) vol1(Root Ready) vol3(TpmState Ready)
plant volumes volumes[3].uuid=$import volumes[3].type=NvRam volumes[3].status=Ready \
  volumes[3].format=Raw volumes[3].host_uuid=$host-a volumes[3].storage.name=fast \
  volumes[3].storage.type=Local volumes[3].install_path=nvRam/acct-default/old.fd \
  volumes[3].capacity_bytes=1MiB volumes[3].actual_size_bytes=540672 volumes[3].generation=1
start_vm host_uuid=$host-a as r4
    vm.events       StatusChanged Stopped -> Starting (Request)
    vm.events       Progress Start PreparingVolumes
    volume.commands PrepareVolumes on $host-a nvram_needed Uefi+SecureBoot/540672 pinned expires 00:01:09
    volume.events   VolumesPrepared NVRAM_AMBIGUOUS "VM $vm has several variable stores: vol2 (Ready), $import (Ready); AdoptVolume says which one is its own"
    vm.events       StatusChanged Starting -> Stopped (OperationFailed) NVRAM_AMBIGUOUS
    vm.events       Reply r4 NVRAM_AMBIGUOUS "VM $vm has several variable stores: vol2 (Ready), $import (Ready); AdoptVolume says which one is its own"
list_volumes as r5
    volume.commands ReadVolumes for r5
    volume.events   VolumesRead vol2(NvRam Ready) vol1(Root Ready) vol3(TpmState Ready) $import(NvRam Ready)
    vm.events       Reply r5 ok vol2(NvRam Ready) vol1(Root Ready) vol3(TpmState Ready) $import(NvRam Ready)
adopt_volume volume_uuid=$import as r6
    vm.events       Progress AdoptVolume ChangingVolumes
    volume.commands ChooseVolume $import expires 00:01:09
    volume.events   VolumeChanged vol2(NvRam) Ready -> Retained
    volume.events   VolumeChosen ok
    vm.events       Reply r6 ok

# Expunge knows them all.
destroy_vm as r7
    vm.events       StatusChanged Stopped -> Destroyed (Request)
    vm.events       Reply r7 ok
expunge_vm as r8
    vm.events       StatusChanged Destroyed -> Expunging (Request)
    vm.events       Progress Expunge ExpungingVolumes
    volume.commands ExpungeVolumes expires 00:01:09
    volume.events   VolumeChanged $import(NvRam) Ready -> Deleting
    volume.events   VolumeChanged vol3(TpmState) Ready -> Deleting
    volume.events   VolumeChanged vol1(Root) Ready -> Deleting
    volume.events   VolumeChanged vol2(NvRam) Retained -> Deleting
    $host-a         DeleteVolumes vol2(NvRam) vol1(Root) vol3(TpmState) $import(NvRam) epoch 2
host $host-a answers delete_volumes ok
    volume.events   VolumeChanged vol2(NvRam) Deleting -> Deleted
    volume.events   VolumeChanged vol1(Root) Deleting -> Deleted
    volume.events   VolumeChanged vol3(TpmState) Deleting -> Deleted
    volume.events   VolumeChanged $import(NvRam) Deleting -> Deleted
    volume.events   VolumesExpunged 0 left
    vm.events       VolumeDeleted vol2(NvRam)
    vm.events       VolumeDeleted vol1(Root)
    vm.events       VolumeDeleted vol3(TpmState)
    vm.events       VolumeDeleted $import(NvRam)
    $host-a         ForgetVm epoch 2
    vm.events       StatusChanged Expunging -> Expunged (OperationDone)
    vm.events       Reply r8 ok
