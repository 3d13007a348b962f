/* The clock is read by code of the kernel that is mapped into the process. */
#include "until.h"

#include <sys/time.h>

NOINLINE uint64_t clocks(unsigned rounds) {
    uint64_t sum = 0;
    for (unsigned i = 0; i < rounds; i++) {
        struct timespec now;
        struct timeval time;
        clock_gettime(CLOCK_MONOTONIC, &now);
        gettimeofday(&time, NULL);
        clock_gettime(CLOCK_REALTIME_COARSE, &now);
        sum += (uint64_t)now.tv_nsec + (uint64_t)time.tv_usec;
    }
    return sum;
}

int main(int argc, char **argv) {
    start(argc, argv);
    while (!is_over()) {
        sink += clocks(2000);
    }
    return 0;
}
