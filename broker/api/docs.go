package api

import (
	"bytes"
	_ "embed"
	"fmt"
	"html/template"
	"net/http"
	"slices"
	"strings"

	"github.com/danielgtaylor/huma/v2"

	"porchlight/broker/delivery"
	"porchlight/device"
)

//go:embed docs.html
var docsHTML string

//go:embed docs.css
var docsCSS []byte

// docs is the readable page about the API, made once from the OpenAPI document. It loads
// nothing from elsewhere.
type docs struct {
	page []byte
	now  func() device.Instant
}

type docsPage struct {
	Title, Description string
	Operations         []docsOperation
	Schemas            []docsSchema
	Moments            []docsMoment
	Kinds              []kind
	MaxSigned          int
	Sign               string // how to sign and send a message in shell
}

// docsMoment is something that a condition can be about.
type docsMoment struct {
	Attribute, Value string
	Words, Classes   []string // no classes: every class
}

type docsOperation struct {
	ID, Method, Path, Summary, Description, Curl string
	Parameters                                   []docsField
	Body, Answer                                 string // names of schemas
	Status                                       string
	Errors                                       []string
}

type docsSchema struct {
	Name   string
	Fields []docsField
}

type docsField struct {
	Name, Type, Link, Doc, Example string
	Required                       bool
	Words                          []string
}

// example is a message that a supermarket might send. NOT_AFTER becomes a week from now, so that it
// can be tried.
const example = `{
  "purpose": "marketing",
  "category": "groceries",
  "texts": [{"language": "en", "title": "Oat milk", "body": "Two for one today. Put it on your list?"}],
  "classes": ["tv", "fridge"],
  "buttons": [{"id": 1, "label": {"en": "Yes, please"}}],
  "when": [{"class": "fridge", "attribute": "door.open", "op": "eq", "value": true}],
  "not_after": "NOT_AFTER",
  "display_seconds": 8
}`

var curls = map[string]string{
	"send-message": `curl -i http://127.0.0.1:8080/v1/messages \
  -H "Authorization: Bearer $PORCHLIGHT_API_KEY" \
  -H "Idempotency-Key: offer-2026-12-24-oat-milk" \
  -H "Content-Type: application/json" \
  -d '` + example + `'`,
	"get-message": `curl -i http://127.0.0.1:8080/v1/messages/$ID \
  -H "Authorization: Bearer $PORCHLIGHT_API_KEY"`,
	"withdraw-message": `curl -i -X DELETE http://127.0.0.1:8080/v1/messages/$ID \
  -H "Authorization: Bearer $PORCHLIGHT_API_KEY"`,
	"list-messages": `curl -i 'http://127.0.0.1:8080/v1/messages?limit=50' \
  -H "Authorization: Bearer $PORCHLIGHT_API_KEY"`,
}

// signing is how a message is signed and sent with openssl 3.
const signing = `# once: a key pair. Give brand.pub and the key's ID, here 2026-12, to the operator
openssl genpkey -algorithm ed25519 -out brand.pem
openssl pkey -in brand.pem -pubout -out brand.pub

# for each message, in message.json
key=offer-2026-12-24-oat-milk kid=2026-12
b64url() { openssl base64 -A | tr '+/' '-_' | tr -d '='; }
header=$(printf '{"alg":"EdDSA","kid":"%s","typ":"porchlight-message+jws","jti":"%s"}' "$kid" "$key" | b64url)
printf '%s.%s' "$header" "$(b64url < message.json)" > signed.txt
signature=$(openssl pkeyutl -sign -inkey brand.pem -rawin -in signed.txt | b64url)
curl -i http://127.0.0.1:8080/v1/messages \
  -H "Authorization: Bearer $PORCHLIGHT_API_KEY" \
  -H "Idempotency-Key: $key" \
  -H "Content-Type: application/jose" \
  -d "$(cat signed.txt).$signature"`

func newDocs(api *huma.OpenAPI, now func() device.Instant) (*docs, error) {
	t, err := template.New("docs").Parse(docsHTML)
	if err != nil {
		return nil, err
	}
	p := docsPage{Title: api.Info.Title, Description: api.Info.Description, Kinds: kinds, MaxSigned: delivery.MaxSigned, Sign: signing}
	for a := range device.AttributesOf(0) {
		m := docsMoment{Attribute: a.String(), Value: a.Info().Kind.String(), Words: a.Info().Values}
		if unit := a.Info().Unit; unit != "" {
			m.Value += " (" + unit + ")"
		}
		for _, c := range a.Info().Of {
			m.Classes = append(m.Classes, c.String())
		}
		p.Moments = append(p.Moments, m)
	}
	for _, path := range []string{"/v1/messages", "/v1/messages/{id}"} {
		item := api.Paths[path]
		for _, op := range []*huma.Operation{item.Post, item.Get, item.Delete} {
			if op != nil {
				p.Operations = append(p.Operations, describe(op))
			}
		}
	}
	schemas := api.Components.Schemas.Map()
	for _, name := range []string{"Submission", "SubmissionText", "SubmissionButton", "SubmissionCondition", "SubmissionStep", "Message", "ListOutputBody", "Problem", "InvalidError"} {
		s := schemas[name]
		if s == nil {
			return nil, fmt.Errorf("documentation: there is no schema %s", name)
		}
		p.Schemas = append(p.Schemas, docsSchema{name, fields(s)})
	}
	var b bytes.Buffer
	if err := t.Execute(&b, p); err != nil {
		return nil, err
	}
	return &docs{b.Bytes(), now}, nil
}

func describe(op *huma.Operation) docsOperation {
	d := docsOperation{ID: op.OperationID, Method: op.Method, Path: op.Path, Summary: op.Summary, Description: op.Description, Curl: curls[op.OperationID]}
	for _, p := range op.Parameters {
		f := field(p.Name, p.Schema)
		f.Doc, f.Required = p.Description, p.Required
		if p.Example != nil {
			f.Example = fmt.Sprint(p.Example)
		}
		f.Name = p.Name + " (" + p.In + ")"
		d.Parameters = append(d.Parameters, f)
	}
	if op.RequestBody != nil {
		d.Body = schemaName(op.RequestBody.Content["application/json"].Schema)
	}
	for status, r := range op.Responses {
		if status[0] != '2' {
			d.Errors = append(d.Errors, status)
			continue
		}
		d.Status, d.Answer = status, schemaName(r.Content["application/json"].Schema)
	}
	slices.Sort(d.Errors)
	return d
}

func schemaName(s *huma.Schema) string { return s.Ref[strings.LastIndexByte(s.Ref, '/')+1:] }

// fields lists the properties of s, the required ones first.
func fields(s *huma.Schema) []docsField {
	var all []docsField
	for name, p := range s.Properties {
		f := field(name, p)
		f.Required = slices.Contains(s.Required, name)
		all = append(all, f)
	}
	slices.SortFunc(all, func(a, b docsField) int {
		if a.Required != b.Required {
			if a.Required {
				return -1
			}
			return 1
		}
		return strings.Compare(a.Name, b.Name)
	})
	return all
}

func field(name string, s *huma.Schema) docsField {
	f := docsField{Name: name, Type: s.Type, Doc: s.Description}
	of := s
	if s.Type == huma.TypeArray {
		of = s.Items
		f.Type = "list of " + of.Type
	}
	if s.Type == huma.TypeObject {
		f.Type = "object, a string for each language"
	}
	if of.Ref != "" {
		f.Link = schemaName(of)
		f.Type = strings.TrimSuffix(f.Type, " ")
	}
	if of.Format == "date-time" || of.Format == "uuid" {
		f.Type = strings.Replace(f.Type, "string", of.Format, 1)
	}
	if f.Type == "" && f.Link == "" {
		f.Type = "any"
	}
	for _, w := range of.Enum {
		f.Words = append(f.Words, fmt.Sprint(w))
	}
	if len(s.Examples) > 0 {
		f.Example = fmt.Sprint(s.Examples[0])
	}
	return f
}

func (d *docs) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	h.Set("Content-Security-Policy", "default-src 'none'; style-src 'self'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'")
	h.Set("X-Frame-Options", "DENY")
	if r.URL.Path == "/docs.css" {
		h.Set("Content-Type", "text/css; charset=utf-8")
		_, _ = w.Write(docsCSS) // nobody is left to tell
		return
	}
	h.Set("Content-Type", "text/html; charset=utf-8")
	_, _ = w.Write(bytes.ReplaceAll(d.page, []byte("NOT_AFTER"), d.now().Time().AddDate(0, 0, 7).AppendFormat(nil, "2006-01-02T15:04:05Z")))
}
