package main

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"porchlight/broker/delivery"
	"porchlight/device"
	"porchlight/device/authority"
	"porchlight/device/registry"
	"porchlight/device/store"
	"porchlight/policy"
	"porchlight/policy/consent"
)

// The files of a backup beside the gateway's own, and of a folder of backups.
const (
	manifestFile = "backup.json" // is written last: without it, it is no backup
	restoredFile = "restored.json"
	unfinished   = ".unfinished-"
	restoring    = ".restoring"
	asidePrefix  = "before-restore-"
	lockSuffix   = ".lock"
)

type progressFlags struct {
	Progress bool `help:"Tell how far it is on standard error, also where that is no terminal."`
	JSON     bool `help:"Print JSON."`
}

type backupCmd struct {
	To   string `help:"Folder for backups: each is a folder in it, named after the time." default:"porchlight-backups" placeholder:"DIR"`
	Keep int    `help:"Afterwards remove this gateway's oldest backups there but for so many; 0 removes none." placeholder:"N"`
	progressFlags
}

// Help is what --help says beside the flags.
func (backupCmd) Help() string {
	return "The gateway may run. A backup is what the gateway has in its data folder: the database, the keys of all homes, the certificate authority with its private key, " +
		"the credentials of devices. What somebody else has put there is left out, and named. " +
		"Whoever has it can read what people have said and can be this gateway, so only you can open it: keep it as safe as the gateway itself. " +
		"What is erased later stays in backups made before: remove those, and --keep does."
}

type restoreCmd struct {
	Backup    string `arg:"" help:"The backup: a folder that porchlight backup has made." placeholder:"BACKUP"`
	MoveAside bool   `help:"Where the data folder is not empty, move what a gateway has there into a folder in it. Nothing is deleted."`
	progressFlags
}

// Help is what --help says beside the flags.
func (restoreCmd) Help() string {
	return "The data folder becomes what it was when the backup was made. What was said or done since is not in it: a no that was said since, " +
		"a device that was removed, a key that was made void. Ask the homes, or withdraw for them, as soon as the gateway runs. " +
		"With --move-aside and data that can be read, what restricts is kept: noes are said again, what was erased is erased again, and brands that the backup " +
		"knows stand as they stood last: stopped, removed, with the keys that they had. To undo that as well, restore into an empty folder."
}

type checkCmd struct {
	Backup string `arg:"" optional:"" help:"A backup; default the data folder, beside whose gateway this may run." placeholder:"BACKUP"`
	progressFlags
}

// Help is what --help says beside the flags.
func (checkCmd) Help() string {
	return "Looks for damage in the file, rows that refer to nothing, entries without their key or altered since they were written, messages with another text, and makes all tables again " +
		"from the journal, in a temporary database, to compare. Of a backup, each file's SHA-256 as well; of one that an earlier version made, a temporary copy is brought up to this version first. Nothing is changed."
}

// manifest is backup.json.
type manifest struct {
	Made    time.Time      `json:"made"`    // when it was begun: what was acknowledged before is in it
	Gateway string         `json:"gateway"` // version
	Data    string         `json:"data"`    // folder that it is a backup of
	Schema  int64          `json:"schema"`
	Events  int64          `json:"events"` // place of the newest
	Began   device.Instant `json:"began"`  // of the first: the same in all backups of one gateway
	Newest  device.Instant `json:"newest"`
	Files   []backupFile   `json:"files"`
}

type backupFile struct {
	Name   string `json:"name"` // with slashes
	Mode   string `json:"mode"` // of the file in the data folder, octal
	Bytes  int64  `json:"bytes"`
	SHA256 string `json:"sha256"`
}

func (f backupFile) mode() (fs.FileMode, error) {
	bits, err := strconv.ParseUint(f.Mode, 8, 9)
	return fs.FileMode(bits) &^ 0o077, err // its owner's alone, whatever a backup says
}

func (m manifest) size() (n int64) {
	for _, f := range m.Files {
		n += f.Bytes
	}
	return n
}

// backedUp is what backup prints.
type backedUp struct {
	Backup  string   `json:"backup"` // path
	SHA256  string   `json:"sha256"` // of its backup.json, which has that of every file
	Bytes   int64    `json:"bytes"`
	Seconds float64  `json:"seconds"`
	Removed []string `json:"removed,omitempty"`  // older backups
	LeftOut []string `json:"left_out,omitempty"` // files and folders that are not the gateway's
	manifest
}

// Run makes a backup.
func (c *backupCmd) Run(e *env) (err error) {
	if c.Keep < 0 {
		return usageError{errors.New("--keep counts backups: use 0 or more")}
	}
	done, err := c.run(e)
	if errors.Is(err, context.Canceled) {
		err = errors.New("interrupted: no backup was made")
	}
	if err != nil {
		return fmt.Errorf("backup: %w", err)
	}
	if c.JSON {
		return printJSON(e.out, done)
	}
	t := table(e.out)
	fmt.Fprintf(t, "backup\t%s\nof\t%s, %d events, the newest at %s\nbytes\t%d in %d files\ntook\t%.1f s\nsha256\t%s\n",
		done.Backup, done.Data, done.Events, orNever(done.Newest), done.Bytes, len(done.Files), done.Seconds, done.SHA256)
	for _, name := range done.Removed {
		fmt.Fprintf(t, "removed\t%s\n", name)
	}
	if err := t.Flush(); err != nil {
		return err
	}
	if len(done.LeftOut) > 0 {
		fmt.Fprintf(e.out, "left out: %s (not the gateway's)\n", strings.Join(done.LeftOut, ", "))
	}
	fmt.Fprintln(e.out, "It holds the keys of all homes and the private key of the certificate authority: keep it as safe as the gateway.")
	return nil
}

func orNever(at device.Instant) string {
	if at == 0 {
		return "never"
	}
	return at.String()
}

func (c *backupCmd) run(e *env) (done backedUp, err error) {
	began := time.Now()
	data, err := filepath.Abs(e.data)
	if err != nil {
		return done, err
	}
	dir, err := filepath.Abs(c.To)
	if err != nil {
		return done, err
	}
	if err := hasData(data); err != nil {
		return done, err
	}
	if inside(data, dir) {
		return done, fmt.Errorf("%s is in the data folder, and would be lost with it: name another one with --to", dir)
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return done, cannotWrite(dir, err)
	}
	lock, err := lockBackups(dir)
	if err != nil {
		return done, err
	}
	defer lock.Close()
	if err := sweep(dir); err != nil {
		return done, err
	}

	done.manifest = manifest{Made: began.UTC().Truncate(time.Millisecond), Gateway: version(), Data: data}
	done.Backup = filepath.Join(dir, "porchlight-"+done.Made.Format("20060102T150405.000Z"))
	work, err := os.MkdirTemp(dir, unfinished) // 0700
	if err != nil {
		return done, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, os.RemoveAll(work))
		}
	}()
	tell := newMeter(e, c.progressFlags)
	s, err := store.Backup(e.ctx, filepath.Join(data, databaseFile), filepath.Join(work, databaseFile), tell.in("database"))
	if err != nil {
		return done, err
	}
	done.Schema, done.Events, done.Began, done.Newest = s.Schema, s.Seq, s.Began, s.Newest
	// The authority comes after the database: it knows those before it, too.
	names, left, err := listData(data)
	if err != nil {
		return done, err
	}
	for _, name := range names {
		if err := copyFile(filepath.Join(data, name), filepath.Join(work, name), 0o600); err != nil {
			return done, err
		}
	}
	done.LeftOut = left
	if err := authority.Verify(work); err != nil {
		return done, err
	}
	if done.Files, err = sums(e.ctx, work, append([]string{databaseFile, databaseFile + ".keys"}, names...), tell.in("SHA-256")); err != nil {
		return done, err
	}
	for i, f := range done.Files {
		fi, err := os.Stat(filepath.Join(data, f.Name))
		if err != nil {
			return done, err
		}
		done.Files[i].Mode = fmt.Sprintf("%04o", fi.Mode().Perm())
	}
	raw, err := json.MarshalIndent(done.manifest, "", "  ")
	if err != nil {
		return done, err
	}
	sum := sha256.Sum256(raw)
	done.SHA256, done.Bytes = hex.EncodeToString(sum[:]), done.size()
	if err := writeSynced(filepath.Join(work, manifestFile), raw); err != nil {
		return done, err
	}
	if err := syncFolders(work); err != nil {
		return done, err
	}
	if err := e.ctx.Err(); err != nil {
		return done, err
	}
	if err := os.Rename(work, done.Backup); err != nil {
		return done, err
	}
	work = filepath.Join(dir, unfinished) // there is none any more
	if err := syncFolder(dir); err != nil {
		return done, err
	}
	if done.Removed, err = c.prune(dir, done.Backup, done.manifest); err != nil {
		return done, fmt.Errorf("%s is made, but older ones cannot be removed: %w", done.Backup, err)
	}
	done.Seconds = time.Since(began).Seconds()
	return done, nil
}

// prune removes the oldest backups of the gateway that young, at made, is one of; never that one, whatever the clock was when the others were made.
func (c *backupCmd) prune(dir, path string, young manifest) (removed []string, err error) {
	if c.Keep == 0 || young.Began == 0 {
		return nil, nil
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	made := map[string]time.Time{}
	var all []string
	for _, entry := range entries {
		name := filepath.Join(dir, entry.Name())
		if strings.HasPrefix(entry.Name(), ".") || !entry.IsDir() {
			continue
		}
		if m, err := readManifest(name); err == nil && m.Began == young.Began && name != path {
			made[name] = m.Made
			all = append(all, name)
		}
	}
	slices.SortFunc(all, func(a, b string) int { return cmp.Or(made[b].Compare(made[a]), cmp.Compare(b, a)) })
	for _, name := range all[min(c.Keep-1, len(all)):] {
		gone, err := os.MkdirTemp(dir, unfinished)
		if err == nil {
			err = os.Rename(name, filepath.Join(gone, "old")) // half of it is no backup
		}
		if err == nil {
			err = os.RemoveAll(gone)
		}
		if err != nil {
			return removed, err
		}
		removed = append(removed, name)
	}
	return removed, nil
}

// inside reports whether path is in folder, or is it.
func inside(folder, path string) bool {
	real := func(p string) string { // as far as it is there
		for rest := ""; ; p, rest = filepath.Dir(p), filepath.Join(filepath.Base(p), rest) {
			if r, err := filepath.EvalSymlinks(p); err == nil || p == filepath.Dir(p) {
				return filepath.Join(r, rest)
			}
		}
	}
	rel, err := filepath.Rel(real(folder), real(path))
	return err == nil && rel != ".." && !strings.HasPrefix(rel, "../")
}

// lockBackups sees to it that one backup at a time is made in dir.
func lockBackups(dir string) (io.Closer, error) {
	f, err := os.OpenFile(filepath.Join(dir, lockSuffix), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		f.Close()
		if errors.Is(err, syscall.EWOULDBLOCK) {
			err = errors.New("another backup is being made there: wait for it")
		}
		return nil, fmt.Errorf("%s: %w", dir, err)
	}
	return f, nil
}

// sweep removes what backups that were cut short have left. The caller has the lock.
func sweep(dir string) error {
	left, err := filepath.Glob(filepath.Join(dir, unfinished+"*"))
	for _, name := range left {
		err = errors.Join(err, os.RemoveAll(name))
	}
	return err
}

// listData lists the gateway's own files in a data folder beside the database, its keys and what is of the running process
// alone, and what is not the gateway's.
func listData(data string) (names, left []string, err error) {
	for _, folder := range []string{"", "ca", "credentials"} {
		entries, err := os.ReadDir(filepath.Join(data, folder))
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, nil, err
		}
		for _, entry := range entries {
			name := filepath.Join(folder, entry.Name())
			switch {
			case strings.HasPrefix(entry.Name(), "."), folder == "" && ofGateway(name), strings.HasPrefix(name, asidePrefix), name == "lost+found":
			case name == "ca/ca.key", name == "ca/ca.crt", folder == "credentials" && filepath.Ext(name) == ".yaml":
				names = append(names, name)
			default:
				left = append(left, name)
			}
		}
	}
	return names, left, nil
}

// ofGateway reports whether a file or folder of a data folder is the gateway's, by its name.
func ofGateway(name string) bool {
	return strings.HasPrefix(name, databaseFile) || slices.Contains([]string{"ca", "credentials", socketFile, restoredFile}, name)
}

// sums reads files of folder through, and leaves out those that are not there.
func sums(ctx context.Context, folder string, names []string, tell func(done, total int64)) (all []backupFile, err error) {
	var total, done int64
	for _, name := range names {
		if fi, err := os.Stat(filepath.Join(folder, name)); err == nil {
			total += fi.Size()
		}
	}
	for _, name := range names {
		f, err := openPart(filepath.Join(folder, name))
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, err
		}
		hash := sha256.New()
		n, err := io.Copy(hash, &counted{ctx, f, func(n int) { done += int64(n); tell(done, total) }})
		f.Close()
		if err != nil {
			return nil, fmt.Errorf("%s: %w", f.Name(), err)
		}
		all = append(all, backupFile{filepath.ToSlash(name), "", n, hex.EncodeToString(hash.Sum(nil))})
	}
	return all, nil
}

// counted is a reader that tells what was read, and ends with ctx.
type counted struct {
	ctx  context.Context
	r    io.Reader
	tell func(n int)
}

func (c *counted) Read(b []byte) (int, error) {
	if err := c.ctx.Err(); err != nil {
		return 0, err
	}
	n, err := c.r.Read(b)
	if n > 0 {
		c.tell(n)
	}
	return n, err
}

// openPart opens a file of a backup, or of a data folder. A pipe would be waited for, and a device may have no end.
func openPart(path string) (*os.File, error) {
	switch fi, err := os.Stat(path); {
	case err != nil:
		return nil, err
	case !fi.Mode().IsRegular():
		return nil, fmt.Errorf("%s is no regular file: put the file there that belongs there, or use another backup", path)
	}
	return os.Open(path)
}

// copyFile copies a file to where nothing is, and syncs it.
func copyFile(from, to string, mode fs.FileMode) error {
	raw, err := openPart(from)
	if err != nil {
		return err
	}
	defer raw.Close()
	return copyTo(raw, to, mode)
}

func copyTo(from io.Reader, to string, mode fs.FileMode) error {
	if err := os.MkdirAll(filepath.Dir(to), 0o700); err != nil {
		return err
	}
	f, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = io.Copy(f, from)
	return errors.Join(err, f.Chmod(mode), f.Sync(), f.Close())
}

func writeSynced(path string, raw []byte) error {
	return copyTo(strings.NewReader(string(raw)), path, 0o600)
}

// syncFolders makes the names in folder, and in those below, survive a power cut.
func syncFolders(folder string) error {
	return filepath.WalkDir(folder, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.IsDir() {
			return err
		}
		return syncFolder(path)
	})
}

func syncFolder(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}

// mostManifest is how many bytes of backup.json are read.
const mostManifest = 16 << 20

func readManifest(backup string) (m manifest, err error) {
	f, err := openPart(filepath.Join(backup, manifestFile))
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENOTDIR) {
		return m, fmt.Errorf("%s is no backup: there is no %s in it: name a folder that porchlight backup has made", backup, manifestFile)
	}
	if err != nil {
		return m, err
	}
	defer f.Close()
	raw, err := io.ReadAll(io.LimitReader(f, mostManifest))
	if err == nil {
		err = json.Unmarshal(raw, &m)
	}
	if err == nil && !slices.ContainsFunc(m.Files, func(f backupFile) bool { return f.Name == databaseFile }) {
		err = errors.New("it names no database")
	}
	for _, one := range m.Files {
		if err == nil {
			_, err = one.mode()
		}
		if err == nil && (!filepath.IsLocal(one.Name) || one.Name == manifestFile) {
			err = fmt.Errorf("it names %q, which is no file of a backup", one.Name)
		}
	}
	if err != nil {
		return m, fmt.Errorf("%s: %w", f.Name(), err)
	}
	return m, nil
}

// differs says which file of a backup is not as its manifest has it; "": none.
func (m manifest) differs(have []backupFile) error {
	for _, want := range m.Files {
		i := slices.IndexFunc(have, func(f backupFile) bool { return f.Name == want.Name })
		switch {
		case i < 0:
			return fmt.Errorf("%s is missing: this backup is not whole: use another one", want.Name)
		case have[i].Bytes != want.Bytes || have[i].SHA256 != want.SHA256:
			return fmt.Errorf("%s has SHA-256 %.16s..., and was written with %.16s...: this backup is damaged: use another one", want.Name, have[i].SHA256, want.SHA256)
		}
	}
	return nil
}

// meter tells on standard error how far something is.
type meter struct {
	out  io.Writer // nil: nobody wants to know
	what string
	told time.Time
}

func newMeter(e *env, f progressFlags) *meter {
	m := &meter{}
	if f.Progress || progressTo(e.errs) {
		m.out = e.errs
	}
	return m
}

// in is told how many bytes, or events, of how many are done.
func (m *meter) in(what string) func(done, total int64) {
	return func(done, total int64) {
		now := time.Now()
		if m.out == nil || m.what == what && now.Sub(m.told) < time.Second && done != total {
			return
		}
		m.what, m.told = what, now
		unit, by := "MB", int64(1<<20)
		if total < 10<<20 {
			unit, by = "kB", 1<<10
		}
		if what == "events" {
			unit, by = "", 1
		}
		fmt.Fprintln(m.out, strings.TrimSpace(fmt.Sprintf("%s: %d of %d %s", what, done/by, total/by, unit)))
	}
}

// restored is what restore prints, and, for later, what stands in restored.json.
type restored struct {
	Data   string    `json:"data"`
	From   string    `json:"from"` // path of the backup
	Made   time.Time `json:"made"` // when the backup was
	At     time.Time `json:"at"`   // when it was restored
	Events int64     `json:"events"`
	Bytes  int64     `json:"bytes"`
	Aside  string    `json:"aside,omitempty"`  // where the data is that was there
	Since  []since   `json:"since,omitempty"`  // homes whose books have gone on there
	Brands []kept    `json:"brands,omitempty"` // what became of brands there
	Unread string    `json:"unread,omitempty"` // why it is not known what was said and done there
	Undone string    `json:"undone,omitempty"` // what of it should hold again, and does not

	Seconds float64 `json:"seconds"`
}

// since is what a home's book has in the data that was moved aside, and not in the backup.
type since struct {
	Home    string `json:"home"`
	Events  int    `json:"events"`
	Choices int    `json:"choices"`        // of them: yes, no and what belongs to it
	Erased  int    `json:"erased"`         // events that were erased since, and now are again
	Said    []kept `json:"said,omitempty"` // the last word about each brand and purpose

	id       device.HomeID
	erasures []store.Erasure
	renewed  []store.Event // what was written down anew, without what was erased, so that it outlives that
	unit     []store.Event // those of its book that have the time of the last one
	words    map[policy.ConsentKey]consent.State
	keys     []policy.ConsentKey // of Said
}

// kept is something that was said or done since the backup, and whether it holds again.
type kept struct {
	Person  string         `json:"person,omitempty"` // whose word it is; "": the home's as a whole, or the operator's
	Brand   device.BrandID `json:"brand"`
	Purpose string         `json:"purpose,omitempty"`
	What    string         `json:"what"`
	Kept    bool           `json:"kept"`
}

// again is in words whether it holds again.
func (k kept) again() string {
	if k.Kept {
		return "yes"
	}
	return "no"
}

// Run puts a backup back.
func (c *restoreCmd) Run(e *env) error {
	done, err := c.run(e)
	if errors.Is(err, context.Canceled) {
		err = errors.New("interrupted: nothing was changed")
	}
	if err != nil {
		return fmt.Errorf("restore: %w", err)
	}
	if c.JSON {
		return printJSON(e.out, done)
	}
	t := table(e.out)
	fmt.Fprintf(t, "restored\t%s\nfrom\t%s, made at %s, %d events\nbytes\t%d\ntook\t%.1f s\n", done.Data, done.From, device.At(done.Made), done.Events, done.Bytes, done.Seconds)
	if done.Aside != "" {
		fmt.Fprintf(t, "aside\t%s\n", done.Aside)
	}
	if err := t.Flush(); err != nil {
		return err
	}
	if len(done.Since)+len(done.Brands) > 0 {
		fmt.Fprintln(e.out, "\nSINCE THAT BACKUP, and not in it, but for what is ERASED again and what HOLDS AGAIN")
	}
	if len(done.Since) > 0 {
		t, said := table(e.out), table(e.out)
		fmt.Fprintln(t, "HOME\tENTRIES\tCHOICES\tERASED")
		any := false
		for _, s := range done.Since {
			fmt.Fprintf(t, "%s\t%d\t%d\t%d\n", s.Home, s.Events, s.Choices, s.Erased)
			for _, k := range s.Said {
				if !any {
					any = true
					fmt.Fprintln(said, "HOME\tWHO\tBRAND\tPURPOSE\tLAST WORD\tHOLDS AGAIN")
				}
				fmt.Fprintf(said, "%s\t%s\t%s\t%s\t%s\t%s\n", s.Home, orHome(k.Person), k.Brand, k.Purpose, k.What, k.again())
			}
		}
		if err := errors.Join(t.Flush(), said.Flush()); err != nil {
			return err
		}
	}
	if len(done.Brands) > 0 {
		t := table(e.out)
		fmt.Fprintln(t, "BRAND\tWHAT\tHOLDS AGAIN")
		for _, k := range done.Brands {
			fmt.Fprintf(t, "%s\t%s\t%s\n", k.Brand, k.What, k.again())
		}
		if err := t.Flush(); err != nil {
			return err
		}
	}
	if done.Unread != "" {
		fmt.Fprintf(e.out, "What was said, done and erased since that backup cannot be told from the data that was there: %s.\n", done.Unread)
	}
	if done.Undone != "" {
		fmt.Fprintf(e.out, "Not all of it holds again that should: %s.\n", done.Undone)
	}
	if done.Aside != "" && done.Unread+done.Undone == "" {
		fmt.Fprintln(e.out, "Nothing else that was said or done after that backup is in it: say it again as soon as the gateway runs (porchlight consent give).")
	} else if done.Undone != "" {
		fmt.Fprintln(e.out, "Nothing else that was said or done after that backup is in it: say it again as soon as the gateway runs (porchlight consent withdraw, porchlight erase, porchlight brand stop).")
	} else {
		fmt.Fprintln(e.out, "Nothing that was said or done after that backup is in it, neither a no nor an erasure nor a brand that was stopped: say it again as soon as the gateway runs (porchlight consent withdraw, porchlight erase, porchlight brand stop).")
	}
	return nil
}

func (c *restoreCmd) run(e *env) (done restored, err error) {
	began := time.Now()
	if done.From, err = filepath.Abs(c.Backup); err != nil {
		return done, err
	}
	m, err := readManifest(done.From)
	if err != nil {
		return done, err
	}
	if done.Data, err = filepath.Abs(e.data); err != nil {
		return done, err
	}
	if inside(done.From, done.Data) {
		return done, fmt.Errorf("the data folder %s is in the backup: name another one with --data", done.Data)
	}
	done.Made, done.At, done.Events, done.Bytes = m.Made, began.UTC().Truncate(time.Millisecond), m.Events, m.size()
	placed := false // whether something of the backup is in its place
	made := unmade(done.Data)
	var hold io.Closer
	defer func() {
		if err != nil && !placed {
			for _, name := range made {
				_ = os.Remove(name) // a folder with something in it stays
			}
		}
		if hold != nil {
			hold.Close()
		}
	}()
	if err := os.MkdirAll(done.Data, 0o700); err != nil {
		return done, cannotWrite(done.Data, err)
	}
	lock := unmade(filepath.Join(done.Data, databaseFile+lockSuffix))
	if hold, err = store.Hold(filepath.Join(done.Data, databaseFile)); err != nil {
		return done, err
	}
	made = append(lock, made...)
	there, err := occupants(done.Data)
	if err != nil {
		return done, err
	}
	if len(there) > 0 && !c.MoveAside {
		return done, fmt.Errorf("%s is not empty (%s): restore into another folder with --data, or add --move-aside, which moves what a gateway has there into a folder in it", done.Data, strings.Join(there[:min(3, len(there))], ", "))
	}

	work := filepath.Join(done.Data, restoring)
	if err := os.RemoveAll(work); err != nil { // of a restore that was cut short
		return done, err
	}
	if err := os.Mkdir(work, 0o700); err != nil {
		return done, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(work)) }()
	tell := newMeter(e, c.progressFlags)
	if err := unpack(e.ctx, m, done.From, work, tell.in("files")); err != nil {
		return done, err
	}
	s, err := store.Verify(e.ctx, filepath.Join(work, databaseFile))
	if err != nil {
		return done, err
	}
	if s.Seq != m.Events {
		return done, fmt.Errorf("%s has events up to %d, and %s says %d: use another backup", databaseFile, s.Seq, manifestFile, m.Events)
	}
	if err := e.ctx.Err(); err != nil {
		return done, err
	}

	last := func(name string) int { return slices.Index([]string{databaseFile + ".keys", databaseFile}, name) }

	// From here on it goes on to its end: between two renames nothing is interrupted.
	aside := ""                                            // where this run moves what is there; "": nothing is
	there = slices.DeleteFunc(there, func(n string) bool { // what is somebody else's stays, unless the backup has another in its place
		_, err := os.Lstat(filepath.Join(work, n))
		return !ofGateway(n) && errors.Is(err, fs.ErrNotExist)
	})
	if len(there) > 0 {
		aside = filepath.Join(done.Data, asidePrefix+done.At.Format("20060102T150405.000Z"))
		// The database first: where it is missing, no gateway begins anew.
		slices.SortStableFunc(there, func(a, b string) int { return cmp.Compare(last(b), last(a)) })
		defer func() {
			if err != nil && !placed {
				err = errors.Join(err, moveBack(aside, done.Data, there))
			}
		}()
		if err := moveAll(done.Data, aside, there); err != nil {
			return done, err
		}
	}
	// The database is what counts, also where a restore that was cut short has moved it.
	old := aside
	if _, e := os.Stat(filepath.Join(aside, databaseFile)); aside == "" || errors.Is(e, fs.ErrNotExist) {
		old = lastAside(done.Data)
	}
	done.Aside = cmp.Or(old, aside)
	if old != "" {
		if keys := filepath.Join(aside, databaseFile+".keys"); aside != "" && old != aside { // an earlier one was cut short between the two
			if _, e := os.Stat(filepath.Join(old, databaseFile+".keys")); errors.Is(e, fs.ErrNotExist) {
				_ = os.Rename(keys, filepath.Join(old, databaseFile+".keys"))
			}
		}
		if done.Since, done.Brands, err = goneOn(context.WithoutCancel(e.ctx), filepath.Join(old, databaseFile), filepath.Join(work, databaseFile), s.Seq); errors.As(err, new(undoneError)) {
			done.Undone = oneLine(err)
		} else if err != nil {
			done.Unread = oneLine(err)
		}
	}
	done.Seconds = time.Since(began).Seconds()
	raw, err := json.MarshalIndent(done, "", "  ")
	if err != nil {
		return done, err
	}
	if err := os.Remove(filepath.Join(work, restoredFile)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return done, err // of a restore before the backup
	}
	if err := writeSynced(filepath.Join(work, restoredFile), raw); err != nil {
		return done, err
	}
	if err := syncFolders(work); err != nil {
		return done, err
	}
	if err := giveTo(done.Data, work, aside, done.Aside); err != nil {
		return done, err
	}
	// The database comes last: while it is missing, no gateway begins anew.
	names, err := occupants(work)
	if err != nil {
		return done, err
	}
	slices.SortStableFunc(names, func(a, b string) int { return cmp.Compare(last(a), last(b)) })
	for _, name := range names {
		if err := os.Rename(filepath.Join(work, name), filepath.Join(done.Data, name)); err != nil {
			return done, err
		}
		placed = true
	}
	return done, syncFolder(done.Data)
}

// occupants lists what is in a data folder, but for what restore itself has made, and the lock.
func occupants(data string) (names []string, err error) {
	entries, err := os.ReadDir(data)
	for _, e := range entries {
		if n := e.Name(); n != restoring && n != databaseFile+lockSuffix && n != "lost+found" && !strings.HasPrefix(n, asidePrefix) {
			names = append(names, n)
		}
	}
	return names, err
}

// unmade lists path and the folders around it, the innermost first, as far as they are not there.
func unmade(path string) (all []string) {
	for {
		if _, err := os.Lstat(path); !errors.Is(err, fs.ErrNotExist) {
			return all
		}
		all = append(all, path)
		path = filepath.Dir(path)
	}
}

// unpack copies the files of a backup, and sees that each is as it was written.
func unpack(ctx context.Context, m manifest, from, to string, tell func(done, total int64)) error {
	var all []backupFile
	var done int64
	for _, f := range m.Files {
		in, err := openPart(filepath.Join(from, filepath.FromSlash(f.Name)))
		if errors.Is(err, fs.ErrNotExist) {
			break // differs names it
		}
		if err != nil {
			return err
		}
		mode, err := f.mode()
		if err != nil {
			in.Close()
			return err
		}
		hash, began := sha256.New(), done
		read := &counted{ctx, io.LimitReader(in, f.Bytes+1), func(n int) { done += int64(n); tell(done, m.size()) }} // what is longer is another
		err = copyTo(io.TeeReader(read, hash), filepath.Join(to, filepath.FromSlash(f.Name)), mode)
		in.Close()
		if err != nil {
			return err
		}
		all = append(all, backupFile{f.Name, f.Mode, done - began, hex.EncodeToString(hash.Sum(nil))})
	}
	return m.differs(all)
}

// moveAll moves names from one folder to one that is made for them.
func moveAll(from, to string, names []string) error {
	if err := os.Mkdir(to, 0o700); err != nil {
		return err
	}
	for _, name := range names {
		if err := os.Rename(filepath.Join(from, name), filepath.Join(to, name)); err != nil {
			return err
		}
	}
	return errors.Join(syncFolder(to), syncFolder(from))
}

// moveBack undoes moveAll, as far as it came.
func moveBack(from, to string, names []string) (err error) {
	for _, name := range slices.Backward(names) { // the database last
		if e := os.Rename(filepath.Join(from, name), filepath.Join(to, name)); e != nil && !errors.Is(e, fs.ErrNotExist) {
			err = errors.Join(err, e)
		}
	}
	_ = os.Remove(filepath.Join(from, databaseFile+lockSuffix)) // of goneOn
	if e := os.Remove(from); e != nil && !errors.Is(e, fs.ErrNotExist) {
		err = errors.Join(err, e) // what is left there stays
	}
	return errors.Join(err, syncFolder(to))
}

// lastAside is the folder with the database that a restore which was cut short has moved aside; "": none. The data that
// was in place after an older one names that in its restored.json: no clock is asked.
func lastAside(data string) (last string) {
	all, _ := filepath.Glob(filepath.Join(data, asidePrefix+"*", databaseFile)) // in order
	older := map[string]bool{}
	for _, path := range all {
		var was restored
		if raw, err := os.ReadFile(filepath.Join(filepath.Dir(path), restoredFile)); err == nil && json.Unmarshal(raw, &was) == nil {
			older[filepath.Base(was.Aside)] = true
		}
	}
	for _, path := range all {
		if dir := filepath.Dir(path); last == "" || !older[filepath.Base(dir)] {
			last = dir
		}
	}
	return last
}

// cutShort is an error if a restore into the data folder did not come to its end.
func cutShort(data string) error {
	if _, err := os.Stat(filepath.Join(data, databaseFile)); err == nil || lastAside(data) == "" {
		return nil
	}
	return fmt.Errorf("a restore into %s was cut short: run porchlight restore BACKUP --move-aside again, with the same backup, or move back what is in %s", data, lastAside(data))
}

// giveTo gives folders and what is in them to the owner of the data folder, where root works for another user.
func giveTo(data string, folders ...string) error {
	fi, err := os.Stat(data)
	if err != nil || os.Geteuid() != 0 {
		return err
	}
	owner := fi.Sys().(*syscall.Stat_t)
	for _, folder := range folders {
		if folder == "" {
			continue
		}
		if err := filepath.WalkDir(folder, func(path string, _ fs.DirEntry, err error) error {
			if err != nil {
				return err
			}
			return os.Lchown(path, int(owner.Uid), int(owner.Gid))
		}); err != nil {
			return err
		}
	}
	return nil
}

// undoneError is what goneOn could not do again, beside which it has done what it could.
type undoneError struct{ error }

// goneOn tells what has happened after the event seq in the database at old, of which young is a backup. It
// erases from young what was erased in old since, says the noes again that are the last word in old, and has the
// brands of young stand as they stood last.
func goneOn(ctx context.Context, old, young string, seq int64) (all []since, brands []kept, err error) {
	if have, known, err := store.Inspect(old); err != nil {
		return nil, nil, err
	} else if have != known {
		return nil, nil, fmt.Errorf("its schema is version %d, and this program's %d", have, known)
	}
	var head [2]store.Event // the event seq: what the two have in common, if they are of one gateway
	read := func(db *store.DB, i int, after func(store.Event) error) error {
		return db.View(ctx, func(tx *store.Tx) error {
			for e, err := range tx.Journal(store.Filter{Oldest: true}) {
				switch {
				case err != nil:
					return err
				case e.Seq == seq:
					head[i] = e
				case e.Seq > seq && after != nil:
					if err := after(e); err != nil {
						return err
					}
				}
			}
			return nil
		})
	}
	var done []store.Event // to brands, and to messages that they took back
	byHome := map[device.HomeID]*since{}
	o := store.Options{Project: delivery.Project, Clear: delivery.Clear}
	db, err := store.Open(ctx, old, o)
	if err != nil {
		return nil, nil, err
	}
	err = read(db, 0, func(e store.Event) error {
		if e.Home == device.Gateway {
			if strings.HasPrefix(e.Kind, "brand.") || e.Kind == "message.withdrawn" {
				done = append(done, e)
			}
			return nil
		}
		s := byHome[e.Home]
		if s == nil {
			s = &since{id: e.Home, Home: fmt.Sprintf("home %d", e.Home), words: map[policy.ConsentKey]consent.State{}}
			byHome[e.Home] = s
		}
		s.Events++
		if len(s.unit) > 0 && s.unit[0].At != e.At {
			s.unit = nil
		}
		if s.unit = append(s.unit, e); e.Kind == delivery.HomePruned { // the last of its transaction
			s.renewed = append(s.renewed, slices.DeleteFunc(s.unit, func(e store.Event) bool { return e.Erased || e.Kind == store.KindErased })...)
			s.unit = nil
		}
		if strings.HasPrefix(e.Kind, "consent.") {
			s.Choices++
		}
		if consent.Binds(e.Kind) && !e.Erased {
			if err := store.With(e, func(f consent.Entry) error {
				s.words[f.Key()] = consent.State(strings.TrimPrefix(e.Kind, "consent."))
				return nil
			}); err != nil {
				return err
			}
		}
		if e.Kind != store.KindErased {
			return nil
		}
		return store.With(e, func(was store.Erasure) error { s.erasures = append(s.erasures, was); return nil })
	})
	if err = errors.Join(err, nameHomes(ctx, db, byHome), db.Close()); err != nil {
		return nil, nil, err
	}
	db, err = store.Open(ctx, young, o)
	if err != nil {
		return nil, nil, err
	}
	defer func() { err = errors.Join(err, db.Close(), os.Remove(young+lockSuffix)) }()
	if err := read(db, 1, nil); err != nil {
		return nil, nil, err
	}
	if a, b := head[0], head[1]; a.Home != b.Home || a.Pos != b.Pos || a.At != b.At || a.Kind != b.Kind || a.Entry.Leaf != b.Entry.Leaf {
		return nil, nil, errors.New("the backup is of another gateway, or of another time of it")
	}
	var undone []error
	err = db.Update(func(tx *store.Tx) (err error) {
		tx.Actor = "restore"
		brands, err = redo(tx, done)
		return err
	})
	if err != nil {
		brands = nil // all of it or nothing
		undone = append(undone, fmt.Errorf("none of %d things that were done to brands: %w", len(done), err))
	}
	for _, id := range slices.Sorted(maps.Keys(byHome)) {
		s := byHome[id]
		var had int64 // entries that the backup has of its book
		err := db.Update(func(tx *store.Tx) (err error) {
			tx.Actor = "restore"
			if had, err = tx.Head(s.id); err != nil || had == 0 {
				return err // it is younger than the backup
			}
			for _, e := range s.renewed {
				if _, err := tx.Add(s.id, e.Kind, again(e)); err != nil {
					return err
				}
			}
			return s.repeat(tx)
		})
		if err != nil {
			for i := range s.Said {
				s.Said[i].Kept = false
			}
			undone = append(undone, fmt.Errorf("what was said and erased in %s since: %w", s.Home, err))
			s.erasures = nil // what has to outlive them is not there
		}
		for _, was := range s.erasures {
			n, err := db.Erase(ctx, "restore", s.id, func(e store.Event) bool { return e.Pos <= had && slices.Contains(was.Positions, e.Pos) }, nil, was.Why)
			if err != nil {
				undone = append(undone, fmt.Errorf("what was erased in %s since: %w", s.Home, err))
			}
			s.Erased += n
		}
		all = append(all, *s)
	}
	if undone != nil {
		return all, brands, undoneError{errors.Join(undone...)}
	}
	return all, brands, nil
}

// redo does to the brands that tx has what was done to them, in order, and tells what was done to any.
func redo(tx *store.Tx, done []store.Event) (all []kept, err error) {
	for _, e := range done {
		if e.Kind == "message.withdrawn" {
			if _, err := tx.Add(device.Gateway, e.Kind, again(e)); err != nil {
				return nil, err
			}
			continue
		}
		var f struct {
			ID    device.BrandID `json:"id"`
			Brand device.BrandID `json:"brand"`
			Kid   string         `json:"kid"`
		}
		if err := json.Unmarshal(e.Body, &f); err != nil {
			return nil, fmt.Errorf("%s: %w", e.Kind, err)
		}
		k := kept{Brand: cmp.Or(f.Brand, f.ID), What: map[string]string{
			"brand.added": "added", "brand.changed": "changed", "brand.renewed": "got another API key", "brand.keyed": "got the signing key " + f.Kid,
			"brand.unkeyed": "signing key " + f.Kid + " revoked", "brand.stopped": "stopped", "brand.started": "started", "brand.removed": "removed"}[e.Kind]}
		_, err := registry.BrandByID(tx, k.Brand)
		if k.Kept = err == nil; k.Kept {
			_, err = tx.Add(device.Gateway, e.Kind, again(e))
		}
		if err != nil && !errors.Is(err, registry.ErrUnknown) {
			return nil, fmt.Errorf("brand %s: %w", k.Brand, err)
		}
		all = append(all, k)
	}
	return all, nil
}

// repeat says the noes again that are somebody's last word.
func (s *since) repeat(tx *store.Tx) error {
	for i, k := range s.Said {
		key := s.keys[i]
		if state := s.words[key]; state != consent.Refused && state != consent.Withdrawn {
			continue
		}
		_, err := consent.Record(tx, consent.Entry{Home: s.id, Subject: key.Subject, Brand: key.Brand, Purpose: key.Purpose, Choice: policy.Refused, Method: "operator"})
		if err != nil && !errors.Is(err, registry.ErrUnknown) {
			return fmt.Errorf("the no to %s: %w", k.Brand, err)
		}
		s.Said[i].Kept = err == nil // somebody who is younger than the backup says nothing in it
	}
	return nil
}

// again is an event as it is appended to another book.
type again store.Event

// MarshalJSON is its body, as it is.
func (e again) MarshalJSON() ([]byte, error) { return e.Body, nil }

// About is whose key it is sealed with.
func (e again) About() device.PersonID { return e.Subject }

// checked is what check prints.
type checked struct {
	Of       string         `json:"of"` // path of the data folder, or of the backup
	Backup   *time.Time     `json:"backup,omitempty"`
	Restored *restored      `json:"restored,omitempty"`
	Schema   int64          `json:"schema"`
	Bytes    int64          `json:"bytes"` // of the database
	Homes    int64          `json:"homes"` // that are there
	Gone     int64          `json:"homes_removed,omitempty"`
	Events   int64          `json:"events"`
	Newest   device.Instant `json:"newest"`
	Seconds  float64        `json:"seconds"`
	Wrong    []string       `json:"wrong"`
}

// Run examines a data folder, or a backup.
func (c *checkCmd) Run(e *env) error {
	began := time.Now()
	done, err := c.run(e)
	if err != nil {
		return fmt.Errorf("check: %w", err)
	}
	done.Seconds = time.Since(began).Seconds()
	if c.JSON {
		err = printJSON(e.out, done)
	} else {
		t := table(e.out)
		fmt.Fprintf(t, "of\t%s\n", done.Of)
		if done.Backup != nil {
			fmt.Fprintf(t, "backup\tmade at %s; every file has the SHA-256 that it was written with\n", device.At(*done.Backup))
		}
		if r := done.Restored; r != nil {
			fmt.Fprintf(t, "restored\tat %s, from the backup of %s\n", device.At(r.At), device.At(r.Made))
		}
		homes := strconv.FormatInt(done.Homes, 10)
		if done.Gone > 0 {
			homes += fmt.Sprintf(", and %d removed", done.Gone)
		}
		fmt.Fprintf(t, "schema\tversion %d\nbytes\t%d\nhomes\t%s\nevents\t%d, the newest at %s\ntook\t%.1f s\n", done.Schema, done.Bytes, homes, done.Events, orNever(done.Newest), done.Seconds)
		for _, w := range done.Wrong {
			fmt.Fprintf(t, "wrong\t%s\n", w)
		}
		err = t.Flush()
	}
	if err != nil {
		return err
	}
	if len(done.Wrong) > 0 {
		return fmt.Errorf("check: %d things are wrong with %s: keep a copy of it; a backup can be put back with porchlight restore, and where only tables differ from the journal porchlight rebuild mends them", len(done.Wrong), done.Of)
	}
	if !c.JSON {
		fmt.Fprintln(e.out, "whole: no damage, every entry has its key and fits its home's log, every message is as it was accepted, every table agrees with the journal")
	}
	return nil
}

func (c *checkCmd) run(e *env) (done checked, err error) {
	tell := newMeter(e, c.progressFlags)
	if done.Of, err = filepath.Abs(cmp.Or(c.Backup, e.data)); err != nil {
		return done, err
	}
	path := filepath.Join(done.Of, databaseFile)
	if c.Backup != "" {
		m, err := readManifest(done.Of)
		if err != nil {
			return done, err
		}
		var names []string
		for _, f := range m.Files {
			names = append(names, filepath.FromSlash(f.Name))
		}
		files, err := sums(e.ctx, done.Of, names, tell.in("SHA-256"))
		if err == nil {
			err = m.differs(files)
		}
		if err != nil {
			return done, err
		}
		done.Backup = &m.Made
		have, known, err := store.Inspect(path)
		if err != nil {
			return done, err
		}
		if have < known { // no gateway is started on a backup
			done.Schema = have
			dir, err := os.MkdirTemp("", "porchlight-check-")
			if err != nil {
				return done, err
			}
			defer os.RemoveAll(dir)
			if path, err = raised(e.ctx, path, dir); err != nil {
				return done, err
			}
		}
	} else if err := hasData(done.Of); err != nil {
		return done, err
	} else if raw, err := os.ReadFile(filepath.Join(done.Of, restoredFile)); err == nil {
		done.Restored = &restored{}
		if err := json.Unmarshal(raw, done.Restored); err != nil {
			return done, fmt.Errorf("%s: %w", restoredFile, err)
		}
	}
	var altered []string
	homes := map[device.HomeID]bool{} // that are there
	h, err := store.Examine(e.ctx, path, func(tx *store.Apply, e store.Event) error {
		switch e.Kind {
		case "home.added":
			homes[e.Home] = true
		case "home.removed":
			delete(homes, e.Home)
		case "message.accepted":
			if !asAccepted(e.Body) && len(altered) < 1000 {
				altered = append(altered, fmt.Sprintf("journal (%d): the message is not the one that was accepted", e.Seq))
			}
		}
		return delivery.Project(tx, e)
	}, tell.in("events"))
	if err != nil {
		return done, err
	}
	if err := authority.Verify(done.Of); err != nil {
		h.Wrong = append(h.Wrong, err.Error())
	}
	h.Wrong = append(h.Wrong, altered...)
	done.Schema, done.Bytes, done.Events, done.Newest, done.Wrong = cmp.Or(done.Schema, h.Schema), h.Bytes, h.Events, h.Newest, h.Wrong
	done.Homes = int64(len(homes))
	done.Gone = h.Homes - done.Homes
	if done.Wrong == nil {
		done.Wrong = []string{}
	}
	return done, nil
}

// asAccepted reports whether the message in the journal has the digest that it was accepted with. What belongs to no home is in no log.
func asAccepted(body []byte) bool {
	var f struct {
		Digest  []byte          `json:"digest"`
		Message json.RawMessage `json:"message"`
		Signed  string          `json:"signed"` // or this, a compact JWS
	}
	err := json.Unmarshal(body, &f)
	if err == nil && f.Signed != "" {
		var s delivery.Submission
		_, rest, _ := strings.Cut(f.Signed, ".")
		payload, _, _ := strings.Cut(rest, ".")
		raw, e := base64.RawURLEncoding.DecodeString(payload)
		if err = cmp.Or(e, json.Unmarshal(raw, &s)); err == nil {
			f.Message, err = json.Marshal(s)
		}
	}
	sum := sha256.Sum256(f.Message)
	return err == nil && bytes.Equal(sum[:], f.Digest)
}

// raised makes a copy of the database at path, and of its keys, in dir, of this program's schema version.
func raised(ctx context.Context, path, dir string) (copied string, err error) {
	copied = filepath.Join(dir, databaseFile)
	if err := copyFile(path, copied, 0o600); err != nil {
		return "", err
	}
	if err := copyFile(path+".keys", copied+".keys", 0o600); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return "", err
	}
	db, err := store.Open(ctx, copied, store.Options{Project: delivery.Project, Clear: delivery.Clear})
	if err != nil {
		return "", err
	}
	return copied, db.Close()
}

// nameHomes puts in the names of the homes that are still there, and whose the last words are.
func nameHomes(ctx context.Context, db *store.DB, all map[device.HomeID]*since) error {
	return db.View(ctx, func(tx *store.Tx) error {
		homes, err := registry.Homes(tx)
		for _, h := range homes {
			if s := all[h.ID]; s != nil {
				s.Home = h.Name
			}
		}
		for _, s := range all {
			people, e := registry.People(tx, s.id)
			err = errors.Join(err, e)
			s.keys = slices.SortedFunc(maps.Keys(s.words), func(a, b policy.ConsentKey) int {
				return cmp.Or(cmp.Compare(a.Subject, b.Subject), cmp.Compare(a.Brand, b.Brand), cmp.Compare(a.Purpose, b.Purpose))
			})
			for _, key := range s.keys {
				k := kept{Brand: key.Brand, Purpose: key.Purpose.String(), What: string(s.words[key])}
				if key.Subject != device.Household {
					k.Person = fmt.Sprintf("person %d", key.Subject)
				}
				if i := slices.IndexFunc(people, func(p registry.Person) bool { return p.ID == key.Subject }); i >= 0 {
					k.Person = people[i].Name
				}
				s.Said = append(s.Said, k)
			}
		}
		return err
	})
}
