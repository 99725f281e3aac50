# K5, N7: devices that cannot be, or cannot be beside each other.
given machines
create_vm windows spec.disks[1].type=Data spec.disks[1].index=0 spec.disks[1].size_bytes=1GiB as r1
    vm.events       Reply r1 INVALID_ARGUMENT "spec.disks[1].index 0 stands twice: each disk needs its own"
create_vm windows spec.disks[1].type=Root spec.disks[1].index=1 spec.disks[1].size_bytes=1GiB as r2
    vm.events       Reply r2 INVALID_ARGUMENT "spec.disks[1].type is Root a second time: a VM has at most one root disk"
create_vm windows spec.disks[0].type=NvRam as r3
    vm.events       Reply r3 INVALID_ARGUMENT "spec.disks[0].type is NvRam: Root or Data is allowed"
create_vm windows spec.disks[0].size_bytes=0 as r4
    vm.events       Reply r4 INVALID_ARGUMENT "spec.disks[0].size_bytes is 0: 1 byte to 1 PiB, or 0 with an image, is allowed"
create_vm windows spec.disks[0].size_bytes=2000TiB as r5
    vm.events       Reply r5 INVALID_ARGUMENT "spec.disks[0].size_bytes is 2199023255552000: 1 byte to 1 PiB, or 0 with an image, is allowed"
create_vm windows spec.disks[0].format=Directory as r6
    vm.events       Reply r6 INVALID_ARGUMENT "spec.disks[0].format is Directory: Raw or Qcow2 is allowed"
create_vm windows spec.disks[0].image_mode=Overlay as r7
    vm.events       Reply r7 INVALID_ARGUMENT "spec.disks[0].image_mode is Overlay: that needs an image, and format Qcow2"
create_vm windows spec.disks[0].image=base.qcow2 spec.disks[0].image_mode=Overlay \
  spec.disks[0].format=Raw as r8
    vm.events       Reply r8 INVALID_ARGUMENT "spec.disks[0].image_mode is Overlay: that needs an image, and format Qcow2"
create_vm windows spec.disks[0].socket_path=/run/blk.sock as r9
    vm.events       Reply r9 INVALID_ARGUMENT "spec.disks[0].socket_path is "/run/blk.sock": only a disk of bus VhostUser has one"
create_vm windows spec.disks[0].iops_limit=-1 as r10
    vm.events       Reply r10 INVALID_ARGUMENT "spec.disks[0].iops_limit is 18446744073709551615, at most 1000000000000000 is allowed"
create_vm windows spec.disks[0].bus=VhostUser spec.disks[0].socket_path=/run/blk.sock \
  spec.disks[0].iops_limit=100 as r11
    vm.events       Reply r11 UNSUPPORTED "spec.disks[0].iops_limit is 100: a vhost-user disk cannot be limited by QEMU; limit it in its back end"
create_vm windows spec.disks[0].bus=VhostUser spec.disks[0].socket_path=blk.sock as r12
    vm.events       Reply r12 INVALID_ARGUMENT "spec.disks[0].socket_path is "blk.sock": a vhost-user disk needs an absolute path"
create_vm windows spec.disks[0].bus=VhostUser as r13
    vm.events       Reply r13 INVALID_ARGUMENT "spec.disks[0].socket_path is "": a vhost-user disk needs an absolute path"
create_vm windows spec.disks[0].bus=9 as r14
    vm.events       Reply r14 INVALID_ARGUMENT "field create_vm.spec.disks[0].bus has the unknown value 9"
create_vm windows spec.cdroms[0].index=1 spec.cdroms[1].index=1 as r15
    vm.events       Reply r15 INVALID_ARGUMENT "spec.cdroms[1].index 1 stands twice: each CD-ROM needs its own"
create_vm windows spec.nics[1].type=User spec.nics[1].index=0 as r16
    vm.events       Reply r16 INVALID_ARGUMENT "spec.nics[1].index 0 stands twice: each NIC needs its own"
create_vm windows spec.nics[0].mac=52:54:00:aa:bb:cc spec.nics[1].type=User spec.nics[1].index=1 \
  spec.nics[1].mac=52:54:00:AA:BB:CC as r17
    vm.events       Reply r17 INVALID_ARGUMENT "spec.nics[1].mac 52:54:00:AA:BB:CC stands twice: each NIC needs its own"
create_vm windows spec.nics[0].mac=01:00:5e:00:00:01 as r18
    vm.events       Reply r18 INVALID_ARGUMENT "spec.nics[0].mac is "01:00:5e:00:00:01": a unicast address such as 52:54:00:12:34:56, or none, is allowed"
create_vm windows spec.nics[0].mac=52:54:00:aa:bb as r19
    vm.events       Reply r19 INVALID_ARGUMENT "spec.nics[0].mac is "52:54:00:aa:bb": a unicast address such as 52:54:00:12:34:56, or none, is allowed"
create_vm windows spec.nics[0].mac=52-54-00-aa-bb-cc as r20
    vm.events       Reply r20 INVALID_ARGUMENT "spec.nics[0].mac is "52-54-00-aa-bb-cc": a unicast address such as 52:54:00:12:34:56, or none, is allowed"
create_vm windows spec.nics[0].type=Bridge as r21
    vm.events       Reply r21 INVALID_ARGUMENT "spec.nics[0].bridge is empty: a NIC of type Bridge needs the Linux bridge's name"
create_vm windows spec.nics[0].queues=65 as r22
    vm.events       Reply r22 INVALID_ARGUMENT "spec.nics[0].queues is 65, at most 64 are allowed"
create_vm windows spec.nics[0].queues=4294967295 as r23
    vm.events       Reply r23 INVALID_ARGUMENT "spec.nics[0].queues is 4294967295, at most 64 are allowed"
create_vm windows spec.nics[0].mtu=67 as r24
    vm.events       Reply r24 INVALID_ARGUMENT "spec.nics[0].mtu is 67, 68 to 65535 are allowed"
create_vm windows spec.nics[0].mtu=65536 as r25
    vm.events       Reply r25 INVALID_ARGUMENT "spec.nics[0].mtu is 65536, 68 to 65535 are allowed"
create_vm windows spec.nics[0].model=42 as r26
    vm.events       Reply r26 INVALID_ARGUMENT "field create_vm.spec.nics[0].model has the unknown value 42"
create_vm windows spec.disks[0].boot_order=1 spec.nics[0].boot_order=1 as r27
    vm.events       Reply r27 INVALID_ARGUMENT "boot_order 1 stands twice: each of the disks, CD-ROMs and NICs needs its own, or 0"
create_vm windows spec.disks[0].boot_order=2 spec.cdroms[0].boot_order=2 as r28
    vm.events       Reply r28 INVALID_ARGUMENT "boot_order 2 stands twice: each of the disks, CD-ROMs and NICs needs its own, or 0"
show vm
    there is no record
