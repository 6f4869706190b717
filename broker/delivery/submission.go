package delivery

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"porchlight/device"
	"porchlight/device/registry"
	"porchlight/device/store"
	"porchlight/policy"
)

// The limits of a submission.
const (
	MaxSubmission = 16 << 10            // bytes of JSON
	MaxLife       = 31 * 24 * time.Hour // from acceptance to not_after
	maxKey        = 128                 // bytes of an Idempotency-Key
	maxTexts      = 8
	maxButtons    = 4
	maxConditions = 8
	maxSteps      = 20 // of a sequence
)

// QuotaFix is what a brand does about ErrQuota.
const QuotaFix = "withdraw some, wait until their not_after has passed, or ask the operator of the gateway for more (porchlight brand set ID --quota N)"

// Submission is a message as a brand sends it, over HTTP or MQTT, in JSON.
type Submission struct {
	Purpose   policy.Purpose        `json:"purpose" doc:"What the message is for. It must be among the purposes that the brand has declared."`
	Category  string                `json:"category,omitempty" doc:"What it is about, as people mute it: 1 to 32 characters of a-z, 0-9 and hyphen." example:"groceries"`
	Texts     []SubmissionText      `json:"texts" doc:"The words, once for each language, at most 8. The first is used where no language fits."`
	Classes   []device.Class        `json:"classes,omitempty" doc:"The channels it is for, by class of device. Empty: every class."`
	Forms     []device.Form         `json:"forms,omitempty" doc:"How it may appear, in order of liking. Empty: toast, panel, list, badge."`
	Buttons   []SubmissionButton    `json:"buttons,omitempty" doc:"Answers that a person can give, at most 4."`
	Personal  bool                  `json:"personal,omitempty" doc:"It speaks to one person by what is known about them: it is shown only where nobody else sees it, to somebody who has said yes for themselves."`
	Sound     bool                  `json:"sound,omitempty" doc:"It may be announced by a tone, or spoken, where the device can and the people there welcome it."`
	When      []SubmissionCondition `json:"when,omitempty" doc:"The moment it is for: all of these must be known to be true, at most 8."`
	Condition string                `json:"condition,omitempty" doc:"The moment it is for, in words: a subset of CEL, at most 2000 characters. It must be known to be true, beside all of when." example:"fridge.door.open && now.hour >= 17"`
	Needs     []string              `json:"needs,omitempty" doc:"The variables that condition reads, each by its name: all of them, and no others." example:"[\"fridge.door.open\",\"now.hour\"]"`
	Dedupe    string                `json:"dedupe,omitempty" doc:"Your word for what it says, 1 to 64 bytes of printable text: in 31 days a home is shown one message of each, unless it is a later step of its sequence." example:"dairy-milk-low"`
	Sequence  *SubmissionStep       `json:"sequence,omitempty" doc:"Its place in a sequence of your messages to the same home."`
	Item      string                `json:"item,omitempty" doc:"What it is about, 1 to 64 bytes of printable text, such as a GTIN: what somebody has just got is not advertised to them." example:"7613269010105"`
	Echo      policy.Act            `json:"echo,omitempty" doc:"It speaks of what somebody there did with an earlier message of yours in the last 31 days, about the same item if it names one; it is not shown where nobody did."`
	NotBefore *time.Time            `json:"not_before,omitempty" doc:"Not shown earlier. RFC 3339."`
	NotAfter  time.Time             `json:"not_after" doc:"From then on it is not shown, and is taken off. RFC 3339, at most 31 days ahead."`
	Display   float64               `json:"display_seconds,omitempty" doc:"How long to show it, 1 to 600. 0: as the device sees fit." example:"8"`

	Value *float64 `json:"value,omitempty" doc:"What it is worth to you beside your other messages, 0 to 1; 0.5 if left out. Only what you sent in the last 30 days counts beside it: all at 1 is all at 0.5."`

	worth  float64   // Value beside the brand's other messages, of a message that was accepted; 0: as if it were the only one
	signed *envelope // nil: it came without a signature; before Accept has verified that, it is all there is
}

// SubmissionText is a message in one language.
type SubmissionText struct {
	Language string `json:"language" doc:"BCP 47" example:"en"`
	Title    string `json:"title,omitempty" doc:"At most 64 bytes."`
	Body     string `json:"body" doc:"1 to 512 bytes of plain text."`
}

// SubmissionButton is an answer.
type SubmissionButton struct {
	ID    int               `json:"id" doc:"1 to 99, unique in the message."`
	Label map[string]string `json:"label" doc:"1 to 32 bytes for each language of texts."`
	Act   policy.Act        `json:"act,omitempty" doc:"What it does for whoever presses it, so that later messages do not contradict it: add to a list, buy, redeem, remind, complain. None: it is an answer and nothing more."`
}

// SubmissionStep is a place in a sequence.
type SubmissionStep struct {
	Journey string `json:"journey" doc:"Your word for this run of the sequence, 1 to 64 bytes of printable text." example:"milk-2026-w24"`
	Step    int    `json:"step" doc:"From 1 to 20. A step waits until the one before it is over in that home; where one message of a step was answered, the others go."`
	After   string `json:"after,omitempty" enum:"any,seen,acted,dismissed,ignored" doc:"How the step before must have ended; where it ended otherwise, this one is not shown. Empty: any."`
}

// SubmissionCondition compares what a device last told with a constant. It is not true while
// that is unknown.
type SubmissionCondition struct {
	Class     device.Class `json:"class,omitempty" doc:"Whose reading: any device of this class in the home. Empty: the screen itself."`
	Attribute string       `json:"attribute" doc:"Its name, as in the contract for devices." example:"door.open"`
	Op        policy.Op    `json:"op" enum:"eq,ne,lt,le,gt,ge"`
	Value     any          `json:"value" doc:"true or false, a number, or a word, as the attribute takes."`
}

// InvalidError says which field of a request cannot be accepted, by which rule, and how to mend
// it.
type InvalidError struct {
	Field string `json:"field"` // as the API spells it, as in texts[0].body
	Rule  string `json:"rule"`  // a stable word: required, unknown, length, range, type, declared, syntax
	Why   string `json:"why"`   // completes "<field> ..."
	Fix   string `json:"fix"`   // what to do
}

func (e *InvalidError) Error() string { return e.Field + " " + e.Why + ": " + e.Fix }

// Invalid is all that is wrong with one request.
type Invalid []*InvalidError

func (list Invalid) Error() string {
	all := make([]string, len(list))
	for i, e := range list {
		all[i] = e.Error()
	}
	return "invalid message: " + strings.Join(all, "; ")
}

func (list *Invalid) add(field, rule, fix, why string, args ...any) {
	*list = append(*list, &InvalidError{field, rule, fmt.Sprintf(why, args...), fix})
}

// ParseSubmission reads a Submission from JSON. An unknown field is an error: a typo must not
// drop a limit. The error is an Invalid.
func ParseSubmission(raw []byte) (Submission, error) {
	var s Submission
	if len(raw) > MaxSubmission {
		return s, Invalid{{"body", "length", fmt.Sprintf("is %d bytes long", len(raw)), fmt.Sprintf("send at most %d bytes", MaxSubmission)}}
	}
	if !utf8.Valid(raw) {
		return s, Invalid{{"body", "syntax", "is not UTF-8", "encode the JSON as UTF-8"}}
	}
	dec := json.NewDecoder(bytes.NewReader(raw))
	dec.DisallowUnknownFields()
	err := dec.Decode(&s)
	if err == nil && len(bytes.TrimLeft(raw[dec.InputOffset():], " \t\r\n")) > 0 {
		err = errors.New("more follows after the message")
	}
	var names scan
	if err == nil || json.Valid(raw) { // otherwise the decoder says it better
		names.rest = string(raw)
		if err := names.value(false); err != nil {
			return Submission{}, Invalid{{"body", "syntax", err.Error(), "name each field once, in small letters"}}
		}
	}
	if err != nil || names.text {
		if bad := lookOver(raw); len(bad) > 0 {
			return Submission{}, bad
		}
	}
	if err != nil {
		return s, Invalid{explainJSON(err, "body")}
	}
	return s, nil
}

// scan goes over a JSON text once for what two readers of it could take for two messages: a name that
// occurs twice in one object, and one of our names in other letters, which Go's decoder would take for
// it. The text must be valid; of any other, what it says means nothing.
type scan struct {
	rest string // what has not been read
	text bool   // classes or forms is a text, which Go's decoder would take for an array of small numbers
}

// value reads the next value. free: the names are not ours.
func (s *scan) value(free bool) error {
	switch s.next() {
	case '{':
		return s.object(free)
	case '[':
		s.skip(1)
		for c := s.next(); c != ']' && c != 0; c = s.next() {
			if err := s.value(free); err != nil {
				return err
			}
		}
		s.skip(1)
	case '"':
		s.quoted()
	default:
		end := 1
		for end < len(s.rest) && strings.IndexByte(" \t\r\n,]}", s.rest[end]) < 0 {
			end++
		}
		s.skip(end) // a number, true, false or null
	}
	return nil
}

// object is value for an object.
func (s *scan) object(free bool) error {
	seen := map[string]bool{}
	s.skip(1)
	for c := s.next(); c != '}' && c != 0; c = s.next() {
		name := unquoted(s.quoted())
		if seen[name] {
			return fmt.Errorf("names %.40q twice in one object", name)
		}
		seen[name] = true
		if !free && (name != strings.ToLower(name) || strings.ContainsRune(name, 'ſ')) { // which Go takes for an s
			return fmt.Errorf("names %.40q, which is not a field", name)
		}
		if s.next() == '"' && (name == "classes" || name == "forms") {
			s.text = true
		}
		if err := s.value(name == "label"); err != nil {
			return err
		}
	}
	s.skip(1)
	return nil
}

// next passes over what stands between values, and returns the byte that follows, 0 at the end.
func (s *scan) next() byte {
	i := 0
	for i < len(s.rest) && strings.IndexByte(" \t\r\n,:", s.rest[i]) >= 0 {
		i++
	}
	if s.skip(i); s.rest == "" {
		return 0
	}
	return s.rest[0]
}

// quoted reads the next text, as it is written.
func (s *scan) quoted() string {
	for i := 1; i < len(s.rest); i++ {
		switch s.rest[i] {
		case '\\':
			i++
		case '"':
			return s.skip(i + 1)
		}
	}
	return s.skip(len(s.rest))
}

// unquoted is what a text says.
func unquoted(text string) string {
	if !strings.Contains(text, `\`) {
		return strings.Trim(text, `"`)
	}
	var says string
	_ = json.Unmarshal([]byte(text), &says)
	return says
}

// skip passes over the next n bytes, and returns them.
func (s *scan) skip(n int) string {
	n = min(n, len(s.rest))
	over := s.rest[:n]
	s.rest = s.rest[n:]
	return over
}

// lookOver names what can be seen to be wrong with the fields of a message one by one, all at once.
// What is not an object at all is left to the decoder.
func lookOver(raw []byte) (bad Invalid) {
	var fields map[string]json.RawMessage
	if json.Unmarshal(raw, &fields) != nil {
		return nil
	}
	for _, name := range slices.Sorted(maps.Keys(fields)) {
		value := fields[name]
		switch {
		case !slices.Contains(fieldNames, name):
			bad = append(bad, unknownField(name))
		case string(value) == "null":
		case (name == "classes" || name == "forms") && value[0] != '[':
			bad.add(name, "type", `send an array, such as ["tv"]`, "is not a JSON array")
		case name == "not_before" || name == "not_after":
			var text string
			if json.Unmarshal(value, &text) == nil {
				if _, err := time.Parse(time.RFC3339, text); err == nil {
					continue
				}
			}
			bad.add(name, "type", "write it as in 2026-12-24T18:00:00Z", "is not a time")
		default:
			bad = append(bad, lookInto(name, value)...)
		}
	}
	return bad
}

// lookInto names the first that can be seen to be wrong with what stands in a list, with its place there.
func lookInto(name string, value json.RawMessage) Invalid {
	var list []json.RawMessage
	for _, part := range parts {
		if part.field != name || part.read == nil || json.Unmarshal(value, &list) != nil {
			continue
		}
		for i, one := range list {
			err := part.read(one)
			if err == nil {
				continue
			}
			bad := explainJSON(err, "")
			if bad.Field == "classes" {
				bad.Field = "class"
			}
			bad.Field = entry(name, i, bad.Field)
			return Invalid{bad}
		}
	}
	return nil
}

// reads reads T as a message is read.
func reads[T any](raw []byte) error {
	dec := json.NewDecoder(bytes.NewReader(raw))
	dec.DisallowUnknownFields()
	return dec.Decode(new(T))
}

// unknownField says where a field that does not belong here does.
func unknownField(name string) *InvalidError {
	fix := "leave it out"
	if near := device.Nearest(name, fieldNames); near != "" {
		fix = fmt.Sprintf("did you mean %q?", near)
	}
	for _, part := range parts {
		if slices.Contains(part.names, name) {
			fix = "put it into " + part.field
		}
	}
	return &InvalidError{fmt.Sprintf("%.40s", name), "unknown", "is not a field of a message", fix}
}

// fieldNames are those of a message itself.
var fieldNames = namesOf[Submission]()

// parts are what a message is made of.
var parts = []struct {
	field string
	names []string
	read  func([]byte) error // one of a list; nil: it is none
}{
	{"when", namesOf[SubmissionCondition](), reads[SubmissionCondition]}, {"buttons", namesOf[SubmissionButton](), reads[SubmissionButton]},
	{"texts", namesOf[SubmissionText](), reads[SubmissionText]}, {"sequence", namesOf[SubmissionStep](), nil},
}

// namesOf lists the JSON names of a struct's fields.
func namesOf[T any]() (names []string) {
	t := reflect.TypeFor[T]()
	for i := range t.NumField() {
		if f := t.Field(i); f.IsExported() {
			name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
			names = append(names, name)
		}
	}
	return names
}

var unknownName = regexp.MustCompile(`unknown field "(.*)"`)

// explainJSON turns the decoder's error about what is called whole into one that names the field and the fix.
func explainJSON(err error, whole string) *InvalidError {
	var kind *json.UnmarshalTypeError
	var syntax *json.SyntaxError
	switch {
	case errors.As(err, &kind) && kind.Type.Kind() == reflect.Float64 && strings.HasPrefix(kind.Value, "number "):
		return &InvalidError{cmp.Or(kind.Field, whole), "range", fmt.Sprintf("is beyond what a number can be: %.40s", kind.Value[len("number "):]), "send a number nearer to 0"}
	case errors.As(err, &kind):
		return &InvalidError{cmp.Or(kind.Field, whole), "type", "is a JSON " + kind.Value, "send " + jsonName(kind.Type)}
	case errors.As(err, &syntax):
		return &InvalidError{whole, "syntax", fmt.Sprintf("is not JSON at byte %d", syntax.Offset), "send one JSON object"}
	}
	if m := unknownName.FindStringSubmatch(err.Error()); m != nil {
		var inside []string
		for _, part := range parts {
			inside = append(inside, part.names...)
		}
		fix := "leave it out"
		if near := device.Nearest(m[1], inside); near != "" && near != m[1] {
			fix = fmt.Sprintf("did you mean %q?", near)
		}
		return &InvalidError{fmt.Sprintf("%.40s", m[1]), "unknown", "is not a field where it stands", fix}
	}
	why := strings.TrimPrefix(err.Error(), "json: ")
	field := whole
	for prefix, name := range map[string]string{"purpose ": "purpose", "class ": "classes", "form ": "forms", "act ": "act"} {
		if strings.HasPrefix(strings.ToLower(why), prefix) {
			field = name
		}
	}
	if before, after, ok := strings.Cut(why, ": "); ok && field != whole {
		return &InvalidError{field, "unknown", "cannot be taken: " + before, after}
	}
	return &InvalidError{field, "syntax", "cannot be read: " + why, "send one JSON object as /docs describes it"}
}

func jsonName(t reflect.Type) string {
	switch t.Kind() {
	case reflect.String:
		return "a string"
	case reflect.Slice:
		return "an array"
	case reflect.Struct, reflect.Map:
		return "an object"
	case reflect.Int, reflect.Int64:
		return "a whole number"
	case reflect.Float64:
		return "a number"
	}
	return "a " + t.String()
}

var (
	categoryRE = regexp.MustCompile(`^[a-z0-9][a-z0-9-]{0,31}$`)
	anyForm    = []device.Form{device.Toast, device.Panel, device.List, device.Badge} // of a message that names none
)

// plain reports whether s is text that any screen can show: no control characters but newline,
// and nothing that turns the direction of the text around it.
func plain(s string) bool {
	return utf8.ValidString(s) && !strings.ContainsFunc(s, func(r rune) bool {
		return (r < ' ' || r > '~') && r != '\n' && r != utf8.RuneError && !device.Printable(r)
	})
}

// compile checks s, sent by b at now, and makes it ready to be judged. The answer depends on
// nothing else. A now of 0 leaves out what depends on it: the message was accepted before. The
// error is an Invalid that names all that is wrong.
func (s Submission) compile(b registry.Brand, now device.Instant) (*policy.Message, error) {
	var bad Invalid
	m := &policy.Message{Brand: b.ID, Sender: b.Name, Purpose: s.Purpose, Category: store.Intern(s.Category), Classes: s.Classes, Forms: s.Forms, Sound: s.Sound}
	if s.Personal {
		m.Audience = policy.Personal
	}
	switch {
	case s.Purpose == policy.NoPurpose:
		bad.add("purpose", "required", "use one of "+strings.Join(b.Purposes, ", "), "is missing")
	case s.Purpose == policy.Context:
		bad.add("purpose", "unknown", "use one of "+strings.Join(slices.DeleteFunc(slices.Clone(b.Purposes), func(p string) bool { return p == s.Purpose.String() }), ", "),
			"is %s, which is no purpose of a message: it lets conditions read what is sensitive", s.Purpose)
	case !slices.Contains(b.Purposes, s.Purpose.String()):
		bad.add("purpose", "declared", "use one of "+strings.Join(b.Purposes, ", "), "is %s, which this brand has not declared", s.Purpose)
	}
	if s.Category != "" && !categoryRE.MatchString(s.Category) {
		bad.add("category", "syntax", "use 1 to 32 characters of a-z, 0-9 and hyphen", "is %.40q", s.Category)
	}
	if len(s.Texts) == 0 {
		bad.add("texts", "required", "add at least one {language, body}", "is empty")
	}
	if len(s.Texts) > maxTexts {
		bad.add("texts", "length", fmt.Sprintf("send at most %d", maxTexts), "has %d entries", len(s.Texts))
	}
	for i, t := range s.Texts {
		if !device.IsLanguage(t.Language) {
			bad.add(entry("texts", i, "language"), "syntax", "write a BCP 47 tag such as en or de-CH", "is %.40q", t.Language)
		}
		if slices.ContainsFunc(s.Texts[:i], func(o SubmissionText) bool { return strings.EqualFold(o.Language, t.Language) }) {
			bad.add(entry("texts", i, "language"), "unique", "send one text for each language", "is %q again", t.Language)
		}
		if len(t.Body) == 0 || len(t.Body) > 512 {
			bad.add(entry("texts", i, "body"), "length", "send 1 to 512 bytes", "is %d bytes long", len(t.Body))
		}
		if len(t.Title) > 64 {
			bad.add(entry("texts", i, "title"), "length", "send at most 64 bytes", "is %d bytes long", len(t.Title))
		}
		if !plain(t.Title) {
			bad.add(entry("texts", i, "title"), "syntax", "send plain text", "has control characters")
		}
		if !plain(t.Body) {
			bad.add(entry("texts", i, "body"), "syntax", "send plain text", "has control characters")
		}
		m.Texts = append(m.Texts, policy.MessageText{Language: store.Intern(t.Language), Title: t.Title, Body: t.Body})
	}
	if len(s.Classes) > 12 {
		bad.add("classes", "length", "name each class once", "has %d entries", len(s.Classes))
	}
	if len(s.Forms) > 6 {
		bad.add("forms", "length", "name each form once", "has %d entries", len(s.Forms))
	}
	if len(s.Forms) == 0 {
		m.Forms = anyForm
	}
	if len(s.Buttons) > maxButtons {
		bad.add("buttons", "length", fmt.Sprintf("send at most %d", maxButtons), "has %d entries", len(s.Buttons))
	}
	for i, button := range s.Buttons {
		if button.ID < 1 || button.ID > 99 || slices.ContainsFunc(s.Buttons[:i], func(o SubmissionButton) bool { return o.ID == button.ID }) {
			bad.add(entry("buttons", i, "id"), "range", "use 1 to 99, each once", "is %d", button.ID)
		}
		labels := make([]string, len(s.Texts))
		for j, t := range s.Texts {
			labels[j] = button.Label[t.Language]
			switch {
			case len(labels[j]) == 0 || len(labels[j]) > 32:
				bad.add(entry("buttons", i, fmt.Sprintf("label[%q]", t.Language)), "length", "send 1 to 32 bytes for each language of texts", "is %d bytes long", len(labels[j]))
			case !plain(labels[j]):
				bad.add(entry("buttons", i, fmt.Sprintf("label[%q]", t.Language)), "syntax", "send plain text", "has control characters")
			}
		}
		m.Buttons = append(m.Buttons, policy.Button{ID: button.ID, Act: button.Act, Labels: labels})
	}
	if len(s.When) > maxConditions {
		bad.add("when", "length", fmt.Sprintf("send at most %d", maxConditions), "has %d entries", len(s.When))
	}
	for i, c := range s.When {
		a, ok := device.ParseAttribute(c.Attribute)
		if !ok {
			fix := "see the contract for devices for the names"
			if near := device.Nearest(c.Attribute, device.AttributeNames(c.Class)); near != "" {
				fix = fmt.Sprintf("did you mean %q?", near)
			}
			bad.add(entry("when", i, "attribute"), "unknown", fix, "%.40q is not an attribute", c.Attribute)
			continue
		}
		v, err := a.ValueOf(c.Value)
		if err == nil && v.Kind == device.Unknown {
			err = fmt.Errorf("%s needs a value", a)
		}
		if err != nil {
			bad.add(entry("when", i, "value"), "type", "send "+a.Info().Kind.String(), "does not fit: %v", err)
			continue
		}
		p := policy.Predicate{Class: c.Class, Attribute: a, Op: c.Op, Value: v}
		if err := p.Check(); err != nil {
			bad.add(entry("when", i, "op"), "type", "see the contract for devices", "does not fit: %v", err)
			continue
		}
		m.When = append(m.When, p)
	}
	m.Thread = s.thread(&bad)
	m.Condition = s.condition(&bad)
	if s.NotBefore != nil {
		m.NotBefore = device.At(*s.NotBefore)
	}
	m.NotAfter = device.At(s.NotAfter)
	switch {
	case now == 0: // it was looked at when it was accepted
	case s.NotAfter.IsZero():
		bad.add("not_after", "required", "say until when it may be shown", "is missing")
	case m.NotAfter <= now:
		bad.add("not_after", "range", "use a time in the future", "is %s, which has passed", m.NotAfter)
	case m.NotAfter > now.Add(MaxLife):
		bad.add("not_after", "range", "use a time at most 31 days ahead", "is %s", m.NotAfter)
	case m.NotBefore >= m.NotAfter:
		bad.add("not_before", "range", "use a time before not_after", "is %s", m.NotBefore)
	}
	if s.Display != 0 && !(s.Display >= 1 && s.Display <= 600) {
		bad.add("display_seconds", "range", "use 1 to 600, or leave it out", "is %g", s.Display)
	}
	m.Display = time.Duration(s.Display * float64(time.Second))
	if s.Value != nil && !(*s.Value >= 0 && *s.Value <= 1) {
		bad.add("value", "range", "use 0 to 1, or leave it out", "is %g", *s.Value)
	}
	m.Value = cmp.Or(s.worth, middleWorth)
	if len(bad) > 0 {
		return nil, bad
	}
	m.Prepare()
	return m, nil
}

// entry names a field of an entry of a list; "": the entry itself.
func entry(list string, i int, field string) string {
	at := fmt.Sprintf("%s[%d]", list, i)
	if field == "" {
		return at
	}
	return at + "." + field
}

// thread checks what s has to do with other messages.
func (s Submission) thread(bad *Invalid) policy.Thread {
	t := policy.Thread{Dedupe: s.Dedupe, Item: s.Item, Echo: s.Echo}
	word := func(field, word string) {
		if !wordOK(word) {
			bad.add(field, "length", "use "+wordRule, "is %.80q", word)
		}
	}
	if s.Dedupe != "" {
		word("dedupe", s.Dedupe)
	}
	if s.Item != "" {
		word("item", s.Item)
	}
	if s.Sequence == nil {
		return t
	}
	t.Journey, t.Step = s.Sequence.Journey, s.Sequence.Step
	word("sequence.journey", t.Journey)
	if t.Step < 1 || t.Step > maxSteps {
		bad.add("sequence.step", "range", fmt.Sprintf("use 1 to %d", maxSteps), "is %d", t.Step)
	}
	var err error
	if t.After, err = policy.ParseAfter(s.Sequence.After); err != nil {
		bad.add("sequence.after", "unknown", "use one of "+strings.Join(policy.AfterNames(), ", "), "is %.40q", s.Sequence.After)
	} else if t.After != policy.NoReaction && t.Step == 1 {
		bad.add("sequence.after", "range", "leave it out of the first step", "is %s, and nothing comes before step 1", s.Sequence.After)
	}
	return t
}

// condition reads the condition of s, if it has one. What is wrong is said of the character, counted from
// 1, at which it is wrong.
func (s Submission) condition(bad *Invalid) *policy.Expression {
	if s.Condition == "" {
		if len(s.Needs) > 0 {
			bad.add("needs", "length", "leave it out, or send a condition", "names %d variables, but there is no condition", len(s.Needs))
		}
		return nil
	}
	c, err := policy.ParseCondition(s.Condition)
	if err != nil {
		wrong := &policy.ConditionError{Why: err.Error()}
		errors.As(err, &wrong)
		bad.add(fmt.Sprintf("condition[%d]", wrong.Pos+1), "syntax", cmp.Or(wrong.Fix, "see porchlight condition"), "cannot be taken: %s", wrong.Why)
		return nil
	}
	reads := c.Needs()
	for _, name := range reads {
		if !slices.Contains(s.Needs, name) {
			bad.add(fmt.Sprintf("condition[%d]", c.Where(name)+1), "declared", "add it to needs", "reads %s, which needs does not name", name)
		}
	}
	for i, name := range s.Needs {
		if !slices.Contains(reads, name) || slices.Contains(s.Needs[:i], name) {
			bad.add(fmt.Sprintf("needs[%d]", i), "declared", "leave it out", "is %.80q, which the condition does not read, or is named before", name)
		}
	}
	return c
}

// digest is what makes two requests the same: the message they carry, however it was spelled.
func (s Submission) digest() ([]byte, error) {
	raw, err := json.Marshal(s)
	if err != nil {
		return nil, err
	}
	sum := sha256.Sum256(raw)
	return sum[:], nil
}
