// Package ramdisk has tests keep their files in memory, where the host has room for them: a test of a database waits
// hundreds of times until a platter has what it wrote, and a killed process loses nothing without that either.
package ramdisk

import (
	"os"
	"syscall"
)

const (
	dir  = "/dev/shm" // of every Linux; in containers often a small one, and one that runs no programs
	room = 1 << 30    // bytes that must be free

	magic  = 0x01021994 // TMPFS_MAGIC of statfs(2)
	noExec = 8          // ST_NOEXEC of statfs(2)
)

// Use has the directory for temporary files be in memory from now on, for this process and those that it starts. Where
// TMPDIR is set, or there is too little room, it changes nothing.
func Use() {
	var fs syscall.Statfs_t
	if os.Getenv("TMPDIR") != "" || syscall.Statfs(dir, &fs) != nil {
		return
	}
	if fs.Type == magic && fs.Flags&noExec == 0 && fs.Bavail*uint64(fs.Bsize) >= room {
		_ = os.Setenv("TMPDIR", dir)
	}
}
