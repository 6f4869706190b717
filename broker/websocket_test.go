package broker

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"testing"
	"time"
)

// A stranger at the WebSocket listener has one request: it cannot keep its socket by asking again.
func TestWebSocketStrangerAsksOnce(t *testing.T) {
	w := begin(t, nil)
	c, err := net.Dial("tcp", w.Addr("ws").String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(patient))
	r := bufio.NewReader(c)
	io.WriteString(c, "GET / HTTP/1.1\r\nHost: x\r\n\r\n")
	resp, err := http.ReadResponse(r, nil)
	if err != nil {
		t.Fatal(err)
	}
	io.Copy(io.Discard, resp.Body)
	io.WriteString(c, "GET / HTTP/1.1\r\nHost: x\r\n\r\n")
	if resp, err = http.ReadResponse(r, nil); err == nil {
		t.Errorf("a second request was answered with %s", resp.Status)
	}
}
