package words

import (
	"fmt"
	"time"

	"porchlight/device"
)

// calendar is how a language writes dates and times of day. In the phrases, {clock} is the time of
// day, {date} the day with its month, and {full} the weekday, day, month and year.
type calendar struct {
	months   [12]string
	weekdays [7]string // Sunday first
	first    string    // the first of a month, where it is not written "1"
	clock    func(hour, minute int) string
	date     string // {day} and {month}
	year     string // {date} and {year}
	full     string // {weekday} and {date}, which has its year

	until, at, from span
	today           string // {clock}
	yesterday       string // {clock}
	on              string // {date}
	untilDay        string // {date}
	short           string // a date in digits, as time.Format
}

// span is a phrase about an instant: within a day the time alone, further off the day as well.
type span struct{ near, far string }

// local is i on the home's wall.
func (t *teller) local(i device.Instant) (w time.Time, suffix string) {
	if t.n.Zone == nil {
		return i.Time(), " UTC"
	}
	return i.Time().In(t.n.Zone), ""
}

// time says i in one of the language's phrases: the time of day if that is within a day from now.
func (t *teller) time(i device.Instant, s span) string {
	k := &t.l.calendar
	w, suffix := t.local(i)
	words := with{"clock": k.clock(w.Hour(), w.Minute()) + suffix, "full": w.Format(k.short)}
	if !t.brief {
		words["full"] = fill(k.full, with{"weekday": k.weekdays[w.Weekday()], "date": k.day(w, true)}.get)
	}
	if i > t.n.Now && i < t.n.Now.Add(24*time.Hour) {
		return fill(s.near, words.get)
	}
	return fill(s.far, words.get)
}

func (t *teller) spaced(i device.Instant, s span) string {
	if i == 0 {
		return ""
	}
	return " " + t.time(i, s)
}

// day says the day of i: today and yesterday with the time, a day of another year with its year.
func (t *teller) day(i device.Instant) string {
	k := &t.l.calendar
	w, suffix := t.local(i)
	now, _ := t.local(t.n.Now)
	words := with{"clock": k.clock(w.Hour(), w.Minute()) + suffix, "date": k.day(w, w.Year() != now.Year())}
	switch {
	case sameDay(w, now):
		return fill(k.today, words.get)
	case sameDay(w, time.Date(now.Year(), now.Month(), now.Day()-1, 12, 0, 0, 0, time.UTC)):
		return fill(k.yesterday, words.get)
	}
	return fill(k.on, words.get)
}

func sameDay(a, b time.Time) bool {
	return a.Year() == b.Year() && a.YearDay() == b.YearDay()
}

func (k *calendar) day(w time.Time, year bool) string {
	n := fmt.Sprint(w.Day())
	if w.Day() == 1 && k.first != "" {
		n = k.first
	}
	s := fill(k.date, with{"day": n, "month": k.months[w.Month()-1]}.get)
	if year {
		s = fill(k.year, with{"date": s, "year": fmt.Sprint(w.Year())}.get)
	}
	return s
}

// When says i as the home's wall shows it: the time of day if it is within a day after n.Now, else
// the day as well.
func When(i device.Instant, lang string, n Names) string {
	t := teller{l: in(lang), n: n}
	return t.time(i, t.l.calendar.at)
}

// Until says "until" and i, as [When] does.
func Until(i device.Instant, lang string, n Names) string {
	t := teller{l: in(lang), n: n}
	return t.time(i, t.l.calendar.until)
}

// Months says for how long: "for 12 months". n is 1 or more.
func Months(n int, lang string) string {
	l := in(lang)
	return l.count(n, l.forMonths)
}
