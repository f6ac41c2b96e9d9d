package policy

import (
	"errors"
	"fmt"
	"regexp"
	"strings"
)

// Match is what must hold of a container, all of it. The empty Match holds of
// every one.
type Match []Pattern

// Pattern is a glob on something that does not change while a container lives:
// * stands for any text, ? for one character.
type Pattern struct {
	Not  bool
	What string // label, name, image or engine
	Key  string // of the label
	Glob string
	glob *regexp.Regexp
	text string
}

// parsePattern reads label=role=ci, label=role, name=web-*, image=postgres* or
// engine=podman, with ! before it for not.
func parsePattern(text string) (p Pattern, err error) {
	p.text = text
	rest, not := strings.CutPrefix(text, "!")
	p.Not = not
	what, value, ok := strings.Cut(rest, "=")
	p.What = strings.TrimSpace(what)
	p.Glob = value
	switch {
	case !ok:
		return p, fmt.Errorf("%q has no =: label=KEY=VALUE, name=, image= or engine=", text)
	case p.What == "label":
		key, glob, hasValue := strings.Cut(value, "=")
		if key == "" {
			return p, fmt.Errorf("%q names no label", text)
		}
		if p.Key, p.Glob = key, glob; !hasValue {
			p.Glob = "*"
		}
	case p.What != "name" && p.What != "image" && p.What != "engine":
		return p, fmt.Errorf("%q: there are label=, name=, image= and engine=%s", text, likely(p.What, []string{"label", "name", "image", "engine"}))
	case value == "":
		return p, errors.New(`"` + text + `" matches nothing`)
	}
	glob := regexp.QuoteMeta(p.Glob)
	glob = strings.ReplaceAll(strings.ReplaceAll(glob, `\*`, `.*`), `\?`, `.`)
	p.glob, err = regexp.Compile(`(?s)^` + glob + `$`)
	return p, err
}

// literal tells whether the pattern stands for one text alone.
func (p *Pattern) literal() bool { return !p.Not && !strings.ContainsAny(p.Glob, "*?") }

func (p *Pattern) holds(c *Container) bool {
	text, there := "", true
	switch p.What {
	case "label":
		text, there = c.Labels[p.Key]
	case "name":
		text = c.Name
	case "image":
		text = c.Image
	case "engine":
		text = c.Engine
	}
	return (there && p.glob.MatchString(text)) != p.Not
}

func (m Match) holds(c *Container) bool {
	for i := range m {
		if !m[i].holds(c) {
			return false
		}
	}
	return true
}

func (m Match) String() string {
	texts := make([]string, len(m))
	for i := range m {
		texts[i] = m[i].text
	}
	return strings.Join(texts, " and ")
}

// apart tells whether no container can match both.
func (m Match) apart(other Match) bool {
	for i := range m {
		for j := range other {
			if m[i].excludes(&other[j]) {
				return true
			}
		}
	}
	return false
}

// excludes tells whether no container can match both patterns.
func (p *Pattern) excludes(other *Pattern) bool {
	if p.What != other.What || p.Key != other.Key {
		return false
	}
	switch {
	case p.literal() && other.literal():
		return p.Glob != other.Glob
	case p.literal():
		return other.glob.MatchString(p.Glob) == other.Not
	case other.literal():
		return p.glob.MatchString(other.Glob) == p.Not
	}
	return p.Glob == other.Glob && p.Not != other.Not
}

// likely suggests the word that was meant.
func likely(word string, known []string) string {
	best, distance := "", 3
	for _, candidate := range known {
		if d := editDistance(word, candidate); d < distance {
			best, distance = candidate, d
		}
	}
	if best == "" {
		return ""
	}
	return fmt.Sprintf("; did you mean %q?", best)
}

// editDistance is how many characters must be put in, taken out or changed.
func editDistance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			change := diagonal
			if a[i] != b[j] {
				change++
			}
			diagonal, row[j+1] = row[j+1], min(change, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}
