package main

// What doctor says, and below, bugreport.
const (
	textShortDoctor = "Look for what is wrong on this host, and say what to do"
	textLongDoctor  = `Doctor looks at all that warren needs of this host: the TUN device, the packet filter, who manages DNS, other VPNs and
firewalls, the time, MTUs, permissions, the daemon and its servers. Each finding comes with what to do about it. It changes
nothing.

It ends with 1 if there is a problem; a notice is none.`

	textDoctorTUN      = "/dev/net/tun is there"
	textDoctorNoTUN    = "there is no /dev/net/tun, so no interface can be made"
	textFixTUN         = "Load it: sudo modprobe tun\nIn a container the host has to pass it in: --device /dev/net/tun"
	textDoctorNFT      = "the kernel has nftables"
	textDoctorNoNFT    = "no nftables was found in the kernel; exit nodes, lockdown and access rules need it"
	textFixNFT         = "Load it: sudo modprobe nf_tables"
	textDoctorMay      = "you may use warren"
	textDoctorMayNot   = "you may look, but not connect or change anything"
	textFixMayNot      = "Join the group: sudo groupadd --system --force warren && sudo usermod -aG warren $USER\nThen log in again"
	textDoctorTime     = "the clock is set, and something keeps it right"
	textDoctorNoTime   = "the clock says %s: certificates and logins will not hold"
	textDoctorUnsynced = "nothing is known to keep the clock right"
	textFixTime        = "Have it set: sudo timedatectl set-ntp true\nIf that is not supported, install systemd-timesyncd or chrony first"

	textDoctorOverlap    = "%s leads to %s, which are addresses of this network (%s): one of the two will not be reached"
	textDoctorTakesAll   = "%s takes all packets to the internet: paths to other machines may go through it"
	textDoctorNoVPN      = "no other VPN is in the way"
	textFixVPN           = "Switch one of the two off, or give the network other addresses on its server (--ipv4)"
	textDoctorMTU        = "%s takes packets of at most %d bytes; the tunnel needs %d"
	textFixMTU           = "Raise it: sudo ip link set %s mtu 1500"
	textDoctorFirewall   = "%s is on; it may refuse what others send to UDP port %s, and paths then begin at the relay"
	textDoctorLetIn      = "this host's firewall lets UDP port %s in"
	textDoctorNoFirewall = "no firewall is known to be in the way"
	textDoctorMarked     = "/etc/resolv.conf still asks warrend, which does not run"
	textFixMarked        = "Start it: sudo systemctl start warrend\nOr put the file back: sudo warrend recover"

	textDoctorDaemon    = "warrend %s runs"
	textDoctorVersions  = "warrend is version %s, this command is %s"
	textFixVersions     = "Start the newer one: sudo systemctl restart warrend"
	textDoctorNotUp     = "this machine is not on its network"
	textFixNotUp        = "See why: warren status\nConnect: warren up"
	textDoctorServer    = "connected to %s"
	textDoctorNoServer  = "%s cannot be reached: %s"
	textFixNoServer     = "Tunnels go on meanwhile. Look whether this host is online, and at the server: warren-coord status"
	textDoctorRelay     = "a relay is connected"
	textDoctorRelayless = "the network has no relay: machines without a direct path cannot talk"
	textFixRelayless    = "Add one at the server: warren-coord relay add"
	textDoctorNoRelay   = "no relay can be reached: machines without a direct path cannot talk"
	textFixNoRelay      = "Let UDP port 3478 or TCP port 443 out; see what the network lets through: warren netcheck"
	textDoctorDNS       = "names are found through %s: %s"
	textDoctorContested = "another program keeps changing this host's DNS"
	textFixContested    = "See which: warren dns status\nOr leave DNS alone: warren set --accept-dns=false"
)

// What bugreport says.
const (
	textShortBugreport = "Write a report of what went wrong, without secrets, into a file"
	textLongBugreport  = `Bugreport writes an archive for whoever is to look for a fault: versions, the status, the settings, a check of the
network, what doctor finds, and the end of warrend's log. It is sent nowhere: read it, and pass it on if you like.

Keys and other secrets are left out. Names of people, machines and servers, and addresses, are replaced, the same one by the
same word everywhere. The log can be read by root and the group systemd-journal only.`
	textFlagBugreport   = "where to write; a file that is there is not replaced"
	textBugreport       = "Written: %s. It was sent nowhere. Look at it: tar -xzf it, then read the files."
	textNoBugreport     = "the report could not be written: "
	textNoLog           = "The log cannot be read (sudo warren bugreport reads it): "
	textBugreportReadme = `A report of Warren's. Secrets were left out. What named a person, a machine or a place was replaced, the same by the same
word in all files:

  name-N    a person, a machine, a network or a login    host-N    a server, or another name with dots
  mesh-N    an address of a private network like this    lan-N     a private address
  public-N  a public address                             link-N    a link-local address
  mac-N     a hardware address                           user-N    an address of mail
`
)
