package tunnel

import (
	"context"
	"fmt"
	"log/slog"
	"regexp"

	"golang.zx2c4.com/wireguard/device"
)

// long matches keys in base64 or hexadecimal, whatever they are of.
var long = regexp.MustCompile(`[0-9a-fA-F]{64}|[A-Za-z0-9+/]{43}=`)

// logger brings the device's lines into ours. Its debug lines are formatted only where they are shown, and no whole key
// passes: the device abbreviates those of peers by itself, the rest is cut here.
func logger(log *slog.Logger) *device.Logger {
	at := func(level slog.Level) func(string, ...any) {
		return func(format string, args ...any) {
			if log.Enabled(context.Background(), level) {
				log.Log(context.Background(), level, clean(fmt.Sprintf(format, args...)), "from", "wireguard")
			}
		}
	}
	// What the device calls errors are mostly packets that could not be sent: worth a look, not an alarm.
	return &device.Logger{Verbosef: at(slog.LevelDebug), Errorf: at(slog.LevelWarn)}
}

func clean(line string) string {
	return long.ReplaceAllStringFunc(line, func(k string) string { return k[:8] + "…" })
}
