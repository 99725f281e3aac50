# Row 4: NVRAM is needed and there is one that is NotInstantiated or Creating: the same is resumed,
# never a second.
given machines
create_vm windows as r1
    vm.events       StatusChanged Unspecified -> Created (Request)
    vm.events       Reply r1 ok

# The host makes the root disk and refuses the rest: that is NotInstantiated again.
start_vm host_uuid=$host-a as r2
    vm.events       StatusChanged Created -> Starting (Request)
    vm.events       Progress Start PreparingVolumes
    volume.commands PrepareVolumes on $host-a nvram_needed Uefi+SecureBoot expires 00:00:58
    volume.events   VolumeChanged vol1(Root) NotInstantiated -> Creating
    volume.events   VolumeChanged vol2(NvRam) NotInstantiated -> Creating
    volume.events   VolumeChanged vol3(TpmState) NotInstantiated -> Creating
    $host-a         CreateVolumes vol1(Root) vol2(NvRam) vol3(TpmState) Uefi+SecureBoot epoch 1 expires 00:00:56
host $host-a answers create_volumes fails NvRam STORAGE_FULL "no space for the variable store"
    volume.events   VolumeChanged vol1(Root) Creating -> Ready
    volume.events   VolumeChanged vol2(NvRam) Creating -> NotInstantiated
    volume.events   VolumeChanged vol3(TpmState) Creating -> NotInstantiated
    volume.events   VolumesPrepared STORAGE_FULL "no space for the variable store" at $host-a
    vm.events       StatusChanged Starting -> Created (OperationFailed) STORAGE_FULL
    vm.events       Reply r2 STORAGE_FULL "no space for the variable store" at $host-a
show volumes
    vol2(NvRam NotInstantiated) Raw 0 of 1048576 bytes nvRam/acct-default/vol-vol2/vol2.fd Uefi+SecureBoot
      last error: STORAGE_FULL "no space for the variable store" at $host-a
    vol1(Root Ready) Qcow2 196624 of 42949672960 bytes on $host-a rootVolumes/acct-default/vol-vol1/vol1.qcow2
    vol3(TpmState NotInstantiated) Directory 0 of 0 bytes tpmState/acct-default/vol-vol3/vol3
      last error: STORAGE_FULL "no space for the variable store" at $host-a

# The host says nothing: what is on disk is not known, the volume stays Creating.
start_vm host_uuid=$host-a as r3
    vm.events       StatusChanged Created -> Starting (Request)
    vm.events       Progress Start PreparingVolumes
    volume.commands PrepareVolumes on $host-a nvram_needed Uefi+SecureBoot expires 00:00:58
    volume.events   VolumeChanged vol2(NvRam) NotInstantiated -> Creating
    volume.events   VolumeChanged vol3(TpmState) NotInstantiated -> Creating
    $host-a         CreateVolumes vol2(NvRam) vol3(TpmState) Uefi+SecureBoot epoch 2 expires 00:00:56
pass 2m
    volume-service  deadline elapsed at 00:00:58
    volume.events   VolumesPrepared TIMEOUT "the volumes of VM $vm were not ready in time: ask again"
    vm.events       StatusChanged Starting -> Created (OperationFailed) TIMEOUT
    vm.events       Reply r3 TIMEOUT "the volumes of VM $vm were not ready in time: ask again"
show volumes
    vol2(NvRam Creating) Raw 0 of 1048576 bytes on $host-a nvRam/acct-default/vol-vol2/vol2.fd Uefi+SecureBoot
    vol1(Root Ready) Qcow2 196624 of 42949672960 bytes on $host-a rootVolumes/acct-default/vol-vol1/vol1.qcow2
    vol3(TpmState Creating) Directory 0 of 0 bytes on $host-a tpmState/acct-default/vol-vol3/vol3

# The third start asks for the same volume once more, and gets it.
start_vm host_uuid=$host-a as r4
    vm.events       StatusChanged Created -> Starting (Request)
    vm.events       Progress Start PreparingVolumes
    volume.commands PrepareVolumes on $host-a nvram_needed Uefi+SecureBoot expires 00:02:58
    $host-a         CreateVolumes vol2(NvRam) vol3(TpmState) Uefi+SecureBoot epoch 3 expires 00:02:56
host $host-a answers create_volumes fails EXPIRED "seen after its expiry"
    nothing
host $host-a answers create_volumes ok
    volume.events   VolumeChanged vol2(NvRam) Creating -> Ready
    volume.events   VolumeChanged vol3(TpmState) Creating -> Ready
    volume.events   VolumesPrepared ok vol1(Root) vol2(NvRam) vol3(TpmState)
    vm.events       Progress Start StartingDomain
    $host-a         StartDomain vol1(Root) vol2(NvRam) vol3(TpmState) nvram_needed Uefi+SecureBoot epoch 3 expires 00:02:56
host $host-a answers start_domain ok coerced=0
    vm.events       NicCoerced 0 E1000 -> Virtio "NIC 0 runs as Virtio instead of E1000: a vhost-user socket carries virtio only; the Windows guest needs the virtio network driver (NetKVM) installed"
    vm.events       StatusChanged Starting -> Running (OperationDone)
    vm.events       Reply r4 ok
show volumes
    vol2(NvRam Ready) Raw 540672 of 1048576 bytes on $host-a nvRam/acct-default/vol-vol2/vol2.fd Uefi+SecureBoot/540672
    vol1(Root Ready) Qcow2 196624 of 42949672960 bytes on $host-a rootVolumes/acct-default/vol-vol1/vol1.qcow2
    vol3(TpmState Ready) Directory 4096 of 0 bytes on $host-a tpmState/acct-default/vol-vol3/vol3
