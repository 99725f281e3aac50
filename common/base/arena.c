/* A bump allocator over blocks. It does not know what lies in it. */
#include "common/base/arena.h"

#include <string.h>

enum { BLOCK_BYTES = 64 * 1024, ALIGN_BYTES = 16 };

typedef struct Block {
    struct Block *next;
    size_t size_bytes;
    size_t used_bytes;
    _Alignas(ALIGN_BYTES) unsigned char bytes[];
} Block;

struct VbArena {
    Block *head;
    size_t left_bytes; /* For the protobuf-c allocator. */
    ProtobufCAllocator allocator;
};

VbArena *arena_new(void)
{
    return g_new0(VbArena, 1);
}

static void blocks_free(Block *block)
{
    while (block != NULL) {
        Block *next = block->next;
        g_free(block);
        block = next;
    }
}

void arena_free(VbArena *arena)
{
    if (arena != NULL) {
        blocks_free(arena->head);
        g_free(arena);
    }
}

void arena_reset(VbArena *arena)
{
    Block *keep = arena->head;
    if (keep == NULL) {
        return;
    }
    blocks_free(keep->next);
    keep->next = NULL;
    keep->used_bytes = 0;
    if (keep->size_bytes > BLOCK_BYTES) {
        g_free(keep);
        arena->head = NULL;
    }
}

void *arena_alloc(VbArena *arena, size_t size_bytes)
{
    size_t need_bytes = (size_bytes + ALIGN_BYTES - 1) & ~(size_t)(ALIGN_BYTES - 1);
    g_assert(need_bytes >= size_bytes);
    Block *block = arena->head;
    if (block == NULL || block->size_bytes - block->used_bytes < need_bytes) {
        size_t block_bytes = MAX(need_bytes, (size_t)BLOCK_BYTES);
        block = g_malloc(sizeof(Block) + block_bytes);
        block->size_bytes = block_bytes;
        block->used_bytes = 0;
        block->next = arena->head;
        arena->head = block;
    }
    void *memory = block->bytes + block->used_bytes;
    block->used_bytes += need_bytes;
    return memset(memory, 0, need_bytes);
}

char *arena_strdup(VbArena *arena, const char *text)
{
    size_t size_bytes = strlen(text) + 1;
    return memcpy(arena_alloc(arena, size_bytes), text, size_bytes);
}

char *arena_printf(VbArena *arena, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    g_autofree char *text = g_strdup_vprintf(format, args);
    va_end(args);
    return arena_strdup(arena, text);
}

ProtobufCMessage *arena_message(VbArena *arena, const ProtobufCMessageDescriptor *descriptor)
{
    ProtobufCMessage *message = arena_alloc(arena, descriptor->sizeof_message);
    protobuf_c_message_init(descriptor, message);
    return message;
}

void *arena_copy(VbArena *arena, const void *message)
{
    if (message == NULL) {
        return NULL;
    }
    const ProtobufCMessage *from = message;
    size_t size_bytes = protobuf_c_message_get_packed_size(from);
    uint8_t *packed = arena_alloc(arena, size_bytes);
    protobuf_c_message_pack(from, packed);
    void *copy = protobuf_c_message_unpack(from->descriptor, arena_allocator(arena, SIZE_MAX),
                                           size_bytes, packed);
    g_assert(copy != NULL);
    return copy;
}

void **arena_grow(VbArena *arena, void *items, size_t n_items)
{
    /* Repeated fields hold a handful of items, so growing by one copy each time is cheap enough. */
    void **grown = arena_alloc(arena, (n_items + 1) * sizeof(void *));
    if (n_items > 0) {
        memcpy(grown, items, n_items * sizeof(void *));
    }
    return grown;
}

static void *allocator_alloc(void *data, size_t size_bytes)
{
    VbArena *arena = data;
    if (size_bytes > arena->left_bytes) {
        arena->left_bytes = 0;
        return NULL;
    }
    arena->left_bytes -= size_bytes;
    return arena_alloc(arena, size_bytes);
}

static void allocator_free(void *data, void *memory)
{
    (void)data;
    (void)memory;
}

ProtobufCAllocator *arena_allocator(VbArena *arena, size_t limit_bytes)
{
    arena->left_bytes = limit_bytes;
    arena->allocator = (ProtobufCAllocator){
        .alloc = allocator_alloc, .free = allocator_free, .allocator_data = arena};
    return &arena->allocator;
}

gboolean arena_limit_is_reached(const VbArena *arena)
{
    return arena->left_bytes == 0;
}
