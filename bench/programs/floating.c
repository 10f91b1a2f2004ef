// Floating point: scalar doubles by SSE2, single floats by SSE and by AVX2 with FMA, x87.
#include <immintrin.h>
#include <math.h>
#include <string.h>
#include "programs.h"

static uint64_t bits(double value)
{
    uint64_t result;
    memcpy(&result, &value, sizeof result);
    return result;
}

// The five bodies of the well-known benchmark: 10,000 steps a turn.
static uint64_t nbody(uint64_t count)
{
    struct body { double x, y, z, vx, vy, vz, mass; } bodies[5] = {
        {0, 0, 0, 0, 0, 0, 39.47},
        {4.84, -1.16, -0.10, 0.606, 2.81, -0.02, 0.0376},
        {8.34, 4.12, -0.4, -1.01, 1.82, 0.008, 0.0112},
        {12.89, -15.11, -0.22, 1.08, 0.868, -0.010, 0.0017},
        {15.37, -25.9, 0.179, 0.979, 0.594, -0.034, 0.0020},
    };
    for (uint64_t step = 0; step < count * 10000; step++) {
        for (int i = 0; i < 5; i++)
            for (int j = i + 1; j < 5; j++) {
                struct body *a = &bodies[i], *b = &bodies[j];
                double x = a->x - b->x, y = a->y - b->y, z = a->z - b->z;
                double square = x * x + y * y + z * z, pull = 0.001 / (square * sqrt(square));
                a->vx -= x * b->mass * pull, a->vy -= y * b->mass * pull, a->vz -= z * b->mass * pull;
                b->vx += x * a->mass * pull, b->vy += y * a->mass * pull, b->vz += z * a->mass * pull;
            }
        for (int i = 0; i < 5; i++) {
            struct body *a = &bodies[i];
            a->x += 0.001 * a->vx, a->y += 0.001 * a->vy, a->z += 0.001 * a->vz;
        }
    }
    return bits(bodies[0].x);
}

// 128 by 128 points of at most 256 steps a turn.
static uint64_t mandelbrot(uint64_t count)
{
    uint64_t sum = 0;
    for (uint64_t turn = 0; turn < count; turn++)
        for (int row = 0; row < 128; row++)
            for (int column = 0; column < 128; column++) {
                double cx = column / 42.0 - 2.0, cy = row / 42.0 - 1.5, x = 0, y = 0;
                int step = 0;
                for (; step < 256 && x * x + y * y < 4; step++) {
                    double next = x * x - y * y + cx;
                    y = 2 * x * y + cy;
                    x = next;
                }
                sum = sum * 3 + step;
            }
    return sum;
}

enum { floats = 4096 };
static float x[floats] __attribute__((aligned(32))), y[floats] __attribute__((aligned(32)));

static void prepare(void)
{
    for (int i = 0; i < floats; i++) {
        x[i] = i * 0.5f;
        y[i] = 1.0f / (i + 1);
    }
}

static uint64_t sum_of_y(void)
{
    double sum = 0;
    for (int i = 0; i < floats; i++)
        sum += y[i];
    return bits(sum);
}

// 4,096 elements, a thousand times a turn.
static uint64_t saxpy_sse(uint64_t count)
{
    prepare();
    __m128 factor = _mm_set1_ps(1e-4f);
    for (uint64_t turn = 0; turn < count * 1000; turn++) {
        for (int i = 0; i < floats; i += 4)
            _mm_store_ps(y + i, _mm_add_ps(_mm_mul_ps(factor, _mm_load_ps(x + i)), _mm_load_ps(y + i)));
        barrier(y);
    }
    return sum_of_y();
}

__attribute__((target("avx2,fma"))) static uint64_t saxpy_avx2(uint64_t count)
{
    prepare();
    __m256 factor = _mm256_set1_ps(1e-4f);
    for (uint64_t turn = 0; turn < count * 1000; turn++) {
        for (int i = 0; i < floats; i += 8)
            _mm256_store_ps(y + i, _mm256_fmadd_ps(factor, _mm256_load_ps(x + i), _mm256_load_ps(y + i)));
        barrier(y);
    }
    return sum_of_y();
}

// A series of 100,000 terms a turn, in the x87's ten bytes.
static uint64_t x87(uint64_t count)
{
    long double sum = 0;
    for (uint64_t turn = 0; turn < count; turn++) {
        long double sign = 1;
        for (uint64_t i = 1; i <= 100000; i++) {
            long double term = (long double)(double)opaque(i);
            sum += sign / (term * term + 1) * sqrtl(term);
            sign = -sign;
        }
    }
    return bits((double)sum);
}

const struct program floating_programs[] = {
    {"n-body", nbody}, {"mandelbrot", mandelbrot}, {"saxpy-sse", saxpy_sse}, {"saxpy-avx2", saxpy_avx2}, {"x87", x87}, {0},
};
