// The second part: many functions that inline one another, as generated parsers have them.
#include "table.h"

#include <stdio.h>
#include <stdlib.h>

#define STEP(n, op, k)                                      \
    static inline uint64_t step_##n(uint64_t x) {           \
        if (x % (n + 3) == k) return hash(x op k);          \
        return rotate(x, n % 13 + 1) op(x >> k);            \
    }

STEP(0, +, 1)
STEP(1, ^, 3)
STEP(2, -, 5)
STEP(3, |, 2)
STEP(4, *, 4)
STEP(5, +, 1)
STEP(6, ^, 3)
STEP(7, -, 5)
STEP(8, |, 2)
STEP(9, *, 4)
STEP(10, +, 1)
STEP(11, ^, 3)
STEP(12, -, 5)
STEP(13, |, 2)
STEP(14, *, 4)
STEP(15, +, 1)
STEP(16, ^, 3)
STEP(17, -, 5)
STEP(18, |, 2)
STEP(19, *, 4)
STEP(20, +, 1)
STEP(21, ^, 3)
STEP(22, -, 5)
STEP(23, |, 2)

__attribute__((noinline)) static uint64_t walk_0(uint64_t x, int left) {
    if (x & 1) x = step_0(x);
    if (x & 2) x = step_3(x);
    if (x & 4) x = step_6(x);
    if (x & 8) x = step_9(x);
    if (x & 16) x = step_12(x);
    for (int i = 0; i < (left & 3); i++) x += step_7(x ^ i);
    return left > 0 ? x ^ 1 : x;
}

__attribute__((noinline)) static uint64_t walk_1(uint64_t x, int left) {
    if (x & 1) x = step_5(x);
    if (x & 2) x = step_8(x);
    if (x & 4) x = step_11(x);
    if (x & 8) x = step_14(x);
    if (x & 16) x = step_17(x);
    for (int i = 0; i < (left & 3); i++) x += step_8(x ^ i);
    return left > 0 ? x ^ 2 : x;
}

__attribute__((noinline)) static uint64_t walk_2(uint64_t x, int left) {
    if (x & 1) x = step_10(x);
    if (x & 2) x = step_13(x);
    if (x & 4) x = step_16(x);
    if (x & 8) x = step_19(x);
    if (x & 16) x = step_22(x);
    for (int i = 0; i < (left & 3); i++) x += step_9(x ^ i);
    return left > 0 ? x ^ 3 : x;
}

__attribute__((noinline)) static uint64_t walk_3(uint64_t x, int left) {
    if (x & 1) x = step_15(x);
    if (x & 2) x = step_18(x);
    if (x & 4) x = step_21(x);
    if (x & 8) x = step_0(x);
    if (x & 16) x = step_3(x);
    for (int i = 0; i < (left & 3); i++) x += step_10(x ^ i);
    return left > 0 ? x ^ 4 : x;
}

__attribute__((noinline)) static uint64_t walk_4(uint64_t x, int left) {
    if (x & 1) x = step_20(x);
    if (x & 2) x = step_23(x);
    if (x & 4) x = step_2(x);
    if (x & 8) x = step_5(x);
    if (x & 16) x = step_8(x);
    for (int i = 0; i < (left & 3); i++) x += step_11(x ^ i);
    return left > 0 ? x ^ 5 : x;
}

__attribute__((noinline)) static uint64_t walk_5(uint64_t x, int left) {
    if (x & 1) x = step_1(x);
    if (x & 2) x = step_4(x);
    if (x & 4) x = step_7(x);
    if (x & 8) x = step_10(x);
    if (x & 16) x = step_13(x);
    for (int i = 0; i < (left & 3); i++) x += step_12(x ^ i);
    return left > 0 ? x ^ 6 : x;
}

__attribute__((noinline)) static uint64_t walk_6(uint64_t x, int left) {
    if (x & 1) x = step_6(x);
    if (x & 2) x = step_9(x);
    if (x & 4) x = step_12(x);
    if (x & 8) x = step_15(x);
    if (x & 16) x = step_18(x);
    for (int i = 0; i < (left & 3); i++) x += step_13(x ^ i);
    return left > 0 ? x ^ 7 : x;
}

__attribute__((noinline)) static uint64_t walk_7(uint64_t x, int left) {
    if (x & 1) x = step_11(x);
    if (x & 2) x = step_14(x);
    if (x & 4) x = step_17(x);
    if (x & 8) x = step_20(x);
    if (x & 16) x = step_23(x);
    for (int i = 0; i < (left & 3); i++) x += step_14(x ^ i);
    return left > 0 ? x ^ 8 : x;
}

__attribute__((noinline)) static uint64_t walk_8(uint64_t x, int left) {
    if (x & 1) x = step_16(x);
    if (x & 2) x = step_19(x);
    if (x & 4) x = step_22(x);
    if (x & 8) x = step_1(x);
    if (x & 16) x = step_4(x);
    for (int i = 0; i < (left & 3); i++) x += step_15(x ^ i);
    return left > 0 ? x ^ 9 : x;
}

__attribute__((noinline)) static uint64_t walk_9(uint64_t x, int left) {
    if (x & 1) x = step_21(x);
    if (x & 2) x = step_0(x);
    if (x & 4) x = step_3(x);
    if (x & 8) x = step_6(x);
    if (x & 16) x = step_9(x);
    for (int i = 0; i < (left & 3); i++) x += step_16(x ^ i);
    return left > 0 ? x ^ 10 : x;
}

__attribute__((noinline)) static uint64_t walk_10(uint64_t x, int left) {
    if (x & 1) x = step_2(x);
    if (x & 2) x = step_5(x);
    if (x & 4) x = step_8(x);
    if (x & 8) x = step_11(x);
    if (x & 16) x = step_14(x);
    for (int i = 0; i < (left & 3); i++) x += step_17(x ^ i);
    return left > 0 ? x ^ 11 : x;
}

__attribute__((noinline)) static uint64_t walk_11(uint64_t x, int left) {
    if (x & 1) x = step_7(x);
    if (x & 2) x = step_10(x);
    if (x & 4) x = step_13(x);
    if (x & 8) x = step_16(x);
    if (x & 16) x = step_19(x);
    for (int i = 0; i < (left & 3); i++) x += step_18(x ^ i);
    return left > 0 ? x ^ 12 : x;
}

__attribute__((noinline)) static uint64_t walk_12(uint64_t x, int left) {
    if (x & 1) x = step_12(x);
    if (x & 2) x = step_15(x);
    if (x & 4) x = step_18(x);
    if (x & 8) x = step_21(x);
    if (x & 16) x = step_0(x);
    for (int i = 0; i < (left & 3); i++) x += step_19(x ^ i);
    return left > 0 ? x ^ 13 : x;
}

__attribute__((noinline)) static uint64_t walk_13(uint64_t x, int left) {
    if (x & 1) x = step_17(x);
    if (x & 2) x = step_20(x);
    if (x & 4) x = step_23(x);
    if (x & 8) x = step_2(x);
    if (x & 16) x = step_5(x);
    for (int i = 0; i < (left & 3); i++) x += step_20(x ^ i);
    return left > 0 ? x ^ 14 : x;
}

__attribute__((noinline)) static uint64_t walk_14(uint64_t x, int left) {
    if (x & 1) x = step_22(x);
    if (x & 2) x = step_1(x);
    if (x & 4) x = step_4(x);
    if (x & 8) x = step_7(x);
    if (x & 16) x = step_10(x);
    for (int i = 0; i < (left & 3); i++) x += step_21(x ^ i);
    return left > 0 ? x ^ 15 : x;
}

__attribute__((noinline)) static uint64_t walk_15(uint64_t x, int left) {
    if (x & 1) x = step_3(x);
    if (x & 2) x = step_6(x);
    if (x & 4) x = step_9(x);
    if (x & 8) x = step_12(x);
    if (x & 16) x = step_15(x);
    for (int i = 0; i < (left & 3); i++) x += step_22(x ^ i);
    return left > 0 ? x ^ 16 : x;
}

__attribute__((noinline)) static uint64_t walk_16(uint64_t x, int left) {
    if (x & 1) x = step_8(x);
    if (x & 2) x = step_11(x);
    if (x & 4) x = step_14(x);
    if (x & 8) x = step_17(x);
    if (x & 16) x = step_20(x);
    for (int i = 0; i < (left & 3); i++) x += step_23(x ^ i);
    return left > 0 ? x ^ 17 : x;
}

__attribute__((noinline)) static uint64_t walk_17(uint64_t x, int left) {
    if (x & 1) x = step_13(x);
    if (x & 2) x = step_16(x);
    if (x & 4) x = step_19(x);
    if (x & 8) x = step_22(x);
    if (x & 16) x = step_1(x);
    for (int i = 0; i < (left & 3); i++) x += step_0(x ^ i);
    return left > 0 ? x ^ 18 : x;
}

__attribute__((noinline)) static uint64_t walk_18(uint64_t x, int left) {
    if (x & 1) x = step_18(x);
    if (x & 2) x = step_21(x);
    if (x & 4) x = step_0(x);
    if (x & 8) x = step_3(x);
    if (x & 16) x = step_6(x);
    for (int i = 0; i < (left & 3); i++) x += step_1(x ^ i);
    return left > 0 ? x ^ 19 : x;
}

__attribute__((noinline)) static uint64_t walk_19(uint64_t x, int left) {
    if (x & 1) x = step_23(x);
    if (x & 2) x = step_2(x);
    if (x & 4) x = step_5(x);
    if (x & 8) x = step_8(x);
    if (x & 16) x = step_11(x);
    for (int i = 0; i < (left & 3); i++) x += step_2(x ^ i);
    return left > 0 ? x ^ 20 : x;
}

__attribute__((noinline)) static uint64_t walk_20(uint64_t x, int left) {
    if (x & 1) x = step_4(x);
    if (x & 2) x = step_7(x);
    if (x & 4) x = step_10(x);
    if (x & 8) x = step_13(x);
    if (x & 16) x = step_16(x);
    for (int i = 0; i < (left & 3); i++) x += step_3(x ^ i);
    return left > 0 ? x ^ 21 : x;
}

__attribute__((noinline)) static uint64_t walk_21(uint64_t x, int left) {
    if (x & 1) x = step_9(x);
    if (x & 2) x = step_12(x);
    if (x & 4) x = step_15(x);
    if (x & 8) x = step_18(x);
    if (x & 16) x = step_21(x);
    for (int i = 0; i < (left & 3); i++) x += step_4(x ^ i);
    return left > 0 ? x ^ 22 : x;
}

__attribute__((noinline)) static uint64_t walk_22(uint64_t x, int left) {
    if (x & 1) x = step_14(x);
    if (x & 2) x = step_17(x);
    if (x & 4) x = step_20(x);
    if (x & 8) x = step_23(x);
    if (x & 16) x = step_2(x);
    for (int i = 0; i < (left & 3); i++) x += step_5(x ^ i);
    return left > 0 ? x ^ 23 : x;
}

__attribute__((noinline)) static uint64_t walk_23(uint64_t x, int left) {
    if (x & 1) x = step_19(x);
    if (x & 2) x = step_22(x);
    if (x & 4) x = step_1(x);
    if (x & 8) x = step_4(x);
    if (x & 16) x = step_7(x);
    for (int i = 0; i < (left & 3); i++) x += step_6(x ^ i);
    return left > 0 ? x ^ 24 : x;
}

typedef uint64_t walk(uint64_t, int);
static walk* const walks[] = {walk_0, walk_1, walk_2, walk_3, walk_4, walk_5, walk_6, walk_7, walk_8, walk_9, walk_10, walk_11, walk_12, walk_13, walk_14, walk_15, walk_16, walk_17, walk_18, walk_19, walk_20, walk_21, walk_22, walk_23};

static uint64_t weight(const struct entry* entry) { return entry->value * hash(entry->key); }

int main(int argc, char** argv) {
    struct table table = {0};
    uint64_t x = argc > 1 ? strtoull(argv[1], NULL, 0) : 42;
    for (int i = 0; i < 20000; i++) {
        x = walks[x % 24](x, i & 7);
        if (table_add(&table, x % 512, 1)) return 1;
    }
    printf("%llu\n", (unsigned long long)table_sum(&table, weight));
    table_drop(&table);
    return 0;
}
