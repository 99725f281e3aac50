# S21: what cannot work is refused when the VM is made.
given machines
create_vm legacy spec.secure_boot=On as r1
    vm.events       Reply r1 UNSUPPORTED "Secure Boot needs UEFI firmware; this VM has Legacy BIOS"
create_vm legacy spec.tpm={} as r2
    vm.events       Reply r2 UNSUPPORTED "a TPM needs UEFI firmware; this VM has Legacy BIOS"
create_vm windows spec.machine=pc as r3
    vm.events       Reply r3 UNSUPPORTED "UEFI firmware needs a q35 machine; spec.machine is pc"
create_vm windows spec.disks[0].iops_limit=100 spec.disks[0].bus=VhostUser \
  spec.disks[0].socket_path=/run/blk.sock as r4
    vm.events       Reply r4 UNSUPPORTED "spec.disks[0].iops_limit is 100: a vhost-user disk cannot be limited by QEMU; limit it in its back end"
create_vm windows spec.firmware=UefiWithCsm as r5
    vm.events       StatusChanged Unspecified -> Created (Request)
    vm.events       Reply r5 ok
start_vm host_uuid=$host-a as r6
    vm.events       StatusChanged Created -> Starting (Request)
    vm.events       Progress Start PreparingVolumes
    volume.commands PrepareVolumes on $host-a nvram_needed UefiWithCsm+SecureBoot expires 00:00:58
    volume.events   VolumeChanged vol1(Root) NotInstantiated -> Creating
    volume.events   VolumeChanged vol2(NvRam) NotInstantiated -> Creating
    volume.events   VolumeChanged vol3(TpmState) NotInstantiated -> Creating
    $host-a         CreateVolumes vol1(Root) vol2(NvRam) vol3(TpmState) UefiWithCsm+SecureBoot epoch 1 expires 00:00:56
host $host-a answers create_volumes fails NvRam FIRMWARE_NOT_FOUND "no build with CSM is installed"
    volume.events   VolumeChanged vol1(Root) Creating -> Ready
    volume.events   VolumeChanged vol2(NvRam) Creating -> NotInstantiated
    volume.events   VolumeChanged vol3(TpmState) Creating -> NotInstantiated
    volume.events   VolumesPrepared FIRMWARE_NOT_FOUND "no build with CSM is installed" at $host-a
    vm.events       StatusChanged Starting -> Created (OperationFailed) FIRMWARE_NOT_FOUND
    vm.events       Reply r6 FIRMWARE_NOT_FOUND "no build with CSM is installed" at $host-a
show volumes
    vol2(NvRam NotInstantiated) Raw 0 of 1048576 bytes nvRam/acct-default/vol-vol2/vol2.fd UefiWithCsm+SecureBoot
      last error: FIRMWARE_NOT_FOUND "no build with CSM is installed" at $host-a
    vol1(Root Ready) Qcow2 196624 of 42949672960 bytes on $host-a rootVolumes/acct-default/vol-vol1/vol1.qcow2
    vol3(TpmState NotInstantiated) Directory 0 of 0 bytes tpmState/acct-default/vol-vol3/vol3
      last error: FIRMWARE_NOT_FOUND "no build with CSM is installed" at $host-a
