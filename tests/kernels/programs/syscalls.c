/* A known stack below kernel mode: main → caller → reader → read(2) of /dev/zero, until it is killed.
 *
 * The system call is made in the function itself: libc's wrapper has no frame of its own, and a walk along frame
 * pointers that starts in it misses its caller. */
#include <fcntl.h>
#include <sys/syscall.h>

#define CALLED __attribute__((noinline, noclone))

static char buffer[1 << 20];

/* Gives a function that calls it a frame. */
static CALLED void mark(void) {
    __asm__ volatile("");
}

static inline __attribute__((always_inline)) long raw_read(long file) {
#if defined(__x86_64__)
    long result;
    __asm__ volatile("syscall"
                     : "=a"(result)
                     : "a"(SYS_read), "D"(file), "S"(buffer), "d"(sizeof buffer)
                     : "rcx", "r11", "memory");
    return result;
#elif defined(__aarch64__)
    register long x8 __asm__("x8") = SYS_read;
    register long x0 __asm__("x0") = file;
    register long x1 __asm__("x1") = (long)buffer;
    register long x2 __asm__("x2") = sizeof buffer;
    __asm__ volatile("svc 0" : "+r"(x0) : "r"(x8), "r"(x1), "r"(x2) : "memory");
    return x0;
#else
#error "system calls of this architecture are not written here"
#endif
}

static CALLED long reader(long file) {
    long sum = 0;
    mark();
    for (int i = 0; i < 64; i++) {
        sum += raw_read(file);
    }
    mark();
    return sum;
}

static CALLED long caller(long file) {
    long sum = reader(file);
    __asm__ volatile("" : "+r"(sum));
    return sum + 1;
}

int main(void) {
    long file = open("/dev/zero", O_RDONLY);
    if (file < 0) {
        return 1;
    }
    while (caller(file) >= 0) {
    }
    return 2;
}
