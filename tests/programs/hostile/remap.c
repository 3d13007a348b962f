/* Changes what it maps all the time, as no honest program does: its own file and libc's over one another, at
 * places that were code of another file a moment ago, and away again while it works. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <link.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#define PLACES 64
#define BYTES (1 << 16)

static volatile uint64_t sink;

__attribute__((noinline)) void busy(unsigned rounds) {
    for (unsigned i = 0; i < rounds; i++) sink = sink * 31 + i;
}

int main(void) {
    Dl_info libc;
    dladdr(dlsym(RTLD_DEFAULT, "printf"), &libc);
    int files[2] = {open("/proc/self/exe", O_RDONLY), open(libc.dli_fname, O_RDONLY)};
    char *area = mmap(NULL, PLACES * BYTES, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    for (unsigned round = 0;; round++) {
        char *place = area + (round * 7919u % PLACES) * BYTES;
        switch (round % 5) {
        case 0:
        case 1:
            mmap(place, BYTES, PROT_READ | PROT_EXEC, MAP_PRIVATE | MAP_FIXED, files[round % 2], (round % 3) * 4096);
            break;
        case 2:
            mprotect(place, BYTES, round % 2 ? PROT_READ | PROT_WRITE | PROT_EXEC : PROT_NONE);
            break;
        case 3:
            mmap(place, BYTES, PROT_NONE, MAP_PRIVATE | MAP_FIXED | MAP_ANONYMOUS, -1, 0);
            break;
        default:
            prctl(PR_SET_VMA, PR_SET_VMA_ANON_NAME, place, BYTES, "[stack] (deleted)");
        }
        busy(2000);
        if (round % 1000 == 0) {
            pid_t child = fork();
            if (child == 0) {
                mmap(area, BYTES, PROT_READ | PROT_EXEC, MAP_PRIVATE | MAP_FIXED, files[1], 0);
                busy(100000);
                _exit(0);
            }
            waitpid(child, NULL, 0);
        }
    }
}
