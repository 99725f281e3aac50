# S6: NVRAM lies on the root disk's storage. A VM without one needs a default, or is refused.
given machines
create_vm windows spec.storage=none as r1
    vm.events       Reply r1 INVALID_ARGUMENT "spec.storage is missing, this VM needs volumes, and the deployment has no default storage (option default.storage)"
create_vm windows spec.storage=none spec.disks=none as r2
    vm.events       Reply r2 INVALID_ARGUMENT "spec.storage is missing, this VM needs volumes, and the deployment has no default storage (option default.storage)"
settings default_storage.name=slow default_storage.type=Local
create_vm windows spec.storage=none spec.disks=none as r3
    vm.events       StatusChanged Unspecified -> Created (Request)
    vm.events       Reply r3 ok
start_vm host_uuid=$host-a as r4
    vm.events       StatusChanged Created -> Starting (Request)
    vm.events       Progress Start PreparingVolumes
    volume.commands PrepareVolumes on $host-a nvram_needed Uefi+SecureBoot expires 00:00:58
    volume.events   VolumeChanged vol1(NvRam) NotInstantiated -> Creating
    volume.events   VolumeChanged vol2(TpmState) NotInstantiated -> Creating
    $host-a         CreateVolumes vol1(NvRam) vol2(TpmState) Uefi+SecureBoot epoch 1 expires 00:00:56
host $host-a answers create_volumes ok
    volume.events   VolumeChanged vol1(NvRam) Creating -> Ready
    volume.events   VolumeChanged vol2(TpmState) Creating -> Ready
    volume.events   VolumesPrepared ok vol1(NvRam) vol2(TpmState)
    vm.events       Progress Start StartingDomain
    $host-a         StartDomain vol1(NvRam) vol2(TpmState) nvram_needed Uefi+SecureBoot epoch 1 expires 00:00:56
host $host-a answers start_domain ok coerced=0
    vm.events       NicCoerced 0 E1000 -> Virtio "NIC 0 runs as Virtio instead of E1000: a vhost-user socket carries virtio only; the Windows guest needs the virtio network driver (NetKVM) installed"
    vm.events       StatusChanged Starting -> Running (OperationDone)
    vm.events       Reply r4 ok
show volumes
    vol1(NvRam Ready) Raw 540672 of 1048576 bytes on $host-a nvRam/acct-default/vol-vol1/vol1.fd Uefi+SecureBoot/540672
    vol2(TpmState Ready) Directory 4096 of 0 bytes on $host-a tpmState/acct-default/vol-vol2/vol2
