// No libc, no caller: its user stack is one frame deep, and nearly all of its time is in the kernel.
static char buffer[1 << 16];

void _start(void) {
    for (;;) {
        long result;
        __asm__ volatile("syscall"
                         : "=a"(result)
                         : "a"(318), "D"(buffer), "S"(sizeof buffer), "d"(0)
                         : "rcx", "r11", "memory");
    }
}
