// C++: namespaces, two instances of a template, a virtual call, and a function that is always inlined.
#include "burn.h"

#include <cstdint>

namespace fleet {

// Always inlined into Codec::encode: a profile must show it as a frame of its own, with its caller below.
[[gnu::always_inline]] inline std::uint64_t inlined_mix(std::uint64_t rounds, std::uint64_t seed) {
    std::uint64_t h = seed | 1;
    for (std::uint64_t i = 0; i < rounds; i++) {
        h = (h ^ (h >> 29)) * UINT64_C(0xbf58476d1ce4e5b9) + i;
    }
    return h;
}

template <typename T> struct Codec {
    [[gnu::noinline]] static std::uint64_t encode(std::uint64_t rounds, std::uint64_t seed);
};

template <> [[gnu::noinline]] std::uint64_t Codec<int>::encode(std::uint64_t rounds, std::uint64_t seed) {
    return inlined_mix(rounds, seed);
}

template <> [[gnu::noinline]] std::uint64_t Codec<double>::encode(std::uint64_t rounds, std::uint64_t seed) {
    return burn_float(rounds, seed);
}

struct Shape {
    virtual ~Shape() = default;
    virtual std::uint64_t area(std::uint64_t rounds, std::uint64_t seed) const = 0;
};

struct Square final : Shape {
    [[gnu::noinline]] std::uint64_t area(std::uint64_t rounds, std::uint64_t seed) const override {
        burn_mark();
        const std::uint64_t area = burn_walk(rounds, seed);
        burn_mark();
        return area;
    }
};

namespace {
[[gnu::noinline]] std::uint64_t measure(std::uint64_t rounds, std::uint64_t seed) {
    static const Square square;
    const Shape *shape = &square;
    __asm__ volatile("" : "+r"(shape));
    std::uint64_t area = shape->area(rounds, seed);
    // Keeps the frame: the call above must not become a jump.
    __asm__ volatile("" : "+r"(area));
    return area;
}
} // namespace

} // namespace fleet

int main(int argc, char **argv) {
    static const burn_part parts[] = {
        {"fleet::Codec<int>::encode", 45, fleet::Codec<int>::encode},
        {"fleet::Codec<double>::encode", 35, fleet::Codec<double>::encode},
        {"fleet::Square::area", 20, fleet::measure},
    };
    return burn_main(argc, argv, parts, sizeof parts / sizeof parts[0]);
}
