// The program image writes a server as a container's image: an OCI image layout (github.com/opencontainers/image-spec), for
// several architectures, without a daemon and without a network. In it are the program, which is static, the certificates of
// the authorities that this system trusts, and a folder for its state that is its user's.
//
//	image -name warren-coord -version 1.2.3 -argument serve -port 8443/tcp -port 3478/udp -out DIR amd64=PROGRAM arm64=PROGRAM
//
// Times are those of SOURCE_DATE_EPOCH, in seconds since 1970: the same programs and certificates give the same bytes.
package main

import (
	"archive/tar"
	"bytes"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

const (
	// user is who the program runs as: none of the host's, and the number that images without a distribution use.
	user         = 65532
	certificates = "/etc/ssl/certs/ca-certificates.crt"
)

// list is a flag that may be given several times.
type list []string

func (l *list) String() string { return strings.Join(*l, " ") }

func (l *list) Set(s string) error { *l = append(*l, s); return nil }

// image is what all architectures have in common.
type image struct {
	name, version string
	ports         list
	arguments     list
	made          time.Time
	authorities   []byte
}

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "image:", err)
		os.Exit(1)
	}
}

func run() error {
	var im image
	flag.StringVar(&im.name, "name", "", "the program's name")
	flag.StringVar(&im.version, "version", "", "its version, which is the image's reference in the layout too")
	flag.Var(&im.ports, "port", "a port that it listens on, such as 8443/tcp")
	flag.Var(&im.arguments, "argument", "what the program is started with")
	out := flag.String("out", "", "a folder that is not there yet")
	flag.Parse()
	if im.name == "" || im.version == "" || *out == "" || flag.NArg() == 0 {
		return errors.New("give -name, -version, -out and at least one ARCH=PROGRAM")
	}
	epoch, err := strconv.ParseInt(os.Getenv("SOURCE_DATE_EPOCH"), 10, 64)
	if err != nil {
		return fmt.Errorf("SOURCE_DATE_EPOCH has to be set to seconds since 1970: %w", err)
	}
	im.made = time.Unix(epoch, 0).UTC()
	if im.authorities, err = os.ReadFile(certificates); err != nil {
		return fmt.Errorf("the package ca-certificates is needed: %w", err)
	}
	index := mutate.IndexMediaType(empty.Index, types.OCIImageIndex)
	for _, arg := range flag.Args() {
		arch, program, _ := strings.Cut(arg, "=")
		one, err := im.build(arch, program)
		if err != nil {
			return err
		}
		index = mutate.AppendManifests(index, mutate.IndexAddendum{Add: one, Descriptor: v1.Descriptor{Platform: &v1.Platform{OS: "linux", Architecture: arch}}})
	}
	if err := os.Mkdir(*out, 0o755); err != nil {
		return err
	}
	to, err := layout.Write(*out, empty.Index)
	if err != nil {
		return err
	}
	return to.AppendIndex(index, layout.WithAnnotations(map[string]string{"org.opencontainers.image.ref.name": im.version}))
}

// build makes the image of one architecture.
func (im image) build(arch, program string) (v1.Image, error) {
	content, err := os.ReadFile(program)
	if err != nil {
		return nil, err
	}
	files, err := im.files(content)
	if err != nil {
		return nil, err
	}
	layer, err := tarball.LayerFromOpener(func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(files)), nil },
		tarball.WithMediaType(types.OCILayer))
	if err != nil {
		return nil, err
	}
	one := mutate.ConfigMediaType(mutate.MediaType(empty.Image, types.OCIManifestSchema1), types.OCIConfigJSON)
	one, err = mutate.Append(one, mutate.Addendum{Layer: layer, History: v1.History{Created: v1.Time{Time: im.made}, CreatedBy: "packaging/image"}})
	if err != nil {
		return nil, err
	}
	state := "/var/lib/" + im.name
	config := v1.ConfigFile{
		OS: "linux", Architecture: arch, Created: v1.Time{Time: im.made},
		Config: v1.Config{
			User: fmt.Sprintf("%d:%d", user, user), WorkingDir: "/", Env: []string{"PATH=/usr/bin", "HOME=/", "STATE_DIRECTORY=" + state},
			Entrypoint: []string{"/usr/bin/" + im.name}, Cmd: im.arguments, Volumes: map[string]struct{}{state: {}}, ExposedPorts: map[string]struct{}{},
			Labels: map[string]string{
				"org.opencontainers.image.title": im.name, "org.opencontainers.image.version": im.version,
				"org.opencontainers.image.source": "https://github.com/warren-mesh/warren", "org.opencontainers.image.licenses": "Apache-2.0",
			},
		},
	}
	for _, port := range im.ports {
		config.Config.ExposedPorts[port] = struct{}{}
	}
	was, err := one.ConfigFile()
	if err != nil {
		return nil, err
	}
	config.RootFS, config.History = was.RootFS, was.History
	return mutate.ConfigFile(one, &config)
}

// files is the tar of all that is in the image.
func (im image) files(program []byte) ([]byte, error) {
	var out bytes.Buffer
	w := tar.NewWriter(&out)
	add := func(name string, mode int64, owner int, content []byte) error {
		h := &tar.Header{Name: name, Mode: mode, Uid: owner, Gid: owner, Size: int64(len(content)), ModTime: im.made, Typeflag: tar.TypeReg, Format: tar.FormatPAX}
		if strings.HasSuffix(name, "/") {
			h.Typeflag = tar.TypeDir
		}
		if err := w.WriteHeader(h); err != nil {
			return err
		}
		_, err := w.Write(content)
		return err
	}
	line := fmt.Sprintf("%s:x:%d:%d::/:/usr/sbin/nologin\n", im.name, user, user)
	err := errors.Join(
		add("etc/", 0o755, 0, nil), add("etc/ssl/", 0o755, 0, nil), add("etc/ssl/certs/", 0o755, 0, nil),
		add(certificates[1:], 0o644, 0, im.authorities),
		add("etc/passwd", 0o644, 0, []byte("root:x:0:0::/:/usr/sbin/nologin\n"+line)),
		add("etc/group", 0o644, 0, fmt.Appendf(nil, "root:x:0:\n%s:x:%d:\n", im.name, user)),
		add("tmp/", 0o1777, 0, nil), add("usr/", 0o755, 0, nil), add("usr/bin/", 0o755, 0, nil),
		add("usr/bin/"+im.name, 0o755, 0, program),
		add("var/", 0o755, 0, nil), add("var/lib/", 0o755, 0, nil), add("var/lib/"+im.name+"/", 0o700, user, nil),
		w.Close(),
	)
	return out.Bytes(), err
}
