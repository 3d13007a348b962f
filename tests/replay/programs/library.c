/* What `linked.c` and `loaded.c` call through linkage tables. */
#include <stdint.h>

uint64_t library_a(uint64_t value) {
    return value * 3 + 1;
}

uint64_t library_b(uint64_t value) {
    return library_a(value) ^ library_a(value + 1);
}

uint64_t library_work(uint64_t value, uint64_t (*back)(uint64_t)) {
    for (int i = 0; i < 100; i++) {
        value = library_b(value) + back(value);
    }
    return value;
}
