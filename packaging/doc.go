// Package packaging holds no program: beside it lie the systemd units and what makes packages of the programs, and here
// are the tests of both.
//
//	deps      installs what make needs
//	aur/      what Arch's users build packages with
//	build     makes the packages; stage puts built programs where other distributions' packages have them
//	compose.yaml  how Docker runs a server; image writes the servers as containers' images
//	desktop/  how desktops start the tray, list it and know its name
//	install/  has them installed in small Debians, and looks at what they do there
//	manual/   how the programs write their man pages
//	polkit/   whom polkit lets use and administer warrend, beside root and the group warren
//	systemd/  units, the group of those who may use warren without sudo, and what the servers are started with
//	vulncheck looks for known vulnerabilities in what our code calls
//	repository  makes a signed repository of the packages
//	testdata/ what the tests are made with
//	tools/    the tools, in versions of their own, sbom, which says what is inside a package, and image, which writes one
package packaging
