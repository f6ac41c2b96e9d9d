package record

import (
	"strings"
	"time"
)

// maxUnread bounds in bytes what is told of a label's value that cannot be read.
const maxUnread = 40

// Consent is what a container's labels say about its being killed. The zero
// Consent is that of a container without labels.
type Consent struct {
	Managed   bool          // may be judged and killed
	Protected bool          // is never killed, whatever else is said
	TTL       time.Duration // the age at which a policy lets it go, 0 where it names none

	// Unread is the label of winnow's that cannot be read: one that there is not, or
	// a value that it cannot have, such as winnow.protect=yes. It protects, so then
	// Protected is set.
	Unread string
}

// Label takes in one of the container's labels, in whatever order.
func (c *Consent) Label(name, value string) {
	if !strings.HasPrefix(name, LabelPrefix) {
		return
	}
	read := value == "true" || value == "false"
	switch name {
	case LabelAs, LabelState, LabelKind, LabelTest:
		return // they say nothing about it
	case LabelManaged:
		c.Managed = c.Managed || value == "true"
	case LabelProtect:
		c.Protected = c.Protected || value == "true"
	case LabelTTL:
		ttl, err := ParseDuration(value)
		if read = err == nil && ttl > 0; read {
			c.TTL = ttl
		}
	default:
		read = false
	}
	if !read {
		c.Protected = true
		if c.Unread == "" || name == LabelProtect {
			c.Unread = Shorten(name, maxUnread) + "=" + Shorten(value, maxUnread)
		}
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
