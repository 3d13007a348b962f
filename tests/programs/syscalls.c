/* Kernel frames: half of the CPU time in read(2) of /dev/zero, a fifth in getppid(2), the rest in user code.
 *
 * The system calls are made in the functions themselves, not through libc: a frame-pointer walk that starts in
 * libc's wrapper (built without frame pointers) would miss the caller. */
#define _GNU_SOURCE
#include "burn.h"
#include <fcntl.h>

static int zero_fd;
static char zero_buffer[1 << 16];

static inline __attribute__((always_inline)) long raw_call(long number, long a, long b, long c) {
#if defined(__x86_64__)
    long result;
    __asm__ volatile("syscall" : "=a"(result) : "a"(number), "D"(a), "S"(b), "d"(c) : "rcx", "r11", "memory");
    return result;
#elif defined(__aarch64__)
    register long x8 __asm__("x8") = number;
    register long x0 __asm__("x0") = a;
    register long x1 __asm__("x1") = b;
    register long x2 __asm__("x2") = c;
    __asm__ volatile("svc 0" : "+r"(x0) : "r"(x8), "r"(x1), "r"(x2) : "memory");
    return x0;
#else
#error "system calls of this architecture are not written here"
#endif
}

BURN_NOINLINE uint64_t read_zero(uint64_t rounds, uint64_t seed) {
    for (uint64_t i = 0; i < rounds / 64; i++) {
        seed += (uint64_t)raw_call(SYS_read, zero_fd, (long)zero_buffer, sizeof zero_buffer);
    }
    return seed;
}

BURN_NOINLINE uint64_t ask_parent(uint64_t rounds, uint64_t seed) {
    for (uint64_t i = 0; i < rounds; i++) {
        seed += (uint64_t)raw_call(SYS_getppid, 0, 0, 0);
    }
    return seed;
}

BURN_NOINLINE uint64_t user_hash(uint64_t rounds, uint64_t seed) {
    return burn_hash(rounds, seed);
}

int main(int argc, char **argv) {
    static const struct burn_part parts[] = {
        {"read_zero", 50, read_zero},
        {"ask_parent", 20, ask_parent},
        {"user_hash", 30, user_hash},
    };
    zero_fd = open("/dev/zero", O_RDONLY);
    if (zero_fd < 0) {
        perror("/dev/zero");
        return 1;
    }
    return burn_main(argc, argv, parts, sizeof parts / sizeof parts[0]);
}
