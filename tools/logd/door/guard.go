package door

import (
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"

	"github.com/valyala/fasthttp"
)

// Guard tells who may ask what.
type Guard struct {
	Token []byte                    // nil: none is needed
	Host  func(token string) string // whose token it is that may only post that host's lines, "" for nobody's; nil: there are none
	names []string                  // by which logd may be asked for, beside those of loopback
}

// NewGuard lets logd be asked for by the name of its own address, where that is one, and by those allowed.
func NewGuard(listen string, allowed []string) (*Guard, error) {
	g := &Guard{}
	for _, name := range allowed {
		if _, _, err := net.SplitHostPort(name); err == nil || name == "" || strings.ContainsAny(name, "/@* ") {
			return nil, fmt.Errorf("not a name or an address, without a port: %q", name)
		}
		g.names = append(g.names, hostName(name))
	}
	own := hostName(listen)
	if ip, err := netip.ParseAddr(own); own != "" && (err != nil || !ip.IsUnspecified()) {
		g.names = append(g.names, own)
	}
	return g, nil
}

// knows tells whether logd may be asked for by that Host. Any other may be a
// page elsewhere that had its own name point to this machine.
func (g *Guard) knows(host string) bool {
	name := hostName(host)
	return localName(name) || slices.Contains(g.names, name)
}

// Check is why a request may not be made, if it may not, and the status of its answer.
func (g *Guard) Check(ctx *fasthttp.RequestCtx) (status int, err error) {
	header := &ctx.Request.Header
	for _, host := range [][]byte{header.Host(), ctx.Host()} { // the latter may be in the request's first line
		if !g.knows(string(host)) {
			return fasthttp.StatusMisdirectedRequest, fmt.Errorf("not known by the name %q here; --allow-host would allow it", host)
		}
	}
	for _, origin := range header.PeekAll(fasthttp.HeaderOrigin) {
		if _, host, _ := strings.Cut(string(origin), "://"); host != string(ctx.Host()) {
			return fasthttp.StatusForbidden, fmt.Errorf("a page of %q has no business here", origin)
		}
	}
	// What asks for nothing but whether logd lives is seldom given secrets.
	if g.Token == nil || string(ctx.Path()) == "/healthz" {
		return 0, nil
	}
	given := credential(header.Peek(fasthttp.HeaderAuthorization))
	if given != "" && subtle.ConstantTimeCompare([]byte(given), g.Token) == 1 {
		return 0, nil
	}
	if host := g.host(given); host != "" {
		if !ctx.IsPost() || string(ctx.Path()) != "/logs" {
			return fasthttp.StatusForbidden, fmt.Errorf("the token of the host %s may post its lines, and nothing else", host)
		}
		ctx.SetUserValue(hostValue{}, host)
		return 0, nil
	}
	ctx.Response.Header.Set(fasthttp.HeaderWWWAuthenticate, `Basic realm="winnow", charset="UTF-8"`)
	return fasthttp.StatusUnauthorized, errors.New("a token is needed: as `Authorization: Bearer TOKEN`, or as the password in a browser")
}

type hostValue struct{}

// HostOf is the host whose token a request came with, "" where it may speak for any.
func HostOf(ctx *fasthttp.RequestCtx) string {
	host, _ := ctx.UserValue(hostValue{}).(string)
	return host
}

func (g *Guard) host(given string) string {
	if g.Host == nil || given == "" {
		return ""
	}
	return g.Host(given)
}

// credential is a token as a bearer's, or as the password of any user, which is what
// a browser can be asked for.
func credential(header []byte) string {
	scheme, given, _ := strings.Cut(string(header), " ")
	if strings.EqualFold(scheme, "Basic") {
		text, err := base64.StdEncoding.DecodeString(given)
		if err != nil {
			return ""
		}
		_, given, _ = strings.Cut(string(text), ":")
	} else if !strings.EqualFold(scheme, "Bearer") {
		return ""
	}
	return given
}

// Loopback tells whether addr can be reached from this machine alone.
func Loopback(addr string) bool {
	host, _, err := net.SplitHostPort(addr)
	return err == nil && localName(hostName(host))
}

func localName(name string) bool {
	ip, err := netip.ParseAddr(name)
	return name == "localhost" || err == nil && ip.IsLoopback()
}

// hostName is the name or address of a Host, as it is compared.
func hostName(host string) string {
	name, _, err := net.SplitHostPort(host)
	if err != nil {
		name = strings.TrimSuffix(strings.TrimPrefix(host, "["), "]")
	}
	if ip, err := netip.ParseAddr(name); err == nil {
		return ip.Unmap().String()
	}
	return strings.ToLower(name)
}
