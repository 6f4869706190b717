package policy

import "strings"

// What a message is about is the brand's own word: a category, 1 to 32 characters of a-z, 0-9 and
// hyphen. Two lists of words are kept here. A category is on a list if it is one of its words, or
// its first part up to a hyphen is: "health-insurance" is as sensitive as "health".

// sensitiveWords are about what the law, or plain decency, keeps between a person and those whom
// they choose to tell (GDPR article 9, and money): shown only where one adult sees it.
var sensitiveWords = map[string]bool{
	"health": true, "medicine": true, "pharmacy": true, "pregnancy": true, "fertility": true, "disability": true, "therapy": true,
	"genetics": true, "biometrics": true,
	"religion": true, "belief": true, "politics": true, "political": true, "union": true,
	"sexuality": true, "sex": true, "gender": true, "ethnicity": true, "race": true, "origin": true,
	"crime": true, "debt": true, "credit": true, "finance-debt": true, "bankruptcy": true, "insolvency": true,
}

// floorWords are not for children, and so not for a place where one is or may be.
var floorWords = map[string]bool{
	"alcohol": true, "beer": true, "wine": true, "spirits": true, "tobacco": true, "vaping": true, "cannabis": true, "drugs": true,
	"gambling": true, "betting": true, "lottery": true, "casino": true,
	"dating": true, "adult": true, "erotic": true, "sex": true,
	"weapons": true, "guns": true, "violence": true, "horror": true, "fireworks": true,
	"diet": true, "slimming": true, "cosmetic-surgery": true, "loans": true,
}

// listed reports whether a category is on a list.
func listed(words map[string]bool, category string) bool {
	if words[category] {
		return true
	}
	first, _, more := strings.Cut(category, "-")
	return more && words[first]
}
