// Stacks of FRAMES frames, without frame pointers: FRAMES - 2 functions, start_thread and clone3.
//
//   frames --threads N      burns on N threads until it is killed or its input ends; protocol of ../burn.h
//
// As in a large program, each function lies in a page of its own and has a rule of its own (size of its frame,
// registers that it saves), so that a walk finds nothing that an earlier frame brought into the caches. Nearly
// all time is spent at the full depth. FRAMES_MEMORY=BYTES makes each thread read as much memory all the time,
// so that the caches hold nothing of the profiler's; without it the work is done in registers.
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <pthread.h>
#include <unistd.h>
#include <vector>

static_assert(FRAMES >= 3);

namespace {

struct Work {
    std::vector<std::uint64_t> memory;
    std::uint64_t at = 0;
};

// Some 100 µs of work.
inline std::uint64_t work(Work &work, std::uint64_t seed) {
    std::uint64_t h = seed | 1;
    if (work.memory.empty()) {
        for (int i = 0; i < 50000; i++) {
            h ^= h << 13, h ^= h >> 7, h ^= h << 17;
        }
        return h;
    }
    // One read a cache line.
    for (int i = 0; i < 20000; i++) {
        work.at = (work.at + 8) % work.memory.size();
        h += work.memory[work.at];
    }
    return h;
}

template <unsigned N> struct Level {
    [[gnu::noinline, gnu::aligned(4096)]] static std::uint64_t run(Work &work, std::uint64_t seed) {
        // Frames of different sizes, and values that live in registers through the call.
        std::uint64_t local[1 + N % 11], a = seed + N, b = seed ^ N, c = seed * N;
        for (std::uint64_t &word : local) {
            word = seed++;
        }
        __asm__ volatile("" : : "r"(local) : "memory");
        std::uint64_t below = Level<N - 1>::run(work, local[N % 11 / 2]);
        if (N % 2 == 0) {
            below += a;
        }
        if (N % 3 == 0) {
            below ^= b;
        }
        if (N % 5 == 0) {
            below += c;
        }
        // The call above is neither the last thing done, nor is what it gives known.
        __asm__ volatile("" : "+r"(below) : "r"(local) : "memory");
        return below;
    }
};

template <> struct Level<0> {
    [[gnu::noinline, gnu::aligned(4096)]] static std::uint64_t run(Work &memory, std::uint64_t seed) {
        return work(memory, seed);
    }
};

// The outermost of the FRAMES - 2 functions.
void *thread(void *) {
    Work memory;
    const char *bytes = std::getenv("FRAMES_MEMORY");
    memory.memory.resize(bytes != nullptr ? std::strtoull(bytes, nullptr, 10) / 8 : 0, 1);
    std::uint64_t seed = 1;
    for (;;) {
#if FRAMES == 3
        seed += work(memory, seed);
#else
        seed += Level<FRAMES - 4>::run(memory, seed);
#endif
        __asm__ volatile("" : "+r"(seed));
    }
}

} // namespace

int main(int argc, char **argv) {
    const unsigned long threads = argc == 3 && std::strcmp(argv[1], "--threads") == 0 ? std::strtoul(argv[2], nullptr, 10) : 0;
    if (threads == 0) {
        std::fprintf(stderr, "usage: frames --threads N\n");
        return 2;
    }
    for (unsigned long i = 0; i < threads; i++) {
        pthread_t handle;
        if (pthread_create(&handle, nullptr, thread, nullptr) != 0) {
            return 1;
        }
    }
    std::printf("{\"ready\":true,\"pid\":%d}\n", getpid());
    std::fflush(stdout);
    char byte;
    while (read(STDIN_FILENO, &byte, 1) > 0) {
    }
    return 0;
}
