// A program with calls that the compiler inlines, generics, closures, methods and a good part of the
// standard library.
package main

import (
	"encoding/json"
	"fmt"
	"os"
	"sort"
	"strings"
)

type shape interface{ area() float64 }

type square struct{ side float64 }
type circle struct{ radius float64 }

func (s square) area() float64  { return product(s.side, s.side) }
func (c *circle) area() float64 { return 3 * product(c.radius, c.radius) }

func product(a, b float64) float64 { return scale(a) * scale(b) }
func scale(a float64) float64 {
	if a < 0 {
		return -a
	}
	return a
}

func largest[T any](all []T, less func(a, b T) bool) T {
	best := all[0]
	for _, one := range all[1:] {
		if less(best, one) {
			best = one
		}
	}
	return best
}

//go:noinline
func total(shapes []shape) (sum float64) {
	for _, one := range shapes {
		sum += one.area()
	}
	return sum
}

func main() {
	shapes := []shape{square{2}, &circle{1}, square{float64(len(os.Args))}}
	sort.Slice(shapes, func(i, j int) bool { return shapes[i].area() < shapes[j].area() })
	best := largest(shapes, func(a, b shape) bool { return a.area() < b.area() })
	text, err := json.Marshal(map[string]float64{"total": total(shapes), "best": best.area()})
	if err != nil {
		panic(err)
	}
	fmt.Println(strings.ToUpper(string(text)))
}
