package consent

import "porchlight/device"

// ServedFact is a fact about what somebody was shown.
func ServedFact(p device.PersonID) any { return servedFact{Subject: p} }
