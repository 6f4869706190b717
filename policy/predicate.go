package policy

import (
	"fmt"
	"math"
	"strings"

	"porchlight/device"
)

// Check reports what is wrong with p, for the person who wrote it; nil if it can be judged.
func (p *Predicate) Check() error {
	info := p.Attribute.Info()
	if info.Kind == device.Unknown {
		return fmt.Errorf("attribute %d is unknown: use one of %s", p.Attribute, strings.Join(device.AttributeNames(p.Class), ", "))
	}
	if p.Class != 0 && !p.Class.Known() {
		return fmt.Errorf("class %d is unknown: use one of %s", p.Class, strings.Join(device.ClassNames(), ", "))
	}
	if p.Class != 0 && !p.Attribute.Of(p.Class) {
		return fmt.Errorf("a %s does not report %s: did you mean %s? It reports %s",
			p.Class, info.Name, NearestAttribute(info.Name, p.Class), strings.Join(device.AttributeNames(p.Class), ", "))
	}
	if !p.Op.allowed(info.Kind) {
		if info.Kind == device.Number {
			return fmt.Errorf("op %q of %s is unknown: use one of eq, ne, lt, le, gt, ge", p.Op, info.Name)
		}
		return fmt.Errorf("op %q does not apply to %s, which is %s: use eq or ne", p.Op, info.Name, info.Kind)
	}
	if !p.valid() {
		if info.Kind == device.Enum {
			return fmt.Errorf("%s is compared with something that is not one of its words: use one of %s", info.Name, strings.Join(info.Values, ", "))
		}
		return fmt.Errorf("%s is compared with %s: it takes %s", info.Name, p.Value.Kind, info.Kind)
	}
	return nil
}

// valid is Check without words: whether p has a meaning at all.
func (p *Predicate) valid() bool {
	info := p.Attribute.Info()
	v := p.Value
	if v.Kind == device.Unknown || v.Kind != info.Kind || !p.Op.allowed(info.Kind) {
		return false
	}
	if p.Class != 0 && (!p.Class.Known() || !p.Attribute.Of(p.Class)) {
		return false
	}
	switch v.Kind {
	case device.Bool:
		return v.Num == 0 || v.Num == 1
	case device.Enum:
		return v.Num >= 0 && v.Num < float64(len(info.Values)) && v.Num == math.Trunc(v.Num)
	case device.Number:
		return !math.IsNaN(v.Num) && !math.IsInf(v.Num, 0)
	default:
		return len(v.Text) <= 64
	}
}

func (op Op) allowed(k device.Kind) bool {
	switch op {
	case EQ, NE:
		return true
	case LT, LE, GT, GE:
		return k == device.Number
	default:
		return false
	}
}

// NearestAttribute is the name among those that devices of class c report (0: any device) that
// looks most like name.
func NearestAttribute(name string, c device.Class) string {
	best, least := "", math.MaxInt
	name = strings.ToLower(name)
	for _, have := range device.AttributeNames(c) {
		full := strings.ToLower(have)
		d := device.Distance(name, full)
		if i := strings.LastIndexByte(full, '.'); i >= 0 { // "speed" means "Vehicle.Speed"
			d = min(d, device.Distance(name, full[i+1:])+1)
		}
		if d < least {
			best, least = have, d
		}
	}
	return best
}
