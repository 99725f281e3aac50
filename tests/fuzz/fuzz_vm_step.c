/* fuzz_vm_step: vm-service's step under the real loop. See service_fuzz.h. */
#include "services/vm-service/vm_core.h"
#include "services/vm-service/vm_spec.h"
#include "tests/fuzz/fuzz.h"
#include "tests/fuzz/service_fuzz.h"

/* Whatever was asked and reported, the record's configuration is one that may be asked for. */
static char *spec_judge(VbArena *arena, const StateRecord *state, const Settings *settings)
{
    const VmRecord *vm = state->vm;
    Error *error = NULL;
    if (vm->status == VM_STATUS_EXPUNGED ||
        vm_spec_resolve(arena, "", vm->spec, vm->spec, settings, &error) != NULL) {
        return NULL;
    }
    return g_strdup_printf("the record's configuration cannot be: %s", error->message);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size_bytes)
{
    service_fuzz(&vm_service, spec_judge, data, size_bytes);
    return 0;
}
