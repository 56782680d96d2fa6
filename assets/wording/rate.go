package wording

import (
	"fmt"
	"strconv"
)

// Rate is a flag in Mbit/s for a number of bytes per second.
type Rate int64

const bytesPerMegabit = 1_000_000 / 8

// String implements pflag.Value.
func (r *Rate) String() string { return strconv.FormatFloat(float64(*r)/bytesPerMegabit, 'f', -1, 64) }

// Type implements pflag.Value.
func (r *Rate) Type() string { return "Mbit/s" }

// Set implements pflag.Value.
func (r *Rate) Set(text string) error {
	n, err := strconv.ParseFloat(text, 64)
	if err != nil || !(n >= 0 && n <= 1e6) || n > 0 && n < 0.1 {
		return fmt.Errorf("%q is no rate: give a number of Mbit/s from 0.1 to 1000000, or 0 for none", text)
	}
	*r = Rate(n * bytesPerMegabit)
	return nil
}
