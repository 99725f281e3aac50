# The domain ends before its start was reported: the start has failed, and the volumes stay.
given starting-domain
    Starting with vol2(NvRam Ready) vol1(Root Ready) vol3(TpmState Ready)
host $host-a reports domain_stopped reason=Crashed
    vm.events       StatusChanged Starting -> Created (OperationFailed) INTERRUPTED
    vm.events       Reply r2 INTERRUPTED "the domain of VM $vm ended while its Start was under way"
host $host-a answers start_domain fails HYPERVISOR "QEMU exited"
    nothing
show vm
    Created epoch 1 host $host-a version 4
    nvram needed, vol2
    tpm Crb, state vol3
    last error INTERRUPTED "the domain of VM $vm ended while its Start was under way"
    answered r1 ok, r2 INTERRUPTED
show volumes
    vol2(NvRam Ready) Raw 540672 of 1048576 bytes on $host-a nvRam/acct-default/vol-vol2/vol2.fd Uefi+SecureBoot/540672
    vol1(Root Ready) Qcow2 196624 of 42949672960 bytes on $host-a rootVolumes/acct-default/vol-vol1/vol1.qcow2
    vol3(TpmState Ready) Directory 4096 of 0 bytes on $host-a tpmState/acct-default/vol-vol3/vol3
