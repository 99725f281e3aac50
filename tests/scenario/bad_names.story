# K5: a name is for people and may be anything that can be shown; what becomes part of a path or of
# another name may not. Control characters and invalid UTF-8 never reach a core: test_bad_input.
given machines
create_vm windows spec.name="" as r1
    vm.events       Reply r1 INVALID_ARGUMENT "spec.name has 0 bytes, 1 to 255 are allowed"
create_vm windows spec.name=n*10000 as r2
    vm.events       Reply r2 INVALID_ARGUMENT "spec.name has 10000 bytes, 1 to 255 are allowed"
create_vm windows spec.account=a*65 as r3
    vm.events       Reply r3 INVALID_ARGUMENT "spec.account is "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa": 1 to 64 of A-Z a-z 0-9 _ . -, not starting with a dot, are allowed"
create_vm windows spec.account=../../etc as r4
    vm.events       Reply r4 INVALID_ARGUMENT "spec.account is "../../etc": 1 to 64 of A-Z a-z 0-9 _ . -, not starting with a dot, are allowed"
create_vm windows spec.account=.hidden as r5
    vm.events       Reply r5 INVALID_ARGUMENT "spec.account is ".hidden": 1 to 64 of A-Z a-z 0-9 _ . -, not starting with a dot, are allowed"
create_vm windows spec.account=<b> as r6
    vm.events       Reply r6 INVALID_ARGUMENT "spec.account is "<b>": 1 to 64 of A-Z a-z 0-9 _ . -, not starting with a dot, are allowed"
create_vm windows spec.storage.name=../fast as r7
    vm.events       Reply r7 INVALID_ARGUMENT "spec.storage is "../fast" of type Local: a name (1 to 64 of A-Z a-z 0-9 _ . -, not starting with a dot) and a type are needed"
create_vm windows spec.storage.name=<storage/> as r8
    vm.events       Reply r8 INVALID_ARGUMENT "spec.storage is "<storage/>" of type Local: a name (1 to 64 of A-Z a-z 0-9 _ . -, not starting with a dot) and a type are needed"
create_vm windows spec.storage.type=Unspecified as r9
    vm.events       Reply r9 INVALID_ARGUMENT "spec.storage is "fast" of type Unspecified: a name (1 to 64 of A-Z a-z 0-9 _ . -, not starting with a dot) and a type are needed"
create_vm windows spec.disks[0].image=../../etc/shadow as r10
    vm.events       Reply r10 INVALID_ARGUMENT "spec.disks[0].image is "../../etc/shadow": a plain file name in the storage's images/ folder is allowed (1 to 255 of A-Z a-z 0-9 _ . -, not starting with a dot)"
create_vm windows spec.disks[0].image=/etc/shadow as r11
    vm.events       Reply r11 INVALID_ARGUMENT "spec.disks[0].image is "/etc/shadow": a plain file name in the storage's images/ folder is allowed (1 to 255 of A-Z a-z 0-9 _ . -, not starting with a dot)"
create_vm windows spec.disks[0].image=.. as r12
    vm.events       Reply r12 INVALID_ARGUMENT "spec.disks[0].image is "..": a plain file name in the storage's images/ folder is allowed (1 to 255 of A-Z a-z 0-9 _ . -, not starting with a dot)"
create_vm windows spec.disks[0].image=i*256 as r13
    vm.events       Reply r13 INVALID_ARGUMENT "spec.disks[0].image is "iiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiii": a plain file name in the storage's images/ folder is allowed (1 to 255 of A-Z a-z 0-9 _ . -, not starting with a dot)"
create_vm windows spec.cdroms[0].image=../root/key as r14
    vm.events       Reply r14 INVALID_ARGUMENT "spec.cdroms[0].image is "../root/key": a plain file name in the storage's images/ folder is allowed (1 to 255 of A-Z a-z 0-9 _ . -, not starting with a dot)"
create_vm windows spec.nics[0].bridge=br0;reboot as r15
    vm.events       Reply r15 INVALID_ARGUMENT "spec.nics[0].bridge is "br0;reboot": 1 to 64 of A-Z a-z 0-9 _ . -, not starting with a dot, are allowed"
create_vm windows spec.nics[0].bridge=../br0 as r16
    vm.events       Reply r16 INVALID_ARGUMENT "spec.nics[0].bridge is "../br0": 1 to 64 of A-Z a-z 0-9 _ . -, not starting with a dot, are allowed"
show vm
    there is no record

# Neither XML nor a path is anything but a name: the domain's XML is written by a library, and no
# file is called by it (golden/special-characters.xml).
create_vm windows 'spec.name=../../</title><script>&".xml' as r17
    vm.events       StatusChanged Unspecified -> Created (Request)
    vm.events       Reply r17 ok
show vm
    Created epoch 0 version 1
    nvram needed, none yet
    tpm Crb, state none yet
    answered r17 ok
