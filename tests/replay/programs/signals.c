/* Handlers: on the stack of what they interrupt, on one of their own, and one within the other. */
#define _GNU_SOURCE
#include "until.h"

#include <signal.h>
#include <string.h>
#include <sys/time.h>
#include <unistd.h>

NOINLINE uint64_t below(uint64_t value) {
    return work(value | 1, 2000);
}

static void inner(int signal) {
    (void)signal;
    sink += below(5);
}

static void outer(int number) {
    sink += below(3);
    raise(number == SIGUSR1 ? SIGUSR2 : SIGWINCH);
    sink += below(4);
}

static void on_timer(int number, siginfo_t *info, void *context) {
    (void)number, (void)info, (void)context;
    sink += below(7);
}

static void set(int number, void (*handler)(int), int flags) {
    struct sigaction action;
    memset(&action, 0, sizeof action);
    action.sa_handler = handler;
    action.sa_flags = flags;
    sigaction(number, &action, NULL);
}

NOINLINE uint64_t interrupted(uint64_t value) {
    char line[64];
    memset(line, (int)value, sizeof line);
    return work(value | 1, 5000) + (uint64_t)line[5];
}

int main(int argc, char **argv) {
    start(argc, argv);
    static char stack[64 * 1024];
    stack_t alternate = {.ss_sp = stack, .ss_size = sizeof stack};
    sigaltstack(&alternate, NULL);
    set(SIGUSR1, outer, 0);
    set(SIGUSR2, inner, SA_ONSTACK);
    set(SIGHUP, outer, SA_ONSTACK);
    set(SIGWINCH, inner, 0);
    struct sigaction action;
    memset(&action, 0, sizeof action);
    action.sa_sigaction = on_timer;
    action.sa_flags = SA_SIGINFO | SA_RESTART;
    sigaction(SIGPROF, &action, NULL);
#ifndef WITHOUT_TIMER
    /* A signal at any instruction, not only where one is raised. */
    struct itimerval timer = {.it_interval = {.tv_usec = 500}, .it_value = {.tv_usec = 500}};
    setitimer(ITIMER_PROF, &timer, NULL);
#endif
    while (!is_over()) {
        raise(SIGUSR1);
        kill(getpid(), SIGHUP);
        sink += interrupted(sink);
    }
    return 0;
}
