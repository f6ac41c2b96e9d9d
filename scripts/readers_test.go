package scripts

import (
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
)

// The scripts that only read need neither Docker nor cron.
func TestReadersNeedNoDocker(t *testing.T) {
	dir, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	// go test runs this anew when what it read has changed, as the tools in bin/ do with their source.
	for _, read := range []string{"tools", "images", "crontab"} {
		if err := filepath.WalkDir("../"+read, func(_ string, _ fs.DirEntry, err error) error { return err }); err != nil {
			t.Fatal(err)
		}
	}
	testscript.Run(t, testscript.Params{
		Files: []string{"testdata/report.txtar", "testdata/logcat.txtar", "testdata/whatif.txtar"},
		Setup: func(env *testscript.Env) error {
			env.Vars = append(env.Vars, "HOME="+env.WorkDir, "DOCKER_HOST=unix:///nowhere",
				"PATH="+dir+":"+filepath.Join(dir, "../bin")+":"+os.Getenv("PATH"))
			return nil
		},
	})
}
