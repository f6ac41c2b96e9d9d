package record

import "strings"

// maxUnread bounds in bytes what is told of a label's value that cannot be read.
const maxUnread = 40

// Consent is what a container's labels say about its being killed. The zero
// Consent is that of a container without labels.
type Consent struct {
	Managed   bool // may be judged and killed
	Protected bool // is never killed, whatever else is said

	// Unread is the label of these two that is neither true nor false, such as
	// winnow.protect=yes. It protects, so then Protected is set.
	Unread string
}

// Label takes in one of the container's labels, in whatever order.
func (c *Consent) Label(name, value string) {
	switch {
	case name != LabelManaged && name != LabelProtect, value == "false":
	case value != "true":
		c.Protected = true
		if c.Unread == "" || name == LabelProtect {
			c.Unread = name + "=" + Shorten(value, maxUnread)
		}
	case name == LabelManaged:
		c.Managed = true
	default:
		c.Protected = true
	}
}

// Shorten is text, of which no more than limit bytes stay, and a mark where some
// are gone.
func Shorten(text string, limit int) string {
	if len(text) <= limit {
		return text
	}
	return strings.ToValidUTF8(text[:limit], "") + "…" // the cut may be within a character
}
