package main

import (
	"context"
	_ "embed"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"sync"
)

//go:embed server.cjs
var serverCJS []byte

// packages are what server.cjs needs.
var packages = []string{"express@5", "express-rate-limit@8", "toobusy-js@0.5", "fastify@5", "@fastify/under-pressure@9"}

// node starts server.cjs with one of its limiters.
func node(kind string, numbers ...int) func(context.Context) (*truth, error) {
	return func(ctx context.Context) (*truth, error) {
		dir, err := installed()
		if err != nil {
			return nil, err
		}
		addr, err := freeAddr()
		if err != nil {
			return nil, err
		}
		_, port, err := net.SplitHostPort(addr)
		if err != nil {
			return nil, err
		}
		command := []string{"node", filepath.Join(dir, "server.cjs"), port, kind}
		for _, n := range numbers {
			command = append(command, strconv.Itoa(n))
		}
		t := &truth{url: "http://" + addr, activeAt: "http://" + addr + "/active"}
		if err := t.run(ctx, addr, command...); err != nil {
			t.stop()
			return nil, err
		}
		return t, nil
	}
}

// installed installs the packages once and returns their directory.
var installed = sync.OnceValues(func() (string, error) {
	for _, program := range []string{"node", "npm"} {
		if _, err := exec.LookPath(program); err != nil {
			return "", fmt.Errorf("%s: %w", program, errMissing)
		}
	}
	cache, err := os.UserCacheDir()
	if err != nil {
		return "", err
	}
	dir := filepath.Join(cache, "flashback-go-limiters")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", err
	}
	for name, text := range map[string][]byte{"package.json": []byte(`{"private": true}`), "server.cjs": serverCJS} {
		if err := os.WriteFile(filepath.Join(dir, name), text, 0o600); err != nil {
			return "", err
		}
	}
	npm := exec.Command("npm", append([]string{"install", "--no-save", "--no-package-lock", "--no-audit", "--no-fund", "--prefer-offline"}, packages...)...) //nolint:gosec // Nobody else chooses these.
	npm.Dir = dir
	if output, err := npm.CombinedOutput(); err != nil {
		return "", fmt.Errorf("npm packages: %w: npm install: %w\n%s", errMissing, err, output)
	}
	return dir, nil
})
