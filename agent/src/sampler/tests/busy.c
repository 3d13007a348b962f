// Programs for the sampler's tests; the first argument says which.
#define _GNU_SOURCE
#include <dlfcn.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#define NOINLINE __attribute__((noinline, noclone))

static volatile uint64_t sink;
static char buffer[1 << 16];

// A system call without libc's wrapper, which has no frame pointers.
static inline long random_bytes(void) {
    long result;
    __asm__ volatile("syscall"
                     : "=a"(result)
                     : "a"(SYS_getrandom), "D"(buffer), "S"(sizeof buffer), "d"(0)
                     : "rcx", "r11", "memory");
    return result;
}

static volatile int in_inner;

NOINLINE void inner(int in_kernel) {
    in_inner = 1;
    for (;;) {
        if (in_kernel) {
            random_bytes();
        } else {
            sink++;
        }
    }
}

NOINLINE void middle(int in_kernel) {
    inner(in_kernel);
    __asm__ volatile("");
}

NOINLINE void outer(int in_kernel) {
    middle(in_kernel);
    __asm__ volatile("");
}

static void handle(int number) {
    (void)number;
    // On a busy host the time may be over before the program got there.
    if (in_inner) {
        inner(0);
    } else {
        ualarm(1000, 0);
    }
}

NOINLINE int deep(int depth) {
    if (depth == 0) inner(0);
    int result = deep(depth - 1);
    __asm__ volatile("");
    return result + 1;
}

int main(int argc, char **argv) {
    if (argc < 2) return 2;
    // Where `main` is, and that the program is ready.
    printf("%p\n", (void *)main);
    fflush(stdout);
    if (strcmp(argv[1], "user") == 0) outer(0);
    if (strcmp(argv[1], "kernel") == 0) outer(1);
    if (strcmp(argv[1], "deep") == 0) return deep(600);
    if (strcmp(argv[1], "signal") == 0) {
        signal(SIGALRM, handle);
        ualarm(1000, 0);
        outer(0);
    }
    if (strcmp(argv[1], "load") == 0) return argc < 3 || dlopen(argv[2], RTLD_NOW) == NULL;
    return 2;
}
