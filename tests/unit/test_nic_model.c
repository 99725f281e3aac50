/* Which model, MAC and queues a NIC gets: N1, N2, N3, N5. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <string.h>

#include "services/host-agent/domain_xml.h"

#define VM_UUID "7c9e6679-7425-40de-944b-e07fc1f90ae7"

enum { MAX_QUEUES = 4 };

static VbArena *arena;

static int set_up(void **state)
{
    (void)state;
    arena = arena_new();
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    arena_free(arena);
    return 0;
}

static EffectiveNic *resolve(Platform platform, NicType type, NicModel model)
{
    VmSpec *spec = ARENA_MSG(arena, vm_spec);
    NicSpec *nic = ARENA_MSG(arena, nic_spec);
    spec->platform = platform;
    spec->vcpus = 8;
    nic->type = type;
    nic->model = model;
    nic->queues = 3;
    return nic_resolve(arena, VM_UUID, spec, nic, NULL, MAX_QUEUES);
}

static void assert_nic(const EffectiveNic *nic, NicModel asked, NicModel effective, guint queues)
{
    assert_int_equal(nic->asked_model, asked);
    assert_int_equal(nic->effective_model, effective);
    assert_int_equal(nic->coerced, asked != effective);
    assert_int_equal(nic->queues, queues);
}

static void vhost_user_is_always_virtio(void **state)
{
    (void)state;
    assert_nic(resolve(PLATFORM_WINDOWS, NIC_TYPE_VHOST_USER, NIC_MODEL_UNSPECIFIED),
               NIC_MODEL_E1000, NIC_MODEL_VIRTIO, 3);
    assert_nic(resolve(PLATFORM_OTHER, NIC_TYPE_VHOST_USER, NIC_MODEL_UNSPECIFIED), NIC_MODEL_E1000,
               NIC_MODEL_VIRTIO, 3);
    const NicModel refused[] = {NIC_MODEL_E1000, NIC_MODEL_E1000E, NIC_MODEL_RTL8139};
    for (size_t i = 0; i < G_N_ELEMENTS(refused); i++) {
        assert_nic(resolve(PLATFORM_LINUX, NIC_TYPE_VHOST_USER, refused[i]), refused[i],
                   NIC_MODEL_VIRTIO, 3);
    }
}

static void virtio_kinds_are_kept_on_vhost_user(void **state)
{
    (void)state;
    const NicModel kept[] = {NIC_MODEL_VIRTIO, NIC_MODEL_VIRTIO_TRANSITIONAL,
                             NIC_MODEL_VIRTIO_NON_TRANSITIONAL};
    for (size_t i = 0; i < G_N_ELEMENTS(kept); i++) {
        assert_nic(resolve(PLATFORM_WINDOWS, NIC_TYPE_VHOST_USER, kept[i]), kept[i], kept[i], 3);
    }
}

static void other_nics_follow_the_choice_else_the_platform(void **state)
{
    (void)state;
    static const struct {
        Platform platform;
        NicModel model;
    } defaults[] = {
        {PLATFORM_LINUX, NIC_MODEL_VIRTIO},
        {PLATFORM_WINDOWS_VIRTIO, NIC_MODEL_VIRTIO},
        {PLATFORM_PARAVIRTUALIZATION, NIC_MODEL_VIRTIO},
        {PLATFORM_WINDOWS, NIC_MODEL_E1000},
        {PLATFORM_OTHER, NIC_MODEL_E1000},
        {PLATFORM_UNSPECIFIED, NIC_MODEL_E1000},
    };
    for (size_t i = 0; i < G_N_ELEMENTS(defaults); i++) {
        NicModel model = defaults[i].model;
        assert_nic(resolve(defaults[i].platform, NIC_TYPE_BRIDGE, NIC_MODEL_UNSPECIFIED), model,
                   model, model == NIC_MODEL_VIRTIO ? 3 : 1);
        assert_nic(resolve(defaults[i].platform, NIC_TYPE_BRIDGE, NIC_MODEL_RTL8139),
                   NIC_MODEL_RTL8139, NIC_MODEL_RTL8139, 1);
    }
}

static void the_platform_is_the_vms_else_the_images(void **state)
{
    (void)state;
    VmSpec *spec = ARENA_MSG(arena, vm_spec);
    assert_int_equal(domain_platform(spec), PLATFORM_OTHER);
    spec->image_platform = PLATFORM_LINUX;
    assert_int_equal(domain_platform(spec), PLATFORM_LINUX);
    spec->platform = PLATFORM_WINDOWS;
    assert_int_equal(domain_platform(spec), PLATFORM_WINDOWS);
}

static guint queues(NicType type, guint vcpus, guint asked, guint max_queues)
{
    VmSpec *spec = ARENA_MSG(arena, vm_spec);
    NicSpec *nic = ARENA_MSG(arena, nic_spec);
    spec->vcpus = vcpus;
    nic->type = type;
    nic->model = NIC_MODEL_VIRTIO;
    nic->queues = asked;
    return nic_resolve(arena, VM_UUID, spec, nic, NULL, max_queues)->queues;
}

static void queues_stay_within_all_limits(void **state)
{
    (void)state;
    assert_int_equal(queues(NIC_TYPE_BRIDGE, 8, 0, 4), 1);
    assert_int_equal(queues(NIC_TYPE_BRIDGE, 8, 4, 4), 4);
    assert_int_equal(queues(NIC_TYPE_BRIDGE, 8, 5, 4), 4);
    assert_int_equal(queues(NIC_TYPE_BRIDGE, 2, 5, 4), 2);
    assert_int_equal(queues(NIC_TYPE_VHOST_USER, 8, G_MAXUINT32, 16), 8);
    assert_int_equal(queues(NIC_TYPE_BRIDGE, 8, 5, 0), 1);
    assert_int_equal(queues(NIC_TYPE_USER, 8, 5, 4), 1);
}

static char *mac(const char *vm_uuid, guint32 index, const char *asked, const char *before)
{
    VmSpec *spec = ARENA_MSG(arena, vm_spec);
    NicSpec *nic = ARENA_MSG(arena, nic_spec);
    EffectiveNic *record = ARENA_MSG(arena, effective_nic);
    nic->index = index;
    nic->mac = arena_strdup(arena, asked);
    record->mac = arena_strdup(arena, before != NULL ? before : "");
    const EffectiveNic *last = before != NULL ? record : NULL;
    EffectiveNic *result = nic_resolve(arena, vm_uuid, spec, nic, last, MAX_QUEUES);
    assert_int_equal(result->index, index);
    return result->mac;
}

static void the_mac_is_asked_recorded_or_derived(void **state)
{
    (void)state;
    assert_string_equal(mac(VM_UUID, 0, "52:54:00:00:00:01", "52:54:00:00:00:02"),
                        "52:54:00:00:00:01");
    assert_string_equal(mac(VM_UUID, 0, "", "52:54:00:00:00:02"), "52:54:00:00:00:02");
    assert_string_equal(mac(VM_UUID, 0, "", ""), mac(VM_UUID, 0, "", NULL));
    /* Fixed for ever: a VM that was recorded elsewhere must find the same address. */
    assert_string_equal(mac(VM_UUID, 0, "", NULL), "52:54:00:06:13:0b");
    assert_string_not_equal(mac(VM_UUID, 0, "", NULL), mac(VM_UUID, 1, "", NULL));
    assert_string_not_equal(mac(VM_UUID, 0, "", NULL),
                            mac("7c9e6679-7425-40de-944b-e07fc1f90ae8", 0, "", NULL));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(vhost_user_is_always_virtio, set_up, tear_down),
        cmocka_unit_test_setup_teardown(virtio_kinds_are_kept_on_vhost_user, set_up, tear_down),
        cmocka_unit_test_setup_teardown(other_nics_follow_the_choice_else_the_platform, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(the_platform_is_the_vms_else_the_images, set_up, tear_down),
        cmocka_unit_test_setup_teardown(queues_stay_within_all_limits, set_up, tear_down),
        cmocka_unit_test_setup_teardown(the_mac_is_asked_recorded_or_derived, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
