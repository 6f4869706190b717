package main

import (
	"fmt"
	"os"
	"runtime"
	"slices"
	"time"

	"porchlight/policy"
)

// decide measures whole decisions: 1,000 homes with 167 choices each, all rules, a condition on every second
// message. Ours takes one home after another and looks at each of its screens once, as the gateway does. The
// peers get readings that are known to be fresh, people who are known to be there, local time and counted caps
// for nothing; what they are handed of it is handed over within
// their time. Before anything is timed every peer must name the same failing rules for every decision.
func decide(n int) ([]figure, error) {
	list, err := decisions(1000, n, 1)
	if err != nil {
		return nil, err
	}
	peers, err := opponents()
	if err != nil {
		return nil, err
	}
	prepared := make([][]any, len(peers))
	for i, p := range peers {
		for k := range list {
			in, err := p.prepare(&list[k].facts)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", p.name(), err)
			}
			theirs, err := p.decide(in, &list[k].facts)
			if err != nil {
				return nil, fmt.Errorf("%s: decision %d: %w", p.name(), k, err)
			}
			if diff := same(policy.Decide(list[k].ask), theirs); diff != "" {
				return nil, fmt.Errorf("%s differs at decision %d: %s", p.name(), k, diff)
			}
			prepared[i] = append(prepared[i], in)
		}
	}
	// In turns, so that what else the machine does falls on all.
	ours, theirs := []float64{}, make([][]float64, len(peers))
	var scene policy.Scene
	asks, anew := make([]policy.Request, len(list)), make([]bool, len(list)) // anew: on another screen than the one before
	for k := range list {
		asks[k] = list[k].ask
		anew[k] = k == 0 || asks[k].Home != asks[k-1].Home || asks[k].Screen != asks[k-1].Screen
		asks[k].Scene = &scene
	}
	for range 7 {
		next := 0
		ours = append(ours, timed(10*len(list), func(int) {
			q := &asks[next]
			if anew[next] {
				scene = policy.Look(q.Home, q.Screen, q.Now)
			}
			policy.Decide(*q)
			if next++; next == len(asks) {
				next = 0
			}
		}))
		for i, p := range peers {
			theirs[i] = append(theirs[i], timed(len(list)/10, func(k int) { _, _ = p.decide(prepared[i][k], &list[k].facts) }))
		}
	}
	var all []figure
	for i, p := range peers {
		all = append(all, versus("a decision with all its reasons", "ns", median(ours), median(theirs[i]), p.name()))
	}
	return all, nil
}

func opponents() ([]peer, error) {
	o, err := newOPA()
	if err != nil {
		return nil, fmt.Errorf("OPA: %w", err)
	}
	c, err := newCEL()
	if err != nil {
		return nil, fmt.Errorf("cel-go: %w", err)
	}
	ce, err := newCedar()
	if err != nil {
		return nil, fmt.Errorf("cedar-go: %w", err)
	}
	return []peer{o, c, ce}, nil
}

// agree takes n decisions in thousands of homes and compares the rules that fail with those that the same rules
// name in Rego, CEL and Cedar.
func agree(n int) error {
	peers, err := opponents()
	if err != nil {
		return err
	}
	verdicts, reasons, taken := map[policy.Verdict]int{}, map[policy.Rule]int{}, 0
	for seed := uint64(100); taken < n; seed++ {
		list, err := decisions(200, min(5000, n-taken), seed)
		if err != nil {
			return err
		}
		for k := range list {
			d := policy.Decide(list[k].ask)
			for _, p := range peers {
				in, err := p.prepare(&list[k].facts)
				var theirs []string
				if err == nil {
					theirs, err = p.decide(in, &list[k].facts)
				}
				if err != nil {
					return fmt.Errorf("%s: seed %d, decision %d: %w", p.name(), seed, k, err)
				}
				if diff := same(d, theirs); diff != "" {
					return fmt.Errorf("%s differs: seed %d, decision %d: %s", p.name(), seed, k, diff)
				}
			}
			verdicts[d.Verdict]++
			for _, r := range d.Reasons.Rules() {
				reasons[r]++
			}
		}
		taken += len(list)
		fmt.Fprintf(os.Stderr, "%d of %d\r", taken, n)
	}
	fmt.Printf("%d decisions, %d of them to show, %d to hold: OPA, cel-go and cedar-go name the same failing rules for each.\n", taken, verdicts[policy.Show], verdicts[policy.Hold])
	for r := policy.Safety; r.String() != "none"; r++ {
		if reasons[r] > 0 {
			fmt.Printf("  %-12s %d\n", r, reasons[r])
		}
	}
	return nil
}

// timed is how many nanoseconds one call takes.
func timed(n int, f func(k int)) float64 {
	runtime.GC()
	began := time.Now()
	for k := range n {
		f(k)
	}
	return float64(time.Since(began).Nanoseconds()) / float64(n)
}

func median(all []float64) float64 {
	all = slices.Clone(all)
	slices.Sort(all)
	return all[len(all)/2]
}
