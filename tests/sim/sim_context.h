/* Coroutines: a stack of one's own, and a switch between two of them. It knows no tasks and no time;
 * see sim.c for those. One thread. */
#pragma once

#include <glib.h>

/* ucontext's own switch asks the kernel for the signal mask each time, twice: of a simulated step it
 * is the dearest part. The sanitizers have to know of switches, and know of ucontext's. */
#if defined(__x86_64__) && !defined(__SANITIZE_ADDRESS__)
#define SIM_CONTEXT_BY_HAND 1
#if defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(memory_sanitizer)
#undef SIM_CONTEXT_BY_HAND
#endif
#endif
#endif

#ifdef SIM_CONTEXT_BY_HAND
typedef struct {
    void *stack_pointer; /* While it rests: all else lies on its stack. */
} SimContext;
#else
#include <ucontext.h>
typedef ucontext_t SimContext;
#endif

typedef void (*SimContextBody)(void *data);

/* `body` begins at the first switch to it, and must never return. The stack is the caller's. */
void sim_context_make(SimContext *context, void *stack, gsize stack_bytes, SimContextBody body,
                      void *data);
/* What runs now rests in `from`, until somebody switches to it. */
void sim_context_switch(SimContext *from, SimContext *to);
