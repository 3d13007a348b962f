/* Hand-written frames above and below compiled ones. */
#include "until.h"

typedef void function(void);
void odd_rbx(function *), odd_r14(function *), odd_r11(function *), odd_memory(function *), odd_rbp(function *);

static void leaf(void) {
    sink += work(sink | 1, 100);
}
static void fifth(void) { odd_r11(leaf); sink++; }
static void fourth(void) { odd_rbp(fifth); sink++; }
static void third(void) { odd_memory(fourth); sink++; }
static void second(void) { odd_r14(third); sink++; }
static void first(void) { odd_rbx(second); sink++; }

int main(int argc, char **argv) {
    start(argc, argv);
    while (!is_over()) {
        for (int i = 0; i < 50; i++) {
            first();
            odd_memory(second);
            odd_rbp(first);
        }
    }
    return 0;
}
