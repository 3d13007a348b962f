// One of very many processes that mostly sleep: burns a little in a stack of some 20 frames without frame
// pointers, a part of them in libraries, then sleeps for a random time.
//
//   crowd BURN_US SLEEP_MS      until it is killed or its parent ends; SLEEP_MS is the mean
//
// VARIANT makes binaries that differ in their functions, frames and size.
#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <time.h>
#include <unistd.h>
#include <vector>

namespace {

std::uint64_t now_us(clockid_t clock) {
    timespec now;
    clock_gettime(clock, &now);
    return static_cast<std::uint64_t>(now.tv_sec) * 1000000 + static_cast<std::uint64_t>(now.tv_nsec) / 1000;
}

template <unsigned N> struct Level {
    [[gnu::noinline]] static std::uint64_t run(std::vector<std::uint64_t> &data, std::uint64_t until_us) {
        std::uint64_t local[1 + (N * VARIANT) % 13];
        for (std::uint64_t &word : local) {
            word = until_us + N;
        }
        __asm__ volatile("" : : "r"(local) : "memory");
        std::uint64_t below = 0;
        // Through std::function and back, as such programs do.
        if (N % 4 == VARIANT % 4) {
            const std::function<std::uint64_t()> next = [&] { return Level<N - 1>::run(data, until_us); };
            below = next();
        } else {
            below = Level<N - 1>::run(data, until_us);
        }
        __asm__ volatile("" : "+r"(below) : "r"(local) : "memory");
        return below + local[0];
    }
};

template <> struct Level<0> {
    [[gnu::noinline]] static std::uint64_t run(std::vector<std::uint64_t> &data, std::uint64_t until_us) {
        while (now_us(CLOCK_THREAD_CPUTIME_ID) < until_us) {
            // The C library's sort calls back into this program.
            std::qsort(data.data(), data.size(), sizeof data[0], [](const void *a, const void *b) {
                const auto x = *static_cast<const std::uint64_t *>(a), y = *static_cast<const std::uint64_t *>(b);
                return x < y ? -1 : static_cast<int>(x > y);
            });
            std::reverse(data.begin(), data.end());
        }
        return data.front();
    }
};

} // namespace

int main(int argc, char **argv) {
    if (argc != 3) {
        std::fprintf(stderr, "usage: crowd BURN_US SLEEP_MS\n");
        return 2;
    }
    const std::uint64_t burn_us = std::strtoull(argv[1], nullptr, 10), sleep_us = std::strtoull(argv[2], nullptr, 10) * 1000;
    std::vector<std::uint64_t> data(512);
    std::uint64_t random = static_cast<std::uint64_t>(getpid()) * UINT64_C(0x9e3779b97f4a7c15);
    for (;;) {
        random ^= random << 13, random ^= random >> 7, random ^= random << 17;
        usleep(static_cast<useconds_t>(random % (2 * sleep_us)));
        data[random % data.size()] = random;
        Level<12 + VARIANT % 8>::run(data, now_us(CLOCK_THREAD_CPUTIME_ID) + burn_us);
    }
}
