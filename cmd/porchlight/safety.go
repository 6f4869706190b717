package main

import (
	"fmt"
	"os"

	"porchlight/policy"
)

type safetyCmd struct {
	Config string `help:"Configuration file; its delivery.safety names a file of rows that are joined." placeholder:"FILE"`
	JSON   bool   `help:"Print JSON."`
}

// everywhere holds on every device, whatever its class; it stands in no table.
var everywhere = policy.SafetyLine{Class: "every", Key: "told", From: "porchlight",
	Means: "nothing while an alarm is on in the home, the device is not to be disturbed, or it has told nothing yet"}

// Run prints the table in force.
func (c *safetyCmd) Run(e *env) error {
	cfg, err := readConfig(c.Config)
	if err != nil {
		return err
	}
	t, err := cfg.Delivery.safety()
	if err != nil {
		return fmt.Errorf("safety: %w", err)
	}
	if t == nil {
		t = policy.OwnSafety()
	}
	lines := append([]policy.SafetyLine{everywhere}, t.Lines()...)
	if c.JSON {
		return printJSON(e.out, lines)
	}
	out := table(e.out)
	fmt.Fprintln(out, "CLASS\tKEY\tFROM\tMEANS")
	for _, l := range lines {
		fmt.Fprintf(out, "%s\t%s\t%s\t%s\n", l.Class, l.Key, l.From, l.Means)
	}
	return out.Flush()
}

// safety is the table with the rows of the file that c names; nil if it names none.
func (c DeliveryConfig) safety() (*policy.SafetyTable, error) {
	if c.Safety == "" {
		return nil, nil
	}
	info, err := os.Stat(c.Safety)
	if err == nil && info.Size() > policy.MostSafety {
		err = fmt.Errorf("%s has %d bytes, %d at most", c.Safety, info.Size(), policy.MostSafety)
	}
	if err != nil {
		return nil, cannotRead(c.Safety, err)
	}
	raw, err := readNamed(c.Safety)
	if err != nil {
		return nil, err
	}
	return policy.OwnSafety().Join(c.Safety, raw)
}
