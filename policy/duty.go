package policy

import "time"

// Duty is something that a screen must do while it shows a message.
type Duty uint8

// The duties.
const (
	Dim     Duty = 1 << iota // show it darker than the screen is
	Limit                    // take it off by itself after Duties.Limit
	Minimal                  // show no more than who it is from, until somebody asks for the rest
)

// Duties are what a screen must do while it shows a message. What every device of the contract does is not
// listed: it leaves when its lease ends, is reported, makes no sound where Decision.Content has none, and is
// deleted when it is recalled.
type Duties struct {
	Must  Duty
	Limit time.Duration // of Limit; 0: none
}
