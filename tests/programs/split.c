/* C: three functions, 50 %, 30 % and 20 % of each thread's CPU time. */
#define _GNU_SOURCE
#include "burn.h"

BURN_NOINLINE uint64_t alpha_hash(uint64_t rounds, uint64_t seed) {
    burn_mark();
    uint64_t result = burn_hash(rounds, seed);
    burn_mark();
    return result;
}

BURN_NOINLINE uint64_t beta_walk(uint64_t rounds, uint64_t seed) {
    burn_mark();
    uint64_t result = burn_walk(rounds, seed);
    burn_mark();
    return result;
}

BURN_NOINLINE uint64_t gamma_float(uint64_t rounds, uint64_t seed) {
    burn_mark();
    uint64_t result = burn_float(rounds, seed);
    burn_mark();
    return result;
}

int main(int argc, char **argv) {
    static const struct burn_part parts[] = {
        {"alpha_hash", 50, alpha_hash},
        {"beta_walk", 30, beta_walk},
        {"gamma_float", 20, gamma_float},
    };
    return burn_main(argc, argv, parts, sizeof parts / sizeof parts[0]);
}
