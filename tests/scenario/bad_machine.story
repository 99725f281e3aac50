# K5: what no machine can be made of, with the field, the value and what is allowed.
given machines
create_vm windows spec.vcpus=0 as r1
    vm.events       Reply r1 INVALID_ARGUMENT "spec.vcpus is 0, 1 to 512 are allowed"
create_vm windows spec.vcpus=4294967295 as r2
    vm.events       Reply r2 INVALID_ARGUMENT "spec.vcpus is 4294967295, 1 to 512 are allowed"
create_vm windows spec.memory_bytes=0 as r3
    vm.events       Reply r3 INVALID_ARGUMENT "spec.memory_bytes is 0: 16 MiB to 16 TiB, in whole MiB, are allowed"
create_vm windows spec.memory_bytes=15MiB as r4
    vm.events       Reply r4 INVALID_ARGUMENT "spec.memory_bytes is 15728640: 16 MiB to 16 TiB, in whole MiB, are allowed"
create_vm windows spec.memory_bytes=17TiB as r5
    vm.events       Reply r5 INVALID_ARGUMENT "spec.memory_bytes is 18691697672192: 16 MiB to 16 TiB, in whole MiB, are allowed"
create_vm windows spec.memory_bytes=-1 as r6
    vm.events       Reply r6 INVALID_ARGUMENT "spec.memory_bytes is 18446744073709551615: 16 MiB to 16 TiB, in whole MiB, are allowed"
create_vm windows spec.memory_bytes=1073741825 as r7
    vm.events       Reply r7 INVALID_ARGUMENT "spec.memory_bytes is 1073741825: 16 MiB to 16 TiB, in whole MiB, are allowed"
create_vm windows spec.huge_page_bytes=3GiB as r8
    vm.events       Reply r8 INVALID_ARGUMENT "spec.huge_page_bytes is 3221225472, and spec.memory_bytes 4294967296 is no multiple of it"
create_vm windows spec.machine=microvm as r9
    vm.events       Reply r9 INVALID_ARGUMENT "spec.machine is "microvm": q35, pc or one of their canonical names, such as pc-q35-7.2, is allowed"
create_vm windows spec.machine=not-q35 as r10
    vm.events       Reply r10 INVALID_ARGUMENT "spec.machine is "not-q35": q35, pc or one of their canonical names, such as pc-q35-7.2, is allowed"
create_vm windows spec.machine=pc-q35-../x as r11
    vm.events       Reply r11 INVALID_ARGUMENT "spec.machine is "pc-q35-../x": q35, pc or one of their canonical names, such as pc-q35-7.2, is allowed"
create_vm windows spec.machine=m*300 as r12
    vm.events       Reply r12 INVALID_ARGUMENT "spec.machine is "mmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmm": q35, pc or one of their canonical names, such as pc-q35-7.2, is allowed"
create_vm windows spec.domain_type=xen as r13
    vm.events       Reply r13 INVALID_ARGUMENT "spec.domain_type is "xen": kvm, qemu or empty is allowed"
create_vm windows spec.firmware=7 as r14
    vm.events       Reply r14 INVALID_ARGUMENT "field create_vm.spec.firmware has the unknown value 7"
create_vm windows spec.nvram={} spec.nvram.size_bytes=1 as r15
    vm.events       Reply r15 INVALID_ARGUMENT "spec.nvram.size_bytes is 1: 0, or 128 KiB to 8 MiB, is allowed"
create_vm windows spec.nvram={} spec.nvram.size_bytes=1GiB as r16
    vm.events       Reply r16 INVALID_ARGUMENT "spec.nvram.size_bytes is 1073741824: 0, or 128 KiB to 8 MiB, is allowed"
create_vm windows spec.graphics.type=Vnc spec.graphics.listen=0.0.0.0:5900 as r17
    vm.events       Reply r17 INVALID_ARGUMENT "spec.graphics.listen is "0.0.0.0:5900": an IP address, or nothing for 127.0.0.1, is allowed"
create_vm windows spec.graphics.type=Vnc 'spec.graphics.listen=127.0.0.1"/>' as r18
    vm.events       Reply r18 INVALID_ARGUMENT "spec.graphics.listen is "127.0.0.1"/>": an IP address, or nothing for 127.0.0.1, is allowed"
create_vm windows spec.graphics.type=Vnc spec.graphics.listen=localhost as r19
    vm.events       Reply r19 INVALID_ARGUMENT "spec.graphics.listen is "localhost": an IP address, or nothing for 127.0.0.1, is allowed"
show vm
    there is no record

# An update is judged like a creation, and a refused one changes nothing.
create_vm windows as r20
    vm.events       StatusChanged Unspecified -> Created (Request)
    vm.events       Reply r20 ok
update_vm windows spec.vcpus=0 as r21
    vm.events       Reply r21 INVALID_ARGUMENT "spec.vcpus is 0, 1 to 512 are allowed"
update_vm windows spec.machine=microvm as r22
    vm.events       Reply r22 INVALID_ARGUMENT "spec.machine is "microvm": q35, pc or one of their canonical names, such as pc-q35-7.2, is allowed"
show vm
    Created epoch 0 version 3
    nvram needed, none yet
    tpm Crb, state none yet
    answered r20 ok, r21 INVALID_ARGUMENT, r22 INVALID_ARGUMENT
