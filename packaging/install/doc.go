// Package install holds no program: its test has the packages installed in two small Debians that systemd boots, each in a
// network of its own, and looks at what they do to these hosts over their whole life. "make test-packages" runs it.
//
//	box_test.go        a Debian in a container, and the cable between two
//	install_test.go    install, connect, crash, reboot, remove, purge
//	upgrade_test.go    newer programs, a changed database, and the way back
//	documents_test.go  the commands of the documents, typed by a person, as ways.txt says
//	apt_test.go        the signed repository, from which apt installs
//	aur_test.go        Arch's packages, as far as Debian's makepkg goes
package install
