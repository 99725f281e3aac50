# What a spec may carry is bounded, so that every record which carries it on fits its reader.
given machines
create_vm windows spec.disks[0].bus=VhostUser spec.disks[0].socket_path=/*120 as r1
    vm.events       Reply r1 SOCKET_PATH_TOO_LONG "spec.disks[0].socket_path has 120 bytes, at most 107 are allowed"
create_vm windows spec.graphics.type=Vnc spec.graphics.listen=everywhere as r2
    vm.events       Reply r2 INVALID_ARGUMENT "spec.graphics.listen is "everywhere": an IP address, or nothing for 127.0.0.1, is allowed"
create_vm windows spec.nvram={} spec.nvram.name=n*30000 as r3
    vm.events       Reply r3 TOO_LARGE "the spec has 30069 bytes, at most 24576 are allowed"
create_vm windows spec.graphics.type=Vnc spec.graphics.listen=::1 as r4
    vm.events       StatusChanged Unspecified -> Created (Request)
    vm.events       Reply r4 ok
