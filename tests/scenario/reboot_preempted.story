# A destroy or a forced stop takes the place of a reboot, in each of its phases.
given running
    Running with vol2(NvRam Ready) vol1(Root Ready) vol3(TpmState Ready)
reboot_vm as r3
    vm.events       StatusChanged Running -> Rebooting (Request)
    vm.events       Progress Reboot StoppingDomain
    $host-a         StopDomain Graceful epoch 1 expires 00:01:01
stop_vm as r4
    vm.events       Reply r4 BUSY "VM $vm is Rebooting; only a forced stop is legal there"
stop_vm mode=Forced as r5
    vm.events       Reply r3 PREEMPTED "a forced stop took the place of this request for VM $vm"
    vm.events       StatusChanged Rebooting -> Stopping (Request)
    vm.events       Progress Stop StoppingDomain
    $host-a         StopDomain Forced epoch 1
host $host-a answers stop_domain fails PREEMPTED "a forced stop waits"
    nothing
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
host $host-a answers start_domain ok
    vm.events       StatusChanged Starting -> Running (OperationDone)
    vm.events       Reply r6 ok

# While volumes are prepared nothing runs.
down volumes
reboot_vm as r7
    vm.events       StatusChanged Running -> Rebooting (Request)
    vm.events       Progress Reboot StoppingDomain
    $host-a         StopDomain Graceful epoch 2 expires 00:01:01
host $host-a answers stop_domain ok
    vm.events       Progress Reboot PreparingVolumes
    volume.commands PrepareVolumes on $host-a nvram_needed Uefi+SecureBoot/540672 pinned expires 00:01:03
destroy_vm as r8
    vm.events       Reply r7 PREEMPTED "a destroy took the place of this request for VM $vm"
    vm.events       StatusChanged Rebooting -> Destroyed (Request)
    vm.events       Reply r8 ok
up volumes
    volume.events   VolumesPrepared ok vol1(Root) vol2(NvRam) vol3(TpmState)
recover_vm as r9
    vm.events       StatusChanged Destroyed -> Stopped (Request)
    vm.events       Reply r9 ok
start_vm host_uuid=$host-a as r10
    vm.events       StatusChanged Stopped -> Starting (Request)
    vm.events       Progress Start PreparingVolumes
    volume.commands PrepareVolumes on $host-a nvram_needed Uefi+SecureBoot/540672 pinned expires 00:01:03
    volume.events   VolumesPrepared ok vol1(Root) vol2(NvRam) vol3(TpmState)
    vm.events       Progress Start StartingDomain
    $host-a         StartDomain vol1(Root) vol2(NvRam) vol3(TpmState) nvram_needed Uefi+SecureBoot/540672 hardware as before epoch 4 expires 00:01:01
host $host-a answers start_domain ok coerced=0
    vm.events       NicCoerced 0 E1000 -> Virtio "NIC 0 runs as Virtio instead of E1000: a vhost-user socket carries virtio only; the Windows guest needs the virtio network driver (NetKVM) installed"
    vm.events       StatusChanged Starting -> Running (OperationDone)
    vm.events       Reply r10 ok

# While the domain starts.
reboot_vm as r11
    vm.events       StatusChanged Running -> Rebooting (Request)
    vm.events       Progress Reboot StoppingDomain
    $host-a         StopDomain Graceful epoch 4 expires 00:01:01
host $host-a answers stop_domain ok
    vm.events       Progress Reboot PreparingVolumes
    volume.commands PrepareVolumes on $host-a nvram_needed Uefi+SecureBoot/540672 pinned expires 00:01:03
    volume.events   VolumesPrepared ok vol1(Root) vol2(NvRam) vol3(TpmState)
    vm.events       Progress Reboot StartingDomain
    $host-a         StartDomain vol1(Root) vol2(NvRam) vol3(TpmState) nvram_needed Uefi+SecureBoot/540672 hardware as before epoch 5 expires 00:01:01
destroy_vm as r12
    vm.events       Reply r11 PREEMPTED "a destroy took the place of this request for VM $vm"
    vm.events       StatusChanged Rebooting -> Destroying (Request)
    vm.events       Progress Destroy StoppingDomain
    $host-a         StopDomain Forced epoch 5
host $host-a answers start_domain ok
    nothing
host $host-a answers stop_domain ok
    vm.events       StatusChanged Destroying -> Destroyed (OperationDone)
    vm.events       Reply r12 ok
show vm
    Destroyed epoch 5 host $host-a version 24
    nvram needed, vol2
    tpm Crb, state vol3 on $host-a
    hardware pc-q35-7.2 kvm Uefi+SecureBoot/540672 nic 0 E1000
    answered r1 ok, r2 ok, r4 BUSY, r3 PREEMPTED, r5 ok, r6 ok, r7 PREEMPTED, r8 ok, r9 ok, r10 ok, r11 PREEMPTED, r12 ok
