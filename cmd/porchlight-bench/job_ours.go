package main

import (
	"context"
	"errors"
	"fmt"
	"os"

	"porchlight/device"
	"porchlight/device/wire"
)

// gatewaySide is the job as the gateway does it.
func gatewaySide(ctx context.Context, s setting, homes int) (*side, error) {
	data, err := os.MkdirTemp(s.folder, "job-")
	if err != nil {
		return nil, err
	}
	g, _, err := openGateway(ctx, s, data)
	if err != nil {
		return nil, err
	}
	one := &side{name: "the gateway", servers: []*process{g.process}, http: g.http, close: g.stop, keys: make([]string, homes)}
	who := make([]login, homes)
	s.say("%s: %d homes move in", one.name, homes)
	err = many(homes, 64, func(i int) error {
		var brand struct{ Key string }
		id := fmt.Sprint("brand-", i)
		if err := g.operate(ctx, "brand/add", map[string]any{"id": id, "name": "Grocer", "purposes": []string{"marketing"}, "quota": 1 << 20}, &brand); err != nil {
			return err
		}
		one.keys[i] = brand.Key
		home := fmt.Sprint("job-", i)
		var added struct {
			Devices []struct{ ID, Token string }
		}
		if err := g.operate(ctx, "home/add", map[string]any{"name": home, "zone": "Europe/Zurich", "caps": []int{},
			"devices": []any{map[string]any{"id": jobDevice(i), "class": "fridge", "controller": true, "name": "Fridge"}}}, &added); err != nil {
			return err
		}
		who[i] = login{added.Devices[0].ID, added.Devices[0].ID, added.Devices[0].Token}
		return g.operate(ctx, "consent/choose", map[string]any{"home": home, "brand": id, "purpose": "marketing", "choice": "given"}, nil)
	})
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
	if err == nil {
		err = one.connect(g.plain, who)
	}
	if err != nil {
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

func jobDevice(n int) string { return fmt.Sprintf("job-%05d", n) }
