package delivery

import (
	"math"

	"porchlight/device"
	"porchlight/device/store"
)

// What a message is worth to its brand says something only beside the brand's other messages: a brand
// that calls everything important has called nothing so. Other brands do not come into it.

const (
	middleWorth = 0.5
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
// before, and beside itself: their mean is 0.5, and none is below 0.05 or above 1.
func worth(tx *store.Tx, brand device.BrandID, value float64) (float64, error) {
	n, sum := 0.0, 0.0
	err := tx.QueryRow(`SELECT coalesce(sum(n), 0.0) + 0.0, coalesce(sum(sum), 0.0) FROM message_value WHERE brand = ? AND day > ?`,
		brand, int64(tx.Now/dayMillis)-worthDays).Scan(&n, &sum)
	if sum += value; err != nil || sum == 0 {
		return middleWorth, err
	}
	mean := sum / (n + 1)
	return min(max(0.05, math.Round(1e4*middleWorth*value/mean)/1e4), 1), nil // as fine as matters: the same whatever unit a brand counts in
}

// applyValue counts the value of an accepted message.
func applyValue(tx *store.Apply, e store.Event, f acceptedFact) error {
	return tx.Exec(`INSERT INTO message_value (brand, day, n, sum) VALUES (?, ?, 1, ?)
		ON CONFLICT DO UPDATE SET n = n + 1, sum = sum + excluded.sum`, f.Brand, int64(e.At/dayMillis), f.Value)
}
