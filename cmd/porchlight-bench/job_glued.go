package main

import (
	"bufio"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"porchlight/device/registry"
)

// postgresBin is where Debian puts PostgreSQL 15.
const postgresBin = "/usr/lib/postgresql/15/bin/"

// gluedSide is the job as mosquitto, OPA and PostgreSQL do it with a program between them. It is nil where one of
// them is not installed.
func gluedSide(ctx context.Context, s setting, homes int) (one *side, err error) {
	if _, err := exec.LookPath(postgresBin + "initdb"); err != nil {
		s.say("%s is not there: PostgreSQL 15 is not installed", postgresBin)
		return nil, nil
	}
	one = &side{name: "the glued stack", keys: make([]string, homes)}
	var folder string
	one.close = func() {
		for i := len(one.servers) - 1; i >= 0; i-- {
			one.servers[i].stop()
		}
		if folder != "" {
			_ = os.RemoveAll(folder) // below the machine's folder for such things
		}
	}
	defer func() {
		if err != nil || one == nil {
			one.close()
		}
	}()
	m, err := mosquittoAnywhere(ctx, s)
	if err != nil {
		return nil, err
	}
	if m == nil {
		s.say("%s is not installed", mosquitto)
		one.close()
		return nil, nil
	}
	one.servers = append(one.servers, m.process)
	pg, folder, err := startPostgres(ctx)
	if pg != nil {
		one.servers = append(one.servers, pg)
	}
	if err != nil {
		return nil, err
	}
	database := "host=" + folder + " user=bench dbname=postgres"
	s.say("%s: %d homes move in", one.name, homes)
	if err := moveIntoPostgres(ctx, database, one.keys); err != nil {
		return nil, err
	}
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	at, err := loopbackPorts(2)
	if err != nil {
		return nil, err
	}
	rules, err := os.MkdirTemp(s.folder, "opa-")
	if err != nil {
		return nil, err
	}
	opa, err := start("OPA", self, "serve", "opa", "-at", at[0], "-folder", rules)
	if err != nil {
		return nil, err
	}
	one.servers = append(one.servers, opa)
	if err := opa.ready(ctx, "http://"+at[0]+"/health"); err != nil {
		return nil, err
	}
	glue, err := start("the glue", self, "serve", "glue", "-at", at[1], "-database", database, "-broker", m.plain, "-opa", at[0])
	if err != nil {
		return nil, err
	}
	one.servers = append(one.servers, glue)
	if err := glue.ready(ctx, "http://"+at[1]+"/readyz"); err != nil {
		return nil, err
	}
	one.http = at[1]
	who := make([]login, homes)
	for i := range homes {
		id := jobDevice(i)
		who[i] = login{id, id, "no-password"}
		one.screens = append(one.screens, &screen{
			up: "pl/1/" + id + "/up/evt", down: "pl/1/" + id + "/dn/msg",
			born: func(sc *screen) error { return sc.subscribe(sc.down) },
			message: func(payload []byte) (string, error) {
				var m glueReceipt
				err := json.Unmarshal(payload, &m)
				return m.Message, err
			},
			receipt: func(_ *screen, id string, over bool) ([]byte, error) {
				event := "presented"
				if over {
					event = "timed-out"
				}
				return []byte(`{"message":"` + id + `","event":"` + event + `"}`), nil
			},
		})
	}
	if err := one.connect(m.plain, who); err != nil {
		return nil, err
	}
	if err := one.hear(ctx, "http://"+one.http); err != nil {
		return nil, err
	}
	one.shown = func(ctx context.Context) (n int, err error) {
		if err := glue.ready(ctx, "http://"+one.http+"/readyz"); err != nil { // it tells what went wrong
			return 0, err
		}
		db, err := pgx.Connect(ctx, database)
		if err != nil {
			return 0, err
		}
		defer db.Close(ctx)
		err = db.QueryRow(ctx, `SELECT count(*) FROM delivery WHERE presented IS NOT NULL AND ended IS NOT NULL`).Scan(&n)
		return n, err
	}
	return one, nil
}

// hear listens to what the glue says of receipts that are on disk.
func (one *side) hear(ctx context.Context, address string) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, address+"/receipts", nil)
	if err != nil {
		return err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	byID := map[string]*screen{}
	for i, sc := range one.screens {
		byID[jobDevice(i)] = sc
	}
	go func() {
		defer resp.Body.Close()
		lines := bufio.NewScanner(resp.Body)
		for lines.Scan() {
			id, event, _ := strings.Cut(lines.Text(), " ")
			if sc := byID[id]; sc != nil {
				sc.onDisk(event != "presented")
			}
		}
		if err := lines.Err(); err != nil && ctx.Err() == nil && !errors.Is(err, io.ErrUnexpectedEOF) {
			one.errs <- fmt.Errorf("receipts: %w", err)
		}
	}()
	return nil
}

// mosquittoAnywhere is mosquittoBroker, on any core.
func mosquittoAnywhere(ctx context.Context, s setting) (*broker, error) {
	if _, err := exec.LookPath(mosquitto); err != nil {
		return nil, nil
	}
	at, err := loopbackPorts(1)
	if err != nil {
		return nil, err
	}
	b := &broker{plain: at[0]}
	path := filepath.Join(s.folder, "job-mosquitto.conf")
	config := fmt.Sprintf("persistence false\nallow_anonymous true\nmax_inflight_messages 0\nmax_queued_messages 0\nlog_type none\nuser root\nset_tcp_nodelay true\nlistener %s 127.0.0.1\n", strings.TrimPrefix(at[0], "127.0.0.1:"))
	if err := os.WriteFile(path, []byte(config), 0o644); err != nil {
		return nil, err
	}
	if b.process, err = start("mosquitto", mosquitto, "-c", path); err != nil {
		return nil, err
	}
	if err := b.listens(ctx, b.plain); err != nil {
		b.stop()
		return nil, err
	}
	return b, nil
}

// startPostgres makes a cluster in a folder of its own and starts it: with every commit on disk, as it comes, and
// with more memory than it comes with. It listens on a socket in that folder. Root starts it as the user postgres.
func startPostgres(ctx context.Context) (p *process, folder string, err error) {
	if folder, err = os.MkdirTemp("", "porchlight-postgres-"); err != nil {
		return nil, "", err
	}
	var as []string
	if os.Geteuid() == 0 {
		as = []string{"setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups", "--pdeathsig", "KILL"}
		if out, err := exec.CommandContext(ctx, "chown", "postgres:postgres", folder).CombinedOutput(); err != nil {
			return nil, folder, fmt.Errorf("chown: %w: %s", err, out)
		}
	}
	data := filepath.Join(folder, "data")
	init := append(append([]string{}, as...), postgresBin+"initdb", "-D", data, "-U", "bench", "-A", "trust", "-E", "UTF8", "--locale=C")
	c := exec.CommandContext(ctx, init[0], init[1:]...)
	c.Dir = folder
	if out, err := c.CombinedOutput(); err != nil {
		return nil, folder, fmt.Errorf("initdb: %w: %s", err, out)
	}
	p, err = start("PostgreSQL", append(append([]string{}, as...), postgresBin+"postgres", "-D", data, "-k", folder, "-c", "listen_addresses=",
		"-c", "synchronous_commit=on", "-c", "fsync=on", "-c", "shared_buffers=512MB", "-c", "max_connections=200", "-c", "max_wal_size=4GB")...)
	if err != nil {
		return nil, folder, err
	}
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	for {
		db, err := pgx.Connect(ctx, "host="+folder+" user=bench dbname=postgres")
		if err == nil {
			return p, folder, db.Close(ctx)
		}
		select {
		case <-p.done:
			return nil, folder, fmt.Errorf("PostgreSQL has ended: %s", p.said.String())
		case <-ctx.Done():
			return p, folder, fmt.Errorf("PostgreSQL does not answer: %w: %s", err, p.said.String())
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// moveIntoPostgres writes brands, homes, screens and choices down, and puts the brands' keys into keys.
func moveIntoPostgres(ctx context.Context, database string, keys []string) error {
	db, err := pgx.Connect(ctx, database)
	if err != nil {
		return err
	}
	defer db.Close(ctx)
	if _, err := db.Exec(ctx, glueSchema); err != nil {
		return err
	}
	b := &pgx.Batch{}
	for i := range keys {
		keys[i] = registry.NewKey()
		hash := sha256.Sum256([]byte(keys[i]))
		brand := fmt.Sprint("brand-", i)
		b.Queue(`INSERT INTO brand (id, name, key, purposes) VALUES ($1, 'Grocer', $2, '{marketing}')`, brand, hex.EncodeToString(hash[:]))
		b.Queue(`INSERT INTO home (id, rules) VALUES ($1, '{"kinds": {}, "mutes": [], "quiet": [], "denied": [], "complains": []}')`, i)
		b.Queue(`INSERT INTO device (id, home, class, screen) VALUES ($1, $2, 'fridge', '{"class": "fridge", "owner": "", "forms": ["badge", "toast"], "inputs": 2, "max_buttons": 2}')`, jobDevice(i), i)
		b.Queue(`INSERT INTO consent (home, subject, brand, purpose, choice) VALUES ($1, '', $2, 'marketing', 'given')`, i, brand)
	}
	if err := db.SendBatch(ctx, b).Close(); err != nil {
		return err
	}
	_, err = db.Exec(ctx, `ANALYZE`)
	return err
}
