# S8: the requester hears the first cause; nothing is deleted; the next start resumes.
given machines
create_vm windows as r1
    vm.events       StatusChanged Unspecified -> Created (Request)
    vm.events       Reply r1 ok
start_vm host_uuid=$host-a as r2
    vm.events       StatusChanged Created -> Starting (Request)
    vm.events       Progress Start PreparingVolumes
    volume.commands PrepareVolumes on $host-a nvram_needed Uefi+SecureBoot expires 00:00:58
    volume.events   VolumeChanged vol1(Root) NotInstantiated -> Creating
    volume.events   VolumeChanged vol2(NvRam) NotInstantiated -> Creating
    volume.events   VolumeChanged vol3(TpmState) NotInstantiated -> Creating
    $host-a         CreateVolumes vol1(Root) vol2(NvRam) vol3(TpmState) Uefi+SecureBoot epoch 1 expires 00:00:56
host $host-a answers create_volumes fails STORAGE_FULL "fast has 3 MiB left"
    volume.events   VolumeChanged vol2(NvRam) Creating -> NotInstantiated
    volume.events   VolumeChanged vol1(Root) Creating -> NotInstantiated
    volume.events   VolumeChanged vol3(TpmState) Creating -> NotInstantiated
    volume.events   VolumesPrepared STORAGE_FULL "fast has 3 MiB left" at $host-a
    vm.events       StatusChanged Starting -> Created (OperationFailed) STORAGE_FULL
    vm.events       Reply r2 STORAGE_FULL "fast has 3 MiB left" at $host-a
show vm
    Created epoch 1 version 3
    nvram needed, none yet
    tpm Crb, state none yet
    last error STORAGE_FULL "fast has 3 MiB left" at $host-a
    answered r1 ok, r2 STORAGE_FULL
show volumes
    vol2(NvRam NotInstantiated) Raw 0 of 1048576 bytes nvRam/acct-default/vol-vol2/vol2.fd Uefi+SecureBoot
      last error: STORAGE_FULL "fast has 3 MiB left" at $host-a
    vol1(Root NotInstantiated) Qcow2 0 of 42949672960 bytes rootVolumes/acct-default/vol-vol1/vol1.qcow2
      last error: STORAGE_FULL "fast has 3 MiB left" at $host-a
    vol3(TpmState NotInstantiated) Directory 0 of 0 bytes tpmState/acct-default/vol-vol3/vol3
      last error: STORAGE_FULL "fast has 3 MiB left" at $host-a
start_vm host_uuid=$host-a as r3
    vm.events       StatusChanged Created -> Starting (Request)
    vm.events       Progress Start PreparingVolumes
    volume.commands PrepareVolumes on $host-a nvram_needed Uefi+SecureBoot expires 00:00:58
    volume.events   VolumeChanged vol1(Root) NotInstantiated -> Creating
    volume.events   VolumeChanged vol2(NvRam) NotInstantiated -> Creating
    volume.events   VolumeChanged vol3(TpmState) NotInstantiated -> Creating
    $host-a         CreateVolumes vol1(Root) vol2(NvRam) vol3(TpmState) Uefi+SecureBoot epoch 2 expires 00:00:56
host $host-a answers create_volumes ok
    volume.events   VolumeChanged vol1(Root) Creating -> Ready
    volume.events   VolumeChanged vol2(NvRam) Creating -> Ready
    volume.events   VolumeChanged vol3(TpmState) Creating -> Ready
    volume.events   VolumesPrepared ok vol1(Root) vol2(NvRam) vol3(TpmState)
    vm.events       Progress Start StartingDomain
    $host-a         StartDomain vol1(Root) vol2(NvRam) vol3(TpmState) nvram_needed Uefi+SecureBoot epoch 2 expires 00:00:56
host $host-a answers start_domain ok coerced=0
    vm.events       NicCoerced 0 E1000 -> Virtio "NIC 0 runs as Virtio instead of E1000: a vhost-user socket carries virtio only; the Windows guest needs the virtio network driver (NetKVM) installed"
    vm.events       StatusChanged Starting -> Running (OperationDone)
    vm.events       Reply r3 ok
