package main

import (
	"context"
	"database/sql"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"os"
	"slices"
	"strings"

	"github.com/riverqueue/river"
	"riverqueue.com/riverui"
)

// servePage serves River's page at an address, until it is closed.
func servePage(ctx context.Context, address string, client *river.Client[*sql.Tx], logger *slog.Logger) (closePage func(), err error) {
	ui, err := riverui.NewHandler(&riverui.HandlerOpts{Endpoints: riverui.NewEndpoints(client, nil), Logger: logger})
	if err != nil {
		return nil, err
	}
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", address)
	if err != nil {
		return nil, fmt.Errorf("--ui: %w", err)
	}
	server := &http.Server{Handler: ownHost(address, http.NewCrossOriginProtection().Handler(ui)), ReadHeaderTimeout: jobTimeout}
	go func() { _ = server.Serve(listener) }() // until it is closed
	return func() { _ = server.Close() }, ui.Start(ctx)
}

// ownHost answers only for this machine's names and for IP addresses: a page elsewhere whose
// name points to this machine is of the same origin to a browser.
func ownHost(address string, next http.Handler) http.Handler {
	given, _, _ := net.SplitHostPort(address)
	machine, _ := os.Hostname() // "" allows nothing more
	own := []string{"localhost", strings.ToLower(given), strings.ToLower(machine)}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		host, _, err := net.SplitHostPort(r.Host)
		if err != nil {
			host = r.Host
		}
		host = strings.ToLower(strings.Trim(host, "[]"))
		if _, err := netip.ParseAddr(host); host == "" || err != nil && !slices.Contains(own, host) {
			http.Error(w, "This page does not answer for this host name.", http.StatusMisdirectedRequest)
			return
		}
		next.ServeHTTP(w, r)
	})
}
