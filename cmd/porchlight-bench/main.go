// Command porchlight-bench measures Porchlight beside what one would use instead, in one run on one machine,
// and prints ratios.
//
// In: nothing but flags. Out: a table on stdout, and the same as JSON. Never: a figure that was not measured in
// this run, or a network other than loopback.
package main

import (
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"text/tabwriter"
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
	return figure{name, unit, ours, peer, peerName, peer / ours}
}

func main() {
	out := flag.String("json", "build/bench.json", "where the figures go, too; empty: nowhere")
	n := flag.Int("decisions", 20000, "how many different decisions are taken")
	opinions := flag.Int("opinions", 0, "measure nothing: take so many decisions, and hear what every peer thinks of each")
	flag.Parse()
	if *opinions > 0 {
		if err := agree(*opinions); err != nil {
			fmt.Fprintln(os.Stderr, "porchlight-bench:", err)
			os.Exit(1)
		}
		return
	}
	figures, err := decide(*n)
	if err == nil {
		show(figures)
		if *out != "" {
			err = keep(*out, figures)
		}
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "porchlight-bench:", err)
		os.Exit(1)
	}
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
		fmt.Fprintf(w, "%.1f x\t%.4g\t%.4g\t%s\t  %s, against %s\t\n", f.Ratio, f.Ours, f.Peer, f.Unit, f.Name, f.PeerName)
	}
	_ = w.Flush() // standard output
}

func keep(path string, figures []figure) error {
	raw, err := json.MarshalIndent(figures, "", "\t")
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o777); err != nil {
		return err
	}
	return os.WriteFile(path, append(raw, '\n'), 0o666)
}
