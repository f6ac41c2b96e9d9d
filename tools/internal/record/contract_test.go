package record

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"reflect"
	"regexp"
	"strings"
	"testing"
)

const guide = "../../../.github/CONTRIBUTING.md"

// TestTheGuideTellsTheContract compares the tables of the guide with the
// structs. WINNOW_WRITE=1 writes them anew.
func TestTheGuideTellsTheContract(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile(guide)
	if err != nil {
		t.Fatal(err)
	}
	const begin, end = "<!-- the contract, from tools/internal/record -->\n", "<!-- the contract's end -->\n"
	before, rest, there := strings.Cut(string(text), begin)
	had, after, closed := strings.Cut(rest, end)
	if !there || !closed {
		t.Fatalf("%s has no place for the contract", guide)
	}
	want := contract(t)
	if had == want {
		return
	}
	if os.Getenv("WINNOW_WRITE") == "" {
		t.Fatalf("%s does not tell the contract as it is: WINNOW_WRITE=1 go test -run Guide ./tools/internal/record writes it", guide)
	}
	if err := os.WriteFile(guide, []byte(before+begin+want+end+after), 0o644); err != nil {
		t.Fatal(err)
	}
}

// writers are who writes a line, unless a comment says that somebody adds to it.
var writers = map[string]string{"Header": "all", "Host": "readsysinfo", "Container": "readsysinfo", "Process": "readsysinfo", "End": "readsysinfo", "Rule": "classify",
	"Kill": "killctr", "Stage": "readsysinfo"}

func contract(t *testing.T) string {
	t.Helper()
	files := token.NewFileSet()
	parsed, err := parser.ParseFile(files, "record.go", nil, parser.ParseComments)
	if err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	for _, d := range parsed.Decls {
		types, ok := d.(*ast.GenDecl)
		if !ok || types.Tok != token.TYPE {
			continue
		}
		for _, spec := range types.Specs {
			s := spec.(*ast.TypeSpec)
			fields, ok := s.Type.(*ast.StructType)
			if !ok || writers[s.Name.Name] == "" {
				continue
			}
			name := "`" + strings.ToLower(s.Name.Name) + "`"
			if s.Name.Name == "Header" {
				name = "every line"
			}
			fmt.Fprintf(&b, "\n**%s**: %s\n\n| member | JSON | written by | what it is |\n|---|---|---|---|\n", name, oneLine(types.Doc.Text()))
			writeMembers(&b, files, fields, writers[s.Name.Name])
		}
	}
	return b.String() + "\n"
}

var addedBy = regexp.MustCompile(`Added by (\w+)`)

// writeMembers writes a row for each. A comment above some is about them all, up
// to an empty line.
func writeMembers(b *strings.Builder, files *token.FileSet, fields *ast.StructType, writer string) {
	by, about, last := writer, "", 0
	for _, f := range fields.Fields.List {
		if f.Tag == nil {
			continue
		}
		first := files.Position(f.Pos()).Line
		if f.Doc != nil {
			first = files.Position(f.Doc.Pos()).Line
		}
		if first > last+1 {
			by, about = writer, ""
		}
		last = files.Position(f.End()).Line
		if f.Doc != nil {
			about = oneLine(f.Doc.Text())
			if m := addedBy.FindStringSubmatch(about); m != nil {
				by, about = m[1], ""
			}
		}
		name, _, _ := strings.Cut(reflect.StructTag(strings.Trim(f.Tag.Value, "`")).Get("json"), ",")
		what := oneLine(f.Comment.Text())
		if what == "" {
			what = about
		}
		fmt.Fprintf(b, "| `%s` | %s | %s | %s |\n", name, jsonType(f.Type), by, strings.ReplaceAll(what, "|", `\|`))
	}
}

func oneLine(text string) string { return strings.Join(strings.Fields(text), " ") }

func jsonType(e ast.Expr) string {
	switch e := e.(type) {
	case *ast.StarExpr:
		return jsonType(e.X) + " or null"
	case *ast.MapType:
		return "object"
	case *ast.SelectorExpr:
		return "time"
	case *ast.Ident:
		switch e.Name {
		case "string":
			return "string"
		case "bool":
			return "true or false"
		}
		return "number"
	}
	return "value"
}
