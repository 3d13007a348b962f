/* How long a program runs: as many milliseconds of its own CPU time as its first argument says. */
#ifndef UNTIL_H
#define UNTIL_H

#include <stdint.h>
#include <stdlib.h>
#include <time.h>

#define NOINLINE __attribute__((noinline))

static uint64_t until_ns;
static volatile uint64_t sink;

static uint64_t cpu_ns(void) {
    struct timespec now;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

static void start(int argc, char **argv) {
    until_ns = (uint64_t)(argc > 1 ? atoi(argv[1]) : 200) * 1000000u;
}

static int is_over(void) {
    return cpu_ns() >= until_ns;
}

/* A little work that no compiler leaves out. */
static inline uint64_t work(uint64_t value, unsigned rounds) {
    for (unsigned i = 0; i < rounds; i++) {
        value ^= value << 13, value ^= value >> 7, value ^= value << 17;
        __asm__ volatile("" : "+r"(value));
    }
    return value;
}

#endif
