/* A known stack of a static program: main → outer → middle → inner → leaf, nearly all time in leaf, in user mode.
 *
 *   nested             burns until it is killed
 *   nested MILLIS      burns that much of its own CPU time, then exits
 *
 * No function can be inlined, cloned or left by a jump: each does something after its call. */
#include <stdint.h>
#include <stdlib.h>
#include <time.h>

#define CALLED __attribute__((noinline, noclone))

/* Calls nothing that does anything: a function that calls has a frame, a leaf may have none. */
static CALLED void mark(void) {
    __asm__ volatile("");
}

static uint64_t cpu_millis(void) {
    struct timespec now;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
    return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

static CALLED uint64_t leaf(uint64_t seed) {
    mark();
    /* Long against the clock's system call between two calls of this function, also where machine code is emulated. */
    for (uint32_t round = 0; round < 2000000; round++) {
        seed ^= seed << 13, seed ^= seed >> 7, seed ^= seed << 17;
        __asm__ volatile("" : "+r"(seed));
    }
    mark();
    return seed;
}

static CALLED uint64_t inner(uint64_t seed) {
    uint64_t result = leaf(seed + 1);
    __asm__ volatile("" : "+r"(result));
    return result + 1;
}

static CALLED uint64_t middle(uint64_t seed) {
    uint64_t result = inner(seed + 2);
    __asm__ volatile("" : "+r"(result));
    return result + 2;
}

static CALLED uint64_t outer(uint64_t seed) {
    uint64_t result = middle(seed + 3);
    __asm__ volatile("" : "+r"(result));
    return result + 3;
}

int main(int argc, char **argv) {
    uint64_t limit = argc > 1 ? strtoull(argv[1], NULL, 10) : UINT64_MAX;
    uint64_t seed = 1;
    while (cpu_millis() < limit) {
        seed = outer(seed);
    }
    /* An even number is as good as an odd one; the compiler cannot know. */
    return seed == 0;
}
