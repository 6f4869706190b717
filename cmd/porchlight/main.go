// Command porchlight is the gateway and everything that is done with it from a terminal.
//
// In: arguments, a configuration file, message files. Out: the running gateway; tables, JSON,
// and errors of one line. Never: a decision, a rule, a table of its own.
package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"regexp"
	"strings"
	"syscall"
	_ "time/tzdata" // for machines without time zones of their own

	"github.com/alecthomas/kong"
)

func main() { os.Exit(command()) }

// command is the whole process but for its exit status.
func command() int {
	ends := []os.Signal{os.Interrupt, syscall.SIGTERM}
	if !signal.Ignored(syscall.SIGHUP) { // as nohup does
		ends = append(ends, syscall.SIGHUP)
	}
	ctx, stop := signal.NotifyContext(context.Background(), ends...)
	defer stop()
	context.AfterFunc(ctx, stop) // a second signal ends at once
	return run(ctx, os.Args[1:], os.Stdin, os.Stdout, os.Stderr)
}

const defaultData = "porchlight-data" // as the flag says

// cli is the command line.
type cli struct {
	Data string `help:"Data folder of the gateway; default porchlight-data, here." default:"porchlight-data" env:"PORCHLIGHT_DATA" placeholder:"DIR"`

	Serve     serveCmd     `cmd:"" help:"Run the gateway until it is told to end."`
	Home      homeCmd      `cmd:"" help:"Homes and what they want."`
	Person    personCmd    `cmd:"" help:"People of a home."`
	Device    deviceCmd    `cmd:"" help:"Devices of a home."`
	Enrol     enrolCmd     `cmd:"" help:"Let new devices in."`
	Brand     brandCmd     `cmd:"" help:"Brands that may send messages."`
	Push      pushCmd      `cmd:"" help:"Send a message, as a brand does."`
	TakeBack  takeBackCmd  `cmd:"" help:"Take a message back, as a brand does."`
	Consent   consentCmd   `cmd:"" help:"What a home has said yes or no to."`
	Notice    noticeCmd    `cmd:"" help:"What a brand says that it wants, which is what a yes is a yes to."`
	Message   messageCmd   `cmd:"" help:"Messages that were accepted."`
	Why       whyCmd       `cmd:"" help:"Explain what becomes of a message, screen by screen."`
	Held      heldCmd      `cmd:"" help:"What a home was not shown today, and why."`
	Context   contextCmd   `cmd:"" help:"What devices have told of themselves, and what has changed there in the last 24 hours."`
	Condition conditionCmd `cmd:"" help:"Conditions of messages: what they read, what they come to, and what there is to read."`
	Learned   learnedCmd   `cmd:"" help:"What was learnt of the people of a home from what they did with messages."`
	Forget    forgetCmd    `cmd:"" help:"Do not use any more what was learnt."`
	Ledger    ledgerCmd    `cmd:"" help:"A home's log: its head, an export, and whether an export is whole."`
	Receipt   receiptCmd   `cmd:"" help:"Proofs that something is in a home's log."`
	Export    exportCmd    `cmd:"" help:"Write all that is known about a home, or about one person, into one file."`
	Import    importCmd    `cmd:"" help:"Take in a home that another gateway has exported."`
	Erase     eraseCmd     `cmd:"" help:"Erase for good what is known about a person, a brand or a device, or of one kind or time."`
	Audit     auditCmd     `cmd:"" help:"Who did what, when and from where."`
	Ca        caCmd        `cmd:"" name:"ca" help:"The gateway's certificate authority."`
	Status    statusCmd    `cmd:"" help:"The gateway at a glance."`
	Safety    safetyCmd    `cmd:"" help:"What may appear on devices of each class, and when, and where that is written."`
	Backup    backupCmd    `cmd:"" help:"Copy the whole data folder, keys and certificates too, while the gateway runs."`
	Restore   restoreCmd   `cmd:"" help:"Make a data folder from a backup."`
	Check     checkCmd     `cmd:"" help:"See whether the data folder, or a backup, is whole."`
	Rebuild   rebuildCmd   `cmd:"" help:"Make all tables again from the journal."`
	Rehearse  rehearseCmd  `cmd:"" help:"Play a recorded home to the engine, on a clock of its own, and tell what would have been shown."`
	Conform   conformCmd   `cmd:"" help:"Play the gateway against a device and print which MUSTs of the contract it keeps."`
	Profile   profileCmd   `cmd:"" help:"Take a profile of the gateway that runs."`
	Version   versionCmd   `cmd:"" help:"Print the version."`
	Demo      demoCmd      `cmd:"" passthrough:"" help:"A gateway, a home and a brand in a temporary folder, with the story told."`
}

// env is what a command works with.
type env struct {
	ctx  context.Context
	in   io.Reader
	out  io.Writer
	errs io.Writer
	data string

	commands *regexp.Regexp // finds "porchlight COMMAND" in a text; nil: hints stay as they are, because the data folder is not named
}

// hint is a text with the data folder put into the commands of ours that it names, so that who copies one does it
// to the gateway that this was about.
func (e *env) hint(text string) string {
	if e.commands == nil {
		return text
	}
	return e.commands.ReplaceAllStringFunc(text, func(s string) string {
		if !strings.HasPrefix(s, "porchlight") {
			return s // told of, not to be done
		}
		return "porchlight --data " + shellWord(e.data) + strings.TrimPrefix(s, "porchlight")
	})
}

// commandsOf finds "porchlight COMMAND", with the word before it where that makes it no more than a thing told of.
func commandsOf(root *kong.Node) *regexp.Regexp {
	var names []string
	for _, c := range root.Children {
		names = append(names, regexp.QuoteMeta(c.Name))
	}
	return regexp.MustCompile(`(?:\b(?:as|that) )?\bporchlight (?:` + strings.Join(names, "|") + `)\b`)
}

var plainWord = regexp.MustCompile(`^[A-Za-z0-9_./:@%+,=-]+$`)

// shellWord is s as it is typed in a shell.
func shellWord(s string) string {
	if plainWord.MatchString(s) {
		return s
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}

// usageError is a wrong use of a command that its flags alone cannot show.
type usageError struct{ error }

type exited int

// run does what args say and returns the exit status: 0, 1 for a failure, 2 for wrong usage.
func run(ctx context.Context, args []string, in io.Reader, out, errs io.Writer) (status int) {
	defer func() {
		if p := recover(); p != nil {
			code, ok := p.(exited) // by --help
			if !ok {
				panic(p)
			}
			status = int(code)
		}
	}()
	var c cli
	parser := kong.Must(&c, kong.Name("porchlight"),
		kong.Description("Porchlight decides at home whether a brand's message may be shown, where, and when."),
		kong.Writers(out, errs), kong.Exit(func(code int) { panic(exited(code)) }),
		kong.ConfigureHelp(kong.HelpOptions{Compact: true}))
	at, err := parser.Parse(args)
	if err != nil {
		fmt.Fprintf(errs, "porchlight: %s (%s)\n", oneLine(err), usage(err))
		return 2
	}
	e := &env{ctx: ctx, in: in, out: out, errs: errs, data: c.Data}
	if c.Data != cmp.Or(os.Getenv("PORCHLIGHT_DATA"), defaultData) {
		e.commands = commandsOf(parser.Model.Node)
	}
	err = at.Run(e)
	var usage usageError
	switch {
	case err == nil:
		return 0
	case errors.As(err, &usage):
		status = 2
	default:
		status = 1
	}
	fmt.Fprintf(errs, "porchlight: %s\n", e.hint(strings.TrimSpace(err.Error())))
	return status
}

// usage says how the command is used that a line was meant for, as far as it names one.
func usage(err error) string {
	var wrong *kong.ParseError
	if !errors.As(err, &wrong) || wrong.Context.Command() == "" {
		return "porchlight --help lists all commands"
	}
	of := wrong.Context.Path[0].Node()
	for _, p := range wrong.Context.Path {
		if p.Command != nil {
			of = p.Command
		}
	}
	if len(of.Children) > 0 {
		return of.FullPath() + " --help lists its commands"
	}
	use := "usage: "
	if strings.Contains(err.Error(), "unknown flag --no-freeze") {
		use = "--unfreeze is what ends --freeze; usage: "
	}
	return use + "porchlight " + of.Summary() + "; " + of.FullPath() + " --help tells more"
}

func oneLine(err error) string { return strings.Join(strings.Fields(err.Error()), " ") }

type demoCmd struct {
	Args []string `arg:"" optional:"" help:"See porchlight demo --help."`
}

// Run tells the demo's story.
func (c *demoCmd) Run(e *env) error { return demoCommand(e.ctx, c.Args, e.out) }
