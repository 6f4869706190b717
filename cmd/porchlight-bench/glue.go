package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	_ "embed"
	"encoding/hex"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	mqtt "github.com/eclipse/paho.mqtt.golang"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/open-policy-agent/opa/v1/runtime"
)

func init() { servers["opa"], servers["glue"] = serveOPA, serveGlue }

// serveOPA is OPA as a server, as its own command starts it, with the gateway's rules as its operator would write
// them.
func serveOPA(arg []string) error {
	f := flag.NewFlagSet("serve opa", flag.ContinueOnError)
	at := f.String("at", "", "listen there")
	folder := f.String("folder", "", "for the rules")
	if err := f.Parse(arg); err != nil {
		return err
	}
	rules := filepath.Join(*folder, "rules.rego")
	if err := os.WriteFile(rules, []byte(regoRules), 0o600); err != nil {
		return err
	}
	p := runtime.NewParams()
	p.Addrs, p.Paths, p.Output, p.Logging = &[]string{*at}, []string{rules}, io.Discard, runtime.LoggingConfig{Level: "error"}
	p.SkipBundleVerification, p.GracefulShutdownPeriod = true, 1
	rt, err := runtime.NewRuntime(context.Background(), p)
	if err != nil {
		return err
	}
	return rt.Serve(context.Background())
}

//go:embed glue.sql
var glueSchema string

// glue is what holds mosquitto, OPA and PostgreSQL together: the program that somebody would write who has no
// gateway. What it acknowledges is on disk: a message before its brand is answered, a delivery before it leaves,
// a receipt before it counts.
type glue struct {
	db     *pgxpool.Pool
	mqtt   mqtt.Client
	opa    string
	rules  http.Client
	brands map[string]glueBrand // by the hash of the API key: they seldom change
	work   chan glueMessage     // accepted, to be decided
	done   chan string          // receipts that are on disk, one line each, for whoever measures

	mu     sync.Mutex
	failed string // what went wrong last
}

type glueBrand struct {
	id, name string
	purposes []string
}

type glueMessage struct {
	id    string
	brand glueBrand
	body  glueSubmission
	now   time.Time
}

// glueSubmission is a message as a brand hands it in: what the bench uses of the gateway's own format.
type glueSubmission struct {
	Purpose  string    `json:"purpose"`
	Category string    `json:"category"`
	NotAfter time.Time `json:"not_after"`
	Texts    []struct {
		Language string `json:"language"`
		Title    string `json:"title"`
		Body     string `json:"body"`
	} `json:"texts"`
}

func serveGlue(arg []string) error {
	f := flag.NewFlagSet("serve glue", flag.ContinueOnError)
	at := f.String("at", "", "listen there")
	database := f.String("database", "", "of PostgreSQL")
	broker := f.String("broker", "", "address of mosquitto")
	opa := f.String("opa", "", "address of OPA")
	workers := f.Int("workers", 64, "messages that are decided at the same time")
	if err := f.Parse(arg); err != nil {
		return err
	}
	ctx := context.Background()
	config, err := pgxpool.ParseConfig(*database) // statements are prepared once on each connection: pgx's default
	if err != nil {
		return err
	}
	config.MaxConns = int32(*workers)
	config.MinConns = config.MaxConns
	g := &glue{opa: "http://" + *opa + "/v1/data/porchlight/reasons", brands: map[string]glueBrand{}, work: make(chan glueMessage, 4096), done: make(chan string, 1<<16),
		rules: http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: *workers}, Timeout: 30 * time.Second}}
	if g.db, err = pgxpool.NewWithConfig(ctx, config); err != nil {
		return err
	}
	rows, err := g.db.Query(ctx, `SELECT key, id, name, purposes FROM brand`)
	if err != nil {
		return err
	}
	var key string
	var b glueBrand
	if _, err = pgx.ForEachRow(rows, []any{&key, &b.id, &b.name, &b.purposes}, func() error { g.brands[key] = b; return nil }); err != nil {
		return err
	}
	g.mqtt = mqtt.NewClient(mqtt.NewClientOptions().AddBroker("tcp://" + *broker).SetClientID("glue").SetOrderMatters(false).SetMessageChannelDepth(4096).
		SetOnConnectHandler(func(c mqtt.Client) {
			c.Subscribe("pl/1/+/up/evt", 1, g.receipt)
		}))
	if t := g.mqtt.Connect(); t.Wait() && t.Error() != nil {
		return t.Error()
	}
	for range *workers {
		go func() {
			for m := range g.work {
				if err := g.deliver(ctx, m); err != nil {
					g.fault("deliver %s: %v", m.id, err)
				}
			}
		}()
	}
	mux := http.NewServeMux()
	mux.HandleFunc("POST /v1/messages", g.accept)
	mux.HandleFunc("GET /receipts", g.receipts)
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, r *http.Request) {
		g.mu.Lock()
		defer g.mu.Unlock()
		if !g.mqtt.IsConnectionOpen() || g.failed != "" {
			http.Error(w, g.failed, http.StatusServiceUnavailable)
		}
	})
	l, err := net.Listen("tcp", *at)
	if err != nil {
		return err
	}
	go http.Serve(l, mux)
	untilTold()
	return nil
}

func (g *glue) fault(format string, a ...any) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.failed = fmt.Sprintf(format, a...)
}

// accept takes in a message of a brand.
func (g *glue) accept(w http.ResponseWriter, r *http.Request) {
	hash := sha256.Sum256([]byte(strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer ")))
	b, ok := g.brands[hex.EncodeToString(hash[:])]
	if !ok {
		http.Error(w, "not known", http.StatusUnauthorized)
		return
	}
	raw, err := io.ReadAll(http.MaxBytesReader(w, r.Body, 16<<10))
	var s glueSubmission
	if err == nil {
		err = json.Unmarshal(raw, &s)
	}
	key := r.Header.Get("Idempotency-Key")
	now := time.Now()
	if err != nil || key == "" || len(s.Texts) == 0 || s.Texts[0].Body == "" || len(s.Texts[0].Body) > 512 || !s.NotAfter.After(now) || !contains(b.purposes, s.Purpose) {
		http.Error(w, "cannot be taken", http.StatusUnprocessableEntity)
		return
	}
	digest := sha256.Sum256(raw)
	var id string
	err = g.db.QueryRow(r.Context(), `INSERT INTO message (brand, key, digest, body, at, not_after) VALUES ($1, $2, $3, $4, $5, $6)
		ON CONFLICT (brand, key) DO NOTHING RETURNING id`, b.id, key, digest[:], raw, now, s.NotAfter).Scan(&id)
	news := err == nil
	if errors.Is(err, pgx.ErrNoRows) { // it came before
		var was []byte
		if err = g.db.QueryRow(r.Context(), `SELECT id, digest FROM message WHERE brand = $1 AND key = $2`, b.id, key).Scan(&id, &was); err == nil && !bytes.Equal(was, digest[:]) {
			http.Error(w, "the same key came with another message before", http.StatusConflict)
			return
		}
	}
	if err != nil {
		g.fault("accept: %v", err)
		http.Error(w, "try again", http.StatusServiceUnavailable)
		return
	}
	if news {
		g.work <- glueMessage{id, b, s, now}
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(http.StatusAccepted)
	fmt.Fprintf(w, `{"id":%q,"state":"accepted"}`, id)
}

func contains(list []string, s string) bool {
	for _, one := range list {
		if one == s {
			return true
		}
	}
	return false
}

// glueScreen is a screen in a home that has said yes.
type glueScreen struct {
	device, class, owner string
	screen, home         json.RawMessage
	consents             map[string]string
}

// deliver decides about a message on every screen of every home that has said yes to its brand and purpose, and
// sends it where it may be shown.
func (g *glue) deliver(ctx context.Context, m glueMessage) error {
	rows, err := g.db.Query(ctx, `SELECT d.id, d.class, d.owner, d.screen, h.rules,
		(SELECT jsonb_object_agg(a.subject || '/' || a.brand || '/' || a.purpose, a.choice) FROM consent a WHERE a.home = c.home AND a.brand = $1 AND a.purpose = $2)
		FROM consent c JOIN home h ON h.id = c.home JOIN device d ON d.home = c.home WHERE c.brand = $1 AND c.purpose = $2 AND c.choice = 'given' AND c.subject = ''`, m.brand.id, m.body.Purpose)
	if err != nil {
		return err
	}
	screens, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (s glueScreen, err error) {
		err = row.Scan(&s.device, &s.class, &s.owner, &s.screen, &s.home, &s.consents)
		return s, err
	})
	if err != nil {
		return err
	}
	for _, s := range screens {
		reasons, err := g.decide(ctx, m, s)
		if err != nil {
			return err
		}
		if len(reasons) > 0 {
			continue
		}
		if _, err := g.db.Exec(ctx, `INSERT INTO delivery (message, device, brand, decision, claimed) VALUES ($1, $2, $3, $4, now()) ON CONFLICT DO NOTHING`,
			m.id, s.device, m.brand.id, `{"verdict":"show"}`); err != nil {
			return err
		}
		payload, err := json.Marshal(map[string]any{"message": m.id, "sender": m.brand.name, "title": m.body.Texts[0].Title, "text": m.body.Texts[0].Body, "form": "toast", "until": m.body.NotAfter})
		if err != nil {
			return err
		}
		g.mqtt.Publish("pl/1/"+s.device+"/dn/msg", 1, false, payload)
	}
	return nil
}

// decide asks OPA which rules fail.
func (g *glue) decide(ctx context.Context, m glueMessage, s glueScreen) ([]string, error) {
	home := map[string]json.RawMessage{}
	if err := json.Unmarshal(s.home, &home); err != nil {
		return nil, err
	}
	consents, err := json.Marshal(s.consents)
	if err != nil {
		return nil, err
	}
	home["consents"] = consents
	local := m.now.UTC()
	input, err := json.Marshal(map[string]any{"input": map[string]any{
		"message": map[string]any{"brand": m.brand.id, "category": m.body.Category, "purpose": m.body.Purpose, "id": m.id, "forms": []string{"toast", "panel", "list", "badge"},
			"chars": len(m.body.Texts[0].Title) + len(m.body.Texts[0].Body), "buttons": 0, "personal": false, "condition": 0, "not_before": 0, "not_after": m.body.NotAfter.UnixMilli()},
		"screen": s.screen, "home": home, "now": m.now.UnixMilli(), "minute": local.Hour()*60 + local.Minute(), "weekday": int(local.Weekday()),
		"known": []string{}, "unknown": 0, "fridge": map[string]any{}, "tv": map[string]any{}, "state": map[string]any{}, "told": map[string]any{"power.state": "on"},
		"alarm": false, "caps": []string{}, "shown": []string{},
	}})
	if err != nil {
		return nil, err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, g.opa, bytes.NewReader(input))
	if err != nil {
		return nil, err
	}
	req.Header.Set("Content-Type", "application/json")
	var told struct{ Result *[]string }
	if err := answer(&g.rules, req, http.StatusOK, &told); err != nil {
		return nil, err
	}
	if told.Result == nil {
		return nil, errors.New("OPA has no opinion")
	}
	return *told.Result, nil
}

// glueReceipt is what a device says became of a message.
type glueReceipt struct {
	Message string `json:"message"`
	Event   string `json:"event"` // presented, or timed-out
}

// receipt takes in what a device says.
func (g *glue) receipt(_ mqtt.Client, p mqtt.Message) {
	var e glueReceipt
	parts := strings.Split(p.Topic(), "/")
	if err := json.Unmarshal(p.Payload(), &e); err != nil || len(parts) != 5 {
		g.fault("receipt: %v", err)
		return
	}
	sql := `UPDATE delivery SET presented = now() WHERE message = $1 AND device = $2 AND presented IS NULL`
	if e.Event != "presented" {
		sql = `UPDATE delivery SET ended = now(), outcome = $3 WHERE message = $1 AND device = $2 AND ended IS NULL`
	}
	args := []any{e.Message, parts[2]}
	if e.Event != "presented" {
		args = append(args, e.Event)
	}
	tag, err := g.db.Exec(context.Background(), sql, args...)
	if err != nil {
		g.fault("receipt: %v", err)
		return
	}
	if tag.RowsAffected() == 1 {
		g.done <- parts[2] + " " + e.Event + "\n"
	}
}

// receipts tells whoever measures which receipts are on disk, as they come.
func (g *glue) receipts(w http.ResponseWriter, r *http.Request) {
	c := http.NewResponseController(w)
	_ = c.Flush() // so that the client knows that it is heard
	for {
		select {
		case <-r.Context().Done():
			return
		case line := <-g.done:
			_, _ = io.WriteString(w, line)
			for more := true; more; {
				select {
				case line = <-g.done:
					_, _ = io.WriteString(w, line)
				default:
					more = false
				}
			}
			_ = c.Flush()
		}
	}
}
