// Package assets holds what programs show: page templates and styles.
//
//	pages/    templates (html/template), one file for each page, and the frame around them
//	static/   what pages load: the style, the mark, and a script each for what is so now and for passkeys
//
// Pages work without JavaScript, all but passkeys, which browsers give to scripts only. Nothing is from another host.
package assets

import "embed"

// Pages are the templates of the coordination server's pages: pages/*.html.
//
//go:embed pages/*.html
var Pages embed.FS

// Static is what browsers may load by name: static/*.
//
//go:embed static/*
var Static embed.FS
