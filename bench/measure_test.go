package main

import (
	"math"
	"slices"
	"testing"
)

func TestTurn(t *testing.T) {
	for _, n := range []int{1, 2, 5, 10, 12} {
		rounds, want := n, 1 // how often each runs after each other
		if n%2 == 1 {
			rounds, want = 2*n, 2
		}
		after := map[[2]int]int{}
		for round := range rounds {
			order := roundOrder(round, n)
			if order[0] != round%n {
				t.Errorf("%d jobs: round %d begins with %d", n, round, order[0])
			}
			for i := 1; i < n; i++ {
				after[[2]int{order[i-1], order[i]}]++
			}
			slices.Sort(order)
			for i, job := range order {
				if i != job {
					t.Fatalf("%d jobs: round %d has %v", n, round, order)
				}
			}
		}
		for first := range n {
			for second := range n {
				if got := after[[2]int{first, second}]; first != second && got != want {
					t.Errorf("%d jobs: %d runs after %d %d times in %d rounds, want %d", n, second, first, got, rounds, want)
				}
			}
		}
	}
}

func TestStartUp(t *testing.T) {
	for _, test := range []struct {
		name string
		sample
		want float64
	}{
		{"one copy", sample{seconds: 1.5, inner: []float64{1.25}}, 0.25},
		{"some copies", sample{seconds: 2, inner: []float64{0.5, 0.5, 0.75}}, 0.25},
		{"a program that says nothing", sample{seconds: 2}, 0},
	} {
		if got := startUp(test.sample); math.Abs(got-test.want) > 1e-9 {
			t.Errorf("%s: %g, want %g", test.name, got, test.want)
		}
	}
}
