//go:build linux

// Command porchlight-torture runs the real gateway under faults, with many devices and brands, and then proves from
// what these have written down by themselves that it has kept its promises.
//
// In: flags. Out: counts of operations, faults and violations; exit status 1 if there is a violation. Never: the
// gateway's word alone, or a network other than loopback.
//
// An operation is one step of a device or a brand that was acknowledged: a frame, a request, a log-in. The promises are
// those that can be seen from outside (P2, P5, P6, P7 and P8 of the README's list); check.go says how each is looked for. Everything random comes from
// the seed, but for what the machine's scheduler does.
//
// The gateway's databases are on a disk of ours (shim/disk.c): after a power cut they have what was synced, with some of
// what was not. What Go writes by itself, the authority's files and the lock, is not on it. People's clock is the
// machine's and what a file adds to it; leases run on the machine's own.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"porchlight/device"
)

// slack is by how much later than it left something may be seen by us, on a busy machine.
const slack = 2 * time.Second

// options are what a run is told.
type options struct {
	gateway string // the binary; "": built, from the module in the working directory
	old     string
	dir     string // for everything; "": a temporary one, removed if all went well
	race    bool
	seed    uint64
	ops     int64
	length  time.Duration // at most; 0: until ops are done
	short   bool
	size    size
	faults  []string
	rate    int64
	lease   time.Duration
	allowed time.Duration
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	context.AfterFunc(ctx, stop) // a second one ends it at once, and the gateway with it
	args := os.Args[1:]
	run := tortureCommand
	if len(args) > 0 && args[0] == "soak" {
		run, args = soakCommand, args[1:]
	}
	if err := run(ctx, args, os.Stdout, os.Stderr); err != nil {
		fmt.Fprintln(os.Stderr, "porchlight-torture:", err)
		os.Exit(1)
	}
}

// common are the flags of both commands.
func common(name string, o *options) *flag.FlagSet {
	f := flag.NewFlagSet(name, flag.ContinueOnError)
	f.StringVar(&o.gateway, "gateway", "", "the gateway's binary, built with -tags torture; empty: it is built")
	f.StringVar(&o.dir, "dir", "", "an empty folder for everything, which stays; empty: a temporary one, which stays if something went wrong")
	f.BoolVar(&o.race, "race", false, "build the gateway with the race detector")
	f.Uint64Var(&o.seed, "seed", 0, "what everything random comes from; 0: another at each run")
	f.IntVar(&o.size.homes, "homes", 200, "homes, of three devices each")
	f.IntVar(&o.size.brands, "brands", 8, "brands; the last one sends nonsense")
	f.Int64Var(&o.rate, "rate", 2000, "contexts a second, of all devices together")
	f.DurationVar(&o.lease, "lease", 4*time.Second, "the gateway's lease")
	f.DurationVar(&o.allowed, "allowance", 2*time.Second, "the gateway's allowance for a device's clock")
	return f
}

func tortureCommand(ctx context.Context, args []string, out, errs io.Writer) error {
	var o options
	f := common("porchlight-torture", &o)
	f.SetOutput(errs)
	only := f.String("faults", strings.Join(names(), ","), "what goes wrong, with commas between; help: list them")
	f.StringVar(&o.old, "old", "", "an older binary: it makes the database, and the first restart is the upgrade")
	f.Int64Var(&o.ops, "ops", 1_000_000, "operations until the end")
	f.DurationVar(&o.length, "for", 0, "end after that time at the latest; 0: not before the operations are done")
	f.BoolVar(&o.short, "short", false, "a small world for 20 seconds, with each fault at least once")
	if err := f.Parse(args); err != nil {
		return err
	}
	if *only == "help" {
		for _, one := range faults {
			fmt.Fprintf(out, "%-10s %s\n", one.name, one.does)
		}
		return nil
	}
	o.faults = slices.DeleteFunc(strings.Split(*only, ","), func(s string) bool { return s == "" || s == "none" })
	for _, name := range o.faults {
		if !slices.ContainsFunc(faults, func(f struct {
			name, does string
			network    bool
			fault
		}) bool {
			return f.name == name
		}) {
			return fmt.Errorf("fault %q is unknown: see -faults help", name)
		}
	}
	o.size.sims = true
	if o.short {
		o = short(o)
	}
	r, err := torture(ctx, o, errs)
	if err != nil {
		return err
	}
	r.print(out)
	return r.verdict()
}

// short makes o a run of 20 seconds, with each fault at least once.
func short(o options) options {
	o.short, o.size, o.ops, o.length, o.rate = true, size{homes: 12, brands: 5, sims: true}, 1<<62, 20*time.Second, 800
	return o
}

// report is what came of a run.
type report struct {
	seed                  uint64
	took                  time.Duration
	ops                   int64
	kinds, others, faults map[string]int64
	found                 []violation
	seen                  map[string]int
	evidence              [][]string // of the first violations of each promise
	wrong                 []string   // what is no promise, and should not be all the same
	dir                   string
	kept                  bool
	disk                  disk
	late                  time.Duration
}

func (r *report) print(out io.Writer) {
	fmt.Fprintf(out, "seed %d, %s\n\n%10d  OPERATIONS\n%s\n", r.seed, r.took.Round(time.Second), r.ops, strings.Join(list(r.kinds), "\n"))
	n := int64(0)
	for _, each := range r.faults {
		n += each
	}
	fmt.Fprintf(out, "\n%10d  FAULTS\n%s\n", n, strings.Join(list(r.faults), "\n"))
	fmt.Fprintf(out, "\n            BESIDE\n%s\n", strings.Join(list(r.others), "\n"))
	fmt.Fprintf(out, "%10d  writes of the databases, %d syncs; %d refused because the disk was full, %d failed, %d lost by a failed sync\n", r.disk.writes, r.disk.syncs, r.disk.refused, r.disk.failed, r.disk.lost)
	seen := map[string]int64{}
	for what, n := range r.seen {
		seen[what] = int64(n)
	}
	fmt.Fprintf(out, "%10.3f  s by which we ourselves were late at the worst: so much more is forgiven\n", r.late.Seconds())
	fmt.Fprintf(out, "\n            LOOKED AT\n%s\n", strings.Join(list(seen), "\n"))
	by := map[string]int{}
	for _, v := range r.found {
		by[v.Promise]++
	}
	fmt.Fprintf(out, "\n%10d  VIOLATIONS: P2 %d, P5 %d, P6 %d, P7 %d, P8 %d\n", len(r.found), by["P2"], by["P5"], by["P6"], by["P7"], by["P8"])
	for i, v := range r.found {
		if i == 50 {
			fmt.Fprintf(out, "            and %d more\n", len(r.found)-i)
			break
		}
		fmt.Fprintf(out, "            %s\n", v)
	}
	for _, one := range r.evidence {
		fmt.Fprintf(out, "\n%s\n", strings.Join(one, "\n"))
	}
	for _, w := range r.wrong {
		fmt.Fprintf(out, "            beside the promises: %s\n", w)
	}
	if r.kept {
		fmt.Fprintf(out, "\neverything is in %s; again, as far as chance allows: -seed %d\n", r.dir, r.seed)
	}
}

func (r *report) verdict() error {
	switch {
	case len(r.found) > 0:
		return fmt.Errorf("%d violations", len(r.found))
	case len(r.wrong) > 0:
		return fmt.Errorf("no promise was broken, but %s", r.wrong[0])
	}
	return nil
}

// built builds the gateway if no binary was given.
func built(ctx context.Context, o options) (string, error) {
	if o.gateway != "" {
		return o.gateway, nil
	}
	binary := filepath.Join(o.dir, "porchlight")
	args := []string{"build", "-tags", "torture", "-o", binary}
	if o.race {
		args = append(args, "-race")
	}
	if out, err := exec.CommandContext(ctx, "go", append(args, "porchlight/cmd/porchlight")...).CombinedOutput(); err != nil {
		return "", fmt.Errorf("build the gateway: %w: %s", err, out)
	}
	return binary, nil
}

// open starts a gateway and a world that uses it.
func open(ctx context.Context, o options, plain bool) (w *world, err error) {
	binary, err := built(ctx, o)
	if err != nil {
		return nil, err
	}
	w = &world{seed: o.seed, began: time.Now(), dwell: 200 * time.Millisecond, pace: 600 * time.Millisecond, byID: map[device.ID]*diary{},
		kinds: map[string]int64{}, others: map[string]int64{}, faults: map[string]int64{}, onView: map[string]*atomic.Int64{}}
	w.rate.Store(o.rate)
	if w.gateway, err = newGateway(o.dir, binary, o.old, o.seed, o.lease, o.allowed, plain); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			w.close()
		}
	}()
	if err = w.gateway.start(); err != nil {
		return nil, err
	}
	if err = w.gateway.ready(ctx); err != nil {
		return nil, err
	}
	if w.network, err = newNetwork(o.seed, w.since, func(r release) {
		if d := w.byID[r.Device]; d != nil {
			d.write(func() { d.Releases = append(d.Releases, r) })
		}
	}); err != nil {
		return nil, err
	}
	to := w.gateway.addr(0)
	w.network.to.Store(&to)
	return w, w.populate(ctx, o.size)
}

// close ends what open began.
func (w *world) close() {
	_ = w.gateway.end(syscall.SIGKILL)
	w.gateway.keep.Close()
	if w.network != nil {
		w.network.close()
	}
	for _, b := range w.brands {
		b.client.CloseIdleConnections()
	}
}

// torture is a whole run.
func torture(ctx context.Context, o options, say io.Writer) (_ *report, err error) {
	if o.seed == 0 {
		o.seed = rand.Uint64()
	}
	given := o.dir
	if o.dir, err = os.MkdirTemp(o.dir, "torture-"); err != nil {
		return nil, err
	}
	fmt.Fprintf(say, "seed %d, in %s\n", o.seed, o.dir)
	if o.old != "" {
		fmt.Fprintf(say, "the database is made by %s; the first restart is the upgrade\n", o.old)
	}
	w, err := open(ctx, o, false)
	if err != nil {
		return nil, err
	}
	defer w.close()
	// The world lives until all is said; the load ends before that, and before it the faults.
	living, die := context.WithCancel(context.WithoutCancel(ctx))
	loading, rest := context.WithCancel(living)
	striking, mercy := context.WithCancel(loading)
	var world, load, weather sync.WaitGroup
	defer world.Wait()
	defer die()
	w.live(living, &load, &world, loading)
	struck := w.strike(striking, mercy, o, &weather)

	began, told := time.Now(), time.Now()
	for ctx.Err() == nil && striking.Err() == nil && !w.gateway.crashed() {
		time.Sleep(50 * time.Millisecond)
		if time.Since(told) > 10*time.Second {
			told = time.Now()
			fmt.Fprintf(say, "%6.0f s  %8d operations\n", time.Since(began).Seconds(), w.ops.Load())
		}
		over := w.ops.Load() >= o.ops || o.length > 0 && time.Since(began) > o.length
		if over && (!o.short || struck()) {
			break
		}
	}
	phase := func(what string) { fmt.Fprintf(say, "%6.0f s  %s\n", time.Since(began).Seconds(), what) }
	phase("no more faults, and nothing new")
	mercy()
	weather.Wait()
	rest()
	load.Wait()
	phase("everybody comes to rest")
	r := &report{seed: o.seed, dir: o.dir}
	if err := w.gateway.works(context.WithoutCancel(ctx)); err != nil { // nobody can be asked, and nothing judged
		die()
		world.Wait()
		return nil, fmt.Errorf("%w; everything is in %s", errors.Join(append(w.errs, err)...), o.dir)
	}
	if err := w.calm(living); err != nil {
		w.fail(err)
	}
	all := w.record()
	phase("the gateway is asked")
	if err := w.ask(living, all); err != nil {
		w.fail(err)
		all.Book = book{} // a part of it would accuse the gateway of the rest
	}
	if err := w.gateway.end(syscall.SIGTERM); err != nil {
		w.fail(err)
	}
	die()
	end := w.since()
	world.Wait()
	all.over(end)
	if err := w.read(context.Background(), all); err != nil {
		w.fail(err)
	}
	phase("its tables are compared with its journal")
	all.Book.Damage = w.gateway.check(context.Background())
	r.found, r.seen = check(all)
	of := map[string]int{}
	for _, v := range r.found {
		if of[v.Promise]++; of[v.Promise] <= 3 {
			r.evidence = append(r.evidence, append([]string{v.String()}, evidence(all, v)...))
		}
	}
	r.took, r.ops, r.kinds, r.others, r.faults, r.disk = time.Since(began), w.ops.Load(), w.kinds, w.others, w.faults, *w.gateway.disk
	r.late = all.Late
	n := w.network
	for what, count := range map[string]int64{"packets delayed": n.delayed.Load(), "packets sent twice": n.duplicated.Load(), "frames repeated later": n.repeated.Load(),
		"packets that changed places": n.reordered.Load(), "connections cut": n.cuts.Load(), "devices that did not read": n.slowed.Load()} {
		r.faults[what] = count
	}
	for _, err := range w.errs {
		r.wrong = append(r.wrong, err.Error())
	}
	r.wrong = append(append(r.wrong, w.gateway.crashes...), w.gateway.said()...)
	if r.verdict() != nil || given != "" {
		r.kept = true
	} else {
		err = os.RemoveAll(o.dir)
	}
	return r, err
}

// strike lets faults happen until ctx ends, which one that cannot be made does by end. all reports whether each has
// happened at least once.
func (w *world) strike(ctx context.Context, end func(), o options, wg *sync.WaitGroup) (all func() bool) {
	var left atomic.Int64
	for place, network := range []bool{false, true} {
		rng := rand.New(rand.NewPCG(o.seed, 100+uint64(place)))
		var mine []int
		for i, f := range faults {
			if f.network == network && slices.Contains(o.faults, f.name) {
				mine = append(mine, i)
			}
		}
		if len(mine) == 0 {
			continue
		}
		left.Add(int64(len(mine)))
		wg.Go(func() {
			first := map[string]bool{}
			sleep(ctx, 2*time.Second) // for everybody to have come, and said yes
			for ctx.Err() == nil {
				rng.Shuffle(len(mine), func(i, k int) { mine[i], mine[k] = mine[k], mine[i] })
				for _, i := range mine {
					if ctx.Err() != nil {
						return
					}
					f, from := faults[i], w.since()
					if err := f.strike(ctx, w, rng); err != nil {
						w.fail(fmt.Errorf("fault %s: %w", f.name, err))
						end()
						return
					}
					w.fault(f.name)
					w.mu.Lock()
					w.struck = append(w.struck, strike{f.name, from, w.since()})
					w.mu.Unlock()
					if !first[f.name] {
						first[f.name] = true
						left.Add(-1)
					}
					most := 6 * time.Second
					if o.short {
						most = 300 * time.Millisecond
					}
					sleep(ctx, between(rng, 0, most))
				}
			}
		})
	}
	return func() bool { return left.Load() <= 0 }
}
