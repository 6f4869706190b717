package delivery

import "porchlight/device"

// learnt is something that was learnt of somebody from what they did with a brand's messages.
type learnt struct {
	Person device.PersonID
	Brand  device.BrandID
	Until  device.Instant
}

func (l learnt) words(h *home, d *Desk) string { return "" }
