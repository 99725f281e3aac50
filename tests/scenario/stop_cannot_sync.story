# The guest is gone, but its variables could not be synced to disk: Stopped, and told as it is.
given running
at 00:01:00 stop_vm mode=Forced as r3
at 00:01:02 host $host-a answers stop_domain fails STORAGE_IO "nvRam/x.fd: input/output error"
show vm
start_vm host_uuid=$host-a as r4
host $host-a answers start_domain ok

# The same when the guest ends by itself.
host $host-a reports domain_stopped reason=GuestShutdown error.code=StorageIo error.message=unsynced
show vm
