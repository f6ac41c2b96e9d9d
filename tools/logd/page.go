package main

import (
	"embed"
	"mime"
	"path"

	"github.com/valyala/fasthttp"
)

//go:embed page
var pages embed.FS

// servePage answers a file of the page.
func servePage(ctx *fasthttp.RequestCtx, name string) {
	text, err := pages.ReadFile("page/" + name)
	if err != nil {
		fail(ctx, fasthttp.StatusNotFound, "nothing is at %s", ctx.Path())
		return
	}
	ctx.SetContentType(mime.TypeByExtension(path.Ext(name)))
	ctx.SetBody(text)
}
