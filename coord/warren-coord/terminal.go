package main

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"strings"
	"syscall"
	"unsafe"
)

// ioctl gets or sets a terminal's settings (ioctl_tty(2)).
func ioctl(f *os.File, request uintptr, t *syscall.Termios) error {
	_, _, errno := syscall.Syscall(syscall.SYS_IOCTL, f.Fd(), request, uintptr(unsafe.Pointer(t))) //nolint:gosec // as ioctl wants it
	if errno != 0 {
		return errno
	}
	return nil
}

func isTerminal(f *os.File) bool {
	var t syscall.Termios
	return ioctl(f, syscall.TCGETS, &t) == nil
}

// hidden reads a line that the terminal does not show.
func hidden(f *os.File, prompts io.Writer, prompt string) (string, error) {
	var was syscall.Termios
	if err := ioctl(f, syscall.TCGETS, &was); err != nil {
		return "", err
	}
	silent := was
	silent.Lflag &^= syscall.ECHO
	silent.Lflag |= syscall.ECHONL
	if err := ioctl(f, syscall.TCSETS, &silent); err != nil {
		return "", err
	}
	defer func() { _ = ioctl(f, syscall.TCSETS, &was) }()
	_, _ = fmt.Fprint(prompts, prompt)
	line, err := bufio.NewReader(f).ReadString('\n')
	return strings.TrimRight(line, "\r\n"), err
}
