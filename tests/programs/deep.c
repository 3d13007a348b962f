/* Deep recursion: the work is done below DEPTH calls of one function, more than the 127 frames that perf keeps. */
#define _GNU_SOURCE
#include "burn.h"

#define DEPTH 300

BURN_NOINLINE uint64_t deep_leaf(uint64_t rounds, uint64_t seed) {
    burn_mark();
    uint64_t result = burn_hash(rounds, seed);
    burn_mark();
    return result;
}

BURN_NOINLINE uint64_t deep_step(unsigned depth, uint64_t rounds, uint64_t seed) {
    uint64_t result = depth == 0 ? deep_leaf(rounds, seed) : deep_step(depth - 1, rounds, seed);
    /* Work after the call: it can be neither a jump nor a loop. */
    __asm__ volatile("" : "+r"(result));
    return result + depth;
}

static uint64_t deep(uint64_t rounds, uint64_t seed) {
    return deep_step(DEPTH, rounds, seed);
}

BURN_NOINLINE uint64_t shallow(uint64_t rounds, uint64_t seed) {
    return burn_float(rounds, seed);
}

int main(int argc, char **argv) {
    static const struct burn_part parts[] = {{"deep_leaf", 60, deep}, {"shallow", 40, shallow}};
    return burn_main(argc, argv, parts, sizeof parts / sizeof parts[0]);
}
