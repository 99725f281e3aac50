# S9: a failed start deletes no NVRAM, neither one that it made nor one that was there before.
given starting-domain
    Starting with vol2(NvRam Ready) vol1(Root Ready) vol3(TpmState Ready)
host $host-a answers start_domain fails OVS_UNAVAILABLE "Open vSwitch does not answer"
    vm.events       StatusChanged Starting -> Created (OperationFailed) OVS_UNAVAILABLE
    vm.events       Reply r2 OVS_UNAVAILABLE "Open vSwitch does not answer" at $host-a
show volumes
    vol2(NvRam Ready) Raw 540672 of 1048576 bytes on $host-a nvRam/acct-default/vol-vol2/vol2.fd Uefi+SecureBoot/540672
    vol1(Root Ready) Qcow2 196624 of 42949672960 bytes on $host-a rootVolumes/acct-default/vol-vol1/vol1.qcow2
    vol3(TpmState Ready) Directory 4096 of 0 bytes on $host-a tpmState/acct-default/vol-vol3/vol3
start_vm host_uuid=$host-a as r3
    vm.events       StatusChanged Created -> Starting (Request)
    vm.events       Progress Start PreparingVolumes
    volume.commands PrepareVolumes on $host-a nvram_needed Uefi+SecureBoot expires 00:01:01
    volume.events   VolumesPrepared ok vol1(Root) vol2(NvRam) vol3(TpmState)
    vm.events       Progress Start StartingDomain
    $host-a         StartDomain vol1(Root) vol2(NvRam) vol3(TpmState) nvram_needed Uefi+SecureBoot epoch 2 expires 00:00:59
host $host-a answers start_domain ok coerced=0
    vm.events       NicCoerced 0 E1000 -> Virtio "NIC 0 runs as Virtio instead of E1000: a vhost-user socket carries virtio only; the Windows guest needs the virtio network driver (NetKVM) installed"
    vm.events       StatusChanged Starting -> Running (OperationDone)
    vm.events       Reply r3 ok
stop_vm mode=Forced as r4
    vm.events       StatusChanged Running -> Stopping (Request)
    vm.events       Progress Stop StoppingDomain
    $host-a         StopDomain Forced epoch 2
host $host-a answers stop_domain ok
    vm.events       StatusChanged Stopping -> Stopped (OperationDone)
    vm.events       Reply r4 ok

# A variable store that is gone is a clear error, not a new store.
start_vm host_uuid=$host-a as r5
    vm.events       StatusChanged Stopped -> Starting (Request)
    vm.events       Progress Start PreparingVolumes
    volume.commands PrepareVolumes on $host-a nvram_needed Uefi+SecureBoot/540672 pinned expires 00:01:01
    volume.events   VolumesPrepared ok vol1(Root) vol2(NvRam) vol3(TpmState)
    vm.events       Progress Start StartingDomain
    $host-a         StartDomain vol1(Root) vol2(NvRam) vol3(TpmState) nvram_needed Uefi+SecureBoot/540672 hardware as before epoch 3 expires 00:00:59
host $host-a answers start_domain fails NVRAM_MISSING "the variable store's file is gone"
    vm.events       StatusChanged Starting -> Stopped (OperationFailed) NVRAM_MISSING
    vm.events       Reply r5 NVRAM_MISSING "the variable store's file is gone" at $host-a
show vm
    Stopped epoch 3 host $host-a version 12
    nvram needed, vol2
    tpm Crb, state vol3 on $host-a
    hardware pc-q35-7.2 kvm Uefi+SecureBoot/540672 nic 0 Virtio (asked E1000)
    last error NVRAM_MISSING "the variable store's file is gone" at $host-a
    answered r1 ok, r2 OVS_UNAVAILABLE, r3 ok, r4 ok, r5 NVRAM_MISSING
show volumes
    vol2(NvRam Ready) Raw 540672 of 1048576 bytes on $host-a nvRam/acct-default/vol-vol2/vol2.fd Uefi+SecureBoot/540672
    vol1(Root Ready) Qcow2 196624 of 42949672960 bytes on $host-a rootVolumes/acct-default/vol-vol1/vol1.qcow2
    vol3(TpmState Ready) Directory 4096 of 0 bytes on $host-a tpmState/acct-default/vol-vol3/vol3
start_vm host_uuid=$host-a as r6
    vm.events       StatusChanged Stopped -> Starting (Request)
    vm.events       Progress Start PreparingVolumes
    volume.commands PrepareVolumes on $host-a nvram_needed Uefi+SecureBoot/540672 pinned expires 00:01:01
    volume.events   VolumesPrepared ok vol1(Root) vol2(NvRam) vol3(TpmState)
    vm.events       Progress Start StartingDomain
    $host-a         StartDomain vol1(Root) vol2(NvRam) vol3(TpmState) nvram_needed Uefi+SecureBoot/540672 hardware as before epoch 4 expires 00:00:59
host $host-a answers start_domain ok coerced=0
    vm.events       NicCoerced 0 E1000 -> Virtio "NIC 0 runs as Virtio instead of E1000: a vhost-user socket carries virtio only; the Windows guest needs the virtio network driver (NetKVM) installed"
    vm.events       StatusChanged Starting -> Running (OperationDone)
    vm.events       Reply r6 ok
