package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"syscall"
	"testing"
)

// Whatever file a command is given that it cannot read or write, it says which, why, and what to do.
func TestFilesThatCannotBe(t *testing.T) {
	home, err := os.ReadFile("../../configs/homes/flat.yaml")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	t.Chdir(dir)
	for name, text := range map[string]string{"milk.yaml": "purpose: marketing\n", "key": "plk_x\n", "no.json": "[1,", "text.yaml": "hello\n", "bytes": "\x97\x00\x01", "flat.yaml": string(home),
		"rows.tsv": "Start\tEnd\tSensor\tKind\tPlace\n2011-11-28 10:00:00\t2011-11-28 10:00:09\tSeat\tPressure\tLiving\n"} {
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.MkdirAll("folder", 0o700); err != nil {
		t.Fatal(err)
	}
	if status := run(t.Context(), []string{"brand", "signkey", "new", "--out", "sign"}, nil, &lines{}, &lines{}); status != 0 {
		t.Fatalf("a key pair: status %d", status)
	}
	const asked, push = ": it was looked for in @", "push --key-file key "
	tests := map[string]struct{ args, want string }{
		"nearly its name":   {push + "mlk.yaml", "push: mlk.yaml: no such file or directory: did you mean milk.yaml?"},
		"nowhere":           {push + "nothing-of-it.txt", "push: nothing-of-it.txt: no such file or directory" + asked},
		"no such folder":    {push + "elsewhere/milk.yaml", "push: elsewhere/milk.yaml: no such file or directory: there is no folder elsewhere"},
		"an absolute path":  {push + "/nothing-of-it.txt", "push: /nothing-of-it.txt: no such file or directory: check its name"},
		"a folder":          {push + "folder", "push: folder: is a directory: name a file in it"},
		"a file for folder": {push + "key/milk.yaml", "push: key/milk.yaml: not a directory: a file stands where its path names a folder"},
		"half of it":        {push + "no.json", "push: no.json:1: sequence end token ']' not found: write YAML or JSON"},
		"API key":           {"push --key-file ky milk.yaml", "push: read API key: ky: no such file or directory: did you mean key?"},
		"signing key":       {push + "--sign folder milk.yaml", "push: signing key: folder: is a directory: name a file in it"},
		"certificate":       {push + "--ca certificate milk.yaml", "push: certificate: no such file or directory" + asked},
		"home":              {"home add --file folder", "folder: is a directory: name a file in it"},
		"home of words":     {"home add --file text.yaml", "text.yaml:1: string was used where mapping is expected: write keys with their values, as in name: oak"},
		"home, half of it":  {"home add --file no.json", "no.json:1: sequence end token ']' not found: write YAML or JSON"},
		"notice":            {"notice add text.yaml", "add notice: text.yaml:1: the file is one value: write keys with their values, as in name: oak"},
		"preferences":       {"home preferences import oak folder", "import preferences: folder: is a directory: name a file in it"},
		"configuration":     {"serve --config mlk.yaml", "read configuration: mlk.yaml: no such file or directory: did you mean milk.yaml?"},
		"public key":        {"brand signkey add x --file sgn", "signing key: sgn: no such file or directory: did you mean sign?"},
		"ledger key":        {"ledger verify bytes --head bytes --key folder", "folder: is a directory: name a file in it"},
		"ledger head":       {"ledger verify bytes --head bytes --key sign.pub", "name a file that porchlight ledger head --out has written"},
		"receipt":           {"receipt verify bytes --key sign.pub", "name a file that porchlight receipt show --out has written"},
		"import":            {"import folder", "import: folder: is a directory: name a file in it"},
		"trace":             {"rehearse --home flat.yaml --trace rws.tsv --messages folder", "rehearse: rws.tsv: no such file or directory: did you mean rows.tsv?"},
		"no rows":           {"rehearse --home flat.yaml --trace bytes --messages folder", "rehearse: read bytes: it has no rows: write start, end, sensor, kind and place in each, separated by tabs"},
		"messages":          {"rehearse --home flat.yaml --trace rows.tsv --messages fodler", "rehearse: read messages: fodler: no such file or directory: did you mean folder?"},
		"new key":           {"brand signkey new --out elsewhere/k", "signing key: elsewhere/k: no such file or directory: there is no folder elsewhere: make it first, or name another"},
		"new key over one":  {"brand signkey new --out key", "signing key: key: file exists: choose another name, or remove it"},
		"profile":           {"profile heap --out elsewhere/p", "write the profile: elsewhere/p: no such file or directory: there is no folder elsewhere: make it first, or name another"},
		"log of the demo":   {"demo --once --log folder", "demo: folder: is a directory: name a file in it"},
		"data folder":       {"serve --data key", "data folder: @/key: not a directory: a file stands where its path names a folder"},
		"backups":           {"backup --data folder", "backup: there is no gateway's data in @/folder: name its folder with --data"},
		"backup":            {"restore folder --data x", "restore: @/folder is no backup: there is no backup.json in it: name a folder that porchlight backup has made"},
		"check":             {"check --data folder", "check: there is no gateway's data in @/folder: name its folder with --data"},
		"backup of a file":  {"backup --data key", "backup: @/key/porchlight.db: not a directory: a file stands where its path names a folder"},
		"check of a file":   {"check --data key", "check: @/key/porchlight.db: not a directory: a file stands where its path names a folder"},
		"rebuild":           {"rebuild --data folder", "rebuild: there is no gateway's data in folder: name its folder with --data"},
		"conform":           {"conform --plain 127.0.0.1:0 --folder key", "conform: data folder: @/key: not a directory: a file stands where its path names a folder"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			errs := &lines{}
			want := strings.ReplaceAll(test.want, "@", dir)
			if status := run(t.Context(), strings.Fields(test.args), strings.NewReader(""), &lines{}, errs); status == 0 || !strings.Contains(errs.String(), want) {
				t.Errorf("%s: status %d\ngot  %s\nwant %s", test.args, status, errs, want)
			}
		})
	}
}

// What the system says of a file, with what to do about it.
func TestFileErrors(t *testing.T) {
	at := func(cause error) error {
		return fmt.Errorf("made: %w", &fs.PathError{Op: "open", Path: "temporary", Err: cause})
	}
	tests := map[string]struct {
		got  error
		want string
	}{
		"not to be read":    {cannotRead("f", at(syscall.EACCES)), "f: permission denied: run this as a user who may read it"},
		"not to be written": {cannotWrite("f", at(syscall.EACCES)), "f: permission denied: choose another place, or run this as a user who may write there"},
		"read only":         {cannotWrite("f", at(syscall.EROFS)), "f: read-only file system: choose another place, or run this as a user who may write there"},
		"a full disk":       {cannotWrite("f", at(syscall.ENOSPC)), "f: no space left on device: make room on the disk, or choose another"},
		"renamed":           {cannotWrite("f", &os.LinkError{Op: "rename", Old: "a", New: "f", Err: syscall.EISDIR}), "f: is a directory: name a file in it"},
		"something else":    {cannotRead("f", at(syscall.EIO)), "f: input/output error"},
		"no file's":         {cannotRead("f", errors.New("f is too large")), "f is too large"},
	}
	for name, test := range tests {
		if test.got == nil || test.got.Error() != test.want {
			t.Errorf("%s: got %v, want %s", name, test.got, test.want)
		}
	}
	if err := errors.Join(cannotRead("f", nil), cannotWrite("f", nil)); err != nil {
		t.Errorf("nothing wrong: %v", err)
	}
}
