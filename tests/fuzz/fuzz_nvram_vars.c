/* fuzz_nvram_vars: the bytes of a variable store. What is accepted gives sane facts, and none that
 * depend on anything but the bytes. */
#include <stdlib.h>
#include <string.h>

#include "services/host-agent/nvram_vars.h"
#include "tests/fuzz/fuzz.h"

enum { VOLUME_LENGTH_AT = 32, HEADER_BYTES_AT = 48, CHECKSUM_AT = 50, HEADER_MIN_BYTES = 56 };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size_bytes)
{
    VbNvramFacts facts;
    VbNvramFacts again;
    g_autoptr(GError) error = NULL;
    memset(&facts, 0x55, sizeof(facts));
    memset(&again, 0xaa, sizeof(again));
    gboolean sound = nvram_vars_read(data, size_bytes, &facts, &error);
    if (sound == (error != NULL) ||
        (!sound && !g_error_matches(error, VB_ERROR, ERROR_CODE_NVRAM_CORRUPT)) ||
        nvram_vars_read(data, size_bytes, &again, NULL) != sound) {
        abort();
    }
    if (sound && (facts.has_pk != again.has_pk || facts.secure_boot != again.secure_boot ||
                  facts.has_mtc != again.has_mtc || (facts.has_mtc && facts.mtc != again.mtc) ||
                  facts.n_variables != again.n_variables || (facts.secure_boot && !facts.has_pk))) {
        abort();
    }
    return 0;
}

/* Mostly the length and the checksum are mended, or nothing behind them would ever be read. */
size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size_bytes, size_t max_bytes, unsigned seed)
{
    size_bytes = LLVMFuzzerMutate(data, size_bytes, max_bytes);
    size_t header_bytes =
        size_bytes < HEADER_MIN_BYTES ? 0 : data[HEADER_BYTES_AT] | data[HEADER_BYTES_AT + 1] << 8;
    if (seed % 8 == 0 || header_bytes < HEADER_MIN_BYTES || header_bytes > size_bytes) {
        return size_bytes;
    }
    guint64 length = GUINT64_TO_LE(size_bytes);
    memcpy(data + VOLUME_LENGTH_AT, &length, sizeof(length));
    memset(data + CHECKSUM_AT, 0, 2);
    guint16 sum = 0;
    for (size_t i = 0; i + 1 < header_bytes; i += 2) {
        sum = (guint16)(sum + (data[i] | data[i + 1] << 8));
    }
    guint16 checksum = GUINT16_TO_LE((guint16)-sum);
    memcpy(data + CHECKSUM_AT, &checksum, sizeof(checksum));
    return size_bytes;
}
