# S5: Secure Boot is off unless asked for; a deployment may turn it on, for UEFI only.
given machines
settings secure_boot_default=On
create_vm linux as r1
    vm.events       StatusChanged Unspecified -> Created (Request)
    vm.events       Reply r1 ok
start_vm host_uuid=$host-a as r2
    vm.events       StatusChanged Created -> Starting (Request)
    vm.events       Progress Start PreparingVolumes
    volume.commands PrepareVolumes on $host-a nvram_needed Uefi+SecureBoot expires 00:00:58
    volume.events   VolumeChanged vol1(Root) NotInstantiated -> Creating
    volume.events   VolumeChanged vol2(NvRam) NotInstantiated -> Creating
    $host-a         CreateVolumes vol1(Root) vol2(NvRam) Uefi+SecureBoot epoch 1 expires 00:00:56
host $host-a answers create_volumes ok
    volume.events   VolumeChanged vol1(Root) Creating -> Ready
    volume.events   VolumeChanged vol2(NvRam) Creating -> Ready
    volume.events   VolumesPrepared ok vol1(Root) vol2(NvRam)
    vm.events       Progress Start StartingDomain
    $host-a         StartDomain vol1(Root) vol2(NvRam) nvram_needed Uefi+SecureBoot epoch 1 expires 00:00:56
host $host-a answers start_domain ok
    vm.events       StatusChanged Starting -> Running (OperationDone)
    vm.events       Reply r2 ok
destroy_vm as r3
    vm.events       StatusChanged Running -> Destroying (Request)
    vm.events       Progress Destroy StoppingDomain
    $host-a         StopDomain Forced epoch 1
host $host-a answers stop_domain ok
    vm.events       StatusChanged Destroying -> Destroyed (OperationDone)
    vm.events       Reply r3 ok
expunge_vm as r4
    vm.events       StatusChanged Destroyed -> Expunging (Request)
    vm.events       Progress Expunge ExpungingVolumes
    volume.commands ExpungeVolumes expires 00:00:58
    volume.events   VolumeChanged vol1(Root) Ready -> Deleting
    volume.events   VolumeChanged vol2(NvRam) Ready -> Deleting
    $host-a         DeleteVolumes vol2(NvRam) vol1(Root) epoch 1
host $host-a answers delete_volumes ok
    volume.events   VolumeChanged vol2(NvRam) Deleting -> Deleted
    volume.events   VolumeChanged vol1(Root) Deleting -> Deleted
    volume.events   VolumesExpunged 0 left
    vm.events       VolumeDeleted vol2(NvRam)
    vm.events       VolumeDeleted vol1(Root)
    $host-a         ForgetVm epoch 1
    vm.events       StatusChanged Expunging -> Expunged (OperationDone)
    vm.events       Reply r4 ok
pass 16d
    vm-service      deadline elapsed at 15d 00:00:00
create_vm legacy as r5
    vm.events       StatusChanged Unspecified -> Created (Request)
    vm.events       Reply r5 ok
start_vm host_uuid=$host-a as r6
    vm.events       StatusChanged Created -> Starting (Request)
    vm.events       Progress Start PreparingVolumes
    volume.commands PrepareVolumes on $host-a expires 16d 00:00:58
    volume.events   VolumeChanged vol2(Root) NotInstantiated -> Creating
    $host-a         CreateVolumes vol2(Root) epoch 1 expires 16d 00:00:56
host $host-a answers create_volumes ok
    volume.events   VolumeChanged vol2(Root) Creating -> Ready
    volume.events   VolumesPrepared ok vol2(Root)
    vm.events       Progress Start StartingDomain
    $host-a         StartDomain vol2(Root) epoch 1 expires 16d 00:00:56
host $host-a answers start_domain ok
    vm.events       StatusChanged Starting -> Running (OperationDone)
    vm.events       Reply r6 ok
show vm
    Running epoch 1 host $host-a version 4
    hardware pc-q35-7.2 kvm
    answered r5 ok, r6 ok
