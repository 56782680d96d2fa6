package install

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestTheRPMsAreInstalledAndRemoved has rpm install them in an empty root, verify each file and remove them again. There is no
// system with rpm to boot here, so that their scripts are only read, by the shell and by us.
func TestTheRPMsAreInstalledAndRemoved(t *testing.T) {
	var files []string
	for _, name := range staged {
		found, _ := filepath.Glob(filepath.Join(os.Getenv("WARREN_PACKAGES"), name+"-[0-9]*.x86_64.rpm"))
		files = append(files, found...)
	}
	if len(files) != len(staged) || os.Geteuid() != 0 {
		const why = "needs root and packages: run `sudo make test-packages`"
		if os.Getenv("CI") == "true" || os.Getenv("WARREN_PACKAGES") != "" {
			t.Fatalf("%q: %s", files, why)
		}
		t.Skip(why)
	}
	dir := t.TempDir()
	rpm := []string{"rpm", "--root", dir + "/root", "--dbpath", "/var/lib/rpm"}
	with := func(args ...string) []string { return append(append([]string(nil), rpm...), args...) }
	shell(t, "mkdir", "-p", dir+"/root/var/lib/rpm")
	// It names programs that an empty root has not.
	install := append(with("--ignorearch", "--nodeps", "--noscripts", "--install"), files...)
	shell(t, install...)
	if said := shell(t, with(append([]string{"--verify", "--nodeps", "--noscripts"}, staged...)...)...); strings.TrimSpace(said) != "" {
		t.Errorf("what is installed is not what is packed:\n%s", said)
	}
	list := shell(t, "sh", "-c", "cd "+dir+"/root && find . ! -type d ! -path './var/lib/rpm/*'")
	for _, file := range []string{
		"usr/bin/warren", "usr/bin/warrend", "usr/bin/warren-coord", "usr/bin/warren-relay", "usr/lib/systemd/system/warrend.service",
		"usr/share/zsh/site-functions/_warren", "usr/share/doc/warren/warren.cdx.json", "etc/default/warren-coord",
	} {
		if !strings.Contains(list, "./"+file+"\n") {
			t.Errorf("the packages have no %s:\n%s", file, list)
		}
	}
	shell(t, with(append([]string{"--nodeps", "--noscripts", "--erase"}, staged...)...)...)
	if left := shell(t, "sh", "-c", "cd "+dir+"/root && find . ! -type d ! -path './var/lib/rpm/*'"); left != "" {
		t.Errorf("after the removal there is still:\n%s", left)
	}
	for i, file := range files {
		scripts := shell(t, "rpm", "--query", "--package", "--queryformat", "%{POSTIN}\n%{PREUN}\n%{POSTUN}\n", file)
		script := filepath.Join(dir, "scripts")
		if err := os.WriteFile(script, []byte(scripts), 0o600); err != nil {
			t.Fatal(err)
		}
		shell(t, "sh", "-n", script)
		if strings.Contains(scripts, "@") || !strings.Contains(scripts, "systemctl daemon-reload") || !strings.Contains(scripts, staged[i]) {
			t.Errorf("the scripts of %s:\n%s", file, scripts)
		}
	}
}
