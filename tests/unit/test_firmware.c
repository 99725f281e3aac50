/* Firmware descriptors: those that this system really has, and those that a system might. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <string.h>

#include "services/host-agent/firmware.h"

#define SYSTEM_FOLDER "/usr/share/qemu/firmware"

typedef struct {
    VbArena *arena;
    GPtrArray *problems;
} Fixture;

static int set_up(void **state)
{
    Fixture *fixture = g_new0(Fixture, 1);
    fixture->arena = arena_new();
    fixture->problems = g_ptr_array_new();
    *state = fixture;
    return 0;
}

static int tear_down(void **state)
{
    Fixture *fixture = *state;
    arena_free(fixture->arena);
    g_ptr_array_unref(fixture->problems);
    g_free(fixture);
    return 0;
}

/* A descriptor with one part replaced. */
static char *descriptor_with(Fixture *fixture, const char *from, const char *to)
{
    g_autoptr(GString) text =
        g_string_new("{\"description\":\"x\",\"interface-types\":[\"uefi\"],"
                     "\"mapping\":{\"device\":\"flash\","
                     "\"executable\":{\"filename\":\"/code.fd\",\"format\":\"raw\"},"
                     "\"nvram-template\":{\"filename\":\"/vars.fd\",\"format\":\"raw\"}},"
                     "\"targets\":[{\"architecture\":\"x86_64\",\"machines\":[\"pc-q35-*\"]}],"
                     "\"features\":[\"acpi-s3\"],\"tags\":[]}");
    if (from != NULL) {
        assert_int_equal(g_string_replace(text, from, to, 0), 1);
    }
    return arena_strdup(fixture->arena, text->str);
}

static GPtrArray *parse_one(Fixture *fixture, const char *json)
{
    const VbDescriptor descriptor = {.name = "10-one.json", .json = json};
    return firmware_parse(fixture->arena, &descriptor, 1, fixture->problems);
}

static void reads_what_this_system_has(void **state)
{
    Fixture *fixture = *state;
    g_autoptr(GArray) descriptors = g_array_new(FALSE, FALSE, sizeof(VbDescriptor));
    g_autoptr(GDir) folder = g_dir_open(SYSTEM_FOLDER, 0, NULL);
    assert_non_null(folder);
    for (const char *name = g_dir_read_name(folder); name != NULL; name = g_dir_read_name(folder)) {
        g_autofree char *path = g_build_filename(SYSTEM_FOLDER, name, NULL);
        g_autofree char *json = NULL;
        assert_true(g_file_get_contents(path, &json, NULL, NULL));
        VbDescriptor descriptor = {.name = arena_strdup(fixture->arena, name),
                                   .json = arena_strdup(fixture->arena, json)};
        g_array_append_val(descriptors, descriptor);
    }
    g_autoptr(GPtrArray) refs =
        firmware_parse(fixture->arena, (const VbDescriptor *)(void *)descriptors->data,
                       descriptors->len, fixture->problems);
    assert_int_equal(fixture->problems->len, 0);

    FirmwareClass wanted = FIRMWARE_CLASS__INIT;
    wanted.firmware = FIRMWARE_UEFI;
    wanted.secure_boot = TRUE;
    const FirmwareRef *secure = firmware_choose(refs, &wanted, NULL);
    assert_non_null(secure);
    assert_string_equal(secure->code_path, "/usr/share/OVMF/OVMF_CODE_4M.ms.fd");
    assert_string_equal(secure->template_path, "/usr/share/OVMF/OVMF_VARS_4M.ms.fd");
    assert_string_equal(secure->descriptor, "40-edk2-x86_64-secure-enrolled.json");
    wanted.secure_boot = FALSE;
    const FirmwareRef *plain = firmware_choose(refs, &wanted, NULL);
    assert_non_null(plain);
    assert_string_equal(plain->code_path, "/usr/share/OVMF/OVMF_CODE_4M.fd");
    assert_string_equal(plain->template_path, "/usr/share/OVMF/OVMF_VARS_4M.fd");
}

static void reads_a_descriptor(void **state)
{
    Fixture *fixture = *state;
    g_autoptr(GPtrArray) refs = parse_one(fixture, descriptor_with(fixture, NULL, NULL));
    assert_int_equal(refs->len, 1);
    const FirmwareRef *ref = g_ptr_array_index(refs, 0);
    assert_string_equal(ref->code_path, "/code.fd");
    assert_string_equal(ref->template_path, "/vars.fd");
    assert_string_equal(ref->descriptor, "10-one.json");
    assert_int_equal(ref->class_->firmware, FIRMWARE_UEFI);
    assert_int_equal(ref->class_->nvram_bytes, 0);
    assert_false(ref->class_->secure_boot);
    assert_int_equal(fixture->problems->len, 0);
}

static void leaves_out_what_cannot_be_used(void **state)
{
    Fixture *fixture = *state;
    static const char *const changes[][2] = {
        {"\"device\":\"flash\"", "\"device\":\"flash\",\"mode\":\"stateless\""},
        {"\"device\":\"flash\"", "\"device\":\"flash\",\"mode\":\"combined\""},
        {"\"device\":\"flash\"", "\"device\":\"memory\""},
        {"\"/code.fd\",\"format\":\"raw\"", "\"/code.fd\",\"format\":\"qcow2\""},
        {"\"/vars.fd\",\"format\":\"raw\"", "\"/vars.fd\",\"format\":\"qcow2\""},
        {"x86_64", "aarch64"},
        {"pc-q35-*", "pc-i440fx-*"},
        {"[\"uefi\"]", "[\"bios\"]"},
        /* Some of the three, not all. */
        {"acpi-s3", "secure-boot\",\"requires-smm"},
        {"acpi-s3", "enrolled-keys"},
        {"acpi-s3", "requires-smm"},
    };
    for (size_t i = 0; i < G_N_ELEMENTS(changes); i++) {
        g_autoptr(GPtrArray) refs =
            parse_one(fixture, descriptor_with(fixture, changes[i][0], changes[i][1]));
        assert_int_equal(refs->len, 0);
        assert_int_equal(fixture->problems->len, 0);
    }
}

static void accepts_other_spellings(void **state)
{
    Fixture *fixture = *state;
    static const char *const changes[][2] = {
        {"\"device\":\"flash\"", "\"device\":\"flash\",\"mode\":\"split\""},
        {"pc-q35-*", "pc-i440fx-*\",\"pc-q35-*"},
        {"pc-q35-*", "pc-*"},
        {"pc-q35-*", "pc-q35-9.0"},
        {"\"acpi-s3\"", "\"secure-boot\",\"x\",\"requires-smm\",\"enrolled-keys\""},
    };
    for (size_t i = 0; i < G_N_ELEMENTS(changes); i++) {
        g_autoptr(GPtrArray) refs =
            parse_one(fixture, descriptor_with(fixture, changes[i][0], changes[i][1]));
        assert_int_equal(refs->len, 1);
    }
}

static void names_each_malformed_one(void **state)
{
    Fixture *fixture = *state;
    static const char *const changes[][2] = {
        {"\"interface-types\"", "\"x\""}, {"[\"uefi\"]", "\"uefi\""}, {"\"targets\"", "\"x\""},
        {"[\"acpi-s3\"]", "7"},           {"\"mapping\"", "\"x\""},   {"\"flash\"", "7"},
        {"\"/code.fd\"", "\"code.fd\""},  {"\"/code.fd\"", "null"},   {"\"/vars.fd\"", "[]"},
        {"\"tags\":[]}", "\"tags\":[]"},
    };
    for (size_t i = 0; i < G_N_ELEMENTS(changes); i++) {
        g_autoptr(GPtrArray) refs =
            parse_one(fixture, descriptor_with(fixture, changes[i][0], changes[i][1]));
        assert_int_equal(refs->len, 0);
        assert_int_equal(fixture->problems->len, i + 1);
        const char *problem = g_ptr_array_index(fixture->problems, i);
        assert_non_null(strstr(problem, "10-one.json"));
    }
    const char *const not_objects[] = {"[]", "7", "null", " ", "\"x\"", "{"};
    for (size_t i = 0; i < G_N_ELEMENTS(not_objects); i++) {
        g_autoptr(GPtrArray) refs = parse_one(fixture, not_objects[i]);
        assert_int_equal(refs->len, 0);
        assert_int_equal(fixture->problems->len, G_N_ELEMENTS(changes) + i + 1);
    }
}

static void strange_list_members_do_no_harm(void **state)
{
    Fixture *fixture = *state;
    g_autoptr(GPtrArray) refs =
        parse_one(fixture, descriptor_with(fixture, "\"targets\":[",
                                           "\"targets\":[7,null,{},[],"
                                           "{\"architecture\":\"x86_64\"},"));
    assert_int_equal(refs->len, 1);
    g_autoptr(GPtrArray) features =
        parse_one(fixture, descriptor_with(fixture, "\"acpi-s3\"", "7,null,{},[\"secure-boot\"]"));
    assert_int_equal(features->len, 1);
}

static void orders_by_name_and_lets_the_later_folder_win(void **state)
{
    Fixture *fixture = *state;
    char *system = descriptor_with(fixture, "/code.fd", "/system.fd");
    char *etc = descriptor_with(fixture, "/code.fd", "/etc.fd");
    const VbDescriptor descriptors[] = {
        {.name = "50-b.json", .json = system}, {.name = "60-hidden.json", .json = system},
        {.name = "50-b.json", .json = etc},    {.name = "60-hidden.json", .json = ""},
        {.name = "40-a.json", .json = system},
    };
    g_autoptr(GPtrArray) refs =
        firmware_parse(fixture->arena, descriptors, G_N_ELEMENTS(descriptors), fixture->problems);
    assert_int_equal(refs->len, 2);
    const FirmwareRef *first = g_ptr_array_index(refs, 0);
    const FirmwareRef *second = g_ptr_array_index(refs, 1);
    assert_string_equal(first->descriptor, "40-a.json");
    assert_string_equal(second->descriptor, "50-b.json");
    assert_string_equal(second->code_path, "/etc.fd");
    assert_int_equal(fixture->problems->len, 0);
}

static void chooses_by_class_and_size(void **state)
{
    Fixture *fixture = *state;
    const VbDescriptor descriptors[] = {
        {.name = "1-csm.json",
         .json = descriptor_with(fixture, "[\"uefi\"]", "[\"bios\",\"uefi\"]")},
        {.name = "2-secure.json",
         .json =
             descriptor_with(fixture, "acpi-s3", "secure-boot\",\"requires-smm\",\"enrolled-keys")},
        {.name = "3-small.json", .json = descriptor_with(fixture, NULL, NULL)},
        {.name = "4-large.json", .json = descriptor_with(fixture, NULL, NULL)},
    };
    g_autoptr(GPtrArray) refs =
        firmware_parse(fixture->arena, descriptors, G_N_ELEMENTS(descriptors), NULL);
    assert_int_equal(refs->len, 4);
    for (guint i = 0; i < refs->len; i++) {
        FirmwareRef *ref = g_ptr_array_index(refs, i);
        ref->class_->nvram_bytes = i == 2 ? 131072 : 540672;
    }
    FirmwareClass wanted = FIRMWARE_CLASS__INIT;
    wanted.firmware = FIRMWARE_UEFI;
    assert_string_equal(firmware_choose(refs, &wanted, NULL)->descriptor, "3-small.json");
    wanted.nvram_bytes = 540672;
    assert_string_equal(firmware_choose(refs, &wanted, NULL)->descriptor, "4-large.json");
    wanted.secure_boot = TRUE;
    assert_string_equal(firmware_choose(refs, &wanted, NULL)->descriptor, "2-secure.json");
    wanted.firmware = FIRMWARE_UEFI_WITH_CSM;
    wanted.secure_boot = FALSE;
    assert_string_equal(firmware_choose(refs, &wanted, NULL)->descriptor, "1-csm.json");
}

static void says_what_there_is_instead(void **state)
{
    Fixture *fixture = *state;
    g_autoptr(GPtrArray) refs = parse_one(fixture, descriptor_with(fixture, NULL, NULL));
    FirmwareClass wanted = FIRMWARE_CLASS__INIT;
    wanted.firmware = FIRMWARE_UEFI_WITH_CSM;
    g_autoptr(GError) error = NULL;
    assert_null(firmware_choose(refs, &wanted, &error));
    assert_true(g_error_matches(error, VB_ERROR, ERROR_CODE_FIRMWARE_NOT_FOUND));
    assert_string_equal(error->message,
                        "this host has no firmware build for UefiWithCsm with Secure Boot off; it "
                        "has 10-one.json (Uefi with Secure Boot off). Install one with its QEMU "
                        "descriptor, or choose another host");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(reads_what_this_system_has, set_up, tear_down),
        cmocka_unit_test_setup_teardown(reads_a_descriptor, set_up, tear_down),
        cmocka_unit_test_setup_teardown(leaves_out_what_cannot_be_used, set_up, tear_down),
        cmocka_unit_test_setup_teardown(accepts_other_spellings, set_up, tear_down),
        cmocka_unit_test_setup_teardown(names_each_malformed_one, set_up, tear_down),
        cmocka_unit_test_setup_teardown(strange_list_members_do_no_harm, set_up, tear_down),
        cmocka_unit_test_setup_teardown(orders_by_name_and_lets_the_later_folder_win, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(chooses_by_class_and_size, set_up, tear_down),
        cmocka_unit_test_setup_teardown(says_what_there_is_instead, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
