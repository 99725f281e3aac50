/* virtbus-vm-service: the VM's configuration, status, epoch, running operation and replies. */
#include "common/bus/service_main.h"
#include "services/vm-service/vm_core.h"

int main(int argc, char **argv)
{
    return service_main(argc, argv, &vm_service);
}
