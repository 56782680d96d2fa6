package icon

import (
	"fmt"
	"math"
)

// shape is a form in the unit square.
type shape interface {
	// depth is how deep a point lies inside: the distance to the edge, negative outside.
	depth(x, y float64) float64
	// path is its outline in an SVG whose sides are size.
	path(size float64) string
}

// badge is a square with round corners.
type badge struct{}

const badgeHalf, badgeCorner = 0.48, 0.25

func (badge) depth(x, y float64) float64 {
	dx, dy := math.Abs(x-0.5)-badgeHalf+badgeCorner, math.Abs(y-0.5)-badgeHalf+badgeCorner
	return badgeCorner - math.Hypot(max(dx, 0), max(dy, 0)) - min(max(dx, dy), 0)
}

func (badge) path(size float64) string {
	a, b, r := 0.5-badgeHalf, 0.5+badgeHalf, badgeCorner
	p := pen{size: size}
	p.move(a+r, a).line(b-r, a).arc(r, b, a+r, true).line(b, b-r).arc(r, b-r, b, true).line(a+r, b).arc(r, a, b-r, true).line(a, a+r).arc(r, a+r, a, true)
	return p.close()
}

// disc is a circle.
type disc struct{ x, y, r float64 }

func (d disc) depth(x, y float64) float64 { return d.r - math.Hypot(x-d.x, y-d.y) }

func (d disc) path(size float64) string {
	p := pen{size: size}
	p.move(d.x-d.r, d.y).arc(d.r, d.x+d.r, d.y, true).arc(d.r, d.x-d.r, d.y, true)
	return p.close()
}

// line has round ends.
type line struct{ x1, y1, x2, y2, width float64 }

func (l line) depth(x, y float64) float64 {
	dx, dy := l.x2-l.x1, l.y2-l.y1
	t := min(max(((x-l.x1)*dx+(y-l.y1)*dy)/(dx*dx+dy*dy), 0), 1)
	return l.width/2 - math.Hypot(x-l.x1-t*dx, y-l.y1-t*dy)
}

func (l line) path(size float64) string {
	length, r := math.Hypot(l.x2-l.x1, l.y2-l.y1), l.width/2
	// To the left of the way from one end to the other.
	nx, ny := (l.y2-l.y1)/length*r, -(l.x2-l.x1)/length*r
	p := pen{size: size}
	p.move(l.x1+nx, l.y1+ny).line(l.x2+nx, l.y2+ny).arc(r, l.x2-nx, l.y2-ny, true).line(l.x1-nx, l.y1-ny).arc(r, l.x1+nx, l.y1+ny, true)
	return p.close()
}

// arch is the entrance of a burrow: half a circle on two legs.
type arch struct{ r, width float64 }

const archTop, archFoot = 0.5, 0.78125

func (a arch) depth(x, y float64) float64 {
	left, right := line{0.5 - a.r, archTop, 0.5 - a.r, archFoot, a.width}, line{0.5 + a.r, archTop, 0.5 + a.r, archFoot, a.width}
	depth := max(left.depth(x, y), right.depth(x, y))
	if y <= archTop {
		depth = max(depth, a.width/2-math.Abs(math.Hypot(x-0.5, y-archTop)-a.r))
	}
	return depth
}

func (a arch) path(size float64) string {
	h := a.width / 2
	out, in := a.r+h, a.r-h
	p := pen{size: size}
	p.move(0.5-out, archFoot).line(0.5-out, archTop).arc(out, 0.5+out, archTop, true).line(0.5+out, archFoot).arc(h, 0.5+in, archFoot, true).
		line(0.5+in, archTop).arc(in, 0.5-in, archTop, false).line(0.5-in, archFoot).arc(h, 0.5-out, archFoot, true)
	return p.close()
}

// pen writes the d of a path.
type pen struct {
	size float64
	d    string
}

func (p *pen) move(x, y float64) *pen { return p.add("M%s %s", x, y) }
func (p *pen) line(x, y float64) *pen { return p.add("L%s %s", x, y) }

// arc goes along a part of a circle, of half of it at the most, with the clock or against it.
func (p *pen) arc(r, x, y float64, clockwise bool) *pen {
	sweep := "0"
	if clockwise {
		sweep = "1"
	}
	return p.add("A%[1]s %[1]s 0 0 "+sweep+" %[2]s %[3]s", r, x, y)
}

func (p *pen) add(format string, v ...float64) *pen {
	words := make([]any, len(v))
	for i, f := range v {
		words[i] = fmt.Sprint(math.Round(f*p.size*100) / 100)
	}
	p.d += fmt.Sprintf(format, words...)
	return p
}

func (p *pen) close() string { return p.d + "Z" }
