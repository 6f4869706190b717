package api

import (
	"context"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"porchlight/broker/delivery"
	"porchlight/device/authority"
)

// operators is a socket of w's Desk, and a client of it.
func operators(t *testing.T, w *world, path string) (verb func(name, body string) answer, stop func()) {
	t.Helper()
	ca, err := authority.Open(t.TempDir(), nil, time.Now)
	if err != nil {
		t.Fatal(err)
	}
	o, err := NewOperators(w.desk, ca, path, Gateway{Version: "1", Data: "/data", Listeners: map[string]string{"http": "x"}}, func() {}, slog.New(slog.NewTextHandler(w.log, nil)))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	ended := make(chan error, 1)
	go func() { ended <- o.Run(ctx) }()
	stop = func() {
		cancel()
		if err, ok := <-ended; ok && err != nil {
			t.Errorf("Run: %v", err)
		}
		close(ended)
	}
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", path)
	}}}
	return func(name, body string) answer {
		t.Helper()
		resp, err := client.Post("http://porchlight/"+name, "application/json", strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		raw, err := io.ReadAll(resp.Body)
		if err != nil {
			t.Fatal(err)
		}
		a := answer{status: resp.StatusCode, header: resp.Header, body: string(raw)}
		if resp.StatusCode != 200 {
			if err := jsonInto(a.body, &a.problem); err != nil {
				t.Fatalf("%s %s answered %q: %v", name, body, raw, err)
			}
		}
		return a
	}, stop
}

func TestVerbs(t *testing.T) {
	w := newWorld(t, Options{})
	path := filepath.Join(t.TempDir(), "s")
	verb, stop := operators(t, w, path)
	defer stop()
	fi, err := os.Stat(path)
	if err != nil || fi.Mode().Perm() != 0o600 {
		t.Errorf("the socket's mode is %v, %v; want 0600", fi.Mode(), err)
	}
	tests := []struct {
		verb, body string
		status     int
		want       string // in the answer
	}{
		{"home/add", `{"name":"oak","zone":"Europe/Zurich","people":[{"name":"Ann","age":"adult"}],"rooms":["hall"],"devices":[{"class":"tv","id":"tv-1","controller":true}]}`, 200, `"token":"`},
		{"home/add", `{"name":"oak","zone":"Europe/Zurich"}`, 409, "taken"},
		{"home/add", `{"name":"elm","zone":"Mars/Olympus"}`, 422, "Mars/Olympus"},
		{"home/add", `{"name":"elm","zone":"Europe/Zurich","devices":[{"class":"toaster"}]}`, 400, "toaster"},
		{"home/add", `{"name":"elm","zoen":"Europe/Zurich"}`, 400, "zoen"},
		{"home/add", `{"name":"elm","zone":"Europe/Zurich"} {}`, 400, "more follows"},
		{"home/add", ``, 400, ""},
		{"home/list", `{}`, 200, `"name":"oak"`},
		{"home/add", `{"name":"elm","zone":"Europe/Zurich","people":["Ann"]}`, 400, "people"},
		{"person/add", `{"home":"oak","person":{"name":"Ben","age":"child","guardians":["Ann"]}}`, 200, `"id":2`},
		{"person/add", `{"home":"elm","person":{"name":"Ben","age":"adult"}}`, 404, "elm"},
		{"person/add", `{"home":"oak","person":{"name":"Zoe","age":"old"}}`, 400, "old"},
		{"person/set", `{"home":"oak","person":"Ben","change":{"languages":["de"],"frozen":true}}`, 200, `"languages":["de"]`},
		{"person/set", `{"home":"oak","person":"Ann","change":{"age":"teen"}}`, 409, "guardian"},
		{"person/set", `{"home":"oak","person":"Zoe","change":{"frozen":true}}`, 404, "Zoe"},
		{"person/list", `{"home":"oak"}`, 200, "Ann"},
		{"device/add", `{"home":"oak","device":{"class":"fridge","room":"hal"}}`, 422, `did you mean \"hall\"? (--new-room makes a new one)`},
		{"device/add", `{"home":"oak","device":{"class":"fridge","owner":"Ann","room":"kitchen","new_room":true}}`, 200, `"token":"`},
		{"device/add", `{"home":"oak","device":{"class":"fridge","id":"tv-1"}}`, 409, "tv-1"},
		{"device/add", `{"home":"oak","device":{"class":"fridge","id":"TV!"}}`, 422, "TV!"},
		{"device/list", `{"home":"oak"}`, 200, `"room_name":"kitchen"`},
		{"person/remove", `{"home":"oak","name":"Ann"}`, 409, "referred"},
		{"brand/add", `{"id":"corner-shop","name":"Corner Shop","purposes":["service"]}`, 200, `"key":"plk_`},
		{"brand/add", `{"id":"corner-shop","name":"Corner Shop","purposes":["service"]}`, 409, "taken"},
		{"brand/add", `{"id":"corner-2","name":"CORNER shop","purposes":["service"]}`, 409, "brand corner-shop has it"},
		{"brand/add", `{"id":"shop","name":"Shop","purposes":["selling"]}`, 422, "selling"},
		{"brand/list", `{}`, 200, `"quota":100`},
		{"consent/ask", `{"home":"oak","brand":"corner-shop","purpose":"service"}`, 409, "nobody can be asked just now"},
		{"consent/asks", `{"name":"oak"}`, 200, "null"},
		{"consent/choose", `{"home":"oak","brand":"corner-shop","purpose":"service","choice":"given"}`, 200, ""},
		{"consent/choose", `{"home":"oak","brand":"corner-shop","purpose":"marketing","choice":"given"}`, 422, "not declared"},
		{"consent/choose", `{"home":"oak","brand":"nobody","purpose":"marketing","choice":"given"}`, 404, "nobody"},
		{"consent/choose", `{"home":"oak","person":"Zoe","brand":"corner-shop","purpose":"service","choice":"given"}`, 404, "Zoe"},
		{"consent/list", `{"home":"oak"}`, 200, `"state":"given"`},
		{"consent/give", `{"home":"oak","person":"Ben","guardian":"Ann","brand":"corner-shop","purpose":"service","until":"30d"}`, 200, ""},
		{"consent/give", `{"home":"oak","brand":"corner-shop","purpose":"service","until":"soon"}`, 422, `"field":"until"`},
		{"consent/give", `{"home":"oak","person":"Ann","guardian":"Ben","brand":"corner-shop","purpose":"service"}`, 422, "no such guardian"},
		{"consent/history", `{"home":"oak"}`, 200, `"by":"Ann"`},
		{"consent/history", `{"home":"elm"}`, 404, "elm"},
		{"consent/withdrawal", `{"home":"oak","brand":"corner-shop","purpose":"service","choice":"withdrawn"}`, 404, "corner-shop"},
		{"consent/choose", `{"home":"oak","brand":"corner-shop","purpose":"service","choice":"withdrawn"}`, 200, ""},
		{"consent/withdrawal", `{"home":"oak","brand":"corner-shop","purpose":"service","choice":"withdrawn"}`, 200, `"state":"stop`},
		{"consent/withdrawals", `{"name":"oak"}`, 200, `"state":"stop`},
		{"notice/add", `{"brand":"corner-shop","version":0,"purposes":["service"],"retention_days":7,"legal_basis":"consent","valid_months":6}`, 200, `"version":2`},
		{"notice/add", `{"brand":"corner-shop","version":0,"purposes":["research"],"legal_basis":"consent","valid_months":6}`, 422, "research"},
		{"notice/add", `{"brand":"nobody","version":0,"purposes":["service"],"legal_basis":"consent","valid_months":6}`, 404, "nobody"},
		{"notice/list", `{"id":"corner-shop"}`, 200, `"widened":["retention"]`},
		{"held", `{"home":"oak"}`, 200, "[]"},
		{"held", `{"home":"oak","reader":"Zoe"}`, 404, "Zoe"},
		{"learnt", `{"home":"oak","language":"de"}`, 200, "[]"},
		{"ledger/head", `{"name":"oak"}`, 200, `"signed":"`},
		{"ledger/export", `{"name":"oak"}`, 200, `"`},
		{"ledger/key", `{"name":"elm"}`, 404, "elm"},
		{"receipt", `{"home":"oak"}`, 200, `BEGIN PUBLIC KEY`},
		{"receipt", `{"home":"oak","pos":1}`, 404, "position 1"},
		{"forget", `{"home":"oak"}`, 200, ""},
		{"forget", `{"home":"oak","brand":"nobody"}`, 404, "nobody"},
		{"preferences/set", `{"home":"oak","quiet":[{"from":"22:00","to":"07:00","owner":"Ann"}],"caps":[],"mutes":[{"class":"tv"}]}`, 200, ""},
		{"preferences/set", `{"home":"oak","quiet":[{"from":"24:00","to":"07:00"}]}`, 422, `"field":"quiet[0].from"`},
		{"preferences/set", `{"home":"oak","quiet":[{"form":"24:00","to":"07:00"}]}`, 400, "form"},
		{"preferences/show", `{"name":"oak"}`, 200, `"quiet":[{"from":"22:00","to":"07:00","owner":"Ann"}],"caps":[],"mutes":[{"class":"tv"}],"channels":[],"people":[{"name":"Ann",`},
		{"home/snooze", `{"home":"oak","until":"2h"}`, 200, `"until":`},
		{"home/snooze", `{"home":"oak","until":"later"}`, 422, "until"},
		{"device/add", `{"home":"oak","device":{"class":"tv","name":"guest"},"until":"later"}`, 422, `"field":"until"`},
		{"enrol/admit", `{"home":"oak","applicant":"e-1","code":"1","until":"later"}`, 422, `"field":"until"`},
		{"enrol/admit", `{"home":"oak","applicant":"e-1","code":"1","until":"tomorrow"}`, 404, "applicant"},
		{"home/show", `{"name":"oak"}`, 200, `"rooms":["hall","kitchen"]`},
		{"home/show", `{"name":"elm"}`, 404, "elm"},
		{"device/set", `{"id":"tv-1","change":{"name":"Big TV","owner":"Ann"}}`, 200, `"name":"Big TV"`},
		{"device/set", `{"id":"tv-1","change":{"owner":"Zoe"}}`, 404, "Zoe"},
		{"device/set", `{"id":"tv-2","change":{"name":"x"}}`, 404, "tv-2"},
		{"why", `{"id":"019a9f3e-5b7a-7c31-9d0e-0c6f8a1f2b3c"}`, 404, "019a9f3e"},
		{"why", `{"id":"x"}`, 400, "UUID"},
		{"status", `{}`, 200, `"homes":1`},
		{"device/remove", `{"id":"tv-1"}`, 200, ""},
		{"device/remove", `{"id":"tv-1"}`, 404, "tv-1"},
		{"person/remove", `{"home":"oak","name":"Ben"}`, 200, ""},
		{"brand/remove", `{"id":"corner-shop"}`, 200, ""},
		{"home/remove", `{"name":"oak"}`, 200, ""},
		{"home/remove", `{"name":"oak"}`, 404, "oak"},
		{"home/burn", `{}`, 404, "verb"},
	}
	for _, test := range tests {
		a := verb(test.verb, test.body)
		if a.status != test.status || !strings.Contains(a.body, test.want) {
			t.Errorf("%s %s: got %v, want %d with %q", test.verb, test.body, a, test.status, test.want)
		}
		if a.status != 200 && (a.header.Get("Content-Type") != "application/problem+json" || a.problem.Detail == "") {
			t.Errorf("%s %s: got %v, want a problem with a detail", test.verb, test.body, a)
		}
	}
}

func TestWhyOverTheSocket(t *testing.T) {
	w := newWorld(t, Options{})
	if _, _, err := w.desk.AddHome(t.Context(), delivery.HomeSpec{Name: "oak", Zone: "Europe/Zurich", Devices: []delivery.DeviceSpec{{Class: 1}}}); err != nil {
		t.Fatal(err)
	}
	m := w.mustSend("one")
	verb, stop := operators(t, w, filepath.Join(t.TempDir(), "s"))
	defer stop()
	var why delivery.Why
	if err := jsonInto(verb("why", `{"id":"`+m.ID+`","home":"oak"}`).body, &why); err != nil {
		t.Fatal(err)
	}
	if len(why.Homes) != 1 || len(why.Homes[0].Screens) != 1 || len(why.Homes[0].Screens[0].Words) == 0 {
		t.Errorf("why: got %+v, want one screen with words", why)
	}
}

func TestSocket(t *testing.T) {
	w := newWorld(t, Options{})
	dir := t.TempDir()
	path := filepath.Join(dir, "s")
	// Left behind by a gateway that was killed: nobody answers.
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	l.(*net.UnixListener).SetUnlinkOnClose(false)
	l.Close()
	verb, stop := operators(t, w, path)
	if a := verb("status", "{}"); a.status != 200 {
		t.Errorf("on a stale socket: got %v, want 200", a)
	}
	// While somebody answers, it is taken.
	if _, err := NewOperators(w.desk, nil, path, Gateway{}, nil, slog.Default()); err == nil || !strings.Contains(err.Error(), "answers there already") {
		t.Errorf("a second one: got %v, want an error", err)
	}
	if a := verb("status", "{}"); a.status != 200 {
		t.Errorf("after a second one was refused: got %v, want 200", a)
	}
	stop()
	left, err := os.ReadDir(dir)
	if err != nil || len(left) != 0 {
		t.Errorf("after the end there is %v, %v; want nothing", left, err)
	}
	// What is not a socket is not removed.
	if err := os.WriteFile(path, []byte("mine"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := NewOperators(w.desk, nil, path, Gateway{}, nil, slog.Default()); err == nil {
		t.Error("a file was taken for a socket")
	}
	if raw, err := os.ReadFile(path); err != nil || string(raw) != "mine" {
		t.Errorf("the file is %q, %v; want it as it was", raw, err)
	}
	if _, err := NewOperators(w.desk, nil, filepath.Join(dir, strings.Repeat("x", 120)), Gateway{}, nil, slog.Default()); err == nil || !strings.Contains(err.Error(), "shorter") {
		t.Errorf("a long path: got %v, want an error that says what to do", err)
	}
}
