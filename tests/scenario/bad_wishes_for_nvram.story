# Where the variable store lies and which volume it is are virtbus's to say: another wish is refused,
# never passed over. (That what the record has may be sent back: unit/test_vm_spec.)
given machines
create_vm windows spec.nvram.volume_uuid=5b1f7f3e-6d5f-4f0f-8a55-3d4d3a0b7d10 as r1
    vm.events       Reply r1 INVALID_ARGUMENT "spec.nvram.volume_uuid is "uuid1": virtbus names the volume; leave it empty, and choose among several with AdoptVolume"
create_vm windows spec.nvram.storage.name=slow spec.nvram.storage.type=Nfs as r2
    vm.events       Reply r2 UNSUPPORTED "spec.nvram.storage is slow: firmware state lies on spec.storage; leave it empty"
create_vm windows spec.nvram.storage.name=fast spec.nvram.storage.type=Local as r3
    vm.events       StatusChanged Unspecified -> Created (Request)
    vm.events       Reply r3 ok
