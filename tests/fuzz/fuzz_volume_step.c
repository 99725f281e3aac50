/* fuzz_volume_step: volume-service's step under the real loop. See service_fuzz.h. */
#include "services/volume-service/volume_core.h"
#include "tests/fuzz/fuzz.h"
#include "tests/fuzz/service_fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size_bytes)
{
    service_fuzz(&volume_service, NULL, data, size_bytes);
    return 0;
}
