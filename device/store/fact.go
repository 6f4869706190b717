package store

import (
	"encoding/json"
	"fmt"

	"porchlight/device"
)

// Add appends an event at the head of home's book. The writer is alone, so inside Update the
// head it reads is the head.
func (tx *Tx) Add(home device.HomeID, kind string, body any) (Event, error) {
	head, err := tx.Head(home)
	if err != nil {
		return Event{}, err
	}
	return tx.Append(home, head, kind, body)
}

// With decodes the body of e and hands it to f. A body that does not decode names its event.
func With[T any](e Event, f func(T) error) error {
	var body T
	if err := json.Unmarshal(e.Body, &body); err != nil {
		return fmt.Errorf("event %d, %s: %w", e.Seq, e.Kind, err)
	}
	return f(body)
}

// List collects what scan makes of each row of a query.
func List[T any](tx *Tx, scan func(scan func(...any) error) (T, error), query string, args ...any) ([]T, error) {
	rows, err := tx.Query(query, args...)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var all []T
	for rows.Next() {
		one, err := scan(rows.Scan)
		if err != nil {
			return nil, err
		}
		all = append(all, one)
	}
	return all, rows.Err()
}
