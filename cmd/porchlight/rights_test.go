package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"porchlight/broker/api"
	"porchlight/broker/delivery"
	"porchlight/device"
	"porchlight/device/registry"
	"porchlight/device/store"
	"porchlight/policy"
)

// rightsRounds is how often the gateway is killed in the middle of each.
const rightsRounds = 5

// child is a gateway in a process of its own.
type child struct {
	t    *testing.T
	data string
	cmd  *exec.Cmd
	errs bytes.Buffer
	e    *env
}

func (c *child) start() {
	c.t.Helper()
	config := filepath.Join(c.data, "..", "gateway.yaml")
	if err := os.WriteFile(config, []byte(ports), 0o600); err != nil {
		c.t.Fatal(err)
	}
	c.errs.Reset()
	c.cmd = exec.Command("porchlight", "--data", c.data, "serve", "--config", config)
	c.cmd.Stderr = &c.errs
	if err := c.cmd.Start(); err != nil {
		c.t.Fatal(err)
	}
	c.e = &env{ctx: c.t.Context(), data: c.data, out: io.Discard, errs: io.Discard}
	for began := time.Now(); time.Since(began) < 60*time.Second; time.Sleep(10 * time.Millisecond) { // another process: there is nothing to wait on
		if _, err := ask[api.Status](c.e, "status", api.None{}); err == nil {
			return
		}
	}
	c.kill()
	c.t.Fatalf("the gateway does not start: %s", c.errs.String())
}

// kill ends it as a power cut would.
func (c *child) kill() {
	c.t.Helper()
	if err := c.cmd.Process.Kill(); err != nil {
		c.t.Error(err)
	}
	_ = c.cmd.Wait() // it was killed
	if said := c.errs.String(); strings.Contains(said, "panic") || strings.Contains(said, "DATA RACE") {
		c.t.Errorf("the gateway said:\n%s", said)
	}
}

func sure[T any](t *testing.T) func(v T, err error) T {
	return func(v T, err error) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

// traces lists which of what is in which file of the data folder.
func (c *child) traces(what ...string) (all []string) {
	c.t.Helper()
	files, err := filepath.Glob(filepath.Join(c.data, databaseFile+"*"))
	if err != nil {
		c.t.Fatal(err)
	}
	for _, name := range files {
		raw, err := os.ReadFile(name)
		if err != nil {
			c.t.Fatal(err)
		}
		for _, w := range what {
			if bytes.Contains(raw, []byte(w)) {
				all = append(all, w+" in "+filepath.Base(name))
			}
		}
	}
	return all
}

// agrees checks that the tables are what the journal says, while nobody else has the file open.
func (c *child) agrees() {
	c.t.Helper()
	diffs, err := store.Check(context.Background(), filepath.Join(c.data, databaseFile), delivery.Project, nil)
	if err != nil || len(diffs) > 0 {
		c.t.Errorf("the tables differ from the journal: %v %v", diffs, err)
	}
}

// home adds a home with somebody in it, much about whom is written down.
func (c *child) home(name string, person string, devices int) {
	c.t.Helper()
	spec := delivery.HomeSpec{Name: name, Zone: "UTC", People: []delivery.PersonSpec{{Name: person, Age: device.Adult}, {Name: "Ben of " + name, Age: device.Adult}}}
	for i := range devices {
		spec.Devices = append(spec.Devices, delivery.DeviceSpec{Class: device.Companion, Name: fmt.Sprintf("Phone %d of %s", i, person), Owner: person})
	}
	sure[api.HomeAdded](c.t)(ask[api.HomeAdded](c.e, "home/add", spec))
	for i := range 40 {
		choice := policy.Given
		if i%2 == 1 {
			choice = policy.Withdrawn
		}
		for _, who := range []string{person, "Ben of " + name} {
			sure[api.None](c.t)(ask[api.None](c.e, "consent/choose", api.Choice{Home: name, Person: who, Brand: "fresh", Purpose: policy.Marketing, Choice: choice}))
		}
	}
}

// A gateway that is killed in the middle of an erasure has erased nothing, or all of it, or does so when it starts again.
func TestKill9Erase(t *testing.T) {
	rng := rand.New(rand.NewPCG(uint64(time.Now().UnixNano()), 1))
	c := &child{t: t, data: filepath.Join(t.TempDir(), "d")}
	c.start()
	defer func() { c.kill() }()
	sure[api.BrandAdded](t)(ask[api.BrandAdded](c.e, "brand/add", registry.Brand{ID: "fresh", Name: "Fresh Market", Purposes: []string{"marketing"}}))
	c.home("yard", "Zoe of yard", 1)
	began := time.Now()
	sure[delivery.Erased](t)(ask[delivery.Erased](c.e, "erase", delivery.Erasure{Home: "yard", Person: "Zoe of yard", Devices: true}))
	took := time.Since(began)
	for round := range rightsRounds {
		home, person := fmt.Sprintf("oak %d", round), fmt.Sprintf("Annabelle number %d", round)
		c.home(home, person, 2)
		what := delivery.Erasure{Home: home, Person: person, Devices: true}
		answered := make(chan error, 1)
		go func() { _, err := ask[delivery.Erased](c.e, "erase", what); answered <- err }()
		time.Sleep(time.Duration(rng.Int64N(int64(took) + 1)))
		c.kill()
		err := <-answered
		c.agrees()
		c.start()
		people := sure[[]registry.Person](t)(ask[[]registry.Person](c.e, "person/list", api.InHome{Home: home}))
		there := len(people) == 2
		if len(people) == 0 || people[len(people)-1].Name != "Ben of "+home {
			t.Fatalf("round %d: Ben is not there any more: %+v", round, people)
		}
		if err == nil && there {
			t.Errorf("round %d: she was erased, and is there", round)
		}
		_, again := ask[delivery.Erased](c.e, "erase", what)
		var refused *refusedError
		if again != nil && !(errors.As(again, &refused) && refused.Status == 404 && !there) {
			t.Errorf("round %d: erased again: %v", round, again)
		}
		c.kill()
		c.agrees()
		if left := c.traces(person); len(left) > 0 {
			t.Errorf("round %d: traces are left: %q", round, left)
		}
		c.start()
	}
}

// A home that was to be taken in when the gateway was killed is there as a whole, or not at all.
func TestKill9Import(t *testing.T) {
	rng := rand.New(rand.NewPCG(uint64(time.Now().UnixNano()), 2))
	from := &child{t: t, data: filepath.Join(t.TempDir(), "d")}
	from.start()
	sure[api.BrandAdded](t)(ask[api.BrandAdded](from.e, "brand/add", registry.Brand{ID: "fresh", Name: "Fresh Market", Purposes: []string{"marketing"}}))
	from.home("oak", "Annabelle", 3)
	file := filepath.Join(t.TempDir(), "oak.zip")
	if err := (&exportCmd{Home: "oak", Out: file}).Run(from.e); err != nil {
		t.Fatal(err)
	}
	from.kill()
	var took time.Duration
	for round := range rightsRounds {
		c := &child{t: t, data: filepath.Join(t.TempDir(), fmt.Sprint(round), "d")}
		if err := os.MkdirAll(c.data, 0o700); err != nil {
			t.Fatal(err)
		}
		c.start()
		began, answered := time.Now(), make(chan error, 1)
		go func() { answered <- (&importCmd{File: file}).Run(c.e) }()
		var err error
		if took == 0 {
			err = <-answered
			took = time.Since(began)
		} else {
			time.Sleep(time.Duration(rng.Int64N(int64(took) + 1)))
		}
		c.kill()
		if took == 0 || round > 0 {
			err = <-answered
		}
		c.agrees()
		if left, e := filepath.Glob(filepath.Join(c.data, ".import-*")); e != nil || len(left) > 0 {
			t.Errorf("round %d: %q is left, %v", round, left, e)
		}
		c.start()
		homes := sure[[]registry.Home](t)(ask[[]registry.Home](c.e, "home/list", api.None{}))
		if err == nil && len(homes) != 1 {
			t.Errorf("round %d: it was taken in, and there are %d homes", round, len(homes))
		}
		again := (&importCmd{File: file}).Run(c.e)
		if (again == nil) != (len(homes) == 0) {
			t.Errorf("round %d: with %d homes, taken in again: %v", round, len(homes), again)
		}
		all := sure[[]delivery.ConsentEvent](t)(ask[[]delivery.ConsentEvent](c.e, "consent/history", api.InHome{Home: "oak"}))
		devices := sure[[]delivery.DeviceState](t)(ask[[]delivery.DeviceState](c.e, "device/list", api.InHome{Home: "oak"}))
		if len(all) != 80 || len(devices) != 3 {
			t.Errorf("round %d: %d choices and %d devices, want 80 and 3", round, len(all), len(devices))
		}
		c.kill()
		c.agrees()
	}
}
