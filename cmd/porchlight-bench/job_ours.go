package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"porchlight/broker/delivery"
	"porchlight/device"
	"porchlight/device/registry"
	"porchlight/device/store"
	"porchlight/device/twin"
	"porchlight/device/wire"
	"porchlight/policy"
	"porchlight/policy/consent"
)

// jobBrands is how many brands send messages, and to how many homes, at most: each of them to one.
const jobBrands = 1000

// gatewaySide is the job as the gateway does it.
func gatewaySide(ctx context.Context, s setting, homes int) (*side, error) {
	data, err := os.MkdirTemp(s.folder, "job-")
	if err != nil {
		return nil, err
	}
	one := &side{name: "the gateway", keys: make([]string, min(homes, jobBrands))}
	s.say("%s: %d homes move in", one.name, homes)
	who, err := moveIntoGateway(ctx, data, homes, one.keys)
	if err != nil {
		return nil, err
	}
	g, _, err := openGateway(ctx, s, data)
	if err != nil {
		return nil, err
	}
	one.servers, one.http, one.close = []*process{g.process}, g.http, g.stop
	for i := range homes {
		id := device.ID(jobDevice(i))
		one.screens = append(one.screens, &screen{
			up: wire.Topic(id, wire.UpEvt), down: wire.Topic(id, wire.DnMsg), told: true,
			born: func(sc *screen) error { return sc.be(&sc.seq) },
			message: func(payload []byte) (string, error) {
				p, _, err := wire.DecodeMsg(payload)
				if err != nil {
					return "", err
				}
				if p == nil {
					return "", errors.New("a message was taken back")
				}
				return string(p.Message[:]), nil
			},
			receipt: func(sc *screen, id string, over bool) ([]byte, error) {
				sc.seq++
				e := wire.Event{Seq: sc.seq, Message: device.MessageID([]byte(id)), Kind: wire.Presented}
				if over {
					e.Kind = wire.TimedOut
				}
				return wire.Encode(e)
			},
		})
	}
	if err := one.connect(g.plain, who); err != nil {
		g.stop()
		return nil, err
	}
	one.shown = func(ctx context.Context) (int, error) {
		var st struct {
			State struct {
				Shown int `json:"messages_shown"`
				Open  int `json:"deliveries_open"`
			} `json:"state"`
		}
		err := g.operate(ctx, "status", map[string]any{}, &st)
		return st.State.Shown - st.State.Open, err
	}
	return one, nil
}

// moveIntoGateway writes brands, homes, screens and choices into a new database, through the calls that the gateway
// makes itself, and puts the brands' keys into keys. Home n has said yes to brand n; homes beyond the brands to a
// brand that sends nothing. No home has a cap.
func moveIntoGateway(ctx context.Context, data string, homes int, keys []string) (who []login, err error) {
	db, err := store.Open(ctx, filepath.Join(data, "porchlight.db"), store.Options{Project: delivery.Project, Clear: delivery.Clear})
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	who = make([]login, homes)
	brand := func(i int) registry.Brand {
		return registry.Brand{ID: device.BrandID(fmt.Sprint("brand-", min(i, len(keys)))), Name: "Grocer", Purposes: []string{"marketing"}, Quota: 1 << 20}
	}
	one := func(tx *store.Tx, i int) error {
		if i <= len(keys) {
			key := registry.NewKey()
			if i < len(keys) {
				keys[i] = key
			}
			if err := registry.AddBrand(tx, brand(i), key); err != nil {
				return err
			}
		}
		home, err := registry.AddHome(tx, fmt.Sprint("job-", i), "Europe/Zurich")
		if err != nil {
			return err
		}
		if _, err := twin.Set(tx, home.ID, twin.Caps, []byte("[]"), ""); err != nil {
			return err
		}
		token := registry.NewToken()
		who[i] = login{jobDevice(i), jobDevice(i), token}
		if err := registry.AddDevice(tx, device.Device{ID: device.ID(jobDevice(i)), Home: home.ID, Class: device.Fridge, Name: "Fridge", Controller: true}, token); err != nil {
			return err
		}
		_, err = consent.Record(tx, consent.Entry{Home: home.ID, Brand: brand(i).ID, Purpose: policy.Marketing, Choice: policy.Given, Method: "operator"})
		return err
	}
	const batch = 100
	for from := 0; from < homes; from += batch {
		if err := db.Update(func(tx *store.Tx) error {
			for i := from; i < min(from+batch, homes); i++ {
				if err := one(tx, i); err != nil {
					return err
				}
			}
			return nil
		}); err != nil {
			return nil, err
		}
	}
	return who, nil
}

func jobDevice(n int) string { return fmt.Sprintf("job-%05d", n) }
