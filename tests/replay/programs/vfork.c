/* Children of vfork, which run on their parent's stack; and the function vfork itself. */
#define _GNU_SOURCE
#include "until.h"

#include <sys/wait.h>
#include <unistd.h>

NOINLINE uint64_t in_child(uint64_t value) {
    return work(value | 1, 200000);
}

NOINLINE int spawn(uint64_t value) {
    pid_t child = vfork();
    if (child == 0) {
        sink += in_child(value);
        _exit(0);
    }
    int status = 0;
    waitpid(child, &status, 0);
    return status;
}

int main(int argc, char **argv) {
    start(argc, argv);
    while (!is_over()) {
        /* The child's CPU time is not its parent's. */
        sink += (uint64_t)spawn(sink) + in_child(sink);
    }
    return 0;
}
