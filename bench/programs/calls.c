// Control flow: recursion, calls through pointers, a loop that lies across two pages.
#include "programs.h"

__attribute__((noinline)) static uint64_t fibonacci(uint64_t n)
{
    return n < 2 ? opaque(n) : fibonacci(n - 1) + fibonacci(n - 2);
}

// About 1.6 million calls a turn.
__attribute__((optimize("no-optimize-sibling-calls", "no-inline"))) static uint64_t recursion(uint64_t count)
{
    uint64_t sum = 0;
    for (uint64_t turn = 0; turn < count; turn++)
        sum += fibonacci(opaque(29));
    return sum;
}

#define FUNCTION(number, expression) \
    __attribute__((noinline)) static uint64_t function##number(uint64_t value) { return expression; }
FUNCTION(0, value + 1)
FUNCTION(1, value ^ 0x55)
FUNCTION(2, value << 1 | value >> 63)
FUNCTION(3, value - 3)
FUNCTION(4, ~value)
FUNCTION(5, value * 5)
FUNCTION(6, value + 77)
FUNCTION(7, value ^ value >> 7)

// A million calls a turn, the target drawn anew each time.
static uint64_t indirect(uint64_t count)
{
    static uint64_t (*const table[])(uint64_t) = {
        function0, function1, function2, function3, function4, function5, function6, function7,
    };
    uint64_t state = 88172645463325252, sum = 0;
    for (uint64_t turn = 0; turn < count * 1000000; turn++)
        sum = table[next_random(&state) & 7](sum);
    return sum;
}

// A loop of six instructions, one of which begins on one page and ends on the next: a million turns of it a turn.
__asm__(".section .text.crossing, \"ax\"\n"
        ".balign 4096\n"
        ".skip 4096 - 18, 0x90\n"
        ".globl crossing_loop\n"
        "crossing_loop:\n"
        "  xor %eax, %eax\n"            // 2 bytes, to 4080
        "1:\n"
        "  add %rdi, %rax\n"            // 3, to 4083
        "  rol $7, %rax\n"              // 4, to 4087
        "  xor %rdi, %rax\n"            // 3, to 4090
        "  movabs $0x9E3779B97F4A7C15, %rdx\n"  // 10, to 4100: across the end of the page
        "  add %rdx, %rax\n"
        "  dec %rdi\n"
        "  jnz 1b\n"
        "  ret\n"
        ".text\n");
uint64_t crossing_loop(uint64_t count);

static uint64_t crossing(uint64_t count) { return crossing_loop(count * 1000000); }

const struct program call_programs[] = {
    {"recursion", recursion}, {"indirect-calls", indirect}, {"page-crossing", crossing}, {0},
};
