package api

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"net"
	"net/http"
	"net/netip"
	"os"
	"runtime"
	"runtime/debug"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"go.opentelemetry.io/otel/trace"
	"go.opentelemetry.io/otel/trace/noop"

	"porchlight/broker/delivery"
	"porchlight/device"
	"porchlight/device/store"
	"porchlight/policy"
)

// hold keeps the writer of the store busy until end is called.
func (w *world) hold() (end func()) {
	w.t.Helper()
	began, stop, ended := make(chan struct{}), make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		_ = w.db.Update(func(*store.Tx) error { close(began); <-stop; return nil })
	}()
	<-began
	return func() { close(stop); <-ended }
}

// waiting waits until n units wait for the writer.
func (w *world) waiting(n int) {
	for have := 0; have < n; have, _ = w.db.Waiting() {
		runtime.Gosched()
	}
}

func small(o *store.Options) { o.Queue = 8 }

// shed is what the metric has for a reason.
func (w *world) shedFor(reason string) (n int) {
	w.t.Helper()
	page := w.do(request{method: "GET", path: "/metrics", inside: true}).body
	_, after, ok := strings.Cut(page, "\nporchlight_http_shed_total{reason=\""+reason+"\"} ")
	if !ok {
		return 0
	}
	line, _, _ := strings.Cut(after, "\n")
	n, err := strconv.Atoi(line)
	if err != nil {
		w.t.Errorf("shed: %q", line)
	}
	return n
}

// refusedAs fails unless a is a 503 of that kind that says when to come again.
func (a answer) refusedAs(t *testing.T, slug string) {
	t.Helper()
	if a.status != 503 || a.problem.slug() != slug || a.header.Get("Retry-After") == "" {
		t.Errorf("got %v with Retry-After %q, want 503 %s", a, a.header.Get("Retry-After"), slug)
	}
}

// While as many messages are on their way to the disk as may be, the next are told to come again, and what was let in is
// acknowledged once it is on disk; to take back, and to say no, is never refused.
func TestTooManyMessagesAtOnce(t *testing.T) {
	w := newWorld(t, Options{}, small)
	w.brand("many", 100)
	first := w.sendAs("many", "first")
	if first.status != 202 {
		t.Fatalf("got %v", first)
	}
	if _, _, err := w.desk.AddHome(t.Context(), delivery.HomeSpec{Name: "oak", Zone: "Europe/Zurich"}); err != nil {
		t.Fatal(err)
	}
	if err := w.desk.Choose(t.Context(), "oak", "", "many", policy.Marketing, policy.Given); err != nil {
		t.Fatal(err)
	}
	end := w.hold()
	answers := make(chan answer, 5)
	for i := range 4 {
		go func() { answers <- w.sendAs("many", fmt.Sprint("k", i)) }()
	}
	w.waiting(4)
	for range 3 {
		w.sendAs("many", "more").refusedAs(t, "busy")
	}
	go func() {
		answers <- w.do(request{method: "DELETE", path: "/v1/messages/" + first.message.ID, key: w.keys["many"]})
	}()
	no := make(chan error, 1)
	go func() {
		no <- w.desk.Choose(context.Background(), "oak", "", "many", policy.Marketing, policy.Withdrawn)
	}()
	w.waiting(6)
	if got := w.do(request{method: "GET", path: "/v1/messages/" + first.message.ID, key: w.keys["many"]}); got.status != 200 {
		t.Errorf("GET: got %v", got)
	}
	end()
	if err := <-no; err != nil {
		t.Errorf("the home's no: %v", err)
	}
	accepted, withdrawn := 0, 0
	for range 5 {
		switch a := <-answers; {
		case a.status == 202:
			accepted++
		case a.status == 200 && a.message.State == "withdrawn":
			withdrawn++
		default:
			t.Errorf("got %v", a)
		}
	}
	if accepted != 4 || withdrawn != 1 {
		t.Errorf("%d accepted, %d withdrawn, want 4 and 1", accepted, withdrawn)
	}
	if a := w.sendAs("many", "more"); a.status != 202 {
		t.Errorf("afterwards: got %v", a)
	}
	if n := w.shedFor("brands"); n != 3 {
		t.Errorf("%d were counted as shed, want 3", n)
	}
}

// While the homes have more for the disk than it takes, brands wait outside.
func TestStoreIsFullOfWhatHomesSay(t *testing.T) {
	w := newWorld(t, Options{}, small)
	end := w.hold()
	said := make(chan error, 6)
	for range 6 {
		go func() { said <- w.db.Update(func(*store.Tx) error { return nil }) }()
	}
	w.waiting(6)
	w.sendAs("fresh", "k").refusedAs(t, "busy")
	end()
	for range 6 {
		if err := <-said; err != nil {
			t.Error(err)
		}
	}
	if a := w.sendAs("fresh", "k"); a.status != 202 {
		t.Errorf("afterwards: got %v", a)
	}
	if n := w.shedFor("store"); n != 1 {
		t.Errorf("%d were counted as shed, want 1", n)
	}
}

var ballast []byte

// Near to what GOMEMLIMIT allows no message is taken in; to look and to take back goes on.
func TestMemoryIsNearItsLimit(t *testing.T) {
	w := newWorld(t, Options{})
	first := w.send("first")
	ballast = make([]byte, 256<<20)
	for i := 0; i < len(ballast); i += 4096 {
		ballast[i] = 1
	}
	runtime.GC()
	defer debug.SetMemoryLimit(debug.SetMemoryLimit(270 << 20))
	var a answer
	for began := time.Now(); time.Since(began) < 30*time.Second; {
		if a = w.sendAs("fresh", "second"); a.status == 503 { // it is looked at ten times a second
			break
		}
	}
	a.refusedAs(t, "busy")
	for _, method := range []string{"GET", "DELETE"} {
		if a := w.do(request{method: method, path: "/v1/messages/" + first.message.ID, key: w.keys["fresh"]}); a.status != 200 {
			t.Errorf("%s: got %v", method, a)
		}
	}
	if n := w.shedFor("memory"); n == 0 {
		t.Error("nothing was counted as shed")
	}
	ballast = nil
	debug.SetMemoryLimit(math.MaxInt64)
	runtime.GC()
	for began := time.Now(); a.status == 503 && time.Since(began) < 30*time.Second; {
		a = w.sendAs("fresh", "third")
	}
	if a.status != 202 {
		t.Errorf("afterwards: got %v", a)
	}
}

// What the disk does not take for long is answered all the same: it may be on disk later, and the same key tells.
func TestAnswerIsLate(t *testing.T) {
	defer func(was time.Duration) { patience = was }(patience)
	patience = 50 * time.Millisecond
	w := newWorld(t, Options{})
	patience = 50 * time.Millisecond
	end := w.hold()
	a := w.sendAs("fresh", "k")
	for range 3 {
		w.sendAs("fresh", "k").refusedAs(t, "late")
	}
	a.refusedAs(t, "late")
	if a.problem.Detail != "it may be taken in all the same" {
		t.Errorf("detail %q", a.problem.Detail)
	}
	end()
	patience = 30 * time.Second
	if a = w.sendAs("fresh", "k"); a.status != 202 || a.header.Get("Idempotent-Replayed") != "true" {
		t.Errorf("afterwards: got %v, Idempotent-Replayed %q", a, a.header.Get("Idempotent-Replayed"))
	}
	if n := w.shedFor("late"); n != 4 {
		t.Errorf("%d were counted as late, want 4", n)
	}
	w.stop()
	if n := strings.Count(w.log.String(), "requests not served"); n != 1 || strings.Contains(w.log.String(), "level=ERROR") {
		t.Errorf("%d lines in the log tell of it, want 1, and no error:\n%s", n, w.log)
	}
}

// gone waits until the answers to n requests with a route have been counted as unheard.
func (w *world) gone(route string, n int) {
	w.t.Helper()
	want := fmt.Sprintf("\nporchlight_http_requests_total{code=\"499\",route=%q} %d\n", route, n)
	for began := time.Now(); ; {
		page := w.do(request{method: "GET", path: "/metrics", inside: true}).body
		if strings.Contains(page, "\nporchlight_http_requests_total{code=\"500\"") {
			w.t.Fatal("it is counted as a fault of the gateway")
		}
		if strings.Contains(page, want) {
			return
		}
		if time.Since(began) > 30*time.Second {
			w.t.Fatalf("the metrics do not have %s", want)
		}
	}
}

// ear is told the context of each request with a route that was let in.
type ear struct {
	noop.Tracer
	route string
	heard chan context.Context
}

func (e ear) Start(ctx context.Context, name string, o ...trace.SpanStartOption) (context.Context, trace.Span) {
	if name == e.route {
		e.heard <- ctx
	}
	return e.Tracer.Start(ctx, name, o...)
}

// Who hangs up before the answer makes no fault of the gateway's: neither while its key is looked up, nor later.
func TestClientHangsUp(t *testing.T) {
	const look, takeBack = "GET /v1/messages/{id}", "DELETE /v1/messages/{id}"
	asked := make(chan context.Context, 1)
	w := newWorld(t, Options{Tracer: ear{route: takeBack, heard: asked}})
	w.brand("unseen", 100)
	m := w.mustSend("one")
	inside, leave := make(chan struct{}), make(chan struct{})
	let := sync.OnceFunc(func() { close(leave) })
	var readers sync.WaitGroup
	defer func() { let(); readers.Wait() }()
	for range 2 * runtime.NumCPU() { // all that can read
		readers.Go(func() {
			_ = w.db.View(context.Background(), func(*store.Tx) error { inside <- struct{}{}; <-leave; return nil })
		})
		<-inside
	}
	asks := func(method string, brand device.BrandID) knock {
		k := knocks(t, w.url, "127.0.0.1")
		fmt.Fprintf(k, "%s /v1/messages/%s HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %s\r\n\r\n", method, m.ID, w.keys[brand])
		return k
	}
	for n, brand := range []device.BrandID{"unseen", "fresh"} { // the key of the second is known
		k := asks("GET", brand)
		for began := time.Now(); !strings.Contains(w.do(request{method: "GET", path: "/metrics", inside: true}).body, "\nporchlight_http_requests_in_flight 1\n"); {
			if time.Since(began) > 30*time.Second {
				t.Fatal("the request does not arrive")
			}
		}
		k.Close()
		w.gone(look, n+1)
	}
	let()
	readers.Wait()

	end := sync.OnceFunc(w.hold())
	defer end()
	k := asks("DELETE", "fresh")
	w.waiting(1)
	k.Close()
	<-(<-asked).Done() // the door has noticed
	end()
	w.gone(takeBack, 1)
	if a := w.do(request{method: "GET", path: "/v1/messages/" + m.ID, key: w.keys["fresh"]}); a.message.State != "withdrawn" {
		t.Errorf("what it asked for was not done: %v", a)
	}
	w.stop()
	if strings.Contains(w.log.String(), "level=ERROR") || !strings.Contains(w.log.String(), "level=DEBUG msg=\"request not answered\"") {
		t.Errorf("the log has\n%s", w.log)
	}
}

// A panic on the way to the disk is a fault of that request alone.
func TestWithinPanics(t *testing.T) {
	defer func() {
		if p := recover(); p != "boom" {
			t.Errorf("recovered %v, want boom", p)
		}
	}()
	_, _ = within(func() (int, error) { panic("boom") })
	t.Error("it went on")
}

func TestWithinOutlives(t *testing.T) {
	_, err := within(func() (delivery.Answer, error) { runtime.Goexit(); return delivery.Answer{}, nil })
	if err == nil {
		t.Error("a goroutine that ended is an answer")
	}
	if got := late(context.Background(), io.EOF); got != io.EOF {
		t.Errorf("late = %v", got)
	}
	ctx, cancel := context.WithTimeout(context.Background(), -1)
	defer cancel()
	if got := late(ctx, io.EOF); !errors.Is(got, errLate) {
		t.Errorf("late = %v", got)
	}
}

// knock is a connection from an address of this machine to a listener.
type knock struct {
	net.Conn
	r *bufio.Reader
}

func knocks(t *testing.T, at, from string) knock {
	t.Helper()
	d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(from)}}
	c, err := d.DialContext(t.Context(), "tcp", strings.TrimPrefix(at, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return knock{c, bufio.NewReader(c)}
}

// served reports whether a request is answered; otherwise the connection has ended.
func (k knock) served(t *testing.T) bool {
	t.Helper()
	k.SetDeadline(time.Now().Add(30 * time.Second))
	fmt.Fprint(k, "GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
	resp, err := http.ReadResponse(k.r, nil)
	if errors.Is(err, os.ErrDeadlineExceeded) {
		t.Fatal("a connection is neither served nor closed")
	}
	if err != nil {
		return false
	}
	defer resp.Body.Close()
	if _, err := io.Copy(io.Discard, resp.Body); err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode == http.StatusOK
}

// A listener has so many connections, and one more when another has ended. Whoever opens one and says nothing is cut off.
func TestConnectionsAreBounded(t *testing.T) {
	inner, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l := &bounded{Listener: inner, most: 2, perAddress: 2, refused: func(string, netip.Addr) {}}
	s := server(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {}))
	ended := make(chan error)
	go func() { ended <- s.Serve(l) }()
	defer func() {
		s.Close()
		<-ended
	}()
	at := inner.Addr().String()
	one, two := knocks(t, at, "127.0.0.1"), knocks(t, at, "127.0.0.2")
	if !one.served(t) || !two.served(t) {
		t.Fatal("two were not served")
	}
	if knocks(t, at, "127.0.0.3").served(t) {
		t.Error("a third was served")
	}
	one.Close()
	for began := time.Now(); !knocks(t, at, "127.0.0.3").served(t); {
		if time.Since(began) > 30*time.Second {
			t.Fatal("nobody is served though one has left")
		}
	}
	if !two.served(t) {
		t.Error("who was there is not served any more")
	}
	if s.ReadHeaderTimeout <= 0 || s.ReadTimeout <= 0 || s.WriteTimeout <= 0 || s.IdleTimeout <= 0 {
		t.Error("somebody who is slow is waited for")
	}
}

// One address cannot take all connections: others, and those who run the gateway, are served all the same, and it is
// served again when one of its own has ended. What is refused is counted, and logged once.
func TestConnectionsOfOneAddress(t *testing.T) {
	w := newWorld(t, Options{PerAddress: 3})
	var mine []knock
	for range 3 {
		k := knocks(t, w.url, "127.0.0.1")
		if !k.served(t) {
			t.Fatal("three of one address were not served")
		}
		mine = append(mine, k)
	}
	for range 2 {
		if knocks(t, w.url, "127.0.0.1").served(t) {
			t.Error("a fourth of the same address was served")
		}
	}
	if !knocks(t, w.url, "127.0.0.2").served(t) {
		t.Error("another address is not served")
	}
	if n := w.shedFor("address"); n != 2 { // at the listener of the metrics
		t.Errorf("%d were counted, want 2", n)
	}
	mine[0].Close()
	for began := time.Now(); !knocks(t, w.url, "127.0.0.1").served(t); {
		if time.Since(began) > 30*time.Second {
			t.Fatal("the address is not served though one of its connections has ended")
		}
	}
	w.stop()
	if n := strings.Count(w.log.String(), "connection refused"); n != 1 || !strings.Contains(w.log.String(), "limit=address address=127.0.0.1 times=1") {
		t.Errorf("%d lines in the log tell of it, want 1:\n%s", n, w.log)
	}
}

// A line that every request could cause is written once a minute, with how many it stands for.
func TestSeldom(t *testing.T) {
	var s seldom
	began := time.Now()
	for _, step := range []struct {
		at    time.Duration
		times int // 0: no line
	}{{0, 1}, {time.Second, 0}, {59 * time.Second, 0}, {time.Minute, 3}, {2*time.Minute - 1, 0}, {2 * time.Minute, 2}, {time.Hour, 1}} {
		if times, ok := s.due(began.Add(step.at)); times != step.times || ok != (step.times > 0) {
			t.Errorf("after %s: a line for %d, %t; want %d", step.at, times, ok, step.times)
		}
	}
}

func (w *world) sendAs(brand device.BrandID, idempotency string) answer {
	w.t.Helper()
	return w.do(request{method: "POST", path: "/v1/messages", key: w.keys[brand], idempotency: idempotency, body: text(good())})
}
