// Integer work: a mix over a few MiB, SHA-256, an interpreter of bytecode, a sort.
#include <stdlib.h>
#include <string.h>
#include "programs.h"

// Hashing, shifts, a division and scattered loads and stores over 4 MiB: a million steps a turn.
static uint64_t mix(uint64_t count)
{
    enum { words = 1 << 19 };
    static uint64_t table[words];
    uint64_t state = 88172645463325252, sum = 0;
    for (uint64_t turn = 0; turn < count * 1000000; turn++) {
        uint64_t value = next_random(&state);
        uint64_t *place = &table[value >> 45];
        *place = (*place ^ value) * 0x9E3779B97F4A7C15;
        sum += *place >> (value & 31);
        if ((value & 63) == 0)
            sum ^= value / ((sum & 0xFFFF) + 1);
    }
    memset(table, 0, sizeof table);
    return sum;
}

static const uint32_t constants[64] = {
    0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5, 0xd807aa98, 0x12835b01,
    0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174, 0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc,
    0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da, 0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147,
    0x06ca6351, 0x14292967, 0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85,
    0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070, 0x19a4c116, 0x1e376c08,
    0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3, 0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208,
    0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2,
};

static inline uint32_t rotated(uint32_t value, int by) { return value >> by | value << (32 - by); }

// FIPS 180-4, 6.2.2.
static void compress(uint32_t hash[8], const uint8_t *block)
{
    uint32_t schedule[64], state[8];
    for (int i = 0; i < 16; i++)
        schedule[i] = (uint32_t)block[4 * i] << 24 | block[4 * i + 1] << 16 | block[4 * i + 2] << 8 | block[4 * i + 3];
    for (int i = 16; i < 64; i++) {
        uint32_t a = schedule[i - 15], b = schedule[i - 2];
        schedule[i] = schedule[i - 16] + schedule[i - 7] + (rotated(a, 7) ^ rotated(a, 18) ^ a >> 3)
            + (rotated(b, 17) ^ rotated(b, 19) ^ b >> 10);
    }
    memcpy(state, hash, sizeof state);
    for (int i = 0; i < 64; i++) {
        uint32_t e = state[4], a = state[0];
        uint32_t first = state[7] + (rotated(e, 6) ^ rotated(e, 11) ^ rotated(e, 25)) + ((e & state[5]) ^ (~e & state[6]))
            + constants[i] + schedule[i];
        uint32_t second = (rotated(a, 2) ^ rotated(a, 13) ^ rotated(a, 22))
            + ((a & state[1]) ^ (a & state[2]) ^ (state[1] & state[2]));
        memmove(state + 1, state, 7 * sizeof *state);
        state[4] += first;
        state[0] = first + second;
    }
    for (int i = 0; i < 8; i++)
        hash[i] += state[i];
}

// A MiB a turn.
static uint64_t sha256(uint64_t count)
{
    static uint8_t data[1 << 16];
    uint32_t hash[8] = {0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a, 0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19};
    for (unsigned i = 0; i < sizeof data; i++)
        data[i] = i * 7 >> 3;
    for (uint64_t turn = 0; turn < count * 16; turn++)
        for (unsigned place = 0; place < sizeof data; place += 64)
            compress(hash, data + place);
    return (uint64_t)hash[0] << 32 | hash[1];
}

// A machine of eight registers whose program is a loop of ten operations: 100,000 turns of it a turn.
static uint64_t bytecode(uint64_t count)
{
    enum { load, add, xor, shift, multiply, store, decrement, jump_if, swap, stop };
    static const uint8_t code[] = {
        load, 0, 1, add, 0, 2, xor, 3, 0, shift, 3, 0, multiply, 3, 4, store, 1, 3, swap, 2, 4, add, 2, 3,
        decrement, 7, 0, jump_if, 7, 0, stop, 0, 0,
    };
    uint64_t registers[8] = {1, 2, 3, 5, 7, 11, 13, 0}, memory[256] = {0}, sum = 0;
    for (uint64_t turn = 0; turn < count; turn++) {
        const uint8_t *at = code;
        registers[7] = 100000;
        for (int isRunning = 1; isRunning; at += 3) {
            uint64_t *a = &registers[at[1]], *b = &registers[at[2]];
            switch (at[0]) {
            case load: *a = memory[*b & 255]; break;
            case add: *a += *b; break;
            case xor: *a ^= *b; break;
            case shift: *a = *a << 5 | *a >> 59; break;
            case multiply: *a *= *b | 1; break;
            case store: memory[*a & 255] = *b; break;
            case decrement: --*a; break;
            case jump_if: if (*a) at = code - 3; break;
            case swap: { uint64_t held = *a; *a = *b; *b = held; break; }
            case stop: isRunning = 0; break;
            }
        }
        sum += registers[3];
    }
    return sum;
}

static void sort(uint32_t *low, uint32_t *high)
{
    while (low < high) {
        uint32_t pivot = low[(high - low) / 2], *i = low, *j = high;
        while (i <= j) {
            while (*i < pivot) i++;
            while (*j > pivot) j--;
            if (i <= j) {
                uint32_t held = *i;
                *i++ = *j;
                *j-- = held;
            }
        }
        if (j - low < high - i) {
            sort(low, j);
            low = i;
        } else {
            sort(i, high);
            high = j;
        }
    }
}

// A hundred thousand numbers a turn.
static uint64_t quicksort(uint64_t count)
{
    enum { numbers = 100000 };
    static uint32_t list[numbers];
    uint64_t state = 88172645463325252, sum = 0;
    for (uint64_t turn = 0; turn < count; turn++) {
        for (int i = 0; i < numbers; i++)
            list[i] = next_random(&state);
        sort(list, list + numbers - 1);
        sum = sum * 31 + list[numbers / 3];
    }
    return sum;
}

const struct program integer_programs[] = {
    {"integer-mix", mix}, {"sha256", sha256}, {"bytecode", bytecode}, {"quicksort", quicksort}, {0},
};
