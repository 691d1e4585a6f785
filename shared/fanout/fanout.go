// Package fanout calls a function many times at once, up to a limit.
//
// It imports errgroup only.
package fanout

import (
	"context"

	"golang.org/x/sync/errgroup"
)

// Each calls do for every i from 0 to n-1, at most limit of them at once, which is 1 or
// more, and returns when all calls have returned. It returns the first error. An error ends the context
// of all calls; those that have not begun yet are made all the same, with the ended
// context. With a limit of 1 the calls are made in order, in the caller's goroutine,
// and none after an error.
func Each(ctx context.Context, limit, n int, do func(ctx context.Context, i int) error) error {
	if limit == 1 {
		for i := range n {
			if err := do(ctx, i); err != nil {
				return err
			}
		}
		return nil
	}
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(max(1, limit))
	for i := range n {
		group.Go(func() error { return do(ctx, i) })
	}
	return group.Wait()
}
