package main

import "fmt"

// servers are the peers that are Go modules: each runs as a process of its own, which is this program again.
var servers = map[string]func(arg []string) error{}

func servePeer(arg []string) error {
	if len(arg) == 0 || servers[arg[0]] == nil {
		return fmt.Errorf("serve: which peer?")
	}
	return servers[arg[0]](arg[1:])
}
