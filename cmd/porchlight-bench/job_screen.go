package main

import (
	"fmt"
	"time"

	"porchlight/device"
	"porchlight/device/wire"
)

// screenBirth is what every screen says of itself: it shows toasts.
func screenBirth(class device.Class, can device.Capabilities) ([]byte, error) {
	b := wire.Birth{Model: wire.Model{Maker: "Lumen", Name: "L55"}, Class: class, Attributes: []string{},
		Can: wire.Capabilities{Inputs: can.Inputs, Sound: can.Sound, Forms: can.Forms, MaxButtons: can.MaxButtons, Languages: can.Languages, Holds: can.Holds, Attention: can.Attention}}
	if can.Width > 0 {
		b.Can.Screen = []uint{can.Width, can.Height, can.Diagonal}
	}
	return wire.Encode(b)
}

// firstBeacon connects the TV of a home of a town as a device, and returns when it has its first beacon.
func firstBeacon(address string, home int) error {
	id := townDevice(home, 0)
	c, err := dialing{address: address}.open(home, login{string(id), string(id), townToken(id)})
	if err != nil {
		return err
	}
	defer c.Close()
	if err := c.subscribe(wire.Topic(id, "dn/#")); err != nil {
		return err
	}
	birth, err := screenBirth(device.TV, townClasses[0].can)
	if err != nil {
		return err
	}
	c.out = appendPublish(c.out, wire.Topic(id, wire.UpBirth), 1, birth)
	if err := c.SetReadDeadline(time.Now().Add(patience)); err != nil {
		return err
	}
	for {
		if err := c.flush(); err != nil {
			return err
		}
		kind, body, err := c.next()
		if err != nil {
			return fmt.Errorf("no beacon: %w", err)
		}
		if kind&0xf0 != kindPublish {
			continue
		}
		if _, leaf, ok := wire.ParseTopic(topicOf(body)); ok && leaf == wire.DnTime {
			return nil
		}
		if _, err := c.received(kind, body); err != nil {
			return err
		}
	}
}

// topicOf is the topic of a PUBLISH.
func topicOf(body []byte) string {
	if len(body) < 2 {
		return ""
	}
	n := 2 + int(body[0])<<8 + int(body[1])
	return string(body[2:min(n, len(body))])
}
