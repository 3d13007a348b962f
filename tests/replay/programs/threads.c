/* Threads that work, and that start and end all the time. */
#include "until.h"

#include <pthread.h>
#include <string.h>

NOINLINE uint64_t in_thread(uint64_t value) {
    char text[4000];
    memset(text, (int)value, sizeof text);
    return work(value | 1, 2000) + (uint64_t)text[sink % 4000];
}

static void *run(void *argument) {
    for (int i = 0; i < 300; i++) {
        sink += in_thread((uint64_t)(uintptr_t)argument + (uint64_t)i);
    }
    return NULL;
}

int main(int argc, char **argv) {
    start(argc, argv);
    while (!is_over()) {
        pthread_t threads[4];
        for (uintptr_t i = 0; i < 4; i++) {
            pthread_create(&threads[i], NULL, run, (void *)i);
        }
        for (int i = 0; i < 4; i++) {
            pthread_join(threads[i], NULL);
        }
    }
    return 0;
}
