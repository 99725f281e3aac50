# A destroy takes the place of a start that waits for its volumes: nothing can run anywhere.
given starting
    Starting with vol2(NvRam Creating) vol1(Root Creating) vol3(TpmState Creating)
destroy_vm as r3
    vm.events       Reply r2 PREEMPTED "a destroy took the place of this request for VM $vm"
    vm.events       StatusChanged Starting -> Destroyed (Request)
    vm.events       Reply r3 ok
host $host-a answers create_volumes ok
    volume.events   VolumeChanged vol1(Root) Creating -> Ready
    volume.events   VolumeChanged vol2(NvRam) Creating -> Ready
    volume.events   VolumeChanged vol3(TpmState) Creating -> Ready
    volume.events   VolumesPrepared ok vol1(Root) vol2(NvRam) vol3(TpmState)
show vm
    Destroyed epoch 1 version 3
    nvram needed, none yet
    tpm Crb, state none yet
    answered r1 ok, r2 PREEMPTED, r3 ok
show volumes
    vol2(NvRam Ready) Raw 540672 of 1048576 bytes on $host-a nvRam/acct-default/vol-vol2/vol2.fd Uefi+SecureBoot/540672
    vol1(Root Ready) Qcow2 196624 of 42949672960 bytes on $host-a rootVolumes/acct-default/vol-vol1/vol1.qcow2
    vol3(TpmState Ready) Directory 4096 of 0 bytes on $host-a tpmState/acct-default/vol-vol3/vol3
