/* A program with a known CPU split: runs functions for configured shares of a thread's CPU time, measures
 * with CLOCK_THREAD_CPUTIME_ID what each really got, and says so at the end.
 *
 * Used by the C and C++ programs; split.rs and split.go follow the same protocol:
 *   stdout, first line:  {"ready":true,"pid":1}
 *   stdin:               the first byte (or EOF) ends the burning; so does `--seconds N`
 *   stdout, second line: {"pid":1,"threads":[{"tid":2,"cpu_ns":3,"parts":{"name":4}}]}
 *   then the threads stay alive, asleep, until stdin ends: their /proc files can be read.
 *
 * The clock is read once per millisecond of work, in slices of 20 to 40 ms of random length: long against a
 * sampling period, so that few slices are cut by a sample, and random, so that no rate can run in step with them. */
#ifndef BURN_H
#define BURN_H

#include <inttypes.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define BURN_MAX_PARTS 8
#define BURN_MAX_THREADS 64
#define BURN_NOINLINE __attribute__((noinline, noclone))
#define BURN_MS UINT64_C(1000000)

/* Works for `rounds` rounds; the result depends on every round, so that none can be left out. */
typedef uint64_t (*burn_function)(uint64_t rounds, uint64_t seed);

struct burn_part {
    const char *name;
    unsigned share;
    burn_function run;
};

struct burn_thread {
    const struct burn_part *parts;
    size_t count;
    uint64_t deadline_ns; /* CLOCK_MONOTONIC; 0 = until stopped */
    pthread_t handle;
    int tid;
    uint64_t cpu_ns;
    uint64_t spent_ns[BURN_MAX_PARTS];
    uint64_t sink;
};

/* Builtins, not <stdatomic.h>: C++ has to read this, too. */
static int burn_stop;
static pthread_mutex_t burn_lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t burn_changed = PTHREAD_COND_INITIALIZER;
static size_t burn_finished;
/* What the main thread burned before burn_main; reported when it has parts. */
static struct burn_thread burn_prelude;

static uint64_t burn_now(clockid_t clock) {
    struct timespec now;
    clock_gettime(clock, &now);
    return (uint64_t)now.tv_sec * 1000 * BURN_MS + (uint64_t)now.tv_nsec;
}

static int burn_over(const struct burn_thread *self) {
    return __atomic_load_n(&burn_stop, __ATOMIC_RELAXED) || (self->deadline_ns && burn_now(CLOCK_MONOTONIC) >= self->deadline_ns);
}

/* Rounds that take about a millisecond of CPU. */
static uint64_t burn_calibrate(struct burn_thread *self, size_t part) {
    for (uint64_t rounds = 64;; rounds *= 2) {
        uint64_t before = burn_now(CLOCK_THREAD_CPUTIME_ID);
        self->sink ^= self->parts[part].run(rounds, self->sink);
        uint64_t took = burn_now(CLOCK_THREAD_CPUTIME_ID) - before;
        self->spent_ns[part] += took;
        if (took >= BURN_MS / 2) {
            return rounds;
        }
    }
}

static void burn_slice(struct burn_thread *self, size_t part, uint64_t rounds, uint64_t slice_ns) {
    uint64_t start = burn_now(CLOCK_THREAD_CPUTIME_ID), spent = 0;
    do {
        self->sink ^= self->parts[part].run(rounds, self->sink);
        spent = burn_now(CLOCK_THREAD_CPUTIME_ID) - start;
    } while (spent < slice_ns && !burn_over(self));
    self->spent_ns[part] += spent;
}

/* The part that is furthest behind its share. */
static size_t burn_choose(const struct burn_thread *self) {
    size_t best = 0;
    for (size_t i = 1; i < self->count; i++) {
        if (self->spent_ns[i] * self->parts[best].share < self->spent_ns[best] * self->parts[i].share) {
            best = i;
        }
    }
    return best;
}

static void *burn_worker(void *argument) {
    struct burn_thread *self = (struct burn_thread *)argument;
    uint64_t rounds[BURN_MAX_PARTS];
    self->tid = (int)syscall(SYS_gettid);
    uint64_t random = (uint64_t)self->tid * UINT64_C(0x9e3779b97f4a7c15);
    for (size_t i = 0; i < self->count; i++) {
        rounds[i] = burn_calibrate(self, i);
    }
    while (!burn_over(self)) {
        size_t part = burn_choose(self);
        random ^= random << 13, random ^= random >> 7, random ^= random << 17;
        burn_slice(self, part, rounds[part], 20 * BURN_MS + random % (20 * BURN_MS));
    }
    self->cpu_ns = burn_now(CLOCK_THREAD_CPUTIME_ID);
    pthread_mutex_lock(&burn_lock);
    burn_finished++;
    pthread_cond_signal(&burn_changed);
    pthread_mutex_unlock(&burn_lock);
    for (;;) {
        pause();
    }
    return NULL;
}

static void *burn_listener(void *argument) {
    char byte;
    (void)argument;
    /* Nothing to tell apart: a byte, the end of the input and an error all mean "stop". */
    ssize_t got = read(STDIN_FILENO, &byte, 1);
    (void)got;
    __atomic_store_n(&burn_stop, 1, __ATOMIC_RELAXED);
    return NULL;
}

static void burn_report_thread(const struct burn_thread *thread) {
    printf("{\"tid\":%d,\"cpu_ns\":%" PRIu64 ",\"parts\":{", thread->tid, thread->cpu_ns);
    for (size_t i = 0; i < thread->count; i++) {
        printf("%s\"%s\":%" PRIu64, i ? "," : "", thread->parts[i].name, thread->spent_ns[i]);
    }
    printf("}}");
}

static void burn_report(const struct burn_thread *threads, size_t count) {
    printf("{\"pid\":%d,\"threads\":[", (int)getpid());
    if (burn_prelude.count > 0) {
        burn_report_thread(&burn_prelude);
        printf(",");
    }
    for (size_t t = 0; t < count; t++) {
        burn_report_thread(&threads[t]);
        printf(t + 1 < count ? "," : "]}\n");
    }
    fflush(stdout);
}

/* The whole program: `[--seconds N] [--threads N]`. */
__attribute__((unused)) static int burn_main(int argc, char **argv, const struct burn_part *parts, size_t count) {
    static struct burn_thread threads[BURN_MAX_THREADS];
    size_t thread_count = 1;
    uint64_t deadline = 0;
    for (int i = 1; i + 1 < argc; i += 2) {
        if (strcmp(argv[i], "--seconds") == 0) {
            deadline = burn_now(CLOCK_MONOTONIC) + strtoull(argv[i + 1], NULL, 10) * 1000 * BURN_MS;
        } else if (strcmp(argv[i], "--threads") == 0) {
            thread_count = strtoull(argv[i + 1], NULL, 10);
        } else {
            fprintf(stderr, "unknown option %s; use [--seconds N] [--threads N]\n", argv[i]);
            return 2;
        }
    }
    if (thread_count < 1 || thread_count > BURN_MAX_THREADS || count > BURN_MAX_PARTS) {
        fprintf(stderr, "1 to %d threads\n", BURN_MAX_THREADS);
        return 2;
    }
    printf("{\"ready\":true,\"pid\":%d}\n", (int)getpid());
    fflush(stdout);
    pthread_t listener;
    if (pthread_create(&listener, NULL, burn_listener, NULL) != 0) {
        return 1;
    }
    for (size_t t = 0; t < thread_count; t++) {
        threads[t].parts = parts;
        threads[t].count = count;
        threads[t].deadline_ns = deadline;
        if (pthread_create(&threads[t].handle, NULL, burn_worker, &threads[t]) != 0) {
            return 1;
        }
    }
    pthread_mutex_lock(&burn_lock);
    while (burn_finished < thread_count) {
        pthread_cond_wait(&burn_changed, &burn_lock);
    }
    pthread_mutex_unlock(&burn_lock);
    burn_report(threads, thread_count);
    pthread_join(listener, NULL);
    char byte;
    while (read(STDIN_FILENO, &byte, 1) > 0) {
    }
    return 0;
}

/* === work of three kinds, to be called from a function with a name of its own === */

/* Calls nothing that does anything. A function that calls something before and after its work has a frame: gcc
 * gives leaf functions none, whatever -fno-omit-frame-pointer says, and a frame-pointer walk that starts in one
 * misses its caller. */
__attribute__((unused)) BURN_NOINLINE static void burn_mark(void) {
    __asm__ volatile("");
}

static inline __attribute__((always_inline)) uint64_t burn_hash(uint64_t rounds, uint64_t seed) {
    uint64_t h = seed | 1;
    for (uint64_t i = 0; i < rounds; i++) {
        h ^= h << 13, h ^= h >> 7, h ^= h << 17;
        h += i * UINT64_C(0x9e3779b97f4a7c15);
    }
    return h;
}

static inline __attribute__((always_inline)) uint64_t burn_walk(uint64_t rounds, uint64_t seed) {
    static uint32_t table[4096];
    uint64_t at = seed;
    for (uint64_t i = 0; i < rounds; i++) {
        at = at * UINT64_C(6364136223846793005) + table[(at >> 20) & 4095] + i;
        __asm__ volatile("" : "+r"(at));
    }
    return at;
}

static inline __attribute__((always_inline)) uint64_t burn_float(uint64_t rounds, uint64_t seed) {
    double x = 1.0 + (double)(seed & 1023);
    for (uint64_t i = 0; i < rounds; i++) {
        x = x * 0.999 + 3.0 / (x + 1.0);
    }
    return (uint64_t)x;
}

#endif
