package api

import (
	"fmt"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"porchlight/broker/delivery"
	"porchlight/device"
	"porchlight/policy"
)

func TestSend(t *testing.T) {
	w := newWorld(t, Options{})
	tests := map[string]struct {
		edit   func(r *request, m map[string]any)
		status int
		slug   string // of the problem
		field  string // of its first error
		rule   string
	}{
		"good":                 {func(*request, map[string]any) {}, 202, "", "", ""},
		"no key":               {func(r *request, _ map[string]any) { r.key = "" }, 401, "unauthorized", "", ""},
		"wrong key":            {func(r *request, _ map[string]any) { r.key = "plk_" + strings.Repeat("A", 43) }, 401, "unauthorized", "", ""},
		"another scheme":       {func(r *request, _ map[string]any) { r.header["Authorization"] = "Basic " + r.key; r.key = "" }, 401, "unauthorized", "", ""},
		"no idempotency key":   {func(r *request, _ map[string]any) { r.idempotency = "" }, 400, "key", "Idempotency-Key", "required"},
		"key with a space":     {func(r *request, _ map[string]any) { r.idempotency = "a b" }, 400, "key", "Idempotency-Key", "syntax"},
		"key too long":         {func(r *request, _ map[string]any) { r.idempotency = strings.Repeat("k", 129) }, 400, "key", "Idempotency-Key", "syntax"},
		"no purpose":           {func(_ *request, m map[string]any) { delete(m, "purpose") }, 422, "invalid", "purpose", "required"},
		"unknown purpose":      {func(_ *request, m map[string]any) { m["purpose"] = "ads" }, 422, "invalid", "purpose", "unknown"},
		"undeclared purpose":   {func(_ *request, m map[string]any) { m["purpose"] = "research" }, 422, "invalid", "purpose", "declared"},
		"unknown class":        {func(_ *request, m map[string]any) { m["classes"] = []string{"toaster"} }, 422, "invalid", "classes", "unknown"},
		"unknown field":        {func(_ *request, m map[string]any) { m["catgory"] = "x" }, 422, "invalid", "catgory", "unknown"},
		"expired":              {func(_ *request, m map[string]any) { m["not_after"] = "2026-12-01T11:59:59Z" }, 422, "invalid", "not_after", "range"},
		"not a time":           {func(_ *request, m map[string]any) { m["not_after"] = "soon" }, 422, "invalid", "not_after", "type"},
		"no words":             {func(_ *request, m map[string]any) { m["texts"] = []any{} }, 422, "invalid", "texts", "required"},
		"condition mistyped":   {func(_ *request, m map[string]any) { m["when"] = []any{condition("door.open", "eq", "open")} }, 422, "invalid", "when[0].value", "type"},
		"condition on nothing": {func(_ *request, m map[string]any) { m["when"] = []any{condition("door.opened", "eq", true)} }, 422, "invalid", "when[0].attribute", "unknown"},
		"not JSON":             {func(r *request, _ map[string]any) { r.body = "{" }, 422, "invalid", "body", "syntax"},
		"no body":              {func(r *request, _ map[string]any) { r.body = " " }, 422, "invalid", "body", "syntax"},
		"two objects":          {func(r *request, _ map[string]any) { r.body = text(good()) + "{}" }, 422, "invalid", "body", "syntax"},
		"as large as may be":   {func(r *request, _ map[string]any) { r.body = pad(delivery.MaxSubmission) }, 202, "", "", ""},
		"too large":            {func(r *request, _ map[string]any) { r.body = pad(delivery.MaxSubmission + 1) }, 413, "too-large", "", ""},
		"wrong method":         {func(r *request, _ map[string]any) { r.method = "PUT" }, 405, "method", "", ""},
		"wrong address":        {func(r *request, _ map[string]any) { r.path = "/v1/message" }, 404, "not-found", "", ""},
		"outside":              {func(r *request, _ map[string]any) { r.path = "/favicon.ico" }, 404, "not-found", "", ""},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			r := request{method: "POST", path: "/v1/messages", key: w.keys["fresh"], idempotency: "key-" + strings.ReplaceAll(name, " ", "-"), header: map[string]string{}}
			m := good()
			test.edit(&r, m)
			if r.body == "" {
				r.body = text(m)
			}
			a := w.do(r)
			if a.status != test.status || a.problem.slug() != test.slug {
				t.Fatalf("%s %s with %.300s: got %v, want %d %s", r.method, r.path, r.body, a, test.status, test.slug)
			}
			var first delivery.InvalidError
			if len(a.problem.Errors) > 0 {
				first = *a.problem.Errors[0]
			}
			if first.Field != test.field || first.Rule != test.rule {
				t.Errorf("%.300s: got the error %+v, want field %q and rule %q", r.body, first, test.field, test.rule)
			}
			if test.field != "" && (first.Why == "" || first.Fix == "") {
				t.Errorf("%.300s: the error %+v does not say why and what to do", r.body, first)
			}
			if missing := name == "no idempotency key"; missing != (first.Why == "is missing") && first.Field == "Idempotency-Key" {
				t.Errorf("%s: the key %s", name, first.Why)
			}
			if a.status == 401 && a.header.Get("WWW-Authenticate") == "" {
				t.Error("401 without WWW-Authenticate")
			}
			if a.status >= 400 && a.problem.Status != a.status {
				t.Errorf("the problem says %d, the answer %d", a.problem.Status, a.status)
			}
		})
	}
}

func condition(attribute, op string, value any) map[string]any {
	return map[string]any{"class": "fridge", "attribute": attribute, "op": op, "value": value}
}

// pad is a good message of n bytes.
func pad(n int) string {
	s := text(good())
	return s[:1] + strings.Repeat(" ", n-len(s)) + s[1:]
}

// What HTTP says is wrong with a message is what the parser and the Desk say: every door gives
// the same errors.
func TestErrorsAreTheDesksOwn(t *testing.T) {
	w := newWorld(t, Options{})
	m := good()
	m["purpose"], m["texts"], m["display_seconds"] = "research", []any{map[string]any{"language": "?", "body": ""}}, 9999
	s, err := delivery.ParseSubmission([]byte(text(m)))
	if err != nil {
		t.Fatal(err)
	}
	brands, err := w.desk.Brands(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	_, err = w.desk.Accept(t.Context(), brands[0], "k", s)
	want := problem(err).Errors
	a := w.do(request{method: "POST", path: "/v1/messages", key: w.keys["fresh"], idempotency: "k", body: text(m)})
	if len(want) < 4 || text(a.problem.Errors) != text(want) {
		t.Errorf("HTTP says\n%s\nthe Desk\n%s", text(a.problem.Errors), text(want))
	}
}

func TestIdempotency(t *testing.T) {
	w := newWorld(t, Options{})
	first := w.send("one")
	if first.status != 202 || first.header.Get("Idempotent-Replayed") != "" {
		t.Fatalf("got %v with Idempotent-Replayed %q, want 202 without", first, first.header.Get("Idempotent-Replayed"))
	}
	w.now = w.now.Add(30 * time.Minute)
	again := w.send("one")
	if again.status != first.status || again.body != first.body || again.header.Get("Idempotent-Replayed") != "true" {
		t.Errorf("sent again: got %v, Idempotent-Replayed %q; want the first answer %v", again, again.header.Get("Idempotent-Replayed"), first)
	}
	other := good()
	other["category"] = "news"
	a := w.do(request{method: "POST", path: "/v1/messages", key: w.keys["fresh"], idempotency: "one", body: text(other)})
	if a.status != 422 || a.problem.slug() != "conflict" {
		t.Errorf("same key, other body: got %v, want 422 conflict", a)
	}
	// After its end, too: the answer is that of then.
	w.now = w.now.Add(24 * time.Hour)
	if late := w.send("one"); late.status != first.status || late.body != first.body {
		t.Errorf("sent again after its end: got %v, want the first answer %v", late, first)
	}
	if n := len(w.list("").Messages); n != 1 {
		t.Errorf("there are %d messages, want 1", n)
	}
	// Another brand's keys are its own.
	w.now = noon
	w.brand("other", 3)
	a = w.do(request{method: "POST", path: "/v1/messages", key: w.keys["other"], idempotency: "one", body: text(other)})
	if a.status != 202 || a.message.ID == first.message.ID {
		t.Errorf("another brand with the same key: got %v, want a message of its own", a)
	}
}

func TestOneKeySentAtOnceIsOneMessage(t *testing.T) {
	w := newWorld(t, Options{})
	answers := make([]answer, 8)
	var all sync.WaitGroup
	for i := range answers {
		all.Go(func() { answers[i] = w.send("same") })
	}
	all.Wait()
	fresh := 0
	for _, a := range answers {
		if a.status != 202 || a.body != answers[0].body {
			t.Errorf("got %v and %v, want one answer", a, answers[0])
		}
		if a.header.Get("Idempotent-Replayed") == "" {
			fresh++
		}
	}
	if fresh != 1 {
		t.Errorf("%d answers were not marked as replayed, want 1", fresh)
	}
}

func (w *world) list(query string) (out struct {
	Messages []Message
	Next     string
}) {
	w.t.Helper()
	a := w.do(request{method: "GET", path: "/v1/messages" + query, key: w.keys["fresh"]})
	if a.status != 200 {
		w.t.Fatalf("list: got %v, want 200", a)
	}
	if err := jsonInto(a.body, &out); err != nil {
		w.t.Fatal(err)
	}
	return out
}

func TestLookAndWithdraw(t *testing.T) {
	w := newWorld(t, Options{})
	w.brand("other", 3)
	m := w.mustSend("one")
	path := "/v1/messages/" + m.ID
	if a := w.do(request{method: "GET", path: path, key: w.keys["fresh"]}); a.status != 200 || a.message != m {
		t.Errorf("look: got %v, want %+v", a, m)
	}
	for _, method := range []string{"GET", "DELETE"} {
		for about, a := range map[string]answer{
			"another brand's":   w.do(request{method: method, path: path, key: w.keys["other"]}),
			"one that is not":   w.do(request{method: method, path: "/v1/messages/" + device.NewMessageID(noon).String(), key: w.keys["fresh"]}),
			"something else's":  w.do(request{method: method, path: "/v1/messages/x", key: w.keys["fresh"]}),
			"without being one": w.do(request{method: method, path: path}),
		} {
			want := map[string]int{"another brand's": 404, "one that is not": 404, "something else's": 422, "without being one": 401}[about]
			if a.status != want {
				t.Errorf("%s %s: got %v, want %d", method, about, a, want)
			}
		}
	}
	for range 2 {
		if a := w.do(request{method: "DELETE", path: path, key: w.keys["fresh"]}); a.status != 200 || a.message.State != "withdrawn" {
			t.Errorf("withdraw: got %v, want 200 withdrawn", a)
		}
	}
	if a := w.do(request{method: "GET", path: path, key: w.keys["fresh"]}); a.message.State != "withdrawn" {
		t.Errorf("look after withdrawal: got %v, want withdrawn", a)
	}
	late := w.mustSend("two")
	w.now = w.now.Add(2 * time.Hour)
	if a := w.do(request{method: "GET", path: "/v1/messages/" + late.ID, key: w.keys["fresh"]}); a.message.State != "expired" {
		t.Errorf("look after its end: got %v, want expired", a)
	}
}

func TestList(t *testing.T) {
	w := newWorld(t, Options{})
	w.brand("other", 3)
	var want []string
	for _, key := range []string{"one", "two", "three"} {
		want = append(want, w.mustSend(key).ID)
	}
	var got []string
	query := "?limit=2"
	for pages := 0; ; pages++ {
		page := w.list(query)
		for _, m := range page.Messages {
			got = append(got, m.ID)
		}
		if page.Next == "" {
			break
		}
		if query = "?limit=2&after=" + page.Next; pages > 3 {
			t.Fatal("the list does not end")
		}
	}
	if !slices.Equal(got, want) {
		t.Errorf("listed %v, want %v", got, want)
	}
	if all := w.list(""); len(all.Messages) != 3 || all.Next != "" {
		t.Errorf("the whole list is %+v, want 3 and no next", all)
	}
	if a := w.do(request{method: "GET", path: "/v1/messages", key: w.keys["other"]}); a.body != "{\"messages\":[]}\n" {
		t.Errorf("another brand lists %q, want none", a.body)
	}
	for _, query := range []string{"?limit=0", "?limit=201", "?limit=many", "?after=x", "?after=" + device.NewMessageID(noon).String()} {
		a := w.do(request{method: "GET", path: "/v1/messages" + query, key: w.keys["fresh"]})
		field := query[1:strings.IndexByte(query, '=')]
		if a.status != 422 || len(a.problem.Errors) != 1 || a.problem.Errors[0].Field != field {
			t.Errorf("list %s: got %v, want 422 about %s", query, a, field)
		}
	}
}

func TestQuota(t *testing.T) {
	w := newWorld(t, Options{})
	first := w.mustSend("1")
	w.mustSend("2")
	w.mustSend("3")
	a := w.send("4")
	if a.status != 429 || a.problem.slug() != "quota" || a.header.Get("Retry-After") != "" {
		t.Errorf("over the quota: got %v with Retry-After %q, want 429 quota without", a, a.header.Get("Retry-After"))
	}
	for _, want := range []string{"which is 3", "withdraw some", "not_after", "brand set ID --quota N"} {
		if !strings.Contains(a.problem.Detail, want) {
			t.Errorf("over the quota: %q does not say %q", a.problem.Detail, want)
		}
	}
	w.do(request{method: "DELETE", path: "/v1/messages/" + first.ID, key: w.keys["fresh"]})
	w.mustSend("4")
}

func TestRate(t *testing.T) {
	w := newWorld(t, Options{Limit: NewLimiter(0.001, 2).Allow})
	w.brand("other", 3)
	w.mustSend("1")
	w.mustSend("2")
	a := w.send("3")
	if a.status != 429 || a.problem.slug() != "rate" || !strings.Contains(a.problem.Detail, "Retry-After") {
		t.Fatalf("over the rate: got %v with detail %q, want 429 rate and when to send again", a, a.problem.Detail)
	}
	if !regexp.MustCompile(`^(9\d\d|1000)$`).MatchString(a.header.Get("Retry-After")) {
		t.Errorf("Retry-After is %q, want nearly 1000", a.header.Get("Retry-After"))
	}
	if a := w.do(request{method: "GET", path: "/v1/messages", key: w.keys["other"]}); a.status != 200 {
		t.Errorf("another brand: got %v, want 200", a)
	}
	if a := w.do(request{method: "GET", path: "/healthz"}); a.status != 200 {
		t.Errorf("/healthz: got %v, want 200", a)
	}
}

func TestLimiter(t *testing.T) {
	l := NewLimiter(0.0001, 50)
	var mu sync.Mutex
	allowed := map[device.BrandID]int{}
	var all sync.WaitGroup
	for i := range 200 {
		all.Go(func() {
			b := device.BrandID(fmt.Sprint("brand-", i%2))
			ok, after := l.Allow(b)
			if !ok && after <= 0 {
				t.Errorf("refused without saying until when: %s", after)
			}
			mu.Lock()
			defer mu.Unlock()
			if ok {
				allowed[b]++
			}
		})
	}
	all.Wait()
	if allowed["brand-0"] != 50 || allowed["brand-1"] != 50 {
		t.Errorf("allowed %v, want 50 each", allowed)
	}
}

// Who is refused is not put back further by asking again.
func TestRefusalsCostNothing(t *testing.T) {
	l := NewLimiter(0.001, 1)
	if ok, _ := l.Allow("fresh"); !ok {
		t.Fatal("the first was refused")
	}
	for range 10 {
		if ok, after := l.Allow("fresh"); ok || after > 1000*time.Second {
			t.Fatalf("got %v, %s; want a refusal for at most 1000 s", ok, after)
		}
	}
}

var ids = regexp.MustCompile(`[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}`)

// What a brand hears must not depend on what is inside homes: two gateways that differ in nothing
// else give the same answers, byte for byte, but for the random part of IDs.
func TestBrandsAreBlind(t *testing.T) {
	story := func(people func(w *world)) string {
		w := newWorld(t, Options{})
		people(w)
		var told strings.Builder
		note := func(a answer) {
			header := a.header.Clone()
			header.Del("Date") // the machine's clock, not the gateway's
			fmt.Fprintln(&told, a.status, header, ids.ReplaceAllString(a.body, "ID"))
		}
		a := w.send("one")
		note(a)
		note(w.send("one"))
		other := good()
		other["category"] = "news"
		note(w.do(request{method: "POST", path: "/v1/messages", key: w.keys["fresh"], idempotency: "one", body: text(other)}))
		note(w.do(request{method: "POST", path: "/v1/messages", key: w.keys["fresh"], idempotency: "two", body: "{}"}))
		note(w.do(request{method: "GET", path: "/v1/messages/" + a.message.ID, key: w.keys["fresh"]}))
		note(w.send("three"))
		note(w.do(request{method: "GET", path: "/v1/messages?limit=1", key: w.keys["fresh"]}))
		note(w.do(request{method: "DELETE", path: "/v1/messages/" + a.message.ID, key: w.keys["fresh"]}))
		note(w.do(request{method: "GET", path: "/v1/messages", key: w.keys["fresh"]}))
		w.send("four")
		w.send("five")
		note(w.send("six")) // over the quota
		return told.String()
	}
	empty := story(func(*world) {})
	if !strings.Contains(empty, "202 ") || !strings.Contains(empty, "429 ") {
		t.Fatalf("the story does not tell enough:\n%s", empty)
	}
	choose := func(w *world, choice policy.Choice) {
		for _, name := range []string{"oak", "elm"} {
			_, _, err := w.desk.AddHome(t.Context(), delivery.HomeSpec{Name: name, Zone: "Europe/Zurich", People: []delivery.PersonSpec{{Name: "Ann", Age: device.Adult}, {Name: "Ben", Age: device.Adult}},
				Devices: []delivery.DeviceSpec{{Class: device.TV}, {Class: device.Car, Owner: "Ann"}}})
			if err != nil {
				t.Fatal(err)
			}
			if err := w.desk.Choose(t.Context(), name, "", "fresh", policy.Marketing, choice); err != nil {
				t.Fatal(err)
			}
		}
	}
	for name, people := range map[string]func(w *world){
		"two homes that said yes": func(w *world) { choose(w, policy.Given) },
		"two homes that said no":  func(w *world) { choose(w, policy.Refused) },
		"homes that mute everything": func(w *world) {
			choose(w, policy.Given)
			if err := w.desk.SetPreferences(t.Context(), "oak", delivery.Preferences{Mutes: []delivery.NamedMute{{}}}); err != nil {
				t.Fatal(err)
			}
		},
	} {
		if got := story(people); got != empty {
			t.Errorf("with %s a brand hears\n%s\nwithout any home\n%s", name, got, empty)
		}
	}
}

func TestRemovedBrandIsNobody(t *testing.T) {
	w := newWorld(t, Options{})
	if err := w.desk.RemoveBrand(t.Context(), "fresh"); err != nil {
		t.Fatal(err)
	}
	if a := w.send("one"); a.status != http.StatusUnauthorized {
		t.Errorf("got %v, want 401", a)
	}
}
