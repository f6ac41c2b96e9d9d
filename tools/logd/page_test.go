package main

import (
	"context"
	"fmt"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"winnow/tools/internal/full"
	"winnow/tools/logd/chart"
	"winnow/tools/testkit"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"
)

// browser is a page in a real Chromium.
type browser struct {
	t   *testing.T
	ctx context.Context

	mu     sync.Mutex
	errors []string // what the page's console complained of
}

func startBrowser(t *testing.T) *browser {
	t.Helper()
	path, err := exec.LookPath("chromium")
	if err != nil {
		t.Skip("there is no chromium, which Debian's package of that name has")
	}
	ctx, cancel := chromedp.NewExecAllocator(t.Context(), chromedp.ExecPath(path), chromedp.UserDataDir(t.TempDir()), chromedp.Headless,
		chromedp.NoFirstRun, chromedp.NoDefaultBrowserCheck, chromedp.NoSandbox, chromedp.DisableGPU, chromedp.Flag("disable-background-networking", true))
	t.Cleanup(cancel)
	ctx, stop := chromedp.NewContext(ctx)
	t.Cleanup(stop)
	b := &browser{t: t, ctx: ctx}
	console := chromedp.Console(ctx) // starts it
	go func() {
		for message, err := range console {
			if err == nil && (message.Type == chromedp.ConsoleError || message.IsException()) {
				b.mu.Lock()
				b.errors = append(b.errors, message.String())
				b.mu.Unlock()
			}
		}
	}()
	return b
}

func (b *browser) complaints() []string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return append([]string(nil), b.errors...)
}

// act does something, which what names, within a minute.
func act[T any](b *browser, what string, action chromedp.Action[T]) T {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.ctx, time.Minute)
	defer cancel()
	value, err := chromedp.Run(ctx, action)
	if err != nil {
		b.t.Fatalf("%s: %v", what, err)
	}
	return value
}

// eval is the value of a JavaScript expression as text.
func (b *browser) eval(expression string) string {
	b.t.Helper()
	return act(b, expression, chromedp.Evaluate[string]("String("+expression+")"))
}

// until waits for an expression to be true. While the page changes to another
// one there is nothing to ask.
func (b *browser) until(expression string) {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.ctx, 30*time.Second)
	defer cancel()
	for {
		is, err := chromedp.Run(ctx, chromedp.Evaluate[bool]("!!("+expression+")"))
		if is {
			return
		}
		if ctx.Err() != nil {
			b.t.Fatalf("never came true: %s; the last error is %v", expression, err)
		}
		time.Sleep(50 * time.Millisecond)
	}
}

func (b *browser) screenshot(name string) {
	b.t.Helper()
	artifact(b.t, name, act(b, "screenshot", chromedp.FullScreenshot(100)))
}

func (b *browser) open(url string) {
	b.t.Helper()
	act(b, "open "+url, chromedp.Navigate(url))
}

func (b *browser) press(key string) {
	b.t.Helper()
	act(b, "press a key", chromedp.KeyEvent(key))
}

// size makes the window that of a desk, or of a phone.
func (b *browser) size(width, height int64, options ...chromedp.EmulateViewportOption) {
	b.t.Helper()
	act(b, "resize", chromedp.EmulateViewport(width, height, options...))
}

func (b *browser) dark() {
	b.t.Helper()
	act(b, "go dark", chromedp.Func(func(ctx context.Context, t *chromedp.Target) error {
		_, err := cdp.Call(ctx, t, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{
			Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: "dark"}}})
		return err
	}))
}

// tabTo presses Tab until what has the focus reads text.
func (b *browser) tabTo(text string) {
	b.t.Helper()
	for range 30 {
		b.press(kb.Tab)
		if b.eval("document.activeElement.textContent") == text {
			return
		}
	}
	b.t.Fatalf("Tab does not lead to %q", text)
}

const firstName = "document.querySelector('#rows tr td').textContent"

func TestPageInChromium(t *testing.T) {
	t.Parallel()
	full.Needs(t, "a browser")
	b := startBrowser(t)
	l := startLog(t, t.TempDir())
	l.mustPost(t, "", someHour(t, testkit.Noon, "vm"))
	l.mustPost(t, "", someHour(t, testkit.Noon, "elsewhere"))
	hostile := strings.ReplaceAll(testkit.ContainerLine("h1", "2026-11-21T11:59:59Z", "66600066", "NAME", "high", "keep", 1), "NAME", strings.ReplaceAll(hostileName, `"`, `\"`))
	l.mustPost(t, "", testkit.HostLine("h1", "2026-11-21T11:59:59Z", 3)+hostile+
		testkit.ContainerLine("h1", "2026-11-21T11:59:59Z", "aaaa11112222", "web", "low", "keep", 1)+
		testkit.ContainerLine("h1", "2026-11-21T11:59:59Z", "bbbb11112222", "db", "high", "kill", 2))

	b.size(1280, 900)
	b.open(l.url + "/?host=vm")
	b.until("document.querySelectorAll('#rows tr').length === 3 && document.querySelector('#state').className === 'live'")
	if got := b.eval("document.querySelector('#host').value + ' of ' + document.querySelector('#host').options.length"); got != "vm of 2" {
		t.Errorf("the host is %s", got)
	}
	b.until(fmt.Sprintf("[...document.querySelectorAll('#charts img')].length === %d", len(chart.Kinds())))
	b.eval("[...document.images].forEach((i) => { i.loading = 'eager' })")
	b.until("[...document.querySelectorAll('#charts img')].every((i) => i.complete && i.naturalWidth > 0)")
	b.screenshot("page-light.png")

	b.tabTo("Name")
	b.press(kb.Enter)
	if got := b.eval("document.activeElement.parentElement.ariaSort"); got != "ascending" || b.eval(firstName) != hostileName {
		t.Errorf("sorted %s, the first is %q", got, b.eval(firstName))
	}
	b.press(kb.Enter)
	if got := b.eval("document.activeElement.parentElement.ariaSort"); got != "descending" || b.eval(firstName) != "web" {
		t.Errorf("sorted %s, the first is %q", got, b.eval(firstName))
	}

	// A kill arrives while the page is open.
	l.mustPost(t, "", `{"type":"kill","time":"2026-11-21T12:00:00Z","host":"vm","snapshot":"h1","id":"bbbb11112222","name":"db","image":"img","class":"high",`+
		`"reason":"heaviest of 3, 2 are kept","result":"killed","signal":"SIGTERM","took_ms":12,"error":""}`)
	b.until("document.querySelector('#events li')?.textContent.includes('db')")
	if got := b.eval("document.querySelector('#news').textContent"); got != "db: killed" {
		t.Errorf("a screen reader is told %q", got)
	}

	// So does a warning, and then that its notice is withdrawn.
	warned := strings.Replace(testkit.ContainerLine("h2", "2026-11-21T12:00:10Z", "aaaa11112222", "web", "low", "warn", 1), `"rank"`, `"rule":"hot","kill_at":"2026-11-21T12:01:00Z","rank"`, 1)
	l.mustPost(t, "", testkit.HostLine("h2", "2026-11-21T12:00:10Z", 2)+warned+strings.ReplaceAll(hostile, "h1", "h2"))
	b.until("document.querySelector('#rows td.warn')?.textContent.match(/^warn, kill .*:01:00$/) && document.querySelector('#summary').textContent.includes('1 warned')")
	b.until("document.querySelector('#events li:first-child')?.textContent.match(/web .*warned, to be killed from .*:01:00 on – because warn/)")
	b.screenshot("page-warned.png")
	l.mustPost(t, "", testkit.HostLine("h3", "2026-11-21T12:00:20Z", 2)+strings.ReplaceAll(hostile, "h1", "h3")+
		testkit.ContainerLine("h3", "2026-11-21T12:00:20Z", "aaaa11112222", "web", "low", "keep", 1)+
		`{"type":"rule","time":"2026-11-21T12:00:20Z","host":"vm","snapshot":"h3","rule":"hot","event":"withdrawn","mode":"enforce","id":"aaaa11112222","name":"web","reason":"its conditions hold no more"}`+"\n")
	b.until("document.querySelector('#events li:first-child')?.textContent.match(/web notice withdrawn .hot. – its conditions hold no more/) && !document.querySelector('td.warn')")
	if got := b.eval("document.querySelector('#news').textContent"); got != "web: withdrawn" {
		t.Errorf("a screen reader is told %q", got)
	}

	b.size(375, 812, chromedp.EmulateMobile)
	b.dark()
	b.until("[...document.querySelectorAll('#charts img')].every((i) => i.src.includes('theme=dark') && i.complete && i.naturalWidth > 0)")
	if got := b.eval("document.documentElement.scrollWidth"); got != "375" {
		t.Errorf("on a phone of 375 pixels the page is %s wide", got)
	}
	b.screenshot("page-phone-dark.png")
	b.size(1280, 900)
	b.screenshot("page-dark.png")

	act(b, "to the story", chromedp.Click(chromedp.CSS("#events a[href$=bbbb11112222]")))
	b.until("location.pathname === '/why/bbbb11112222' && document.querySelector('#answer')?.textContent.startsWith('db was killed at')")
	if got := b.eval("document.querySelectorAll('#considered tr').length + ' ' + document.querySelector('#considered .self').textContent"); !strings.HasPrefix(got, "3 db (this one)high") {
		t.Errorf("considered: %s", got)
	}
	b.screenshot("why-dark.png")
	b.size(375, 812, chromedp.EmulateMobile)
	if got := b.eval("document.documentElement.scrollWidth"); got != "375" {
		t.Errorf("on a phone the story is %s wide", got)
	}
	b.open(l.url + "/why/66600066")
	b.until("document.querySelector('#name')?.textContent.startsWith('\">')")

	if got := b.eval("document.title"); got != "winnow: "+hostileName {
		t.Errorf("a name ran: the title is %q", got)
	}
	if got := b.complaints(); len(got) > 0 {
		t.Errorf("the browser complained: %q", got)
	}

	b.size(1280, 900)
	b.open(l.url + "/")
	b.until("document.querySelector('#state').className === 'live'")
	b.until("document.querySelector('#host').options.length === 2 && document.querySelector('#silent').textContent === ''")
	l.clock.Pass(10 * time.Minute)
	b.until("document.querySelector('#state').className === 'stale'")
	b.until("document.querySelector('#silent').textContent === 'Silent: vm for 10 min'") // the page shows the other one
	l.mustPost(t, "", testkit.HostLine("e2", "2026-11-21T12:10:00Z", 0))                 // from vm
	b.until("document.querySelector('#all summary').textContent.startsWith('2 hosts, 1 silent; ')")
	b.eval("document.querySelector('#all').open = true")
	b.until("document.querySelector('#hosts li').textContent.startsWith('elsewhere silent for 10 min: ') && document.querySelectorAll('#hosts li').length === 2")
	b.eval("document.querySelector('#hosts a').focus()")
	l.clock.Pass(10 * time.Minute) // and nothing comes
	b.until("document.querySelector('#all summary').textContent.startsWith('2 hosts, 2 silent; ') && document.querySelector('#hosts li').textContent.startsWith('elsewhere silent for 20 min: ')")
	if got := b.eval("document.activeElement.textContent"); got != "elsewhere" {
		t.Errorf("the focus is on %q", got)
	}
	if got := b.eval("document.querySelector('#hosts a').search"); got != "?host=elsewhere" {
		t.Errorf("a host leads to %s", got)
	}
	b.screenshot("page-hosts.png")
	l.stop()
	b.until("document.querySelector('#state').className === 'gone'")
	if got := b.eval("document.querySelector('#state').textContent"); !strings.HasPrefix(got, "logd cannot be reached since") {
		t.Errorf("without logd it says %q", got)
	}
}

// A browser is asked for the token once, and all that the page loads has it.
// When its stream ends for another one, nobody notices.
func TestPageWithATokenInChromium(t *testing.T) {
	t.Parallel()
	full.Needs(t, "a browser")
	b := startBrowser(t)
	l := startLog(t, t.TempDir(), func(s *server) { s.guard.Token, s.pageTime = []byte(testToken), time.Second })
	l.mustPost(t, "", someHour(t, testkit.Noon, "vm"))
	b.open("http://anyone:" + testToken + "@" + l.addr() + "/")
	b.until("document.querySelector('#state').className === 'live' && document.querySelectorAll('#rows tr').length > 0")
	b.eval(`(window.lost = 0, new MutationObserver(() => { window.lost += document.querySelector('#state').className !== 'live' })
		.observe(document.querySelector('#state'), { attributes: true }))`)
	b.eval("[...document.images].forEach((i) => { i.loading = 'eager' })")
	b.until("[...document.querySelectorAll('#charts img')].every((i) => i.complete && i.naturalWidth > 0)")
	b.until("performance.getEntriesByType('resource').filter((r) => r.name.endsWith('/events')).length >= 3")
	if lost := b.eval("window.lost + ' ' + document.querySelector('#state').className"); lost != "0 live" {
		t.Errorf("lost its stream: %s", lost)
	}
	if got := b.complaints(); len(got) > 0 {
		t.Errorf("the browser complained: %q", got)
	}
}
