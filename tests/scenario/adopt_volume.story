# Several variable stores claim the VM: AdoptVolume says which one is its own; the other is retained.
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
adopt_volume volume_uuid=$host-b as r5
    vm.events       Progress AdoptVolume ChangingVolumes
    volume.commands ChooseVolume $host-b expires 00:01:09
    volume.events   VolumeChosen VOLUME_NOT_FOUND "VM $vm has no variable store $host-b that is Ready or Retained: see ListVolumes"
    vm.events       Reply r5 VOLUME_NOT_FOUND "VM $vm has no variable store $host-b that is Ready or Retained: see ListVolumes"
adopt_volume volume_uuid=$import as r6
    vm.events       Progress AdoptVolume ChangingVolumes
    volume.commands ChooseVolume $import expires 00:01:09
    volume.events   VolumeChanged vol2(NvRam) Ready -> Retained
    volume.events   VolumeChosen ok
    vm.events       Reply r6 ok
show volumes
    vol2(NvRam Retained) Raw 540672 of 1048576 bytes on $host-a nvRam/acct-default/vol-vol2/vol2.fd Uefi+SecureBoot/540672 retained at 00:00:11 next at 30d 00:00:11
    vol1(Root Ready) Qcow2 196624 of 42949672960 bytes on $host-a rootVolumes/acct-default/vol-vol1/vol1.qcow2
    vol3(TpmState Ready) Directory 4096 of 0 bytes on $host-a tpmState/acct-default/vol-vol3/vol3
    $import(NvRam Ready) Raw 540672 of 1048576 bytes on $host-a nvRam/acct-default/old.fd
    deadline at 30d 00:00:11
start_vm host_uuid=$host-a as r7
    vm.events       StatusChanged Stopped -> Starting (Request)
    vm.events       Progress Start PreparingVolumes
    volume.commands PrepareVolumes on $host-a nvram_needed Uefi+SecureBoot/540672 pinned expires 00:01:09
    volume.events   VolumesPrepared ok vol1(Root) $import(NvRam) vol3(TpmState)
    vm.events       Progress Start StartingDomain
    $host-a         StartDomain vol1(Root) $import(NvRam) vol3(TpmState) nvram_needed Uefi+SecureBoot/540672 hardware as before epoch 3 expires 00:01:07
host $host-a answers start_domain ok
    vm.events       StatusChanged Starting -> Running (OperationDone)
    vm.events       Reply r7 ok

# volume-service is away: the VM is busy until the deadline, and a destroy takes the place.
stop_vm mode=Forced as r8
    vm.events       StatusChanged Running -> Stopping (Request)
    vm.events       Progress Stop StoppingDomain
    $host-a         StopDomain Forced epoch 3
host $host-a answers stop_domain ok
    vm.events       StatusChanged Stopping -> Stopped (OperationDone)
    vm.events       Reply r8 ok
down volumes
adopt_volume volume_uuid=$import as r9
    vm.events       Progress AdoptVolume ChangingVolumes
    volume.commands ChooseVolume $import expires 00:01:09
start_vm host_uuid=$host-a as r10
    vm.events       Reply r10 BUSY "VM $vm is Stopped, and its AdoptVolume runs: wait for the reply"
pass 2m
    vm-service      deadline elapsed at 00:01:11
    vm.events       Reply r9 TIMEOUT "the volumes of VM $vm were not changed in time; the change may still come: see ListVolumes"
adopt_volume volume_uuid=$import as r11
    vm.events       Progress AdoptVolume ChangingVolumes
    volume.commands ChooseVolume $import expires 00:03:09
destroy_vm as r12
    vm.events       Reply r11 PREEMPTED "a destroy took the place of this request for VM $vm"
    vm.events       StatusChanged Stopped -> Destroyed (Request)
    vm.events       Reply r12 ok
up volumes
    volume.events   VolumeChosen ok
    volume.events   VolumeChosen ok
show vm
    Destroyed epoch 3 host $host-a version 22
    nvram needed, $import
    tpm Crb, state vol3 on $host-a
    hardware pc-q35-7.2 kvm Uefi+SecureBoot/540672 nic 0 E1000
    answered r1 ok, r2 ok, r3 ok, r4 NVRAM_AMBIGUOUS, r5 VOLUME_NOT_FOUND, r6 ok, r7 ok, r8 ok, r10 BUSY, r9 TIMEOUT, r11 PREEMPTED, r12 ok
