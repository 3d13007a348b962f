/* Half of the CPU time in a function of the executable, half in one of a library that is loaded after a second
 * of burning: a profiler must learn of the new mapping while the process is under way.
 *
 * The library is `libplugin.so` in the executable's folder. */
#define _GNU_SOURCE
#include "burn.h"
#include <dlfcn.h>
#include <libgen.h>
#include <limits.h>

BURN_NOINLINE uint64_t host_work(uint64_t rounds, uint64_t seed) {
    return burn_walk(rounds, seed);
}

static burn_function load_plugin(void) {
    char path[PATH_MAX + 16], executable[PATH_MAX];
    ssize_t length = readlink("/proc/self/exe", executable, sizeof executable - 1);
    if (length < 0) {
        return NULL;
    }
    executable[length] = '\0';
    snprintf(path, sizeof path, "%s/libplugin.so", dirname(executable));
    void *library = dlopen(path, RTLD_NOW);
    if (!library) {
        fprintf(stderr, "%s\n", dlerror());
        return NULL;
    }
    return (burn_function)(uintptr_t)dlsym(library, "plugin_work");
}

int main(int argc, char **argv) {
    static struct burn_part parts[] = {{"host_work", 50, host_work}, {"plugin_work", 50, NULL}};
    uint64_t start = burn_now(CLOCK_THREAD_CPUTIME_ID), spent = 0, sink = start;
    do {
        sink ^= host_work(100000, sink);
        spent = burn_now(CLOCK_THREAD_CPUTIME_ID) - start;
    } while (spent < 1000 * BURN_MS);
    parts[1].run = load_plugin();
    if (!parts[1].run || sink == 0) {
        return 1;
    }
    burn_prelude.parts = parts;
    burn_prelude.count = 1;
    burn_prelude.tid = (int)getpid();
    burn_prelude.spent_ns[0] = spent;
    burn_prelude.cpu_ns = spent;
    return burn_main(argc, argv, parts, sizeof parts / sizeof parts[0]);
}
