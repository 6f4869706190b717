package main

import (
	"cmp"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/alecthomas/kong"
)

// buildProgram makes the program, as a file.
func buildProgram(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "porchlight")
	if out, err := exec.Command("go", "build", "-ldflags", "-s -w", "-o", path, ".").CombinedOutput(); err != nil {
		t.Fatalf("go build: %v\n%s", err, out)
	}
	return path
}

// tool runs a program that may not be there; then the test is skipped.
func tool(t *testing.T, name string, args ...string) string {
	t.Helper()
	if _, err := exec.LookPath(name); err != nil {
		t.Skipf("%s is not here", name)
	}
	out, err := exec.Command(name, args...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
	}
	return string(out)
}

// accepted fails unless the program understands a command line as it stands in a file.
func accepted(t *testing.T, where string, args []string) {
	t.Helper()
	var c cli
	parser, err := kong.New(&c)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := parser.Parse(args); err != nil {
		t.Errorf("%s: porchlight %s: %v", where, strings.Join(args, " "), err)
	}
}

// The unit is one that systemd takes as it is, and it leaves the gateway little to reach.
func TestSystemdUnit(t *testing.T) {
	raw, err := os.ReadFile("../../configs/systemd/porchlight.service")
	if err != nil {
		t.Fatal(err)
	}
	_, start, _ := strings.Cut(string(raw), "ExecStart=/usr/bin/porchlight ")
	start, _, _ = strings.Cut(start, "\n")
	accepted(t, "ExecStart", strings.Fields(start))
	// Its program need not be installed here.
	unit := filepath.Join(t.TempDir(), "porchlight.service")
	if err := os.WriteFile(unit, []byte(strings.Replace(string(raw), "ExecStart=/usr/bin/porchlight", "ExecStart=/bin/true", 1)), 0o600); err != nil {
		t.Fatal(err)
	}
	if said := tool(t, "systemd-analyze", "verify", unit); strings.TrimSpace(said) != "" {
		t.Errorf("systemd-analyze verify says\n%s", said)
	}
	said := tool(t, "systemd-analyze", "security", "--offline=true", "--no-pager", unit)
	level := regexp.MustCompile(`Overall exposure level for \S+: ([0-9.]+)`).FindStringSubmatch(said)
	if level == nil {
		t.Fatalf("systemd-analyze security says\n%s", said)
	}
	if n, err := strconv.ParseFloat(level[1], 64); err != nil || n > 2 {
		t.Errorf("the exposure level is %s, want at most 2.0:\n%s", level[1], said)
	}
}

// What the Dockerfile takes is there, and is enough to build from; what it starts is understood.
func TestDockerfile(t *testing.T) {
	raw, err := os.ReadFile("../../configs/Dockerfile")
	if err != nil {
		t.Fatal(err)
	}
	context := t.TempDir() // what the first stage has
	var entry, command []string
	stage := 0
	for line := range strings.Lines(string(raw)) {
		words := strings.Fields(line)
		if len(words) == 0 {
			continue
		}
		switch words[0] {
		case "FROM":
			stage++
		case "COPY":
			paths := slices.DeleteFunc(words[1:], func(w string) bool { return strings.HasPrefix(w, "--") })
			if strings.Contains(line, "--from=") {
				continue
			}
			to := paths[len(paths)-1]
			for _, from := range paths[:len(paths)-1] {
				fi, err := os.Stat(filepath.Join("../..", from))
				if err != nil {
					t.Errorf("COPY %s: %v", from, err)
				} else if stage == 1 && fi.IsDir() {
					err = os.CopyFS(filepath.Join(context, to), os.DirFS(filepath.Join("../..", from)))
				} else if stage == 1 {
					var file []byte
					if file, err = os.ReadFile(filepath.Join("../..", from)); err == nil {
						err = os.WriteFile(filepath.Join(context, to, filepath.Base(from)), file, 0o600)
					}
				}
				if err != nil {
					t.Fatal(err)
				}
			}
		case "ENTRYPOINT", "CMD":
			var list []string
			for _, q := range regexp.MustCompile(`"[^"]*"`).FindAllString(line, -1) {
				list = append(list, strings.Trim(q, `"`))
			}
			if words[0] == "CMD" {
				command = list
			} else {
				entry = list
			}
		case "HEALTHCHECK":
			accepted(t, "HEALTHCHECK", []string{"status"})
		}
	}
	if len(entry) == 0 || entry[0] != "/usr/bin/porchlight" {
		t.Errorf("ENTRYPOINT is %q", entry)
	}
	accepted(t, "ENTRYPOINT and CMD", append(entry[min(1, len(entry)):], command...))
	list := exec.Command("go", "list", "-deps", "-mod=readonly", "./cmd/porchlight")
	list.Dir = context
	if out, err := list.CombinedOutput(); err != nil {
		t.Errorf("the build stage has too little: %v\n%s", err, out)
	}
	cfg, err := readConfig("../../configs/docker.yaml")
	if err == nil {
		err = cfg.Validate()
	}
	if err != nil {
		t.Errorf("configs/docker.yaml: %v", err)
	}
	if cfg.HTTP.Plain != "" || cfg.HTTP.TLS == "" || cfg.MQTT.TLS == "" {
		t.Errorf("configs/docker.yaml lets nobody in, or without TLS: %+v", cfg.HTTP)
	}
	if !strings.Contains(string(raw), "\nUSER nonroot\n") {
		t.Error("it runs as root")
	}
}

// The Debian package holds what it should, with the owner and rights that it should, and the program in it runs.
func TestDebianPackage(t *testing.T) {
	t.Parallel() // it mostly waits for the compiler
	if _, err := exec.LookPath("dpkg-deb"); err != nil {
		t.Skip("dpkg-deb is not here")
	}
	dir := t.TempDir()
	tool(t, "sh", "../../configs/debian/build.sh", buildProgram(t), "1.2.3", dir)
	debs, err := filepath.Glob(filepath.Join(dir, "porchlight_1.2.3_*.deb"))
	if err != nil || len(debs) != 1 {
		t.Fatalf("it made %v, %v", debs, err)
	}
	info := tool(t, "dpkg-deb", "-I", debs[0])
	for _, want := range []string{`(?m)^ Package: porchlight$`, `(?m)^ Version: 1\.2\.3$`, `(?m)^ Installed-Size: [1-9]\d+$`, `(?m)^ Depends: libc6 \(>= 2\.\d+\), adduser`, `(?m)^ Description: \S`} {
		if !regexp.MustCompile(want).MatchString(info) {
			t.Errorf("dpkg-deb -I does not say %s:\n%s", want, info)
		}
	}
	if strings.Contains(info, "@") && strings.Contains(strings.ReplaceAll(info, "porchlight@localhost", ""), "@") {
		t.Errorf("something was not filled in:\n%s", info)
	}
	holds := tool(t, "dpkg-deb", "-c", debs[0])
	for path, mode := range map[string]string{
		"./usr/bin/porchlight": "-rwxr-xr-x", "./usr/lib/systemd/system/porchlight.service": "-rw-r--r--", "./etc/porchlight/porchlight.yaml": "-rw-r--r--",
		"./usr/share/doc/porchlight/copyright": "-rw-r--r--", "./usr/share/doc/porchlight/LICENSES.md": "-rw-r--r--", "./usr/share/doc/porchlight/changelog.Debian.gz": "-rw-r--r--",
	} {
		if !regexp.MustCompile(`(?m)^` + mode + ` root/root .* ` + regexp.QuoteMeta(path) + `$`).MatchString(holds) {
			t.Errorf("%s is not in it with %s and root's:\n%s", path, mode, holds)
		}
	}
	for line := range strings.Lines(holds) {
		if !strings.Contains(line, " root/root ") || strings.Contains(line, "rwxrwx") {
			t.Errorf("somebody else can write %s", line)
		}
	}
	control, root := filepath.Join(dir, "control"), filepath.Join(dir, "root")
	tool(t, "dpkg-deb", "-e", debs[0], control)
	for _, script := range []string{"postinst", "prerm", "postrm"} {
		path := filepath.Join(control, script)
		tool(t, "sh", "-n", path)
		raw, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if !strings.HasPrefix(string(raw), "#!/bin/sh\nset -e\n") {
			t.Errorf("%s does not end at its first error", script)
		}
		if fi, err := os.Stat(path); err != nil || fi.Mode().Perm() != 0o755 {
			t.Errorf("%s: mode %v, %v", script, fi.Mode(), err)
		}
	}
	postinst, err := os.ReadFile(filepath.Join(control, "postinst"))
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"adduser --system --group", "-m 0700 /var/lib/porchlight"} {
		if !strings.Contains(string(postinst), want) {
			t.Errorf("postinst does not %s", want)
		}
	}
	tool(t, "dpkg-deb", "-x", debs[0], root)
	sums := exec.Command("md5sum", "--quiet", "-c", filepath.Join(control, "md5sums"))
	sums.Dir = root
	if out, err := sums.CombinedOutput(); err != nil {
		t.Errorf("md5sums: %v\n%s", err, out)
	}
	if said := tool(t, filepath.Join(root, "usr/bin/porchlight"), "version"); !strings.Contains(said, "porchlight") {
		t.Errorf("the program in it says %q", said)
	}
	cfg, err := readConfig(filepath.Join(root, "etc/porchlight/porchlight.yaml"))
	if err := cmp.Or(err, cfg.Validate()); err != nil {
		t.Errorf("the configuration in it: %v", err)
	}
}
