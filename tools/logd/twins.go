package main

import "time"

// twinsFor is how long two machines that send under one name are told of after they did.
const twinsFor = 10 * time.Minute

// certain is how often boots take turns until it is: twice may be lines of the boot before that came late.
const certain = 3

// boots tell two machines of one name from one that was started anew: that does not come back to a boot that it left.
type boots struct {
	last, before string
	back         int       // how often it came back
	backAt       time.Time // when it did last
}

// add takes in the boot of a snapshot, and tells whether that shows, for the first time, that there are two.
func (b *boots) add(boot string, now time.Time) bool {
	if boot == b.last || boot == "" {
		return false
	}
	if boot != b.before {
		b.back = 0 // a start, or a third one
	} else {
		if now.Sub(b.backAt) > twinsFor {
			b.back = 0
		}
		b.back++
		b.backAt = now
	}
	b.last, b.before = boot, b.last
	return b.back == certain
}

// twins tells whether two machines send under the name.
func (b *boots) twins(now time.Time) bool { return b.back >= certain && now.Sub(b.backAt) <= twinsFor }
