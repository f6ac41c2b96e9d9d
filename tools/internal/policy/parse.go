package policy

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/pelletier/go-toml/v2"
	"github.com/pelletier/go-toml/v2/unstable"

	"winnow/tools/internal/record"
)

// version is the one of the policy files that this package reads.
const version = 1

// TTLRule is the name of the rule that a container's own label winnow.ttl makes.
const TTLRule = "winnow.ttl"

// The defaults of a file and of the flags.
const (
	DefaultHighCPU    = 50.0 // percent of a core
	DefaultHighMemory = 10.0 // percent of the host
	DefaultSpan       = 5 * time.Second
	DefaultGap        = 2 * time.Minute
)

// DefaultClass is the one that nothing else says.
var DefaultClass = Class{CPU: DefaultHighCPU, Memory: Amount{Percent: DefaultHighMemory}}

// scalar is a value of a file as it is written there. What it must be is said by
// who reads it, in the words of the key.
type scalar string

func (s *scalar) UnmarshalText(text []byte) error {
	*s = scalar(text)
	return nil
}

// file is a policy file as it stands.
type file struct {
	Version scalar    `toml:"version"`
	Mode    scalar    `toml:"mode"` // of rules that name none
	Class   fileClass `toml:"class"`
	Limits  struct {
		Most scalar `toml:"most"`
		Gap  scalar `toml:"gap"`
	} `toml:"limits"`
	Protect []struct {
		Match []string `toml:"match"`
	} `toml:"protect"`
	Rules []fileRule `toml:"rule"`
	TTL   fileTTL    `toml:"ttl"`
}

type fileClass struct {
	HighCPU    scalar `toml:"high_cpu"`
	HighMemory scalar `toml:"high_memory"`
}

// fileTTL is how the label winnow.ttl is carried out.
type fileTTL struct {
	Mode   scalar `toml:"mode"`
	Notice scalar `toml:"notice"`
	Grace  scalar `toml:"grace"`
}

type fileRule struct {
	Name               scalar   `toml:"name"`
	Mode               scalar   `toml:"mode"`
	Match              []string `toml:"match"`
	Class              scalar   `toml:"class"`
	CPU                scalar   `toml:"cpu"`
	Memory             scalar   `toml:"memory"`
	Age                scalar   `toml:"age"`
	HostAvailable      scalar   `toml:"host_available"`
	HostMemoryPressure scalar   `toml:"host_memory_pressure"`
	HostCPUPressure    scalar   `toml:"host_cpu_pressure"`
	HostIOPressure     scalar   `toml:"host_io_pressure"`
	HostMemoryStall    scalar   `toml:"host_memory_stall"`
	HostCPUStall       scalar   `toml:"host_cpu_stall"`
	HostIOStall        scalar   `toml:"host_io_stall"`
	Cause              scalar   `toml:"cause"`
	For                scalar   `toml:"for"`
	Forgive            scalar   `toml:"forgive"`
	Per                scalar   `toml:"per"`
	Keep               scalar   `toml:"keep"`
	KeepMemory         scalar   `toml:"keep_memory"`
	KeepCPU            scalar   `toml:"keep_cpu"`
	Order              scalar   `toml:"order"`
	Notice             scalar   `toml:"notice"`
	Hours              scalar   `toml:"hours"`
	Most               scalar   `toml:"most"`
	Grace              scalar   `toml:"grace"`
	Then               scalar   `toml:"then"`
}

// Error is one thing that is wrong with a policy file.
type Error struct {
	Line, Column int // from 1
	Text         string
}

func (e *Error) Error() string { return fmt.Sprintf("%d:%d: %s", e.Line, e.Column, e.Text) }

// Parse reads a policy file; class is for one that names none. Its error is the
// join of an *Error for each thing that is wrong.
func Parse(text []byte, class Class) (*Policy, error) {
	var f file
	var unknown *toml.StrictMissingError
	err := toml.NewDecoder(bytes.NewReader(text)).DisallowUnknownFields().Decode(&f)
	if err != nil && !errors.As(err, &unknown) {
		return nil, inWords(err)
	}
	b := builder{places: findPlaces(text), policy: &Policy{
		Class: class, Span: DefaultSpan, Gap: DefaultGap}}
	b.unknown(unknown)
	b.build(&f)
	slices.SortStableFunc(b.wrong, func(x, y *Error) int { return cmp.Or(x.Line-y.Line, x.Column-y.Column) })
	var all []error
	for _, one := range b.wrong {
		all = append(all, one)
	}
	if err := errors.Join(all...); err != nil {
		return nil, err
	}
	return b.policy, nil
}

// unknown notes the keys that there are not, with a likely spelling.
func (b *builder) unknown(err *toml.StrictMissingError) {
	if err == nil {
		return
	}
	for i := range err.Errors {
		line, column := err.Errors[i].Position()
		key := err.Errors[i].Key()
		b.wrong = append(b.wrong, &Error{line, column, fmt.Sprintf("unknown key %q%s", strings.Join(key, "."), likely(key[len(key)-1], keysOf(key)))})
	}
}

// inWords says where the library gave up, without its words on Go's types.
func inWords(err error) error {
	var wrong *toml.DecodeError
	if !errors.As(err, &wrong) {
		return err
	}
	line, column := wrong.Position()
	text := strings.TrimPrefix(wrong.Error(), "toml: ")
	if strings.Contains(text, "cannot decode TOML") || strings.Contains(text, "cannot store") {
		text = fmt.Sprintf("%q does not take a value of this kind", strings.Join(wrong.Key(), "."))
	}
	return &Error{line, column, text}
}

// keysOf are those of the table that a key is in.
func keysOf(key []string) []string {
	t := reflect.TypeFor[file]()
	for _, part := range key[:len(key)-1] {
		for i := range t.NumField() {
			if f := t.Field(i); f.Tag.Get("toml") == part {
				if t = f.Type; t.Kind() == reflect.Slice {
					t = t.Elem()
				}
				break
			}
		}
		if t.Kind() != reflect.Struct {
			return nil
		}
	}
	var keys []string
	for i := range t.NumField() {
		keys = append(keys, t.Field(i).Tag.Get("toml"))
	}
	return keys
}

// place is where in a file something stands.
type place struct{ line, column int }

// findPlaces maps keys such as rule.0.cpu to where they are.
func findPlaces(text []byte) map[string]place {
	places := make(map[string]place)
	counts := make(map[string]int)
	prefix := ""
	var p unstable.Parser
	p.Reset(text)
	for p.NextExpression() {
		e := p.Expression()
		var parts []string
		var at unstable.Range
		for it := e.Key(); it.Next(); {
			if at.Length == 0 {
				at = it.Node().Raw
			}
			parts = append(parts, string(it.Node().Data))
		}
		if len(parts) == 0 {
			continue
		}
		start := p.Shape(at).Start
		name := strings.Join(parts, ".")
		switch e.Kind {
		case unstable.Table:
			prefix = name + "."
		case unstable.ArrayTable:
			name = fmt.Sprintf("%s.%d", name, counts[name])
			counts[strings.Join(parts, ".")]++
			prefix = name + "."
		case unstable.KeyValue:
			name = prefix + name
		}
		places[name] = place{start.Line, start.Column}
	}
	return places
}

// builder makes a policy of a file, and notes all that is wrong with it.
type builder struct {
	places map[string]place
	policy *Policy
	wrong  []*Error
	prefix string // of the table at hand
}

// fail notes what is wrong with a key of the table at hand, or with the table.
func (b *builder) fail(key string, err error) {
	if err == nil {
		return
	}
	at, ok := b.places[b.prefix+key]
	if !ok {
		at, ok = b.places[strings.TrimSuffix(b.prefix, ".")]
	}
	if !ok {
		at = place{1, 1}
	}
	text := err.Error()
	if key != "" {
		text = key + ": " + text
	}
	b.wrong = append(b.wrong, &Error{at.line, at.column, text})
}

// read reads a key's value where the file has it.
func read[T any](b *builder, key string, from scalar, to *T, parse func(string) (T, error)) {
	if _, there := b.places[b.prefix+key]; !there && from == "" {
		return
	}
	value, err := parse(string(from))
	if err != nil {
		b.fail(key, err)
		return
	}
	*to = value
}

// oneOf reads a word of a list.
func oneOf(words ...string) func(string) (string, error) {
	return func(text string) (string, error) {
		if !slices.Contains(words, text) {
			return "", fmt.Errorf("%q is not one of %s%s", text, strings.Join(words, ", "), likely(text, words))
		}
		return text, nil
	}
}

func parseCount(text string) (int, error) {
	n, err := strconv.Atoi(text)
	if err != nil || n < 0 || n > 1_000_000 {
		return 0, fmt.Errorf("%q is not a number from 0 up", text)
	}
	return n, nil
}

func pointer[T any](parse func(string) (T, error)) func(string) (*T, error) {
	return func(text string) (*T, error) {
		value, err := parse(text)
		return &value, err
	}
}

func (b *builder) build(f *file) {
	p := b.policy
	if f.Version == "" {
		b.fail("", errors.New("no version = 1"))
	} else if n, err := strconv.Atoi(string(f.Version)); err != nil || n < 1 {
		b.fail("version", fmt.Errorf("%q is no version such as 1", f.Version))
	} else if n > version {
		b.fail("version", fmt.Errorf("%d is newer than %d, the newest that this winnow reads", n, version))
	}
	mode := ModeEnforce
	read(b, "mode", f.Mode, &mode, oneOf(ModeEnforce, ModeDry))
	b.prefix = "class."
	read(b, "high_cpu", f.Class.HighCPU, &p.Class.CPU, above0(ParseShare))
	read(b, "high_memory", f.Class.HighMemory, &p.Class.Memory, parseAmount)
	if a := p.Class.Memory; a.Percent > 100 || a.Percent == 0 && a.KB == 0 {
		b.fail("high_memory", errors.New("must be above 0, and at most 100%"))
	}
	b.prefix = "limits."
	read(b, "most", f.Limits.Most, &p.Most, parseMost)
	read(b, "gap", f.Limits.Gap, &p.Gap, above0(record.ParseDuration))
	for i := range f.Protect {
		b.prefix = fmt.Sprintf("protect.%d.", i)
		match := b.match(f.Protect[i].Match)
		if len(match) == 0 {
			b.fail("", errors.New("protects nothing: it has no match"))
		}
		p.Protect = append(p.Protect, match)
	}
	for i := range f.Rules {
		b.prefix = fmt.Sprintf("rule.%d.", i)
		b.rule(&f.Rules[i], i, mode)
	}
	if len(f.Rules) == 0 && f.TTL == (fileTTL{}) {
		b.prefix = ""
		b.fail("", errors.New("there is no rule"))
	}
	b.prefix = "ttl."
	ttl := Rule{Name: TTLRule, Mode: mode, TTL: true, Order: "oldest"}
	read(b, "mode", f.TTL.Mode, &ttl.Mode, oneOf(ModeEnforce, ModeDry))
	read(b, "notice", f.TTL.Notice, &ttl.Notice, record.ParseDuration)
	read(b, "grace", f.TTL.Grace, &ttl.Grace, pointer(record.ParseDuration))
	p.Rules = append(p.Rules, ttl)
	p.ready()
}

func above0[T float64 | time.Duration](parse func(string) (T, error)) func(string) (T, error) {
	return func(text string) (T, error) {
		value, err := parse(text)
		if err == nil && value <= 0 {
			err = errors.New("must be above 0")
		}
		return value, err
	}
}

func (b *builder) match(texts []string) Match {
	var match Match
	for _, text := range texts {
		pattern, err := parsePattern(text)
		b.fail("match", err)
		match = append(match, pattern)
	}
	return match
}

func (b *builder) rule(f *fileRule, n int, mode string) {
	r := Rule{Name: strconv.Itoa(n + 1), Mode: mode, Order: "heaviest"}
	read(b, "name", f.Name, &r.Name, b.newName)
	read(b, "mode", f.Mode, &r.Mode, oneOf(ModeEnforce, ModeDry))
	r.Match = b.match(f.Match)
	read(b, "class", f.Class, &r.Class, oneOf(record.ClassLow, record.ClassHigh))
	read(b, "cause", f.Cause, &r.Cause, oneOf(record.CauseClock, record.CauseAvailable, record.CausePressure))
	for _, c := range []struct {
		key  string
		text scalar
	}{
		{"cpu", f.CPU}, {"memory", f.Memory}, {"age", f.Age}, {"host_available", f.HostAvailable},
		{"host_memory_pressure", f.HostMemoryPressure}, {"host_cpu_pressure", f.HostCPUPressure}, {"host_io_pressure", f.HostIOPressure},
		{"host_memory_stall", f.HostMemoryStall}, {"host_cpu_stall", f.HostCPUStall}, {"host_io_stall", f.HostIOStall},
	} {
		var condition Condition
		read(b, c.key, c.text, &condition, func(text string) (Condition, error) { return parseCondition(c.key, text) })
		if condition.Key != "" {
			r.Conditions = append(r.Conditions, condition)
		}
	}
	read(b, "hours", f.Hours, &r.Hours, parseHours)
	read(b, "for", f.For, &r.For, record.ParseDuration)
	read(b, "forgive", f.Forgive, &r.Forgive, record.ParseDuration)
	read(b, "per", f.Per, &r.Per, parsePer)
	read(b, "keep", f.Keep, &r.Keep, parseCount)
	read(b, "keep_memory", f.KeepMemory, &r.KeepMemory, pointer(parseAmount))
	var cpu float64
	if read(b, "keep_cpu", f.KeepCPU, &cpu, ParseShare); f.KeepCPU != "" {
		r.KeepCPU = &Amount{Percent: cpu}
	}
	read(b, "order", f.Order, &r.Order, oneOf(orders...))
	read(b, "notice", f.Notice, &r.Notice, record.ParseDuration)
	read(b, "most", f.Most, &r.Most, parseMost)
	read(b, "grace", f.Grace, &r.Grace, pointer(record.ParseDuration))
	then := record.VerdictKill
	read(b, "then", f.Then, &then, oneOf(record.VerdictKill))
	b.sense(f, &r)
	b.policy.Rules = append(b.policy.Rules, r)
}

// newName reads a name that no other rule has.
func (b *builder) newName(text string) (string, error) {
	if text == "" || len(text) > 60 || strings.ContainsFunc(text, func(r rune) bool { return r < ' ' || r == 0x7f }) {
		return "", fmt.Errorf("%q is no name of 1 to 60 characters", text)
	}
	taken := func(r Rule) bool { return r.Name == text }
	if text == TTLRule || slices.ContainsFunc(b.policy.Rules, taken) {
		return "", fmt.Errorf("there is another rule %q", text)
	}
	return text, nil
}

func parsePer(text string) (string, error) {
	if key, ok := strings.CutPrefix(text, "label="); text != "image" && (!ok || key == "" || strings.Contains(key, "=")) {
		return "", fmt.Errorf(`%q is neither label=KEY nor image`, text)
	}
	return text, nil
}

// sense refuses what does nothing, and a rule that can never hold.
func (b *builder) sense(f *fileRule, r *Rule) {
	never := func(key, why string, with ...any) {
		b.fail(key, fmt.Errorf("rule %q can never hold: "+why, append([]any{r.Name}, with...)...))
	}
	if f.Per != "" && f.Keep+f.KeepMemory+f.KeepCPU == "" {
		b.fail("per", errors.New("groups tell nothing apart without keep, keep_memory or keep_cpu"))
	}
	if f.Forgive != "" && r.For == 0 && r.Notice == 0 {
		b.fail("forgive", errors.New("there is nothing to forgive without for or notice"))
	}
	for i := range r.Conditions {
		c := &r.Conditions[i]
		if c.Key == "age" && c.Below && c.Value <= (r.For+r.Notice).Seconds() {
			never("age", "after %s of for and notice it is older", span(r.For+r.Notice))
		}
		if r.Class == record.ClassLow && !c.Below && (c.Key == "cpu" && c.Unit == ofCore && c.Value >= b.policy.Class.CPU || c.Key == "memory" && beyond(c, b.policy.Class.Memory)) {
			never(c.Key, "a container of class low uses less than that")
		}
	}
	if r.Match.apart(r.Match) {
		never("match", "it excludes itself")
	}
	for _, protected := range b.policy.Protect {
		covered := func(p Pattern) bool {
			return slices.ContainsFunc(r.Match, func(q Pattern) bool { return q.text == p.text })
		}
		if len(protected) > 0 && !slices.ContainsFunc(protected, func(p Pattern) bool { return !covered(p) }) {
			never("match", "all that it matches is protected")
		}
	}
}

// beyond tells whether all that is above the condition's figure has reached the
// threshold, as far as their units tell.
func beyond(c *Condition, threshold Amount) bool {
	switch {
	case c.Unit == inKB:
		return threshold.IsSize && c.Value >= threshold.KB
	case c.Unit == ofHost:
		return !threshold.IsSize && c.Value >= threshold.Percent
	}
	return false
}

// ready makes what judging needs: each rule's text, and the labels to ask for.
func (p *Policy) ready() {
	for i := range p.Rules {
		r := &p.Rules[i]
		r.text = fmt.Sprintf("%+v %+v", p.Class, describeAll(r))
	}
}

// LabelsAsked are the labels that decide, besides winnow's own.
func (p *Policy) LabelsAsked() map[string]bool {
	asked := make(map[string]bool)
	add := func(m Match) {
		for i := range m {
			if m[i].What == "label" {
				asked[m[i].Key] = true
			}
		}
	}
	for _, m := range p.Protect {
		add(m)
	}
	for i := range p.Rules {
		add(p.Rules[i].Match)
		if key, ok := strings.CutPrefix(p.Rules[i].Per, "label="); ok {
			asked[key] = true
		}
	}
	return asked
}
