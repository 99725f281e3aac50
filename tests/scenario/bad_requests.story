# What a request can get wrong, and what it hears. Without a VM nothing is recorded.
given machines
create_vm as r1
    vm.events       Reply r1 INVALID_ARGUMENT "the spec is missing"
create_vm windows spec.name="" as r2
    vm.events       Reply r2 INVALID_ARGUMENT "spec.name has 0 bytes, 1 to 255 are allowed"
create_vm windows spec.account=../etc as r3
    vm.events       Reply r3 INVALID_ARGUMENT "spec.account is "../etc": 1 to 64 of A-Z a-z 0-9 _ . -, not starting with a dot, are allowed"
create_vm windows spec.vcpus=0 as r4
    vm.events       Reply r4 INVALID_ARGUMENT "spec.vcpus is 0, 1 to 512 are allowed"
create_vm windows spec.memory_bytes=1000000 as r5
    vm.events       Reply r5 INVALID_ARGUMENT "spec.memory_bytes is 1000000: 16 MiB to 16 TiB, in whole MiB, are allowed"
create_vm windows spec.disks[1].type=Root spec.disks[1].index=1 spec.disks[1].size_bytes=1GiB as r6
    vm.events       Reply r6 INVALID_ARGUMENT "spec.disks[1].type is Root a second time: a VM has at most one root disk"
create_vm windows spec.nics[0].type=Unspecified as r7
    vm.events       Reply r7 INVALID_ARGUMENT "spec.nics[0].type is missing: Bridge, VhostUser or User is allowed"
create_vm windows spec.nics[1].type=User spec.nics[1].index=0 as r8
    vm.events       Reply r8 INVALID_ARGUMENT "spec.nics[1].index 0 stands twice: each NIC needs its own"
create_vm windows spec.platform=99 as r9
    vm.events       Reply r9 INVALID_ARGUMENT "field create_vm.spec.platform has the unknown value 99"
create_vm windows timeout_ms=1s as r10
    vm.events       Reply r10 INVALID_ARGUMENT "timeout_ms is 1000: 0, or 10000 to 3600000, is allowed"
show vm
    there is no record

create_vm windows as r11
    vm.events       StatusChanged Unspecified -> Created (Request)
    vm.events       Reply r11 ok
no_command as r12
    vm.events       Reply r12 UNKNOWN_COMMAND "the request holds no command that this version knows: update virtbus, or mend the producer"
start_vm as r13
    vm.events       Reply r13 INVALID_ARGUMENT "start_vm.host_uuid is no lower-case uuid: name the host on which VM $vm shall run"
start_vm host_uuid=HOST as r14
    vm.events       Reply r14 INVALID_ARGUMENT "start_vm.host_uuid is no lower-case uuid: name the host on which VM $vm shall run"
start_vm host_uuid=$host-a timeout_ms=2h as r15
    vm.events       Reply r15 INVALID_ARGUMENT "timeout_ms is 7200000: 0, or 10000 to 3600000, is allowed"
stop_vm mode=17 as r16
    vm.events       Reply r16 INVALID_ARGUMENT "field stop_vm.mode has the unknown value 17"
show vm
    Created epoch 0 version 5
    nvram needed, none yet
    tpm Crb, state none yet
    answered r11 ok, r12 UNKNOWN_COMMAND, r13 INVALID_ARGUMENT, r14 INVALID_ARGUMENT, r15 INVALID_ARGUMENT
