// What every program has: a name, and work that is done `count` times and ends in a number, the same wherever it runs.
#include <stdint.h>

struct program {
    const char *name;
    uint64_t (*run)(uint64_t count);
};

// Where this program lies, for one that starts it again.
extern const char *program_path;

extern const struct program integer_programs[], memory_programs[], floating_programs[], call_programs[], system_programs[];

// A number that the compiler can't know.
static inline uint64_t opaque(uint64_t value)
{
    __asm__ volatile("" : "+r"(value));
    return value;
}

// Memory that the compiler must believe to be read and written here.
static inline void barrier(void *memory) { __asm__ volatile("" : : "r"(memory) : "memory"); }

static inline uint64_t next_random(uint64_t *state)
{
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    return *state;
}
