// C++ with templates, lambdas, anonymous namespaces and several levels of inlining.
#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <map>
#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

namespace {

struct Mixer {
    uint64_t state;
    explicit Mixer(uint64_t seed) : state(seed) {}
    virtual ~Mixer() = default;
    virtual uint64_t step(uint64_t x) { return rotate(state ^= x) * 0x9e3779b97f4a7c15ull; }
    static inline uint64_t rotate(uint64_t x) { return (x << 13) | (x >> 51); }
};

struct Heavy final : Mixer {
    using Mixer::Mixer;
    uint64_t step(uint64_t x) override {
        for (int i = 0; i < 3; i++) x = Mixer::step(x + i);
        return x;
    }
};

template <typename T, int N>
__attribute__((always_inline)) inline T fold(const T *values) {
    T sum{};
    for (int i = 0; i < N; i++) sum += values[i] * (i + 1);
    return sum;
}

}  // namespace

namespace shop::checkout {

template <typename F>
uint64_t apply(std::vector<uint64_t> &cart, F &&visit) {
    uint64_t total = 0;
    for (auto &item : cart) total += visit(item);
    return total;
}

__attribute__((noinline)) uint64_t price(std::vector<uint64_t> &cart, Mixer &mixer) {
    return apply(cart, [&](uint64_t &item) {
        item = mixer.step(item);
        uint64_t window[4] = {item, item >> 1, item >> 2, item >> 3};
        return fold<uint64_t, 4>(window);
    });
}

__attribute__((noinline)) std::string describe(uint64_t value) {
    std::map<std::string, uint64_t> parts;
    for (int i = 0; i < 8; i++) parts["part" + std::to_string(i)] = value >> (8 * i) & 0xff;
    std::string text;
    for (auto &[name, part] : parts) text += name + "=" + std::to_string(part) + ";";
    if (text.size() > 4096) throw std::length_error("too long: " + text);
    return text;
}

}  // namespace shop::checkout

static uint64_t sort_some(std::vector<uint64_t> &cart) {
    std::sort(cart.begin(), cart.end(), [](uint64_t a, uint64_t b) { return a % 97 < b % 97; });
    return cart.front();
}

int main(int argc, char **) {
    std::vector<uint64_t> cart;
    for (int i = 0; i < 64; i++) cart.push_back(static_cast<uint64_t>(i) * argc);
    std::unique_ptr<Mixer> mixer = std::make_unique<Heavy>(argc);
    uint64_t total = 0;
    for (int i = 0; i < 10; i++) total += shop::checkout::price(cart, *mixer);
    total += sort_some(cart);
    std::puts(shop::checkout::describe(total).c_str());
    return 0;
}
