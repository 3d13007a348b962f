// The second part of the program: uses the same templates.
#include "words.h"

#include <iomanip>
#include <set>
#include <sstream>

namespace words {

static unsigned long digest(const std::string& text) {
    return std::accumulate(text.begin(), text.end(), 7ul,
                           [](unsigned long sum, char c) { return Nest<5>::run(sum + c); });
}

std::string report(const Counter<std::string>& counter, const Counter<int>& lengths) {
    std::ostringstream out;
    std::set<std::string> seen;
    for (const auto& [count, word] : counter.best(5)) {
        if (!seen.insert(word).second) continue;
        out << std::setw(4) << count << ' ' << word << ' ' << std::hex << digest(word) << '\n';
    }
    std::map<int, long> ordered;
    lengths.each([&](int length, long count) { ordered[length] += count; });
    for (auto at = ordered.rbegin(); at != ordered.rend(); ++at)
        out << at->first << ": " << std::string(at->second % 60, '*') << '\n';
    return out.str();
}

}  // namespace words
