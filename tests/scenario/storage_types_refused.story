# S13: this version keeps volumes on local storage. Others are refused before anything is made.
given machines
create_vm windows spec.storage.type=Nfs as r1
    vm.events       StatusChanged Unspecified -> Created (Request)
    vm.events       Reply r1 ok
start_vm host_uuid=$host-a as r2
    vm.events       StatusChanged Created -> Starting (Request)
    vm.events       Progress Start PreparingVolumes
    volume.commands PrepareVolumes on $host-a nvram_needed Uefi+SecureBoot expires 00:00:58
    volume.events   VolumesPrepared UNSUPPORTED_STORAGE "storage fast of VM $vm is of type Nfs; this version keeps volumes on Local storage only"
    vm.events       StatusChanged Starting -> Created (OperationFailed) UNSUPPORTED_STORAGE
    vm.events       Reply r2 UNSUPPORTED_STORAGE "storage fast of VM $vm is of type Nfs; this version keeps volumes on Local storage only"
plant vm spec.storage.type=SharedMountPoint
start_vm host_uuid=$host-a as r3
    vm.events       StatusChanged Created -> Starting (Request)
    vm.events       Progress Start PreparingVolumes
    volume.commands PrepareVolumes on $host-a nvram_needed Uefi+SecureBoot expires 00:00:58
    volume.events   VolumesPrepared UNSUPPORTED_STORAGE "storage fast of VM $vm is of type SharedMountPoint; this version keeps volumes on Local storage only"
    vm.events       StatusChanged Starting -> Created (OperationFailed) UNSUPPORTED_STORAGE
    vm.events       Reply r3 UNSUPPORTED_STORAGE "storage fast of VM $vm is of type SharedMountPoint; this version keeps volumes on Local storage only"
plant vm spec.storage.type=SharedBlock
start_vm host_uuid=$host-a as r4
    vm.events       StatusChanged Created -> Starting (Request)
    vm.events       Progress Start PreparingVolumes
    volume.commands PrepareVolumes on $host-a nvram_needed Uefi+SecureBoot expires 00:00:58
    volume.events   VolumesPrepared UNSUPPORTED_STORAGE "storage fast of VM $vm is of type SharedBlock; this version keeps volumes on Local storage only"
    vm.events       StatusChanged Starting -> Created (OperationFailed) UNSUPPORTED_STORAGE
    vm.events       Reply r4 UNSUPPORTED_STORAGE "storage fast of VM $vm is of type SharedBlock; this version keeps volumes on Local storage only"
plant vm spec.storage.type=CephRbd
start_vm host_uuid=$host-a as r5
    vm.events       StatusChanged Created -> Starting (Request)
    vm.events       Progress Start PreparingVolumes
    volume.commands PrepareVolumes on $host-a nvram_needed Uefi+SecureBoot expires 00:00:58
    volume.events   VolumesPrepared UNSUPPORTED_STORAGE "storage fast of VM $vm is of type CephRbd; this version keeps volumes on Local storage only"
    vm.events       StatusChanged Starting -> Created (OperationFailed) UNSUPPORTED_STORAGE
    vm.events       Reply r5 UNSUPPORTED_STORAGE "storage fast of VM $vm is of type CephRbd; this version keeps volumes on Local storage only"
show volumes
    no volumes

# Also when only the TPM and the NVRAM need it.
plant vm spec.disks=none
start_vm host_uuid=$host-a as r6
    vm.events       StatusChanged Created -> Starting (Request)
    vm.events       Progress Start PreparingVolumes
    volume.commands PrepareVolumes on $host-a nvram_needed Uefi+SecureBoot expires 00:00:58
    volume.events   VolumesPrepared UNSUPPORTED_STORAGE "storage fast of VM $vm is of type CephRbd; this version keeps volumes on Local storage only"
    vm.events       StatusChanged Starting -> Created (OperationFailed) UNSUPPORTED_STORAGE
    vm.events       Reply r6 UNSUPPORTED_STORAGE "storage fast of VM $vm is of type CephRbd; this version keeps volumes on Local storage only"
show volumes
    no volumes
