# An older agent answers a command that it does not know with an error and nothing else: the operation
# fails at once, and says so.
given running
    Running with vol2(NvRam Ready) vol1(Root Ready) vol3(TpmState Ready)
attach_nic nic.index=1 nic.type=User as r3
    vm.events       Progress AttachNic ChangingDevice
    $host-a         AttachDevice nic 1 epoch 1 expires 00:01:01
host $host-a answers attach_device refuses UNKNOWN_COMMAND "this agent does not know the command"
    vm.events       Reply r3 UNKNOWN_COMMAND "this agent does not know the command" at $host-a
reboot_vm as r4
    vm.events       StatusChanged Running -> Rebooting (Request)
    vm.events       Progress Reboot StoppingDomain
    $host-a         StopDomain Graceful epoch 1 expires 00:01:01
host $host-a answers stop_domain refuses UNKNOWN_COMMAND "this agent does not know the command"
    vm.events       StatusChanged Rebooting -> Unknown (OperationFailed) UNKNOWN_COMMAND
    vm.events       Reply r4 UNKNOWN_COMMAND "this agent does not know the command" at $host-a
host $host-a reports domain_observed running=true
    vm.events       StatusChanged Unknown -> Running (HostReport)
stop_vm mode=Forced as r5
    vm.events       StatusChanged Running -> Stopping (Request)
    vm.events       Progress Stop StoppingDomain
    $host-a         StopDomain Forced epoch 1
host $host-a answers stop_domain ok
    vm.events       StatusChanged Stopping -> Stopped (OperationDone)
    vm.events       Reply r5 ok
start_vm host_uuid=$host-a as r6
    vm.events       StatusChanged Stopped -> Starting (Request)
    vm.events       Progress Start PreparingVolumes
    volume.commands PrepareVolumes on $host-a nvram_needed Uefi+SecureBoot/540672 pinned expires 00:01:03
    volume.events   VolumesPrepared ok vol1(Root) vol2(NvRam) vol3(TpmState)
    vm.events       Progress Start StartingDomain
    $host-a         StartDomain vol1(Root) vol2(NvRam) vol3(TpmState) nvram_needed Uefi+SecureBoot/540672 hardware as before epoch 2 expires 00:01:01
host $host-a answers start_domain refuses UNKNOWN_COMMAND "this agent does not know the command"
    vm.events       StatusChanged Starting -> Stopped (OperationFailed) UNKNOWN_COMMAND
    vm.events       Reply r6 UNKNOWN_COMMAND "this agent does not know the command" at $host-a
show vm
    Stopped epoch 2 host $host-a version 14
    nvram needed, vol2
    tpm Crb, state vol3 on $host-a
    hardware pc-q35-7.2 kvm Uefi+SecureBoot/540672 nic 0 Virtio (asked E1000)
    last error UNKNOWN_COMMAND "this agent does not know the command" at $host-a
    answered r1 ok, r2 ok, r3 UNKNOWN_COMMAND, r4 UNKNOWN_COMMAND, r5 ok, r6 UNKNOWN_COMMAND
