package delivery

import (
	"cmp"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"porchlight/device"
	"porchlight/device/registry"
	"porchlight/device/store"
	"porchlight/device/wire"
	"porchlight/policy"
	"porchlight/policy/words"
)

// HeldBack is what a home was not shown today of one brand, on one screen and for one reason.
type HeldBack struct {
	Brand    device.BrandID `json:"brand"`
	Name     string         `json:"name"`   // of the brand
	Device   device.ID      `json:"device"` // the screen that came nearest
	Screen   string         `json:"screen"` // its name; "": it is not there any more
	Words    []string       `json:"words"`  // why not, each a sentence without its stop
	Causes   []string       `json:"causes"` // the same for operators, of the newest message
	Differ   []string       `json:"differ,omitempty"`
	Messages []HeldMessage  `json:"messages"` // the newest first, at least one
}

// HeldMessage is one message of a HeldBack.
type HeldMessage struct {
	ID       device.MessageID `json:"id"`
	Came     device.Instant   `json:"came"`
	When     string           `json:"when"`           // the same in words, in the home's time
	Over     device.Instant   `json:"over,omitempty"` // since when it is not in force any more; 0: it may still be shown
	Purpose  policy.Purpose   `json:"purpose"`
	Category string           `json:"category,omitempty"`
	Said     string           `json:"said,omitempty"` // its title, or its text where it has none; "": it is personal, and not the reader's, or not known any more
}

// One list of what was held back covers at most so many messages of each brand, and in all, the newest
// first, of those in force and of those that are over.
const (
	maxHeldOfBrand = 100
	maxHeld        = 2000
)

// Held lists what a home was not shown since its last midnight: messages in force that it is not shown,
// and those that somebody had agreed to and that were over before they could be. What has the newest
// message comes first.
func (d *Desk) Held(ctx context.Context, homeName string, o WhyOptions) (all []HeldBack, err error) {
	id, err := d.homeID(ctx, homeName)
	if err != nil {
		return nil, fmt.Errorf("held: %w", err)
	}
	err = d.in(id, func(h *home) error {
		reader, err := h.reader(o.Reader)
		if err != nil {
			return err
		}
		all, err = d.held(ctx, h, h.language(o.Language, reader, nil), reader, true)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("held: %w", err)
	}
	return all, nil
}

// held is Held for the holder of h.mu. On a device, which is not the operator's, nothing of it is in the brands' own
// words, and of somebody's own screens only they are told.
func (d *Desk) held(ctx context.Context, h *home, language string, reader device.PersonID, operator bool) ([]HeldBack, error) {
	all := []HeldBack{}
	zone, midnight := d.midnight(h)
	put := func(hb HeldBack, m HeldMessage) {
		m.Came = device.Instant(binary.BigEndian.Uint64(m.ID[:8]) >> 16)
		m.When = m.Came.Time().In(zone).Format("15:04")
		if m.Came < midnight {
			m.When = m.Came.Time().In(zone).Format("2006-01-02 15:04")
		}
		i := slices.IndexFunc(all, func(a HeldBack) bool {
			return a.Brand == hb.Brand && a.Device == hb.Device && slices.Equal(a.Words, hb.Words)
		})
		if i < 0 {
			i, all = len(all), append(all, hb)
		}
		all[i].Messages = append(all[i].Messages, m)
	}
	theirs := func(owner device.PersonID) bool { // what is on somebody else's own screen is theirs
		return owner == device.Household || owner == reader || operator && reader == device.Household
	}
	own := func(s *screen) bool { return s != nil && reader != device.Household && s.Owner == reader }
	d.mu.Lock()
	var messages []*policy.Message
	for _, m := range d.force {
		messages = append(messages, m)
	}
	d.mu.Unlock()
	slices.SortFunc(messages, func(a, b *policy.Message) int { return cmp.Compare(b.Seq, a.Seq) })
	shown := map[device.MessageID]bool{}
	for _, e := range h.view.Shown {
		shown[e.Message] = true
	}
	of, n := map[device.BrandID]int{}, 0
	for _, m := range messages {
		if shown[m.ID] || of[m.Brand] == maxHeldOfBrand || n == maxHeld {
			continue
		}
		of[m.Brand]++
		n++
		var best *WhyScreen
		for _, sv := range h.view.Screens {
			if !theirs(sv.Owner) || len(m.Classes) > 0 && !slices.Contains(m.Classes, sv.Class) {
				continue
			}
			ws := d.explain(h, h.screens[sv.ID], m, "", language, reader)
			if best == nil || verdicts[ws.Verdict] > verdicts[best.Verdict] {
				best = &ws
			}
		}
		if best == nil || best.Verdict == policy.Show.String() && best.Connected && !best.Silent {
			continue // it is for none of these screens, or about to be shown
		}
		hm := HeldMessage{ID: m.ID, Purpose: m.Purpose, Category: m.Category}
		if operator && (m.Audience == policy.Everybody || own(h.screens[best.Device])) {
			hm.Said = cmp.Or(m.Texts[0].Title, m.Texts[0].Body)
		}
		put(HeldBack{Brand: m.Brand, Name: m.Sender, Device: best.Device, Screen: best.Name, Words: best.Words, Causes: best.Causes, Differ: best.Differ}, hm)
	}
	over, err := d.over(ctx, h, operator)
	if err != nil {
		return nil, err
	}
	for _, f := range over {
		s := h.screens[f.Device]
		if s != nil && !theirs(s.Owner) || s == nil && !operator { // nobody knows any more whose it was
			continue
		}
		hb := HeldBack{Brand: f.Brand, Device: f.Device, Words: tell(f.Decision.Because, language, d.names(h, s, reader)), Causes: []string{}}
		if s != nil {
			hb.Screen = s.Name
		}
		d.mu.Lock()
		hb.Name = cmp.Or(d.brands[f.Brand].Name, string(f.Brand))
		d.mu.Unlock()
		for _, c := range f.Decision.Because {
			hb.Causes = append(hb.Causes, words.Operator(c))
		}
		hm := HeldMessage{ID: f.Message, Purpose: f.Purpose, Over: f.Decision.At}
		if hm.Category = f.was.Category; len(f.was.Texts) > 0 && (own(s) || !f.was.Personal) {
			hm.Said = cmp.Or(f.was.Texts[0].Title, f.was.Texts[0].Body)
		}
		put(hb, hm)
	}
	for _, hb := range all {
		slices.SortStableFunc(hb.Messages, func(a, b HeldMessage) int { return cmp.Compare(b.Came, a.Came) })
	}
	slices.SortStableFunc(all, func(a, b HeldBack) int { return cmp.Compare(b.Messages[0].Came, a.Messages[0].Came) })
	return all, nil
}

var verdicts = map[string]policy.Verdict{policy.Hold.String(): policy.Hold, policy.Show.String(): policy.Show}

// midnight is the home's last, and where.
func (d *Desk) midnight(h *home) (*time.Location, device.Instant) {
	zone := h.view.Zone
	if zone == nil {
		zone = time.UTC
	}
	now := d.o.Now().Time().In(zone)
	return zone, device.At(policy.Date(now.Year(), now.Month(), now.Day(), 0, 0, zone))
}

// overFact is a heldFact with its message.
type overFact struct {
	heldFact
	was Submission // zero: nobody has asked, or it is not known any more
}

// over lists what was over since the home's last midnight before it could be shown, the newest first; if said, with what it was.
func (d *Desk) over(ctx context.Context, h *home, said bool) ([]overFact, error) {
	var all []overFact
	_, midnight := d.midnight(h)
	err := d.db.View(ctx, func(tx *store.Tx) (err error) {
		all, err = store.List(tx, func(scan func(...any) error) (f overFact, err error) {
			var id, decision []byte
			var at device.Instant
			if err = scan(&id, &f.Device, &f.Brand, &f.Purpose, &at, &decision); err == nil {
				err = json.Unmarshal(decision, &f.Decision)
			}
			copy(f.Message[:], id)
			f.Decision.At = at
			return
		}, `SELECT message, device, brand, purpose, at, decision FROM (SELECT *, row_number() OVER (PARTITION BY brand ORDER BY at DESC) AS nth FROM held WHERE home = ? AND at >= ?)
			WHERE nth <= ? ORDER BY at DESC LIMIT ?`, h.id, midnight, maxHeldOfBrand, maxHeld)
		for i := range all {
			if said && err == nil {
				all[i].was, err = submissionOf(tx, all[i].Message)
			}
		}
		return err
	})
	return all, err
}

// submissionOf is a message as it was sent; the zero Submission if that is not known any more.
func submissionOf(tx *store.Tx, id device.MessageID) (s Submission, err error) {
	_, f, err := acceptedAs(tx, id)
	switch {
	case errors.Is(err, registry.ErrUnknown):
		return s, nil
	case err != nil:
		return s, err
	}
	return f.submission()
}

// WhyAsked answers a person who asks on a device why: about one message, or what was held back today.
func (d *Desk) WhyAsked(dev device.ID, link Link, q wire.WhyAsked) error {
	return d.on(dev, link, func(d *Desk, h *home, s *screen) error {
		if !s.asks.AllowN(d.mono(), 1) {
			return fmt.Errorf("up/why: %w", ErrOften)
		}
		reader := s.Owner
		now := d.o.Now()
		if p := person(q.Person); reader == device.Household && h.lives(p) && h.maybeThere(s, p, now) {
			reader = p
		}
		if who, others := h.present(s, now); reader == device.Household && len(who) == 1 && !others {
			reader = who[0] // nobody else can be asking
		}
		language := h.language(q.Language, reader, s)
		var lines []string
		var stands []int
		var err error
		if q.Message == nil {
			lines, stands, err = d.heldLines(h, s, language, reader)
		} else {
			lines, err = d.because(h, s, q.Message, language, reader)
		}
		if err != nil {
			return err
		}
		for i, line := range lines {
			if len(line) > wire.MaxText {
				lines[i] = strings.ToValidUTF8(line[:wire.MaxText-len("…")], "") + "…"
			}
		}
		answer := wire.Because{Seq: q.Seq, Message: q.Message, Language: language}
		for n := min(len(lines), maxBecause); n >= 0; n-- { // what does not fit a frame is left out, the last first
			answer.Lines = append([]string{}, lines[:n]...)
			if n < len(stands) {
				left := 0
				for _, one := range stands[n:] {
					left += one
				}
				answer.Lines = append(answer.Lines, fmt.Sprintf("+ %d", left))
			}
			if _, err := wire.Encode(answer); err == nil && len(answer.Lines) <= maxBecause {
				break
			}
		}
		d.send(s, wire.DnWhy, answer, 0, 0)
		return nil
	})
}

const maxBecause = 16

// whole makes a sentence whole.
func whole(s string) string {
	first, n := utf8.DecodeRuneInString(s)
	s = string(unicode.ToUpper(first)) + s[n:]
	if strings.HasSuffix(s, ".") {
		return s
	}
	return s + "."
}

// heldLines is what was held back, for the screen s: each line with how many messages it stands for.
// Every brand's newest comes before the second of any, so that none fills the screen.
func (d *Desk) heldLines(h *home, s *screen, language string, reader device.PersonID) (lines []string, stands []int, err error) {
	if s.Until != 0 {
		return nil, nil, nil // what this home was not shown is not a guest's to know
	}
	all, err := d.held(context.Background(), h, language, reader, false)
	of, rank := map[device.BrandID]int{}, map[device.MessageID]int{}
	for _, hb := range all {
		rank[hb.Messages[0].ID] = of[hb.Brand]
		of[hb.Brand]++
	}
	slices.SortStableFunc(all, func(a, b HeldBack) int { return cmp.Compare(rank[a.Messages[0].ID], rank[b.Messages[0].ID]) })
	for _, hb := range all {
		line := hb.Name
		if hb.Device != s.ID && hb.Screen != "" {
			line += ", " + hb.Screen
		}
		if n := len(hb.Messages); n > 1 {
			first, last := hb.Messages[n-1].When, hb.Messages[0].When
			if first != last {
				last = first + " – " + last
			}
			line += fmt.Sprintf(" (%d; %s)", n, last)
		}
		lines = append(lines, whole(line+": "+strings.Join(hb.Words, "; ")))
		stands = append(stands, len(hb.Messages))
	}
	return lines, stands, err
}

// because is the answer to a WhyAsked about one message, in whole sentences.
func (d *Desk) because(h *home, s *screen, id *device.MessageID, language string, reader device.PersonID) (lines []string, err error) {
	n := d.names(h, s, reader)
	if dl := h.find(*id, s.ID); dl != nil {
		if m := d.message(*id); m != nil {
			q := policy.Request{Home: &h.view, Screen: &s.view, Message: m, Now: d.o.Now(), Own: true}
			if dec := policy.Decide(q); dec.Verdict == policy.Show {
				lines = append(lines, whole(words.Shown(policy.Grounds(q, dec), language, n)))
				for _, w := range tell(dl.duties.Causes(s.Class), language, n) {
					lines = append(lines, whole(w))
				}
				return lines, nil
			}
		}
	}
	var r Record
	err = d.db.View(context.Background(), func(tx *store.Tx) error {
		var pos int64
		err := tx.QueryRow(`SELECT pos FROM delivery WHERE home = ? AND message = ? AND device = ?`, h.id, id[:], s.ID).Scan(&pos)
		if isNoRows(err) {
			return nil
		}
		if err == nil {
			r, err = recordAt(tx, h.id, pos)
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	if r.Verdict == policy.Show.String() { // it was here
		lines = append(lines, whole(words.Shown(r.Because, language, n)))
		for _, w := range tell(r.Duties.Causes(s.Class), language, n) {
			lines = append(lines, whole(w))
		}
		for _, w := range choiceWords(r, "", s.Class, language, n) {
			lines = append(lines, whole(w))
		}
		return lines, nil
	}
	if m := d.message(*id); m != nil && s.Until == 0 {
		ws := d.explain(h, s, m, "", language, reader)
		for _, w := range append(ws.Words, ws.Differ...) {
			lines = append(lines, whole(w))
		}
		return lines, nil
	}
	return []string{whole(words.Tell(policy.Cause{Code: policy.NothingYet}, language, n))}, nil
}
