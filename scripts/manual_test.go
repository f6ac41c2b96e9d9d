package scripts

import (
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

var (
	aFlag = regexp.MustCompile(`(^|[^a-z-])(--[a-z][a-z-]*)`)
	// What a script compares its arguments with.
	takes = regexp.MustCompile(`(?m)(?:== |^\s*)(--[a-z][a-z-]*)(?:\)| ?\]\]| \|\|| &&)`)
)

// flagsIn is each flag that a text names.
func flagsIn(text string) map[string]bool {
	all := map[string]bool{}
	for _, found := range aFlag.FindAllStringSubmatch(text, -1) {
		all[found[2]] = true
	}
	return all
}

// help is what a command prints of itself: all of it, its flags, and its examples.
type help struct {
	text, examples string
	flags          map[string]bool
}

func readHelp(t *testing.T, path string) help {
	t.Helper()
	out, err := exec.Command(path, "--help").CombinedOutput()
	if err != nil {
		t.Fatalf("%s --help: %v\n%s", path, err, out)
	}
	h := help{text: string(out)}
	head, examples, _ := strings.Cut(h.text, "\nExamples:\n")
	h.examples = examples
	var listed strings.Builder
	for line := range strings.Lines(head) {
		if strings.HasPrefix(line, "usage: ") || strings.HasPrefix(strings.TrimLeft(line, " "), "-") && strings.HasPrefix(line, " ") {
			listed.WriteString(line)
		}
	}
	h.flags = flagsIn(listed.String())
	return h
}

// installedCommands are those of an installed winnow, and their helps.
func installedCommands(t *testing.T, installed string) map[string]help {
	t.Helper()
	all := map[string]help{}
	for _, dir := range []string{"bin", "scripts"} { // a script goes before a tool
		files, err := os.ReadDir(filepath.Join(installed, "lib/winnow", dir))
		if err != nil {
			t.Fatal(err)
		}
		for _, file := range files {
			if info, err := file.Info(); err == nil && info.Mode()&0o111 != 0 {
				all[file.Name()] = readHelp(t, filepath.Join(installed, "lib/winnow", dir, file.Name()))
			}
		}
	}
	return all
}

// What is installed has, of each command and each of its flags, a man page and completions, and they tell of no other.
// The examples call what there is.
func TestManual(t *testing.T) {
	if testing.Short() {
		t.Skip("left to make test: needs the network, for what makes the pages of the README")
	}
	to := t.TempDir()
	install := exec.Command("./install", to)
	install.Env = append(os.Environ(), "PREFIX=/usr")
	if out, err := install.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	usr := filepath.Join(to, "usr")
	read := func(path string) string {
		text, err := os.ReadFile(filepath.Join(usr, path))
		if err != nil {
			t.Fatal(err)
		}
		return string(text)
	}
	all := installedCommands(t, usr)
	bash, zsh := read("share/bash-completion/completions/winnow"), read("share/zsh/vendor-completions/_winnow")
	for name, h := range all {
		page := name
		if name != "winnow" {
			page = "winnow-" + name
			for shell, text := range map[string]string{"bash": bash, "zsh": zsh} {
				line := regexp.MustCompile(`(?m)^ +` + name + `\).*$`).FindString(text)
				if got := flagsIn(line); line == "" || !maps.Equal(got, h.flags) {
					t.Errorf("%s completes %s with %q, want %q", shell, name, slices.Sorted(maps.Keys(got)), slices.Sorted(maps.Keys(h.flags)))
				}
			}
		}
		text := strings.NewReplacer(`\-`, "-", `\e`, `\`).Replace(read("share/man/man1/" + page + ".1"))
		if got, want := flagsIn(text), flagsIn(h.text); !maps.Equal(got, want) {
			t.Errorf("%s.1 tells of %q, --help of %q", page, slices.Sorted(maps.Keys(got)), slices.Sorted(maps.Keys(want)))
		}
		t.Run("examples of "+name, func(t *testing.T) { examplesHold(t, all, h.examples) })
	}
	for _, name := range []string{"install", "winnow", "run", "whatif", "settings", "spawn", "cycle"} {
		scriptTakesItsFlags(t, name)
	}
	t.Run("pages", func(t *testing.T) {
		if _, err := exec.LookPath("man"); err != nil {
			t.Skip("man is not installed")
		}
		pages, _ := filepath.Glob(filepath.Join(usr, "share/man/man*/*"))
		if len(pages) < len(all) {
			t.Errorf("%d pages for %d commands", len(pages), len(all))
		}
		for _, page := range pages {
			cmd := exec.Command("man", "--warnings", "--local-file", page)
			cmd.Env = append(os.Environ(), "LC_ALL=C.UTF-8", "MANWIDTH=100")
			var said strings.Builder
			cmd.Stderr = &said
			if err := cmd.Run(); err != nil || said.Len() > 0 {
				t.Errorf("%s: %v: %s", page, err, said.String())
			}
		}
	})
}

// examplesHold checks that what the examples call is there, and has their flags.
func examplesHold(t *testing.T, all map[string]help, examples string) {
	quoted := regexp.MustCompile(`'[^']*'`)
	for line := range strings.Lines(examples) {
		for part := range strings.SplitSeq(quoted.ReplaceAllString(line, "''"), "|") {
			words := strings.Fields(part)
			for len(words) > 0 && (words[0] == "winnow" && len(words) > 1 && !strings.HasPrefix(words[1], "-") || strings.Contains(words[0], "=")) {
				words = words[1:]
			}
			if len(words) == 0 {
				continue
			}
			h, ours := all[words[0]]
			if !ours && !slices.Contains([]string{"jq", "less"}, words[0]) {
				t.Errorf("there is no %s: %s", words[0], line)
			}
			for flag := range flagsIn(strings.Join(words, " ")) {
				if ours && !h.flags[flag] {
					t.Errorf("%s has no %s: %s", words[0], flag, line)
				}
			}
		}
	}
}

// scriptTakesItsFlags checks that a script compares its arguments with what its help lists, and with nothing else.
func scriptTakesItsFlags(t *testing.T, name string) {
	text, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(string(text), "govern_arguments") {
		more, err := os.ReadFile("govern.sh")
		if err != nil {
			t.Fatal(err)
		}
		text = append(text, more...)
	}
	listed := readHelp(t, "./"+name).flags
	for _, found := range takes.FindAllStringSubmatch(string(text), -1) {
		if flag := found[1]; !listed[flag] && flag != "--help" && flag != "--version" {
			t.Errorf("%s takes %s, which its help does not list", name, flag)
		}
	}
	for flag := range listed {
		if !regexp.MustCompile(`(?m)^[^#\n]*` + flag + `\b`).Match(text) {
			t.Errorf("%s lists %s and does not take it", name, flag)
		}
	}
}
