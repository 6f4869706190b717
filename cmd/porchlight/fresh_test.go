package main

import (
	"crypto/tls"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	paho3 "github.com/eclipse/paho.mqtt.golang"
)

// usual are what people try first, and what others ship.
var usual = []struct{ user, password string }{
	{"", ""}, {"admin", ""}, {"admin", "admin"}, {"admin", "password"}, {"admin", "public"}, {"admin", "1234"}, {"root", "root"}, {"root", ""},
	{"porchlight", ""}, {"porchlight", "porchlight"}, {"user", "user"}, {"guest", "guest"}, {"test", "test"}, {"mqtt", "mqtt"}, {"inline", ""},
	{"enrol", ""}, {"enrol", "enrol"}, {"device", "device"}, {"demo", "demo"}, {"operator", "operator"}, {"hivemq", "hivemq"}, {"mosquitto", ""},
	{"b-grocer", "grocer"}, {"grocer", "grocer"}, {"brand", "brand"}, {"plk_", "plk_"},
}

// A gateway that was just made knows nobody: none of the usual passwords, keys and accounts lets
// anybody in, at any door; and nobody but its owner reads what it keeps.
func TestNobodyByDefault(t *testing.T) {
	data := filepath.Join(t.TempDir(), "d")
	g, stop := start(t, data, &lines{})
	defer stop()
	tried := 0
	for _, scheme := range []string{"mqtt", "mqtts", "ws"} {
		address := g.Listeners[scheme]
		if address == "" {
			continue
		}
		for _, u := range usual {
			for _, id := range []string{u.user, "e-0123456789abcdef", ""} {
				url := scheme + "://" + address
				o := paho3.NewClientOptions().AddBroker(strings.NewReplacer("mqtts:", "ssl:", "mqtt:", "tcp:").Replace(url)).
					SetClientID(id).SetUsername(u.user).SetPassword(u.password).SetAutoReconnect(false).SetConnectRetry(false).SetConnectTimeout(20 * time.Second).
					SetProtocolVersion(4).SetTLSConfig(&tls.Config{InsecureSkipVerify: true})
				c := paho3.NewClient(o)
				tok := c.Connect()
				if !tok.WaitTimeout(30*time.Second) || tok.Error() == nil {
					t.Errorf("%s lets %q in as %q with %q", scheme, id, u.user, u.password)
				}
				c.Disconnect(0)
				tried++
			}
		}
	}
	if tried < len(usual) {
		t.Fatal("no MQTT door was tried")
	}
	for _, u := range usual {
		for _, header := range []func(*http.Request){
			func(r *http.Request) { r.SetBasicAuth(u.user, u.password) },
			func(r *http.Request) { r.Header.Set("Authorization", "Bearer "+u.password) },
			func(r *http.Request) { r.Header.Set("X-API-Key", u.password) },
		} {
			for _, path := range []string{"/v1/messages", "/v1/messages/01a200aa-0079-77a5-8e63-f2edfde5090d"} {
				r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+g.Listeners["http"]+path, nil)
				if err != nil {
					t.Fatal(err)
				}
				header(r)
				resp, err := http.DefaultClient.Do(r)
				if err != nil {
					t.Fatal(err)
				}
				resp.Body.Close()
				if resp.StatusCode != http.StatusUnauthorized {
					t.Errorf("%s as %q with %q: %d, want 401", path, u.user, u.password, resp.StatusCode)
				}
			}
		}
	}
	for _, sort := range []string{"home", "brand"} {
		if out := porchlight(t, data, sort, "list", "--json"); strings.TrimSpace(out) != "[]" {
			t.Errorf("a new gateway knows a %s: %s", sort, out)
		}
	}
	err := filepath.WalkDir(data, func(path string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		fi, err := os.Lstat(path)
		if err == nil && fi.Mode().Perm()&0o077 != 0 && (strings.HasSuffix(path, ".key") || strings.HasSuffix(path, ".sock")) {
			err = fmt.Errorf("%s has mode %s", path, fi.Mode())
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
	if fi, err := os.Stat(data); err != nil || fi.Mode().Perm() != 0o700 {
		t.Errorf("the data folder has mode %s, want 0700: %v", fi.Mode(), err)
	}
}
