/* Recursion that is deeper than any stack that is kept: the outermost frames are cut off; or of another DEPTH. */
#include "until.h"

#ifndef DEPTH
#define DEPTH 900
#endif

NOINLINE uint64_t descend(unsigned depth, uint64_t value) {
    uint64_t below = depth == 0 ? work(value | 1, 3000) : descend(depth - 1, value + depth);
    __asm__ volatile("" : "+r"(below));
    return below + depth;
}

int main(int argc, char **argv) {
    start(argc, argv);
    while (!is_over()) {
        sink += descend(DEPTH, sink) + descend(200, sink);
    }
    return 0;
}
