// C++ with templates, lambdas, exceptions, virtual functions and the standard library's regular
// expressions: some hundred kilobytes of code that is inlined several levels deep.
#include "words.h"

#include <cstdio>
#include <iostream>
#include <regex>
#include <sstream>
#include <stdexcept>

namespace {

struct Shape {
    virtual ~Shape() = default;
    virtual double area() const = 0;
};

struct Box : Shape {
    explicit Box(double side) : side_(side) {
        if (side < 0) throw std::invalid_argument("a side of " + std::to_string(side));
    }
    double area() const override { return side_ * side_; }
    double side_;
};

template <typename... Parts> std::string join(const Parts&... parts) {
    std::ostringstream out;
    (out << ... << parts);
    return out.str();
}

std::vector<std::string> split(const std::string& text) {
    static const std::regex word("[a-z]+(-[a-z]+)*", std::regex::icase);
    std::vector<std::string> found;
    for (std::sregex_iterator at(text.begin(), text.end(), word), end; at != end; ++at)
        found.push_back(at->str());
    return found;
}

double total(const std::vector<std::unique_ptr<Shape>>& shapes) {
    return std::accumulate(shapes.begin(), shapes.end(), 0.0,
                           [](double sum, const auto& shape) { return sum + shape->area(); });
}

}  // namespace

int main(int argc, char** argv) {
    words::Counter<std::string> counter;
    words::Counter<int> lengths;
    std::string text = "the quick brown fox jumps over the lazy dog-like creature";
    for (int i = 1; i < argc; ++i) text += join(' ', argv[i], '-', i);
    for (const auto& word : split(text)) {
        counter.add(word);
        lengths.add(static_cast<int>(word.size()), words::Nest<9>::run(word.size()) % 7);
    }
    std::vector<std::unique_ptr<Shape>> shapes;
    try {
        for (double side : {1.0, 2.5, argc - 3.0}) shapes.push_back(std::make_unique<Box>(side));
    } catch (const std::exception& error) {
        std::fprintf(stderr, "%s\n", error.what());
    }
    std::cout << words::report(counter, lengths) << total(shapes) << '\n';
}
