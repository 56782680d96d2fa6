package main

import (
	"net/netip"
	"strings"

	"github.com/spf13/cobra"

	"github.com/warren-mesh/warren/ipc"
)

func (p *program) ip() *cobra.Command {
	var only4, only6, one bool
	cmd := &cobra.Command{
		Use: "ip [NAME]", Short: textShortIP, Long: textLongIP,
		Args:              cobra.MaximumNArgs(1),
		ValidArgsFunction: p.peerNames,
		RunE: func(cmd *cobra.Command, args []string) error {
			if only4 && only6 {
				return usage(cmd, textFlag46)
			}
			c := p.client()
			defer c.Close()
			s, err := c.Status(cmd.Context())
			if err != nil {
				return err
			}
			addrs, err := addrsOf(s, args)
			if err != nil {
				return err
			}
			found := 0
			for _, a := range addrs {
				if only4 && !a.Is4() || only6 && !a.Is6() || one && found > 0 {
					continue
				}
				found++
				p.print("%s", a)
			}
			if found == 0 {
				return &failure{exitPeer, textNoSuchAddr}
			}
			return nil
		},
	}
	cmd.Flags().BoolVarP(&only4, "4", "4", false, textFlag4)
	cmd.Flags().BoolVarP(&only6, "6", "6", false, textFlag6)
	cmd.Flags().BoolVarP(&one, "1", "1", false, textFlag1)
	return cmd
}

// addrsOf returns the addresses of this machine, or of the one that args names.
func addrsOf(s *ipc.Status, args []string) ([]netip.Addr, error) {
	if len(args) == 0 || is(args[0], s.Self.Name, s.Self.DNSName, s.Self.Addrs) {
		if len(s.Self.Addrs) == 0 {
			return nil, &failure{exitNotUp, textNoAddr}
		}
		return s.Self.Addrs, nil
	}
	for i := range s.Peers {
		if p := &s.Peers[i]; is(args[0], p.Name, p.DNSName, p.Addrs) {
			return p.Addrs, nil
		}
	}
	return nil, &failure{exitPeer, textNoPeer}
}

// is tells whether somebody means this machine by text: its name, its DNS name, or one of its addresses.
func is(text, name, dnsName string, addrs []netip.Addr) bool {
	text = strings.TrimSuffix(text, ".")
	if text == "" {
		return false
	}
	if strings.EqualFold(text, name) || strings.EqualFold(text, strings.TrimSuffix(dnsName, ".")) {
		return true
	}
	for _, a := range addrs {
		if a.String() == strings.ToLower(text) {
			return true
		}
	}
	return false
}
