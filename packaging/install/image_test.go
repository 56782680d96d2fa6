package install

import (
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"syscall"
	"testing"
	"time"
)

// images is where "make image" wrote them.
func images(t *testing.T) string {
	t.Helper()
	dir := os.Getenv("WARREN_IMAGES")
	if dir == "" || os.Geteuid() != 0 {
		const why = "needs root and images: run `sudo make test-packages`"
		if os.Getenv("CI") == "true" {
			t.Fatal(why)
		}
		t.Skip(why)
	}
	return dir
}

// reference is an image as skopeo and umoci name it.
func reference(t *testing.T, dir, name string) string {
	t.Helper()
	index, err := os.ReadFile(filepath.Join(dir, name, "index.json"))
	if err != nil {
		t.Fatal(err)
	}
	m := regexp.MustCompile(`"org.opencontainers.image.ref.name": ?"([^"]+)"`).FindSubmatch(index)
	if m == nil {
		t.Fatalf("the index names no image: %s", index)
	}
	return filepath.Join(dir, name) + ":" + string(m[1])
}

// TestTheImagesAreReadByOthers has skopeo read each image and give it to what Docker loads.
func TestTheImagesAreReadByOthers(t *testing.T) {
	dir := images(t)
	for _, name := range []string{"warren-coord", "warren-relay"} {
		for _, arch := range []string{"amd64", "arm64"} {
			var config struct {
				Architecture string
				Config       struct {
					User            string
					Entrypoint, Cmd []string
				}
			}
			out := shell(t, "skopeo", "--override-arch", arch, "inspect", "--config", "oci:"+reference(t, dir, name))
			if err := json.Unmarshal([]byte(out), &config); err != nil || config.Architecture != arch || config.Config.User != "65532:65532" ||
				len(config.Config.Entrypoint) != 1 || config.Config.Entrypoint[0] != "/usr/bin/"+name || len(config.Config.Cmd) == 0 {
				t.Errorf("%s for %s (%v): %s", name, arch, err, out)
			}
			shell(t, "skopeo", "--override-arch", arch, "copy", "--quiet", "oci:"+reference(t, dir, name), "docker-archive:"+filepath.Join(t.TempDir(), "tar")+":"+name+":latest")
		}
	}
}

// TestTheServerServesFromItsImage unpacks it and starts it there as compose.yaml does: as its user, with nothing else around it.
func TestTheServerServesFromItsImage(t *testing.T) {
	dir := images(t)
	const url = "https://127.0.0.1:8443"
	// Compose refuses what it does not know, and a variable that is needed and missing.
	command := exec.CommandContext(t.Context(), "docker-compose", "--file", "../compose.yaml", "config", "--quiet")
	if out, err := command.CombinedOutput(); err == nil || !bytes.Contains(out, []byte("WARREN_URL")) {
		t.Errorf("without WARREN_URL compose says %v: %s", err, out)
	}
	shell(t, "env", "WARREN_URL="+url, "docker-compose", "--file", "../compose.yaml", "config", "--quiet")
	text, err := os.ReadFile("../compose.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var args []string
	line := regexp.MustCompile(`(?m)^    command: (.*)$`).FindSubmatch(text)
	if line == nil || json.Unmarshal(line[1], &args) != nil {
		t.Fatalf("compose.yaml starts it with %s", line)
	}
	for i := range args {
		args[i] = regexp.MustCompile(`[$][{]WARREN_URL[^}]*[}]`).ReplaceAllString(args[i], url)
	}

	// umoci wants an image of one architecture.
	work := t.TempDir()
	shell(t, "skopeo", "--override-arch", runtime.GOARCH, "copy", "--quiet", "oci:"+reference(t, dir, "warren-coord"), "oci:"+work+"/one:latest")
	shell(t, "umoci", "unpack", "--image", work+"/one:latest", work+"/bundle")
	root := work + "/bundle/rootfs"
	// A network of its own, where no port is another's; and only what the image has, and /proc, as each container has it.
	if err := os.Mkdir(root+"/proc", 0o755); err != nil {
		t.Fatal(err)
	}
	inside := []string{"env", "-i", "PATH=/usr/bin:/usr/sbin:/bin:/sbin", "HOME=/", "STATE_DIRECTORY=/var/lib/warren-coord"}
	enter := append(slices.Clone(inside), "chroot", "--userspec=65532:65532", "--groups=65532", root, "/usr/bin/warren-coord")
	start := append(slices.Clone(enter), args...)
	server := exec.Command("unshare", append([]string{"--net", "--mount", "sh", "-c", `ip link set lo up && mount -t proc proc "$0/proc" && exec "$@"`, root}, start...)...)
	server.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	said, err := os.Create(work + "/said")
	if err != nil {
		t.Fatal(err)
	}
	defer said.Close()
	server.Stdout, server.Stderr = said, said
	if err := server.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- server.Wait() }()
	defer func() { _ = server.Process.Kill(); <-ended }()
	for end := time.Now().Add(patience); ; time.Sleep(50 * time.Millisecond) {
		out, err := exec.CommandContext(t.Context(), "nsenter", append(append([]string{"--target", strconv.Itoa(server.Process.Pid), "--mount"}, enter...), "status")...).CombinedOutput()
		if err == nil && bytes.Contains(out, []byte(url)) {
			break
		}
		if time.Now().After(end) {
			text, _ := os.ReadFile(said.Name())
			t.Fatalf("the server in the image does not serve: %v %s\n%s", err, out, text)
		}
	}
	_ = server.Process.Signal(syscall.SIGTERM)
	select {
	case err := <-ended:
		ended <- err
		if err != nil {
			t.Errorf("told to stop, it ended with %v", err)
		}
	case <-time.After(patience):
		t.Error("it does not stop when it is told to")
		_ = server.Process.Kill()
	}
}
