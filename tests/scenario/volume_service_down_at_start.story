# volume-service is down: the start times out by vm-service's own clock. When it comes back it finds
# the old request expired and makes nothing, so another host may be named.
given created
    Created
down volumes
start_vm host_uuid=$host-a as r2
    vm.events       StatusChanged Created -> Starting (Request)
    vm.events       Progress Start PreparingVolumes
    volume.commands PrepareVolumes on $host-a nvram_needed Uefi+SecureBoot expires 00:00:58
pass 2m
    vm-service      deadline elapsed at 00:01:00
    vm.events       StatusChanged Starting -> Created (OperationFailed) TIMEOUT
    vm.events       Reply r2 TIMEOUT "the volumes of VM $vm were not ready in time: start it again"
show vm
    Created epoch 1 version 3
    nvram needed, none yet
    tpm Crb, state none yet
    last error TIMEOUT "the volumes of VM $vm were not ready in time: start it again"
    answered r1 ok, r2 TIMEOUT
up volumes
    volume.events   VolumesPrepared TIMEOUT "the volumes of VM $vm were not ready in time: ask again"
start_vm host_uuid=$host-b as r3
    vm.events       StatusChanged Created -> Starting (Request)
    vm.events       Progress Start PreparingVolumes
    volume.commands PrepareVolumes on $host-b nvram_needed Uefi+SecureBoot expires 00:02:58
    volume.events   VolumeChanged vol1(Root) NotInstantiated -> Creating
    volume.events   VolumeChanged vol2(NvRam) NotInstantiated -> Creating
    volume.events   VolumeChanged vol3(TpmState) NotInstantiated -> Creating
    $host-b         CreateVolumes vol1(Root) vol2(NvRam) vol3(TpmState) Uefi+SecureBoot epoch 2 expires 00:02:56
host $host-b answers create_volumes ok
    volume.events   VolumeChanged vol1(Root) Creating -> Ready
    volume.events   VolumeChanged vol2(NvRam) Creating -> Ready
    volume.events   VolumeChanged vol3(TpmState) Creating -> Ready
    volume.events   VolumesPrepared ok vol1(Root) vol2(NvRam) vol3(TpmState)
    vm.events       Progress Start StartingDomain
    $host-b         StartDomain vol1(Root) vol2(NvRam) vol3(TpmState) nvram_needed Uefi+SecureBoot epoch 2 expires 00:02:56
host $host-b answers start_domain ok coerced=0
    vm.events       NicCoerced 0 E1000 -> Virtio "NIC 0 runs as Virtio instead of E1000: a vhost-user socket carries virtio only; the Windows guest needs the virtio network driver (NetKVM) installed"
    vm.events       StatusChanged Starting -> Running (OperationDone)
    vm.events       Reply r3 ok
