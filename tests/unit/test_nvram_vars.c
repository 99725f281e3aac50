/* Variable stores: OVMF's own templates, and every way in which bytes can be wrong. Buffers have
 * exactly the size of their bytes, so that the address sanitizer sees one read too many. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <string.h>

#include "services/host-agent/nvram_vars.h"

#define PLAIN_4M  "/usr/share/OVMF/OVMF_VARS_4M.fd"
#define SECURE_4M "/usr/share/OVMF/OVMF_VARS_4M.ms.fd"
#define PLAIN_2M  "/usr/share/OVMF/OVMF_VARS.fd"

enum {
    STORE_AT = 72,
    VARIABLES_AT = STORE_AT + 28,
    HEADER_BYTES = 60,
};

static GByteArray *load(const char *path)
{
    char *bytes = NULL;
    gsize size_bytes = 0;
    if (!g_file_get_contents(path, &bytes, &size_bytes, NULL)) {
        fail_msg("%s is not there: install the package ovmf", path);
    }
    return g_byte_array_new_take((guint8 *)bytes, size_bytes);
}

static gboolean read_exactly(const guint8 *bytes, size_t size_bytes, VbNvramFacts *ret_facts,
                             GError **error)
{
    g_autofree guint8 *exact = g_memdup2(bytes, size_bytes);
    return nvram_vars_read(exact, size_bytes, ret_facts, error);
}

static VbNvramFacts read_sound(const GByteArray *store)
{
    VbNvramFacts facts;
    g_autoptr(GError) error = NULL;
    gboolean sound = read_exactly(store->data, store->len, &facts, &error);
    assert_null(error);
    assert_true(sound);
    return facts;
}

static void assert_corrupt(const guint8 *bytes, size_t size_bytes)
{
    VbNvramFacts facts;
    g_autoptr(GError) error = NULL;
    assert_false(read_exactly(bytes, size_bytes, &facts, &error));
    assert_true(g_error_matches(error, VB_ERROR, ERROR_CODE_NVRAM_CORRUPT));
}

static void put_u32(GByteArray *store, size_t at, guint32 value)
{
    value = GUINT32_TO_LE(value);
    memcpy(store->data + at, &value, 4);
}

/* --- Building stores */

static const guint8 GLOBAL[16] = {0x61, 0xdf, 0xe4, 0x8b, 0xca, 0x93, 0xd2, 0x11,
                                  0xaa, 0x0d, 0x00, 0xe0, 0x98, 0x03, 0x2b, 0x8c};
static const guint8 SECURE_BOOT_ENABLE[16] = {0xc7, 0x0b, 0xa3, 0xf0, 0x08, 0xaf, 0x56, 0x45,
                                              0x99, 0xc4, 0x00, 0x10, 0x09, 0xc9, 0x3a, 0x44};
static const guint8 MTC[16] = {0x11, 0x40, 0x70, 0xeb, 0x02, 0x14, 0xd3, 0x11,
                               0x8e, 0x77, 0x00, 0xa0, 0xc9, 0x69, 0x72, 0x3b};

/* Writes a variable at `at`; returns the offset behind it. */
static size_t put_variable(GByteArray *store, size_t at, size_t header_bytes, guint8 state,
                           const guint8 *guid, const char *name, const void *data,
                           size_t data_bytes)
{
    size_t name_bytes = 2 * (strlen(name) + 1);
    guint8 *header = store->data + at;
    memset(header, 0, header_bytes + name_bytes);
    header[0] = 0xaa;
    header[1] = 0x55;
    header[2] = state;
    put_u32(store, at + header_bytes - 24, (guint32)name_bytes);
    put_u32(store, at + header_bytes - 20, (guint32)data_bytes);
    memcpy(header + header_bytes - 16, guid, 16);
    for (size_t i = 0; name[i] != '\0'; i++) {
        header[header_bytes + 2 * i] = (guint8)name[i];
    }
    memcpy(header + header_bytes + name_bytes, data, data_bytes);
    return (at + header_bytes + name_bytes + data_bytes + 3) / 4 * 4;
}

static size_t put(GByteArray *store, size_t at, guint8 state, const guint8 *guid, const char *name,
                  const char *data)
{
    return put_variable(store, at, HEADER_BYTES, state, guid, name, data, strlen(data));
}

/* --- The real templates */

static void reads_the_plain_templates(void **state)
{
    (void)state;
    const char *const paths[] = {PLAIN_4M, PLAIN_2M};
    for (size_t i = 0; i < G_N_ELEMENTS(paths); i++) {
        g_autoptr(GByteArray) store = load(paths[i]);
        VbNvramFacts facts = read_sound(store);
        assert_false(facts.has_pk);
        assert_false(facts.secure_boot);
        assert_false(facts.has_mtc);
        assert_int_equal(facts.n_variables, 0);
    }
}

static void reads_the_enrolled_template(void **state)
{
    (void)state;
    g_autoptr(GByteArray) store = load(SECURE_4M);
    VbNvramFacts facts = read_sound(store);
    assert_true(facts.has_pk);
    assert_true(facts.secure_boot);
    assert_true(facts.has_mtc);
    assert_int_equal(facts.mtc, 1);
    assert_int_equal(facts.n_variables, 31);
}

/* --- What makes Secure Boot */

static void secure_boot_follows_the_firmwares_own_rule(void **state)
{
    (void)state;
    static const struct {
        const char *pk;
        const char *enable;
        gboolean secure_boot;
    } cases[] = {
        {NULL, NULL, FALSE},    {NULL, "\1", FALSE}, {"key", "\1", TRUE},
        {"key", "\2", FALSE},   {"key", NULL, TRUE}, /* edk2 makes an absent one 1. */
        {"key", "\1\1", FALSE},
    };
    for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
        g_autoptr(GByteArray) store = load(PLAIN_4M);
        size_t at = VARIABLES_AT;
        if (cases[i].pk != NULL) {
            at = put(store, at, 0x3f, GLOBAL, "PK", cases[i].pk);
        }
        if (cases[i].enable != NULL) {
            put(store, at, 0x3f, SECURE_BOOT_ENABLE, "SecureBootEnable", cases[i].enable);
        }
        VbNvramFacts facts = read_sound(store);
        assert_int_equal(facts.has_pk, cases[i].pk != NULL);
        assert_int_equal(facts.secure_boot, cases[i].secure_boot);
    }
    g_autoptr(GByteArray) store = load(PLAIN_4M);
    size_t at = put(store, VARIABLES_AT, 0x3f, GLOBAL, "PK", "key");
    put_variable(store, at, HEADER_BYTES, 0x3f, SECURE_BOOT_ENABLE, "SecureBootEnable", "", 1);
    assert_false(read_sound(store).secure_boot);
}

static void names_and_vendors_must_be_exact(void **state)
{
    (void)state;
    g_autoptr(GByteArray) store = load(PLAIN_4M);
    size_t at = put(store, VARIABLES_AT, 0x3f, MTC, "PK", "key");
    at = put(store, at, 0x3f, GLOBAL, "PKx", "key");
    at = put(store, at, 0x3f, GLOBAL, "P", "key");
    at = put(store, at, 0x3f, GLOBAL, "pk", "key");
    put(store, at, 0x3f, GLOBAL, "MTC", "\1\1\1\1");
    VbNvramFacts facts = read_sound(store);
    assert_false(facts.has_pk);
    assert_false(facts.has_mtc);
    assert_int_equal(facts.n_variables, 5);
}

/* --- The life of a variable */

static void deleted_and_unfinished_variables_do_not_count(void **state)
{
    (void)state;
    const guint8 states[] = {0x7f, 0x3d, 0x3c, 0x7d, 0x00};
    for (size_t i = 0; i < G_N_ELEMENTS(states); i++) {
        g_autoptr(GByteArray) store = load(PLAIN_4M);
        size_t at = put(store, VARIABLES_AT, states[i], GLOBAL, "PK", "key");
        put(store, at, 0x3f, MTC, "MTC", "\5\4\3\2");
        VbNvramFacts facts = read_sound(store);
        assert_false(facts.has_pk);
        assert_int_equal(facts.mtc, 0x02030405);
        assert_int_equal(facts.n_variables, 1);
    }
}

static void the_finished_half_of_a_replacement_counts(void **state)
{
    (void)state;
    g_autoptr(GByteArray) both = load(PLAIN_4M);
    size_t at = put(both, VARIABLES_AT, 0x3e, MTC, "MTC", "\1\1\1\1");
    put(both, at, 0x3f, MTC, "MTC", "\2\2\2\2");
    assert_int_equal(read_sound(both).mtc, 0x02020202);

    g_autoptr(GByteArray) reversed = load(PLAIN_4M);
    at = put(reversed, VARIABLES_AT, 0x3f, MTC, "MTC", "\2\2\2\2");
    put(reversed, at, 0x3e, MTC, "MTC", "\1\1\1\1");
    assert_int_equal(read_sound(reversed).mtc, 0x02020202);

    g_autoptr(GByteArray) old_half = load(PLAIN_4M);
    put(old_half, VARIABLES_AT, 0x3e, MTC, "MTC", "\1\1\1\1");
    assert_int_equal(read_sound(old_half).mtc, 0x01010101);
}

static void a_power_cut_in_the_middle_of_a_write_is_survived(void **state)
{
    (void)state;
    g_autoptr(GByteArray) store = load(PLAIN_4M);
    size_t at = put(store, VARIABLES_AT, 0x3f, MTC, "MTC", "\1\1\1\1");
    store->data[at] = 0xaa; /* Only the first bytes of the next header, sizes still erased. */
    store->data[at + 1] = 0x55;
    assert_int_equal(read_sound(store).mtc, 0x01010101);
    memset(store->data + at + 200, 0x12, 100); /* Data without a header. */
    assert_int_equal(read_sound(store).mtc, 0x01010101);
}

static void variables_behind_a_gap_are_damage(void **state)
{
    (void)state;
    g_autoptr(GByteArray) store = load(SECURE_4M);
    memset(store->data + VARIABLES_AT, 0, HEADER_BYTES);
    assert_corrupt(store->data, store->len);
    memset(store->data + VARIABLES_AT, 0xff, HEADER_BYTES);
    assert_corrupt(store->data, store->len);
}

static void reads_stores_without_authentication(void **state)
{
    (void)state;
    static const guint8 plain[16] = {0x16, 0x36, 0xcf, 0xdd, 0x75, 0x32, 0x64, 0x41,
                                     0x98, 0xb6, 0xfe, 0x85, 0x70, 0x7f, 0xfe, 0x7d};
    g_autoptr(GByteArray) store = load(PLAIN_2M);
    memcpy(store->data + STORE_AT, plain, sizeof plain);
    size_t at = put_variable(store, VARIABLES_AT, 32, 0x3f, GLOBAL, "PK", "key", 3);
    put_variable(store, at, 32, 0x3f, MTC, "MTC", "\7\0\0", 4);
    VbNvramFacts facts = read_sound(store);
    assert_true(facts.secure_boot);
    assert_int_equal(facts.mtc, 7);
}

/* --- Damage */

static void every_cut_is_found(void **state)
{
    (void)state;
    g_autoptr(GByteArray) store = load(SECURE_4M);
    for (size_t size_bytes = 0; size_bytes < 4096; size_bytes++) {
        assert_corrupt(store->data, size_bytes);
    }
    for (size_t size_bytes = store->len - 64; size_bytes < store->len; size_bytes++) {
        assert_corrupt(store->data, size_bytes);
    }
    /* A larger file with the store at its start hangs the firmware. */
    g_byte_array_set_size(store, 1024 * 1024);
    assert_corrupt(store->data, store->len);
}

/* A variable is moved byte by byte over the end of its store. */
static void the_end_of_the_store_is_a_wall(void **state)
{
    (void)state;
    const size_t end = 0xe000;
    const size_t variable_bytes = HEADER_BYTES + 6 + 3;
    for (size_t at = end - 128; at <= end; at += 4) {
        g_autoptr(GByteArray) store = load(PLAIN_2M);
        g_autofree guint8 *filler = g_malloc0(end);
        put_variable(store, VARIABLES_AT, HEADER_BYTES, 0x3f, GLOBAL, "x", filler,
                     at - VARIABLES_AT - HEADER_BYTES - 4);
        put(store, at, 0x3f, GLOBAL, "PK", "key");
        if (at + HEADER_BYTES > end) {
            assert_false(read_sound(store).has_pk);
        } else if (at + variable_bytes > end) {
            assert_corrupt(store->data, store->len);
        } else {
            assert_true(read_sound(store).has_pk);
        }
    }
}

static void every_byte_of_the_headers_matters(void **state)
{
    (void)state;
    g_autoptr(GByteArray) store = load(SECURE_4M);
    for (size_t at = 0; at < STORE_AT + 22; at++) {
        if (at == STORE_AT + 18) {
            continue; /* A store 64 KiB smaller: only the firmware knows that it is another's. */
        }
        store->data[at] ^= 0x01;
        assert_corrupt(store->data, store->len);
        store->data[at] ^= 0x01;
    }
    read_sound(store);
}

static void sizes_of_variables_are_not_believed(void **state)
{
    (void)state;
    const guint32 sizes[] = {0,          1,          2,          3,          5,         262072,
                             0x7fffffff, 0x80000000, 0xfffffff0, 0xfffffffe, 0xffffffff};
    for (size_t i = 0; i < G_N_ELEMENTS(sizes); i++) {
        g_autoptr(GByteArray) name = load(SECURE_4M);
        put_u32(name, VARIABLES_AT + 36, sizes[i]);
        assert_corrupt(name->data, name->len);
    }
    for (size_t i = 5; i < G_N_ELEMENTS(sizes); i++) {
        g_autoptr(GByteArray) data = load(SECURE_4M);
        put_u32(data, VARIABLES_AT + 40, sizes[i]);
        assert_corrupt(data->data, data->len);
    }
}

static void a_name_without_end_is_found(void **state)
{
    (void)state;
    g_autoptr(GByteArray) store = load(PLAIN_4M);
    put(store, VARIABLES_AT, 0x3f, GLOBAL, "PK", "key");
    store->data[VARIABLES_AT + HEADER_BYTES + 4] = 'x';
    assert_corrupt(store->data, store->len);
}

/* Any byte may change: no crash, no read outside. Same seed, same bytes. */
static void random_damage_does_no_harm(void **state)
{
    (void)state;
    g_autoptr(GRand) rand = g_rand_new_with_seed(20221122);
    g_autoptr(GByteArray) store = load(SECURE_4M);
    g_autoptr(GByteArray) small = load(PLAIN_2M);
    memcpy(small->data + VARIABLES_AT, store->data + VARIABLES_AT, 0x6000);
    for (int round = 0; round < 2000; round++) {
        g_autofree guint8 *bytes = g_memdup2(small->data, small->len);
        for (gint32 n = g_rand_int_range(rand, 1, 6); n > 0; n--) {
            bytes[g_rand_int_range(rand, STORE_AT, 0x6000)] =
                (guint8)g_rand_int_range(rand, 0, 256);
        }
        VbNvramFacts facts;
        g_autoptr(GError) error = NULL;
        gboolean sound = nvram_vars_read(bytes, small->len, &facts, &error);
        assert_int_equal(sound, error == NULL);
    }
    for (int round = 0; round < 1000; round++) {
        guint8 bytes[512];
        for (size_t i = 0; i < sizeof bytes; i++) {
            bytes[i] = (guint8)g_rand_int_range(rand, 0, 256);
        }
        assert_corrupt(bytes, sizeof bytes);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reads_the_plain_templates),
        cmocka_unit_test(reads_the_enrolled_template),
        cmocka_unit_test(secure_boot_follows_the_firmwares_own_rule),
        cmocka_unit_test(names_and_vendors_must_be_exact),
        cmocka_unit_test(deleted_and_unfinished_variables_do_not_count),
        cmocka_unit_test(the_finished_half_of_a_replacement_counts),
        cmocka_unit_test(a_power_cut_in_the_middle_of_a_write_is_survived),
        cmocka_unit_test(variables_behind_a_gap_are_damage),
        cmocka_unit_test(reads_stores_without_authentication),
        cmocka_unit_test(every_cut_is_found),
        cmocka_unit_test(the_end_of_the_store_is_a_wall),
        cmocka_unit_test(every_byte_of_the_headers_matters),
        cmocka_unit_test(sizes_of_variables_are_not_believed),
        cmocka_unit_test(a_name_without_end_is_found),
        cmocka_unit_test(random_damage_does_no_harm),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
