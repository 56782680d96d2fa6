package server

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"sync/atomic"
	"time"

	"github.com/warren-mesh/warren/relay"
)

// cookieLife is how long a cookie may be brought back: long enough for a few lost packets, short enough that a
// recorded Join is soon useless.
const cookieLife = 10 * time.Second

// cookies makes and checks cookies: the time, and a code of time and origin that only we can make.
type cookies struct {
	secret [32]byte
	last   atomic.Uint64
}

func newCookies() *cookies {
	c := &cookies{}
	_, _ = rand.Read(c.secret[:]) // never fails
	return c
}

// make gives a cookie for the origin. No two have the same time, so that of two Joins one is the later.
func (c *cookies) make(now int64, o origin) (cookie relay.Cookie) {
	t := uint64(now)
	for {
		last := c.last.Load()
		t = max(t, last+1)
		if c.last.CompareAndSwap(last, t) {
			break
		}
	}
	binary.BigEndian.PutUint64(cookie[:], t)
	copy(cookie[8:], c.code(cookie[:8], o))
	return cookie
}

// check reports whether the cookie was made for the origin not long ago, and when.
func (c *cookies) check(now int64, o origin, cookie relay.Cookie) (t uint64, ok bool) {
	t = binary.BigEndian.Uint64(cookie[:])
	if t > c.last.Load() || now-int64(t) > int64(cookieLife) {
		return 0, false
	}
	return t, hmac.Equal(cookie[8:], c.code(cookie[:8], o))
}

func (c *cookies) code(t []byte, o origin) []byte {
	mac := hmac.New(sha256.New, c.secret[:])
	mac.Write(t)
	if o.ws != nil {
		mac.Write([]byte("websocket"))
		mac.Write(o.ws.id[:])
	} else {
		ip := o.addr.Addr().As16()
		mac.Write(ip[:])
		mac.Write([]byte(o.addr.Addr().Zone()))
		mac.Write(binary.BigEndian.AppendUint16(nil, o.addr.Port()))
	}
	return mac.Sum(nil)[:relay.CookieSize-8]
}
