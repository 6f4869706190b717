// Command porchlight-bench measures Porchlight beside what one would use instead, in one run on one machine,
// and prints ratios.
//
// In: nothing but flags. Out: a table on stdout, and the same as JSON. Never: a figure that was not measured in
// this run, or a network other than loopback.
package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"text/tabwriter"
	"time"
)

// figure is one line of the table.
type figure struct {
	Name     string  `json:"name"`
	Unit     string  `json:"unit"`
	Ours     float64 `json:"ours"`
	Peer     float64 `json:"peer"`
	PeerName string  `json:"peer_name"`
	Ratio    float64 `json:"ratio"` // how many times the peer's figure ours is to it: above 1 ours is better
}

// versus is a figure where less is better.
func versus(name, unit string, ours, peer float64, peerName string) figure {
	return figure{name, unit, ours, peer, peerName, quotient(peer, ours)}
}

// exceeds is a figure where more is better.
func exceeds(name, unit string, ours, peer float64, peerName string) figure {
	return figure{name, unit, ours, peer, peerName, quotient(ours, peer)}
}

// quotient is 0, which is no ratio, where one of the two is too small to be measured.
func quotient(a, b float64) float64 {
	if a <= 0 || b <= 0 {
		return 0
	}
	return a / b
}

// alone is a figure without a peer.
func alone(name, unit string, ours float64) figure { return figure{Name: name, Unit: unit, Ours: ours} }

// part is one part of the measurement. Parts run one after the other, never at the same time.
type part struct {
	name string
	run  func(context.Context, setting) ([]figure, error)
}

// setting is what the parts have in common.
type setting struct {
	gateway string // the built binary that is measured
	small   bool   // just enough to see that everything works
	work    string // of the part door: what to measure, with commas between; empty: all
	folder  string // for what the servers keep; removed at the end
	// say tells somebody who waits how far it is.
	say func(format string, a ...any)
}

var parts = []part{
	{"decide", func(context.Context, setting) ([]figure, error) { return decide(20000) }},
	{"door", measureDoor},
}

func main() {
	if len(os.Args) > 1 && os.Args[1] == "serve" { // a peer, as a process of its own
		fail(servePeer(os.Args[2:]))
		return
	}
	var s setting
	out := flag.String("json", "build/bench.json", "where the figures go, too; empty: nowhere")
	picture := flag.String("svg", "", "where a picture of the ratios goes; empty: beside the JSON, as .svg")
	only := flag.String("only", "", "parts to run, with commas between; empty: all of "+names())
	opinions := flag.Int("opinions", 0, "measure nothing: take so many decisions, and hear what every peer thinks of each")
	flag.StringVar(&s.gateway, "gateway", "../../build/porchlight", "the gateway's binary")
	flag.StringVar(&s.work, "work", "", "of the part door, what to measure; empty: all of "+workNames())
	flag.BoolVar(&s.small, "small", false, "just enough to see that everything works; the figures mean nothing")
	flag.Parse()
	if *opinions > 0 {
		fail(agree(*opinions))
		return
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	figures, err := run(ctx, s, *only)
	show(figures)
	if err == nil && *out != "" {
		err = keep(*out, figures)
		if *picture == "" {
			*picture = strings.TrimSuffix(*out, ".json") + ".svg"
		}
	}
	if err == nil && *picture != "" {
		err = draw(*picture, figures)
	}
	fail(err)
}

func fail(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, "porchlight-bench:", err)
		os.Exit(1)
	}
}

func names() string {
	var all []string
	for _, p := range parts {
		all = append(all, p.name)
	}
	return strings.Join(all, ",")
}

// run measures the parts whose names only lists; what was measured before an error is returned with it.
func run(ctx context.Context, s setting, only string) (all []figure, err error) {
	want := strings.Split(only, ",")
	for _, name := range want {
		if only != "" && !slices.ContainsFunc(parts, func(p part) bool { return p.name == name }) {
			return nil, fmt.Errorf("part %q is unknown: use some of %s", name, names())
		}
	}
	s.folder, err = os.MkdirTemp("", "porchlight-bench-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(s.folder)
	for _, p := range parts {
		if only != "" && !slices.Contains(want, p.name) {
			continue
		}
		s.say = func(format string, a ...any) {
			fmt.Fprintf(os.Stderr, "%s  %s: %s\n", time.Now().Format(time.TimeOnly), p.name, fmt.Sprintf(format, a...))
		}
		s.say("begins")
		figures, err := p.run(ctx, s)
		all = append(all, figures...)
		if err != nil {
			return all, fmt.Errorf("%s: %w", p.name, err)
		}
	}
	return all, nil
}

// times is a ratio as it is read: 12, 3.4, 0.56.
func times(ratio float64) string {
	switch {
	case ratio == 0:
		return "?"
	case ratio >= 10:
		return fmt.Sprintf("%.0f", ratio)
	case ratio >= 1:
		return fmt.Sprintf("%.1f", ratio)
	}
	return fmt.Sprintf("%.2g", ratio)
}

func show(figures []figure) {
	fmt.Printf("%s, %d cores, %s\n\n", runtime.GOARCH, runtime.NumCPU(), runtime.Version())
	w := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(w, "ratio\tours\tpeer\tunit\t\t")
	for _, f := range figures {
		if f.PeerName == "" {
			fmt.Fprintf(w, "\t%.4g\t\t%s\t  %s\t\n", f.Ours, f.Unit, f.Name)
			continue
		}
		fmt.Fprintf(w, "%s x\t%.4g\t%.4g\t%s\t  %s, against %s\t\n", times(f.Ratio), f.Ours, f.Peer, f.Unit, f.Name, f.PeerName)
	}
	_ = w.Flush() // standard output
}

func keep(path string, figures []figure) error {
	raw, err := json.MarshalIndent(figures, "", "\t")
	if err != nil {
		return err
	}
	return put(path, append(raw, '\n'))
}

// put writes a file, and makes its folder.
func put(path string, content []byte) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o777); err != nil {
		return err
	}
	return os.WriteFile(path, content, 0o666)
}
