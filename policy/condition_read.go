package policy

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"porchlight/device"
)

// ConditionError says what is wrong with a condition, and where.
type ConditionError struct {
	Pos int    // the code point, from 0, at which it is wrong
	Why string // completes "it ..."
	Fix string // what to do
}

func (e *ConditionError) Error() string {
	s := fmt.Sprintf("character %d: %s", e.Pos+1, e.Why)
	if e.Fix != "" {
		s += ": " + e.Fix
	}
	return s
}

// Caret is two lines: the condition around the place that e is about, and a mark below it.
func (e *ConditionError) Caret(text string) string {
	const around = 38
	letters := []rune(strings.Map(func(r rune) rune {
		if device.Printable(r) {
			return r
		}
		return ' '
	}, text))
	at := min(max(e.Pos, 0), len(letters))
	from, to := max(0, min(at-around, len(letters)-2*around)), min(len(letters), max(at+around, 2*around))
	lead := ""
	if from > 0 {
		lead = "…"
	}
	line := lead + string(letters[from:to])
	if to < len(letters) {
		line += "…"
	}
	return line + "\n" + strings.Repeat(" ", at-from+utf8.RuneCountInString(lead)) + "^"
}

// ParseCondition reads a condition. It refuses what can never be true, and what can never be false,
// as far as that can be told. The error is a [*ConditionError].
func ParseCondition(text string) (*Expression, error) {
	c, err := readCondition(text)
	if err != nil {
		return nil, err
	}
	if err := c.sense(); err != nil {
		return nil, err
	}
	return c, nil
}

// readCondition is ParseCondition, but does not ask whether the condition makes sense.
func readCondition(text string) (*Expression, error) {
	r := reader{text: text, c: &Expression{text: text}}
	if !utf8.ValidString(text) {
		return nil, &ConditionError{0, "it is not UTF-8", "encode it as UTF-8"}
	}
	if n := utf8.RuneCountInString(text); n > maxConditionText {
		return nil, &ConditionError{maxConditionText, fmt.Sprintf("it has %d characters", n), fmt.Sprintf("write at most %d", maxConditionText)}
	}
	r.next()
	r.whole()
	if r.err == nil && r.token != "" {
		r.fail(r.at, "more follows: "+quoted(r.token), "join it with && or ||")
	}
	if r.err != nil {
		return nil, r.err
	}
	return r.c, nil
}

// reader reads a condition from the left to the right, one token ahead. After the first error it
// reads nothing more.
type reader struct {
	text  string
	at    int    // byte at which token begins
	end   int    // and ends
	last  int    // where the token before it ends
	token string // "" at the end
	kind  byte   // 'a' a name, '1' a number, '"' a string, '+' anything else
	spelt bool   // the last operand is a comparison that is spelt out, without parentheses
	depth int
	size  int
	lasts bool // what is read now is compared with a length of time
	c     *Expression
	err   *ConditionError
}

// fail notes what is wrong at a byte of the text.
func (r *reader) fail(at int, why, fix string) {
	if r.err == nil {
		r.err = &ConditionError{utf8.RuneCountInString(r.text[:at]), why, fix}
		r.token, r.kind = "", 0
	}
}

func letter(b byte) bool { return 'a' <= b && b <= 'z' || 'A' <= b && b <= 'Z' || b == '_' }
func digit(b byte) bool  { return '0' <= b && b <= '9' }

// next takes the next token.
func (r *reader) next() {
	if r.err != nil {
		return
	}
	s, i := r.text, r.end
	r.last = r.end
	for i < len(s) && (s[i] == ' ' || s[i] == '\t' || s[i] == '\n' || s[i] == '\r') {
		i++
	}
	r.at = i
	if i == len(s) {
		r.end, r.token, r.kind = i, "", 0
		return
	}
	switch b := s[i]; {
	case letter(b):
		r.kind = 'a'
		for i < len(s) && (letter(s[i]) || digit(s[i]) || s[i] == '.' && i+1 < len(s) && letter(s[i+1])) {
			i++
		}
	case digit(b), (b == '-' || b == '.') && i+1 < len(s) && digit(s[i+1]):
		r.kind = '1'
		for i++; i < len(s) && (digit(s[i]) || letter(s[i]) || s[i] == '.' || (s[i] == '-' || s[i] == '+') && (s[i-1] == 'e' || s[i-1] == 'E')); {
			i++
		}
	case b == '\'' || b == '"':
		r.kind = '"'
		for i++; ; i++ {
			if i >= len(s) || s[i] == '\n' || s[i] == '\r' {
				r.fail(r.at, "the text does not end", "close it with "+string(b))
				return
			}
			if s[i] == '\\' {
				if i++; i >= len(s) || !strings.ContainsRune(`\'"nt`, rune(s[i])) {
					r.fail(i-1, "that is no escape", `use \\, \', \", \n or \t`)
					return
				}
			} else if s[i] == b {
				break
			}
		}
		i++
	default:
		r.kind = '+'
		i++
		for _, two := range []string{"&&", "||", "==", "!=", "<=", ">="} {
			if strings.HasPrefix(s[r.at:], two) {
				i = r.at + 2
			}
		}
		if i == r.at+1 && !strings.ContainsRune("!<>?:()[],", rune(b)) {
			_, n := utf8.DecodeRuneInString(s[r.at:])
			fix := "compare variables with constants, and join comparisons with && and ||"
			if b == '=' {
				fix = "did you mean ==?"
				if strings.HasPrefix(s[r.at:], "=>") {
					fix = "did you mean >=?"
				} else if strings.HasPrefix(s[r.at:], "=<") {
					fix = "did you mean <=?"
				}
			} else if b == '&' || b == '|' {
				fix = "write it twice"
			}
			r.fail(r.at, quoted(s[r.at:r.at+n])+" does not belong here", fix)
			return
		}
	}
	r.end = i
	r.token = s[r.at:i]
}

func quoted(s string) string { return strconv.Quote(cut(s, 24)) }

// cut is the beginning of s, at most n bytes.
func cut(s string, n int) string {
	if len(s) <= n {
		return s
	}
	for n > 0 && !utf8.RuneStart(s[n]) {
		n--
	}
	return s[:n] + "…"
}

// take takes the token if it is an operator.
func (r *reader) take(op string) bool {
	if r.kind != '+' || r.token != op {
		return false
	}
	r.next()
	return true
}

// add appends a node that begins at a byte of the text and ends with the last token.
func (r *reader) add(n node, from int) int {
	n.from, n.to = int32(from), int32(r.last)
	r.grow(1, from)
	r.c.nodes = append(r.c.nodes, n)
	return len(r.c.nodes) - 1
}

// grow counts what a condition costs.
func (r *reader) grow(by, at int) {
	if r.size += by; r.size > maxConditionNodes {
		r.fail(at, fmt.Sprintf("it has more than %d parts", maxConditionNodes), "make it shorter")
	}
}

// deeper counts what stands in what.
func (r *reader) deeper() bool {
	if r.depth++; r.depth > maxConditionDepth {
		r.fail(r.at, fmt.Sprintf("it is nested more than %d deep", maxConditionDepth), "take out parentheses")
	}
	return r.err == nil
}

// whole reads a choice, or all that binds stronger.
func (r *reader) whole() int {
	from := r.at
	n := r.either()
	if !r.take("?") {
		return n
	}
	if !r.deeper() {
		return 0
	}
	yes := r.either()
	if !r.take(":") {
		r.fail(r.at, "the : of a ?: is missing", "write condition ? this : that, with a ?: inside in parentheses")
		return 0
	}
	no := r.whole()
	r.depth--
	return r.add(node{op: choose, a: int16(n), b: int16(yes), c: int16(no)}, from)
}

func (r *reader) either() int {
	from := r.at
	n := r.both()
	for r.take("||") {
		m := r.both()
		n = r.add(node{op: anyOf, a: int16(n), b: int16(m)}, from)
	}
	return n
}

func (r *reader) both() int {
	from := r.at
	n := r.one()
	for r.take("&&") {
		m := r.one()
		n = r.add(node{op: allOf, a: int16(n), b: int16(m)}, from)
	}
	return n
}

// one reads a comparison, a variable, a word that is true or false, or something in parentheses, or
// the opposite of one.
func (r *reader) one() int {
	from := r.at
	if r.take("!") {
		if !r.deeper() {
			return 0
		}
		n := r.operand()
		if r.depth--; r.spelt {
			r.fail(from, "! takes the first side of the comparison alone", "put the comparison in parentheses, as in !(a == b)")
		}
		return r.add(node{op: opposite, a: int16(n)}, from)
	}
	return r.operand()
}

func isComparison(s string) bool {
	return slices.Contains([]string{"==", "!=", "<", "<=", ">", ">=", "in"}, s)
}

func (r *reader) operand() int {
	from := r.at
	switch {
	case r.kind == '+' && r.token == "!":
		return r.one()
	case r.take("("):
		if !r.deeper() {
			return 0
		}
		n := r.whole()
		if !r.take(")") {
			r.fail(r.at, "a ) is missing", "close the ( of character "+strconv.Itoa(utf8.RuneCountInString(r.text[:from])+1))
		}
		r.depth--
		if r.spelt = false; isComparison(r.token) {
			r.fail(r.at, "what is compared here is in parentheses", "compare a variable with a constant")
		}
		return n
	case r.kind == 'a' && r.token != "true" && r.token != "false":
		return r.comparison(from)
	case r.kind == 'a' || r.kind == '1' || r.kind == '"':
		return r.turned(from)
	case r.token == "":
		r.fail(r.at, "it ends too soon", "write a comparison")
	default:
		r.fail(r.at, quoted(r.token)+" does not belong here", "write a comparison")
	}
	return 0
}

var comparisons = map[string]Op{"==": EQ, "!=": NE, "<": LT, "<=": LE, ">": GT, ">=": GE}

// comparison reads a variable and what it is compared with, if anything.
func (r *reader) comparison(from int) int {
	v := r.variable()
	if r.kind == 'a' && r.token == "in" {
		r.next()
		r.spelt = true
		return r.list(v, from)
	}
	op, ok := comparisons[r.token]
	if r.spelt = ok && r.kind == '+'; !r.spelt {
		if r.err == nil && v.info().Kind != device.Bool {
			r.fail(from, v.info().Name+" is not true or false", "compare it with "+v.wants())
		}
		return r.leaf(v, EQ, from, constant{kind: 'b', num: 1})
	}
	at := r.at
	r.next()
	r.lasts = v.domain == ofSince
	k := r.constant()
	r.lasts = false
	r.single()
	r.fits(v, op, at)
	return r.leaf(v, op, from, k)
}

// turned reads what begins with a constant.
func (r *reader) turned(from int) int {
	k := r.constant()
	op, ok := comparisons[r.token]
	if r.spelt = ok && r.kind == '+'; !r.spelt {
		if k.kind != 'b' {
			r.fail(from, "a constant is not true or false", "compare it with a variable")
		}
		return r.add(node{op: fixed, truth: truthOf(k.num == 1)}, from)
	}
	at := r.at
	r.next()
	if r.kind != 'a' || r.token == "true" || r.token == "false" {
		r.fail(r.at, "a constant is compared with something that is no variable", "compare a variable with a constant")
		return 0
	}
	v := r.variable()
	op = map[Op]Op{EQ: EQ, NE: NE, LT: GT, LE: GE, GT: LT, GE: LE}[op]
	r.single()
	r.fits(v, op, at)
	return r.leaf(v, op, from, k)
}

// single refuses a second comparison in a row.
func (r *reader) single() {
	if (r.kind == '+' || r.kind == 'a') && isComparison(r.token) {
		r.fail(r.at, "a comparison is compared", "join two comparisons with &&")
	}
}

// fits refuses an order among what has none.
func (r *reader) fits(v variable, op Op, at int) {
	if r.err != nil || op == EQ || op == NE {
		return
	}
	if i := v.info(); i.Kind != device.Number && (i.Kind != device.Text || i.Unit == "") {
		r.fail(at, i.Name+" has no order", "use ==, != or in")
	}
}

func (r *reader) variable() (v variable) {
	name := r.token
	v, fix, ok := find(name)
	if !ok {
		why := quoted(name) + " is not a variable"
		r.fail(r.at, why, fix)
		return v
	}
	r.next()
	if r.kind == '+' && r.token == "(" {
		r.fail(r.at, name+" is not a function", "there are none: compare variables with constants")
	}
	return v
}

// list reads the constants of an in.
func (r *reader) list(v variable, from int) int {
	if !r.take("[") {
		r.fail(r.at, "a [ is missing", "write in ["+v.example()+"]")
		return 0
	}
	var all []constant
	for r.err == nil {
		at := r.at
		all = append(all, r.constant())
		if len(all) > 1 {
			r.grow(1, at)
		}
		if r.take("]") {
			break
		}
		if !r.take(",") {
			r.fail(r.at, "a , or ] is missing", "write in ["+v.example()+"]")
		}
	}
	r.single()
	return r.leaf(v, "in", from, all...)
}

// constant is a literal.
type constant struct {
	kind byte // 'b' true or false, '1' a number, '"' a text
	num  float64
	text string
	at   int // byte
}

func (r *reader) constant() (k constant) {
	k.at, k.kind = r.at, r.kind
	word := r.token
	switch {
	case r.kind == 'a' && (word == "true" || word == "false"):
		k.kind = 'b'
		if word == "true" {
			k.num = 1
		}
	case r.kind == '1':
		n, err := parseNumber(word)
		if err != "" {
			fix := "write a number such as 21 or 0.5"
			if seconds := inSeconds(word); r.lasts && seconds != "" {
				fix = seconds
			}
			r.fail(r.at, quoted(word)+" "+err, fix)
			return k
		}
		k.num = n
	case r.kind == '"':
		var b strings.Builder
		for i := 1; i < len(word)-1; i++ {
			ch := word[i]
			if ch == '\\' {
				i++
				ch = map[byte]byte{'\\': '\\', '\'': '\'', '"': '"', 'n': '\n', 't': '\t'}[word[i]]
			}
			b.WriteByte(ch)
		}
		k.text = b.String()
		if i := strings.IndexFunc(word, func(c rune) bool { return c < ' ' && c != '\t' || c == 0x7f || c == utf8.RuneError }); i >= 0 {
			r.fail(r.at+i, "the text has a character that cannot be shown", "leave it out")
			return k
		}
	case r.kind == 'a':
		fix := "compare a variable with a constant"
		if _, _, ok := find(word); !ok && !strings.Contains(word, ".") {
			fix = "put it in quotes: '" + word + "'"
		}
		if r.lasts && word == "duration" { // as CEL writes a length of time
			fix = "write whole seconds, such as 300"
			arg, _, _ := strings.Cut(r.text[r.end:], ")")
			if seconds := inSeconds(strings.Trim(arg, "( '\"")); seconds != "" {
				fix = seconds
			}
		}
		r.fail(r.at, quoted(word)+" is not a constant", fix)
		return k
	default:
		why := quoted(word) + " is not a constant"
		if word == "" {
			why = "it ends too soon"
		}
		r.fail(r.at, why, "write a number, true, false or a 'text'")
		return k
	}
	r.next()
	return k
}

// inSeconds says how to write a length of time, such as 5m, as a constant; "" if it is none.
func inSeconds(text string) string {
	d, err := time.ParseDuration(text)
	if err != nil || d < 0 {
		return ""
	}
	return "write seconds: " + strconv.FormatInt(int64(math.Ceil(d.Seconds())), 10)
}

// parseNumber reads a number as CEL writes it: digits, or a decimal fraction with a digit after its
// point. Whole numbers are below 2^53, so that each is exact.
func parseNumber(s string) (float64, string) {
	digits := strings.TrimPrefix(s, "-")
	whole := true
	for i := range len(digits) {
		if !digit(digits[i]) {
			whole = false
			switch b := digits[i]; {
			case b == '.':
				if i+1 == len(digits) || !digit(digits[i+1]) {
					return 0, "has no digit after its point"
				}
			case b == 'e' || b == 'E' || b == '+' || b == '-':
			default:
				return 0, "is not a number"
			}
		}
	}
	n, err := strconv.ParseFloat(s, 64)
	switch {
	case err != nil || math.IsInf(n, 0):
		return 0, "is not a number that can be compared"
	case whole && math.Abs(n) >= 1<<53:
		return 0, "is too large to be exact"
	}
	return n, ""
}

// wants says what v is compared with.
func (v variable) wants() string {
	switch i := v.info(); {
	case i.Kind == device.Enum:
		return "one of '" + strings.Join(i.Words, "', '") + "'"
	case i.Kind == device.Number:
		return "a number"
	case i.Kind == device.Bool:
		return "true or false"
	case i.Unit != "":
		return "a text such as " + v.example()
	default:
		return "a 'text' of at most 64 bytes"
	}
}

// example is something that v may be compared with.
func (v variable) example() string {
	switch i := v.info(); {
	case i.Kind == device.Enum:
		return "'" + i.Words[0] + "', '" + i.Words[1] + "'"
	case i.Kind == device.Number:
		return "1, 2"
	case i.Kind == device.Bool:
		return "true"
	case v.domain == ofClock:
		return "'07:30'"
	case v.domain == ofDate:
		return "'2026-12-24'"
	default:
		return "'one', 'another'"
	}
}

// leaf makes a comparison of a variable with constants.
func (r *reader) leaf(v variable, op Op, from int, all ...constant) int {
	if r.err != nil {
		return 0
	}
	l := leaf{v: v, op: op, test: byMask, constants: len(all)}
	var points []float64 // of a number
	var texts []string
	for _, k := range all {
		n, text, ok := r.value(v, k)
		if !ok {
			return 0
		}
		points = append(points, n)
		texts = append(texts, text)
	}
	l.points = points
	info := v.info()
	switch {
	case v.domain == ofReading && info.Kind == device.Text:
		l.test, l.texts = byText, texts
	case v.domain == ofReading && info.Kind == device.Number:
		l.test, l.num = byNumber, points[0]
	case info.Kind == device.Bool || info.Kind == device.Enum:
		for _, n := range points {
			l.mask |= 1 << uint(n)
		}
		if op == NE {
			l.mask = ^l.mask
		}
	default:
		l.test = byCuts
		l.cut(v, op, points)
	}
	if !slices.Contains(r.c.vars, v) {
		r.c.vars = append(r.c.vars, v)
	}
	r.c.leaves = append(r.c.leaves, l)
	return r.add(node{op: compare, leaf: int16(len(r.c.leaves) - 1)}, from)
}

// value turns a constant into a value of v.
func (r *reader) value(v variable, k constant) (num float64, text string, ok bool) {
	info := v.info()
	bad := func(why, fix string) (float64, string, bool) {
		r.fail(k.at, why, fix)
		return 0, "", false
	}
	want := map[device.Kind]byte{device.Bool: 'b', device.Number: '1', device.Enum: '"', device.Text: '"'}[info.Kind]
	if seconds := inSeconds(k.text); v.domain == ofSince && k.kind == '"' && seconds != "" {
		return bad(info.Name+" is a number of seconds", seconds)
	}
	if k.kind != want {
		return bad(info.Name+" is compared with something else", "compare it with "+v.wants())
	}
	switch {
	case info.Kind == device.Number || info.Kind == device.Bool:
		return k.num, "", true
	case v.domain == ofClock:
		t, err := time.Parse("15:04", k.text)
		if err != nil || len(k.text) != 5 {
			return bad(quoted(k.text)+" is no time of day", "write it as in '07:30', from '00:00' to '23:59'")
		}
		return float64(t.Hour()*60 + t.Minute()), "", true
	case v.domain == ofDate && v.aspect == asIs:
		t, err := time.Parse(time.DateOnly, k.text)
		if err != nil || t.Year() < 1970 {
			return bad(quoted(k.text)+" is no date", "write it as in '2026-12-24'")
		}
		return float64(t.Unix() / day), "", true
	case info.Kind == device.Enum:
		words := info.Words
		if v.domain == ofDate {
			words = weekdayNames
		}
		if i := slices.Index(words, k.text); i >= 0 {
			return float64(i), "", true
		}
		fix := "use one of '" + strings.Join(info.Words, "', '") + "'"
		if near := device.Nearest(k.text, words); near != "" {
			fix = "did you mean '" + near + "'? " + strings.ToUpper(fix[:1]) + fix[1:]
		}
		return bad(quoted(k.text)+" is not a word of "+info.Name, fix)
	case len(k.text) > 64:
		return bad("the text is longer than 64 bytes", "no reading is that long")
	default:
		return 0, k.text, true
	}
}
