package main

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"porchlight/broker/api"
	"porchlight/broker/delivery"
	"porchlight/device"
	"porchlight/policy"
	"porchlight/policy/consent"
)

type consentCmd struct {
	Give     consentGiveCmd     `cmd:"" help:"Record a yes."`
	Withdraw consentWithdrawCmd `cmd:"" help:"Take a yes back: what it let onto screens leaves them."`
	Refuse   consentRefuseCmd   `cmd:"" help:"Record a no."`
	Ask      consentAskCmd      `cmd:"" help:"Ask, on a screen, whether a brand may: whoever is there says yes or no."`
	Asks     consentAsksCmd     `cmd:"" help:"List what was asked, and what became of it."`
	List     consentListCmd     `cmd:"" help:"List the choices in force."`
	History  consentHistoryCmd  `cmd:"" help:"List every event of a home's ledger of choices."`
	Status   consentStatusCmd   `cmd:"" help:"How far the noes of a home have come: stopping, or stopped."`
}

type choiceFlags struct {
	Home    string         `required:"" help:"The home's name." placeholder:"HOME"`
	Person  string         `help:"Whose choice it is; default the home as a whole." placeholder:"PERSON"`
	Brand   string         `required:"" help:"The brand's ID." placeholder:"ID"`
	Purpose policy.Purpose `required:"" help:"For what." placeholder:"PURPOSE"`
}

type consentGiveCmd struct {
	choiceFlags
	Guardian string `help:"The guardian who says it for a child." placeholder:"PERSON"`
	Until    string `help:"When it ends: a time, a date, or a length of time such as 30d; default as the brand's notice says, 12 months at most." placeholder:"TIME"`
}

// Validate is called by the parser.
func (c *consentGiveCmd) Validate() error {
	if c.Guardian != "" && c.Person == "" {
		return errors.New("--guardian goes with --person")
	}
	return nil
}

// Run records a yes.
func (c *consentGiveCmd) Run(e *env) error {
	_, err := ask[api.None](e, "consent/give", api.Giving{Home: c.Home, Yes: delivery.Yes{Person: c.Person, Guardian: c.Guardian, Brand: device.BrandID(c.Brand), Purpose: c.Purpose, Until: c.Until}})
	return err
}

type consentWithdrawCmd struct {
	choiceFlags
	Wait bool `help:"Wait until nothing of it is on any screen."`
	JSON bool `help:"Print JSON."`
}

// Run takes a yes back.
func (c *consentWithdrawCmd) Run(e *env) error { return c.no(e, policy.Withdrawn, c.Wait, c.JSON) }

type consentRefuseCmd struct {
	choiceFlags
	Wait bool `help:"Wait until nothing of it is on any screen."`
	JSON bool `help:"Print JSON."`
}

// Run records a no.
func (c *consentRefuseCmd) Run(e *env) error { return c.no(e, policy.Refused, c.Wait, c.JSON) }

// no records a no and tells how far it has come: stopping, with the screens that are still to be
// cleared, then stopped.
func (c choiceFlags) no(e *env, choice policy.Choice, wait, asJSON bool) error {
	in := api.Choice{Home: c.Home, Person: c.Person, Brand: device.BrandID(c.Brand), Purpose: c.Purpose, Choice: choice}
	before, none := ask[api.WithdrawalState](e, "consent/withdrawal", in)
	if _, err := ask[api.None](e, "consent/choose", in); err != nil {
		return err
	}
	w, err := ask[api.WithdrawalState](e, "consent/withdrawal", in)
	if err != nil {
		return err
	}
	if !asJSON {
		if none == nil && before.Epoch == w.Epoch {
			fmt.Fprintf(e.out, "%s has said no already, at %s: nothing is new, and nothing more is written down\n", orHome(c.Person), w.At)
		}
		fmt.Fprintln(e.out, "stopping: nothing more of it is released")
		openScreens(e.out, w)
	}
	for wait && w.Stopped == 0 {
		select {
		case <-e.ctx.Done():
			return e.ctx.Err()
		case <-time.After(100 * time.Millisecond):
		}
		if w, err = ask[api.WithdrawalState](e, "consent/withdrawal", in); err != nil {
			return err
		}
	}
	switch {
	case asJSON:
		return printJSON(e.out, w)
	case w.Stopped != 0:
		fmt.Fprintln(e.out, "stopped: nothing of it is on any screen")
	}
	return nil
}

// openScreens tells what is still to be cleared.
func openScreens(out io.Writer, w api.WithdrawalState) {
	for _, s := range w.Open {
		name := s.Name
		if name == "" {
			name = string(s.Device)
		}
		fmt.Fprintf(out, "  %s is cleared by %s at the latest\n", name, s.By)
	}
}

type consentAskCmd struct {
	Home    string         `required:"" help:"The home's name." placeholder:"HOME"`
	Person  string         `help:"Whom to ask: on a screen of theirs, or one that they are known to be in front of; default whoever is there." placeholder:"PERSON"`
	Brand   string         `required:"" help:"The brand's ID." placeholder:"ID"`
	Purpose policy.Purpose `required:"" help:"For what." placeholder:"PURPOSE"`
	Device  string         `help:"On which screen, by its name or ID; default the best." placeholder:"DEVICE"`
	Wait    bool           `help:"Wait for what becomes of it."`
	JSON    bool           `help:"Print JSON."`
}

// Run asks.
func (c *consentAskCmd) Run(e *env) error {
	a, err := ask[delivery.AskState](e, "consent/ask", api.Asking{Home: c.Home, Person: c.Person, Brand: device.BrandID(c.Brand), Purpose: c.Purpose, Device: device.ID(c.Device)})
	for c.Wait && err == nil && a.State == consent.Requested {
		select {
		case <-e.ctx.Done():
			return e.ctx.Err()
		case <-time.After(200 * time.Millisecond):
		}
		var all []delivery.AskState
		if all, err = ask[[]delivery.AskState](e, "consent/asks", api.Named{Name: c.Home}); err == nil {
			if i := slices.IndexFunc(all, func(o delivery.AskState) bool { return o.ID == a.ID }); i >= 0 {
				a = all[i]
			}
		}
	}
	if err != nil {
		return err
	}
	if c.JSON {
		return printJSON(e.out, a)
	}
	if a.State == consent.Requested {
		fmt.Fprintf(e.out, "asked on %s until %s\n", a.Name, a.Until)
		return nil
	}
	fmt.Fprintln(e.out, a.State)
	return nil
}

type consentAsksCmd struct {
	Home string `required:"" help:"The home's name." placeholder:"HOME"`
	JSON bool   `help:"Print JSON."`
}

// Run lists asks.
func (c *consentAsksCmd) Run(e *env) error {
	return list(e, c.JSON, "consent/asks", api.Named{Name: c.Home}, "ASKED\tWHO\tBRAND\tPURPOSE\tON\tON THE SCREEN\tUNTIL\tSTATE", func(a delivery.AskState) string {
		return strings.Join([]string{a.Asked.String(), orHome(a.Person), string(a.Brand), a.Purpose.String(), a.Name, orDash(a.Drawn), a.Until.String(), string(a.State)}, "\t")
	})
}

type consentStatusCmd struct {
	Home string `required:"" help:"The home's name." placeholder:"HOME"`
	JSON bool   `help:"Print JSON."`
}

// Run tells how far noes have come.
func (c *consentStatusCmd) Run(e *env) error {
	all, err := ask[[]api.WithdrawalState](e, "consent/withdrawals", api.Named{Name: c.Home})
	if err != nil {
		return err
	}
	if c.JSON {
		if all == nil {
			all = []api.WithdrawalState{}
		}
		return printJSON(e.out, all)
	}
	t := table(e.out)
	fmt.Fprintln(t, "WHO\tBRAND\tPURPOSE\tSAID\tSTATE\tTO BE CLEARED")
	for _, w := range all {
		var open []string
		for _, s := range w.Open {
			open = append(open, fmt.Sprintf("%s by %s", s.Name, s.By))
		}
		state := w.State
		if w.Stopped != 0 {
			state += " " + w.Stopped.String()
		}
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\t%s\n", orHome(w.Person), w.Brand, w.Purpose, w.At, state, dash(strings.Join(open, ", ")))
	}
	return t.Flush()
}

// orHome is a person's name, or the home as a whole.
func orHome(person string) string {
	if person == "" {
		return "(home)"
	}
	return person
}

type consentListCmd struct {
	Home string `required:"" help:"The home's name." placeholder:"HOME"`
	JSON bool   `help:"Print JSON."`
}

// Run lists choices.
func (c *consentListCmd) Run(e *env) error {
	return list(e, c.JSON, "consent/list", api.InHome{Home: c.Home}, "WHO\tBRAND\tPURPOSE\tCHOICE\tSINCE\tUNTIL\tBY", func(s delivery.ConsentEvent) string {
		return strings.Join([]string{orHome(s.Person), string(s.Brand), s.Purpose.String(), string(s.State), s.At.String(), orDash(s.Until), dash(s.By)}, "\t")
	})
}

func orDash(at device.Instant) string {
	if at == 0 {
		return "-"
	}
	return at.String()
}

type consentHistoryCmd struct {
	Home string `required:"" help:"The home's name." placeholder:"HOME"`
	JSON bool   `help:"Print JSON."`
}

// Run lists the ledger of choices.
func (c *consentHistoryCmd) Run(e *env) error {
	return list(e, c.JSON, "consent/history", api.InHome{Home: c.Home}, "POS\tWHEN\tWHO\tBRAND\tPURPOSE\tWHAT\tHOW\tON\tBY\tUNTIL\tNOTICE\tWHY", func(s delivery.ConsentEvent) string {
		notice := ""
		if s.Notice != (consent.Hash{}) {
			notice = s.Notice.String()[:12]
		}
		return strings.Join([]string{fmt.Sprint(s.Pos), s.At.String(), orHome(s.Person), string(s.Brand), s.Purpose.String(), string(s.State), dash(s.Method), dash(s.Device), dash(s.By), orDash(s.Until), dash(notice), dash(s.Why)}, "\t")
	})
}

type noticeCmd struct {
	Add  noticeAddCmd  `cmd:"" help:"Issue a brand's notice from a file, as its next version."`
	List noticeListCmd `cmd:"" help:"List a brand's notices."`
	Show noticeShowCmd `cmd:"" help:"Show a brand's newest notice, or another one."`
}

type noticeAddCmd struct {
	File string `arg:"" help:"Notice in YAML or JSON; - is standard input."`
	JSON bool   `help:"Print JSON."`
}

// Help is called by the parser: what the file may say.
func (noticeAddCmd) Help() string {
	return `The file says what a yes to the brand is a yes to:
  brand: grocer
  purposes: [marketing]           # those that the brand has declared
  data: [pd:Preference]           # which data leaves the home; none: no personal data does
  operations: [dpv:Use]           # what is done with it
  storage: [CH]                   # countries where it is kept
  retention_days: 30              # how long
  recipients: [Fresh Logistics]   # who else gets it
  countries: [DE]                 # where they are
  classes: [tv, fridge]           # channels; none: all
  valid_months: 12                # how long a yes stands, 12 at most
  layers:                         # the brand's own words, from the shortest on
    en: {first: "...", second: "...", third: "..."}
What a new notice asks for beyond the one before is not covered by a yes that was said before; what it asks for no more ends at once.`
}

// noticeFile is a notice as it is written.
type noticeFile struct {
	Brand      device.BrandID    `yaml:"brand"`
	Purposes   []policy.Purpose  `yaml:"purposes"`
	Data       []string          `yaml:"data"`
	Operations []string          `yaml:"operations"`
	Storage    []string          `yaml:"storage"`
	Retention  int               `yaml:"retention_days"`
	Recipients []string          `yaml:"recipients"`
	Countries  []string          `yaml:"countries"`
	Classes    []device.Class    `yaml:"classes"`
	Layers     map[string]layers `yaml:"layers"`
	LegalBasis string            `yaml:"legal_basis"`
	ValidFor   int               `yaml:"valid_months"`
}

type layers struct {
	First  string `yaml:"first"`
	Second string `yaml:"second"`
	Third  string `yaml:"third"`
}

// Run issues a notice.
func (c *noticeAddCmd) Run(e *env) error {
	f, err := e.readYAML(c.File)
	if err != nil {
		return fmt.Errorf("add notice: %w", err)
	}
	if err := f.be(noticesFile); err != nil {
		return fmt.Errorf("add notice: %w", err)
	}
	in := noticeFile{LegalBasis: "consent", ValidFor: 12}
	if err := f.decode(&in); err != nil {
		return fmt.Errorf("add notice: %w", err)
	}
	if in.Brand == "" {
		return fmt.Errorf("add notice: %s:1: brand is missing: say whose notice it is", f.path)
	}
	n := consent.Notice{Brand: in.Brand, Purposes: in.Purposes, Data: in.Data, Operations: in.Operations, Storage: in.Storage, Retention: in.Retention, Recipients: in.Recipients,
		Countries: in.Countries, Classes: in.Classes, LegalBasis: in.LegalBasis, ValidFor: in.ValidFor, Layers: map[string]consent.Layers{}}
	for lang, l := range in.Layers {
		n.Layers[lang] = consent.Layers(l)
	}
	is, err := ask[delivery.NoticeState](e, "notice/add", n)
	if err != nil {
		return fmt.Errorf("add notice: %s: %w", f.path, err)
	}
	if c.JSON {
		return printJSON(e.out, is)
	}
	fmt.Fprintf(e.out, "version %d  %s\n", is.Version, is.Hash)
	return nil
}

type noticeListCmd struct {
	Brand string `arg:"" help:"The brand's ID."`
	JSON  bool   `help:"Print JSON."`
}

// Run lists notices.
func (c *noticeListCmd) Run(e *env) error {
	return list(e, c.JSON, "notice/list", api.BrandRef{ID: device.BrandID(c.Brand)}, "VERSION\tISSUED\tBY\tASKS FOR MORE\tFOR LESS\tHASH", func(n delivery.NoticeState) string {
		return strings.Join([]string{fmt.Sprint(n.Version), issued(n), noticeBy(n), dash(strings.Join(n.Widened, ", ")), dash(strings.Join(n.Narrowed, ", ")), n.Hash.String()}, "\t")
	})
}

// noticeBy says who made a notice.
func noticeBy(n delivery.NoticeState) string {
	if n.Card {
		return "the gateway"
	}
	return "the brand"
}

// issued says since when a notice stands.
func issued(n delivery.NoticeState) string {
	if n.Issued == 0 {
		return "not kept yet"
	}
	return n.Issued.String()
}

type noticeShowCmd struct {
	Brand   string `arg:"" help:"The brand's ID."`
	Version int    `help:"Which; default the newest." placeholder:"N"`
	JSON    bool   `help:"Print JSON."`
}

// Run shows a notice.
func (c *noticeShowCmd) Run(e *env) error {
	all, err := ask[[]delivery.NoticeState](e, "notice/list", api.BrandRef{ID: device.BrandID(c.Brand)})
	if err != nil {
		return err
	}
	i := slices.IndexFunc(all, func(n delivery.NoticeState) bool { return n.Version == c.Version || c.Version == 0 && n.Newest })
	if i < 0 {
		return fmt.Errorf("brand %s has no notice with version %d: see porchlight notice list %s", c.Brand, c.Version, c.Brand)
	}
	n := all[i]
	if c.JSON {
		return printJSON(e.out, n)
	}
	var purposes, classes []string
	for _, p := range n.Purposes {
		purposes = append(purposes, p.String())
	}
	for _, class := range n.Classes {
		classes = append(classes, class.String())
	}
	t := table(e.out)
	for _, line := range [][2]string{
		{"brand", string(n.Brand)}, {"version", fmt.Sprint(n.Version)}, {"hash", n.Hash.String()}, {"made by", noticeBy(n)}, {"issued", issued(n)},
		{"purposes", strings.Join(purposes, ", ")}, {"data", none(n.Data, "no personal data leaves the home")}, {"operations", none(n.Operations, "none")},
		{"kept in", none(n.Storage, "the home")}, {"kept for", days(n.Retention)}, {"recipients", none(n.Recipients, "nobody else")}, {"in", none(n.Countries, "-")},
		{"channels", none(classes, "all")}, {"legal basis", n.LegalBasis}, {"a yes stands", count(n.ValidFor, "month")},
	} {
		fmt.Fprintf(t, "%s\t%s\n", line[0], line[1])
	}
	if err := t.Flush(); err != nil {
		return err
	}
	var langs []string
	for lang := range n.Layers {
		langs = append(langs, lang)
	}
	slices.Sort(langs)
	for _, lang := range langs {
		l := n.Layers[lang]
		fmt.Fprintf(e.out, "\n%s\n", lang)
		for _, text := range []string{l.First, l.Second, l.Third} {
			if text != "" {
				fmt.Fprintf(e.out, "  %s\n", strings.ReplaceAll(text, "\n", "\n  "))
			}
		}
	}
	return nil
}

func none(all []string, words string) string {
	if len(all) == 0 {
		return words
	}
	return strings.Join(all, ", ")
}

func days(n int) string {
	if n == 0 {
		return "not at all"
	}
	return count(n, "day")
}

type forgetCmd struct {
	Home  string `required:"" help:"The home's name." placeholder:"HOME"`
	Brand string `help:"Only about this brand." placeholder:"ID"`
}

// Run has what was learnt forgotten.
func (c *forgetCmd) Run(e *env) error {
	_, err := ask[api.None](e, "forget", api.Forgetting{Home: c.Home, Brand: device.BrandID(c.Brand)})
	return err
}
