package words

import (
	"maps"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"porchlight/device"
	"porchlight/policy"
)

// pressing is words that shame, hurry, praise or plead: none may stand in a question.
var pressing = map[string]string{
	"en": "sure really sorry shame unfortunately miss missing hurry now today last chance limited only free best better great enjoy exclusive recommended please thanks lose without must need should want",
	"de": "sicher wirklich leider schade verpassen verpasst schnell jetzt heute letzte chance nur gratis kostenlos beste besser toll exklusiv empfohlen bitte danke verlieren verzichten ohne müssen sollten",
	"fr": "sûr vraiment dommage malheureusement manquer ratez vite maintenant dernière chance seulement gratuit gratuite meilleur mieux profitez exclusif recommandé merci perdre sans devez",
	"es": "seguro realmente lástima lamentablemente pierda perder rápido ahora hoy última oportunidad solo gratis mejor disfrute exclusivo recomendado gracias sin debe",
}

func TestAskText(t *testing.T) {
	until := device.At(time.Date(2027, 9, 30, 12, 0, 0, 0, time.UTC))
	var every []string
	for _, term := range slices.Sorted(maps.Keys(data)) {
		every = append(every, "pd:"+term)
	}
	notices := map[string][]string{"none": nil, "two": {"pd:Name", "pd:Interest"}, "unknown": {"pd:Zzz", "pd:Name", "pd:Yyy"}, "every": every}
	brands := []string{"Zorro", "", strings.Repeat("Zorro ", 10) + "Zeta", strings.Repeat("Ж", 64), "a\nb"}
	for _, lang := range Languages() {
		for _, tiny := range []bool{false, true} {
			for i, brand := range brands {
				for _, p := range purposes {
					if i > 0 && p != policy.Service && p != policy.Personalised { // the longest
						continue
					}
					for notice, terms := range notices {
						for _, end := range []device.Instant{0, until} {
							text, more, say, _ := AskText(device.TV, tiny, brand, p, terms, end, lang)
							if bad := asked(in(lang), tiny, brand, p, notice, end != 0, text, more, say); bad != "" {
								t.Fatalf("%s tiny=%v %q %s %s %s: %s\ntext %q\nmore %q\nsay  %q", lang, tiny, brand, p, notice, end, bad, text, more, say)
							}
						}
					}
				}
			}
		}
	}
}

// asked says what is wrong with the words of a question; "" if nothing is.
func asked(l *language, tiny bool, brand string, p policy.Purpose, notice string, ends bool, text, more, say string) string {
	most := 140
	if tiny {
		most = 80
	}
	switch {
	case utf8.RuneCountInString(text) > most || len(text) > 512:
		return "the text is too long"
	case utf8.RuneCountInString(say) > 200:
		return "it takes too long to say"
	case len(more) > 512:
		return "the second layer is too long"
	case !strings.Contains(more, l.purpose(p).name):
		return "the second layer does not say what for"
	case notice == "two" && (!strings.Contains(more, l.data("Name")) || !strings.Contains(more, l.data("Interest"))):
		return "the second layer does not say what data"
	case brand == "Zorro" && notice == "none" && !strings.Contains(text, l.noData):
		return "the text does not say that no data is used"
	}
	for _, s := range []string{text, more, say} {
		if brand == "Zorro" {
			if bad := flaws(l.tag, s); len(bad) > 0 {
				return strings.Join(bad, ", ")
			}
			if !strings.Contains(s, brand) {
				return "it does not say who asks"
			}
		}
		if strings.Contains(s, "2027") != ends {
			return "it does not say until when"
		}
		if strings.ContainsAny(s, "\n{}") || strings.Contains(s, "  ") {
			return "it has a hole"
		}
		for _, w := range tokens(s) {
			if slices.Contains(strings.Fields(pressing[l.tag]), w) {
				return "it presses: " + w
			}
		}
	}
	return ""
}

func TestAskControls(t *testing.T) {
	for _, lang := range Languages() {
		for _, class := range classes {
			for _, tiny := range []bool{false, true} {
				_, _, _, controls := AskText(class, tiny, "Zorro", policy.Marketing, nil, 0, lang)
				fine(t, lang, controls)
				want := []uint8{1, 2, 3}
				switch {
				case class == device.Speaker:
					want = []uint8{1, 2}
				case tiny:
					want = []uint8{1, 2, 4}
				}
				if got := slices.Sorted(maps.Keys(controls)); !slices.Equal(got, want) {
					t.Errorf("%s %s tiny=%v: controls %v, want %v", lang, class, tiny, got, want)
				}
			}
		}
	}
}

// fine checks the labels: saying no takes no longer than saying yes.
func fine(t *testing.T, lang string, controls map[uint8]string) {
	t.Helper()
	for id, label := range controls {
		if id < 1 || id > 4 || label == "" || len(label) > 32 || len(flaws(lang, label)) > 0 && label != "Yes" {
			t.Errorf("%s: control %d is %q", lang, id, label)
		}
	}
	yes, no := utf8.RuneCountInString(controls[1]), utf8.RuneCountInString(controls[2])
	if yes == 0 || no == 0 || max(yes, no)-min(yes, no) > 3 {
		t.Errorf("%s: %q and %q are not of one size", lang, controls[1], controls[2])
	}
}

func TestAskGolden(t *testing.T) {
	until := device.At(time.Date(2027, 3, 3, 12, 0, 0, 0, time.UTC))
	terms := []string{"pd:Name", "pd:Interest"}
	want := map[string][3]string{
		"en": {"Do you allow offers from Zorro until 3 March 2027? Data used: name and interests.",
			"Zorro: allow offers until 3 Mar 2027? Data: name and interests.",
			"Zorro asks whether you allow offers until 3 March 2027; data used: name and interests. Yes or no?"},
		"de": {"Erlauben Sie Angebote von Zorro bis 3. März 2027? Genutzte Daten: Name und Interessen.",
			"Zorro: Angebote bis 03.03.2027 erlauben? Daten: Name und Interessen.",
			"Zorro fragt, ob Sie Angebote bis 3. März 2027 erlauben; genutzte Daten: Name und Interessen. Ja oder nein?"},
		"fr": {"Autorisez-vous les offres envoyées par Zorro jusqu'au 3 mars 2027\u00a0? Données utilisées\u00a0: nom et centres d'intérêt.",
			"Zorro\u00a0: offres jusqu'au 03/03/2027\u00a0? Données\u00a0: nom et centres d'intérêt.",
			"Zorro demande si vous autorisez les offres jusqu'au 3 mars 2027\u00a0; données utilisées\u00a0: nom et centres d'intérêt. Oui ou non\u00a0?"},
		"es": {"¿Permite las ofertas de Zorro hasta el 3 de marzo de 2027? Datos usados: nombre e intereses.",
			"Zorro: ¿permitir las ofertas hasta el 03/03/2027? Datos: nombre e intereses.",
			"Zorro pregunta si usted permite las ofertas hasta el 3 de marzo de 2027; datos usados: nombre e intereses. ¿Sí o no?"},
	}
	for lang, w := range want {
		text, _, say, _ := AskText(device.TV, false, "Zorro", policy.Marketing, terms, until, lang)
		tiny, _, _, _ := AskText(device.Washer, true, "Zorro", policy.Marketing, terms, until, lang)
		for i, got := range []string{text, tiny, say} {
			if got != w[i] {
				t.Errorf("%s:\ngot  %q\nwant %q", lang, got, w[i])
			}
		}
	}
	_, more, _, _ := AskText(device.TV, false, "Zorro", policy.Marketing, terms, until, "en")
	if want := "Who asks: Zorro. What for: offers. Data used: name and interests. A yes is good until 3 March 2027. Nothing else at home depends on the answer. " +
		"A yes can be taken back at any time, on any screen of the home."; more != want {
		t.Errorf("got  %q\nwant %q", more, want)
	}
}
