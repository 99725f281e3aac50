# Nothing is recorded for a VM that is not there.
given machines
start_vm host_uuid=$host-a as r1
    vm.events       Reply r1 VM_NOT_FOUND "there is no VM $vm: check the uuid, or create it"
stop_vm as r2
    vm.events       Reply r2 VM_NOT_FOUND "there is no VM $vm: check the uuid, or create it"
destroy_vm as r3
    vm.events       Reply r3 VM_NOT_FOUND "there is no VM $vm: check the uuid, or create it"
expunge_vm as r4
    vm.events       Reply r4 VM_NOT_FOUND "there is no VM $vm: check the uuid, or create it"
get_vm as r5
    vm.events       Reply r5 VM_NOT_FOUND "there is no VM $vm: check the uuid, or create it"
list_volumes as r6
    vm.events       Reply r6 VM_NOT_FOUND "there is no VM $vm: check the uuid, or create it"
reset_nvram as r7
    vm.events       Reply r7 VM_NOT_FOUND "there is no VM $vm: check the uuid, or create it"
no_command as r8
    vm.events       Reply r8 UNKNOWN_COMMAND "the request holds no command that this version knows: update virtbus, or mend the producer"
host $host-a reports domain_stopped reason=Crashed
    nothing
show vm
    there is no record
show volumes
    there is no record
