/* A library that comes, works and goes. */
#include "until.h"

#include <dlfcn.h>
#include <stdio.h>

typedef uint64_t (*callback)(uint64_t);

static uint64_t back(uint64_t value) {
    return work(value | 1, 30);
}

int main(int argc, char **argv) {
    start(argc, argv);
    while (!is_over()) {
        void *library = dlopen(argv[2], RTLD_NOW);
        if (!library) {
            fprintf(stderr, "%s\n", dlerror());
            return 1;
        }
        uint64_t (*run)(uint64_t, callback);
        *(void **)&run = dlsym(library, "library_work");
        for (int i = 0; i < 50; i++) {
            sink += run(sink, back);
        }
        dlclose(library);
    }
    return 0;
}
