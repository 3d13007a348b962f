// Exceptions in flight, virtual calls through adjusting thunks, sorting with a closure.
#include "until.h"

#include <algorithm>
#include <functional>
#include <map>
#include <stdexcept>
#include <string>
#include <vector>

struct Left {
    virtual ~Left() = default;
    virtual uint64_t left(uint64_t value) = 0;
};

struct Right {
    virtual ~Right() = default;
    virtual uint64_t right(uint64_t value) = 0;
};

struct Both : Left, Right {
    uint64_t left(uint64_t value) override { return work(value | 1, 50); }
    uint64_t right(uint64_t value) override { return left(value) + work(value | 1, 20); }
};

struct Guard {
    uint64_t value;
    ~Guard() { sink = sink + work(value | 1, 100); }
};

NOINLINE uint64_t fall(unsigned depth) {
    Guard guard{depth};
    if (depth == 0) {
        throw std::runtime_error("down");
    }
    return fall(depth - 1) + guard.value;
}

NOINLINE uint64_t caught(unsigned depth) {
    try {
        return fall(depth);
    } catch (const std::exception &error) {
        return std::string(error.what()).size();
    }
}

NOINLINE uint64_t sorted(uint64_t seed) {
    std::vector<uint64_t> numbers(200);
    std::generate(numbers.begin(), numbers.end(), [&] { return seed = work(seed | 1, 2); });
    std::function<bool(uint64_t, uint64_t)> less = [](uint64_t a, uint64_t b) { return work(a | 1, 3) < work(b | 1, 3); };
    std::sort(numbers.begin(), numbers.end(), less);
    std::map<uint64_t, std::string> names;
    for (uint64_t number : numbers) {
        names[number] = std::to_string(number);
    }
    return names.begin()->second.size();
}

NOINLINE uint64_t through(Right &right, uint64_t value) {
    return right.right(value);
}

int main(int argc, char **argv) {
    start(argc, argv);
    Both both;
    while (!is_over()) {
        for (unsigned i = 0; i < 100; i++) {
            sink = sink + through(both, i);
        }
        sink = sink + caught(12) + sorted(sink | 1);
    }
    return 0;
}
