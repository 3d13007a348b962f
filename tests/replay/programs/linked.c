/* Calls through the linkage table, all the time; with LD_BIND_NOT=1 each goes through the resolver. */
#include "until.h"

uint64_t library_a(uint64_t value);
uint64_t library_b(uint64_t value);
uint64_t library_work(uint64_t value, uint64_t (*back)(uint64_t));

static uint64_t back(uint64_t value) {
    return library_a(value) + 1;
}

NOINLINE uint64_t calls(unsigned rounds, uint64_t value) {
    for (unsigned i = 0; i < rounds; i++) {
        value += library_a(value) + library_b(value);
    }
    return value + library_work(value, back);
}

int main(int argc, char **argv) {
    start(argc, argv);
    while (!is_over()) {
        sink += calls(200, sink);
    }
    return 0;
}
