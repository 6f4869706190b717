package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"strings"

	"porchlight/broker/api"
	"porchlight/broker/delivery"
)

// sureFlags are those of a command that takes something away for good.
type sureFlags struct {
	Yes bool `help:"Do not ask."`
}

// sure tells what is about to happen, and has somebody type name. Where nobody does, it fails, and says of
// verb, such as erased, that nothing was.
func (c sureFlags) sure(e *env, what, name, verb string) error {
	if c.Yes {
		return nil
	}
	fmt.Fprintf(e.errs, "%s\nType %s to go on: ", e.hint(what), name)
	line, err := bufio.NewReader(io.LimitReader(e.in, 1024)).ReadString('\n')
	switch typed := strings.TrimRight(line, "\r\n"); {
	case err != nil && err != io.EOF:
		return err
	case typed == name:
		return nil
	case typed == "" && err == io.EOF:
		fmt.Fprintln(e.errs)
		return fmt.Errorf("nothing was %s: nobody is there to be asked, and --yes does not ask", verb)
	}
	return errors.New("nothing was " + verb)
}

// remove asks, has the gateway do a verb that removes something, and says what was removed. more is told when
// asking.
func (c sureFlags) remove(e *env, verb string, in any, name, what, more string) error {
	if err := c.sure(e, fmt.Sprintf("This removes %s. %s", what, more), name, "removed"); err != nil {
		return err
	}
	if _, err := ask[api.None](e, verb, in); err != nil {
		return err
	}
	fmt.Fprintln(e.out, "removed:", what)
	return nil
}

// along lists what goes with something, as ", with 2 devices and 1 choice"; counts of 0 are left out.
func along(counts ...string) string {
	var some []string
	for _, c := range counts {
		if !strings.HasPrefix(c, "0 ") {
			some = append(some, c)
		}
	}
	switch n := len(some); n {
	case 0:
		return ""
	case 1:
		return ", with " + some[0]
	default:
		return ", with " + strings.Join(some[:n-1], ", ") + " and " + some[n-1]
	}
}

// people counts them.
func people(n int) string {
	if n == 1 {
		return "1 person"
	}
	return fmt.Sprintf("%d people", n)
}

// onScreens counts the messages that are on devices, or on their way there.
func onScreens(devices ...delivery.DeviceState) string {
	n := 0
	for _, d := range devices {
		n += len(d.Showing)
	}
	return count(n, "message") + " shown there"
}
