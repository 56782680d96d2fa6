// The program sbom writes what is inside a package, as CycloneDX 1.6 in JSON (https://cyclonedx.org, ECMA-424): its programs,
// and of each the modules that it was linked from, as Go wrote them into it.
//
//	sbom NAME VERSION PROGRAM... >NAME.cdx.json
//
// The time is that of SOURCE_DATE_EPOCH, in seconds since 1970; the same programs give the same bytes.
package main

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"debug/buildinfo"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"go/build"
	"maps"
	"os"
	"path/filepath"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"time"

	cdx "github.com/CycloneDX/cyclonedx-go"
	"github.com/google/licensecheck"
	"github.com/google/uuid"
	"golang.org/x/mod/module"
)

func main() {
	if len(os.Args) < 4 {
		fmt.Fprintln(os.Stderr, "usage: sbom NAME VERSION PROGRAM...")
		os.Exit(2)
	}
	bom, err := describe(os.Args[1], os.Args[2], os.Args[3:])
	if err == nil {
		err = cdx.NewBOMEncoder(os.Stdout, cdx.BOMFileFormatJSON).SetPretty(true).SetEscapeHTML(false).EncodeVersion(bom, cdx.SpecVersion1_6)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "sbom:", err)
		os.Exit(1)
	}
}

// describe lists the programs below the package, and all modules of all of them beside it.
func describe(name, version string, files []string) (*cdx.BOM, error) {
	epoch, err := strconv.ParseInt(os.Getenv("SOURCE_DATE_EPOCH"), 10, 64)
	if err != nil {
		return nil, fmt.Errorf("SOURCE_DATE_EPOCH has to be set to seconds since 1970: %w", err)
	}
	identity := name + " " + version
	libraries := map[string]cdx.Component{}
	var programs []cdx.Component
	var dependencies []cdx.Dependency
	for _, file := range files {
		content, err := os.ReadFile(file)
		if err != nil {
			return nil, err
		}
		info, err := buildinfo.Read(bytes.NewReader(content))
		if err != nil {
			return nil, fmt.Errorf("%s: %w", file, err)
		}
		sum := sha256.Sum256(content)
		program := cdx.Component{
			BOMRef: "program:" + filepath.Base(file), Type: cdx.ComponentTypeApplication, Name: filepath.Base(file), Version: version,
			Hashes: &[]cdx.Hash{{Algorithm: cdx.HashAlgoSHA256, Value: hex.EncodeToString(sum[:])}},
		}
		identity += " " + hex.EncodeToString(sum[:])
		uses, err := modules(info, libraries)
		if err != nil {
			return nil, err
		}
		programs = append(programs, program)
		dependencies = append(dependencies, cdx.Dependency{Ref: program.BOMRef, Dependencies: &uses})
	}
	listed := slices.SortedFunc(maps.Values(libraries), func(a, b cdx.Component) int { return cmp.Compare(a.BOMRef, b.BOMRef) })
	bom := cdx.NewBOM()
	bom.SerialNumber = uuid.NewSHA1(uuid.NameSpaceURL, []byte("https://github.com/warren-mesh/warren "+identity)).URN()
	bom.Metadata = &cdx.Metadata{
		Timestamp: time.Unix(epoch, 0).UTC().Format(time.RFC3339),
		Component: &cdx.Component{
			BOMRef: "package:" + name, Type: cdx.ComponentTypeApplication, Name: name, Version: version,
			Licenses: &cdx.Licenses{{License: &cdx.License{ID: "Apache-2.0"}}}, Components: &programs,
		},
	}
	bom.Components = &listed
	bom.Dependencies = &dependencies
	return bom, nil
}

// modules adds what a program was linked from to the libraries, and gives their names in the list. Go's own library is one.
func modules(info *debug.BuildInfo, libraries map[string]cdx.Component) (refs []string, err error) {
	std := strings.TrimPrefix(info.GoVersion, "go")
	all := append([]*debug.Module{{Path: "std", Version: std}}, info.Deps...)
	for _, mod := range all {
		if mod.Replace != nil {
			mod = mod.Replace
		}
		ref := "pkg:golang/" + mod.Path + "@" + mod.Version // a package URL, github.com/package-url/purl-spec
		refs = append(refs, ref)
		if _, known := libraries[ref]; known {
			continue
		}
		library := cdx.Component{BOMRef: ref, Type: cdx.ComponentTypeLibrary, Name: mod.Path, Version: mod.Version, PackageURL: ref}
		dir := build.Default.GOROOT
		if mod.Path != "std" {
			if dir, err = cached(mod); err != nil {
				return nil, err
			}
			// What go.sum has: SHA-256 over the list of the module's files (golang.org/x/mod/sumdb/dirhash), in hexadecimal.
			sum, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(mod.Sum, "h1:"))
			if err != nil || len(sum) != sha256.Size {
				return nil, fmt.Errorf("%s@%s has the checksum %q, which is not SHA-256", mod.Path, mod.Version, mod.Sum)
			}
			library.Hashes = &[]cdx.Hash{{Algorithm: cdx.HashAlgoSHA256, Value: hex.EncodeToString(sum)}}
		}
		if library.Licenses, err = licences(dir); err != nil {
			return nil, fmt.Errorf("%s@%s: %w", mod.Path, mod.Version, err)
		}
		libraries[ref] = library
	}
	slices.Sort(refs)
	return refs, nil
}

// cached is where Go keeps a module that it has downloaded.
func cached(mod *debug.Module) (string, error) {
	path, err := module.EscapePath(mod.Path)
	if err != nil {
		return "", err
	}
	version, err := module.EscapeVersion(mod.Version)
	if err != nil {
		return "", err
	}
	cache := cmp.Or(os.Getenv("GOMODCACHE"), filepath.Join(filepath.SplitList(build.Default.GOPATH)[0], "pkg", "mod"))
	return filepath.Join(cache, path+"@"+version), nil
}

// licences names what the texts at the top of a module are, by the words of SPDX where they are known there.
func licences(dir string) (*cdx.Licenses, error) {
	var found cdx.Licenses
	for _, pattern := range []string{"LICEN[SC]E*", "License*", "COPYING*"} {
		files, err := filepath.Glob(filepath.Join(dir, pattern))
		if err != nil {
			return nil, err
		}
		for _, file := range files {
			text, err := os.ReadFile(file)
			if err != nil {
				return nil, err
			}
			known := cdx.License{Name: "see the text of " + filepath.Base(file)}
			for _, match := range licensecheck.Scan(text).Match {
				if !match.IsURL {
					known = cdx.License{ID: match.ID}
					found = append(found, cdx.LicenseChoice{License: &known})
				}
			}
			if known.ID == "" {
				found = append(found, cdx.LicenseChoice{License: &known})
			}
		}
	}
	name := func(l cdx.LicenseChoice) string { return l.License.ID + l.License.Name }
	slices.SortFunc(found, func(a, b cdx.LicenseChoice) int { return cmp.Compare(name(a), name(b)) })
	found = slices.CompactFunc(found, func(a, b cdx.LicenseChoice) bool { return name(a) == name(b) })
	if len(found) == 0 {
		return nil, fmt.Errorf("no licence is in %s", dir)
	}
	return &found, nil
}
