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
			c.Unread = name + "=" + shortened(value)
		}
	case name == LabelManaged:
		c.Managed = true
	default:
		c.Protected = true
	}
}

func shortened(value string) string {
	if len(value) <= maxUnread {
		return value
	}
	return strings.ToValidUTF8(value[:maxUnread], "") + "…" // the cut may be within a character
}
