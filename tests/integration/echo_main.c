/* The echo service as a process, wired as every service is. */
#include "common/bus/service_main.h"
#include "tests/lib/echo_service.h"

int main(int argc, char **argv)
{
    return service_main(argc, argv, &echo_service);
}
