package ui

import (
	"image/color"

	"fyne.io/fyne/v2"
	"fyne.io/fyne/v2/theme"
)

// Theme is Fyne's own in Warren's green, light or dark as it was made: Fyne follows the desktop only where it has its own theme.
type Theme struct {
	fyne.Theme
	dark bool
}

// NewTheme makes it.
func NewTheme(dark bool) Theme { return Theme{theme.DefaultTheme(), dark} }

// Color implements fyne.Theme. The greens have a contrast of 4.5 to what stands on them, and to the background.
func (t Theme) Color(name fyne.ThemeColorName, _ fyne.ThemeVariant) color.Color {
	dark, variant := t.dark, theme.VariantLight
	if dark {
		variant = theme.VariantDark
	}
	switch name {
	case theme.ColorNamePrimary, theme.ColorNameHyperlink:
		if dark {
			return color.NRGBA{0x4f, 0xc0, 0x93, 0xff}
		}
		return color.NRGBA{0x1a, 0x74, 0x51, 0xff}
	case theme.ColorNameForegroundOnPrimary:
		if dark {
			return color.NRGBA{0x0a, 0x24, 0x1a, 0xff}
		}
		return color.White
	case theme.ColorNameDisabled: // less important words too, which have to be read
		if dark {
			return color.NRGBA{0x9b, 0xa3, 0xaa, 0xff}
		}
		return color.NRGBA{0x63, 0x6a, 0x70, 0xff}
	case theme.ColorNameInputBorder: // of a box that is not checked, too
		if dark {
			return color.NRGBA{0x6d, 0x75, 0x7c, 0xff}
		}
		return color.NRGBA{0x8a, 0x91, 0x97, 0xff}
	case theme.ColorNameSeparator:
		if dark {
			return color.NRGBA{0x33, 0x37, 0x3b, 0xff}
		}
		return color.NRGBA{0xe2, 0xe5, 0xe7, 0xff}
	case theme.ColorNameShadow: // lines below the tabs and between the parts of a page
		if !dark {
			return color.NRGBA{0, 0, 0, 0x18}
		}
		return color.NRGBA{0xff, 0xff, 0xff, 0x18}
	case theme.ColorNameWarning: // the same orange as that of relays in the icon
		if dark {
			return color.NRGBA{0xf0, 0x9a, 0x3e, 0xff}
		}
		return color.NRGBA{0xc2, 0x6a, 0x0a, 0xff}
	case theme.ColorNameFocus, theme.ColorNameSelection:
		if dark {
			return color.NRGBA{0x4f, 0xc0, 0x93, 0x40}
		}
		return color.NRGBA{0x1a, 0x74, 0x51, 0x30}
	}
	return t.Theme.Color(name, variant)
}
