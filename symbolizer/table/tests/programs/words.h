// Templates that both parts of the program use: the linker keeps one copy of each.
#pragma once
#include <algorithm>
#include <functional>
#include <map>
#include <memory>
#include <numeric>
#include <string>
#include <unordered_map>
#include <vector>

namespace words {

template <typename Key> class Counter {
  public:
    void add(const Key& key, long by = 1) { counts_[key] += by; }

    template <typename Visit> void each(Visit visit) const {
        for (const auto& [key, count] : counts_) visit(key, count);
    }

    std::vector<std::pair<long, Key>> best(std::size_t most) const {
        std::vector<std::pair<long, Key>> all;
        each([&](const Key& key, long count) { all.emplace_back(count, key); });
        std::sort(all.begin(), all.end(), std::greater<>());
        if (all.size() > most) all.resize(most);
        return all;
    }

  private:
    std::unordered_map<Key, long> counts_;
};

inline unsigned long mix(unsigned long x) {
    x ^= x >> 31;
    x *= 0x9e3779b97f4a7c15ul;
    return x ^ (x >> 29);
}

template <int Depth> struct Nest {
    [[gnu::always_inline]] static unsigned long run(unsigned long x) {
        if (x % (Depth + 2) == 0) return Nest<Depth - 1>::run(mix(x));
        return Nest<Depth - 1>::run(x + Depth);
    }
};

template <> struct Nest<0> {
    [[gnu::always_inline]] static unsigned long run(unsigned long x) { return mix(x); }
};

std::string report(const Counter<std::string>& counter, const Counter<int>& lengths);

}  // namespace words
