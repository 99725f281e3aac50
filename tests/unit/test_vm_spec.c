/* What a specification means once its defaults are filled in: S1 to S6. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "common/base/text.h"
#include "services/vm-service/vm_spec.h"

#define VM_UUID "11111111-2222-4333-8444-555555555555"

static const guint64 MIB = G_GUINT64_CONSTANT(1) << 20;

static VmSpec *spec_new(VbArena *arena, Firmware firmware)
{
    VmSpec *spec = ARENA_MSG(arena, vm_spec);
    spec->name = (char *)"a VM";
    spec->firmware = firmware;
    spec->vcpus = 1;
    spec->memory_bytes = 64 * MIB;
    spec->storage = ARENA_MSG(arena, storage_ref);
    spec->storage->name = (char *)"pool";
    spec->storage->type = STORAGE_TYPE_LOCAL;
    return spec;
}

static VmSpec *resolved(VbArena *arena, const VmSpec *asked, const Settings *settings)
{
    Error *error = NULL;
    VmSpec *spec = vm_spec_resolve(arena, VM_UUID, asked, NULL, settings, &error);
    if (spec == NULL) {
        fail_msg("%s", error->message);
    }
    return spec;
}

/* S1: as events, logs and the command line spell them. */
static void volume_types_have_one_spelling(void **state)
{
    (void)state;
    static const struct {
        VolumeType type;
        const char *name;
    } types[] = {
        {VOLUME_TYPE_ROOT, "Root"},     {VOLUME_TYPE_DATA, "Data"},
        {VOLUME_TYPE_MEMORY, "Memory"}, {VOLUME_TYPE_CACHE, "Cache"},
        {VOLUME_TYPE_NV_RAM, "NvRam"},  {VOLUME_TYPE_TPM_STATE, "TpmState"},
    };
    for (size_t i = 0; i < G_N_ELEMENTS(types); i++) {
        assert_string_equal(ENUM_LABEL(volume_type, types[i].type), types[i].name);
    }
    /* With UNSPECIFIED there is no other. */
    assert_int_equal(volume_type__descriptor.n_values, G_N_ELEMENTS(types) + 1);
}

/* S2, S3, S6: whatever a control plane says, but for the size. */
static void nvram_has_its_vms_name_and_the_root_disks_storage(void **state)
{
    (void)state;
    g_autoptr(VbArena) arena = arena_new();
    Settings settings = SETTINGS__INIT;
    VmSpec *asked = spec_new(arena, FIRMWARE_UEFI);
    asked->secure_boot = TOGGLE_ON;
    const NvramSpec *nvram = resolved(arena, asked, &settings)->nvram;
    assert_string_equal(nvram->name, "nvram-of-VM-" VM_UUID);
    assert_int_equal(nvram->size_bytes, MIB);
    assert_string_equal(nvram->storage->name, "pool");
    assert_string_equal(nvram->volume_uuid, "");

    asked->nvram = ARENA_MSG(arena, nvram_spec);
    asked->nvram->name = (char *)"mine";
    asked->nvram->size_bytes = 2 * MIB;
    nvram = resolved(arena, asked, &settings)->nvram;
    assert_string_equal(nvram->name, "nvram-of-VM-" VM_UUID);
    assert_string_equal(nvram->volume_uuid, "");
    assert_int_equal(nvram->size_bytes, 2 * MIB);
}

/* S14: an UpdateVm may send back what it was shown, or leave it out; it names no other volume. */
static void nvram_volume_stays_what_it_was(void **state)
{
    (void)state;
    static const char VOLUME[] = "11111111-2222-4333-8444-000000000001";
    g_autoptr(VbArena) arena = arena_new();
    Settings settings = SETTINGS__INIT;
    Error *error = NULL;
    VmSpec *asked = spec_new(arena, FIRMWARE_UEFI);
    asked->secure_boot = TOGGLE_ON;
    VmSpec *before = resolved(arena, asked, &settings);
    before->nvram->volume_uuid = (char *)VOLUME;
    VmSpec *after = vm_spec_resolve(arena, VM_UUID, asked, before, &settings, &error);
    assert_string_equal(after->nvram->volume_uuid, VOLUME);
    after = vm_spec_resolve(arena, VM_UUID, after, before, &settings, &error);
    assert_string_equal(after->nvram->volume_uuid, VOLUME);
    after->nvram->volume_uuid = (char *)VM_UUID;
    assert_null(vm_spec_resolve(arena, VM_UUID, after, before, &settings, &error));
    assert_int_equal(error->code, ERROR_CODE_INVALID_ARGUMENT);
}

/* S4: each combination, by the rule and by the policy. */
static void nvram_is_needed_by_uefi_with_tpm_or_secure_boot(void **state)
{
    (void)state;
    g_autoptr(VbArena) arena = arena_new();
    static const Firmware firmwares[] = {FIRMWARE_UNSPECIFIED, FIRMWARE_LEGACY_BIOS, FIRMWARE_UEFI,
                                         FIRMWARE_UEFI_WITH_CSM};
    for (guint i = 0; i < 2 * 2 * 2 * G_N_ELEMENTS(firmwares); i++) {
        gboolean tpm = (i & 1) != 0;
        gboolean secure_boot = (i & 2) != 0;
        Settings settings = SETTINGS__INIT;
        settings.nvram_for_all_uefi = (i & 4) != 0;
        VmSpec *spec = spec_new(arena, firmwares[i / 8]);
        spec->tpm = tpm ? ARENA_MSG(arena, tpm_spec) : NULL;
        spec->secure_boot = secure_boot ? TOGGLE_ON : TOGGLE_OFF;
        gboolean is_uefi = i / 8 >= 2;
        assert_int_equal(vm_spec_needs_nvram(spec, &settings),
                         is_uefi && (tpm || secure_boot || settings.nvram_for_all_uefi));
    }
}

/* S5: what a deployment says holds for VMs that say nothing, and for UEFI alone. */
static void secure_boot_is_off_unless_somebody_says_on(void **state)
{
    (void)state;
    g_autoptr(VbArena) arena = arena_new();
    Settings plain = SETTINGS__INIT;
    Settings strict = SETTINGS__INIT;
    strict.secure_boot_default = TOGGLE_ON;
    VmSpec *uefi = spec_new(arena, FIRMWARE_UEFI);
    assert_int_equal(resolved(arena, uefi, &plain)->secure_boot, TOGGLE_OFF);
    assert_null(resolved(arena, uefi, &plain)->nvram);
    assert_int_equal(resolved(arena, uefi, &strict)->secure_boot, TOGGLE_ON);
    assert_non_null(resolved(arena, uefi, &strict)->nvram);
    const VmSpec *legacy = spec_new(arena, FIRMWARE_LEGACY_BIOS);
    assert_int_equal(resolved(arena, legacy, &strict)->secure_boot, TOGGLE_OFF);
    uefi->secure_boot = TOGGLE_OFF;
    assert_int_equal(resolved(arena, uefi, &strict)->secure_boot, TOGGLE_OFF);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(volume_types_have_one_spelling),
        cmocka_unit_test(nvram_has_its_vms_name_and_the_root_disks_storage),
        cmocka_unit_test(nvram_volume_stays_what_it_was),
        cmocka_unit_test(nvram_is_needed_by_uefi_with_tpm_or_secure_boot),
        cmocka_unit_test(secure_boot_is_off_unless_somebody_says_on),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
