package cli

import (
	"fmt"
	"os"
	"strings"
)

// minToken is the shortest token that is taken for one.
const minToken = 16

// Token reads the one word that the file holds. A file that anyone can read is
// named and serves all the same: where others are kept out otherwise, as in a
// container, it is no fault.
func (t *Tool) Token(path string) (string, error) {
	token, err := ReadToken(path)
	if err != nil {
		return "", err
	}
	if is, err := os.Stat(path); err == nil && is.Mode()&0o004 != 0 {
		t.Warn("%s: anyone on this machine can read it: chmod 600", path)
	}
	return token, nil
}

// ReadToken is Token without a word.
func ReadToken(path string) (string, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return "", err
	}
	token := strings.TrimSpace(string(text))
	if strings.ContainsFunc(token, func(r rune) bool { return r <= ' ' || r >= 0x7f }) {
		return "", fmt.Errorf("%s: not a token: one word of ASCII characters", path)
	}
	if len(token) < minToken {
		return "", fmt.Errorf("%s: not a token: it has at least %d characters", path, minToken)
	}
	return token, nil
}
