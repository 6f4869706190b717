package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"porchlight/device/wire"
)

// The peers are this program again.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == "serve" {
		fail(servePeer(os.Args[2:]))
		return
	}
	os.Exit(m.Run())
}

// TestDoor runs all work at the door once, small, with the gateway and every peer that is installed.
func TestDoor(t *testing.T) {
	gateway := filepath.Join(t.TempDir(), "porchlight")
	build := exec.Command("go", "build", "-o", gateway, "./cmd/porchlight")
	build.Dir = "../.."
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build the gateway: %v\n%s", err, out)
	}
	s := setting{gateway: gateway, small: true, folder: t.TempDir(), say: t.Logf}
	figures, err := measureDoor(t.Context(), s)
	if err != nil {
		t.Fatal(err)
	}
	peers := map[string]bool{}
	for _, f := range figures {
		peers[f.PeerName] = true
		if f.Ours < 0 || f.PeerName != "" && f.Peer < 0 {
			t.Errorf("%+v: less than nothing", f)
		}
	}
	for _, what := range []string{"QoS 1 publish, decoded and judged by ours, processor", "idle connection, memory", "idle connection, TLS 1.3, memory", "connect, processor", "connect, TLS 1.3, processor",
		"one message to 20 screens", "a document pushed", "publish to acknowledgement at 1000 a second, p99", "the machine's own"} {
		found := false
		for _, f := range figures {
			found = found || strings.HasPrefix(f.Name, what)
		}
		if !found {
			t.Errorf("no figure begins with %q", what)
		}
	}
	for _, name := range []string{"mochi", "mochi, empty hook, nobody reads", "bare handshakes of Go", "a bare TCP echo", "NATS, nobody reads"} {
		if !peers[name] {
			t.Errorf("nothing was measured beside %q: %v", name, peers)
		}
	}
	if _, err := exec.LookPath(mosquitto); err == nil && !peers["mosquitto"] {
		t.Error("mosquitto is installed and was not measured")
	}
	if _, err := measureDoor(t.Context(), setting{work: "publish,dance", say: t.Logf}); err == nil || !strings.Contains(err.Error(), `"dance" is unknown`) {
		t.Errorf("work that there is not: %v", err)
	}
}

// TestPumpBelievesOnlyPUBACKs has the generator publish to servers that do not do what they should.
func TestPumpBelievesOnlyPUBACKs(t *testing.T) {
	tests := map[string]struct {
		answer func(n int, id [2]byte) []byte // to the n-th publish; nil: the end
		want   string                         // of the error; "": none
	}{
		"each is acknowledged": {func(_ int, id [2]byte) []byte { return []byte{kindPuback, 2, id[0], id[1]} }, ""},
		"one is acknowledged twice": {func(_ int, id [2]byte) []byte {
			return []byte{kindPuback, 2, id[0], id[1], kindPuback, 2, id[0], id[1]}
		}, "is not on its way"},
		"what was never sent is":      {func(int, [2]byte) []byte { return []byte{kindPuback, 2, 0x70, 0} }, "is not on its way"},
		"nothing is, and it hangs up": {func(int, [2]byte) []byte { return nil }, "EOF"},
		"it says something else":      {func(int, [2]byte) []byte { return []byte{kindPong, 0} }, "the server sent"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			l, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			defer l.Close()
			read := make(chan int, 1)
			go func() {
				c, err := l.Accept()
				if err != nil {
					return
				}
				defer c.Close()
				n, r := 0, bufio.NewReader(c)
				defer func() { read <- n }()
				for {
					head := make([]byte, 2)
					if _, err := io.ReadFull(r, head); err != nil {
						return
					}
					body := make([]byte, head[1])
					if _, err := io.ReadFull(r, body); err != nil {
						return
					}
					n++
					at := 2 + int(body[0])<<8 + int(body[1])
					answer := test.answer(n, [2]byte(body[at:]))
					if answer == nil {
						return
					}
					if _, err := c.Write(answer); err != nil {
						return
					}
				}
			}()
			raw, err := net.Dial("tcp", l.Addr().String())
			if err != nil {
				t.Fatal(err)
			}
			raw.SetDeadline(time.Now().Add(patience))
			c := newClient(raw, "x")
			var counted tally
			var stop atomic.Bool
			made := 0
			err = c.pump(4, "t", func(b []byte) []byte {
				made++
				stop.Store(made >= 100)
				return append(b, 'p')
			}, &counted, nil, &stop)
			c.Close()
			seen := <-read
			if test.want != "" {
				if err == nil || !strings.Contains(err.Error(), test.want) {
					t.Fatalf("got %v, want an error that says %q", err, test.want)
				}
				return
			}
			if err != nil || counted.acked.Load() != int64(made) || counted.sent.Load() != int64(made) || seen != made {
				t.Errorf("made %d, sent %d, the server read %d, acknowledged %d: %v", made, counted.sent.Load(), seen, counted.acked.Load(), err)
			}
		})
	}
}

// TestContextByHand holds the frames that are made by hand against the contract's own encoder.
func TestContextByHand(t *testing.T) {
	for _, seq := range []uint64{0, 1, 23, 24, 255, 256, 65535, 65536, 1<<32 - 1} {
		want, err := wire.EncodeContext(wire.Context{Seq: seq, Values: map[string]any{"power.state": "on", "door.open": false, "temperature": int64(7), "alarm": false}}, fridgeAttributes)
		if got := appendContext(nil, seq, 7); err != nil || !bytes.Equal(got, want) {
			t.Errorf("seq %d: got %x, want %x, %v", seq, got, want, err)
		}
	}
}

func TestPicture(t *testing.T) {
	figures := []figure{
		versus("a < b", "µs", 2, 40, "one & only"), versus("a < b", "µs", 2, 1, "another"), alone("no peer", "µs", 3),
		exceeds("more", "1/s", 3, 0, "too small to be measured"), exceeds("more", "1/s", 3000, 1, "third"),
	}
	raw := picture(figures, time.Unix(0, 0))
	bars, titles := 0, []string{}
	for d := xml.NewDecoder(bytes.NewReader(raw)); ; {
		token, err := d.Token()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatalf("%v\n%s", err, raw)
		}
		e, ok := token.(xml.StartElement)
		if !ok {
			continue
		}
		for _, a := range e.Attr {
			if a.Name.Local == "class" && (a.Value == "better" || a.Value == "worse") {
				bars++
			}
		}
		if e.Name.Local == "title" {
			var words string
			if err := d.DecodeElement(&words, &e); err != nil {
				t.Fatal(err)
			}
			titles = append(titles, words)
		}
	}
	want := []string{"Porchlight beside its peers", "a < b, against one & only: 20 times (2 to 40 µs)", "a < b, against another: 0.5 times (2 to 1 µs)", "more, against third: 3000 times (3k to 1 1/s)"}
	if bars != 3 || fmt.Sprint(titles) != fmt.Sprint(want) {
		t.Errorf("%d bars, titles %q, want %q", bars, titles, want)
	}
}

// TestSpentCountsAll sees that a child's processor time has all its threads, and what its memory is.
func TestSpentCountsAll(t *testing.T) {
	p, err := startPinned("sh", "sh", "-c", "i=0; while [ $i -lt 300000 ]; do i=$((i+1)); done; echo done; while :; do sleep 0.1; done")
	if err != nil {
		t.Fatal(err)
	}
	defer p.stop()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	for p.said.String() != "done\n" {
		if ctx.Err() != nil {
			t.Fatalf("it says %q", p.said.String())
		}
		time.Sleep(time.Millisecond)
	}
	spent, err := p.spent()
	if err != nil || spent < 10*time.Millisecond {
		t.Errorf("it has spent %v, %v", spent, err)
	}
	if n, err := p.resident(); err != nil || n < 100<<10 {
		t.Errorf("it holds %d bytes, %v", n, err)
	}
}
