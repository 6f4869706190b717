package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"syscall"
	"text/tabwriter"
	"time"

	"porchlight/broker/api"
)

// ask has the gateway that runs on the data folder do a verb, and returns its answer.
func ask[Out any](e *env, verb string, in any) (out Out, err error) {
	answer, err := call(e, verb, in, 2*time.Minute)
	if err != nil {
		return out, err
	}
	defer answer.Close()
	if err := json.NewDecoder(answer).Decode(&out); err != nil {
		return out, fmt.Errorf("read the gateway's answer: %w", err)
	}
	return out, nil
}

// call is ask for a verb whose answer is no JSON, or takes longer; within 0 is without a limit. The caller closes it.
func call(e *env, verb string, in any, within time.Duration) (answer io.ReadCloser, err error) {
	body, err := json.Marshal(in)
	if err != nil {
		return nil, fmt.Errorf("ask the gateway: %w", err)
	}
	return stream(e, verb, "application/json", bytes.NewReader(body), within)
}

// stream is call for a verb whose request is a file of that kind, a media type.
func stream(e *env, verb, kind string, body io.Reader, within time.Duration) (answer io.ReadCloser, err error) {
	socket := filepath.Join(e.data, socketFile)
	client := http.Client{Timeout: within, Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			var d net.Dialer
			return d.DialContext(ctx, "unix", socket)
		},
	}}
	req, err := http.NewRequestWithContext(e.ctx, http.MethodPost, "http://porchlight/"+verb, body)
	if err != nil {
		return nil, fmt.Errorf("ask the gateway: %w", err)
	}
	req.Header.Set("Content-Type", kind)
	resp, err := client.Do(req)
	switch {
	case errors.Is(err, syscall.ENOENT), errors.Is(err, syscall.ECONNREFUSED):
		return nil, fmt.Errorf("the gateway is not running (nobody answers at %s): start it with: porchlight serve, or name its data folder with --data", socket)
	case errors.Is(err, syscall.EACCES):
		return nil, fmt.Errorf("you may not open %s: run this as the user that the gateway runs as", socket)
	case err != nil:
		return nil, fmt.Errorf("ask the gateway: %w", err)
	}
	if resp.StatusCode != http.StatusOK {
		defer resp.Body.Close()
		var p api.Problem
		if err := json.NewDecoder(io.LimitReader(resp.Body, 1<<20)).Decode(&p); err != nil || p.Detail == "" {
			return nil, fmt.Errorf("ask the gateway: it answered %s", resp.Status)
		}
		return nil, &refusedError{p}
	}
	return resp.Body, nil
}

// refusedError is what the gateway finds wrong with a verb.
type refusedError struct{ api.Problem }

func (e *refusedError) Error() string { return e.Detail }

func (e *refusedError) Unwrap() error {
	if len(e.Errors) == 0 {
		return nil
	}
	return e.Errors
}

func table(w io.Writer) *tabwriter.Writer { return tabwriter.NewWriter(w, 0, 0, 2, ' ', 0) }

// printJSON prints v, readable.
func printJSON(w io.Writer, v any) error {
	enc := json.NewEncoder(w)
	enc.SetIndent("", "  ")
	enc.SetEscapeHTML(false)
	return enc.Encode(v)
}

// printLine prints v as one line of JSON.
func printLine(w io.Writer, v any) error {
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	return enc.Encode(v)
}

// list prints what a verb answers, as a table or as JSON.
func list[T any](e *env, asJSON bool, verb string, in any, head string, row func(T) string) error {
	all, err := ask[[]T](e, verb, in)
	if err != nil {
		return err
	}
	if asJSON {
		if all == nil {
			all = []T{}
		}
		return printJSON(e.out, all)
	}
	t := table(e.out)
	fmt.Fprintln(t, head)
	for _, one := range all {
		fmt.Fprintln(t, row(one))
	}
	return t.Flush()
}

func dash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}
