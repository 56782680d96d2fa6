package install

import (
	"os"
	"strings"
)

// apt installs from the repository that packaging/repository makes; who changes it without the key is refused.
func (l *life) apt() {
	l.t.Helper()
	dir := l.t.TempDir()
	gpg := []string{"env", "GNUPGHOME=" + dir + "/keys"}
	if err := os.Mkdir(dir+"/keys", 0o700); err != nil {
		l.t.Fatal(err)
	}
	shell(l.t, append(gpg, "gpg", "--batch", "--passphrase", "", "--quick-generate-key", "Test <test@example.org>", "ed25519", "sign", "1d")...)
	shell(l.t, append(gpg, "../repository", "test@example.org", l.debs, dir+"/apt")...)
	shell(l.t, append(gpg, "gpgconf", "--kill", "all")...)
	shell(l.t, "cp", "-r", dir+"/apt", l.host.tree+"/srv/apt")
	source := "Types: deb\nURIs: file:/srv/apt\nSuites: stable\nComponents: main\nSigned-By: /srv/apt/warren.asc\n"
	if err := os.WriteFile(l.host.tree+"/etc/apt/sources.list.d/warren.sources", []byte(source), 0o644); err != nil {
		l.t.Fatal(err)
	}
	// Debian's own cannot be reached from there.
	update := []string{"apt-get", "-o", "Dir::Etc::SourceList=/dev/null", "-o", "APT::Update::Error-Mode=any", "update"}
	l.host.must(update...)
	l.host.must("apt-get", "install", "-y", "--no-install-recommends", "warren")
	l.host.must("systemctl", "is-active", "warrend")
	if said := l.host.must("apt-cache", "policy", "warren"); !strings.Contains(said, "file:/srv/apt stable/main") {
		l.t.Errorf("apt has it from elsewhere:\n%s", said)
	}
	l.host.must("sh", "-c", "sed -i 's/^Suite: .*/Suite: other/' /srv/apt/dists/stable/InRelease; rm -f /var/lib/apt/lists/*InRelease")
	if said, err := l.host.run(update...); err == nil {
		l.t.Errorf("apt takes what was changed without the key:\n%s", said)
	}
}
