package main

import (
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/goccy/go-yaml"
)

const commented = "../../configs/porchlight.yaml"

func TestCommentedConfigurationIsTheDefault(t *testing.T) {
	raw, err := os.ReadFile(commented)
	if err != nil {
		t.Fatal(err)
	}
	var got Config // from nothing, so that a key that is missing shows
	f, err := parseYAML(commented, raw)
	if err != nil {
		t.Fatal(err)
	}
	if err := f.decode(&got); err != nil {
		t.Fatal(err)
	}
	if want := DefaultConfig(); !reflect.DeepEqual(got, want) {
		t.Errorf("the file has\n%+v\nthe defaults are\n%+v", got, want)
	}
	var tree map[string]map[string]any
	if err := yaml.Unmarshal(raw, &tree); err != nil {
		t.Fatal(err)
	}
	for section, of := range keys(reflect.TypeFor[Config]()) {
		if of.Kind() == reflect.Slice { // there are none
			continue
		}
		for key := range keys(of) {
			if _, ok := tree[section][key]; !ok {
				t.Errorf("%s: %s.%s is not in it", commented, section, key)
			}
		}
	}
	if err := DefaultConfig().Validate(); err != nil {
		t.Errorf("the default is not valid: %v", err)
	}
}

func TestConfigurationFile(t *testing.T) {
	tests := map[string]struct {
		file string
		want string // of the error, after the file's name; "": none
	}{
		"good":               {"brands:\n  rate: 5\n", ""},
		"empty":              {"", ""},
		"only a comment":     {"# nothing\n", ""},
		"section of nothing": {"delivery:\nbrands:\n  # rate: 5\n", ""},
		"a rule":             {"rules:\n  - id: calm\n    condition: now.hour < 7\n    purpose: marketing\n    class: tv\n", ""},
		"a rule twice":       {"rules:\n  - {id: a, condition: now.hour < 7}\n  - {id: a, condition: now.hour < 8}\n", `:3: rules[1].id is "a" again`},
		"a rule that shows":  {"rules:\n  - {id: a, condition: now.hour < 7, verdict: show}\n", `:2: rules[0].verdict is "show": use hold or refuse`},
		"a rule of no name":  {"rules:\n  - {condition: now.hour < 7}\n", `rules[0].id cannot be taken`},
		"a rule of nothing":  {"rules:\n  - id: a\n", `rules[0].condition cannot be taken: character 1: it ends too soon`},
		"a rule's class":     {"rules:\n  - id: a\n    condition: now.hour < 7\n    class: toaster\n", `:4: class "toaster" is unknown`},
		"value of nothing":   {"delivery:\n  lease:\n", ""},
		"two documents":      {"---\nlog:\n  level: info\n---\nlog:\n  level: info\n", `2 documents`},
		"not a mapping":      {"- 1\n", `:1: `},
		"unknown key":        {"mqtt:\n  plain: 127.0.0.1:1883\n  plan: 127.0.0.1:1\n", `:3: key "plan" is unknown: did you mean "plain"?`},
		"unknown section":    {"\nmqqt:\n  plain: 127.0.0.1:1883\n", `:2: key "mqqt" is unknown: did you mean "mqtt"?`},
		"nothing like it":    {"surprise: 1\n", `:1: key "surprise" is unknown: leave it out`},
		"data is a flag":     {"data: x\n", `:1: key "data" is unknown`},
		"list for a text":    {"tls:\n  names: [[one], two]\n", `:2: tls.names[0] is a list: write a text`},
		"keys for a text":    {"rules:\n  - id: one\n    condition: {two: three}\n", `:3: rules[0].condition is keys with values: write a text`},
		"list for a word":    {"rules:\n  - id: one\n    class: [tv]\n", `:3: rules[0].class is a list: write a text`},
		"number for keys":    {"rules:\n  - 5\n", `:2: rules[0] is 5: write keys with their values`},
		"file of a number":   {"5\n", `:1: the file is one value: write keys with their values`},
		"wrong type":         {"brands:\n  burst: many\n", `:2: brands.burst is many: write a whole number`},
		"a number's number":  {"brands:\n  rate: many\n", `:2: brands.rate is many: write a number`},
		"yes and no":         {"discovery: {on: yes}\n", `:1: discovery.on is yes: write true or false`},
		"one for many":       {"tls:\n  names: x\n", `:2: tls.names is x: write a list, as in [one, two]`},
		"seconds of what":    {"delivery: {lease: 10}\n", `:1: delivery.lease is 10: write a length of time such as 10s, 45m or 2h`},
		"not a duration":     {"\n\ndelivery:\n  lease: soon\n", `:4: delivery.lease is soon: write a length of time`},
		"key twice":          {"log:\n  level: info\n  level: warn\n", `:3: `},
		"not YAML":           {"log: [\n", `:1: `},
		"bad port":           {"http:\n  plain: \"127.0.0.1:99999\"\n", `:2: http.plain is "127.0.0.1:99999": a port is 0 to 65535`},
		"bad address":        {"http:\n  tls: \"\"\n  plain: nowhere\n", `:3: http.plain is "nowhere": write host:port`},
		"bad level":          {"log:\n  level: loud\n", `:2: log.level is "loud": use debug, info, warn or error`},
		"lease out of range": {"delivery:\n  lease: 1ms\n", `:2: delivery.lease is 1ms: use 1s to 1h0m0s`},
		"nobody may come":    {"http: {connections_per_address: 0}\n", `:1: http.connections_per_address is 0: use 1 or more`},
		"rate of nothing":    {"brands: {rate: 0}\n", `:1: brands.rate is 0`},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "p.yaml")
			if err := os.WriteFile(path, []byte(test.file), 0o600); err != nil {
				t.Fatal(err)
			}
			c, err := readConfig(path)
			switch {
			case test.want == "" && err != nil:
				t.Errorf("readConfig of %q: %v", test.file, err)
			case test.want != "" && (err == nil || !strings.Contains(err.Error(), path) || !strings.Contains(err.Error(), test.want)):
				t.Errorf("readConfig of %q: got error %v, want one with %s and %q", test.file, err, path, test.want)
			case test.want == "" && c.Delivery.Lease != 10*time.Second:
				t.Errorf("readConfig of %q: lease is %s, want the default", test.file, c.Delivery.Lease)
			}
		})
	}
}
