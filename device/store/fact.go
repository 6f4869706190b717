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

// Body is a fact that was encoded before its transaction, so that the writer need not.
type Body struct {
	value any
	raw   []byte
}

// Encode encodes a fact for Add or Append.
func Encode(fact any) (Body, error) {
	raw, err := json.Marshal(fact)
	return Body{fact, raw}, err
}

// With decodes the body of e and hands it to f. A body that does not decode names its event.
// While e is being appended, f gets the fact as it was given: that the projection made of it is
// the one made of its JSON is what Check checks.
func With[T any](e Event, f func(T) error) error {
	if fact, ok := e.fact.(T); ok {
		return f(fact)
	}
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
