package ledger

import (
	"errors"
	"fmt"
	"math/bits"

	"golang.org/x/mod/sumdb/tlog"

	"porchlight/device"
)

// ErrProof says that a proof does not prove what it is said to.
var ErrProof = errors.New("the proof does not hold")

// Head is the state of a home's log at one moment: whoever has it can tell whether an entry is
// in the log, and whether anything before it was altered since.
type Head struct {
	Home Pseudonym      `json:"home"`
	Size int64          `json:"size"` // entries
	Root Hash           `json:"root"`
	At   device.Instant `json:"at"` // when it was made
}

// Log is the leaves of a home's log: that of the entry at position 1 first.
type Log struct {
	Home   Pseudonym
	Leaves []Hash
}

// Head is the head of l at the moment at.
func (l Log) Head(at device.Instant) Head {
	return Head{Home: l.Home, Size: int64(len(l.Leaves)), Root: Root(l.Leaves), At: at}
}

// Root is the root of the tree over leaves.
func Root(leaves []Hash) Hash {
	h, err := tlog.TreeHash(int64(len(leaves)), reader(leaves))
	if err != nil {
		panic(err) // reader has all it may be asked for
	}
	return Hash(h)
}

// Prove proves that the entry at position pos (from 1) is in the tree over leaves.
func Prove(leaves []Hash, pos int64) ([]Hash, error) {
	if pos < 1 || pos > int64(len(leaves)) {
		return nil, fmt.Errorf("prove entry %d of %d: there is none", pos, len(leaves))
	}
	path, err := tlog.ProveRecord(int64(len(leaves)), pos-1, reader(leaves))
	return hashes(path), err
}

// CheckInclusion checks that the entry at position pos (from 1) of the log with head h is the
// one with that leaf. It fails with ErrProof.
func CheckInclusion(path []Hash, h Head, pos int64, leaf Hash) error {
	if pos < 1 || pos > h.Size || len(path) > maxPath {
		return fmt.Errorf("entry %d of %d: %w", pos, h.Size, ErrProof)
	}
	if tlog.CheckRecord(tlog.RecordProof(tlogHashes(path)), h.Size, tlog.Hash(h.Root), pos-1, tlog.Hash(leaf)) != nil {
		return fmt.Errorf("entry %d of %d: %w", pos, h.Size, ErrProof)
	}
	return nil
}

// ProveGrowth proves that the tree over leaves begins with the tree over the first size of them.
// size is 1 to all of them.
func ProveGrowth(leaves []Hash, size int64) ([]Hash, error) {
	if size < 1 || size > int64(len(leaves)) {
		return nil, fmt.Errorf("prove growth from %d to %d: there is none", size, len(leaves))
	}
	path, err := tlog.ProveTree(int64(len(leaves)), size, reader(leaves))
	return hashes(path), err
}

// CheckGrowth checks that the log with head now begins with the log with head was: that nothing
// before was altered or taken out. It fails with ErrProof, also if they are heads of two homes.
func CheckGrowth(path []Hash, was, now Head) error {
	bad := fmt.Errorf("growth from %d to %d: %w", was.Size, now.Size, ErrProof)
	switch {
	case was.Home != now.Home, was.Size < 0, was.Size > now.Size, len(path) > maxPath:
		return bad
	case was.Size == 0: // everything begins with nothing
		if len(path) > 0 || was.Root != Root(nil) {
			return bad
		}
		return nil
	}
	if tlog.CheckTree(tlog.TreeProof(tlogHashes(path)), now.Size, tlog.Hash(now.Root), was.Size, tlog.Hash(was.Root)) != nil {
		return bad
	}
	return nil
}

const maxPath = 65 // hashes in a proof: one more than a tree of 2^63 leaves is high

// reader makes the inner hashes of the tree over leaves when they are asked for.
type reader []Hash

func (r reader) ReadHashes(indexes []int64) ([]tlog.Hash, error) {
	all := make([]tlog.Hash, len(indexes))
	for i, index := range indexes {
		level, n := tlog.SplitStoredHashIndex(index)
		all[i] = whole(r[n<<level : (n+1)<<level])
	}
	return all, nil
}

// whole is the hash of a tree of 2^n leaves.
func whole(leaves []Hash) tlog.Hash {
	if len(leaves) == 1 {
		return tlog.Hash(leaves[0])
	}
	half := 1 << (bits.Len(uint(len(leaves))) - 2)
	return tlog.NodeHash(whole(leaves[:half]), whole(leaves[half:]))
}

func hashes(in []tlog.Hash) []Hash {
	out := make([]Hash, len(in))
	for i, h := range in {
		out[i] = Hash(h)
	}
	return out
}

func tlogHashes(in []Hash) []tlog.Hash {
	out := make([]tlog.Hash, len(in))
	for i, h := range in {
		out[i] = tlog.Hash(h)
	}
	return out
}
