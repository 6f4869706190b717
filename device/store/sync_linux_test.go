package store

import (
	"os"
	"testing"
)

// Where space is scarce the log does not wait for its turn.
func TestScarce(t *testing.T) {
	f, err := os.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if scarce(f, 1) || !scarce(f, 1<<62) {
		t.Errorf("less than a byte to spare: %v; less than 4 EiB: %v", scarce(f, 1), scarce(f, 1<<62))
	}
}
