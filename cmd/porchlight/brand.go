package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"os"
	"reflect"
	"strconv"
	"strings"
	"time"

	"github.com/goccy/go-yaml"

	"porchlight/broker/api"
	"porchlight/broker/delivery"
	"porchlight/device"
	"porchlight/device/registry"
	"porchlight/policy"
)

type brandCmd struct {
	Add    brandAddCmd    `cmd:"" help:"Register a brand; prints its API key, once."`
	Set    brandSetCmd    `cmd:"" help:"Change what a brand says of itself. What it has in force for a purpose that it no longer declares is withdrawn."`
	List   brandListCmd   `cmd:"" help:"List the brands."`
	Show   brandShowCmd   `cmd:"" help:"Show one brand with its keys."`
	Stop   brandStopCmd   `cmd:"" help:"Take nothing from a brand any more, and withdraw what it has in force."`
	Start  brandStartCmd  `cmd:"" help:"Take messages from a brand again. What was withdrawn stays so."`
	Remove brandRemoveCmd `cmd:"" help:"Remove a brand: its keys are void, and what it has in force is withdrawn."`

	APIKey  apiKeyCmd  `cmd:"" name:"apikey" help:"The key that a brand logs in with."`
	SignKey signKeyCmd `cmd:"" name:"signkey" help:"The keys that a brand signs its messages with."`
}

type brandAddCmd struct {
	ID      string           `arg:"" name:"id" help:"Its ID: a-z, 0-9 and hyphen."`
	Name    string           `required:"" help:"Its name, as people see it." placeholder:"NAME"`
	Legal   string           `name:"legal-name" help:"The firm behind it." placeholder:"NAME"`
	Contact string           `help:"An e-mail address, or a URL that begins with https://." placeholder:"CONTACT"`
	Domain  string           `help:"Its domain, as grocer.example." placeholder:"DOMAIN"`
	Country string           `help:"Where it is, two letters as in ISO 3166-1." placeholder:"CC"`
	Purpose []policy.Purpose `required:"" help:"What it wants to send messages for: service, marketing, personalised, recommendations, research, analytics, context. May be given several times." placeholder:"PURPOSE"`
	Quota   int              `help:"How many of its messages may be in force at one time." default:"100"`
	JSON    bool             `help:"Print JSON."`
}

// Run registers a brand.
func (c *brandAddCmd) Run(e *env) error {
	b := registry.Brand{ID: device.BrandID(c.ID), Name: c.Name, Legal: c.Legal, Contact: c.Contact, Domain: c.Domain, Country: c.Country, Quota: c.Quota}
	for _, p := range c.Purpose {
		b.Purposes = append(b.Purposes, p.String())
	}
	added, err := ask[api.BrandAdded](e, "brand/add", b)
	if err != nil {
		return err
	}
	if c.JSON {
		return printJSON(e.out, added)
	}
	fmt.Fprintln(e.out, added.Key)
	return nil
}

type brandSetCmd struct {
	ID      string           `arg:"" name:"id" help:"The brand's ID."`
	Name    *string          `help:"Its name, as people see it." placeholder:"NAME"`
	Legal   *string          `name:"legal-name" help:"The firm behind it." placeholder:"NAME"`
	Contact *string          `help:"An e-mail address, or a URL that begins with https://." placeholder:"CONTACT"`
	Domain  *string          `help:"Its domain." placeholder:"DOMAIN"`
	Country *string          `help:"Where it is, two letters as in ISO 3166-1." placeholder:"CC"`
	Purpose []policy.Purpose `help:"All that it declares from now on. May be given several times." placeholder:"PURPOSE"`
	Quota   *int             `help:"How many of its messages may be in force at one time." placeholder:"N"`
}

// Run changes a brand.
func (c *brandSetCmd) Run(e *env) error {
	in := api.BrandSet{ID: device.BrandID(c.ID), Name: c.Name, Legal: c.Legal, Contact: c.Contact, Domain: c.Domain, Country: c.Country, Quota: c.Quota}
	for _, p := range c.Purpose {
		in.Purposes = append(in.Purposes, p.String())
	}
	if reflect.DeepEqual(in, api.BrandSet{ID: in.ID}) {
		return usageError{errors.New("brand set: say what to set: see --help")}
	}
	_, err := ask[registry.Brand](e, "brand/set", in)
	return err
}

type brandListCmd struct {
	JSON bool `help:"Print JSON."`
}

// Run lists the brands.
func (c *brandListCmd) Run(e *env) error {
	return list(e, c.JSON, "brand/list", api.None{}, "ID\tNAME\tPURPOSES\tQUOTA\tSTATE", func(b registry.Brand) string {
		return strings.Join([]string{string(b.ID), b.Name, strings.Join(b.Purposes, ","), strconv.Itoa(b.Quota), brandState(b)}, "\t")
	})
}

func brandState(b registry.Brand) string {
	switch {
	case b.Stopped == 0:
		return "may send"
	case b.Reason == "":
		return "stopped " + b.Stopped.String()
	}
	return "stopped " + b.Stopped.String() + ": " + b.Reason
}

type brandShowCmd struct {
	ID   string `arg:"" name:"id" help:"The brand's ID."`
	JSON bool   `help:"Print JSON."`
}

// Run shows a brand.
func (c *brandShowCmd) Run(e *env) error {
	b, err := ask[delivery.BrandState](e, "brand/show", api.BrandRef{ID: device.BrandID(c.ID)})
	if err != nil {
		return err
	}
	if c.JSON {
		return printJSON(e.out, b)
	}
	t := table(e.out)
	for _, line := range [][2]string{
		{"id", string(b.ID)}, {"name", b.Name}, {"legal name", b.Legal}, {"contact", b.Contact}, {"domain", b.Domain}, {"country", b.Country},
		{"purposes", strings.Join(b.Purposes, ", ")}, {"in force", fmt.Sprintf("%d of at most %s", b.InForce, count(b.Quota, "message"))}, {"state", brandState(b.Brand)},
	} {
		fmt.Fprintf(t, "%s\t%s\n", line[0], dash(line[1]))
	}
	for _, k := range b.APIKeys {
		fmt.Fprintf(t, "API key\t%s, issued %s", k.State, k.Issued)
		if k.Until != 0 {
			fmt.Fprintf(t, ", void from %s", k.Until)
		}
		fmt.Fprintln(t)
	}
	for _, k := range b.SignKeys {
		fmt.Fprintf(t, "signing key\t%s %s, %s\n", k.ID, k.Alg, inForce(k))
	}
	return t.Flush()
}

// inForce says when a signing key is, or was, in force.
func inForce(k registry.SignKey) string {
	if k.Revoked != 0 {
		return fmt.Sprintf("in force from %s until %s", k.Added, k.Revoked)
	}
	return fmt.Sprintf("in force since %s", k.Added)
}

type brandStopCmd struct {
	ID     string `arg:"" name:"id" help:"The brand's ID."`
	Reason string `help:"Why, for you and the journal; the brand is not told." placeholder:"TEXT"`
}

// Run stops a brand.
func (c *brandStopCmd) Run(e *env) error {
	done, err := ask[api.BrandStopped](e, "brand/stop", api.BrandStop{ID: device.BrandID(c.ID), Reason: c.Reason})
	if err == nil {
		fmt.Fprintf(e.out, "%d withdrawn\n", done.Withdrawn)
	}
	return err
}

type brandStartCmd struct {
	ID string `arg:"" name:"id" help:"The brand's ID."`
}

// Run starts a brand that was stopped.
func (c *brandStartCmd) Run(e *env) error {
	_, err := ask[api.None](e, "brand/start", api.BrandRef{ID: device.BrandID(c.ID)})
	return err
}

type brandRemoveCmd struct {
	ID string `arg:"" name:"id" help:"The brand's ID."`
	sureFlags
}

// Run removes a brand.
func (c *brandRemoveCmd) Run(e *env) error {
	in := api.BrandRef{ID: device.BrandID(c.ID)}
	b, err := ask[delivery.BrandState](e, "brand/show", in)
	if err != nil {
		return err
	}
	return c.remove(e, "brand/remove", in, c.ID, fmt.Sprintf("brand %s, %s%s", b.ID, b.Name, along(count(b.InForce, "message")+" in force")),
		"Its keys are void, and its ID is never given again: porchlight brand stop is what can be taken back.")
}

// brandDoor is where a brand speaks to the gateway, and what it shows.
type brandDoor struct {
	API     string `name:"api" help:"The gateway." default:"http://127.0.0.1:8080" env:"PORCHLIGHT_API" placeholder:"URL"`
	KeyFile string `help:"File with the brand's API key." env:"PORCHLIGHT_API_KEY_FILE" placeholder:"FILE"`
	CA      string `name:"ca" help:"Certificate to trust, for https." placeholder:"FILE"`
}

type takeBackCmd struct {
	Message string `arg:"" help:"The message's ID, as push printed it."`
	brandDoor
}

// Run takes a message back: when it returns, nothing more of it is released, and screens that have it are being told.
func (c *takeBackCmd) Run(e *env) error {
	secret, err := c.secret()
	if err != nil {
		return fmt.Errorf("take-back: %w", err)
	}
	if _, err := device.ParseMessageID(c.Message); err != nil {
		return usageError{fmt.Errorf("take-back: %w", err)}
	}
	client, err := c.client()
	if err != nil {
		return fmt.Errorf("take-back: %w", err)
	}
	resp, raw, err := c.ask(e.ctx, client, http.MethodDelete, "/v1/messages/"+c.Message, secret, nil, nil)
	if err != nil {
		return fmt.Errorf("take-back: %w: ask again: taken back twice is taken back once", err)
	}
	if resp.StatusCode == http.StatusOK {
		return nil
	}
	return fmt.Errorf("take-back: %w", c.refused(resp, raw))
}

type pushCmd struct {
	File string `arg:"" help:"Message in YAML or JSON; - is standard input."`
	brandDoor
	Key   string   `help:"Idempotency key; default the digest of the file, so that the same file is one message however often it is pushed." placeholder:"KEY" xor:"key"`
	Again bool     `help:"A new message, even if the same file was pushed before." xor:"key"`
	For   *howLong `help:"How long from now it may be shown, such as 2h or 7d, of a file without not_after. Each push is then a message of its own." placeholder:"TIME"`
	Sign  string   `help:"Sign the message with the private key in this file, as brand signkey new makes it." env:"PORCHLIGHT_SIGN_KEY_FILE" placeholder:"FILE"`
	KID   string   `name:"kid" help:"ID of that key; default as brand signkey new prints it." placeholder:"ID"`
	JSON  bool     `help:"Print JSON."`
}

// Validate is called by the parser.
func (c *pushCmd) Validate() error {
	if most := howLong(delivery.MaxLife); c.For != nil && (*c.For < howLong(time.Second) || *c.For > most) {
		return fmt.Errorf("--for %s: use 1s to %s", *c.For, most)
	}
	return nil
}

// Run sends a message and prints its ID.
func (c *pushCmd) Run(e *env) error {
	secret, err := c.secret()
	if err != nil {
		return fmt.Errorf("push: %w", err)
	}
	raw, name, err := e.readFile(c.File)
	if err != nil {
		return fmt.Errorf("push: %w", err)
	}
	var life time.Duration
	if c.For != nil {
		life = time.Duration(*c.For)
	}
	file, body, err := readMessage(name, raw, life)
	if err != nil {
		return fmt.Errorf("push: %w", err)
	}
	key := c.Key
	switch {
	case key != "":
	case c.Again || c.For != nil:
		key = "push-" + string(device.NewID())
	default:
		key = fmt.Sprintf("file-%x", sha256.Sum256(raw))
	}
	kind := "application/json"
	if c.Sign != "" {
		private, err := readSignKey(c.Sign)
		if err != nil {
			return fmt.Errorf("push: %w", err)
		}
		jws, err := delivery.Sign(private, c.KID, key, body)
		if err != nil {
			return fmt.Errorf("push: %w", err)
		}
		kind, body = delivery.SignedType, []byte(jws)
	}
	m, replayed, err := c.send(e.ctx, file, secret, key, kind, body)
	if err != nil {
		return fmt.Errorf("push: %w", err)
	}
	if replayed && c.Key == "" {
		fmt.Fprintf(e.errs, "porchlight: %s was pushed before, and stays one message; --again makes a new one\n", name)
	}
	if c.JSON {
		return printJSON(e.out, m)
	}
	fmt.Fprintln(e.out, m.ID)
	return nil
}

// secret is the brand's API key.
func (c *brandDoor) secret() (string, error) {
	if c.KeyFile == "" {
		if key := strings.TrimSpace(os.Getenv("PORCHLIGHT_API_KEY")); key != "" {
			return key, nil
		}
		return "", usageError{errors.New("no API key: give --key-file, or set PORCHLIGHT_API_KEY to what `porchlight brand add` printed")}
	}
	raw, err := readNamed(c.KeyFile)
	if err != nil {
		return "", fmt.Errorf("read API key: %w", err)
	}
	key := strings.TrimSpace(string(raw))
	if !strings.HasPrefix(key, "plk_") || strings.ContainsAny(key, " \t\r\n") {
		return "", fmt.Errorf("%s does not hold an API key: it is one line that begins with plk_, as porchlight brand add printed it", c.KeyFile)
	}
	return key, nil
}

// readMessage makes JSON of a message file. What is wrong with it is told with its line.
func readMessage(path string, raw []byte, life time.Duration) (*yamlFile, []byte, error) {
	f, err := parseYAML(path, raw)
	if err != nil {
		return nil, nil, err
	}
	if err := f.be(messageFile); err != nil {
		return nil, nil, err
	}
	if err := f.check(delivery.Submission{}); err != nil {
		return nil, nil, err
	}
	body, err := yaml.YAMLToJSON(raw)
	if err != nil {
		return nil, nil, located(path, err)
	}
	s, err := delivery.ParseSubmission(bytes.TrimSpace(body))
	if err != nil {
		return nil, nil, f.explain(err)
	}
	if life != 0 && !s.NotAfter.IsZero() {
		return nil, nil, fmt.Errorf("%s: not_after is %s, and --for %s says otherwise: leave one of them out", f.at("not_after"), device.At(s.NotAfter), life)
	}
	if life != 0 {
		s.NotAfter = time.Now().Add(life).UTC().Truncate(time.Second)
		if body, err = json.Marshal(s); err != nil {
			return nil, nil, err
		}
	}
	return f, body, nil
}

// explain puts file and line before everything that is wrong with a message.
func (f *yamlFile) explain(err error) error {
	var invalid delivery.Invalid
	if !errors.As(err, &invalid) {
		return err
	}
	var all error
	for _, one := range invalid {
		all = errors.Join(all, fmt.Errorf("%s: %w", f.at(one.Field), one))
	}
	return all
}

// client speaks to the gateway, with the certificate that it is to trust.
func (c *brandDoor) client() (client http.Client, err error) {
	client.Timeout = time.Minute
	if !strings.HasPrefix(c.API, "http://") && !strings.HasPrefix(c.API, "https://") {
		return client, usageError{fmt.Errorf("--api %q does not begin with http:// or https://", c.API)}
	}
	if c.CA != "" {
		pem, err := readNamed(c.CA)
		if err != nil {
			return client, err
		}
		roots := x509.NewCertPool()
		if !roots.AppendCertsFromPEM(pem) {
			return client, fmt.Errorf("%s has no certificate in PEM: porchlight ca show names the gateway's", c.CA)
		}
		client.Transport = &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}}
	}
	return client, nil
}

// ask asks once. The error says that nobody knows whether it was taken in.
func (c *brandDoor) ask(ctx context.Context, client http.Client, method, path, secret string, header http.Header, body []byte) (*http.Response, []byte, error) {
	req, err := http.NewRequestWithContext(ctx, method, strings.TrimSuffix(c.API, "/")+path, bytes.NewReader(body))
	if err != nil {
		return nil, nil, err
	}
	maps.Copy(req.Header, header)
	req.Header.Set("Authorization", "Bearer "+secret)
	resp, err := client.Do(req)
	if err != nil {
		return nil, nil, err
	}
	defer resp.Body.Close()
	raw, err := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	return resp, raw, err
}

// refused is what the gateway says instead of taking something in: an *api.Problem, unless it is no answer of a gateway's.
func (c *brandDoor) refused(resp *http.Response, raw []byte) error {
	var p *api.Problem
	if json.Unmarshal(raw, &p) != nil || p == nil || p.Title == "" {
		return fmt.Errorf("%s answered %s", c.API, resp.Status)
	}
	if after := resp.Header.Get("Retry-After"); after != "" {
		p.Detail = strings.TrimPrefix(p.Detail+"; try again in "+after+" s", "; ")
	}
	return p
}

func (c *pushCmd) send(ctx context.Context, f *yamlFile, secret, key, kind string, body []byte) (m api.Message, replayed bool, err error) {
	client, err := c.client()
	if err != nil {
		return m, false, err
	}
	header := http.Header{"Idempotency-Key": {key}, "Content-Type": {kind}}
	var resp *http.Response
	var raw []byte
	for try := 1; ; try++ { // with the same key and the same bytes: however often it arrives, it is one message
		if resp, raw, err = c.ask(ctx, client, http.MethodPost, "/v1/messages", secret, header, body); err == nil || try == 3 || ctx.Err() != nil {
			break
		}
		if dialing := new(net.OpError); errors.As(err, &dialing) && dialing.Op == "dial" && try == 1 {
			return m, false, fmt.Errorf("%w: is the gateway running, and is --api its address? It was not taken in", err)
		}
		select {
		case <-ctx.Done():
		case <-time.After(time.Second):
		}
	}
	if err != nil && (c.For != nil || c.Again) {
		return m, false, fmt.Errorf("%w: it may have been taken in, and another push is another message: GET %s/v1/messages lists what was", err, c.API)
	}
	if err != nil {
		return m, false, fmt.Errorf("%w: nothing is lost: push the same file again, it stays one message", err)
	}
	if resp.StatusCode == http.StatusAccepted {
		err := json.Unmarshal(raw, &m)
		return m, resp.Header.Get("Idempotent-Replayed") == "true", err
	}
	err = c.refused(resp, raw)
	p := new(api.Problem)
	switch {
	case !errors.As(err, &p):
	case p.Type == "/docs#conflict" && c.For != nil:
		return m, false, errors.New("this key has come with a message before, and that one stands: with --for each push has a not_after of its own, so this is another message, which needs another key")
	case len(p.Errors) > 0 && p.Status == http.StatusUnprocessableEntity:
		for _, one := range p.Errors {
			if one.Field == "not_after" && one.Rule == "required" {
				one.Fix += ", or give --for, such as --for 2h"
			}
		}
		return m, false, f.explain(p.Errors)
	case p.Type == "/docs#unsigned" && len(p.Errors) > 0:
		p.Errors[0].Fix = "give --sign with the private half of a key that the operator has registered for this brand"
	}
	return m, false, err
}
