// Go: goroutines that start and end, channels, garbage, deep recursion that grows stacks, a sort with a callback.
package main

import (
	"os"
	"sort"
	"strconv"
	"time"
)

//go:noinline
func descend(depth, value uint64) uint64 {
	var block [16]uint64
	block[depth%16] = value
	if depth == 0 {
		return value
	}
	return descend(depth-1, value*6364136223846793005+1) + block[depth%16]
}

//go:noinline
func sorted(seed uint64) uint64 {
	numbers := make([]uint64, 500)
	for i := range numbers {
		seed ^= seed << 13
		seed ^= seed >> 7
		seed ^= seed << 17
		numbers[i] = seed
	}
	sort.Slice(numbers, func(a, b int) bool { return numbers[a] < numbers[b] })
	return numbers[0]
}

func texts(seed uint64) int {
	words := map[string]uint64{}
	for i := uint64(0); i < 200; i++ {
		words[strconv.FormatUint(seed+i, 10)] = i
	}
	return len(words)
}

func main() {
	milliseconds := 200
	if len(os.Args) > 1 {
		if given, err := strconv.Atoi(os.Args[1]); err == nil {
			milliseconds = given
		}
	}
	until := time.Now().Add(time.Duration(milliseconds) * time.Millisecond)
	sums := make(chan uint64)
	for sum := uint64(1); time.Now().Before(until); {
		for worker := uint64(0); worker < 4; worker++ {
			go func(seed uint64) {
				sums <- descend(300, seed) + sorted(seed) + uint64(texts(seed))
			}(sum + worker)
		}
		for worker := 0; worker < 4; worker++ {
			sum += <-sums
		}
		sum |= 1
	}
}
