/* Records as one block of memory, and the name of the error domain. */
#include "common/bus/bus.h"

#include <string.h>

G_DEFINE_QUARK(virtbus - bus - error, bus_error)

enum { ALIGN_BYTES = 8 };

static size_t copied_bytes(size_t size_bytes)
{
    return (size_bytes + ALIGN_BYTES - 1) & ~(size_t)(ALIGN_BYTES - 1);
}

static const void *copy_to(char **at, const void *from, size_t size_bytes)
{
    char *to = *at;
    if (size_bytes > 0) {
        memcpy(to, from, size_bytes);
    }
    *at += copied_bytes(size_bytes);
    return to;
}

VbBusRecord *bus_record_copy(const VbBusRecord *from)
{
    size_t size_bytes = copied_bytes(sizeof(*from)) +
                        copied_bytes(from->n_headers * sizeof(VbBusHeader)) +
                        copied_bytes(from->key_bytes) + copied_bytes(from->value_bytes);
    for (size_t i = 0; i < from->n_headers; i++) {
        size_bytes += copied_bytes(strlen(from->headers[i].name) + 1) +
                      copied_bytes(from->headers[i].size_bytes);
    }
    VbBusRecord *record = g_malloc(size_bytes);
    *record = *from;
    char *at = (char *)record + copied_bytes(sizeof(*from));
    VbBusHeader *headers = (VbBusHeader *)(void *)at;
    at += copied_bytes(from->n_headers * sizeof(VbBusHeader));
    record->headers = headers;
    record->key = copy_to(&at, from->key, from->key_bytes);
    record->value = from->value != NULL ? copy_to(&at, from->value, from->value_bytes) : NULL;
    for (size_t i = 0; i < from->n_headers; i++) {
        const VbBusHeader *header = &from->headers[i];
        headers[i].name = copy_to(&at, header->name, strlen(header->name) + 1);
        headers[i].value = copy_to(&at, header->value, header->size_bytes);
        headers[i].size_bytes = header->size_bytes;
    }
    return record;
}

void bus_record_free(VbBusRecord *record)
{
    g_free(record);
}

const VbBusHeader *bus_record_header(const VbBusRecord *record, const char *name)
{
    for (size_t i = record->n_headers; i > 0; i--) {
        if (strcmp(record->headers[i - 1].name, name) == 0) {
            return &record->headers[i - 1];
        }
    }
    return NULL;
}
