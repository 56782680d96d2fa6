package tunnel

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
	"golang.zx2c4.com/wireguard/tun"
)

// counted is the TUN. It counts packets for calm. The device does not follow the interface's state: it would close the Bind
// whenever that is down, and so before its first up, and the Bind's port and paths with it.
type counted struct {
	tun.Device
	calm *calm
	pad  int
}

func createTUN(name string, mtu, pad int, c *calm) (tun.Device, error) {
	if len(name) >= unix.IFNAMSIZ {
		return nil, fmt.Errorf("%q is too long for the name of an interface (%d characters at the most)", name, unix.IFNAMSIZ-1)
	}
	// openTUN would take over a TUN that persists. What is there is somebody else's.
	if err := taken(name); err != nil {
		return nil, err
	}
	dev, err := openTUN(name, mtu)
	if err != nil {
		return nil, explainTUN(name, err)
	}
	return &counted{Device: dev, calm: c, pad: pad}, nil
}

// openTUN does as tun.CreateTUN, which also asks each second whether the interface is up: most of what wakes an idle machine.
func openTUN(name string, mtu int) (tun.Device, error) {
	fd, err := unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	if err = setUp(fd, name); err == nil {
		err = setMTU(name, mtu)
	}
	if err != nil {
		_ = unix.Close(fd)
		return nil, err
	}
	dev, _, err := tun.CreateUnmonitoredTUNFromFD(fd) // which closes it, also if that fails
	return dev, err
}

// setUp makes the interface, as the device needs it: bare packets in batches.
func setUp(fd int, name string) error {
	ifr, err := unix.NewIfreq(name)
	if err != nil {
		return err
	}
	ifr.SetUint16(unix.IFF_TUN | unix.IFF_NO_PI | unix.IFF_VNET_HDR)
	return unix.IoctlIfreq(fd, unix.TUNSETIFF, ifr)
}

func setMTU(name string, mtu int) error {
	ifr, err := unix.NewIfreq(name)
	if err != nil {
		return err
	}
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	ifr.SetUint32(uint32(mtu))
	return unix.IoctlIfreq(fd, unix.SIOCSIFMTU, ifr)
}

// MTU gives what the device pads packets by, and uses for nothing else: routes say how large packets may be.
func (w *counted) MTU() (int, error) { return w.pad, nil }

func (w *counted) Read(bufs [][]byte, sizes []int, offset int) (int, error) {
	n, err := w.Device.Read(bufs, sizes, offset)
	w.calm.count(n)
	return n, err
}

func (w *counted) Write(bufs [][]byte, offset int) (int, error) {
	w.calm.count(len(bufs))
	return w.Device.Write(bufs, offset)
}

// taken says whose the interface of that name is, if there is one.
func taken(name string) error {
	// thread-self: the tests' threads have network namespaces of their own, and /sys/class/net shows the mounter's.
	table, err := os.ReadFile("/proc/thread-self/net/dev")
	if err != nil || !strings.Contains(string(table), " "+name+":") && !strings.Contains(string(table), "\n"+name+":") {
		return nil
	}
	if who := holder(name); who != "" {
		return fmt.Errorf("an interface named %s exists already, made by %s: stop that first", name, who)
	}
	return fmt.Errorf("an interface named %s exists already, and it is not ours: remove it (ip link del %s) or stop what made it", name, name)
}

// holder finds the program that has the TUN of that name open, from /proc/PID/fdinfo ("iff:\tNAME").
func holder(name string) string {
	infos, _ := filepath.Glob("/proc/[0-9]*/fdinfo/*")
	for _, info := range infos {
		parts := strings.Split(info, "/")
		pid, fd := parts[2], parts[4]
		if target, err := os.Readlink("/proc/" + pid + "/fd/" + fd); err != nil || target != "/dev/net/tun" {
			continue
		}
		text, _ := os.ReadFile(info)
		if !strings.Contains(string(text), "iff:\t"+name+"\n") {
			continue
		}
		comm, _ := os.ReadFile("/proc/" + pid + "/comm")
		who := strings.TrimSpace(string(comm))
		if pid == strconv.Itoa(os.Getpid()) {
			who = "this very process"
		}
		return fmt.Sprintf("%s (process %s)", who, pid)
	}
	return ""
}

// explainTUN says what to do about the ways in which there can be no TUN.
func explainTUN(name string, err error) error {
	const container = "in a container, give it --device /dev/net/tun and --cap-add NET_ADMIN"
	switch {
	case errors.Is(err, unix.EBUSY):
		return fmt.Errorf("an interface named %s exists already and is in use: stop what made it: %w", name, err)
	case errors.Is(err, fs.ErrPermission):
		return fmt.Errorf("no permission to make the interface %s: run warrend as root, or with CAP_NET_ADMIN; %s: %w", name, container, err)
	case strings.Contains(err.Error(), "does not exist"), errors.Is(err, unix.ENODEV), errors.Is(err, unix.ENXIO), errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("this kernel has no TUN device at /dev/net/tun: load it with `modprobe tun`; %s: %w", container, err)
	}
	return fmt.Errorf("cannot make the interface %s: %w", name, err)
}
