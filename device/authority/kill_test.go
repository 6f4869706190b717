package authority

import (
	"bytes"
	"crypto/x509"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
)

// doomed is set in the process that TestKill starts to have it killed: what to do, at which step
// to die, in which folder.
const doomed = "PORCHLIGHT_AUTHORITY_DOOMED"

func die(t *testing.T, spec string) {
	part := strings.SplitN(spec, " ", 3)
	last, err := strconv.Atoi(part[1])
	if err != nil {
		t.Fatal(err)
	}
	steps := 0
	reached = func(string) {
		if steps++; steps == last {
			syscall.Kill(os.Getpid(), syscall.SIGKILL)
			select {}
		}
	}
	a, err := Open(part[2], nil, at(start).now)
	if err == nil && part[0] == "rotate" {
		err = a.Rotate(start)
	}
	if err == nil && part[0] == "retire" {
		err = a.Retire()
	}
	if err != nil {
		t.Fatal(err)
	}
}

// TestKill kills a process with SIGKILL at every step of every change on disk, and goes on from
// what it left.
func TestKill(t *testing.T) {
	if spec := os.Getenv(doomed); spec != "" {
		die(t, spec)
		return
	}
	fresh := func(t *testing.T) string { return t.TempDir() }
	opened := func(t *testing.T) string { dir := t.TempDir(); openAt(t, dir, at(start)); return dir }
	taken := func(t *testing.T) string { dir := first(t); openAt(t, dir, at(start)); return dir }
	rotated := func(make func(*testing.T) string) func(*testing.T) string {
		return func(t *testing.T) string { dir := make(t); openAt(t, dir, at(start)).rotate(); return dir }
	}
	tests := []struct {
		name   string
		before func(*testing.T) string
		do     string
	}{
		{"make", fresh, "open"},
		{"take up the first kind", func(t *testing.T) string { return first(t) }, "open"},
		{"rotate", opened, "rotate"},
		{"retire", rotated(opened), "retire"},
		{"rotate the first kind", taken, "rotate"},
		{"retire the first kind", rotated(taken), "retire"},
	}
	for _, tc := range tests {
		t.Run(tc.name, func(t *testing.T) {
			for step := 1; ; step++ {
				dir := tc.before(t)
				before, _ := os.ReadFile(filepath.Join(dir, "ca", crtFile))
				cmd := exec.Command(os.Args[0], "-test.run=^TestKill$")
				cmd.Env = append(os.Environ(), fmt.Sprintf("%s=%s %d %s", doomed, tc.do, step, dir))
				out, err := cmd.CombinedOutput()
				var exit *exec.ExitError
				switch {
				case err == nil && step > 4:
					return // there is no such step: it went through
				case errors.As(err, &exit) && exit.Sys().(syscall.WaitStatus).Signal() == syscall.SIGKILL:
				default:
					t.Fatalf("step %d: %v: %s", step, err, out)
				}

				d := openAt(t, dir, at(start))
				when := fmt.Sprintf("killed at step %d", step)
				d.expectKey(when)
				if got := names(t, d.dir); !slices.Equal(got, []string{"ca.crt", "ca.key"}) {
					t.Errorf("%s: files %v", when, got)
				}
				info, err := os.Stat(filepath.Join(d.dir, keyFile))
				if err != nil || info.Mode().Perm() != 0o600 {
					t.Errorf("%s: %v, %v", when, info, err)
				}
				// No CA that clients were told is lost, but for the one to retire.
				if roots := x509.NewCertPool(); roots.AppendCertsFromPEM(before) && tc.do != "retire" {
					if _, err := d.chain()[0].Verify(x509.VerifyOptions{Roots: roots, Intermediates: pool(d.chain()[1:]), CurrentTime: start, DNSName: ServerName}); err != nil {
						t.Errorf("%s: a client from before: %v", when, err)
					}
				}
				// It is as before or as after, and goes on from there.
				switch n := len(d.CAs()); {
				case tc.do == "open" && n != 1, n > 2:
					t.Errorf("%s: %d CAs", when, n)
				case tc.do == "rotate" && n == 1:
					if !bytes.Equal(before, read(t, dir, crtFile)) {
						t.Errorf("%s: neither before nor after", when)
					}
					d.rotate()
				case tc.do == "retire" && n == 2:
					d.retire()
				}
				d.expect(when, map[string][][]byte{"all": d.CAs()}, "all")
			}
		})
	}
}

func pool(certs []*x509.Certificate) *x509.CertPool {
	p := x509.NewCertPool()
	for _, c := range certs {
		p.AddCert(c)
	}
	return p
}
