// Inline functions that both parts of the program use.
#pragma once
#include <stddef.h>
#include <stdint.h>

struct entry {
    uint64_t key;
    uint64_t value;
    struct entry* next;
};

struct table {
    struct entry** slots;
    size_t bits;
    size_t used;
};

static inline uint64_t rotate(uint64_t x, int by) { return x << by | x >> (64 - by); }

static inline uint64_t hash(uint64_t x) {
    x = rotate(x ^ 0x9e3779b97f4a7c15ull, 27);
    x *= 0xbf58476d1ce4e5b9ull;
    return x ^ x >> 33;
}

static inline struct entry** slot_of(struct table* table, uint64_t key) {
    return &table->slots[hash(key) >> (64 - table->bits)];
}

static inline struct entry* find(struct table* table, uint64_t key) {
    for (struct entry* at = *slot_of(table, key); at; at = at->next)
        if (at->key == key) return at;
    return NULL;
}

int table_add(struct table* table, uint64_t key, uint64_t by);
uint64_t table_sum(const struct table* table, uint64_t (*weigh)(const struct entry*));
void table_drop(struct table* table);
