//go:build race

package delivery

// raced: this is run with the race detector, under which everything takes some six times as long. Tests that
// try a great many cases, one after the other, then try a few; make check runs them without it, too.
const raced = true
