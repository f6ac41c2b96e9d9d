package main

import (
	"crypto/sha256"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"winnow/tools/internal/cli"
)

// tokensEvery is how old what is known of the files may be: so soon a token that is new counts, and one that was taken
// away does no more.
const tokensEvery = 5 * time.Second

// hostTokens are the tokens of single hosts: each has a file in dir that is named like the host. Who has one may post the
// lines of that host, and nothing else.
type hostTokens struct {
	dir  string
	warn func(format string, a ...any)

	mu    sync.Mutex
	read  time.Time
	hosts map[[sha256.Size]byte]string // by the token's sum, so that looking one up tells nothing of others
	said  map[string]bool              // files that were told of
}

func newHostTokens(dir string, warn func(string, ...any)) *hostTokens {
	return &hostTokens{dir: dir, warn: warn, said: map[string]bool{}}
}

// host is whose token it is, "" where it is nobody's.
func (h *hostTokens) host(token string) string {
	h.mu.Lock()
	defer h.mu.Unlock()
	if now := time.Now(); now.Sub(h.read) >= tokensEvery {
		h.read = now
		h.load()
	}
	return h.hosts[sha256.Sum256([]byte(token))]
}

// load reads the files anew. What is no token, or that of two hosts, is told once and nobody's.
func (h *hostTokens) load() {
	files, err := os.ReadDir(h.dir)
	if err != nil {
		h.tell(h.dir, "--host-tokens: %v: no host may post", err)
	}
	h.hosts = make(map[[sha256.Size]byte]string, len(files))
	doubled := map[[sha256.Size]byte]bool{}
	for _, f := range files {
		name := f.Name()
		path := filepath.Join(h.dir, name)
		if strings.HasPrefix(name, ".") {
			continue
		}
		token, err := cli.ReadToken(path) // through a link, too, as secrets are often mounted
		if err != nil {
			h.tell(path, "--host-tokens: %v", err)
			continue
		}
		sum := sha256.Sum256([]byte(token))
		if _, has := h.hosts[sum]; has || doubled[sum] {
			h.tell(path, "--host-tokens: %s has another host's token: it is nobody's until each has its own", path)
			doubled[sum] = true
			delete(h.hosts, sum)
			continue
		}
		h.hosts[sum] = name
	}
}

func (h *hostTokens) tell(path, format string, a ...any) {
	if !h.said[path] {
		h.said[path] = true
		h.warn("%s", fmt.Sprintf(format, a...))
	}
}
