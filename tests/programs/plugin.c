/* The shared library that dlopen.c loads while it runs. */
#include <stdint.h>

__attribute__((noinline)) uint64_t plugin_work(uint64_t rounds, uint64_t seed) {
    uint64_t h = seed | 1;
    for (uint64_t i = 0; i < rounds; i++) {
        h ^= h << 13, h ^= h >> 7, h ^= h << 17;
        h += i;
    }
    return h;
}
