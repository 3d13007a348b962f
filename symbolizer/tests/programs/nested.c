/* C with static functions that the compiler inlines, splits and clones. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

static inline uint32_t rotate(uint32_t x, int by) { return (x << by) | (x >> (32 - by)); }

static uint32_t mix(uint32_t a, uint32_t b)
{
    a ^= rotate(b, 7);
    b ^= rotate(a, 11);
    return a + b;
}

__attribute__((noinline)) static uint32_t checked(uint32_t *table, size_t n, uint32_t seed)
{
    if (n == 0) {
        fprintf(stderr, "empty table for %u\n", seed);
        abort();
    }
    for (size_t i = 0; i < n; i++)
        seed = mix(seed, table[i]);
    return seed;
}

__attribute__((noinline)) uint32_t recurse(uint32_t depth, uint32_t seed)
{
    if (depth == 0)
        return seed;
    return mix(recurse(depth - 1, seed + depth), depth) + recurse(depth / 2, seed);
}

static int by_value(const void *a, const void *b)
{
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return (x > y) - (x < y);
}

int main(int argc, char **argv)
{
    uint32_t table[64];
    (void)argv;
    for (uint32_t i = 0; i < 64; i++)
        table[i] = mix(i, argc);
    qsort(table, 64, sizeof table[0], by_value);
    printf("%u\n", checked(table, 64, recurse(10, argc)));
    return 0;
}
