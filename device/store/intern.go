package store

import "unique"

// Intern is s, kept once however many rows it is read from: the names of brands, devices and categories
// are few, and the rows that name them are many.
func Intern[S ~string](s S) S { return S(unique.Make(string(s)).Value()) }
