# A machine has about thirty PCI slots or root ports, and some go to its own controllers. 28 disks and
# NICs fit; one more is refused before a host has to fail over it.
given machines
define with-27 linux spec.disks[0].boot_order=1 \
  spec.nics[0].index=0 spec.nics[0].type=User spec.nics[1].index=1 spec.nics[1].type=User \
  spec.nics[2].index=2 spec.nics[2].type=User spec.nics[3].index=3 spec.nics[3].type=User \
  spec.nics[4].index=4 spec.nics[4].type=User spec.nics[5].index=5 spec.nics[5].type=User \
  spec.nics[6].index=6 spec.nics[6].type=User spec.nics[7].index=7 spec.nics[7].type=User \
  spec.nics[8].index=8 spec.nics[8].type=User spec.nics[9].index=9 spec.nics[9].type=User \
  spec.nics[10].index=10 spec.nics[10].type=User spec.nics[11].index=11 spec.nics[11].type=User \
  spec.nics[12].index=12 spec.nics[12].type=User spec.nics[13].index=13 spec.nics[13].type=User \
  spec.nics[14].index=14 spec.nics[14].type=User spec.nics[15].index=15 spec.nics[15].type=User \
  spec.nics[16].index=16 spec.nics[16].type=User spec.nics[17].index=17 spec.nics[17].type=User \
  spec.nics[18].index=18 spec.nics[18].type=User spec.nics[19].index=19 spec.nics[19].type=User \
  spec.nics[20].index=20 spec.nics[20].type=User spec.nics[21].index=21 spec.nics[21].type=User \
  spec.nics[22].index=22 spec.nics[22].type=User spec.nics[23].index=23 spec.nics[23].type=User \
  spec.nics[24].index=24 spec.nics[24].type=User spec.nics[25].index=25 spec.nics[25].type=User \
  spec.nics[26].index=26 spec.nics[26].type=User
create_vm with-27 spec.nics[27].index=27 spec.nics[27].type=User as r1
    vm.events       Reply r1 INVALID_ARGUMENT "1 disks, 0 CD-ROMs and 28 NICs are more than the machine has slots for: at most 28 disks and NICs together, and 4 CD-ROMs"
create_vm linux spec.cdroms[0].index=0 spec.cdroms[1].index=1 spec.cdroms[2].index=2 \
  spec.cdroms[3].index=3 spec.cdroms[4].index=4 as r2
    vm.events       Reply r2 INVALID_ARGUMENT "1 disks, 5 CD-ROMs and 0 NICs are more than the machine has slots for: at most 28 disks and NICs together, and 4 CD-ROMs"
show vm
    there is no record
create_vm with-27 as r3
    vm.events       StatusChanged Unspecified -> Created (Request)
    vm.events       Reply r3 ok
