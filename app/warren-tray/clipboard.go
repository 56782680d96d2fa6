package main

// #cgo pkg-config: x11
// #include <X11/Xlib.h>
//
// // owner is the window whose program has the clipboard.
// static Window owner(void *display) {
//	return XGetSelectionOwner(display, XInternAtom(display, "CLIPBOARD", False));
// }
import "C"

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"time"
	"unsafe"

	"github.com/go-gl/glfw/v3.3/glfw"
)

const (
	// maxCopied bounds a text to copy, in bytes.
	maxCopied = 64 << 10
	// kept is what the process says that has the clipboard.
	kept = "kept\n"
)

var errNoClipboard = errors.New("the clipboard cannot be had")

// keepInClipboard puts a text into X's clipboard. X itself keeps none: the program that has copied hands the text out, to whoever
// pastes. That is a process of its own, so that neither the icon's needs the display nor the text goes with a window.
func keepInClipboard(ctx context.Context, text string) error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	cmd := exec.Command(self, "--keep-clipboard")
	cmd.Stdin = strings.NewReader(text) // a command line can be read by others
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	said := make(chan error, 1)
	go func() {
		line, err := bufio.NewReader(out).ReadString('\n')
		if line == kept {
			err = nil
		}
		said <- err
		_ = cmd.Wait() // no zombie stays
	}()
	select {
	case err = <-said:
	case <-ctx.Done():
		err = ctx.Err()
	}
	if err != nil {
		_ = cmd.Process.Kill()
		return fmt.Errorf("%w: %w", errNoClipboard, err)
	}
	return nil
}

// runClipboard is that process. It ends when somebody copies something else, or the display does.
func runClipboard(ctx context.Context) error {
	text, err := io.ReadAll(io.LimitReader(os.Stdin, maxCopied))
	if err != nil {
		return err
	}
	if err := glfw.Init(); err != nil {
		return fmt.Errorf("%w: %w", errNoClipboard, err)
	}
	defer glfw.Terminate()
	glfw.SetClipboardString(string(text))
	display := unsafe.Pointer(glfw.GetX11Display())
	ours := C.owner(display)
	if _, err := fmt.Print(kept); err != nil {
		return err
	}
	stop := context.AfterFunc(ctx, glfw.PostEmptyEvent)
	defer stop()
	for ctx.Err() == nil && ours != C.None && C.owner(display) == ours {
		glfw.WaitEventsTimeout(float64(time.Hour / time.Second))
	}
	return nil
}
