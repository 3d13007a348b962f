// A busy program for output_cost: calls 20 to 50 deep through four functions, then works a little,
// now and then in the kernel. `few` repeats 64 stacks, `many` hardly ever repeats one.
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

static uint64_t state;
static char buffer[65536];

static uint64_t next(void) {
    state ^= state << 13;
    state ^= state >> 7;
    return state ^= state << 17;
}

static void leaf(uint64_t path) {
    if (path % 8 == 0) {
        syscall(SYS_getrandom, buffer, 4096, 0);
    } else {
        for (volatile int i = 0; i < 10000; i++) {
        }
    }
}

typedef void step(uint64_t path, int depth);
static step a, b, c, d;
static step *const steps[] = {a, b, c, d};

#define STEP(name)                                                  \
    __attribute__((noinline)) static void name(uint64_t path, int depth) { \
        if (depth == 0) {                                           \
            leaf(path);                                             \
        } else {                                                    \
            steps[path % 4](path >> 2 | path << 62, depth - 1);     \
        }                                                           \
        __asm__ volatile("");                                       \
    }
STEP(a) STEP(b) STEP(c) STEP(d)

int main(int argc, char **argv) {
    if (argc != 3) return 2;
    int few = strcmp(argv[1], "few") == 0;
    state = strtoull(argv[2], 0, 10) * 0x9e3779b97f4a7c15u | 1;
    uint64_t paths[64];
    for (int i = 0; i < 64; i++) paths[i] = next();
    for (;;) {
        uint64_t path = few ? paths[next() % 64] : next();
        a(path, 20 + (int)((path >> 32) % 31));
    }
}
