/* A storm of short programs: the parent forks and executes itself, one child after the other; each child burns
 * some 20 ms of CPU in `storm_child_work` and ends. The protocol is burn.h's; the report's only thread is the sum
 * of the children: `cpu_ns` as the kernel counted it (wait4), the part as the children measured it. */
#define _GNU_SOURCE
#include "burn.h"
#include <fcntl.h>
#include <sys/resource.h>
#include <sys/wait.h>

#define CHILD_NS (20 * BURN_MS)

BURN_NOINLINE uint64_t storm_child_work(uint64_t rounds, uint64_t seed) {
    return burn_hash(rounds, seed);
}

/* The path it was started by, not /proc/self/exe: that would name every child "exe". Started through a link, the
 * processes have the link's name, and the file's executable. */
static const char *executable;

static int child(void) {
    uint64_t start = burn_now(CLOCK_THREAD_CPUTIME_ID), spent = 0, sink = start;
    do {
        sink ^= storm_child_work(100000, sink);
        spent = burn_now(CLOCK_THREAD_CPUTIME_ID) - start;
    } while (spent < CHILD_NS);
    /* `sink` is used so that the work is not removed; it is never 0 here. */
    return sink != 0 && write(STDOUT_FILENO, &spent, sizeof spent) == sizeof spent ? 0 : 1;
}

/* Runs one child; adds what it measured and what the kernel counted. */
static int one(uint64_t *measured, uint64_t *counted) {
    int pipes[2];
    uint64_t spent = 0;
    struct rusage usage;
    if (pipe2(pipes, O_CLOEXEC) != 0) {
        return -1;
    }
    pid_t pid = fork();
    if (pid == 0) {
        dup2(pipes[1], STDOUT_FILENO);
        execl(executable, executable, "--child", (char *)NULL);
        _exit(127);
    }
    close(pipes[1]);
    ssize_t got = read(pipes[0], &spent, sizeof spent);
    close(pipes[0]);
    int status = 0;
    if (pid < 0 || wait4(pid, &status, 0, &usage) != pid || status != 0 || got != sizeof spent) {
        return -1;
    }
    *measured += spent;
    *counted += (uint64_t)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) * 1000 * BURN_MS +
                (uint64_t)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) * 1000;
    return 0;
}

int main(int argc, char **argv) {
    uint64_t measured = 0, counted = 0;
    pthread_t listener;
    char byte;
    if (argc > 1 && strcmp(argv[1], "--child") == 0) {
        return child();
    }
    executable = argv[0];
    printf("{\"ready\":true,\"pid\":%d}\n", (int)getpid());
    fflush(stdout);
    if (pthread_create(&listener, NULL, burn_listener, NULL) != 0) {
        return 1;
    }
    while (!__atomic_load_n(&burn_stop, __ATOMIC_RELAXED)) {
        if (one(&measured, &counted) != 0) {
            fprintf(stderr, "a child failed\n");
            return 1;
        }
    }
    printf("{\"pid\":%d,\"threads\":[{\"tid\":%d,\"cpu_ns\":%" PRIu64 ",\"parts\":{\"storm_child_work\":%" PRIu64 "}}]}\n",
           (int)getpid(), (int)getpid(), counted, measured);
    fflush(stdout);
    pthread_join(listener, NULL);
    while (read(STDIN_FILENO, &byte, 1) > 0) {
    }
    return 0;
}
