# Every command that is refused because of the VM's status, in every status. Where it is legal,
# another story tells what it does. The statuses are planted, because several of them pass quickly
# or cannot be reached by this version.
given created
    Created

# Created
plant vm status=Created host_uuid=$host-a operation=none
stop_vm as r2
    vm.events       Reply r2 ILLEGAL_STATUS "VM $vm is Created; StopVm is legal in: Starting, Running, Stopping, Rebooting, Migrating, Paused, Unknown"
stop_vm mode=Forced as r3
    vm.events       Reply r3 ILLEGAL_STATUS "VM $vm is Created; StopVm is legal in: Starting, Running, Stopping, Rebooting, Migrating, Paused, Unknown"
reboot_vm as r4
    vm.events       Reply r4 ILLEGAL_STATUS "VM $vm is Created; RebootVm is legal in: Running"
recover_vm as r5
    vm.events       Reply r5 ILLEGAL_STATUS "VM $vm is Created; RecoverVm is legal in: Destroyed"
expunge_vm as r6
    vm.events       Reply r6 ILLEGAL_STATUS "VM $vm is Created; ExpungeVm is legal in: Destroyed"
confirm_host_down as r7
    vm.events       Reply r7 ILLEGAL_STATUS "VM $vm is Created; ConfirmHostDown is legal in: Unknown"
release_quarantine as r8
    vm.events       Reply r8 ILLEGAL_STATUS "VM $vm is Created; ReleaseQuarantine is legal in: Quarantined"
attach_nic as r9
    vm.events       Reply r9 ILLEGAL_STATUS "VM $vm is Created; AttachNic is legal in: Running"
detach_nic as r10
    vm.events       Reply r10 ILLEGAL_STATUS "VM $vm is Created; DetachNic is legal in: Running"
migrate_vm host_uuid=$host-b as r11
    vm.events       Reply r11 ILLEGAL_STATUS "VM $vm is Created; MigrateVm is legal in: Running"

# Running
plant vm status=Running host_uuid=$host-a operation=none
update_vm as r12
    vm.events       Reply r12 ILLEGAL_STATUS "VM $vm is Running; UpdateVm is legal in: Created, Stopped, Crashed"
start_vm host_uuid=$host-a as r13
    vm.events       Reply r13 ILLEGAL_STATUS "VM $vm is Running; StartVm is legal in: Created, Stopped, Crashed"
recover_vm as r14
    vm.events       Reply r14 ILLEGAL_STATUS "VM $vm is Running; RecoverVm is legal in: Destroyed"
expunge_vm as r15
    vm.events       Reply r15 ILLEGAL_STATUS "VM $vm is Running; ExpungeVm is legal in: Destroyed"
reset_nvram as r16
    vm.events       Reply r16 ILLEGAL_STATUS "VM $vm is Running; ResetNvram is legal in: Created, Stopped, Crashed"
adopt_volume as r17
    vm.events       Reply r17 ILLEGAL_STATUS "VM $vm is Running; AdoptVolume is legal in: Created, Stopped, Crashed"
confirm_host_down as r18
    vm.events       Reply r18 ILLEGAL_STATUS "VM $vm is Running; ConfirmHostDown is legal in: Unknown"
release_quarantine as r19
    vm.events       Reply r19 ILLEGAL_STATUS "VM $vm is Running; ReleaseQuarantine is legal in: Quarantined"

# Stopped
plant vm status=Stopped host_uuid=$host-a operation=none
stop_vm as r20
    vm.events       Reply r20 ILLEGAL_STATUS "VM $vm is Stopped; StopVm is legal in: Starting, Running, Stopping, Rebooting, Migrating, Paused, Unknown"
stop_vm mode=Forced as r21
    vm.events       Reply r21 ILLEGAL_STATUS "VM $vm is Stopped; StopVm is legal in: Starting, Running, Stopping, Rebooting, Migrating, Paused, Unknown"
reboot_vm as r22
    vm.events       Reply r22 ILLEGAL_STATUS "VM $vm is Stopped; RebootVm is legal in: Running"
recover_vm as r23
    vm.events       Reply r23 ILLEGAL_STATUS "VM $vm is Stopped; RecoverVm is legal in: Destroyed"
expunge_vm as r24
    vm.events       Reply r24 ILLEGAL_STATUS "VM $vm is Stopped; ExpungeVm is legal in: Destroyed"
confirm_host_down as r25
    vm.events       Reply r25 ILLEGAL_STATUS "VM $vm is Stopped; ConfirmHostDown is legal in: Unknown"
release_quarantine as r26
    vm.events       Reply r26 ILLEGAL_STATUS "VM $vm is Stopped; ReleaseQuarantine is legal in: Quarantined"
attach_nic as r27
    vm.events       Reply r27 ILLEGAL_STATUS "VM $vm is Stopped; AttachNic is legal in: Running"
detach_nic as r28
    vm.events       Reply r28 ILLEGAL_STATUS "VM $vm is Stopped; DetachNic is legal in: Running"
migrate_vm host_uuid=$host-b as r29
    vm.events       Reply r29 ILLEGAL_STATUS "VM $vm is Stopped; MigrateVm is legal in: Running"

# Crashed
plant vm status=Crashed host_uuid=$host-a operation=none
stop_vm as r30
    vm.events       Reply r30 ILLEGAL_STATUS "VM $vm is Crashed; StopVm is legal in: Starting, Running, Stopping, Rebooting, Migrating, Paused, Unknown"
stop_vm mode=Forced as r31
    vm.events       Reply r31 ILLEGAL_STATUS "VM $vm is Crashed; StopVm is legal in: Starting, Running, Stopping, Rebooting, Migrating, Paused, Unknown"
reboot_vm as r32
    vm.events       Reply r32 ILLEGAL_STATUS "VM $vm is Crashed; RebootVm is legal in: Running"
recover_vm as r33
    vm.events       Reply r33 ILLEGAL_STATUS "VM $vm is Crashed; RecoverVm is legal in: Destroyed"
expunge_vm as r34
    vm.events       Reply r34 ILLEGAL_STATUS "VM $vm is Crashed; ExpungeVm is legal in: Destroyed"
confirm_host_down as r35
    vm.events       Reply r35 ILLEGAL_STATUS "VM $vm is Crashed; ConfirmHostDown is legal in: Unknown"
release_quarantine as r36
    vm.events       Reply r36 ILLEGAL_STATUS "VM $vm is Crashed; ReleaseQuarantine is legal in: Quarantined"
attach_nic as r37
    vm.events       Reply r37 ILLEGAL_STATUS "VM $vm is Crashed; AttachNic is legal in: Running"
detach_nic as r38
    vm.events       Reply r38 ILLEGAL_STATUS "VM $vm is Crashed; DetachNic is legal in: Running"
migrate_vm host_uuid=$host-b as r39
    vm.events       Reply r39 ILLEGAL_STATUS "VM $vm is Crashed; MigrateVm is legal in: Running"

# Destroyed
plant vm status=Destroyed host_uuid=$host-a operation=none
update_vm as r40
    vm.events       Reply r40 ILLEGAL_STATUS "VM $vm is Destroyed; UpdateVm is legal in: Created, Stopped, Crashed"
start_vm host_uuid=$host-a as r41
    vm.events       Reply r41 ILLEGAL_STATUS "VM $vm is Destroyed; StartVm is legal in: Created, Stopped, Crashed"
stop_vm as r42
    vm.events       Reply r42 ILLEGAL_STATUS "VM $vm is Destroyed; StopVm is legal in: Starting, Running, Stopping, Rebooting, Migrating, Paused, Unknown"
stop_vm mode=Forced as r43
    vm.events       Reply r43 ILLEGAL_STATUS "VM $vm is Destroyed; StopVm is legal in: Starting, Running, Stopping, Rebooting, Migrating, Paused, Unknown"
reboot_vm as r44
    vm.events       Reply r44 ILLEGAL_STATUS "VM $vm is Destroyed; RebootVm is legal in: Running"
destroy_vm as r45
    vm.events       Reply r45 ILLEGAL_STATUS "VM $vm is Destroyed; DestroyVm is legal in: Created, Starting, Running, Stopping, Stopped, Rebooting, Migrating, Paused, Crashed, Unknown"
reset_nvram as r46
    vm.events       Reply r46 ILLEGAL_STATUS "VM $vm is Destroyed; ResetNvram is legal in: Created, Stopped, Crashed"
adopt_volume as r47
    vm.events       Reply r47 ILLEGAL_STATUS "VM $vm is Destroyed; AdoptVolume is legal in: Created, Stopped, Crashed"
confirm_host_down as r48
    vm.events       Reply r48 ILLEGAL_STATUS "VM $vm is Destroyed; ConfirmHostDown is legal in: Unknown"
release_quarantine as r49
    vm.events       Reply r49 ILLEGAL_STATUS "VM $vm is Destroyed; ReleaseQuarantine is legal in: Quarantined"
attach_nic as r50
    vm.events       Reply r50 ILLEGAL_STATUS "VM $vm is Destroyed; AttachNic is legal in: Running"
detach_nic as r51
    vm.events       Reply r51 ILLEGAL_STATUS "VM $vm is Destroyed; DetachNic is legal in: Running"
migrate_vm host_uuid=$host-b as r52
    vm.events       Reply r52 ILLEGAL_STATUS "VM $vm is Destroyed; MigrateVm is legal in: Running"

# Paused
plant vm status=Paused host_uuid=$host-a operation=none
update_vm as r53
    vm.events       Reply r53 ILLEGAL_STATUS "VM $vm is Paused; UpdateVm is legal in: Created, Stopped, Crashed"
start_vm host_uuid=$host-a as r54
    vm.events       Reply r54 ILLEGAL_STATUS "VM $vm is Paused; StartVm is legal in: Created, Stopped, Crashed"
reboot_vm as r55
    vm.events       Reply r55 ILLEGAL_STATUS "VM $vm is Paused; RebootVm is legal in: Running"
recover_vm as r56
    vm.events       Reply r56 ILLEGAL_STATUS "VM $vm is Paused; RecoverVm is legal in: Destroyed"
expunge_vm as r57
    vm.events       Reply r57 ILLEGAL_STATUS "VM $vm is Paused; ExpungeVm is legal in: Destroyed"
reset_nvram as r58
    vm.events       Reply r58 ILLEGAL_STATUS "VM $vm is Paused; ResetNvram is legal in: Created, Stopped, Crashed"
adopt_volume as r59
    vm.events       Reply r59 ILLEGAL_STATUS "VM $vm is Paused; AdoptVolume is legal in: Created, Stopped, Crashed"
confirm_host_down as r60
    vm.events       Reply r60 ILLEGAL_STATUS "VM $vm is Paused; ConfirmHostDown is legal in: Unknown"
release_quarantine as r61
    vm.events       Reply r61 ILLEGAL_STATUS "VM $vm is Paused; ReleaseQuarantine is legal in: Quarantined"
attach_nic as r62
    vm.events       Reply r62 ILLEGAL_STATUS "VM $vm is Paused; AttachNic is legal in: Running"
detach_nic as r63
    vm.events       Reply r63 ILLEGAL_STATUS "VM $vm is Paused; DetachNic is legal in: Running"
migrate_vm host_uuid=$host-b as r64
    vm.events       Reply r64 ILLEGAL_STATUS "VM $vm is Paused; MigrateVm is legal in: Running"

# Unknown
plant vm status=Unknown host_uuid=$host-a operation=none
update_vm as r65
    vm.events       Reply r65 ILLEGAL_STATUS "VM $vm is Unknown; UpdateVm is legal in: Created, Stopped, Crashed"
start_vm host_uuid=$host-a as r66
    vm.events       Reply r66 ILLEGAL_STATUS "VM $vm is Unknown; StartVm is legal in: Created, Stopped, Crashed"
stop_vm as r67
    vm.events       Reply r67 ILLEGAL_STATUS "VM $vm is Unknown; only a forced stop is legal there"
reboot_vm as r68
    vm.events       Reply r68 ILLEGAL_STATUS "VM $vm is Unknown; RebootVm is legal in: Running"
recover_vm as r69
    vm.events       Reply r69 ILLEGAL_STATUS "VM $vm is Unknown; RecoverVm is legal in: Destroyed"
expunge_vm as r70
    vm.events       Reply r70 ILLEGAL_STATUS "VM $vm is Unknown; ExpungeVm is legal in: Destroyed"
reset_nvram as r71
    vm.events       Reply r71 ILLEGAL_STATUS "VM $vm is Unknown; ResetNvram is legal in: Created, Stopped, Crashed"
adopt_volume as r72
    vm.events       Reply r72 ILLEGAL_STATUS "VM $vm is Unknown; AdoptVolume is legal in: Created, Stopped, Crashed"
release_quarantine as r73
    vm.events       Reply r73 ILLEGAL_STATUS "VM $vm is Unknown; ReleaseQuarantine is legal in: Quarantined"
attach_nic as r74
    vm.events       Reply r74 ILLEGAL_STATUS "VM $vm is Unknown; AttachNic is legal in: Running"
detach_nic as r75
    vm.events       Reply r75 ILLEGAL_STATUS "VM $vm is Unknown; DetachNic is legal in: Running"
migrate_vm host_uuid=$host-b as r76
    vm.events       Reply r76 ILLEGAL_STATUS "VM $vm is Unknown; MigrateVm is legal in: Running"

# Expunged
plant vm status=Expunged host_uuid=$host-a operation=none
update_vm as r77
    vm.events       Reply r77 ILLEGAL_STATUS "VM $vm is Expunged; UpdateVm is legal in: Created, Stopped, Crashed"
start_vm host_uuid=$host-a as r78
    vm.events       Reply r78 ILLEGAL_STATUS "VM $vm is Expunged; StartVm is legal in: Created, Stopped, Crashed"
stop_vm as r79
    vm.events       Reply r79 ILLEGAL_STATUS "VM $vm is Expunged; StopVm is legal in: Starting, Running, Stopping, Rebooting, Migrating, Paused, Unknown"
stop_vm mode=Forced as r80
    vm.events       Reply r80 ILLEGAL_STATUS "VM $vm is Expunged; StopVm is legal in: Starting, Running, Stopping, Rebooting, Migrating, Paused, Unknown"
reboot_vm as r81
    vm.events       Reply r81 ILLEGAL_STATUS "VM $vm is Expunged; RebootVm is legal in: Running"
destroy_vm as r82
    vm.events       Reply r82 ILLEGAL_STATUS "VM $vm is Expunged; DestroyVm is legal in: Created, Starting, Running, Stopping, Stopped, Rebooting, Migrating, Paused, Crashed, Unknown"
recover_vm as r83
    vm.events       Reply r83 ILLEGAL_STATUS "VM $vm is Expunged; RecoverVm is legal in: Destroyed"
expunge_vm as r84
    vm.events       Reply r84 ILLEGAL_STATUS "VM $vm is Expunged; ExpungeVm is legal in: Destroyed"
reset_nvram as r85
    vm.events       Reply r85 ILLEGAL_STATUS "VM $vm is Expunged; ResetNvram is legal in: Created, Stopped, Crashed"
adopt_volume as r86
    vm.events       Reply r86 ILLEGAL_STATUS "VM $vm is Expunged; AdoptVolume is legal in: Created, Stopped, Crashed"
confirm_host_down as r87
    vm.events       Reply r87 ILLEGAL_STATUS "VM $vm is Expunged; ConfirmHostDown is legal in: Unknown"
release_quarantine as r88
    vm.events       Reply r88 ILLEGAL_STATUS "VM $vm is Expunged; ReleaseQuarantine is legal in: Quarantined"
attach_nic as r89
    vm.events       Reply r89 ILLEGAL_STATUS "VM $vm is Expunged; AttachNic is legal in: Running"
detach_nic as r90
    vm.events       Reply r90 ILLEGAL_STATUS "VM $vm is Expunged; DetachNic is legal in: Running"
migrate_vm host_uuid=$host-b as r91
    vm.events       Reply r91 ILLEGAL_STATUS "VM $vm is Expunged; MigrateVm is legal in: Running"

# Quarantined
plant vm status=Quarantined host_uuid=$host-a operation=none
update_vm as r92
    vm.events       Reply r92 QUARANTINED "VM $vm is Quarantined; UpdateVm is legal in: Created, Stopped, Crashed"
start_vm host_uuid=$host-a as r93
    vm.events       Reply r93 QUARANTINED "VM $vm is Quarantined; StartVm is legal in: Created, Stopped, Crashed"
stop_vm as r94
    vm.events       Reply r94 QUARANTINED "VM $vm is Quarantined; StopVm is legal in: Starting, Running, Stopping, Rebooting, Migrating, Paused, Unknown"
stop_vm mode=Forced as r95
    vm.events       Reply r95 QUARANTINED "VM $vm is Quarantined; StopVm is legal in: Starting, Running, Stopping, Rebooting, Migrating, Paused, Unknown"
reboot_vm as r96
    vm.events       Reply r96 QUARANTINED "VM $vm is Quarantined; RebootVm is legal in: Running"
destroy_vm as r97
    vm.events       Reply r97 QUARANTINED "VM $vm is Quarantined; DestroyVm is legal in: Created, Starting, Running, Stopping, Stopped, Rebooting, Migrating, Paused, Crashed, Unknown"
recover_vm as r98
    vm.events       Reply r98 QUARANTINED "VM $vm is Quarantined; RecoverVm is legal in: Destroyed"
expunge_vm as r99
    vm.events       Reply r99 QUARANTINED "VM $vm is Quarantined; ExpungeVm is legal in: Destroyed"
reset_nvram as r100
    vm.events       Reply r100 QUARANTINED "VM $vm is Quarantined; ResetNvram is legal in: Created, Stopped, Crashed"
adopt_volume as r101
    vm.events       Reply r101 QUARANTINED "VM $vm is Quarantined; AdoptVolume is legal in: Created, Stopped, Crashed"
confirm_host_down as r102
    vm.events       Reply r102 QUARANTINED "VM $vm is Quarantined; ConfirmHostDown is legal in: Unknown"
attach_nic as r103
    vm.events       Reply r103 QUARANTINED "VM $vm is Quarantined; AttachNic is legal in: Running"
detach_nic as r104
    vm.events       Reply r104 QUARANTINED "VM $vm is Quarantined; DetachNic is legal in: Running"
migrate_vm host_uuid=$host-b as r105
    vm.events       Reply r105 QUARANTINED "VM $vm is Quarantined; MigrateVm is legal in: Running"

# Starting
plant vm status=Starting host_uuid=$host-a operation.id=$op operation.kind=Start \
  operation.phase=StartingDomain operation.deadline_ms=2000000000000 deadline=1h
update_vm as r106
    vm.events       Reply r106 BUSY "VM $vm is Starting; UpdateVm is legal in: Created, Stopped, Crashed"
start_vm host_uuid=$host-a as r107
    vm.events       Reply r107 BUSY "VM $vm is Starting; StartVm is legal in: Created, Stopped, Crashed"
stop_vm as r108
    vm.events       Reply r108 BUSY "VM $vm is Starting; only a forced stop is legal there"
reboot_vm as r109
    vm.events       Reply r109 BUSY "VM $vm is Starting; RebootVm is legal in: Running"
recover_vm as r110
    vm.events       Reply r110 BUSY "VM $vm is Starting; RecoverVm is legal in: Destroyed"
expunge_vm as r111
    vm.events       Reply r111 BUSY "VM $vm is Starting; ExpungeVm is legal in: Destroyed"
reset_nvram as r112
    vm.events       Reply r112 BUSY "VM $vm is Starting; ResetNvram is legal in: Created, Stopped, Crashed"
adopt_volume as r113
    vm.events       Reply r113 BUSY "VM $vm is Starting; AdoptVolume is legal in: Created, Stopped, Crashed"
confirm_host_down as r114
    vm.events       Reply r114 BUSY "VM $vm is Starting; ConfirmHostDown is legal in: Unknown"
release_quarantine as r115
    vm.events       Reply r115 BUSY "VM $vm is Starting; ReleaseQuarantine is legal in: Quarantined"
attach_nic as r116
    vm.events       Reply r116 BUSY "VM $vm is Starting; AttachNic is legal in: Running"
detach_nic as r117
    vm.events       Reply r117 BUSY "VM $vm is Starting; DetachNic is legal in: Running"
migrate_vm host_uuid=$host-b as r118
    vm.events       Reply r118 BUSY "VM $vm is Starting; MigrateVm is legal in: Running"
plant vm status=Created operation=none

# Stopping
plant vm status=Stopping host_uuid=$host-a operation.id=$op operation.kind=Stop \
  operation.phase=StoppingDomain operation.deadline_ms=2000000000000 deadline=1h
update_vm as r119
    vm.events       Reply r119 BUSY "VM $vm is Stopping; UpdateVm is legal in: Created, Stopped, Crashed"
start_vm host_uuid=$host-a as r120
    vm.events       Reply r120 BUSY "VM $vm is Stopping; StartVm is legal in: Created, Stopped, Crashed"
stop_vm as r121
    vm.events       Reply r121 BUSY "VM $vm is Stopping; only a forced stop is legal there"
reboot_vm as r122
    vm.events       Reply r122 BUSY "VM $vm is Stopping; RebootVm is legal in: Running"
recover_vm as r123
    vm.events       Reply r123 BUSY "VM $vm is Stopping; RecoverVm is legal in: Destroyed"
expunge_vm as r124
    vm.events       Reply r124 BUSY "VM $vm is Stopping; ExpungeVm is legal in: Destroyed"
reset_nvram as r125
    vm.events       Reply r125 BUSY "VM $vm is Stopping; ResetNvram is legal in: Created, Stopped, Crashed"
adopt_volume as r126
    vm.events       Reply r126 BUSY "VM $vm is Stopping; AdoptVolume is legal in: Created, Stopped, Crashed"
confirm_host_down as r127
    vm.events       Reply r127 BUSY "VM $vm is Stopping; ConfirmHostDown is legal in: Unknown"
release_quarantine as r128
    vm.events       Reply r128 BUSY "VM $vm is Stopping; ReleaseQuarantine is legal in: Quarantined"
attach_nic as r129
    vm.events       Reply r129 BUSY "VM $vm is Stopping; AttachNic is legal in: Running"
detach_nic as r130
    vm.events       Reply r130 BUSY "VM $vm is Stopping; DetachNic is legal in: Running"
migrate_vm host_uuid=$host-b as r131
    vm.events       Reply r131 BUSY "VM $vm is Stopping; MigrateVm is legal in: Running"
plant vm status=Created operation=none

# Rebooting
plant vm status=Rebooting host_uuid=$host-a operation.id=$op operation.kind=Reboot \
  operation.phase=StoppingDomain operation.deadline_ms=2000000000000 deadline=1h
update_vm as r132
    vm.events       Reply r132 BUSY "VM $vm is Rebooting; UpdateVm is legal in: Created, Stopped, Crashed"
start_vm host_uuid=$host-a as r133
    vm.events       Reply r133 BUSY "VM $vm is Rebooting; StartVm is legal in: Created, Stopped, Crashed"
stop_vm as r134
    vm.events       Reply r134 BUSY "VM $vm is Rebooting; only a forced stop is legal there"
reboot_vm as r135
    vm.events       Reply r135 BUSY "VM $vm is Rebooting; RebootVm is legal in: Running"
recover_vm as r136
    vm.events       Reply r136 BUSY "VM $vm is Rebooting; RecoverVm is legal in: Destroyed"
expunge_vm as r137
    vm.events       Reply r137 BUSY "VM $vm is Rebooting; ExpungeVm is legal in: Destroyed"
reset_nvram as r138
    vm.events       Reply r138 BUSY "VM $vm is Rebooting; ResetNvram is legal in: Created, Stopped, Crashed"
adopt_volume as r139
    vm.events       Reply r139 BUSY "VM $vm is Rebooting; AdoptVolume is legal in: Created, Stopped, Crashed"
confirm_host_down as r140
    vm.events       Reply r140 BUSY "VM $vm is Rebooting; ConfirmHostDown is legal in: Unknown"
release_quarantine as r141
    vm.events       Reply r141 BUSY "VM $vm is Rebooting; ReleaseQuarantine is legal in: Quarantined"
attach_nic as r142
    vm.events       Reply r142 BUSY "VM $vm is Rebooting; AttachNic is legal in: Running"
detach_nic as r143
    vm.events       Reply r143 BUSY "VM $vm is Rebooting; DetachNic is legal in: Running"
migrate_vm host_uuid=$host-b as r144
    vm.events       Reply r144 BUSY "VM $vm is Rebooting; MigrateVm is legal in: Running"
plant vm status=Created operation=none

# Migrating
plant vm status=Migrating host_uuid=$host-a operation.id=$op operation.kind=Migrate \
  operation.phase=ChangingDevice operation.deadline_ms=2000000000000 deadline=1h
update_vm as r145
    vm.events       Reply r145 BUSY "VM $vm is Migrating; UpdateVm is legal in: Created, Stopped, Crashed"
start_vm host_uuid=$host-a as r146
    vm.events       Reply r146 BUSY "VM $vm is Migrating; StartVm is legal in: Created, Stopped, Crashed"
stop_vm as r147
    vm.events       Reply r147 BUSY "VM $vm is Migrating; only a forced stop is legal there"
reboot_vm as r148
    vm.events       Reply r148 BUSY "VM $vm is Migrating; RebootVm is legal in: Running"
recover_vm as r149
    vm.events       Reply r149 BUSY "VM $vm is Migrating; RecoverVm is legal in: Destroyed"
expunge_vm as r150
    vm.events       Reply r150 BUSY "VM $vm is Migrating; ExpungeVm is legal in: Destroyed"
reset_nvram as r151
    vm.events       Reply r151 BUSY "VM $vm is Migrating; ResetNvram is legal in: Created, Stopped, Crashed"
adopt_volume as r152
    vm.events       Reply r152 BUSY "VM $vm is Migrating; AdoptVolume is legal in: Created, Stopped, Crashed"
confirm_host_down as r153
    vm.events       Reply r153 BUSY "VM $vm is Migrating; ConfirmHostDown is legal in: Unknown"
release_quarantine as r154
    vm.events       Reply r154 BUSY "VM $vm is Migrating; ReleaseQuarantine is legal in: Quarantined"
attach_nic as r155
    vm.events       Reply r155 BUSY "VM $vm is Migrating; AttachNic is legal in: Running"
detach_nic as r156
    vm.events       Reply r156 BUSY "VM $vm is Migrating; DetachNic is legal in: Running"
migrate_vm host_uuid=$host-b as r157
    vm.events       Reply r157 BUSY "VM $vm is Migrating; MigrateVm is legal in: Running"
plant vm status=Created operation=none

# Destroying
plant vm status=Destroying host_uuid=$host-a operation.id=$op operation.kind=Destroy \
  operation.phase=StoppingDomain operation.deadline_ms=2000000000000 deadline=1h
update_vm as r158
    vm.events       Reply r158 BUSY "VM $vm is Destroying; UpdateVm is legal in: Created, Stopped, Crashed"
start_vm host_uuid=$host-a as r159
    vm.events       Reply r159 BUSY "VM $vm is Destroying; StartVm is legal in: Created, Stopped, Crashed"
stop_vm as r160
    vm.events       Reply r160 BUSY "VM $vm is Destroying; StopVm is legal in: Starting, Running, Stopping, Rebooting, Migrating, Paused, Unknown"
stop_vm mode=Forced as r161
    vm.events       Reply r161 BUSY "VM $vm is Destroying; StopVm is legal in: Starting, Running, Stopping, Rebooting, Migrating, Paused, Unknown"
reboot_vm as r162
    vm.events       Reply r162 BUSY "VM $vm is Destroying; RebootVm is legal in: Running"
destroy_vm as r163
    vm.events       Reply r163 BUSY "VM $vm is Destroying; DestroyVm is legal in: Created, Starting, Running, Stopping, Stopped, Rebooting, Migrating, Paused, Crashed, Unknown"
recover_vm as r164
    vm.events       Reply r164 BUSY "VM $vm is Destroying; RecoverVm is legal in: Destroyed"
expunge_vm as r165
    vm.events       Reply r165 BUSY "VM $vm is Destroying; ExpungeVm is legal in: Destroyed"
reset_nvram as r166
    vm.events       Reply r166 BUSY "VM $vm is Destroying; ResetNvram is legal in: Created, Stopped, Crashed"
adopt_volume as r167
    vm.events       Reply r167 BUSY "VM $vm is Destroying; AdoptVolume is legal in: Created, Stopped, Crashed"
confirm_host_down as r168
    vm.events       Reply r168 BUSY "VM $vm is Destroying; ConfirmHostDown is legal in: Unknown"
release_quarantine as r169
    vm.events       Reply r169 BUSY "VM $vm is Destroying; ReleaseQuarantine is legal in: Quarantined"
attach_nic as r170
    vm.events       Reply r170 BUSY "VM $vm is Destroying; AttachNic is legal in: Running"
detach_nic as r171
    vm.events       Reply r171 BUSY "VM $vm is Destroying; DetachNic is legal in: Running"
migrate_vm host_uuid=$host-b as r172
    vm.events       Reply r172 BUSY "VM $vm is Destroying; MigrateVm is legal in: Running"
plant vm status=Created operation=none

# Expunging
plant vm status=Expunging host_uuid=$host-a operation.id=$op operation.kind=Expunge \
  operation.phase=ExpungingVolumes operation.deadline_ms=2000000000000 deadline=1h
update_vm as r173
    vm.events       Reply r173 BUSY "VM $vm is Expunging; UpdateVm is legal in: Created, Stopped, Crashed"
start_vm host_uuid=$host-a as r174
    vm.events       Reply r174 BUSY "VM $vm is Expunging; StartVm is legal in: Created, Stopped, Crashed"
stop_vm as r175
    vm.events       Reply r175 BUSY "VM $vm is Expunging; StopVm is legal in: Starting, Running, Stopping, Rebooting, Migrating, Paused, Unknown"
stop_vm mode=Forced as r176
    vm.events       Reply r176 BUSY "VM $vm is Expunging; StopVm is legal in: Starting, Running, Stopping, Rebooting, Migrating, Paused, Unknown"
reboot_vm as r177
    vm.events       Reply r177 BUSY "VM $vm is Expunging; RebootVm is legal in: Running"
destroy_vm as r178
    vm.events       Reply r178 BUSY "VM $vm is Expunging; DestroyVm is legal in: Created, Starting, Running, Stopping, Stopped, Rebooting, Migrating, Paused, Crashed, Unknown"
recover_vm as r179
    vm.events       Reply r179 BUSY "VM $vm is Expunging; RecoverVm is legal in: Destroyed"
expunge_vm as r180
    vm.events       Reply r180 BUSY "VM $vm is Expunging; ExpungeVm is legal in: Destroyed"
reset_nvram as r181
    vm.events       Reply r181 BUSY "VM $vm is Expunging; ResetNvram is legal in: Created, Stopped, Crashed"
adopt_volume as r182
    vm.events       Reply r182 BUSY "VM $vm is Expunging; AdoptVolume is legal in: Created, Stopped, Crashed"
confirm_host_down as r183
    vm.events       Reply r183 BUSY "VM $vm is Expunging; ConfirmHostDown is legal in: Unknown"
release_quarantine as r184
    vm.events       Reply r184 BUSY "VM $vm is Expunging; ReleaseQuarantine is legal in: Quarantined"
attach_nic as r185
    vm.events       Reply r185 BUSY "VM $vm is Expunging; AttachNic is legal in: Running"
detach_nic as r186
    vm.events       Reply r186 BUSY "VM $vm is Expunging; DetachNic is legal in: Running"
migrate_vm host_uuid=$host-b as r187
    vm.events       Reply r187 BUSY "VM $vm is Expunging; MigrateVm is legal in: Running"
plant vm status=Created operation=none
