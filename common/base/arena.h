/* Memory that lives as long as one batch.
 *
 * Everything that a step reads or makes lies in an arena: unpacked messages, copied strings,
 * outputs. A core never frees; the runtime resets the arena when the batch is committed. Not
 * thread-safe: one arena, one thread.
 */
#pragma once

#include <glib.h>
#include <protobuf-c/protobuf-c.h>

typedef struct VbArena VbArena;

VbArena *arena_new(void);
void arena_free(VbArena *arena);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(VbArena, arena_free)

/* Forgets everything in the arena; keeps one block for the next use. */
void arena_reset(VbArena *arena);

/* Zeroed, aligned for any type. Never NULL: without memory the process ends, as with GLib. */
void *arena_alloc(VbArena *arena, size_t size_bytes);
char *arena_strdup(VbArena *arena, const char *text);
char *arena_printf(VbArena *arena, const char *format, ...) G_GNUC_PRINTF(2, 3);

/* An initialised message. Use through ARENA_MSG(arena, vm_record), which yields a VmRecord pointer.
 */
ProtobufCMessage *arena_message(VbArena *arena, const ProtobufCMessageDescriptor *descriptor);
#define ARENA_MSG(arena, name) ((void *)arena_message((arena), &name##__descriptor))

/* A deep copy, made by packing and unpacking; NULL stays NULL. */
void *arena_copy(VbArena *arena, const void *message);

/* `items` with `item` behind the others, for a repeated message field:
 *     ARENA_APPEND(arena, record->n_volumes, record->volumes, volume); */
void **arena_grow(VbArena *arena, void *items, size_t n_items);
#define ARENA_APPEND(arena, n, items, item)                                                        \
    do {                                                                                           \
        (items) = (void *)arena_grow((arena), (items), (n));                                       \
        (items)[(n)++] = (item);                                                                   \
    } while (0)

/* An allocator for protobuf-c that takes at most `limit_bytes` more from the arena, then yields
 * NULL: hostile bytes can unpack to fifty times their size. Valid until the next call or reset. */
ProtobufCAllocator *arena_allocator(VbArena *arena, size_t limit_bytes);
/* After a failed use of that allocator: whether it was its limit that was in the way. */
gboolean arena_limit_is_reached(const VbArena *arena);
