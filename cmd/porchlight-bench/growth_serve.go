package main

import (
	"context"
	"fmt"
	"time"
)

// growthServe is what a message costs, from the push to both receipts on disk, and what the gateway holds, as more
// homes are connected. Each message is for one home; with more than 1,000, the others hear of none.
func growthServe(ctx context.Context, s setting) (all []figure, err error) {
	sizes, lasts, rate := []int{10, 100, 1000, 10_000}, 10*time.Second, 200.0
	if s.small {
		sizes, lasts = []int{10, 40}, time.Second
	}
	for _, homes := range sizes {
		one, err := gatewaySide(ctx, s, homes)
		if err != nil {
			return all, err
		}
		r, err := one.work(ctx, rate, lasts/10)
		if err == nil {
			r, err = one.work(ctx, rate, lasts)
		}
		var memory float64
		if err == nil {
			memory, err = one.memory()
		}
		one.close()
		if err != nil {
			return all, fmt.Errorf("%d homes: %w", homes, err)
		}
		s.say("%d homes: CPU %.0f µs a message, p50 %.2f ms, p99 %.2f ms, %.0f MB", homes, r.cpu, r.p50, r.p99, memory)
		all = append(all,
			alone(fmt.Sprintf("a message at %.0f/s, %d homes with a screen connected: processor time", rate, homes), "µs", r.cpu),
			alone("the same, from the push to the receipt on disk, p99", "ms", r.p99),
			alone("the same, memory", "MB", memory))
	}
	return all, nil
}
