package wire

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"

	"github.com/fxamacker/cbor/v2"

	"porchlight/device"
)

// pairs is a frame as any encoder would see it.
type pairs = map[any]any

func key(n int) any { return uint64(n) }

// TestDecodeRefuses changes one thing in a golden frame.
func TestDecodeRefuses(t *testing.T) {
	long := strings.Repeat("x", 70)
	sub := func(m pairs, keys ...int) pairs {
		for _, k := range keys {
			m = m[key(k)].(pairs)
		}
		return m
	}
	item := func(m pairs, k, i int) pairs { return m[key(k)].([]any)[i].(pairs) }
	many := func(n int, v any) []any { return slices.Repeat([]any{v}, n) }
	tests := map[string]struct {
		frame string
		edit  func(m pairs)
		want  string // after "bad frame: ", for the leaf of frame; "" means that it is taken
	}{
		"unchanged":                 {"up/birth birth of a television", func(m pairs) {}, ""},
		"a key of a later version":  {"up/birth birth of a television", func(m pairs) { m[key(99)] = many(3, pairs{"any": 1.5}) }, ""},
		"a negative key":            {"up/birth birth of a television", func(m pairs) { m[int64(-1)] = "x" }, ""},
		"a text key":                {"up/birth birth of a television", func(m pairs) { m["seq"] = 1 }, `a key is the text "seq", it must be an integer`},
		"a text key further in":     {"up/birth birth of a television", func(m pairs) { sub(m, 3)["forms"] = 1 }, `caps: a key is the text "forms", it must be an integer`},
		"no seq":                    {"up/birth birth of a television", func(m pairs) { delete(m, key(0)) }, "seq is missing: key 0"},
		"no model":                  {"up/birth birth of a television", func(m pairs) { delete(m, key(1)) }, "model is missing: key 1"},
		"no maker":                  {"up/birth birth of a television", func(m pairs) { delete(sub(m, 1), key(0)) }, "model: maker is missing: key 0"},
		"no class":                  {"up/birth birth of a television", func(m pairs) { delete(m, key(2)) }, "class is missing: key 2"},
		"no caps":                   {"up/birth birth of a television", func(m pairs) { delete(m, key(3)) }, "caps is missing: key 3"},
		"no attributes":             {"up/birth birth of a television", func(m pairs) { delete(m, key(4)) }, "attributes is missing: key 4"},
		"seq null":                  {"up/birth birth of a television", func(m pairs) { m[key(0)] = nil }, "seq is null, it must be an unsigned integer"},
		"seq negative":              {"up/birth birth of a television", func(m pairs) { m[key(0)] = -1 }, "seq is -1, it must be an unsigned integer"},
		"seq a float":               {"up/birth birth of a television", func(m pairs) { m[key(0)] = 2.0 }, "seq is the floating-point number 2, it must be an unsigned integer"},
		"seq a text":                {"up/birth birth of a television", func(m pairs) { m[key(0)] = long }, `seq is the text "` + long[:40] + `"..., it must be an unsigned integer`},
		"seq too large":             {"up/birth birth of a television", func(m pairs) { m[key(0)] = uint64(math.MaxUint64) }, "seq is 18446744073709551615, at most 9007199254740991"},
		"clock in nanoseconds":      {"up/birth birth of a television", func(m pairs) { m[key(6)] = 1_790_000_000_123_000_000 }, "clock is 1790000000123000000, at most 9007199254740991"},
		"class 77":                  {"up/birth birth of a television", func(m pairs) { m[key(2)] = 77 }, "class 77 is unknown"},
		"class 0":                   {"up/birth birth of a television", func(m pairs) { m[key(2)] = 0 }, "class 0 is unknown"},
		"class that would wrap":     {"up/birth birth of a television", func(m pairs) { m[key(2)] = 256 + 1 }, "class 257 is unknown"},
		"class in words":            {"up/birth birth of a television", func(m pairs) { m[key(2)] = "tv" }, `class is the text "tv", it must be an unsigned integer`},
		"a form of a later version": {"up/birth birth of a television", func(m pairs) { sub(m, 3)[key(3)] = []any{0, 2, 5, 6, 256, 1 << 60} }, ""},
		"forms a byte string":       {"up/birth birth of a television", func(m pairs) { sub(m, 3)[key(3)] = []byte{0, 2} }, "caps: forms is a byte string of 2, it must be a list"},
		"a negative form":           {"up/birth birth of a television", func(m pairs) { sub(m, 3)[key(3)] = []any{-1} }, "caps: forms[0]: it is -1, it must be an unsigned integer"},
		"two screen numbers":        {"up/birth birth of a television", func(m pairs) { sub(m, 3)[key(0)] = []any{1, 2} }, "caps: screen has 2 items, 3 allowed"},
		"no screen numbers":         {"up/birth birth of a television", func(m pairs) { sub(m, 3)[key(0)] = []any{} }, "caps: screen has 0 items, 3 allowed"},
		"pixels that would wrap":    {"up/birth birth of a television", func(m pairs) { sub(m, 3)[key(0)] = []any{1, 2, 1 << 32} }, "caps: screen[2]: it is 4294967296, at most 65535"},
		"bits that would wrap":      {"up/birth birth of a television", func(m pairs) { sub(m, 3)[key(1)] = 1 << 32 }, "caps: inputs is 4294967296, at most 4294967295"},
		"caps a list":               {"up/birth birth of a television", func(m pairs) { m[key(3)] = []any{} }, "caps: it is a list of 0, it must be a map"},
		"attribute without a name":  {"up/birth birth of a television", func(m pairs) { m[key(4)] = []any{"state", ""} }, "attributes[1]: it is empty, 1 to 64 bytes allowed"},
		"attribute a number":        {"up/birth birth of a television", func(m pairs) { m[key(4)] = []any{7} }, "attributes[0]: it is 7, it must be a text"},
		"attribute twice":           {"up/birth birth of a television", func(m pairs) { m[key(4)] = []any{"a", "b", "a"} }, `attributes: "a" occurs twice`},
		"attribute too long":        {"up/birth birth of a television", func(m pairs) { m[key(4)] = []any{long} }, "attributes[0]: it is 70 bytes long, at most 64"},
		"maker too long":            {"up/birth birth of a television", func(m pairs) { sub(m, 1)[key(0)] = long }, "model: maker is 70 bytes long, at most 64"},
		"50 held":                   {"up/birth birth of a television", func(m pairs) { m[key(8)] = many(50, make([]byte, 16)) }, ""},
		"51 held":                   {"up/birth birth of a television", func(m pairs) { m[key(8)] = many(51, make([]byte, 16)) }, "held has 51 items, at most 50"},
		"a short ID held":           {"up/birth birth of a television", func(m pairs) { m[key(8)] = []any{make([]byte, 15)} }, "held[0]: it is a byte string of 15, it must be a byte string of 16"},

		"a text of 70 bytes":        {"up/ctx context of every kind", func(m pairs) { sub(m, 3)[key(4)] = long }, `values: "ux.driving" is 70 bytes long, at most 64`},
		"a place beyond":            {"up/ctx context of every kind", func(m pairs) { sub(m, 3)[key(5)] = 1 }, "values: place 5 is beyond the 5 attributes of the birth"},
		"a place far beyond":        {"up/ctx context of every kind", func(m pairs) { sub(m, 3)[uint64(math.MaxUint64)] = 1 }, "values: place 18446744073709551615 is beyond the 5 attributes of the birth"},
		"a negative place":          {"up/ctx context of every kind", func(m pairs) { sub(m, 3)[int64(-1)] = 1 }, "values: a key is -1, it must be a place or a name"},
		"by place and by name":      {"up/ctx context by places", func(m pairs) { sub(m, 3)["state"] = "off" }, `values: "state" occurs twice`},
		"a name without a letter":   {"up/ctx context by names", func(m pairs) { sub(m, 3)[""] = 1 }, `values: name "" is empty, 1 to 64 bytes allowed`},
		"a name too long":           {"up/ctx context by names", func(m pairs) { sub(m, 3)[long] = 1 }, `values: name "` + long[:40] + `"... is 70 bytes long, at most 64`},
		"beyond an int64":           {"up/ctx context by names", func(m pairs) { sub(m, 3)["x"] = uint64(1 << 63) }, `values: "x" is 9223372036854775808, use true or false, a number that fits an int64, a text or null`},
		"infinite":                  {"up/ctx context by names", func(m pairs) { sub(m, 3)["x"] = math.Inf(-1) }, `values: "x" is -Inf, only finite numbers are allowed`},
		"a list as a value":         {"up/ctx context by names", func(m pairs) { sub(m, 3)["x"] = []any{1} }, `values: "x" is a list of 1, use true or false, a number that fits an int64, a text or null`},
		"bytes as a value":          {"up/ctx context by names", func(m pairs) { sub(m, 3)["x"] = []byte("abc") }, `values: "x" is a byte string of 3, use true or false, a number that fits an int64, a text or null`},
		"values missing":            {"up/ctx context by names", func(m pairs) { delete(m, key(3)) }, "values is missing: key 3"},
		"values a list":             {"up/ctx context by names", func(m pairs) { m[key(3)] = []any{} }, "values is a list of 0, it must be a map"},
		"complete a number":         {"up/ctx context by names", func(m pairs) { m[key(4)] = 1 }, "complete is 1, it must be true or false"},
		"a simple value":            {"up/ctx context by names", func(m pairs) { m[key(4)] = cbor.SimpleValue(99) }, "complete is the simple value 99, it must be true or false"},
		"undefined":                 {"up/ctx context by names", func(m pairs) { sub(m, 3)["x"] = cbor.SimpleValue(23) }, "the value undefined is not allowed, use null"},
		"a tag":                     {"up/ctx context by names", func(m pairs) { m[key(1)] = cbor.Tag{Number: 1, Content: 5} }, "CBOR tag isn't allowed"},
		"a big number":              {"up/ctx context by names", func(m pairs) { sub(m, 3)["x"] = cbor.RawMessage{0x3b, 255, 255, 255, 255, 255, 255, 255, 255} }, `values: "x" is an integer beyond 64 bits, use true or false, a number that fits an int64, a text or null`},
		"65 values":                 {"up/ctx context by names", func(m pairs) { fill(sub(m, 3), 65) }, "exceeded max number of key-value pairs 64 for CBOR map"},
		"64 values":                 {"up/ctx context by names", func(m pairs) { fill(sub(m, 3), 64) }, ""},
		"65 items where none count": {"up/ctx context by names", func(m pairs) { m[key(99)] = many(65, 0) }, "exceeded max number of elements 64 for CBOR array"},

		"event 0":                {"up/evt presented", func(m pairs) { m[key(2)] = 0 }, "event 0 is unknown"},
		"event 10":               {"up/evt presented", func(m pairs) { m[key(2)] = 10 }, "event 10 is unknown"},
		"event that would wrap":  {"up/evt presented", func(m pairs) { m[key(2)] = 258 }, "event 258 is unknown"},
		"wish 5":                 {"up/evt presented", func(m pairs) { m[key(4)] = 5 }, "wish 5 is unknown"},
		"reason 256":             {"up/evt presented", func(m pairs) { m[key(5)] = 256 }, "reason 256 is unknown"},
		"response too large":     {"up/evt presented", func(m pairs) { m[key(3)] = 1 << 32 }, "response is 4294967296, at most 4294967295"},
		"response null":          {"up/evt presented", func(m pairs) { m[key(3)] = nil }, "response is null, it must be an unsigned integer"},
		"message of 15 bytes":    {"up/evt presented", func(m pairs) { m[key(1)] = make([]byte, 15) }, "message is a byte string of 15, it must be a byte string of 16"},
		"message of 17 bytes":    {"up/evt presented", func(m pairs) { m[key(1)] = make([]byte, 17) }, "message is a byte string of 17, it must be a byte string of 16"},
		"message a list":         {"up/evt presented", func(m pairs) { m[key(1)] = many(16, 1) }, "message is a list of 16, it must be a byte string of 16"},
		"message a text":         {"up/evt presented", func(m pairs) { m[key(1)] = "0123456789abcdef" }, `message is the text "0123456789abcdef", it must be a byte string of 16`},
		"message missing":        {"up/evt presented", func(m pairs) { delete(m, key(1)) }, "message is missing: key 1"},
		"brand in capitals":      {"up/twin consent given on the television", func(m pairs) { item(m, 3, 0)[key(0)] = "Fresh" }, `brands[0]: bad ID: brand "Fresh" is not 2 to 32 characters of a-z, 0-9 and hyphen, beginning with a letter`},
		"choice silent":          {"up/twin consent given on the television", func(m pairs) { item(m, 3, 0)[key(3)] = "silent" }, `brands[0]: choice "silent" is unknown`},
		"no purpose":             {"up/twin consent given on the television", func(m pairs) { delete(item(m, 3, 0), key(2)) }, "brands[0]: purpose is missing: key 2"},
		"purpose empty":          {"up/twin consent given on the television", func(m pairs) { item(m, 3, 0)[key(2)] = "" }, "brands[0]: purpose is empty, 1 to 32 bytes allowed"},
		"a brand that is no map": {"up/twin consent given on the television", func(m pairs) { m[key(3)] = []any{1} }, "brands[0]: it is 1, it must be a map"},
		"person beyond int32":    {"up/twin consent given on the television", func(m pairs) { m[key(2)] = 1 << 31 }, "person is 2147483648, at most 2147483647"},
		"no base":                {"up/twin consent given on the television", func(m pairs) { delete(m, key(1)) }, "base is missing: key 1"},
		"quiet null":             {"up/twin consent given on the television", func(m pairs) { m[key(4)] = nil }, "quiet is null, it must be a list"},
		"an eighth day":          {"up/twin quiet times replaced, mutes lifted", func(m pairs) { item(m, 4, 0)[key(0)] = 128 }, "quiet[0]: days is 128, at most 127"},
		"minute 1440":            {"up/twin quiet times replaced, mutes lifted", func(m pairs) { item(m, 4, 0)[key(2)] = 1440 }, "quiet[0]: end is 1440, at most 1439"},
		"minute that would wrap": {"up/twin quiet times replaced, mutes lifted", func(m pairs) { item(m, 4, 0)[key(1)] = 65536 }, "quiet[0]: start is 65536, at most 1439"},
		"a mute of nobody":       {"up/twin quiet times replaced, mutes lifted", func(m pairs) { m[key(5)] = []any{pairs{0: ""}} }, "mutes[0]: brand is empty, 1 to 32 bytes allowed"},
		"bye for no reason":      {"up/bye off", func(m pairs) { m[key(1)] = "bored" }, `reason "bored" is unknown`},

		"op 3":                     {"dn/msg present", func(m pairs) { m[key(0)] = 3 }, "op 3 is unknown: 1 presents, 2 cancels"},
		"no op":                    {"dn/msg present", func(m pairs) { delete(m, key(0)) }, "op is missing: key 0"},
		"no priority":              {"dn/msg present", func(m pairs) { delete(m, key(2)) }, "priority is missing: key 2"},
		"no control":               {"dn/msg present", func(m pairs) { delete(m, key(3)) }, "control is missing: key 3"},
		"no valid until":           {"dn/msg present", func(m pairs) { delete(m, key(4)) }, "valid until is missing: key 4"},
		"no live":                  {"dn/msg present", func(m pairs) { delete(m, key(5)) }, "live is missing: key 5"},
		"no text":                  {"dn/msg present", func(m pairs) { delete(m, key(6)) }, "text is missing: key 6"},
		"no lease":                 {"dn/msg present", func(m pairs) { delete(m, key(16)) }, "lease is missing: key 16"},
		"no epoch":                 {"dn/msg present", func(m pairs) { delete(m, key(17)) }, "epoch is missing: key 17"},
		"priority 4":               {"dn/msg present", func(m pairs) { m[key(2)] = 4 }, "priority 4 is unknown"},
		"text of 512":              {"dn/msg present", func(m pairs) { m[key(6)] = strings.Repeat("x", 512) }, ""},
		"text of 513":              {"dn/msg present", func(m pairs) { m[key(6)] = strings.Repeat("x", 513) }, "text is 513 bytes long, at most 512"},
		"text empty":               {"dn/msg present", func(m pairs) { m[key(6)] = "" }, "text is empty, 1 to 512 bytes allowed"},
		"title empty":              {"dn/msg present", func(m pairs) { m[key(7)] = "" }, "title is empty, 1 to 64 bytes allowed"},
		"sender too long":          {"dn/msg present", func(m pairs) { m[key(8)] = long }, "sender is 70 bytes long, at most 64"},
		"no buttons":               {"dn/msg present", func(m pairs) { m[key(9)] = []any{} }, "responses has no items, 1 to 4 allowed"},
		"five buttons":             {"dn/msg present", func(m pairs) { m[key(9)] = many(5, pairs{0: 1, 1: "x"}) }, "responses has 5 items, at most 4"},
		"two buttons with one ID":  {"dn/msg present", func(m pairs) { m[key(9)] = many(2, pairs{0: 1, 1: "x"}) }, "responses: id 1 occurs twice"},
		"a button without a label": {"dn/msg present", func(m pairs) { m[key(9)] = []any{pairs{0: 1, 1: ""}} }, "responses[0]: label is empty, 1 to 32 bytes allowed"},
		"a long label":             {"dn/msg present", func(m pairs) { m[key(9)] = []any{pairs{0: 1, 1: long}} }, "responses[0]: label is 70 bytes long, at most 32"},
		"form 6":                   {"dn/msg present", func(m pairs) { m[key(10)] = 6 }, "form 6 is unknown"},
		"guard by place":           {"dn/msg present", func(m pairs) { m[key(13)] = pairs{0: []any{"eq", 1}} }, "guards: a key is 0, it must be a name"},
		"guard of one item":        {"dn/msg present", func(m pairs) { m[key(13)] = pairs{"dnd": []any{"eq"}} }, `guards: "dnd" is a list of 1, it must be a list of an op and a value`},
		"guard with a new op":      {"dn/msg present", func(m pairs) { m[key(13)] = pairs{"dnd": []any{"in", 1}} }, `guards: "dnd": op "in" is unknown: use eq, ne, lt, le, gt or ge`},
		"guard without an op":      {"dn/msg present", func(m pairs) { m[key(13)] = pairs{"dnd": []any{1, 1}} }, `guards: "dnd": op is 1, it must be a text`},
		"guard on NaN":             {"dn/msg present", func(m pairs) { m[key(13)] = pairs{"dnd": []any{"eq", math.NaN()}} }, `guards: "dnd": value is NaN, only finite numbers are allowed`},
		"guard of nothing":         {"dn/msg present", func(m pairs) { m[key(13)] = pairs{"": []any{"eq", 1}} }, `guards: name "" is empty, 1 to 64 bytes allowed`},
		"language empty":           {"dn/msg present", func(m pairs) { m[key(15)] = "" }, "language is empty, 1 to 35 bytes allowed"},
		"cancel of nothing":        {"dn/msg cancel", func(m pairs) { delete(m, key(1)) }, "message is missing: key 1"},
		"fence beyond":             {"dn/msg cancel with a fence", func(m pairs) { m[key(2)] = 1 << 53 }, "fence is 9007199254740992, at most 9007199254740991"},
		"beacon without keep":      {"dn/time beacon", func(m pairs) { delete(m, key(2)) }, "keep is missing: key 2"},
		"beacon without fence":     {"dn/time beacon", func(m pairs) { delete(m, key(1)) }, "fence is missing: key 1"},
		"51 kept":                  {"dn/time beacon", func(m pairs) { m[key(2)] = many(51, make([]byte, 16)) }, "keep has 51 items, at most 50"},
		"twin without doc":         {"dn/twin twin", func(m pairs) { delete(m, key(1)) }, "doc is missing: key 1"},
		"silent in a doc":          {"dn/twin twin", func(m pairs) { item(sub(m, 1), 0, 0)[key(3)] = "silent" }, ""},
		"a choice nobody knows":    {"dn/twin twin", func(m pairs) { item(sub(m, 1), 0, 1)[key(3)] = "maybe" }, `doc: brands[1]: choice "maybe" is unknown`},
		"doc too large": {"dn/twin twin", func(m pairs) {
			sub(m, 1)[key(0)] = many(64, pairs{0: "fresh-co", 1: long[:60], 2: "marketing", 3: "given"})
		}, "doc is 5950 bytes long, at most 4096"},
		"a cap without a number":    {"dn/twin long twin", func(m pairs) { delete(item(sub(m, 1), 4, 0), key(2)) }, "doc: caps[0]: max is missing: key 2"},
		"a cap of 1001":             {"dn/twin long twin", func(m pairs) { item(sub(m, 1), 4, 0)[key(2)] = 1001 }, "doc: caps[0]: max is 1001, at most 1000"},
		"a cap that would wrap":     {"dn/twin long twin", func(m pairs) { item(sub(m, 1), 4, 0)[key(2)] = 65536 + 1 }, "doc: caps[0]: max is 65537, at most 1000"},
		"a cap of 169 hours":        {"dn/twin long twin", func(m pairs) { item(sub(m, 1), 4, 2)[key(3)] = 169 }, "doc: caps[2]: hours is 169, at most 168"},
		"a cap of 1441 minutes":     {"dn/twin long twin", func(m pairs) { item(sub(m, 1), 4, 1)[key(4)] = 1441 }, "doc: caps[1]: minutes is 1441, at most 1440"},
		"a cap of two windows":      {"dn/twin long twin", func(m pairs) { item(sub(m, 1), 4, 1)[key(3)] = 1 }, "doc: caps[1]: hours and minutes: one of the two"},
		"a cap of minutes and week": {"dn/twin long twin", func(m pairs) { item(sub(m, 1), 4, 1)[key(11)] = true }, "doc: caps[1]: hours, minutes, week and trip: one of them"},
		"a cap of week and trip":    {"dn/twin long twin", func(m pairs) { item(sub(m, 1), 4, 3)[key(12)] = true }, "doc: caps[3]: hours, minutes, week and trip: one of them"},
		"a cap of a class 77":       {"dn/twin long twin", func(m pairs) { item(sub(m, 1), 4, 1)[key(7)] = 77 }, "doc: caps[1]: class 77 is unknown"},
		"a cap of no device":        {"dn/twin long twin", func(m pairs) { item(sub(m, 1), 4, 1)[key(8)] = "" }, "doc: caps[1]: device is empty, 1 to 32 bytes allowed"},
		"a cap of a device TV":      {"dn/twin long twin", func(m pairs) { item(sub(m, 1), 4, 1)[key(8)] = "TV-1" }, `doc: caps[1]: bad ID: device "TV-1" is not 4 to 32 characters of a-z, 0-9 and hyphen, beginning with a letter or digit`},
		"a cap of no brand":         {"dn/twin long twin", func(m pairs) { item(sub(m, 1), 4, 1)[key(0)] = "" }, "doc: caps[1]: brand is empty, 1 to 32 bytes allowed"},
		"a mute of a room beyond":   {"dn/twin long twin", func(m pairs) { item(sub(m, 1), 2, 1)[key(6)] = 1 << 31 }, "doc: mutes[1]: room is 2147483648, at most 2147483647"},
		"a mute of a purpose, long": {"dn/twin long twin", func(m pairs) { item(sub(m, 1), 2, 1)[key(3)] = long[:33] }, "doc: mutes[1]: purpose is 33 bytes long, at most 32"},
		"a mute of a device, TV":    {"dn/twin long twin", func(m pairs) { item(sub(m, 1), 2, 1)[key(5)] = "TV-1" }, `doc: mutes[1]: bad ID: device "TV-1" is not 4 to 32 characters of a-z, 0-9 and hyphen, beginning with a letter or digit`},
		"a mute of content 1<<32":   {"dn/twin long twin", func(m pairs) { item(sub(m, 1), 2, 1)[key(7)] = 1 << 32 }, "doc: mutes[1]: content is 4294967296, at most 4294967295"},
		"a quiet time of nobody":    {"dn/twin long twin", func(m pairs) { item(sub(m, 1), 1, 0)[key(4)] = -1 }, "doc: quiet[0]: owner is -1, it must be an unsigned integer"},
		"a quiet time, no zone":     {"dn/twin long twin", func(m pairs) { item(sub(m, 1), 1, 0)[key(3)] = "" }, "doc: quiet[0]: zone is empty, 1 to 64 bytes allowed"},
		"a moment twice":            {"dn/twin long twin", func(m pairs) { sub(m, 1)[key(5)] = []any{"film", "film"} }, `doc: moments: "film" occurs twice`},
		"a moment of later":         {"dn/twin long twin", func(m pairs) { sub(m, 1)[key(5)] = []any{"dinner"} }, ""},
		"a moment without a word":   {"dn/twin long twin", func(m pairs) { sub(m, 1)[key(5)] = []any{""} }, "doc: moments[0]: it is empty, 1 to 32 bytes allowed"},
		"a language twice":          {"dn/twin long twin", func(m pairs) { sub(m, 1)[key(6)] = []any{"de", "de"} }, `doc: languages: "de" occurs twice`},
		"a language too long":       {"dn/twin long twin", func(m pairs) { sub(m, 1)[key(6)] = []any{long[:36]} }, "doc: languages[0]: it is 36 bytes long, at most 35"},
		"a person 0":                {"dn/twin long twin", func(m pairs) { item(sub(m, 1), 7, 0)[key(0)] = 0 }, "doc: people[0]: person is 0, 1 to 2147483647 allowed"},
		"a person without a name":   {"dn/twin long twin", func(m pairs) { delete(item(sub(m, 1), 7, 0), key(1)) }, "doc: people[0]: name is missing: key 1"},
		"a room 0":                  {"dn/twin long twin", func(m pairs) { item(sub(m, 1), 8, 0)[key(0)] = 0 }, "doc: rooms[0]: room is 0, 1 to 2147483647 allowed"},
		"a room called nothing":     {"dn/twin long twin", func(m pairs) { item(sub(m, 1), 8, 1)[key(1)] = "" }, "doc: rooms[1]: name is empty, 1 to 64 bytes allowed"},
		"frozen 1":                  {"dn/twin long twin", func(m pairs) { sub(m, 1)[key(9)] = 1 }, "doc: frozen is 1, it must be true or false"},
		"learnt nothing":            {"dn/twin long twin", func(m pairs) { sub(m, 1)[key(10)] = []any{""} }, "doc: learnt[0]: it is empty, 1 to 512 bytes allowed"},
		"caps null":                 {"up/twin all else proposed", func(m pairs) { m[key(6)] = nil }, "caps is null, it must be a list"},
		"moments null":              {"up/twin all else proposed", func(m pairs) { m[key(7)] = nil }, "moments is null, it must be a list"},
		"languages a text":          {"up/twin all else proposed", func(m pairs) { m[key(8)] = "de" }, `languages is the text "de", it must be a list`},
		"65 languages":              {"up/twin all else proposed", func(m pairs) { m[key(8)] = many(65, "de") }, "exceeded max number of elements 64 for CBOR array"},
		"frozen null":               {"up/twin all else proposed", func(m pairs) { m[key(9)] = nil }, "frozen is null, it must be true or false"},
		"forget a line":             {"up/twin all else proposed", func(m pairs) { m[key(10)] = []any{"all"} }, `forget[0]: it is the text "all", it must be an unsigned integer`},
		"forget the 65th":           {"up/twin all else proposed", func(m pairs) { m[key(10)] = []any{64} }, "forget[0]: it is 64, at most 63"},

		"a picture elsewhere":         {"dn/msg present with a picture", func(m pairs) { sub(m, 12)[key(0)] = "https://cdn.example/x" }, `picture: path is "https://cdn.example/x", it must begin with /p/ and have only letters, digits and - _ . /`},
		"a picture at another host":   {"dn/msg present with a picture", func(m pairs) { sub(m, 12)[key(0)] = "//p/x" }, `picture: path is "//p/x", it must begin with /p/ and have only letters, digits and - _ . /`},
		"a picture further up":        {"dn/msg present with a picture", func(m pairs) { sub(m, 12)[key(0)] = "/p/../x" }, `picture: path is "/p/../x", it must begin with /p/ and have only letters, digits and - _ . /`},
		"a picture with a question":   {"dn/msg present with a picture", func(m pairs) { sub(m, 12)[key(0)] = "/p/x?who=1" }, `picture: path is "/p/x?who=1", it must begin with /p/ and have only letters, digits and - _ . /`},
		"a picture of another door":   {"dn/msg present with a picture", func(m pairs) { sub(m, 12)[key(0)] = "/v1/homes" }, `picture: path is "/v1/homes", it must begin with /p/ and have only letters, digits and - _ . /`},
		"a picture nowhere":           {"dn/msg present with a picture", func(m pairs) { delete(sub(m, 12), key(0)) }, "picture: path is missing: key 0"},
		"a picture too far":           {"dn/msg present with a picture", func(m pairs) { sub(m, 12)[key(0)] = "/p/" + strings.Repeat("x", 126) }, "picture: path is 129 bytes long, at most 128"},
		"a picture of any bytes":      {"dn/msg present with a picture", func(m pairs) { delete(sub(m, 12), key(1)) }, "picture: sha256 is missing: key 1"},
		"a picture with half a hash":  {"dn/msg present with a picture", func(m pairs) { sub(m, 12)[key(1)] = make([]byte, 16) }, "picture: sha256 is 16 bytes long, 32 needed"},
		"a picture of no bytes":       {"dn/msg present with a picture", func(m pairs) { sub(m, 12)[key(2)] = 0 }, "picture: bytes is 0, 1 to 4294967295 allowed"},
		"a picture of nothing":        {"dn/msg present with a picture", func(m pairs) { sub(m, 12)[key(3)] = "" }, "picture: alt is empty, 1 to 128 bytes allowed"},
		"a picture that is its path":  {"dn/msg present with a picture", func(m pairs) { m[key(12)] = "/p/x" }, `picture: it is the text "/p/x", it must be a map`},
		"content in words":            {"dn/msg present with a picture", func(m pairs) { m[key(18)] = "sound" }, `content is the text "sound", it must be an unsigned integer`},
		"content of a later version":  {"dn/msg present with a picture", func(m pairs) { m[key(18)] = 15 }, ""},
		"content that would wrap":     {"dn/msg present with a picture", func(m pairs) { m[key(18)] = 1 << 32 }, "content is 4294967296, at most 4294967295"},
		"asked without an ID":         {"dn/ask ask", func(m pairs) { delete(m, key(0)) }, "id is missing: key 0"},
		"asked for no time":           {"dn/ask ask", func(m pairs) { m[key(1)] = 0 }, "live is 0, 1 to 600000 allowed"},
		"asked for ten minutes":       {"dn/ask ask", func(m pairs) { m[key(1)] = 600_000 }, ""},
		"asked for longer":            {"dn/ask ask", func(m pairs) { m[key(1)] = 600_001 }, "live is 600001, at most 600000"},
		"asked by nobody":             {"dn/ask ask", func(m pairs) { m[key(2)] = "" }, "who is empty, 1 to 64 bytes allowed"},
		"asked by a line feed":        {"dn/ask ask", func(m pairs) { m[key(2)] = "Fresh\n& Co" }, "who has characters that cannot be printed"},
		"asked nothing":               {"dn/ask ask", func(m pairs) { m[key(3)] = "" }, "text is empty, 1 to 512 bytes allowed"},
		"asked in 140 characters":     {"dn/ask ask", func(m pairs) { m[key(3)] = strings.Repeat("ü", 140) }, ""},
		"asked in 141 characters":     {"dn/ask ask", func(m pairs) { m[key(3)] = strings.Repeat("ü", 141) }, "text has 141 characters, at most 140"},
		"asked in 513 bytes":          {"dn/ask ask", func(m pairs) { m[key(3)] = strings.Repeat("世", 171) }, "text is 513 bytes long, at most 512"},
		"nothing more":                {"dn/ask ask", func(m pairs) { m[key(4)] = "" }, "more is empty, 1 to 512 bytes allowed"},
		"more, without anything more": {"dn/ask ask", func(m pairs) { delete(m, key(4)) }, "controls: there is nothing more to show"},
		"no controls":                 {"dn/ask ask", func(m pairs) { delete(m, key(5)) }, "controls is missing: key 5"},
		"an empty list of controls":   {"dn/ask ask", func(m pairs) { m[key(5)] = []any{} }, "controls: yes and no are both needed"},
		"only a yes":                  {"dn/ask least ask", func(m pairs) { m[key(5)] = []any{pairs{0: 1, 1: "Yes"}} }, "controls: yes and no are both needed"},
		"only a no":                   {"dn/ask least ask", func(m pairs) { m[key(5)] = []any{pairs{0: 2, 1: "No"}, pairs{0: 4, 1: "Phone"}} }, "controls: yes and no are both needed"},
		"two ways to say yes":         {"dn/ask least ask", func(m pairs) { m[key(5)] = []any{pairs{0: 1, 1: "Yes"}, pairs{0: 2, 1: "No"}, pairs{0: 1, 1: "OK"}} }, "controls: control 1 occurs twice"},
		"five controls":               {"dn/ask ask", func(m pairs) { m[key(5)] = many(5, pairs{0: 1, 1: "x"}) }, "controls has 5 items, at most 4"},
		"a control of later":          {"dn/ask ask", func(m pairs) { item(m, 5, 3)[key(0)] = 5 }, "controls[3]: control 5 is unknown: 1 yes, 2 no, 3 more, 4 phone"},
		"a control that would wrap":   {"dn/ask ask", func(m pairs) { item(m, 5, 3)[key(0)] = 256 + 1 }, "controls[3]: control 257 is unknown"},
		"a control without a word":    {"dn/ask ask", func(m pairs) { item(m, 5, 1)[key(1)] = "" }, "controls[1]: label is empty, 1 to 32 bytes allowed"},
		"asked in no language":        {"dn/ask ask", func(m pairs) { m[key(6)] = "" }, "language is empty, 1 to 35 bytes allowed"},
		"asked without a notice":      {"dn/ask ask", func(m pairs) { delete(m, key(7)) }, "notice is missing: key 7"},
		"a notice in hexadecimal":     {"dn/ask ask", func(m pairs) { m[key(7)] = "0708" }, `notice is the text "0708", it must be a byte string`},
		"a notice of 31":              {"dn/ask ask", func(m pairs) { m[key(7)] = make([]byte, 31) }, "notice is 31 bytes long, 32 needed"},
		"nothing to say":              {"dn/ask ask", func(m pairs) { m[key(8)] = "" }, "say is empty, 1 to 512 bytes allowed"},
		"asked without an epoch":      {"dn/ask ask", func(m pairs) { delete(m, key(9)) }, "epoch is missing: key 9"},

		"answer 0":                       {"up/ans yes", func(m pairs) { m[key(2)] = 0 }, "answer 0 is unknown: 1 drawn, 2 yes, 3 no, 4 deferred"},
		"answer 5":                       {"up/ans yes", func(m pairs) { m[key(2)] = 5 }, "answer 5 is unknown: 1 drawn, 2 yes, 3 no, 4 deferred"},
		"answer that would wrap":         {"up/ans yes", func(m pairs) { m[key(2)] = 256 + 2 }, "answer 258 is unknown"},
		"answered without a seq":         {"up/ans yes", func(m pairs) { delete(m, key(0)) }, "seq is missing: key 0"},
		"answered nothing":               {"up/ans yes", func(m pairs) { delete(m, key(1)) }, "ask is missing: key 1"},
		"yes, for a reason":              {"up/ans yes", func(m pairs) { m[key(3)] = 1 }, "why: deferred needs it, nothing else has it"},
		"deferred for none":              {"up/ans deferred", func(m pairs) { delete(m, key(3)) }, "why: deferred needs it, nothing else has it"},
		"deferred for 0":                 {"up/ans deferred", func(m pairs) { m[key(3)] = 0 }, "why: deferred needs it, nothing else has it"},
		"deferred for 256":               {"up/ans deferred", func(m pairs) { m[key(3)] = 256 }, "why 256 is unknown"},
		"yes, as it was drawn":           {"up/ans yes", func(m pairs) { m[key(5)] = []any{pairs{0: 1, 1: 1}, pairs{0: 2, 1: 1}} }, "drawn and picture: only drawn has them"},
		"yes, with a picture":            {"up/ans yes", func(m pairs) { m[key(6)] = make([]byte, 32) }, "drawn and picture: only drawn has them"},
		"yes of somebody beyond":         {"up/ans yes", func(m pairs) { m[key(4)] = 1 << 31 }, "person is 2147483648, at most 2147483647"},
		"nothing drawn":                  {"up/ans drawn", func(m pairs) { delete(m, key(5)) }, "drawn: yes and no are both needed"},
		"no no drawn":                    {"up/ans said", func(m pairs) { m[key(5)] = []any{pairs{0: 1, 1: 1}} }, "drawn: yes and no are both needed"},
		"yes drawn twice":                {"up/ans drawn", func(m pairs) { item(m, 5, 2)[key(0)] = 1 }, "drawn: control 1 occurs twice"},
		"drawn without presses":          {"up/ans drawn", func(m pairs) { delete(item(m, 5, 1), key(1)) }, "drawn[1]: presses is missing: key 1"},
		"chosen without a press":         {"up/ans drawn", func(m pairs) { item(m, 5, 0)[key(1)] = 0 }, "drawn[0]: presses is 0, 1 to 100 allowed"},
		"101 presses":                    {"up/ans drawn", func(m pairs) { item(m, 5, 1)[key(1)] = 101 }, "drawn[1]: presses is 101, at most 100"},
		"a weight of 99":                 {"up/ans drawn", func(m pairs) { item(m, 5, 1)[key(3)] = 99 }, "drawn[1]: weight is 99, 100 to 900 allowed"},
		"a weight of 901":                {"up/ans drawn", func(m pairs) { item(m, 5, 1)[key(3)] = 901 }, "drawn[1]: weight is 901, at most 900"},
		"an area that would wrap":        {"up/ans drawn", func(m pairs) { item(m, 5, 1)[key(2)] = 1 << 32 }, "drawn[1]: area is 4294967296, at most 4294967295"},
		"a picture of 31":                {"up/ans drawn", func(m pairs) { m[key(6)] = make([]byte, 31) }, "picture is 31 bytes long, 32 needed"},
		"a fourth layer":                 {"up/ans drawn", func(m pairs) { m[key(7)] = 4 }, "layer is 4, at most 3"},
		"why without a seq":              {"up/why why this", func(m pairs) { delete(m, key(0)) }, "seq is missing: key 0"},
		"why a short ID":                 {"up/why why this", func(m pairs) { m[key(1)] = make([]byte, 15) }, "message is a byte string of 15, it must be a byte string of 16"},
		"why in no language":             {"up/why why this", func(m pairs) { m[key(2)] = "" }, "language is empty, 1 to 35 bytes allowed"},
		"because of nothing":             {"dn/why because", func(m pairs) { delete(m, key(2)) }, "lines is missing: key 2"},
		"because of 16 things":           {"dn/why because", func(m pairs) { m[key(2)] = many(16, "x") }, ""},
		"because of 17":                  {"dn/why because", func(m pairs) { m[key(2)] = many(17, "x") }, "lines has 17 items, at most 16"},
		"because of an empty line":       {"dn/why because", func(m pairs) { m[key(2)] = []any{"x", ""} }, "lines[1]: it is empty, 1 to 512 bytes allowed"},
		"because of much":                {"dn/why because", func(m pairs) { m[key(2)] = many(8, strings.Repeat("x", 512)) }, ""},
		"because of too much":            {"dn/why because", func(m pairs) { m[key(2)] = many(9, strings.Repeat("x", 512)) }, "lines are 4608 bytes long together, at most 4096"},
		"because in no language":         {"dn/why because", func(m pairs) { delete(m, key(3)) }, "language is missing: key 3"},
		"a signal of nothing":            {"up/sig GPC", func(m pairs) { delete(m, key(1)) }, "signal is missing: key 1"},
		"signal 4":                       {"up/sig GPC", func(m pairs) { m[key(1)] = 4 }, "signal 4 is unknown: 1 TCF, 2 GPP, 3 GPC"},
		"a signal of 4096":               {"up/sig TCF", func(m pairs) { m[key(2)] = strings.Repeat("A", 4096) }, ""},
		"a signal of 4097":               {"up/sig TCF", func(m pairs) { m[key(2)] = strings.Repeat("A", 4097) }, "value is 4097 bytes long, at most 4096"},
		"a signal in bytes":              {"up/sig TCF", func(m pairs) { m[key(2)] = []byte("C") }, "value is a byte string of 1, it must be a text"},
		"an empty signal":                {"up/sig TCF", func(m pairs) { m[key(2)] = "" }, ""},
		"a word 3":                       {"dn/word stopped", func(m pairs) { m[key(1)] = 3 }, "state 3 is unknown: 1 stopping, 2 stopped"},
		"a word without an epoch":        {"dn/word stopped", func(m pairs) { delete(m, key(0)) }, "epoch is missing: key 0"},
		"stopped, with a screen open":    {"dn/word stopping", func(m pairs) { m[key(1)] = 2 }, "open: nothing is, once it has stopped"},
		"stopping, 17 screens":           {"dn/word stopping", func(m pairs) { m[key(2)] = many(17, item(m, 2, 0)) }, "open has 17 items, at most 16"},
		"stopping, a screen for ever":    {"dn/word stopping", func(m pairs) { delete(item(m, 2, 0), key(1)) }, "open[0]: by is missing: key 1"},
		"stopping, a screen called much": {"dn/word stopping", func(m pairs) { item(m, 2, 0)[key(0)] = long }, "open[0]: name is 70 bytes long, at most 64"},

		"code 256": {"dn/err error", func(m pairs) { m[key(1)] = 256 }, "code is 256, at most 255"},
		"no code":  {"dn/err error", func(m pairs) { delete(m, key(1)) }, "code is missing: key 1"},

		"neither applied nor revealed": {"up/enrol fridge applies", func(m pairs) { m[key(0)] = 3 }, "op 3 is unknown: 1 applies, 2 reveals"},
		"op beyond":                    {"up/enrol fridge applies", func(m pairs) { m[key(0)] = 257 }, "op 257 is unknown: 1 applies, 2 reveals"},
		"applied without an op":        {"up/enrol fridge applies", func(m pairs) { delete(m, key(0)) }, "op is missing: key 0"},
		"applied uncommitted":          {"up/enrol fridge applies", func(m pairs) { delete(m, key(1)) }, "commit is missing: key 1"},
		"commit in hexadecimal":        {"up/enrol fridge applies", func(m pairs) { m[key(1)] = "ad3909f4" }, `commit is the text "ad3909f4", it must be a byte string`},
		"commit a list of bytes":       {"up/enrol fridge applies", func(m pairs) { m[key(1)] = many(32, 1) }, "commit is a list of 32, it must be a byte string"},
		"commit null":                  {"up/enrol fridge applies", func(m pairs) { m[key(1)] = nil }, "commit is null, it must be a byte string"},
		"commit cut":                   {"up/enrol fridge applies", func(m pairs) { m[key(1)] = make([]byte, 16) }, "commit is 16 bytes long, 32 needed"},
		"csr as PEM":                   {"up/enrol fridge applies", func(m pairs) { m[key(2)] = "-----BEGIN CERTIFICATE REQUEST-----" }, `csr is the text "-----BEGIN CERTIFICATE REQUEST-----", it must be a byte string`},
		"csr null":                     {"up/enrol fridge applies", func(m pairs) { m[key(2)] = nil }, "csr is null, it must be a byte string"},
		"csr empty":                    {"up/enrol fridge applies", func(m pairs) { m[key(2)] = []byte{} }, "csr is empty, 1 to 1024 bytes allowed"},
		"no csr":                       {"up/enrol fridge applies", func(m pairs) { delete(m, key(2)) }, ""},
		"csr of 1024":                  {"up/enrol fridge applies", func(m pairs) { m[key(2)] = make([]byte, 1024) }, ""},
		"csr of 1025":                  {"up/enrol fridge applies", func(m pairs) { m[key(2)] = make([]byte, 1025) }, "csr is 1025 bytes long, at most 1024"},
		"applied without a model":      {"up/enrol fridge applies", func(m pairs) { delete(m, key(3)) }, "model is missing: key 3"},
		"applied without a maker":      {"up/enrol fridge applies", func(m pairs) { delete(sub(m, 3), key(0)) }, "model: maker is missing: key 0"},
		"a long maker applies":         {"up/enrol fridge applies", func(m pairs) { sub(m, 3)[key(0)] = long }, "model: maker is 70 bytes long, at most 64"},
		"applied without a class":      {"up/enrol fridge applies", func(m pairs) { delete(m, key(4)) }, "class is missing: key 4"},
		"applied as class 261":         {"up/enrol fridge applies", func(m pairs) { m[key(4)] = 256 + 5 }, "class 261 is unknown"},
		"applied in no way":            {"up/enrol fridge applies", func(m pairs) { delete(m, key(5)) }, "way is missing: key 5"},
		"way 0":                        {"up/enrol fridge applies", func(m pairs) { m[key(5)] = 0 }, "way 0 is unknown: 1 code, 2 label, 3 home"},
		"way 257":                      {"up/enrol fridge applies", func(m pairs) { m[key(5)] = 257 }, "way 257 is unknown"},
		"applied with more":            {"up/enrol fridge applies", func(m pairs) { m[key(6)] = pairs{0: "evidence", 1: []byte{1}} }, ""},
		"nothing revealed":             {"up/enrol nonce", func(m pairs) { delete(m, key(1)) }, "nonce is missing: key 1"},
		"nonce a number":               {"up/enrol nonce", func(m pairs) { m[key(1)] = 7 }, "nonce is 7, it must be a byte string"},
		"nonce in hexadecimal":         {"up/enrol nonce", func(m pairs) { m[key(1)] = "00112233445566778899aabbccddeeff" }, `nonce is the text "00112233445566778899aabbccddeeff", it must be a byte string`},
		"nonce of 32":                  {"up/enrol nonce", func(m pairs) { m[key(1)] = make([]byte, 32) }, "nonce is 32 bytes long, 16 needed"},
		"proof empty":                  {"up/enrol nonce with a proof", func(m pairs) { m[key(2)] = []byte{} }, "proof is 0 bytes long, 32 needed"},
		"proof null":                   {"up/enrol nonce with a proof", func(m pairs) { m[key(2)] = nil }, "proof is null, it must be a byte string"},

		"op 4 of enrolment":           {"dn/enrol challenge", func(m pairs) { m[key(0)] = 4 }, "op 4 is unknown: 1 challenges, 2 admits, 3 turns away"},
		"challenge without a nonce":   {"dn/enrol challenge", func(m pairs) { delete(m, key(1)) }, "nonce is missing: key 1"},
		"challenge of 15":             {"dn/enrol challenge", func(m pairs) { m[key(1)] = make([]byte, 15) }, "nonce is 15 bytes long, 16 needed"},
		"admitted as nobody":          {"dn/enrol admitted with a certificate", func(m pairs) { delete(m, key(1)) }, "id is missing: key 1"},
		"admitted in capitals":        {"dn/enrol admitted with a certificate", func(m pairs) { m[key(1)] = "TV-1" }, `bad ID: device "TV-1" is not 4 to 32 characters of a-z, 0-9 and hyphen, beginning with a letter or digit`},
		"admitted with nothing":       {"dn/enrol admitted with a certificate", func(m pairs) { delete(m, key(2)) }, "certificate or token: one of the two is needed"},
		"admitted with both":          {"dn/enrol admitted with a certificate", func(m pairs) { m[key(3)] = "x" }, "certificate or token: one of the two is needed"},
		"certificate as PEM":          {"dn/enrol admitted with a certificate", func(m pairs) { m[key(2)] = "-----BEGIN CERTIFICATE-----" }, `certificate is the text "-----BEGIN CERTIFICATE-----", it must be a byte string`},
		"certificate empty":           {"dn/enrol admitted with a certificate", func(m pairs) { m[key(2)], m[key(3)] = []byte{}, "x" }, "certificate is empty, 1 to 2048 bytes allowed"},
		"certificate of 2049":         {"dn/enrol admitted with a certificate", func(m pairs) { m[key(2)] = make([]byte, 2049) }, "certificate is 2049 bytes long, at most 2048"},
		"token empty":                 {"dn/enrol admitted with a token, two authorities", func(m pairs) { m[key(3)] = "" }, "token is empty, 1 to 64 bytes allowed"},
		"token bytes":                 {"dn/enrol admitted with a token, two authorities", func(m pairs) { m[key(3)] = []byte("x") }, "token is a byte string of 1, it must be a text"},
		"nobody to trust":             {"dn/enrol admitted with a certificate", func(m pairs) { delete(m, key(4)) }, "cas is missing: key 4"},
		"an empty list to trust":      {"dn/enrol admitted with a certificate", func(m pairs) { m[key(4)] = []any{} }, "cas has 0 items, 1 to 2 allowed"},
		"one to trust, not in a list": {"dn/enrol admitted with a certificate", func(m pairs) { m[key(4)] = []byte{1} }, "cas is a byte string of 1, it must be a list"},
		"three to trust":              {"dn/enrol admitted with a certificate", func(m pairs) { m[key(4)] = many(3, []byte{1}) }, "cas has 3 items, 1 to 2 allowed"},
		"a text to trust":             {"dn/enrol admitted with a certificate", func(m pairs) { m[key(4)] = []any{[]byte{1}, "x"} }, `cas[1]: it is the text "x", it must be a byte string`},
		"nothing to trust":            {"dn/enrol admitted with a certificate", func(m pairs) { m[key(4)] = []any{[]byte{}} }, "cas[0]: it is empty, 1 to 2048 bytes allowed"},
		"no name":                     {"dn/enrol admitted with a certificate", func(m pairs) { delete(m, key(5)) }, "name is missing: key 5"},
		"name empty":                  {"dn/enrol admitted with a certificate", func(m pairs) { m[key(5)] = "" }, "name is empty, 1 to 64 bytes allowed"},
		"no clock":                    {"dn/enrol admitted with a certificate", func(m pairs) { delete(m, key(6)) }, "clock is missing: key 6"},
		"turned away for no reason":   {"dn/enrol turned away", func(m pairs) { delete(m, key(1)) }, "why is missing: key 1"},
		"why of a later version":      {"dn/enrol turned away", func(m pairs) { m[key(1)] = 200 }, ""},
		"why 256":                     {"dn/enrol turned away", func(m pairs) { m[key(1)] = 256 }, "why 256 is unknown"},

		"request without a seq":        {"up/key request for a certificate", func(m pairs) { delete(m, key(0)) }, "seq is missing: key 0"},
		"request of nothing":           {"up/key request for a certificate", func(m pairs) { m[key(1)] = []byte{} }, "csr is empty, 1 to 1024 bytes allowed"},
		"request too long":             {"up/key request for a certificate", func(m pairs) { m[key(1)] = make([]byte, 1025) }, "csr is 1025 bytes long, at most 1024"},
		"op 3 of keys":                 {"dn/key asked for a key", func(m pairs) { m[key(0)] = 3 }, "op 3 is unknown: 1 asks, 2 issues"},
		"asked until a text":           {"dn/key asked for a key", func(m pairs) { m[key(1)] = "soon" }, `until is the text "soon", it must be an unsigned integer`},
		"nothing issued":               {"dn/key new certificate", func(m pairs) { delete(m, key(1)) }, "certificate or token: one of the two is needed"},
		"two things issued":            {"dn/key new certificate", func(m pairs) { m[key(2)] = "x" }, "certificate or token: one of the two is needed"},
		"issued, nobody to trust":      {"dn/key new token", func(m pairs) { delete(m, key(3)) }, "cas is missing: key 3"},
		"issued until beyond":          {"dn/key new certificate", func(m pairs) { m[key(4)] = 1 << 53 }, "until is 9007199254740992, at most 9007199254740991"},
		"a command of a later version": {"dn/cmd wipe", func(m pairs) { m[key(0)] = 2 }, "op 2 is unknown: 1 wipes"},
		"a command that would wrap":    {"dn/cmd wipe", func(m pairs) { m[key(0)] = 257 }, "op 257 is unknown"},
		"no command":                   {"dn/cmd wipe", func(m pairs) { delete(m, key(0)) }, "op is missing: key 0"},
		"a command in words":           {"dn/cmd wipe", func(m pairs) { m[key(0)] = "wipe" }, `op is the text "wipe", it must be an unsigned integer`},

		"join op 5":                    {"up/join admit", func(m pairs) { m[key(1)] = 5 }, "op 5 is unknown: 1 opens, 2 closes, 3 admits, 4 rejects"},
		"join op that would wrap":      {"up/join admit", func(m pairs) { m[key(1)] = 256 + 3 }, "op 259 is unknown"},
		"join without an op":           {"up/join admit", func(m pairs) { delete(m, key(1)) }, "op is missing: key 1"},
		"join without a seq":           {"up/join admit", func(m pairs) { delete(m, key(0)) }, "seq is missing: key 0"},
		"admit nobody":                 {"up/join admit", func(m pairs) { delete(m, key(2)) }, `applicant is "", it must be e- and 16 hexadecimal digits`},
		"admit a device":               {"up/join admit", func(m pairs) { m[key(2)] = "k3v7q2mzx5nat4bd" }, `applicant is "k3v7q2mzx5nat4bd", it must be e- and 16 hexadecimal digits`},
		"reject a wildcard":            {"up/join reject", func(m pairs) { m[key(2)] = "+" }, `applicant is "+", it must be e- and 16 hexadecimal digits`},
		"code a number":                {"up/join admit", func(m pairs) { m[key(3)] = 123456 }, "code is 123456, it must be a text"},
		"code too long":                {"up/join admit", func(m pairs) { m[key(3)] = long[:33] }, "code is 33 bytes long, at most 32"},
		"room too long":                {"up/join admit a guest's", func(m pairs) { m[key(5)] = long }, "room is 70 bytes long, at most 64"},
		"whose, beyond int32":          {"up/join admit a guest's", func(m pairs) { m[key(6)] = 1 << 31 }, "person is 2147483648, at most 2147483647"},
		"whose, wrapped":               {"up/join admit a guest's", func(m pairs) { m[key(6)] = 1<<32 + 2 }, "person is 4294967298, at most 2147483647"},
		"controller 1":                 {"up/join admit a guest's", func(m pairs) { m[key(8)] = 1 }, "controller is 1, it must be true or false"},
		"window without applicants":    {"dn/join window", func(m pairs) { delete(m, key(1)) }, "applicants is missing: key 1"},
		"four applicants":              {"dn/join window", func(m pairs) { m[key(1)] = many(4, item(m, 1, 0)) }, "applicants has 4 items, at most 3"},
		"an applicant without a name":  {"dn/join window", func(m pairs) { delete(item(m, 1, 0), key(0)) }, "applicants[0]: id is missing: key 0"},
		"a device as an applicant":     {"dn/join window", func(m pairs) { item(m, 1, 1)[key(0)] = "e-xyz" }, `applicants[1]: id is "e-xyz", it must be e- and 16 hexadecimal digits`},
		"an applicant of class 0":      {"dn/join window", func(m pairs) { item(m, 1, 1)[key(1)] = 0 }, "applicants[1]: class 0 is unknown"},
		"an applicant without a model": {"dn/join window", func(m pairs) { delete(item(m, 1, 1), key(2)) }, "applicants[1]: model is missing: key 2"},
		"an applicant in no way":       {"dn/join window", func(m pairs) { item(m, 1, 1)[key(3)] = 9 }, "applicants[1]: way 9 is unknown: 1 code, 2 label, 3 home"},
		"256 tries":                    {"dn/join window", func(m pairs) { item(m, 1, 0)[key(4)] = 256 }, "applicants[0]: tries is 256, at most 255"},
		"an outcome of nobody":         {"dn/join window", func(m pairs) { delete(sub(m, 2), key(0)) }, "outcome: applicant is missing: key 0"},
		"an outcome of nothing":        {"dn/join window", func(m pairs) { delete(sub(m, 2), key(1)) }, "outcome: result is missing: key 1"},
		"an outcome of later versions": {"dn/join window", func(m pairs) { sub(m, 2)[key(1)] = 9 }, ""},
		"an outcome that is a list":    {"dn/join window", func(m pairs) { m[key(2)] = []any{} }, "outcome: it is a list of 0, it must be a map"},
		"a device without an ID":       {"dn/join window after one was admitted", func(m pairs) { sub(m, 2)[key(2)] = "x" }, `outcome: bad ID: device "x" is not 4 to 32 characters of a-z, 0-9 and hyphen, beginning with a letter or digit`},
	}
	frames := readGolden(t)
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			leaf := Leaf(strings.SplitN(test.frame, " ", 2)[0])
			var m pairs
			if err := cbor.Unmarshal(frames[test.frame].bytes, &m); err != nil {
				t.Fatalf("%s: %v", test.frame, err)
			}
			test.edit(m)
			b, err := cbor.Marshal(m)
			if err != nil {
				t.Fatal(err)
			}
			got, err := decodeAs(leaf, b)
			if test.want == "" {
				if err != nil {
					t.Errorf("%.200x: %v, want no error", b, err)
				}
				return
			}
			if want := fmt.Sprintf("bad frame: %s: %s", leaf, test.want); err == nil || err.Error() != want {
				t.Fatalf("%.200x\ngot  %v\nwant %s", b, err, want)
			}
			if !errors.Is(err, ErrFrame) {
				t.Errorf("%v is not an ErrFrame", err)
			}
			if _, ok := got.(Birth); leaf == UpBirth && (!ok || !same(got, Birth{})) {
				t.Errorf("a frame came with the error: %+v", got)
			}
		})
	}
}

// fill makes m have n pairs.
func fill(m pairs, n int) {
	for i := 0; len(m) < n; i++ {
		m[fmt.Sprint("v", i)] = i
	}
}

// TestDecodeRefusesBytes is about bytes that no golden frame can be edited into.
func TestDecodeRefusesBytes(t *testing.T) {
	tests := map[string]struct {
		leaf Leaf
		hex  string
		want string // part of the error; "" means that it is taken
	}{
		"nothing":                      {UpCtx, "", "frame is empty"},
		"a number":                     {UpCtx, "00", "it is 0, it must be a map"},
		"JSON":                         {UpCtx, hex.EncodeToString([]byte(`{"seq":1}`)), "frame ends in the middle of a value"},
		"good":                         {UpCtx, "a2000103a100f5", ""},
		"a byte more":                  {UpCtx, "a2000103a100f500", "1 bytes of extraneous data starting at index 7"},
		"a key twice":                  {UpCtx, "a300010001 03a0", "0 occurs twice as a key of one map"},
		"a key twice, wider":           {UpCtx, "a30001180002 03a0", "0 occurs twice as a key of one map"},
		"a name twice":                 {UpCtx, "a2000103a2617801617802", `the text "x" occurs twice as a key of one map`},
		"a name twice, in pieces":      {UpCtx, "a2000103a26178017f6178ff02", `the text "x" occurs twice as a key of one map`},
		"twice where nobody looks":     {UpCtx, "a3000103a01863a2010101 02", "1 occurs twice as a key of one map"},
		"bytes as a key":               {UpCtx, "a3000103a0414100", "a key is a byte string of 1, it must be an integer"},
		"a list as a key":              {UpCtx, "a3000103a08000", "a key is neither an integer nor a text"},
		"half a float as a key":        {UpCtx, "a3000103a0f93c0000", "a key is the floating-point number 1, it must be an integer"},
		"open-ended":                   {UpCtx, "bf000103bf00f5ffff", ""},
		"open-ended without an end":    {UpCtx, "bf000103bf00f5ff", "frame ends in the middle of a value"},
		"an end without a beginning":   {UpCtx, "ff", `unexpected "break" code`},
		"reserved information":         {UpCtx, "1c", "invalid additional information 28"},
		"text that is not UTF-8":       {UpCtx, "a2000103a10061ff", `values: "state" is not valid UTF-8`},
		"a name that is not UTF-8":     {UpCtx, "a2000103a161ff00", `values: name "\xff" is not valid UTF-8`},
		"not UTF-8 where nobody looks": {UpCtx, "a3000103a0186361ff", "a text is not valid UTF-8"},
		"a character in two pieces":    {UpCtx, "a2000103a1007f61c361bcff", "a text is not valid UTF-8"},
		"a tag where nobody looks":     {UpCtx, "a3000103a01863c100", "tag isn't allowed"},
		"undefined":                    {UpCtx, "a2000103a100f7", "the value undefined is not allowed"},
		"8 levels":                     {UpCtx, "a3000103a01863" + strings.Repeat("81", 6) + "80", ""},
		"9 levels":                     {UpCtx, "a3000103a01863" + strings.Repeat("81", 7) + "80", "exceeded max nested level 8"},
		"1000 levels":                  {UpCtx, strings.Repeat("81", 1000) + "80", "exceeded max nested level 8"},
		"a list that says 4 billion":   {UpCtx, "a3000103a018639affffffff", "exceeded max number of elements 64"},
		"a text that says 4 billion":   {UpCtx, "a3000103a018637affffffff", "frame ends in the middle of a value"},
		"a negative key beyond 64":     {UpCtx, "a3000103a03bffffffffffffffff00", "key"},
		"two such keys":                {UpCtx, "a4000103a03bffffffffffffffff003bffffffffffffffff00", "key"},
		"a long key twice":             {UpCtx, "a4000103a0 7864" + strings.Repeat("61", 100) + "00 7864" + strings.Repeat("61", 100) + "00", `the text "` + strings.Repeat("a", 40) + `"... occurs twice`},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			b, err := hex.DecodeString(strings.ReplaceAll(test.hex, " ", ""))
			if err != nil {
				t.Fatal(err)
			}
			_, err = decodeAs(test.leaf, b)
			switch {
			case test.want == "" && err == nil:
			case test.want == "" || err == nil || !strings.Contains(err.Error(), test.want):
				t.Errorf("%x: error %v, want %q", b, err, test.want)
			case !errors.Is(err, ErrFrame) || !strings.HasPrefix(err.Error(), "bad frame: "+string(test.leaf)+": "):
				t.Errorf("%x: error %v does not say what it is about", b, err)
			}
		})
	}
}

func TestDecodeSize(t *testing.T) {
	for _, test := range []struct {
		pad  int
		want string
	}{
		{MaxFrame, ""},
		{MaxFrame + 1, "bad frame: up/ctx: frame is 8193 bytes long, at most 8192"},
		{1 << 20, "bad frame: up/ctx: frame is 1048576 bytes long, at most 8192"},
	} {
		b, err := hex.DecodeString("a3000103a018635a")
		if err != nil {
			t.Fatal(err)
		}
		n := test.pad - len(b) - 4
		b = append(b, byte(n>>24), byte(n>>16), byte(n>>8), byte(n))
		b = append(b, make([]byte, n)...)
		_, err = DecodeContext(nil, b)
		if got := fmt.Sprint(err); got != test.want && (err != nil || test.want != "") {
			t.Errorf("%d bytes: error %v, want %q", len(b), err, test.want)
		}
	}
}

// TestDecodeCutShort cuts every golden frame at every place.
func TestDecodeCutShort(t *testing.T) {
	for name, g := range readGolden(t) {
		for n := range g.bytes {
			for _, leaf := range leaves {
				if v, err := decodeAs(leaf, g.bytes[:n]); !errors.Is(err, ErrFrame) {
					t.Errorf("%s cut to %d bytes, as %s: got %+v, %v, want ErrFrame", name, n, leaf, v, err)
				}
			}
		}
	}
}

// TestEncodeRefuses: what a decoder would refuse is not sent.
func TestEncodeRefuses(t *testing.T) {
	good := Present{Message: id(1), Text: "x", Lease: 1}
	present := func(edit func(*Present)) Present { p := good; edit(&p); return p }
	tests := map[string]struct {
		frame any
		want  string
	}{
		"good":           {good, ""},
		"no text":        {present(func(p *Present) { p.Text = "" }), "bad frame: dn/msg: text is empty, 1 to 512 bytes allowed"},
		"text too long":  {present(func(p *Present) { p.Text = strings.Repeat("x", 513) }), "bad frame: dn/msg: text is 513 bytes long, at most 512"},
		"text not UTF-8": {present(func(p *Present) { p.Text = "\xff" }), "bad frame: dn/msg: text is not valid UTF-8"},
		"lease beyond":   {present(func(p *Present) { p.Lease = math.MaxUint64 }), "bad frame: dn/msg: lease is 18446744073709551615, at most 9007199254740991"},
		"a guard on an int": {present(func(p *Present) { p.Guards = map[string]Guard{"dnd": {Op: "eq", Value: 1}} }),
			`bad frame: dn/msg: guards: "dnd": value is a int of Go, use true or false, a number that fits an int64, a text or null`},
		"frame too long": {present(func(p *Present) {
			p.Guards = make(map[string]Guard)
			for i := range 64 {
				p.Guards[fmt.Sprintf("%064d", i)] = Guard{Op: "eq", Value: strings.Repeat("x", 64)}
			}
		}), "bad frame: dn/msg: frame is 8743 bytes long, at most 8192"},
		"class 0":           {Birth{}, "bad frame: up/birth: class 0 is unknown"},
		"two screen sizes":  {Birth{Class: device.TV, Can: Capabilities{Screen: []uint{1, 2}}}, "bad frame: up/birth: caps: screen has 2 items, 3 allowed"},
		"value NaN":         {Context{Values: map[string]any{"x": math.NaN()}}, `bad frame: up/ctx: values: "x" is NaN, only finite numbers are allowed`},
		"65 values":         {Context{Values: manyValues(65)}, "bad frame: up/ctx: values has 65 items, at most 64"},
		"event 0":           {Event{}, "bad frame: up/evt: event 0 is unknown"},
		"silence proposed":  {Proposal{Brands: []BrandChoice{{Brand: "fresh-co", Purpose: "research", Choice: "silent"}}}, `bad frame: up/twin: brands[0]: choice "silent" is unknown`},
		"65 brands":         {Twin{Doc: Document{Brands: make([]BrandChoice, 65)}}, "bad frame: dn/twin: doc: brands has 65 items, at most 64"},
		"doc too long":      {Twin{Doc: Document{Mutes: slices.Repeat([]Mute{{Category: strings.Repeat("x", 64)}}, 64)}}, "bad frame: dn/twin: doc is 4356 bytes long, at most 4096"},
		"51 kept":           {Time{Keep: make([]device.MessageID, 51)}, "bad frame: dn/time: keep has 51 items, at most 50"},
		"bye for no reason": {Bye{}, `bad frame: up/bye: reason "" is unknown`},
		"a cap of 1001":     {Twin{Doc: Document{Caps: []Cap{{Max: 1001}}}}, "bad frame: dn/twin: doc: caps[0]: max is 1001, at most 1000"},
		"a picture outside": {present(func(p *Present) { p.Picture = &Picture{Path: "/x", SHA256: make([]byte, 32), Bytes: 1} }),
			`bad frame: dn/msg: picture: path is "/x", it must begin with /p/ and have only letters, digits and - _ . /`},
		"quiet of nobody":   {Twin{Doc: Document{Quiet: []QuietTime{{Owner: 1 << 31}}}}, "bad frame: dn/twin: doc: quiet[0]: owner is 2147483648, at most 2147483647"},
		"a mute nowhere":    {Twin{Doc: Document{Mutes: []Mute{{Room: 1 << 31}}}}, "bad frame: dn/twin: doc: mutes[0]: room is 2147483648, at most 2147483647"},
		"asked for nothing": {Ask{Live: 1, Who: "x", Text: "x", Language: "en", Notice: make([]byte, 32)}, "bad frame: dn/ask: controls: yes and no are both needed"},
		"answered nothing":  {Answer{}, "bad frame: up/ans: answer 0 is unknown: 1 drawn, 2 yes, 3 no, 4 deferred"},
		"why in what":       {WhyAsked{Language: strings.Repeat("x", 36)}, "bad frame: up/why: language is 36 bytes long, at most 35"},
		"because in what":   {Because{}, "bad frame: dn/why: language is empty, 1 to 35 bytes allowed"},
		"signal 0":          {Signal{}, "bad frame: up/sig: signal 0 is unknown: 1 TCF, 2 GPP, 3 GPC"},
		"word 0":            {Word{}, "bad frame: dn/word: state 0 is unknown: 1 stopping, 2 stopped"},
		"not a frame":       {"hello", "encode string: not a frame"},
		"nothing":           {nil, "encode <nil>: not a frame"},
		"nobody's frame":    {(*Apply)(nil), "encode *wire.Apply: not a frame"},
		"no message":        {(*Present)(nil), "encode *wire.Present: not a frame"},
		"a pointer to none": {new("hello"), "encode string: not a frame"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			b, err := Encode(test.frame)
			if test.want == "" {
				if err != nil {
					t.Error(err)
				}
				return
			}
			if err == nil || err.Error() != test.want || b != nil {
				t.Errorf("got %x, %v, want %s", b, err, test.want)
			}
		})
	}
}

func manyValues(n int) map[string]any {
	m := make(map[string]any)
	for i := range n {
		m[fmt.Sprint(i)] = true
	}
	return m
}

// TestEncodePointer: a frame and a pointer to it are the same frame, and Op is set in neither.
func TestEncodePointer(t *testing.T) {
	commit, cas := make([]byte, HashSize), [][]byte{{1}}
	for name, pair := range map[string][2]any{
		"birth":     {Birth{Class: device.TV}, &Birth{Class: device.TV}},
		"context":   {Context{Seq: 1}, &Context{Seq: 1}},
		"event":     {Event{Kind: Queued}, &Event{Kind: Queued}},
		"proposal":  {Proposal{Seq: 1}, &Proposal{Seq: 1}},
		"bye":       {Bye{Reason: "off"}, &Bye{Reason: "off"}},
		"present":   {Present{Text: "x"}, &Present{Text: "x", Op: 2}},
		"cancel":    {Cancel{Fence: 1}, &Cancel{Fence: 1, Op: 1}},
		"twin":      {Twin{Version: 1}, &Twin{Version: 1}},
		"time":      {Time{Clock: 1}, &Time{Clock: 1}},
		"err":       {Err{Code: 1}, &Err{Code: 1}},
		"apply":     {Apply{Commit: commit, Class: device.TV, Way: ByCode}, &Apply{Commit: commit, Class: device.TV, Way: ByCode, Op: 2}},
		"reveal":    {Reveal{Nonce: nonceD}, &Reveal{Nonce: nonceD, Op: 1}},
		"challenge": {Challenge{Nonce: nonceD}, &Challenge{Nonce: nonceD, Op: 3}},
		"admitted":  {Admitted{ID: me, Token: "x", CAs: cas, Name: "x"}, &Admitted{ID: me, Token: "x", CAs: cas, Name: "x", Op: 1}},
		"away":      {TurnedAway{Why: Late}, &TurnedAway{Why: Late, Op: 1}},
		"request":   {KeyRequest{Seq: 1}, &KeyRequest{Seq: 1}},
		"ask":       {KeyAsk{Until: 1}, &KeyAsk{Until: 1, Op: 2}},
		"issued":    {KeyIssued{Token: "x", CAs: cas}, &KeyIssued{Token: "x", CAs: cas, Op: 1}},
		"command":   {Command{Op: Wipe}, &Command{Op: Wipe}},
		"join":      {Join{Op: JoinOpen}, &Join{Op: JoinOpen}},
		"window":    {Window{Until: 1}, &Window{Until: 1}},
		"question":  {leastAsk(), of(leastAsk())},
		"answer":    {Answer{Kind: AnswerNo}, &Answer{Kind: AnswerNo}},
		"why":       {WhyAsked{Seq: 1}, &WhyAsked{Seq: 1}},
		"because":   {Because{Language: "en"}, &Because{Language: "en"}},
		"signal":    {Signal{Kind: SignalGPC}, &Signal{Kind: SignalGPC}},
		"word":      {Word{State: WordStopped}, &Word{State: WordStopped}},
	} {
		a, errA := Encode(pair[0])
		b, errB := Encode(pair[1])
		if errA != nil || errB != nil || !bytes.Equal(a, b) {
			t.Errorf("%s: got %x, %v and %x, %v", name, a, errA, b, errB)
		}
	}
}

func leastAsk() Ask {
	for _, g := range goldens {
		if g.name == "least ask" {
			return g.value.(Ask)
		}
	}
	return Ask{}
}

// TestErrTextIsCut: what went wrong is told, however long it is.
func TestErrTextIsCut(t *testing.T) {
	b, err := Encode(Err{Code: 0x99, Text: strings.Repeat("ü", 300)})
	if err != nil {
		t.Fatal(err)
	}
	got, err := DecodeErr(b)
	if err != nil || got.Text != strings.Repeat("ü", 256) {
		t.Errorf("got %d bytes, %v, want 512", len(got.Text), err)
	}
	if b, err = Encode(Err{Text: "x" + strings.Repeat("ü", 300)}); err != nil {
		t.Fatal(err)
	}
	if got, err = DecodeErr(b); err != nil || got.Text != "x"+strings.Repeat("ü", 255) {
		t.Errorf("got %d bytes, %v, want 511", len(got.Text), err)
	}
}
