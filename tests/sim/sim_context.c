/* See sim_context.h. */
#include "tests/sim/sim_context.h"

#ifdef SIM_CONTEXT_BY_HAND

/* A switch is a function call like any other, as far as the compiler knows: by the x86-64 calling
 * convention (System V ABI, 3.2.1) the caller expects of its registers only rbx, rbp and r12 to r15
 * back. So those are put on the stack, the stacks are exchanged, and those of the other are taken from
 * its stack; `ret` then goes on where the other had called. The control words of the floating point
 * units would belong to it too; nobody here changes them.
 *
 *   high  | address to go on at |
 *         | rbp                 |
 *         | rbx                 |
 *         | r12                 |
 *         | r13                 |
 *         | r14                 |
 *   low   | r15                 |  <- stack_pointer
 *
 * A new one is made to look as if it rested: it goes on at sim_context_begin, which finds the body and
 * its data in r12 and r13. */
enum { SLOT_R13 = 2, SLOT_R12 = 3, SLOT_GO_ON = 6, SLOTS = 9 };

void sim_context_swap(void **from, void *to);
void sim_context_begin(void);

__asm__(".text\n"
        ".globl sim_context_swap\n"
        ".type sim_context_swap, @function\n"
        "sim_context_swap:\n"
        "    pushq %rbp\n"
        "    pushq %rbx\n"
        "    pushq %r12\n"
        "    pushq %r13\n"
        "    pushq %r14\n"
        "    pushq %r15\n"
        "    movq %rsp, (%rdi)\n"
        "    movq %rsi, %rsp\n"
        "    popq %r15\n"
        "    popq %r14\n"
        "    popq %r13\n"
        "    popq %r12\n"
        "    popq %rbx\n"
        "    popq %rbp\n"
        "    ret\n"
        ".size sim_context_swap, . - sim_context_swap\n"
        ".globl sim_context_begin\n"
        ".type sim_context_begin, @function\n"
        "sim_context_begin:\n"
        "    .cfi_startproc\n"
        "    .cfi_undefined rip\n" /* Debuggers look no further: nobody has called it. */
        "    movq %r13, %rdi\n"
        "    call *%r12\n"
        "    ud2\n" /* A body that returned has nowhere to go. */
        "    .cfi_endproc\n"
        ".size sim_context_begin, . - sim_context_begin\n");

void sim_context_make(SimContext *context, void *stack, gsize stack_bytes, SimContextBody body,
                      void *data)
{
    /* The convention wants the stack at a multiple of 16 where sim_context_begin calls: two slots are
     * left above the address that `ret` takes. */
    guintptr top = ((guintptr)stack + stack_bytes) & ~(guintptr)15;
    void **slots = (void **)top - SLOTS;
    slots[SLOT_R12] = (void *)body;
    slots[SLOT_R13] = data;
    slots[SLOT_GO_ON] = (void *)sim_context_begin;
    context->stack_pointer = slots;
}

void sim_context_switch(SimContext *from, SimContext *to)
{
    sim_context_swap(&from->stack_pointer, to->stack_pointer);
}

#else

/* makecontext passes ints only. */
static void begin(guint body_high, guint body_low, guint data_high, guint data_low)
{
    guintptr body = ((guintptr)body_high << 16 << 16) | body_low;
    guintptr data = ((guintptr)data_high << 16 << 16) | data_low;
    ((SimContextBody)body)((void *)data);
}

void sim_context_make(SimContext *context, void *stack, gsize stack_bytes, SimContextBody body,
                      void *data)
{
    g_assert(getcontext(context) == 0);
    context->uc_stack.ss_sp = stack;
    context->uc_stack.ss_size = stack_bytes;
    makecontext(context, (void (*)(void))begin, 4, (guint)((guintptr)body >> 16 >> 16),
                (guint)(guintptr)body, (guint)((guintptr)data >> 16 >> 16), (guint)(guintptr)data);
}

void sim_context_switch(SimContext *from, SimContext *to)
{
    g_assert(swapcontext(from, to) == 0);
}

#endif
