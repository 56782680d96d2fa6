// Package assets holds what programs show: page templates and styles.
//
//	pages/    templates (html/template), one file for each page, and the frame around them
//	static/   what pages load: the style, the mark, the script that shows what is so now
//
// Pages work without JavaScript. Nothing is from another host.
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
