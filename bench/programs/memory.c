// Memory: dependent loads over 64 MiB, copies, sequential loads and stores.
#include <stdlib.h>
#include <string.h>
#include "programs.h"

// One cycle through 64 MiB in cache lines, in random order: a million steps a turn.
static uint64_t chase(uint64_t count)
{
    enum { lines = 1 << 20, step = 8 };
    static uint64_t *memory;
    if (!memory) {
        memory = aligned_alloc(4096, (size_t)lines * 64);
        uint32_t *order = malloc(lines * sizeof *order);
        uint64_t state = 88172645463325252;
        for (uint32_t i = 0; i < lines; i++)
            order[i] = i;
        for (uint32_t i = lines - 1; i > 0; i--) {
            uint32_t other = next_random(&state) % (i + 1), held = order[i];
            order[i] = order[other];
            order[other] = held;
        }
        for (uint32_t i = 0; i < lines; i++)
            memory[(uint64_t)order[i] * step] = (uint64_t)order[(i + 1) % lines] * step;
        free(order);
    }
    uint64_t place = 0;
    for (uint64_t turn = 0; turn < count * 1000000; turn++)
        place = memory[place];
    return place;
}

enum { bytes = 1 << 20 };
static uint64_t from[bytes / 8], to[bytes / 8];

// 16 MiB a turn.
static uint64_t copy(uint64_t count)
{
    for (unsigned i = 0; i < bytes / 8; i++)
        from[i] = i * 0x9E3779B97F4A7C15;
    for (uint64_t turn = 0; turn < count * 16; turn++) {
        memcpy(to, from, bytes);
        barrier(to);
    }
    return to[4711];
}

// The same, eight bytes a time, so that each is an instruction.
__attribute__((optimize("no-tree-vectorize", "no-tree-loop-distribute-patterns"))) static uint64_t loads(uint64_t count)
{
    uint64_t sum = 0;
    for (unsigned i = 0; i < bytes / 8; i++)
        from[i] = i * 0x9E3779B97F4A7C15;
    for (uint64_t turn = 0; turn < count * 16; turn++) {
        for (unsigned i = 0; i < bytes / 8; i++)
            sum += from[i];
        barrier(from);
    }
    return sum;
}

__attribute__((optimize("no-tree-vectorize", "no-tree-loop-distribute-patterns"))) static uint64_t stores(uint64_t count)
{
    for (uint64_t turn = 0; turn < count * 16; turn++) {
        for (unsigned i = 0; i < bytes / 8; i++)
            to[i] = turn + i;
        barrier(to);
    }
    return to[4711];
}

const struct program memory_programs[] = {
    {"chase-64M", chase}, {"memcpy", copy}, {"load-8", loads}, {"store-8", stores}, {0},
};
