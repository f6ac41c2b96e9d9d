package policy

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// The policies that winnow comes with are right, and say what they are meant to.
func TestPolicies(t *testing.T) {
	files, err := filepath.Glob("../../classify/policies/*.toml")
	if err != nil || len(files) < 4 {
		t.Fatal(files, err)
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		p, err := Parse(text, DefaultClass)
		if err != nil {
			t.Errorf("%s: %v", file, err)
			continue
		}
		t.Logf("%s:\n%s", file, strings.Join(p.Describe(), "\n"))
	}
}

const every = `version = 1
mode = "dry"
[class]
high_cpu = "60%"
high_memory = "1GB"
[limits]
most = "5/1m"
gap = "90s"
[[protect]]
match = ["image=postgres*"]
[[rule]]
name = "example"
mode = "enforce"
match = ["label=role=ci", "!name=web-*", "engine=docker", "label=x"]
class = "high"
cpu = "> 90%"
memory = ">= 80% of limit"
age = "> 1h30m"
host_available = "< 8%"
host_memory_pressure = "> 10%"
host_cpu_pressure = "> 10%"
host_io_pressure = "<= 10%"
host_memory_stall = "> 20%"
host_cpu_stall = "> 30%"
host_io_stall = "<= 40%"
cause = "available"
for = "30s"
forgive = "5s"
per = "label=owner"
keep = 3
order = "memory"
notice = "60s"
hours = "Mon-Fri 20:00-06:00 Europe/Madrid"
most = "2/10m"
grace = "10s"
then = "kill"
[ttl]
notice = "1m"
`

func TestEveryKey(t *testing.T) {
	p, err := Parse([]byte(every), DefaultClass)
	if err != nil {
		t.Fatal(err)
	}
	want := []string{
		"A container is high from 60 % of a core or 1GiB of memory on.",
		"No more than 5 in 1m are condemned over all rules.",
		"Protected is what matches image=postgres*.",
		`Rule "example": of those that match label=role=ci and !name=web-* and engine=docker and label=x, while class is high and the snapshot's cause is available and cpu > 90% and memory >= 80% of limit and age > 1h30m and host available < 8% and host memory pressure > 10% and host cpu pressure > 10% and host io pressure <= 10% and host memory stall > 20% and host cpu stall > 30% and host io stall <= 40%, within Mon-Fri 20:00-06:00 Europe/Madrid, for 30s, forgiving failures of up to 5s, 3 stay of each label owner; the largest by memory go first, after a notice of 1m, with 10s of grace, no more than 2 in 10m.`,
		`Rule "winnow.ttl" (dry: it kills nothing): of those with the label winnow.ttl, while age is above what the label says, none stays; the oldest go first, after a notice of 1m.`,
		`Rule "winnow.ttl" may take some that rule "example" keeps.`,
	}
	if got := strings.Join(p.Describe(), "\n"); got != strings.Join(want, "\n") {
		t.Errorf("got\n%s\nwant\n%s", got, strings.Join(want, "\n"))
	}
}

// Each line of a file that is wrong is said with where it is.
func TestErrors(t *testing.T) {
	for _, test := range []struct{ name, text, want string }{
		{"nothing", ``, `1:1: no version = 1`},
		{"no rule", `version = 1`, `1:1: there is no rule`},
		{"newer", "version = 2\n[[rule]]", `1:1: version: 2 is newer than 1, the newest that this winnow reads`},
		{"unknown key", "version = 1\n[[rule]]\ncppu = \"> 90%\"", `3:1: unknown key "rule.cppu"; did you mean "cpu"?`},
		{"unknown table", "version = 1\n[[rules]]\nkeep = 3", `2:3: unknown key "rules"; did you mean "rule"?`},
		{"no unit", "version = 1\n[[rule]]\ncpu = \"> 90\"", `3:1: cpu: "> 90": "90" is not a share such as 90%, as in "> 90%"`},
		{"bare number", "version = 1\n[[rule]]\ncpu = 90", `3:1: cpu: "90" does not compare with anything, as "> 90%" does`},
		{"memory without a unit", "version = 1\n[[rule]]\nmemory = \"> 512\"", `3:1: memory: "> 512": "512" is neither a share such as 90% nor a size such as 512MB, as in "> 512MB"`},
		{"time without a unit", "version = 1\n[[rule]]\nfor = \"30\"", `3:1: for: "30" is not a duration such as 30s, 15m, 4h or 7d`},
		{"time as a number", "version = 1\n[[rule]]\nfor = 30", `3:1: for: "30" is not a duration such as 30s, 15m, 4h or 7d`},
		{"a list", "version = 1\n[[rule]]\nkeep = [3]", `"rule.keep" does not take a value of this kind`},
		{"negative", "version = 1\n[[rule]]\nkeep = -1", `3:1: keep: "-1" is not a number from 0 up`},
		{"a part", "version = 1\n[[rule]]\nkeep = 1.5", `3:1: keep: "1.5" is not a number from 0 up`},
		{"order", "version = 1\n[[rule]]\norder = \"heavyest\"", `3:1: order: "heavyest" is not one of heaviest, lightest, memory, cpu, newest, oldest; did you mean "heaviest"?`},
		{"same name", "version = 1\n[[rule]]\nname=\"a\"\n[[rule]]\nname=\"a\"", `5:1: name: there is another rule "a"`},
		{"hours", "version = 1\n[[rule]]\nhours = \"20:00-06:00 Europe/Madird\"", `3:1: hours: "20:00-06:00 Europe/Madird": there is no zone "Europe/Madird"; such as UTC or Europe/Madrid`},
		{"no such hour", "version = 1\n[[rule]]\nhours = \"20:00-26:00\"", `there is no such time of day`},
		{"never by class", "version = 1\n[[rule]]\nclass = \"low\"\ncpu = \"> 90%\"", `4:1: cpu: rule "1" can never hold: a container of class low uses less than that`},
		{"never by share", "version = 1\n[[rule]]\nhost_available = \"> 100%\"", `3:1: host_available: "> 100%" can never hold`},
		{"stall by share", "version = 1\n[[rule]]\nhost_memory_stall = \"> 100%\"", `3:1: host_memory_stall: "> 100%" can never hold`},
		{"stall without a unit", "version = 1\n[[rule]]\nhost_io_stall = \"> 10\"", `as in "> 50%"`},
		{"cause", "version = 1\n[[rule]]\ncause = \"avialable\"", `3:1: cause: "avialable" is not one of clock, available, pressure; did you mean "available"?`},
		{"never by age", "version = 1\n[[rule]]\nage = \"< 1m\"\nfor = \"2m\"", `3:1: age: rule "1" can never hold: after 2m of for and notice it is older`},
		{"never by match", "version = 1\n[[rule]]\nmatch = [\"image=a\", \"image=b\"]", `3:1: match: rule "1" can never hold: it excludes itself`},
		{"protected", "version = 1\n[[protect]]\nmatch=[\"image=a\"]\n[[rule]]\nmatch = [\"image=a\"]", `5:1: match: rule "1" can never hold: all that it matches is protected`},
		{"most", "version = 1\n[[rule]]\nmost = \"0/1m\"", `3:1: most: "0/1m" is not a bound such as 5/1m, from 1 to 1000 of them`},
		{"pattern", "version = 1\n[[rule]]\nmatch = [\"lable=a\"]", `3:1: match: "lable=a": there are label=, name=, image= and engine=; did you mean "label"?`},
		{"not TOML", "version = 1\n[[rule]\n", `2:`},
		{"unknown and wrong", "version = 1\n[[rule]]\nkep = 3\nfor = \"x\"", "3:1: unknown key \"rule.kep\"; did you mean \"keep\"?\n4:1: for: \"x\" is not"},
		{"two at once", "version = 1\n[[rule]]\nfor = \"x\"\nkeep = \"y\"", "3:1: for: \"x\" is not a duration such as 30s, 15m, 4h or 7d\n4:1: keep: \"y\" is not a number from 0 up"},
	} {
		t.Run(test.name, func(t *testing.T) {
			if _, err := Parse([]byte(test.text), DefaultClass); err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("got  %v\nwant %s", err, test.want)
			}
		})
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(every))
	f.Fuzz(func(t *testing.T, text []byte) {
		p, err := Parse(text, DefaultClass)
		if err != nil {
			return
		}
		p.Describe()
		s := snap(0, box("a", 80, 100))
		p.Judge(s, new(Memory))
	})
}
