package main

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// openGateway runs the gateway on a data folder, on any core, and waits until it says that it is ready: took is
// from exec to the first good answer of /readyz, which is asked from the first moment that somebody listens there.
// Nobody learns: the generator's people answer nothing, ever, and a gateway that learns would give them silence.
func openGateway(ctx context.Context, s setting, data string) (g *gateway, took time.Duration, err error) {
	at, err := loopbackPorts(3)
	if err != nil {
		return nil, 0, err
	}
	g = &gateway{broker: broker{plain: at[0]}, http: at[1], metrics: at[2], data: data}
	config := filepath.Join(data, "bench.yaml")
	if err := os.WriteFile(config, fmt.Appendf(nil, strings.Replace(gatewayConfig, "delivery: {", "delivery: {learner: off, ", 1)+"log: {level: warn}\n", g.plain, `""`, g.http, g.metrics), 0o600); err != nil {
		return nil, 0, err
	}
	began := time.Now()
	if g.process, err = start("the gateway", s.gateway, "--data", data, "serve", "--config", config); err != nil {
		return nil, 0, err
	}
	if err := g.ready(ctx, "http://"+g.http+"/readyz"); err != nil {
		g.stop()
		return nil, 0, err
	}
	took = time.Since(began)
	g.operator = &http.Client{Timeout: 2 * time.Minute, Transport: &http.Transport{MaxIdleConnsPerHost: 64, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", filepath.Join(data, "porchlight.sock"))
	}}}
	return g, took, nil
}

// ready waits until a GET is answered with 200.
func (p *process) ready(ctx context.Context, url string) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	client := &http.Client{Transport: &http.Transport{}}
	defer client.CloseIdleConnections()
	for {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
		if err != nil {
			return err
		}
		resp, err := client.Do(req)
		if err == nil {
			_, err = io.Copy(io.Discard, resp.Body)
			resp.Body.Close()
		}
		if err == nil && resp.StatusCode == http.StatusOK {
			return nil
		}
		select {
		case <-p.done:
			return fmt.Errorf("%s has ended: %s", p.name, p.said.String())
		case <-ctx.Done():
			return fmt.Errorf("%s does not answer %s: %s", p.name, url, p.said.String())
		case <-time.After(200 * time.Microsecond):
		}
	}
}
