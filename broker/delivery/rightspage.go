package delivery

import (
	"fmt"
	"html/template"
	"io"
	"strings"
	"time"

	"porchlight/device"
	"porchlight/policy"
	"porchlight/policy/words"
)

// headings are what the page of an export says by itself, by language; the sentences in it are those of words.
var headings = map[string]map[string]string{
	"en": {
		"title": "What is known about", "asof": "As of", "people": "People", "devices": "Devices", "wishes": "What you want",
		"choices": "What was said to brands", "shown": "What was shown", "held": "What was not shown", "answers": "What was answered", "learnt": "What was learnt", "acts": "What was got, and what went wrong", "got": "got", "complaint": "complaint", "resolved": "put right",
		"flows": "What has left the home", "nothing": "Nothing.", "noflow": "Nothing. Every decision is made in the home; no brand was told anything about it.",
		"before": "What came while you were known to be there, and what came on your own devices. What was on a screen before you came is in the home's own export.",
		"files":  "The other files", "about": "The same is in the other files of this archive, for programs. manifest.json has the SHA-256 of each; it and the receipts are signed with the key in ledger.key.",
		"when": "When", "who": "Who", "where": "Where", "brand": "Brand", "purpose": "Purpose", "said": "Said", "message": "Message", "why": "Why", "home": "the home", "name": "Name", "age": "Age", "class": "Kind", "room": "Room", "end": "What became of it", "told": "What devices told in the last 24 hours", "that": "It said that", "unknown": "not known", "until": "Until",
	},
	"de": {
		"title": "Was bekannt ist über", "asof": "Stand", "people": "Menschen", "devices": "Geräte", "wishes": "Was Sie wünschen",
		"choices": "Was Marken gesagt wurde", "shown": "Was gezeigt wurde", "held": "Was nicht gezeigt wurde", "answers": "Was geantwortet wurde", "learnt": "Was gelernt wurde", "acts": "Was besorgt wurde, und was schiefging", "got": "besorgt", "complaint": "Beschwerde", "resolved": "in Ordnung gebracht",
		"flows": "Was das Zuhause verlassen hat", "nothing": "Nichts.", "noflow": "Nichts. Jede Entscheidung fällt zu Hause; keiner Marke wurde etwas darüber gesagt.",
		"before": "Was kam, während bekannt war, dass Sie da sind, und was auf Ihre eigenen Geräte kam. Was auf einem Bildschirm stand, bevor Sie kamen, steht im Auszug des Zuhauses.",
		"files":  "Die anderen Dateien", "about": "Dasselbe steht in den anderen Dateien dieses Archivs, für Programme. manifest.json nennt von jeder die SHA-256; sie und die Quittungen sind mit dem Schlüssel in ledger.key signiert.",
		"when": "Wann", "who": "Wer", "where": "Wo", "brand": "Marke", "purpose": "Zweck", "said": "Gesagt", "message": "Nachricht", "why": "Warum", "home": "das Zuhause", "name": "Name", "age": "Alter", "class": "Art", "room": "Raum", "end": "Was daraus wurde", "told": "Was Geräte in den letzten 24 Stunden gemeldet haben", "that": "Es meldete, dass", "unknown": "nicht bekannt", "until": "Bis",
	},
	"fr": {
		"title": "Ce qui est connu de", "asof": "État du", "people": "Personnes", "devices": "Appareils", "wishes": "Ce que vous souhaitez",
		"choices": "Ce qui a été dit aux marques", "shown": "Ce qui a été montré", "held": "Ce qui n'a pas été montré", "answers": "Ce qui a été répondu", "learnt": "Ce qui a été appris", "acts": "Ce qui a été acheté, et ce qui s'est mal passé", "got": "acheté", "complaint": "réclamation", "resolved": "réglé",
		"flows": "Ce qui a quitté le foyer", "nothing": "Rien.", "noflow": "Rien. Chaque décision est prise à la maison ; aucune marque n'en a rien su.",
		"before": "Ce qui est arrivé pendant que l'on vous savait là, et ce qui est arrivé sur vos propres appareils. Ce qui était à l'écran avant votre arrivée est dans l'export du foyer.",
		"files":  "Les autres fichiers", "about": "Les autres fichiers de cette archive disent la même chose, pour des programmes. manifest.json donne le SHA-256 de chacun ; il est signé, comme les reçus, avec la clé de ledger.key.",
		"when": "Quand", "who": "Qui", "where": "Où", "brand": "Marque", "purpose": "But", "said": "Dit", "message": "Message", "why": "Pourquoi", "home": "le foyer", "name": "Nom", "age": "Âge", "class": "Genre", "room": "Pièce", "end": "Ce qu'il en est advenu", "told": "Ce que des appareils ont signalé ces dernières 24 heures", "that": "Il a signalé que", "unknown": "inconnu", "until": "Jusqu'à",
	},
	"es": {
		"title": "Lo que se sabe de", "asof": "A fecha de", "people": "Personas", "devices": "Aparatos", "wishes": "Lo que usted quiere",
		"choices": "Lo que se dijo a las marcas", "shown": "Lo que se mostró", "held": "Lo que no se mostró", "answers": "Lo que se contestó", "learnt": "Lo que se aprendió", "acts": "Lo que se compró, y lo que salió mal", "got": "comprado", "complaint": "reclamación", "resolved": "arreglado",
		"flows": "Lo que ha salido del hogar", "nothing": "Nada.", "noflow": "Nada. Cada decisión se toma en casa; a ninguna marca se le ha dicho nada de ella.",
		"before": "Lo que llegó mientras se sabía que usted estaba, y lo que llegó a sus propios aparatos. Lo que estaba en una pantalla antes de que usted llegara está en la exportación del hogar.",
		"files":  "Los demás archivos", "about": "Los demás archivos de este paquete dicen lo mismo, para programas. manifest.json da el SHA-256 de cada uno; está firmado, como los recibos, con la clave de ledger.key.",
		"when": "Cuándo", "who": "Quién", "where": "Dónde", "brand": "Marca", "purpose": "Fin", "said": "Dicho", "message": "Mensaje", "why": "Por qué", "home": "el hogar", "name": "Nombre", "age": "Edad", "class": "Tipo", "room": "Habitación", "end": "Qué fue de ello", "told": "Lo que los aparatos comunicaron en las últimas 24 horas", "that": "Comunicó que", "unknown": "desconocido", "until": "Hasta",
	},
}

// pageTable is a heading and the rows below it.
type pageTable struct {
	Title string
	Head  []string
	Rows  [][]string
	None  string // what is said where there are no rows
	Note  string // what is in it, where the heading does not say; ""
}

var pageTemplate = template.Must(template.New("page").Parse(`<!DOCTYPE html>
<html lang="{{.Language}}">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<title>{{.Title}}</title>
<style>body{font-family:sans-serif;margin:2em;max-width:70em}table{border-collapse:collapse}td,th{border:1px solid #999;padding:.3em .6em;text-align:start;vertical-align:top}</style>
</head>
<body>
<h1>{{.Title}}</h1>
<p>{{.AsOf}}</p>
{{range .Tables}}<h2>{{.Title}}</h2>
{{with .Note}}<p>{{.}}</p>
{{end}}{{if .Rows}}<table>
<tr>{{range .Head}}<th>{{.}}</th>{{end}}</tr>
{{range .Rows}}<tr>{{range .}}<td>{{.}}</td>{{end}}</tr>
{{end}}</table>
{{else}}<p>{{.None}}</p>
{{end}}{{end}}<h2>{{.Files}}</h2>
<p>{{.About}}</p>
</body>
</html>
`))

// page writes what people read: no script, nothing from elsewhere.
func (x *exporter) page(w io.Writer) error {
	say := headings[x.language]
	if say == nil {
		say = headings["en"]
	}
	zone := x.view.Zone
	if zone == nil {
		zone = time.UTC
	}
	when := func(at device.Instant) string {
		if at == 0 {
			return ""
		}
		return at.Time().In(zone).Format("2006-01-02 15:04")
	}
	person := func(id device.PersonID) string {
		if id == device.Household {
			return say["home"]
		}
		if name, ok := x.b.nameOf(id); ok && (x.person == device.Household || id == x.person) {
			return name
		}
		return fmt.Sprint(id)
	}
	screen := func(id device.ID) string {
		if name := x.words.Device(id); name != "" {
			return name
		}
		return string(id)
	}
	brand := func(id device.BrandID) string {
		if name := x.words.Brand(id); name != "" {
			return name
		}
		return string(id)
	}
	table := func(title string, rows [][]string, head ...string) pageTable {
		t := pageTable{Title: say[title], Rows: rows, None: say["nothing"]}
		for _, h := range head {
			t.Head = append(t.Head, say[h])
		}
		return t
	}
	var people, devices, wishes, choices, shown, held, answers, acts, told, learnt [][]string
	for _, p := range x.people() {
		people = append(people, []string{p.Name, p.Age.String(), strings.Join(p.Languages, ", ")})
	}
	for _, dev := range x.theirDevices() {
		devices = append(devices, []string{dev.Name, dev.Class.String(), x.words.Room(dev.Room), person(dev.Owner)})
	}
	p, err := x.wishes()
	if err != nil {
		return err
	}
	for _, m := range p.Mutes {
		wishes = append(wishes, []string{"mute", m.words(), m.Owner, m.Until})
	}
	for _, q := range p.Dim {
		wishes = append(wishes, []string{"dim", q.From + " - " + q.To + " " + strings.Join(q.Days, ", "), q.Owner, ""})
	}
	for _, q := range p.Quiet {
		wishes = append(wishes, []string{"quiet", q.From + " - " + q.To + " " + strings.Join(q.Days, ", "), q.Owner, ""})
	}
	for _, c := range p.Caps {
		wishes = append(wishes, []string{"cap", fmt.Sprintf("%d / %s %s", c.Max, c.Per, c.words()), c.Owner, ""})
	}
	for _, c := range p.Channels {
		var classes []string
		for _, class := range c.Classes {
			classes = append(classes, class.String())
		}
		wishes = append(wishes, []string{"channel", strings.Join(classes, ", "), c.Owner, ""})
	}
	if p.Frozen != nil && *p.Frozen {
		wishes = append(wishes, []string{"frozen", "", "", ""})
	}
	for _, one := range p.People {
		if one.Frozen != nil && *one.Frozen {
			wishes = append(wishes, []string{"frozen", "", one.Name, ""})
		}
	}
	for _, e := range x.choices {
		choices = append(choices, []string{when(e.At), person(e.Subject), brand(e.Brand), e.Purpose.String(), string(e.State), screen(x.named(e.Device)), when(e.Until)})
	}
	for _, dl := range x.deliveries {
		shown = append(shown, []string{when(dl.Claimed), screen(dl.Device), brand(dl.Brand), strings.TrimSpace(dl.Title + " " + dl.Text), dl.Outcome, dl.Why})
	}
	for _, dec := range x.decisions {
		if !dec.Shown {
			held = append(held, []string{when(dec.At), screen(dec.Device), brand(dec.Brand), strings.Join(dec.Words, "; ")})
		}
	}
	for _, a := range x.answers().Messages {
		label := a.Label
		if label == "" {
			label = fmt.Sprint(a.Button)
		}
		answers = append(answers, []string{when(a.At), screen(a.Device), brand(a.Brand), a.Text, label})
	}
	for _, a := range x.answers().Asks {
		answers = append(answers, []string{when(a.At), person(a.Subject), brand(a.Brand), a.Purpose.String(), string(a.Answer)})
	}
	for _, c := range x.told {
		for _, ch := range c.Changes {
			told = append(told, []string{when(ch.At), screen(c.Device), ch.words(x.language, say["unknown"])})
		}
	}
	for _, a := range x.acts {
		about := a.Item
		if a.Brand != "" {
			about = brand(a.Brand)
		}
		acts = append(acts, []string{when(a.At), say[a.What], about, screen(a.Device)})
	}
	lessons, err := x.lessons()
	if err != nil {
		return err
	}
	for _, l := range lessons {
		learnt = append(learnt, []string{words.Learnt(l.lesson(), x.language, x.words)})
	}
	name := x.home.Name
	if x.person != device.Household {
		name = x.called
	}
	seen := table("shown", shown, "when", "where", "brand", "message", "end", "why")
	if x.person != device.Household {
		seen.Note = say["before"]
	}
	flows := table("flows", nil)
	flows.None = say["noflow"]
	return pageTemplate.Execute(w, map[string]any{
		"Language": x.language, "Title": say["title"] + " " + name, "AsOf": say["asof"] + " " + when(x.asOf), "Files": say["files"], "About": say["about"],
		"Tables": []pageTable{
			table("people", people, "name", "age", ""), table("devices", devices, "name", "class", "room", "who"), table("wishes", wishes, "", "", "who", "until"),
			table("choices", choices, "when", "who", "brand", "purpose", "said", "where", "until"),
			seen, table("held", held, "when", "where", "brand", "why"),
			table("answers", answers, "when", "where", "brand", "message", "said"), table("acts", acts, "when", "", "", "where"), table("told", told, "when", "where", "that"), table("learnt", learnt, ""), flows,
		},
	})
}

// words is what a device told, in words that follow "that"; unknown says that it cannot tell any more.
func (ch ContextChange) words(lang, unknown string) string {
	a, _ := device.ParseAttribute(ch.Attribute)
	v, err := a.ValueOf(ch.Value)
	if said := words.Told(a, v, lang); err == nil && said != "" {
		return said
	}
	if ch.Value != nil {
		unknown = fmt.Sprint(ch.Value)
	}
	return words.Attribute(a, lang) + ": " + unknown
}

// words is what a selector picks, in short.
func (s NamedSelector) words() string {
	all := []string{string(s.Brand), s.Category, s.Device, s.Room}
	if s.Purpose != policy.NoPurpose {
		all = append(all, s.Purpose.String())
	}
	if s.Class != 0 {
		all = append(all, s.Class.String())
	}
	return strings.Join(strings.Fields(strings.Join(all, " ")), " ")
}

// lessons are what was learnt, as of the last event.
func (x *exporter) lessons() (all []learnt, err error) {
	t, err := x.d.read(x.tx, x.home.ID)
	if err != nil {
		return nil, err
	}
	deeds, err := deedsOf(x.tx, x.home.ID, x.asOf.Add(-remembered))
	if err != nil {
		return nil, err
	}
	did, _ := reactions(deeds, &x.view, among(x.b.devices), t.forgotten, x.asOf)
	for _, l := range lessons(did, policy.Pauses(did, x.asOf, nil), x.asOf) {
		if x.person == device.Household || l.Person == x.person {
			all = append(all, l)
		}
	}
	return all, nil
}
