/* Functions whose frames differ: leaf, saved registers, variable size, aligned, no return, calls
   through a linkage table. Without a library: the whole file is ours. */

#ifdef CALLS
extern int outside(int), elsewhere(int);
#else
__attribute__((noinline)) int outside(int n) { return n * 3; }
__attribute__((noinline)) int elsewhere(int n) { return n - 7; }
#endif

__attribute__((noinline)) int leaf(int n) { return n + 1; }

__attribute__((noinline)) int saves(int a, int b, int c, int d) {
    int e = outside(a), f = elsewhere(b), g = outside(c), h = elsewhere(d);
    return e + f * g + h * leaf(e ^ f) + a * b + c * d;
}

__attribute__((noinline)) int sized(int n) {
    volatile char room[n + 1];
    for (int i = 0; i <= n; i++) room[i] = (char)i;
    return room[n / 2] + outside(n);
}

__attribute__((noinline)) int aligned(int n) {
    volatile char room[64] __attribute__((aligned(64)));
    room[n & 63] = 1;
    return room[n & 63] + elsewhere(n);
}

__attribute__((noinline, noreturn)) void stops(int n) {
    for (;;) outside(n++);
}

void _start(void) {
    int n = saves(1, 2, 3, 4) + sized(5) + aligned(6);
    stops(n);
}
