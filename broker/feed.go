package broker

import "encoding/binary"

// feed is what TLS reads from: one record at a time, so that TLS never holds a part of what has come
// that nobody knows of, and its own buffer stays small. What the session has read ahead goes first. An
// idle connection then waits at the socket, with no buffer and without TLS on its stack.
type feed struct {
	*counted
	direct direct // to read ahead
	waits  func() // comes before it waits for the socket; nil: nothing does

	ahead []byte // read, and not fed yet
	room  []byte // that it is in, lent by takeRoom

	head [5]byte // of a record, as far as it was fed
	got  int     // bytes of head
	left int     // bytes of the record that are to come
}

func newFeed(raw *counted) *feed {
	f := &feed{counted: raw}
	f.direct.open(raw)
	return f
}

// idle reports whether all that was read was fed, in whole records.
func (f *feed) idle() bool { return len(f.ahead) == 0 && f.got == 0 && f.left == 0 }

// whole reports whether the next record can be fed without waiting.
func (f *feed) whole() bool {
	return f.got == 0 && f.left == 0 && len(f.ahead) >= len(f.head) && len(f.ahead) >= len(f.head)+length(f.ahead)
}

// length is what a record's head says of its length.
func length(head []byte) int { return int(binary.BigEndian.Uint16(head[3:])) }

// fill waits for what comes, and reads ahead as much of it as a room holds. Nothing is ahead before.
func (f *feed) fill() error {
	room, err := f.direct.read()
	if err != nil {
		giveRoom(room)
		return err
	}
	f.ahead, f.room = room, room
	return nil
}

// Read feeds TLS no further than to the end of a head, or of a record.
func (f *feed) Read(p []byte) (n int, err error) {
	most := f.left
	if most == 0 {
		most = len(f.head) - f.got
	}
	p = p[:min(len(p), most)]
	if len(f.ahead) == 0 {
		if f.waits != nil {
			f.waits()
		}
		if f.direct.ready() {
			if err := f.fill(); err != nil {
				return 0, err
			}
		}
	}
	if len(f.ahead) > 0 {
		n = copy(p, f.ahead)
		if f.ahead = f.ahead[n:]; len(f.ahead) == 0 {
			giveRoom(f.room)
			f.ahead, f.room = nil, nil
		}
	} else {
		n, err = f.counted.Read(p)
	}
	if f.left > 0 {
		f.left -= n
		return n, err
	}
	if f.got += copy(f.head[f.got:], p[:n]); f.got == len(f.head) {
		f.got, f.left = 0, length(f.head[:])
	}
	return n, err
}
