package delivery

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"porchlight/device"
	"porchlight/device/store"
	"porchlight/device/wire"
	"porchlight/policy"
	"porchlight/policy/words"
)

// HeldBack is a message that a home was not shown today.
type HeldBack struct {
	ID       device.MessageID `json:"id"`
	Brand    device.BrandID   `json:"brand"`
	Name     string           `json:"name"` // of the brand
	Purpose  policy.Purpose   `json:"purpose"`
	Category string           `json:"category,omitempty"`
	Over     device.Instant   `json:"over,omitempty"` // since when it is not in force any more; 0: it may still be shown
	Device   device.ID        `json:"device"`         // the screen that came nearest
	Words    []string         `json:"words"`          // why not, each a sentence without its stop
	Causes   []string         `json:"causes"`         // the same for operators
	Differ   []string         `json:"differ,omitempty"`
}

// maxHeldBack is how many messages one list of what was held back has at most, the newest first.
const maxHeldBack = 50

// Held lists what a home was not shown since its last midnight: messages in force that it is not shown,
// and those that somebody had agreed to and that were over before they could be.
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
		all, err = d.held(ctx, h, h.language(o.Language, reader, nil), reader)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("held: %w", err)
	}
	return all, nil
}

// held is Held for the holder of h.mu.
func (d *Desk) held(ctx context.Context, h *home, language string, reader device.PersonID) ([]HeldBack, error) {
	all := []HeldBack{}
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
	for _, m := range messages {
		if len(all) == maxHeldBack {
			return all, nil
		}
		if shown[m.ID] {
			continue
		}
		var best *WhyScreen
		for _, sv := range h.view.Screens {
			if sv.Owner != device.Household && sv.Owner != reader && reader != device.Household {
				continue // what is on somebody else's own screen is theirs
			}
			if len(m.Classes) > 0 && !slices.Contains(m.Classes, sv.Class) {
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
		all = append(all, HeldBack{ID: m.ID, Brand: m.Brand, Name: m.Sender, Purpose: m.Purpose, Category: m.Category, Device: best.Device,
			Words: best.Words, Causes: best.Causes, Differ: best.Differ})
	}
	over, err := d.over(ctx, h, maxHeldBack-len(all))
	for _, f := range over {
		s := h.screens[f.Device]
		if s != nil && s.Owner != device.Household && s.Owner != reader && reader != device.Household {
			continue
		}
		hb := HeldBack{ID: f.Message, Brand: f.Brand, Purpose: f.Purpose, Over: f.Decision.At, Device: f.Device, Words: tell(f.Decision.Because, language, d.names(h, s, reader)), Causes: []string{}}
		d.mu.Lock()
		hb.Name = cmp.Or(d.brands[f.Brand].Name, string(f.Brand))
		d.mu.Unlock()
		for _, c := range f.Decision.Because {
			hb.Causes = append(hb.Causes, words.Operator(c))
		}
		all = append(all, hb)
	}
	return all, err
}

var verdicts = map[string]policy.Verdict{policy.Hold.String(): policy.Hold, policy.Show.String(): policy.Show}

// over lists what was over since the home's last midnight before it could be shown, the newest first.
func (d *Desk) over(ctx context.Context, h *home, limit int) ([]heldFact, error) {
	zone := h.view.Zone
	if zone == nil {
		zone = time.UTC
	}
	now := d.o.Now().Time().In(zone)
	midnight := device.At(time.Date(now.Year(), now.Month(), now.Day(), 0, 0, 0, 0, zone))
	var all []heldFact
	err := d.db.View(ctx, func(tx *store.Tx) (err error) {
		all, err = store.List(tx, func(scan func(...any) error) (f heldFact, err error) {
			var id, decision []byte
			var at device.Instant
			if err = scan(&id, &f.Device, &f.Brand, &f.Purpose, &at, &decision); err == nil {
				err = json.Unmarshal(decision, &f.Decision)
			}
			copy(f.Message[:], id)
			f.Decision.At = at
			return
		}, `SELECT message, device, brand, purpose, at, decision FROM held WHERE home = ? AND at >= ? ORDER BY at DESC LIMIT ?`, h.id, midnight, limit)
		return err
	})
	return all, err
}

// WhyAsked answers a person who asks on a device why: about one message, or what was held back today.
func (d *Desk) WhyAsked(dev device.ID, link Link, q wire.WhyAsked) error {
	return d.on(dev, link, func(d *Desk, h *home, s *screen) error {
		if !s.asks.AllowN(d.mono(), 1) {
			return fmt.Errorf("up/why: %w", ErrOften)
		}
		reader := s.Owner
		if p := person(q.Person); reader == device.Household && h.lives(p) {
			reader = p
		}
		if who, others := h.present(s, d.o.Now()); reader == device.Household && len(who) == 1 && !others {
			reader = who[0] // nobody else can be asking
		}
		language := h.language(q.Language, reader, s)
		lines, err := d.because(h, s, q.Message, language, reader)
		if err != nil {
			return err
		}
		answer := wire.Because{Seq: q.Seq, Message: q.Message, Language: language}
		answer.Lines = append(answer.Lines, lines[:min(len(lines), maxBecause)]...)
		for { // what does not fit a frame is left out, the last first
			if _, err := wire.Encode(answer); err == nil || len(answer.Lines) == 0 {
				break
			}
			answer.Lines = answer.Lines[:len(answer.Lines)-1]
		}
		d.send(s, wire.DnWhy, answer, 0, 0)
		return nil
	})
}

const maxBecause = 16

// because is the answer to a WhyAsked, in whole sentences.
func (d *Desk) because(h *home, s *screen, id *device.MessageID, language string, reader device.PersonID) (lines []string, err error) {
	stop := func(s string) string { // makes a sentence whole
		first, n := utf8.DecodeRuneInString(s)
		s = string(unicode.ToUpper(first)) + s[n:]
		if strings.HasSuffix(s, ".") {
			return s
		}
		return s + "."
	}
	if id == nil && s.Until != 0 {
		return nil, nil // what this home was not shown is not a guest's to know
	}
	if id == nil {
		all, err := d.held(context.Background(), h, language, reader)
		for _, hb := range all[:min(len(all), maxBecause)] {
			line := hb.Name + ": "
			for i, w := range hb.Words {
				if i > 0 {
					line += "; "
				}
				line += w
			}
			lines = append(lines, stop(line))
		}
		return lines, err
	}
	n := d.names(h, s, reader)
	if dl := h.find(*id, s.ID); dl != nil {
		if m := d.message(*id); m != nil {
			q := policy.Request{Home: &h.view, Screen: &s.view, Message: m, Now: d.o.Now(), Own: true}
			if dec := policy.Decide(q); dec.Verdict == policy.Show {
				lines = append(lines, stop(words.Shown(policy.Grounds(q, dec), language, n)))
				for _, w := range tell(dl.duties.Causes(s.Class), language, n) {
					lines = append(lines, stop(w))
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
		lines = append(lines, stop(words.Shown(r.Because, language, n)))
		for _, w := range tell(r.Duties.Causes(s.Class), language, n) {
			lines = append(lines, stop(w))
		}
		for _, w := range choiceWords(r, "", s.Class, language, n) {
			lines = append(lines, stop(w))
		}
		return lines, nil
	}
	if m := d.message(*id); m != nil && s.Until == 0 {
		ws := d.explain(h, s, m, "", language, reader)
		for _, w := range append(ws.Words, ws.Differ...) {
			lines = append(lines, stop(w))
		}
		return lines, nil
	}
	return []string{stop(words.Tell(policy.Cause{Code: policy.NothingYet}, language, n))}, nil
}
