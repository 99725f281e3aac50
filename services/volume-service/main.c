/* virtbus-volume-service: every volume of a VM, and NVRAM's whole life. */
#include "common/bus/service_main.h"
#include "services/volume-service/volume_core.h"

int main(int argc, char **argv)
{
    return service_main(argc, argv, &volume_service);
}
