/* What compilers do to frames, in one loop: leaves, calls with many registers in use, arrays of variable
 * length, aligned locals, variable arguments, callbacks out of the library, tail calls, switches. */
#define _GNU_SOURCE
#include "until.h"

#include <alloca.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

NOINLINE uint64_t leaf(uint64_t value) {
    return work(value | 1, 40);
}

NOINLINE uint64_t chain_c(uint64_t a, uint64_t b, uint64_t c, uint64_t d, uint64_t e, uint64_t f) {
    uint64_t g = leaf(a ^ b), h = leaf(c ^ d), i = leaf(e ^ f);
    return leaf(g + h) ^ leaf(h + i) ^ leaf(a + i) ^ leaf(b + c) ^ leaf(d + e) ^ f;
}

NOINLINE uint64_t chain_b(uint64_t a, uint64_t b, uint64_t c) {
    uint64_t d = chain_c(a, b, c, a + b, b + c, a + c);
    return chain_c(c, b, a, d, d + 1, d + 2) + d;
}

NOINLINE uint64_t chain_a(uint64_t a) {
    uint64_t b = chain_b(a, a + 1, a + 2);
    return chain_b(b, a, b + 1) ^ b;
}

NOINLINE uint64_t variable(unsigned length) {
    unsigned char bytes[length];
    memset(bytes, (int)length, length);
    sink += bytes[length / 2];
    unsigned char *more = alloca(length * 2);
    memcpy(more, bytes, length);
    return leaf(more[length - 1] + 7u) + chain_b(bytes[0], more[0], length);
}

NOINLINE uint64_t aligned(unsigned length) {
    __attribute__((aligned(64))) uint64_t block[16];
    unsigned char *more = alloca(length);
    for (unsigned i = 0; i < 16; i++) {
        block[i] = leaf(i + length);
    }
    memset(more, 3, length);
    return chain_b(block[3], block[7], more[length / 2]);
}

typedef double four __attribute__((vector_size(32)));

NOINLINE double vectors(double start) {
    four a = {start, 2, 3, 4}, b = {1, 2, 3, start};
    for (int i = 0; i < 40; i++) {
        a = a * b + a;
        sink += leaf((uint64_t)i);
        b = b - a / 3;
    }
    return a[0] + b[3];
}

NOINLINE uint64_t arguments(int count, ...) {
    va_list list;
    va_start(list, count);
    uint64_t sum = 0;
    for (int i = 0; i < count; i++) {
        sum += leaf(va_arg(list, uint64_t));
    }
    va_end(list);
    return sum;
}

static int compare(const void *left, const void *right) {
    uint64_t a = *(const uint64_t *)left, b = *(const uint64_t *)right;
    sink += leaf(a);
    return a < b ? -1 : a > b;
}

NOINLINE uint64_t sorted(uint64_t seed) {
    uint64_t numbers[64];
    for (int i = 0; i < 64; i++) {
        numbers[i] = seed = work(seed | 1, 2);
    }
    qsort(numbers, 64, sizeof numbers[0], compare);
    return numbers[0];
}

NOINLINE uint64_t tail_b(uint64_t value, uint64_t rounds);
NOINLINE uint64_t tail_a(uint64_t value, uint64_t rounds) {
    return rounds == 0 ? chain_a(value) : tail_b(leaf(value), rounds - 1);
}
NOINLINE uint64_t tail_b(uint64_t value, uint64_t rounds) {
    return rounds == 0 ? leaf(value) : tail_a(leaf(value) + 1, rounds - 1);
}

NOINLINE uint64_t choose(unsigned which) {
    switch (which % 8) {
    case 0: return leaf(which);
    case 1: return chain_a(which);
    case 2: return variable(which % 500 + 16);
    case 3: return aligned(which % 300 + 16);
    case 4: return (uint64_t)vectors(which);
    case 5: return arguments(5, (uint64_t)1, (uint64_t)2, (uint64_t)3, (uint64_t)4, (uint64_t)which);
    case 6: return sorted(which + 1);
    default: return tail_a(which, 9);
    }
}

NOINLINE uint64_t text(unsigned which) {
    char line[200];
    int length = snprintf(line, sizeof line, "%u %s %lf %x", which, "some text", which / 3.0, which);
    return leaf(strlen(line) + (uint64_t)length + (uint64_t)strtod(line, NULL));
}

NOINLINE uint64_t recurse(unsigned depth) {
    uint64_t below = depth == 0 ? chain_a(3) : recurse(depth - 1);
    __asm__ volatile("" : "+r"(below));
    return below + depth;
}

int main(int argc, char **argv) {
    start(argc, argv);
    for (unsigned round = 0; !is_over(); round++) {
        for (unsigned i = 0; i < 64; i++) {
            sink += choose(round * 64 + i);
        }
        sink += text(round) + recurse(40);
    }
    return 0;
}
