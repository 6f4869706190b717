# The gateway's rules as an operator of OPA would write them: the set of the rules that fail.
package porchlight

import rego.v1

m := input.message
s := input.screen
h := input.home

brand_key(who) := concat("/", [who, m.brand, m.purpose])
stance(who) := object.get(h.consents, brand_key(who), "silent")
mild(who) if stance(who) in {"silent", "given"}
known := {p | some p in input.known}
kinds := {h.kinds[p] | some p in known}
owner_kind := object.get(h.kinds, s.owner, "")
all_kinds := kinds | {k | k := owner_kind; k != ""}
shared if s.owner == ""
stranger if input.unknown > 0
stranger if { shared; count(known) == 0 }
alone if { input.unknown == 0; count(known) == 1; shared }
alone if { input.unknown == 0; count(known) == 1; known[s.owner] }
private if m.personal
private if m.purpose == "personalised"
profiles if m.purpose in {"personalised", "recommendations", "research", "analytics"}
floor_words := {"alcohol", "beer", "wine", "spirits", "tobacco", "gambling", "dating", "weapons", "lottery"}
sensitive_words := {"health", "medicine", "pregnancy", "religion", "politics", "debt", "credit"}
first := split(m.category, "-")[0]
floored if floor_words[m.category]
floored if floor_words[first]
listed if sensitive_words[m.category]
listed if sensitive_words[first]
near(who) if who == ""
near(who) if who == s.owner
near(who) if known[who]
near(_) if stranger
told_false(a) if object.get(input.told, a, false) == false

allowed_forms := {
	"tv": {"badge", "list", "toast", "panel", "full-screen"}, "companion": {"badge", "list", "toast", "panel", "full-screen"},
	"fridge": {"badge", "list", "toast", "panel"}, "washer": {"badge", "list", "toast", "panel"}, "car": {"badge", "list"},
}

calm if { s.class == "tv"; input.state.state in {"on", "idle", "paused"} }
calm if { s.class == "tv"; input.state.state == "playing"; input.state.full_screen == false }
calm if { s.class == "fridge"; object.get(input.told, "power.state", "on") == "on" }
calm if { s.class == "washer"; input.state.OperationalState in {"Stopped", "Paused"} }
calm if { s.class == "companion"; object.get(input.told, "power.state", "on") == "on"; told_false("call.active") }
calm if { s.class == "car"; input.state["ux.driving"] == "parked"; input.told["Vehicle.Powertrain.Transmission.SelectedGear"] in {0, 126} }

reasons contains "safety" if not calm
reasons contains "safety" if input.alarm
reasons contains "safety" if input.told.alarm == true
reasons contains "safety" if input.told.dnd == true
reasons contains "safety" if { s.class == "car"; m.chars > 80 }
reasons contains "safety" if count({f | some f in m.forms; allowed_forms[s.class][f]}) == 0

reasons contains "age" if owner_kind == "child"
reasons contains "age" if { all_kinds.child; not kinds.adult }
reasons contains "age" if { all_kinds.child; private }
reasons contains "age" if { all_kinds.child; profiles }
reasons contains "age" if { all_kinds.child; m.buttons > 0 }
reasons contains "age" if { all_kinds.child; floored }
reasons contains "age" if { some p in known; h.kinds[p] == "child"; stance(p) != "given" }
reasons contains "age" if { all_kinds.teen; private }
reasons contains "age" if { all_kinds.teen; profiles }
reasons contains "age" if { all_kinds.teen; floored }
reasons contains "age" if { stranger; private }
reasons contains "age" if { stranger; m.purpose == "research" }
reasons contains "age" if { stranger; floored; not all_kinds.child; not all_kinds.teen }
reasons contains "age" if { not stranger; private; not alone }

reasons contains "consent" if { shared; stance("") != "given" }
reasons contains "consent" if { shared; some p in known; stance(p) != "given" }
reasons contains "consent" if { not shared; stance(s.owner) != "given" }
reasons contains "consent" if { not shared; not mild("") }
reasons contains "consent" if { some p, _ in h.kinds; p != s.owner; known[p]; not mild(p) }
reasons contains "consent" if { stranger; some p, _ in h.kinds; p != s.owner; not mild(p) }

reasons contains "terms" if { some p in h.denied; p == m.purpose }

picks(r) if { object.get(r, "brand", m.brand) == m.brand; object.get(r, "category", m.category) == m.category; object.get(r, "class", s.class) == s.class }
reasons contains "mute" if { some r in h.mutes; picks(r) }

reasons contains "sensitive" if { listed; not alone }
reasons contains "sensitive" if { listed; some p in known; h.kinds[p] != "adult" }

in_quiet(z) if { z.start < z.end; input.minute >= z.start; input.minute < z.end }
in_quiet(z) if { z.start >= z.end; input.minute >= z.start }
in_quiet(z) if { z.start >= z.end; input.minute < z.end }
reasons contains "quiet" if { some z in h.quiet; near(z.owner); in_quiet(z) }
reasons contains "quiet" if { s.class == "tv"; input.state.state == "playing"; input.state.full_screen }
reasons contains "quiet" if input.state["call.active"]

reasons contains "frequency" if { some c in input.caps; not c.spacing; c.count >= c.max }
reasons contains "spacing" if { some c in input.caps; c.spacing; c.count >= c.max }
reasons contains "dedupe" if { some id in input.shown; id == m.id }
reasons contains "sequence" if { m.purpose in {"marketing", "personalised", "recommendations"}; some b in h.complains; b == m.brand }

fridge := input.fridge
tv := input.tv
met if m.condition == 0
met if { m.condition == 1; fridge["door.open"]; input.minute >= 480 }
met if { m.condition == 2; tv.state in {"idle", "paused"} }
met if { m.condition == 2; fridge["door.open"] }
met if { m.condition == 3; not input.weekday in {0, 6}; input.minute >= 450; input.minute < 1260 }
met if { m.condition == 4; input.minute >= 720; fridge.temperature > 6 }
met if { m.condition == 4; input.minute < 720; fridge["door.open"] }
reasons contains "context" if not met

reasons contains "validity" if input.now >= m.not_after
reasons contains "validity" if input.now < m.not_before

reasons contains "capability" if count({f | some f in m.forms; f in s.forms; allowed_forms[s.class][f]}) == 0
reasons contains "capability" if { m.buttons > 0; s.inputs == 0 }
reasons contains "capability" if m.buttons > min([s.max_buttons, 4])
