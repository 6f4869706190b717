package delivery

import (
	"math"

	"porchlight/device"
	"porchlight/device/store"
)

// What a message is worth to its brand says something only beside the brand's other messages: a brand
// that calls everything important has called nothing so. Other brands do not come into it.
//
// A brand can make its mean small with messages that nobody is meant to see. So what is above the mean counts
// less the further it is above: a message at the mean is worth 0.5, one at twice the mean 0.6, and none more
// than 0.75. That is the most that any number of such messages can do: 1.5 times what a message is worth to
// a brand that calls all of them alike.

const (
	middleWorth = 0.5
	mostWorth   = 1.5 * middleWorth
	leastWorth  = 0.05
	worthDays   = 30
	dayMillis   = 24 * 60 * 60 * 1000
)

// value is what s is worth to its brand, as the brand says.
func (s Submission) value() float64 {
	if s.Value == nil {
		return middleWorth
	}
	return *s.Value
}

// worth is a value beside those that the brand's messages had that were accepted today and on the 29 days
// before, and beside itself: 0.05 to 0.75, and 0.5 for their mean. More value is never worth less.
func worth(tx *store.Tx, brand device.BrandID, value float64) (float64, error) {
	n, sum := 0.0, 0.0
	err := tx.QueryRow(`SELECT coalesce(sum(n), 0.0) + 0.0, coalesce(sum(sum), 0.0) FROM message_value WHERE brand = ? AND day > ?`,
		brand, int64(tx.Now/dayMillis)-worthDays).Scan(&n, &sum)
	if sum += value; err != nil || sum == 0 {
		return middleWorth, err
	}
	mean := sum / (n + 1)
	w := mostWorth * value / (value + mean*(mostWorth/middleWorth-1))
	return max(leastWorth, math.Round(1e4*w)/1e4), nil // as fine as matters: the same whatever unit a brand counts in
}

// applyValue counts the value of an accepted message.
func applyValue(tx *store.Apply, e store.Event, f acceptedFact) error {
	return tx.Exec(`INSERT INTO message_value (brand, day, n, sum) VALUES (?, ?, 1, ?)
		ON CONFLICT DO UPDATE SET n = n + 1, sum = sum + excluded.sum`, f.Brand, int64(e.At/dayMillis), f.Value)
}
