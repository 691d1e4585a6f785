// Package fanout does many things side by side, a bounded number at once.
//
// It imports errgroup only.
package fanout

import (
	"context"

	"golang.org/x/sync/errgroup"
)

// Each calls do for every i from 0 to n-1, at most limit of them at once, and returns
// when all have returned. The first error is returned; it ends the context of the
// other calls, and those that have not begun are called all the same, with the ended
// context. With a limit of 1 it calls them in order, in the caller's own goroutine,
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
	group.SetLimit(limit)
	for i := range n {
		group.Go(func() error { return do(ctx, i) })
	}
	return group.Wait()
}
