/* A runtime in small: makes code while it runs, says in a file what it is called, and burns CPU in it.
 *
 *   jit map           writes /tmp/perf-PID.map; a third of the time is spent in code that it does not list
 *   jit dump FOLDER   writes FOLDER/jit-PID.dump, with lines; halfway it uses the memory of a function again
 *                     for another one. A byte on stdin is the half; "reused" on stdout says that it is over.
 *
 * Prints "ready" when it burns. Every stack is main > outer > an inner function, all with frame pointers. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#ifndef __x86_64__
#error "the code it makes is x86-64's"
#endif

#define AREA_BYTES 4096
#define ROUNDS 1000000

/* push rbp; mov rbp, rsp; mov rax, rdi; loop: dec rax; jnz loop; pop rbp; ret */
static const uint8_t INNER[] = {0x55, 0x48, 0x89, 0xe5, 0x48, 0x89, 0xf8, 0x48, 0xff, 0xc8, 0x75, 0xfb, 0x5d, 0xc3};
/* push rbp; mov rbp, rsp; call rsi; pop rbp; ret */
static const uint8_t OUTER[] = {0x55, 0x48, 0x89, 0xe5, 0xff, 0xd6, 0x5d, 0xc3};
/* Offset of the loop in INNER. */
#define LOOP 7

typedef void (*outer_function)(uint64_t rounds, void *inner);

static uint8_t *area;
static FILE *file;

static void check(int good, const char *what) {
    if (!good) {
        perror(what);
        exit(1);
    }
}

static uint8_t *emit(size_t offset, const uint8_t *code, size_t size) {
    return memcpy(area + offset, code, size);
}

static void burn(uint8_t *outer, uint8_t *inner) { ((outer_function)outer)(ROUNDS, inner); }

static void ready(void) {
    check(fflush(file) == 0, "the file");
    puts("ready");
    fflush(stdout);
}

static void map_mode(void) {
    char path[64];
    snprintf(path, sizeof path, "/tmp/perf-%d.map", getpid());
    file = fopen(path, "w");
    check(file != NULL, path);
    uint8_t *outer = emit(0, OUTER, sizeof OUTER);
    uint8_t *inner = emit(0x100, INNER, sizeof INNER);
    uint8_t *unlisted = emit(0x200, INNER, sizeof INNER);
    fprintf(file, "%" PRIxPTR " %zx LazyCompile:*outer /app/x.js:12:3\n", (uintptr_t)outer, sizeof OUTER);
    fprintf(file, "this is no function\n");
    fprintf(file, "0x%" PRIxPTR " 0x%zx int Inner.work(int, long)\n", (uintptr_t)inner, sizeof INNER);
    ready();
    for (;;) {
        burn(outer, inner);
        burn(outer, inner);
        burn(outer, unlisted);
    }
}

static void put32(uint32_t value) { fwrite(&value, sizeof value, 1, file); }

static void put64(uint64_t value) { fwrite(&value, sizeof value, 1, file); }

static void put_head(uint32_t kind, size_t body) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    put32(kind);
    put32((uint32_t)(16 + body));
    put64((uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec);
}

static void put_load(const uint8_t *code, size_t size, const char *name) {
    static uint64_t number;
    put_head(0, 40 + strlen(name) + 1 + size);
    put32((uint32_t)getpid());
    put32((uint32_t)gettid());
    put64((uintptr_t)code);
    put64((uintptr_t)code);
    put64(size);
    put64(number++);
    fwrite(name, strlen(name) + 1, 1, file);
    fwrite(code, size, 1, file);
}

static void put_line(const uint8_t *code, int line, const char *name) {
    put64((uintptr_t)code);
    put32((uint32_t)line);
    put32(0);
    fwrite(name, strlen(name) + 1, 1, file);
}

/* Two lines: the entry's, and the loop's. */
static void put_lines(const uint8_t *code, int line, const char *name) {
    put_head(2, 16 + 2 * 16 + strlen(name) + 1 + 2);
    put64((uintptr_t)code);
    put64(2);
    put_line(code, line, name);
    put_line(code + LOOP, line + 1, "\xff");
}

static void dump_mode(const char *folder) {
    char path[512];
    snprintf(path, sizeof path, "%s/jit-%d.dump", folder, getpid());
    int fd = open(path, O_CREAT | O_TRUNC | O_RDWR, 0600);
    check(fd >= 0, path);
    file = fdopen(fd, "w+");
    check(file != NULL, path);
    /* That is how a profiler learns of the file. */
    check(mmap(NULL, 4096, PROT_READ | PROT_EXEC, MAP_PRIVATE, fd, 0) != MAP_FAILED, "mmap of the file");
    put32(0x4a695444);
    put32(1);
    put32(40);
    put32(62);
    put32(0);
    put32((uint32_t)getpid());
    put64(0);
    put64(0);
    uint8_t *outer = emit(0, OUTER, sizeof OUTER);
    uint8_t *inner = emit(0x100, INNER, sizeof INNER);
    put_load(outer, sizeof OUTER, "outer");
    put_lines(inner, 20, "first.js");
    put_load(inner, sizeof INNER, "first");
    ready();
    struct pollfd input = {.fd = 0, .events = POLLIN};
    while (poll(&input, 1, 0) == 0) burn(outer, inner);
    memset(inner, 0xcc, sizeof INNER);
    emit(0x100, INNER, sizeof INNER);
    put_lines(inner, 70, "second.js");
    put_load(inner, sizeof INNER, "second");
    check(fflush(file) == 0, "the file");
    puts("reused");
    fflush(stdout);
    for (;;) burn(outer, inner);
}

int main(int argc, char **argv) {
    area = mmap(NULL, AREA_BYTES, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    check(area != MAP_FAILED, "mmap");
    if (argc == 2 && strcmp(argv[1], "map") == 0) map_mode();
    if (argc == 3 && strcmp(argv[1], "dump") == 0) dump_mode(argv[2]);
    fputs("usage: jit map | jit dump FOLDER\n", stderr);
    return 2;
}
