package record

import (
	"strings"
	"testing"
	"time"
)

func TestConsent(t *testing.T) {
	type labels map[string]string
	tests := []struct {
		name   string
		labels labels
		want   Consent
	}{
		{"none", nil, Consent{}},
		{"others", labels{"managed": "true", "winnow.test": "winnow", "winnow.kind": "yes", "winnow.as": "sha256:1", "winnow.state": "/s", "Winnow.Managed": "true"}, Consent{}},
		{"a time to live", labels{LabelManaged: "true", LabelTTL: "1h30m"}, Consent{Managed: true, TTL: 90 * time.Minute}},
		{"days to live", labels{LabelManaged: "true", LabelTTL: "7d"}, Consent{Managed: true, TTL: 7 * 24 * time.Hour}},
		{"no time", labels{LabelManaged: "true", LabelTTL: "soon"}, Consent{Managed: true, Protected: true, Unread: "winnow.ttl=soon"}},
		{"no time at all", labels{LabelManaged: "true", LabelTTL: "0s"}, Consent{Managed: true, Protected: true, Unread: "winnow.ttl=0s"}},
		{"not known", labels{LabelManaged: "true", "winnow.protekt": "true"}, Consent{Managed: true, Protected: true, Unread: "winnow.protekt=true"}},
		{"managed", labels{LabelManaged: "true"}, Consent{Managed: true}},
		{"not managed", labels{LabelManaged: "false"}, Consent{}},
		{"protected", labels{LabelProtect: "true"}, Consent{Protected: true}},
		{"not protected", labels{LabelManaged: "true", LabelProtect: "false"}, Consent{Managed: true}},
		{"both", labels{LabelManaged: "true", LabelProtect: "true"}, Consent{Managed: true, Protected: true}},
		{"protect is yes", labels{LabelManaged: "true", LabelProtect: "yes"},
			Consent{Managed: true, Protected: true, Unread: "winnow.protect=yes"}},
		{"protect is empty", labels{LabelProtect: ""}, Consent{Protected: true, Unread: "winnow.protect="}},
		{"protect in capitals", labels{LabelProtect: "TRUE"}, Consent{Protected: true, Unread: "winnow.protect=TRUE"}},
		{"protect is False", labels{LabelProtect: "False"}, Consent{Protected: true, Unread: "winnow.protect=False"}},
		{"managed in capitals", labels{LabelManaged: "True"}, Consent{Protected: true, Unread: "winnow.managed=True"}},
		{"managed with a space", labels{LabelManaged: " true"}, Consent{Protected: true, Unread: "winnow.managed= true"}},
		{"neither is read", labels{LabelManaged: "1", LabelProtect: "0"}, Consent{Protected: true, Unread: "winnow.protect=0"}},
		{"as long as is told", labels{LabelProtect: strings.Repeat("x", 40)},
			Consent{Protected: true, Unread: "winnow.protect=" + strings.Repeat("x", 40)}},
		{"longer", labels{LabelProtect: strings.Repeat("x", 41)},
			Consent{Protected: true, Unread: "winnow.protect=" + strings.Repeat("x", 40) + "…"}},
		{"cut within a character", labels{LabelProtect: "x" + strings.Repeat("é", 5000)},
			Consent{Protected: true, Unread: "winnow.protect=x" + strings.Repeat("é", 19) + "…"}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			for range 20 { // in whatever order
				var got Consent
				for name, value := range test.labels {
					got.Label(name, value)
				}
				if got != test.want {
					t.Fatalf("got %+v, want %+v", got, test.want)
				}
			}
		})
	}
}

func TestShorten(t *testing.T) {
	for _, test := range []struct {
		text    string
		longest int
		want    string
	}{{"abc", 3, "abc"}, {"abcd", 3, "abc…"}, {"aé", 2, "a…"}, {"", 0, ""}} {
		if got := Shorten(test.text, test.longest); got != test.want {
			t.Errorf("%q to %d: got %q", test.text, test.longest, got)
		}
	}
}
