//go:build !race

package delivery

const raced = false // see raced_test.go
