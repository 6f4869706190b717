package policy

// Nearest is the one of the words that looks most like word, or "" if none comes close.
func Nearest(word string, words []string) string {
	best, least := "", len(word)/2+1
	for _, w := range words {
		if d := distance(word, w); d < least {
			best, least = w, d
		}
	}
	return best
}
