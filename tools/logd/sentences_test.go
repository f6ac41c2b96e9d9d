package main

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"winnow/tools/internal/record"
	"winnow/tools/testkit"
)

// at is a time of the last minute before testkit.Noon.
func at(second int) string { return fmt.Sprintf("2026-11-21T11:59:%02dZ", second) }

// judged is a snapshot in which web has a verdict, unless it is "", with more members.
func judged(second int, verdict, more string) string {
	snapshot := fmt.Sprint("s", second)
	text, n := testkit.HostLine(snapshot, at(second), 2)+testkit.ContainerLine(snapshot, at(second), "bbbb11112222", "db", "low", "keep", 2), 2
	if verdict != "" {
		line := testkit.ContainerLine(snapshot, at(second), "aaaa11112222", "web", "high", verdict, 1)
		text, n = text+strings.TrimSuffix(line, "}\n")+more+"}\n", 3
	}
	return text + fmt.Sprintf(`{"type":"end","time":%q,"host":"vm","snapshot":%q,"lines":%d}`+"\n", at(second), snapshot, n)
}

func killed(second int, result, more string) string {
	return fmt.Sprintf(`{"type":"kill","time":%q,"host":"vm","snapshot":"s%d","id":"aaaa11112222","name":"web","image":"img","reason":"too hot","result":%q%s}`+"\n", at(second+1), second, result, more)
}

func ruled(second int, event, mode, reason string) string {
	return fmt.Sprintf(`{"type":"rule","time":%q,"host":"vm","snapshot":"s%d","rule":"hot","event":%q,"mode":%q,"id":"aaaa11112222","name":"web","reason":%q}`+"\n", at(second), second, event, mode, reason)
}

// Why it was killed, and why it is still here.
func TestAnswer(t *testing.T) {
	t.Parallel()
	const notice = `,"rule":"hot","kill_at":"2026-11-21T11:59:40Z"`
	warned := judged(10, "keep", "") + judged(20, "warn", notice) + judged(30, "warn", notice)
	withdrawn := judged(5, "warn", `,"kill_at":"2026-11-21T11:59:30Z"`) + ruled(10, "withdrawn", "enforce", "it holds no more")
	for name, test := range map[string]struct {
		log, want, nearest string
	}{
		"kept":                      {judged(10, "keep", `,"rule":"cold"`), "web is still here. At " + at(10) + " its verdict was keep: because keep.", "cold"},
		"unjudged":                  {strings.Replace(judged(10, "keep", ""), `"verdict":"keep","rank":1,"reason":"because keep"`, `"rank":1`, 1), "web is still here. It was seen at " + at(10) + ", and was not judged.", ""},
		"warned":                    {warned, "web is still here. At " + at(30) + " its verdict was warn: because warn.|It was warned at " + at(20) + ", and is to be killed from " + at(40) + " on, if its rule still holds then.", "hot"},
		"condemned":                 {warned + judged(40, "kill", `,"rule":"hot"`), "web is still here. At " + at(40) + " its verdict was kill: because kill.|It was warned at " + at(20) + " that it would be killed from " + at(40) + " on.", "hot"},
		"killed":                    {warned + judged(40, "kill", "") + killed(40, "killed", `,"signal":"SIGTERM"`) + judged(50, "", ""), "web was killed at " + at(41) + " by SIGTERM: too hot.|It was warned at " + at(20) + " that it would be killed from " + at(40) + " on.", ""},
		"killed, no snapshot since": {judged(40, "kill", "") + killed(40, "killed", ""), "web was killed at " + at(41) + ": too hot.", ""},
		"killed, and came back": {judged(10, "kill", "") + killed(10, "killed", "") + judged(50, "keep", ""),
			"web is still here. At " + at(50) + " its verdict was keep: because keep.|It was killed before, at " + at(11) + ", and came back: too hot.", ""},
		"not killed":          {judged(40, "kill", "") + killed(40, "failed", `,"error":"no answer"`), "web is still here. At " + at(40) + " its verdict was kill: because kill.|It was condemned, but not killed, at " + at(41) + ": failed, no answer.", ""},
		"gone by itself":      {judged(10, "keep", "") + judged(20, "", ""), "web was last seen at " + at(10) + ", and winnow did not kill it.|Its last verdict was keep: because keep.", ""},
		"gone as it came":     {judged(40, "kill", "") + killed(40, "gone", ""), "web was last seen at " + at(41) + ", and winnow did not kill it.|Its last verdict was kill: because kill.|It was condemned, but not killed, at " + at(41) + ": gone.", ""},
		"withdrawn":           {withdrawn + judged(10, "keep", ""), "web is still here. At " + at(10) + " its verdict was keep: because keep.|A notice of rule hot was withdrawn at " + at(10) + ": it holds no more.", ""},
		"withdrawn, and anew": {withdrawn + warned, "web is still here. At " + at(30) + " its verdict was warn: because warn.|It was warned at " + at(20) + ", and is to be killed from " + at(40) + " on, if its rule still holds then.|A notice of rule hot was withdrawn at " + at(10) + ": it holds no more.", "hot"},
		"of rules":            {judged(10, "keep", "") + ruled(6, "unread", "enforce", "first") + ruled(7, "limited", "dry", "1 in 1m") + ruled(8, "unread", "enforce", "winnow.ttl=x"), "web is still here. At " + at(10) + " its verdict was keep: because keep.|A bound of rule hot, which is dry, held at " + at(7) + ": 1 in 1m.|A label of winnow's was misread at " + at(8) + ": winnow.ttl=x.", ""},
		"of a rule alone":     {ruled(6, "unread", "enforce", "winnow.ttl=x"), "web was last seen at " + at(6) + ", and winnow did not kill it.|A label of winnow's was misread at " + at(6) + ": winnow.ttl=x.", ""},
		"long ago":            {strings.ReplaceAll(judged(10, "keep", ""), "2026-11-21T11", "2026-11-20T11"), "web was last seen at 2026-11-20T11:59:10Z, and winnow did not kill it.|Its last verdict was keep: because keep.", ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l := startLog(t, t.TempDir())
			l.mustPost(t, "", test.log)
			status, text := l.get(t, "/why/web")
			var st story
			if err := json.Unmarshal([]byte(text), &st); err != nil || status != 200 {
				t.Fatalf("status %d, %s: %v", status, text, err)
			}
			if got := strings.Join(st.Answer, "|"); got != test.want {
				t.Errorf("answers\n%s\nwant\n%s", strings.ReplaceAll(got, "|", "\n"), strings.ReplaceAll(test.want, "|", "\n"))
			}
			if isHere := strings.Contains(test.want, "still here"); isHere != (st.Latest != nil) || isHere && st.Latest.Rule != test.nearest {
				t.Errorf("its latest is %+v", st.Latest)
			}
		})
	}
}

// A story tells each notice, however long it stands, and every line of a rule.
func TestNoticesStayInAStory(t *testing.T) {
	t.Parallel()
	st := &story{ID: "aaaa11112222"}
	at := testkit.Noon
	for i := range 10 * maxSamples {
		until := testkit.Noon.AddDate(0, 0, 1+i/maxSamples) // a new notice now and then
		st.addSample(&record.Container{Header: record.Header{Time: at}, ID: st.ID, Verdict: record.VerdictWarn, KillAt: &until})
		st.addRule(&record.Rule{Header: record.Header{Time: at}, ID: st.ID, Reason: fmt.Sprint(i)})
	}
	notices := make(map[string]bool)
	for _, s := range st.Samples {
		notices[s.KillAt.String()] = true
	}
	if len(notices) != 10 || len(st.Samples) > 2*maxSamples {
		t.Errorf("tells of %d notices in %d samples", len(notices), len(st.Samples))
	}
	if n := len(st.Rules); n != maxRuled || st.Rules[n-1].Reason != fmt.Sprint(10*maxSamples-1) {
		t.Errorf("%d lines of rules", n)
	}
}
