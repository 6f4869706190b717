package words

import (
	"go/ast"
	"go/parser"
	"go/token"
	"maps"
	"math/rand/v2"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
	"unicode"

	"porchlight/device"
	"porchlight/policy"
)

const (
	ada   device.PersonID = 1 // who reads
	ben   device.PersonID = 2
	zorro device.BrandID  = "zorro"
)

var (
	berlin, _ = time.LoadLocation("Europe/Berlin")
	now       = device.At(time.Date(2026, 6, 10, 12, 0, 0, 0, time.UTC)) // Wednesday, 14:00 in Berlin
)

func names() Names {
	return Names{
		Reader: ada, Screen: "screen-1", Zone: berlin, Now: now,
		Device: func(id device.ID) string { return map[device.ID]string{"tele-2": "Salon"}[id] },
		Room:   func(id device.RoomID) string { return map[device.RoomID]string{1: "Studio"}[id] },
		Brand:  func(id device.BrandID) string { return map[device.BrandID]string{zorro: "Zorro"}[id] },
	}
}

// codes reads the codes from where they are declared, so that none can be forgotten.
func codes(t *testing.T) (all []policy.Code) {
	t.Helper()
	file, err := parser.ParseFile(token.NewFileSet(), "../cause.go", nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	ast.Inspect(file, func(n ast.Node) bool {
		if v, ok := n.(*ast.ValueSpec); ok {
			if id, ok := v.Type.(*ast.Ident); ok && id.Name == "Code" {
				s, err := strconv.Unquote(v.Values[0].(*ast.BasicLit).Value)
				if err != nil {
					t.Fatal(err)
				}
				all = append(all, policy.Code(s))
			}
		}
		return true
	})
	if len(all) < 40 {
		t.Fatalf("only %d codes were found in cause.go", len(all))
	}
	return all
}

var (
	classes  = []device.Class{0, device.TV, device.Speaker, device.Console, device.Car, device.Fridge, device.Washer, device.Dryer, device.Dishwasher, device.Oven, device.Display, device.Companion, device.Other, 77}
	purposes = []policy.Purpose{0, policy.Service, policy.Marketing, policy.Personalised, policy.Recommendations, policy.Research, policy.Analytics, policy.Context, 40}
	ops      = []policy.Op{policy.EQ, policy.NE, policy.LT, policy.LE, policy.GT, policy.GE, "like", ""}
)

func attributes() (all []device.Attribute) {
	for _, name := range device.AttributeNames(0) {
		a, _ := device.ParseAttribute(name)
		all = append(all, a)
	}
	return all
}

// plausible makes a cause of code with fields as they may be; now and then some that may not.
func plausible(r *rand.Rand, code policy.Code) policy.Cause {
	pick := func(n int) int { return r.IntN(n) }
	all := append(attributes(), 0, 200)
	c := policy.Cause{
		Code: code, Rule: policy.Rule(pick(18)), Verdict: policy.Verdict(pick(3)),
		Person: device.PersonID(pick(3)), Device: []device.ID{"", "screen-1", "tele-2", "other-3"}[pick(4)],
		Class: classes[pick(len(classes))], Room: device.RoomID(pick(3)), Purpose: purposes[pick(len(purposes))],
		Category: []string{"", "dairy", "health-care", "gadget", "1165"}[pick(5)], Brand: []device.BrandID{"", zorro, "zeta-2"}[pick(3)],
		Moment: policy.Moment(pick(5)), Content: policy.Content(pick(8)), Form: device.Form(pick(7)), Duty: policy.Duty(pick(9)),
		Attribute: all[pick(len(all))], Op: ops[pick(len(ops))],
		Have: pick(4), Max: pick(100), Hours: pick(3), Minutes: pick(3) * 15,
	}
	instants := []device.Instant{0, now.Add(time.Hour), now.Add(18 * time.Hour), now.Add(400 * time.Hour), now.Add(-time.Hour), now.Add(-20 * time.Hour), now.Add(-9000 * time.Hour)}
	c.Until, c.At = instants[pick(len(instants))], instants[pick(len(instants))]
	switch info := c.Attribute.Info(); info.Kind {
	case device.Bool:
		c.Value = device.Value{Kind: device.Bool, Num: float64(pick(2))}
	case device.Number:
		c.Value = device.Value{Kind: device.Number, Num: []float64{0, 1, 126, 4.5, 1e300, -1e-9}[pick(6)]}
	case device.Enum:
		c.Value = device.Value{Kind: device.Enum, Num: float64(pick(len(info.Values)+1) - pick(2))}
	case device.Text:
		c.Value = device.Value{Kind: device.Text, Text: []string{"", "1 2@0.7", "zappi", strings.Repeat("z", 64)}[pick(4)]}
	}
	if pick(10) == 0 {
		c.Value = device.Value{Kind: device.Kind(pick(5)), Num: 3}
	}
	return c
}

// stop is words by which English gives itself away, none of which the other languages have.
var stop = func() map[string]bool {
	m := map[string]bool{}
	for _, w := range strings.Fields(`the this that these is are were has have had not and of with from for it its you your until which what who
		somebody nobody everything home house screen screens offer offers allow allowed brand brands here there only at to by be been shown show said
		other others every device time quiet day yes when because would could never nothing asks asked used about room open closed
		fridge washer dryer dishwasher oven speaker television phone running moving playing paused stopped parked`) {
		m[w] = true
	}
	return m
}()

func tokens(s string) []string {
	return strings.FieldsFunc(strings.ToLower(s), func(r rune) bool { return !unicode.IsLetter(r) })
}

// code is what only a machine writes.
var code = regexp.MustCompile(`[a-z]\.[a-z]|_|[{}]|%!|\bclass\(|\bpd:|  |^ | $| ,|\(\)|NaN|<nil>`)

// flaws lists what is wrong with a sentence of a language.
func flaws(lang, s string) (all []string) {
	if s == "" {
		return []string{"is empty"}
	}
	if found := code.FindString(s); found != "" {
		all = append(all, "has "+strconv.Quote(found)+" in it")
	}
	for _, r := range s {
		if r > 0xff {
			all = append(all, "has a character that is not in Latin-1: "+string(r))
		}
	}
	if lang != "en" {
		for _, w := range tokens(s) {
			if stop[w] {
				all = append(all, "has an English word in it: "+w)
			}
		}
	}
	return all
}

func TestEveryCodeHasWords(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for _, c := range append(codes(t), lessOf, moreOf, "not.yet-known", "") {
		for _, lang := range Languages() {
			for range 80 {
				cause := plausible(r, c)
				s := Tell(cause, lang, names())
				bad := flaws(lang, s)
				if c != "" && strings.Contains(string(c), ".") && strings.Contains(s, string(c)) {
					bad = append(bad, "is a code")
				}
				if strings.HasSuffix(s, ".") {
					bad = append(bad, "ends with a full stop, or is cut short")
				}
				if len(s) > MaxSentence {
					bad = append(bad, "is "+strconv.Itoa(len(s))+" bytes")
				}
				if len(bad) > 0 {
					t.Fatalf("%s %+v\n%q %s", lang, cause, s, strings.Join(bad, ", "))
				}
			}
		}
	}
}

// A sentence for a code that only some of its variants have would be the neutral one for the others.
func TestNoCodeFallsBack(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	for _, c := range codes(t) {
		for _, l := range languages {
			for range 100 {
				cause := plausible(r, c)
				if s := Tell(cause, l.tag, names()); s == l.other || s == l.otherFor {
					t.Errorf("%s: %s has no words: %+v", l.tag, c, cause)
					break
				}
			}
		}
	}
	for _, l := range languages {
		for verdict, want := range map[policy.Verdict]string{policy.Refuse: l.other, policy.Show: l.otherFor} {
			if got := Tell(policy.Cause{Code: "not.yet-known", Verdict: verdict}, l.tag, Names{}); got != want {
				t.Errorf("%s: an unknown code is told as %q, want %q", l.tag, got, want)
			}
		}
	}
}

func TestLanguagesAreWhole(t *testing.T) {
	source, err := os.ReadFile("words.go")
	if err != nil {
		t.Fatal(err)
	}
	known := map[string]bool{}
	for _, m := range regexp.MustCompile(`(?m)^\tcase "(\w+)":`).FindAllStringSubmatch(string(source), -1) {
		known[m[1]] = true
	}
	keys := slices.Sorted(maps.Keys(english.say))
	places := regexp.MustCompile(`\{(\w*)\}`)
	for i, l := range languages {
		if l.nth != i {
			t.Errorf("%s stands at %d of the languages and thinks it is at %d", l.tag, i, l.nth)
		}
		if got := slices.Sorted(maps.Keys(l.say)); !slices.Equal(got, keys) {
			t.Errorf("%s has other sentences than en:\ngot  %q\nwant %q", l.tag, got, keys)
		}
		for key, s := range l.say {
			for _, m := range places.FindAllStringSubmatch(s, -1) {
				if !known[m[1]] {
					t.Errorf("%s: nothing stands for {%s} in %q of %s", l.tag, m[1], s, key)
				}
			}
		}
		for _, a := range attributes() {
			r, info := l.attributes[a], a.Info()
			if r.name == "" {
				t.Errorf("%s: %s has no name", l.tag, a)
			}
			if info.Kind == device.Bool && (r.yes == "" || r.no == "" || r.yes == r.no) {
				t.Errorf("%s: %s has no two clauses", l.tag, a)
			}
			if info.Kind == device.Enum && (len(r.values) != len(info.Values) || r.is == r.not) {
				t.Errorf("%s: %s has %d values in words, and %d in the contract", l.tag, a, len(r.values), len(info.Values))
			}
		}
		for _, p := range purposes {
			a := l.purpose(p)
			if a.name == "" || a.all == "" || !strings.Contains(a.from, "{brand}") {
				t.Errorf("%s: purpose %s is %+v", l.tag, p, a)
			}
		}
		for _, c := range classes {
			n := l.class(c)
			if n.name == "" || n.the == "" || n.a == "" || n.forA == "" || n.this == "" || n.on == "" {
				t.Errorf("%s: class %s is %+v", l.tag, c, n)
			}
			if _, own := l.classes[c]; own != (c == 0 || c.Known() && c != device.Other) {
				t.Errorf("%s: class %s has words of its own: %v", l.tag, c, own)
			}
		}
		for r := policy.Safety; r <= policy.Holdout; r++ {
			if l.unless[r] == "" {
				t.Errorf("%s: rule %s has no words", l.tag, r)
			}
		}
	}
	for what, table := range map[string]map[string][4]string{"category": categories, "data": data} {
		for term, words := range table {
			for i, s := range words {
				if bad := flaws(languages[i].tag, s); len(bad) > 0 {
					t.Errorf("%s %s in %s: %q %q", what, term, languages[i].tag, s, bad)
				}
			}
		}
	}
}

// Every comparison that a brand can make has words, and its opposite has others.
func TestClauses(t *testing.T) {
	for _, l := range languages {
		for _, a := range attributes() {
			var values []device.Value
			switch info := a.Info(); info.Kind {
			case device.Bool:
				values = []device.Value{{Kind: device.Bool}, {Kind: device.Bool, Num: 1}}
			case device.Number:
				values = []device.Value{{Kind: device.Number, Num: 2.5}, {Kind: device.Number, Num: 126}}
			case device.Enum:
				for i := range info.Values {
					values = append(values, device.Value{Kind: device.Enum, Num: float64(i)})
				}
			case device.Text:
				values = []device.Value{{Kind: device.Text, Text: "zappi"}}
			}
			for _, v := range values {
				said := map[string]policy.Op{}
				for _, op := range ops[:6] {
					p := policy.Predicate{Attribute: a, Op: op, Value: v}
					s := l.clause(a, op, v)
					if p.Check() != nil {
						if s != "" {
							t.Errorf("%s: %s %s %s makes no sense and is told as %q", l.tag, a, op, a.Show(v), s)
						}
						continue
					}
					if bad := flaws(l.tag, s); len(bad) > 0 {
						t.Errorf("%s: %s %s %s: %q %q", l.tag, a, op, a.Show(v), s, bad)
					}
					if other, twice := said[s]; twice {
						t.Errorf("%s: %s %s and %s are both told as %q", l.tag, a, op, other, s)
					}
					said[s] = op
					if l == &french && strings.ContainsRune("aeiouhéèêàâ", []rune(s)[0]) {
						t.Errorf("fr: %q cannot stand after \"que\"", s)
					}
				}
			}
		}
	}
}

func TestGolden(t *testing.T) {
	marketing := func(c policy.Cause) policy.Cause { c.Brand, c.Purpose = zorro, policy.Marketing; return c }
	warm := device.Value{Kind: device.Number, Num: 6.5}
	march := device.At(time.Date(2026, 3, 1, 9, 0, 0, 0, time.UTC))
	tests := map[string]struct {
		cause policy.Cause
		want  [4]string
	}{
		"car": {policy.Cause{Code: policy.TooLong, Class: device.Car, Have: 95, Max: 80}, [4]string{
			"a car shows at most 80 characters, and it has 95",
			"ein Auto zeigt höchstens 80 Zeichen, und die Nachricht hat 95",
			"une voiture affiche au plus 80 caractères, et le message en a 95",
			"un coche muestra como máximo 80 caracteres, y el mensaje tiene 95"}},
		"television": {policy.Cause{Code: policy.NotSafe, Class: device.TV}, [4]string{
			"the television is off, or showing something in full screen or for children, or has not said",
			"der Fernseher ist aus, zeigt etwas im Vollbild oder für Kinder oder hat nichts gemeldet",
			"le téléviseur est éteint, affiche quelque chose en plein écran ou pour enfants, ou n'a rien signalé",
			"el televisor está apagado, muestra algo a pantalla completa o para niños, o no ha comunicado nada"}},
		"silence": {marketing(policy.Cause{Code: policy.NobodyAsked}), [4]string{
			"nobody here has said yes to offers from Zorro",
			"niemand hier hat Angebote von Zorro erlaubt",
			"personne ici n'a autorisé les offres envoyées par Zorro",
			"nadie aquí ha permitido las ofertas de Zorro"}},
		"my no": {marketing(policy.Cause{Code: policy.SaidNo, Person: ada, At: march, Device: "screen-1"}), [4]string{
			"you have said no to offers from Zorro (on 1 March on this screen)",
			"Sie haben Angebote von Zorro abgelehnt (am 1. März auf diesem Bildschirm)",
			"vous avez refusé les offres envoyées par Zorro (le 1er mars sur cet écran)",
			"usted ha rechazado las ofertas de Zorro (el 1 de marzo en esta pantalla)"}},
		"somebody else's no has no date and no place": {marketing(policy.Cause{Code: policy.SaidNo, Person: ben, At: march, Device: "tele-2"}), [4]string{
			"somebody here has said no to offers from Zorro",
			"jemand hier hat Angebote von Zorro abgelehnt",
			"quelqu'un ici a refusé les offres envoyées par Zorro",
			"alguien aquí ha rechazado las ofertas de Zorro"}},
		"ended last year": {marketing(policy.Cause{Code: policy.Ended, Until: march.Add(-90 * 24 * time.Hour)}), [4]string{
			"this home's yes to offers from Zorro ended on 1 December 2025",
			"die Erlaubnis dieses Haushalts für Angebote von Zorro endete am 1. Dezember 2025",
			"l'accord de ce foyer pour les offres envoyées par Zorro a pris fin le 1er décembre 2025",
			"el permiso de este hogar para las ofertas de Zorro terminó el 1 de diciembre de 2025"}},
		"muted": {policy.Cause{Code: policy.Muted, Brand: zorro, Class: device.TV, Until: now.Add(11 * time.Hour)}, [4]string{
			"everything from Zorro on the television is muted until 01:00",
			"alle Nachrichten von Zorro auf dem Fernseher sind bis 01:00 Uhr stummgeschaltet",
			"tout message envoyé par Zorro sur le téléviseur est mis en sourdine jusqu'à 1\u00a0h",
			"todos los mensajes de Zorro en el televisor están silenciados hasta la 01:00"}},
		"much muted": {policy.Cause{Code: policy.Muted, Purpose: policy.Marketing, Category: "dairy", Device: "tele-2", Room: 1, Content: policy.Picture | policy.Sound}, [4]string{
			`everything of the kind offers about dairy on "Salon" in the room "Studio" is muted here (only pictures and sound)`,
			"alle Nachrichten der Art »Angebote« zum Thema »Milchprodukte« auf »Salon« im Raum »Studio« sind hier stummgeschaltet (nur Bilder und Ton)",
			"tout message du type «\u00a0offres\u00a0» sur le thème «\u00a0produits laitiers\u00a0» sur «\u00a0Salon\u00a0» dans la pièce «\u00a0Studio\u00a0» est mis en sourdine ici (images et son seulement)",
			"todos los mensajes del tipo «ofertas» sobre el tema «productos lácteos» en «Salon» en la habitación «Studio» están silenciados aquí (solo imágenes y sonido)"}},
		"quiet": {policy.Cause{Code: policy.QuietNow, Until: now.Add(17 * time.Hour)}, [4]string{
			"quiet time until 07:00", "Ruhezeit bis 07:00 Uhr", "heures calmes jusqu'à 7\u00a0h", "horas de silencio hasta las 07:00"}},
		"my cap": {policy.Cause{Code: policy.CapFull, Person: ada, Brand: zorro, Max: 2, Until: now.Add(90 * time.Minute)}, [4]string{
			"you want at most 2 from Zorro in a day: the next may come at 15:30",
			"Sie wollen höchstens 2 Nachrichten von Zorro pro Tag: die nächste darf um 15:30 Uhr kommen",
			"vous voulez au plus 2 messages envoyés par Zorro par jour\u00a0: le prochain peut venir à 15\u00a0h\u00a030",
			"usted quiere como máximo 2 mensajes de Zorro al día: el siguiente puede llegar a las 15:30"}},
		"one in two hours": {policy.Cause{Code: policy.CapFull, Max: 1, Hours: 168, Until: now.Add(168 * time.Hour)}, [4]string{
			"this home wants at most 1 from all brands together in 168 hours: the next may come on Wednesday 17 June 2026 at 14:00",
			"dieser Haushalt will höchstens 1 Nachricht von allen Marken zusammen in 168 Stunden: die nächste darf am Mittwoch, 17. Juni 2026, um 14:00 Uhr kommen",
			"ce foyer veut au plus 1 message toutes marques confondues en 168 heures\u00a0: le prochain peut venir le mercredi 17 juin 2026 à 14\u00a0h",
			"este hogar quiere como máximo 1 mensaje de todas las marcas en conjunto en 168 horas: el siguiente puede llegar el miércoles 17 de junio de 2026 a las 14:00"}},
		"a week's cap": {policy.Cause{Code: policy.CapFull, Max: 2, Week: true, Category: "books", Until: now.Add(132 * time.Hour)}, [4]string{
			"this home wants at most 2 about books from all brands together in a week: the next may come on Tuesday 16 June 2026 at 02:00",
			"dieser Haushalt will höchstens 2 Nachrichten zum Thema »Bücher« von allen Marken zusammen pro Woche: die nächste darf am Dienstag, 16. Juni 2026, um 02:00 Uhr kommen",
			"ce foyer veut au plus 2 messages toutes marques confondues sur le thème «\u00a0livres\u00a0» par semaine\u00a0: le prochain peut venir le mardi 16 juin 2026 à 2\u00a0h",
			"este hogar quiere como máximo 2 mensajes sobre el tema «libros» de todas las marcas en conjunto a la semana: el siguiente puede llegar el martes 16 de junio de 2026 a las 02:00"}},
		"a trip's cap": {policy.Cause{Code: policy.CapFull, Max: 1, Trip: true, Class: device.Car}, [4]string{
			"this home wants at most 1 from all brands together in the car on one trip",
			"dieser Haushalt will höchstens 1 Nachricht von allen Marken zusammen im Auto auf einer Fahrt",
			"ce foyer veut au plus 1 message toutes marques confondues dans la voiture par trajet",
			"este hogar quiere como máximo 1 mensaje de todas las marcas en conjunto en el coche en un viaje"}},
		"waits for a door": {policy.Cause{Code: policy.WaitsFor, Class: device.Fridge, Attribute: device.DoorOpen, Op: policy.EQ, Value: device.Value{Kind: device.Bool, Num: 1}}, [4]string{
			"it waits until the fridge says that the door is open",
			"es wartet, bis der Kühlschrank meldet, dass die Tür offen ist",
			"le message attend que le réfrigérateur signale que la porte est ouverte",
			"espera a que el frigorífico comunique que la puerta está abierta"}},
		"it was warm": {policy.Cause{Code: policy.Happened, Class: device.Fridge, Attribute: device.Temperature, Op: policy.GT, Value: warm}, [4]string{
			"the fridge said that the temperature is above 6.5\u00a0°C",
			"der Kühlschrank hat gemeldet, dass die Temperatur über 6,5\u00a0°C liegt",
			"le réfrigérateur a signalé que la température est au-dessus de 6,5\u00a0°C",
			"el frigorífico ha comunicado que la temperatura está por encima de 6,5\u00a0°C"}},
		"over": {policy.Cause{Code: policy.Over, Until: now}, [4]string{
			"it was good until Wednesday 10 June 2026 14:00",
			"es galt bis Mittwoch, 10. Juni 2026, 14:00 Uhr",
			"le message était valable jusqu'au mercredi 10 juin 2026 à 14\u00a0h",
			"era válido hasta el miércoles 10 de junio de 2026 a las 14:00"}},
		"one button": {policy.Cause{Code: policy.TooManyButtons, Class: device.Washer, Have: 1, Max: 0}, [4]string{
			"it has 1 button, and this washer has room for 0",
			"es hat 1 Taste, und diese Waschmaschine hat Platz für 0",
			"le message a 1 bouton, et ce lave-linge n'a de place que pour 0",
			"tiene 1 botón, y esta lavadora tiene sitio para 0"}},
		"sensitive": {policy.Cause{Code: policy.SensitiveHere, Category: "health-care"}, [4]string{
			"it is about health, and others may see it here",
			"es geht um »Gesundheit«, und andere könnten es hier sehen",
			"le thème est «\u00a0santé\u00a0», et d'autres personnes pourraient le voir ici",
			"trata el tema «salud», y otras personas podrían verlo aquí"}},
	}
	for name, tt := range tests {
		for i, lang := range Languages() {
			if got := Tell(tt.cause, lang, names()); got != tt.want[i] {
				t.Errorf("%s, %s:\ngot  %q\nwant %q", name, lang, got, tt.want[i])
			}
		}
	}
}

func TestShown(t *testing.T) {
	grounds := []policy.Cause{
		{Code: policy.Happened, Verdict: policy.Show, Class: device.Fridge, Attribute: device.DoorOpen, Op: policy.EQ, Value: device.Value{Kind: device.Bool, Num: 1}},
		{Code: policy.SaidYes, Verdict: policy.Show, Person: ada, Brand: zorro, Purpose: policy.Marketing, At: device.At(time.Date(2026, 3, 3, 23, 30, 0, 0, time.UTC)), Device: "screen-1"},
		{Code: policy.SaidYes, Verdict: policy.Show, Person: ben, Brand: zorro, Purpose: policy.Marketing, At: now.Add(-time.Hour), Device: "tele-2"},
		{Code: policy.SaidYes, Verdict: policy.Show, Person: 3, Brand: zorro, Purpose: policy.Marketing}, // told once
	}
	want := [4]string{
		"Shown because the fridge was opened, you allowed offers from Zorro on 4 March on this screen and somebody here allowed offers from Zorro.",
		"Gezeigt, denn der Kühlschrank wurde geöffnet, Sie haben am 4. März auf diesem Bildschirm Angebote von Zorro erlaubt und jemand hier hat Angebote von Zorro erlaubt.",
		"Affiché, car quelqu'un a ouvert le réfrigérateur, vous avez autorisé le 4 mars sur cet écran les offres envoyées par Zorro et quelqu'un ici a autorisé les offres envoyées par Zorro.",
		"Se muestra porque se abrió el frigorífico, usted permitió el 4 de marzo en esta pantalla las ofertas de Zorro y alguien aquí permitió las ofertas de Zorro.",
	}
	for i, lang := range Languages() {
		if got := Shown(grounds, lang, names()); got != want[i] {
			t.Errorf("%s:\ngot  %q\nwant %q", lang, got, want[i])
		}
		if bad := flaws(lang, Shown(nil, lang, names())); len(bad) > 0 {
			t.Errorf("%s: no grounds: %q", lang, bad)
		}
	}
}

func TestDays(t *testing.T) {
	yes := func(at time.Time) policy.Cause {
		return policy.Cause{Code: policy.SaidYes, Person: ada, Purpose: policy.Marketing, At: device.At(at)}
	}
	here := time.Date(2026, 6, 10, 0, 0, 0, 0, berlin)
	tests := map[string]struct {
		at   time.Time
		want [4]string
	}{
		"today":     {here.Add(30 * time.Minute), [4]string{"today at 00:30", "heute um 00:30 Uhr", "aujourd'hui à 0\u00a0h\u00a030", "hoy a las 00:30"}},
		"yesterday": {here.Add(-23 * time.Hour), [4]string{"yesterday at 01:00", "gestern um 01:00 Uhr", "hier à 1\u00a0h", "ayer a la 01:00"}},
		"before":    {here.Add(-25 * time.Hour), [4]string{"on 8 June", "am 8. Juni", "le 8 juin", "el 8 de junio"}},
		"last year": {here.AddDate(-1, 0, 0), [4]string{"on 10 June 2025", "am 10. Juni 2025", "le 10 juin 2025", "el 10 de junio de 2025"}},
	}
	for name, tt := range tests {
		for i, lang := range Languages() {
			if got := Tell(yes(tt.at), lang, names()); !strings.Contains(got, " "+tt.want[i]) {
				t.Errorf("%s, %s: %q has no %q in it", name, lang, got, tt.want[i])
			}
		}
	}
	santiago, err := time.LoadLocation("America/Santiago")
	if err != nil {
		t.Fatal(err)
	}
	n := names() // half past midnight; the day before began at one
	n.Zone, n.Now = santiago, device.At(time.Date(2027, 9, 6, 0, 30, 0, 0, santiago))
	for hour, want := range map[int]string{3: "yesterday at 03:00", -1: "on 4 September"} {
		if got := Tell(yes(time.Date(2027, 9, 5, hour, 0, 0, 0, santiago)), "en", n); !strings.Contains(got, want) {
			t.Errorf("a day that begins at one: %q has no %q in it", got, want)
		}
	}
	quiet := policy.Cause{Code: policy.QuietNow, Until: now.Add(time.Hour)}
	for i, want := range [4]string{"quiet time until 13:00 UTC", "Ruhezeit bis 13:00 Uhr UTC", "heures calmes jusqu'à 13\u00a0h UTC", "horas de silencio hasta las 13:00 UTC"} {
		n := names()
		n.Zone = nil
		if got := Tell(quiet, languages[i].tag, n); got != want {
			t.Errorf("no zone: got %q, want %q", got, want)
		}
	}
	if got, want := When(now.Add(time.Hour), "fr", names())+Until(now.Add(48*time.Hour), "fr", names()), "à 15\u00a0hjusqu'au vendredi 12 juin 2026 à 14\u00a0h"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	for i, want := range [4]string{"for 1 month", "für 1 Monat", "pour 1 mois", "durante 1 mes"} {
		if got := Months(1, languages[i].tag); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}

func TestDiffer(t *testing.T) {
	sets := [][]policy.Rule{{policy.Mute}, {policy.Consent, policy.QuietTime}, {}, {policy.Mute}}
	want := [4][]string{
		{"it would be shown if it were not muted", "it would be shown if the people it concerns had said yes and it were not quiet time"},
		{"es würde gezeigt, wenn es nicht stummgeschaltet wäre", "es würde gezeigt, wenn die Betroffenen zugestimmt hätten und keine Ruhezeit wäre"},
		{"le message serait affiché si rien ne le mettait en sourdine", "le message serait affiché si les personnes concernées avaient dit oui et si ce n'était pas une heure calme"},
		{"se mostraría si no estuviera silenciado", "se mostraría si las personas afectadas hubieran dicho que sí y no fueran horas de silencio"},
	}
	for i, lang := range Languages() {
		if got := Differ(sets, lang); !slices.Equal(got, want[i]) {
			t.Errorf("%s:\ngot  %q\nwant %q", lang, got, want[i])
		}
		for r := policy.Safety; r <= policy.Holdout+1; r++ {
			got := Differ([][]policy.Rule{{r}}, lang)
			if len(got) != 1 || len(flaws(lang, got[0])) > 0 || lang == "fr" && strings.Contains(got[0], " si il") {
				t.Errorf("%s: %s is told as %q", lang, r, got)
			}
		}
	}
}

func TestOthersAreNotNamed(t *testing.T) {
	r := rand.New(rand.NewPCG(5, 6))
	you := [4]string{"you", "Sie", "vous", "usted"}
	for _, c := range codes(t) {
		for range 50 {
			cause := plausible(r, c)
			cause.Person = ben
			for i, lang := range Languages() {
				if s := Tell(cause, lang, names()); slices.Contains(strings.FieldsFunc(s, func(r rune) bool { return !unicode.IsLetter(r) }), you[i]) {
					t.Errorf("%s: somebody else's is told as the reader's: %q", lang, s)
				}
			}
		}
	}
	for i, lang := range Languages() {
		c := policy.Cause{Code: policy.SaidYes, Person: ada}
		if s := Tell(c, lang, names()); !strings.Contains(strings.ToLower(s), strings.ToLower(you[i])) {
			t.Errorf("%s: the reader's own is told as %q", lang, s)
		}
		if s := Tell(c, lang, Names{}); strings.Contains(strings.ToLower(s), strings.ToLower(you[i])+" ") {
			t.Errorf("%s: where nobody is known to read it is told as %q", lang, s)
		}
	}
}

func TestHostileNames(t *testing.T) {
	n := names()
	n.Brand = func(device.BrandID) string { return "{the}\u202e\x00\n" + strings.Repeat("Ω", 64) }
	n.Device = func(device.ID) string { return strings.Repeat("Ж", 64) }
	n.Room = func(device.RoomID) string { return strings.Repeat("語", 64) }
	c := policy.Cause{Code: policy.Muted, Person: ben, Brand: zorro, Purpose: policy.Service, Category: strings.Repeat("c", 32), Device: "tele-2", Room: 1, Content: 7, Until: now.Add(400 * time.Hour)}
	for _, lang := range Languages() {
		s := Tell(c, lang, n)
		if len(s) > MaxSentence || strings.ContainsAny(s, "\u202e\x00\n") || !strings.Contains(s, "...") || !strings.Contains(s, "{the}") {
			t.Errorf("%s: %d bytes: %q", lang, len(s), s)
		}
	}
}

func TestPick(t *testing.T) {
	tests := []struct {
		wanted []string
		want   string
	}{
		{nil, "en"}, {[]string{"it"}, "en"}, {[]string{"it", "de-CH", "fr"}, "de"}, {[]string{"FR_ca"}, "fr"},
		{[]string{"es-419"}, "es"}, {[]string{""}, "en"}, {[]string{"deu"}, "en"}, {[]string{"en-GB", "de"}, "en"},
	}
	for _, tt := range tests {
		if got := Pick(tt.wanted...); got != tt.want {
			t.Errorf("Pick(%q) is %q, want %q", tt.wanted, got, tt.want)
		}
	}
	if got := Tell(policy.Cause{Code: policy.AlarmOn}, "it", Names{}); got != "an alarm is on in the home" {
		t.Errorf("in a language without words: %q", got)
	}
}

// Whoever waits longer than the message lasts is told so.
func TestLate(t *testing.T) {
	c := policy.Cause{Rule: policy.Condition, Code: policy.WrongTime, Verdict: policy.Hold, Until: now.Add(5 * time.Hour), Late: true}
	for i, want := range []string{
		"it waits for another time until 19:00, and the message ends before that",
		"es wartet auf eine andere Zeit bis 19:00 Uhr, und die Nachricht endet vorher",
		"le message attend un autre moment jusqu'à 19\u00a0h, et le message prend fin avant",
		"espera otro momento hasta las 19:00, y el mensaje termina antes",
	} {
		if got := Tell(c, languages[i].tag, names()); got != want {
			t.Errorf("got  %s\nwant %s", got, want)
		}
	}
	if got := Operator(c); !strings.HasSuffix(got, " late=true") {
		t.Errorf("an operator reads %s", got)
	}
}

func TestOperator(t *testing.T) {
	c := policy.Cause{Rule: policy.Condition, Code: policy.WaitsFor, Verdict: policy.Hold, Class: device.Fridge, Person: ben, Attribute: device.DoorOpen, Op: policy.EQ, Value: device.Value{Kind: device.Bool, Num: 1}, Until: now}
	if got, want := Operator(c), `context.waits rule=context verdict=hold person=2 class=fridge when="door.open eq true" until=2026-06-10T12:00:00.000Z`; got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	r := rand.New(rand.NewPCG(7, 8))
	for range 2000 {
		Operator(plausible(r, policy.WaitsFor)) // must not panic
	}
}

// Whatever stands against a message, a brand is told the same.
func TestCoarse(t *testing.T) {
	for v := policy.Refuse; v <= policy.Show; v++ {
		for r := policy.Safety; r <= policy.Holdout; r++ {
			want := "not shown"
			if v == policy.Show {
				want = "shown"
			}
			if got := Coarse(policy.Decision{Verdict: v, Reasons: policy.Reasons(0).With(r)}); got != want {
				t.Errorf("%s for %s: got %q, want %q", v, r, got, want)
			}
		}
	}
}

func TestLearnt(t *testing.T) {
	tests := map[string]struct {
		lesson Lesson
		want   [4]string
	}{
		"less": {Lesson{Person: ada, Category: "coffee", Lever: 0.4}, [4]string{
			"you often dismiss messages about coffee, so others come first",
			"Sie schließen Nachrichten zum Thema »Kaffee« oft, deshalb kommen andere zuerst",
			"vous fermez souvent les messages sur le thème «\u00a0café\u00a0», alors d'autres passent avant",
			"usted cierra a menudo los mensajes sobre el tema «café», así que otros van antes"}},
		"more": {Lesson{Person: ben, Brand: zorro, Lever: 1.2}, [4]string{
			"messages from Zorro are often answered here, so they come first",
			"Nachrichten von Zorro werden hier oft beantwortet, deshalb kommen sie zuerst",
			"les messages envoyés par Zorro reçoivent souvent une réponse ici, alors ils passent avant",
			"los mensajes de Zorro se responden aquí a menudo, así que van antes"}},
		"paused": {Lesson{Person: ada, Brand: zorro, Until: now.Add(5 * time.Hour)}, [4]string{
			"you dismissed messages from Zorro twice, so they are paused until 19:00",
			"Sie haben zweimal Nachrichten von Zorro geschlossen, deshalb pausieren sie bis 19:00 Uhr",
			"vous avez fermé deux fois des messages envoyés par Zorro\u00a0: ils sont en pause jusqu'à 19\u00a0h",
			"usted cerró dos veces mensajes de Zorro, así que están en pausa hasta las 19:00"}},
	}
	for name, tt := range tests {
		for i, lang := range Languages() {
			if got := Learnt(tt.lesson, lang, names()); got != tt.want[i] {
				t.Errorf("%s, %s:\ngot  %q\nwant %q", name, lang, got, tt.want[i])
			}
		}
	}
}

func TestWordText(t *testing.T) {
	open := []OpenScreen{{"Salon", now.Add(5 * time.Minute)}, {"Studio", 0}}
	want := [4]string{
		`stopping: nothing more of it is shown; it may still be on "Salon" (until 14:05) and "Studio"`,
		"wird beendet: davon wird nichts mehr gezeigt; noch zu sehen sein kann es auf »Salon« (bis 14:05 Uhr) und »Studio«",
		"arrêt en cours\u00a0: rien n'en est plus affiché\u00a0; il peut en rester sur «\u00a0Salon\u00a0» (jusqu'à 14\u00a0h\u00a005) et «\u00a0Studio\u00a0»",
		"deteniendo: ya no se muestra nada de ello; todavía puede estar en «Salon» (hasta las 14:05) y «Studio»",
	}
	for i, lang := range Languages() {
		if got := WordText(false, open, lang, names()); got != want[i] {
			t.Errorf("%s:\ngot  %q\nwant %q", lang, got, want[i])
		}
		stopping, stopped := WordText(false, nil, lang, names()), WordText(true, open, lang, names())
		if bad := append(flaws(lang, stopping), flaws(lang, stopped)...); len(bad) > 0 || stopping == stopped || stopped != WordText(true, nil, lang, names()) {
			t.Errorf("%s: %q, %q: %q", lang, stopping, stopped, bad)
		}
	}
}

func TestWordsOfThings(t *testing.T) {
	for _, lang := range Languages() {
		var all []string
		for _, p := range purposes {
			all = append(all, Purpose(p, lang))
		}
		for _, c := range classes {
			all = append(all, Class(c, lang))
		}
		for c := policy.Content(1); c < 8; c++ {
			all = append(all, Content(c, lang))
		}
		for m := policy.Film; m <= policy.Sleep; m++ {
			all = append(all, Moment(m, lang))
		}
		for f := device.Badge; f <= device.FullScreen+1; f++ {
			all = append(all, Form(f, lang))
		}
		for _, a := range append(attributes(), 0, 200) {
			all = append(all, Attribute(a, lang))
		}
		all = append(all, Category("1165", lang), Category("gadget", lang), Data("pd:Zzz", lang), Data("", lang))
		for _, s := range all {
			if bad := flaws(lang, s); len(bad) > 0 {
				t.Errorf("%s: %q %q", lang, s, bad)
			}
		}
	}
	for _, term := range []string{"pd:Purchase", "https://w3id.org/dpv/pd#Purchase", "https://w3id.org/dpv/2.1/pd/Purchase", "Purchase"} {
		if got := Data(term, "fr"); got != "achats" {
			t.Errorf("%s is %q in French", term, got)
		}
	}
	if got := spanish.join([]string{"nombre", "hábitos", "intereses"}); got != "nombre, hábitos e intereses" {
		t.Errorf("got %q", got)
	}
}
