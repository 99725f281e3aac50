# A Windows VM with Secure Boot, TPM and a vhost-user NIC, from its making to its last trace.
given machines

at 00:00:01 create_vm windows as r1
    vm.events       StatusChanged Unspecified -> Created (Request)
    vm.events       Reply r1 ok
show vm
    Created epoch 0 version 1
    nvram needed, none yet
    tpm Crb, state none yet
    answered r1 ok

# The first start makes what is missing: root disk, variable store, TPM state.
at 00:00:02 start_vm host_uuid=$host-a as r2
    vm.events       StatusChanged Created -> Starting (Request)
    vm.events       Progress Start PreparingVolumes
    volume.commands PrepareVolumes on $host-a nvram_needed Uefi+SecureBoot expires 00:01:00
    volume.events   VolumeChanged vol1(Root) NotInstantiated -> Creating
    volume.events   VolumeChanged vol2(NvRam) NotInstantiated -> Creating
    volume.events   VolumeChanged vol3(TpmState) NotInstantiated -> Creating
    $host-a         CreateVolumes vol1(Root) vol2(NvRam) vol3(TpmState) Uefi+SecureBoot epoch 1 expires 00:00:58
at 00:00:03 host $host-a answers create_volumes ok
    volume.events   VolumeChanged vol1(Root) Creating -> Ready
    volume.events   VolumeChanged vol2(NvRam) Creating -> Ready
    volume.events   VolumeChanged vol3(TpmState) Creating -> Ready
    volume.events   VolumesPrepared ok vol1(Root) vol2(NvRam) vol3(TpmState)
    vm.events       Progress Start StartingDomain
    $host-a         StartDomain vol1(Root) vol2(NvRam) vol3(TpmState) nvram_needed Uefi+SecureBoot epoch 1 expires 00:00:58
at 00:00:05 host $host-a answers start_domain ok coerced=0
    vm.events       NicCoerced 0 E1000 -> Virtio "NIC 0 runs as Virtio instead of E1000: a vhost-user socket carries virtio only; the Windows guest needs the virtio network driver (NetKVM) installed"
    vm.events       StatusChanged Starting -> Running (OperationDone)
    vm.events       Reply r2 ok
show vm
    Running epoch 1 host $host-a version 4
    nvram needed, vol2
    tpm Crb, state vol3 on $host-a
    hardware pc-q35-7.2 kvm Uefi+SecureBoot/540672 nic 0 Virtio (asked E1000)
    answered r1 ok, r2 ok
show volumes
    vol2(NvRam Ready) Raw 540672 of 1048576 bytes on $host-a nvRam/acct-default/vol-vol2/vol2.fd Uefi+SecureBoot/540672
    vol1(Root Ready) Qcow2 196624 of 42949672960 bytes on $host-a rootVolumes/acct-default/vol-vol1/vol1.qcow2
    vol3(TpmState Ready) Directory 4096 of 0 bytes on $host-a tpmState/acct-default/vol-vol3/vol3

at 00:10:00 stop_vm mode=Forced as r3
    vm.events       StatusChanged Running -> Stopping (Request)
    vm.events       Progress Stop StoppingDomain
    $host-a         StopDomain Forced epoch 1
at 00:10:01 host $host-a answers stop_domain ok
    vm.events       StatusChanged Stopping -> Stopped (OperationDone)
    vm.events       Reply r3 ok

# The second start makes nothing: the same volumes, the same hardware.
at 00:20:00 start_vm host_uuid=$host-a as r4
    vm.events       StatusChanged Stopped -> Starting (Request)
    vm.events       Progress Start PreparingVolumes
    volume.commands PrepareVolumes on $host-a nvram_needed Uefi+SecureBoot/540672 pinned expires 00:20:58
    volume.events   VolumesPrepared ok vol1(Root) vol2(NvRam) vol3(TpmState)
    vm.events       Progress Start StartingDomain
    $host-a         StartDomain vol1(Root) vol2(NvRam) vol3(TpmState) nvram_needed Uefi+SecureBoot/540672 hardware as before epoch 2 expires 00:20:56
at 00:20:02 host $host-a answers start_domain ok coerced=0
    vm.events       NicCoerced 0 E1000 -> Virtio "NIC 0 runs as Virtio instead of E1000: a vhost-user socket carries virtio only; the Windows guest needs the virtio network driver (NetKVM) installed"
    vm.events       StatusChanged Starting -> Running (OperationDone)
    vm.events       Reply r4 ok
at 00:30:00 list_volumes as r5
    volume.commands ReadVolumes for r5
    volume.events   VolumesRead vol2(NvRam Ready) vol1(Root Ready) vol3(TpmState Ready)
    vm.events       Reply r5 ok vol2(NvRam Ready) vol1(Root Ready) vol3(TpmState Ready)

# Destroy stops it and keeps every volume; expunge leaves nothing.
at 00:40:00 destroy_vm as r6
    vm.events       StatusChanged Running -> Destroying (Request)
    vm.events       Progress Destroy StoppingDomain
    $host-a         StopDomain Forced epoch 2
at 00:40:01 host $host-a answers stop_domain ok
    vm.events       StatusChanged Destroying -> Destroyed (OperationDone)
    vm.events       Reply r6 ok
show volumes
    vol2(NvRam Ready) Raw 540672 of 1048576 bytes on $host-a nvRam/acct-default/vol-vol2/vol2.fd Uefi+SecureBoot/540672
    vol1(Root Ready) Qcow2 196624 of 42949672960 bytes on $host-a rootVolumes/acct-default/vol-vol1/vol1.qcow2
    vol3(TpmState Ready) Directory 4096 of 0 bytes on $host-a tpmState/acct-default/vol-vol3/vol3
at 00:50:00 expunge_vm as r7
    vm.events       StatusChanged Destroyed -> Expunging (Request)
    vm.events       Progress Expunge ExpungingVolumes
    volume.commands ExpungeVolumes expires 00:50:58
    volume.events   VolumeChanged vol3(TpmState) Ready -> Deleting
    volume.events   VolumeChanged vol1(Root) Ready -> Deleting
    volume.events   VolumeChanged vol2(NvRam) Ready -> Deleting
    $host-a         DeleteVolumes vol2(NvRam) vol1(Root) vol3(TpmState) epoch 2
at 00:50:02 host $host-a answers delete_volumes ok
    volume.events   VolumeChanged vol2(NvRam) Deleting -> Deleted
    volume.events   VolumeChanged vol1(Root) Deleting -> Deleted
    volume.events   VolumeChanged vol3(TpmState) Deleting -> Deleted
    volume.events   VolumesExpunged 0 left
    vm.events       VolumeDeleted vol2(NvRam)
    vm.events       VolumeDeleted vol1(Root)
    vm.events       VolumeDeleted vol3(TpmState)
    $host-a         ForgetVm epoch 2
    vm.events       StatusChanged Expunging -> Expunged (OperationDone)
    vm.events       Reply r7 ok
show volumes
    there is no record
host $host-a answers forget_vm ok
    nothing

# Its uuid stays taken for a while; then the last record goes.
create_vm windows as r8
    vm.events       Reply r8 VM_EXISTS "VM $vm exists and is Expunged: use another uuid"
show vm
    Expunged epoch 2 host $host-a version 14
    deadline at 15d 00:50:02
    answered r1 ok, r2 ok, r3 ok, r4 ok, r6 ok, r7 ok, r8 VM_EXISTS
pass 14d
    nothing
pass 1d
    vm-service      deadline elapsed at 15d 00:50:02
show vm
    there is no record
