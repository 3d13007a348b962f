// C: a hash table, with functions that are inlined, split and cloned.
#include "table.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static __attribute__((cold, noinline)) int out_of_memory(const char* what) {
    fprintf(stderr, "no memory for %s\n", what);
    return -1;
}

static int grow(struct table* table) {
    size_t bits = table->bits ? table->bits + 1 : 4;
    struct table larger = {calloc((size_t)1 << bits, sizeof(struct entry*)), bits, table->used};
    if (!larger.slots) return out_of_memory("slots");
    for (size_t i = 0; table->slots && i < (size_t)1 << table->bits; i++) {
        while (table->slots[i]) {
            struct entry* moved = table->slots[i];
            table->slots[i] = moved->next;
            struct entry** slot = slot_of(&larger, moved->key);
            moved->next = *slot;
            *slot = moved;
        }
    }
    free(table->slots);
    *table = larger;
    return 0;
}

int table_add(struct table* table, uint64_t key, uint64_t by) {
    struct entry* known = table->slots ? find(table, key) : NULL;
    if (known) {
        known->value += by;
        return 0;
    }
    if (table->used >= (size_t)1 << table->bits || !table->slots)
        if (grow(table)) return -1;
    struct entry* added = malloc(sizeof *added);
    if (!added) return out_of_memory("an entry");
    struct entry** slot = slot_of(table, key);
    *added = (struct entry){key, by, *slot};
    *slot = added;
    table->used++;
    return 0;
}

uint64_t table_sum(const struct table* table, uint64_t (*weigh)(const struct entry*)) {
    uint64_t sum = 0;
    for (size_t i = 0; i < (size_t)1 << table->bits; i++)
        for (const struct entry* at = table->slots[i]; at; at = at->next) sum += weigh(at);
    return sum;
}

void table_drop(struct table* table) {
    for (size_t i = 0; i < (size_t)1 << table->bits; i++) {
        struct entry* next;
        for (struct entry* at = table->slots[i]; at; at = next) {
            next = at->next;
            free(at);
        }
    }
    free(table->slots);
    memset(table, 0, sizeof *table);
}
