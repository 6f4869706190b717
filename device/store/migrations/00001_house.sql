-- +goose Up

-- The journal is the truth: one ordered book per home (home 0: the gateway's own, for brands and
-- messages). Every other table is a projection of it and can be made again from it.
CREATE TABLE journal (
  seq  INTEGER PRIMARY KEY,            -- order among all events of this gateway
  home INTEGER NOT NULL,
  pos  INTEGER NOT NULL CHECK (pos > 0),
  at   INTEGER NOT NULL,               -- ms since the Unix epoch, UTC
  actor TEXT   NOT NULL DEFAULT '',    -- who caused it, from where; '': the gateway itself
  kind TEXT    NOT NULL,
  body BLOB    NOT NULL,               -- JSON; a home's is sealed, and empty once it is erased
  subject INTEGER NOT NULL DEFAULT 0,  -- person whose key it is sealed with; 0: the home's
  key  INTEGER NOT NULL DEFAULT 0,     -- that key's number in the keys file; 0: none, in home 0 or erased
  salt BLOB,                           -- 16 bytes; NULL in home 0, and once it is erased
  leaf BLOB,                           -- 32 bytes, in the home's log; NULL in home 0
  UNIQUE (home, pos)
) STRICT;

CREATE TABLE home (
  id      INTEGER PRIMARY KEY,
  name    TEXT NOT NULL,
  zone    TEXT NOT NULL,               -- IANA
  persons INTEGER NOT NULL DEFAULT 0,  -- the highest number that a person was given: none is given twice
  wishes  INTEGER NOT NULL DEFAULT 0,  -- journal position of the last choice or preference: the version of what its devices are shown (dn/twin), and the fence: what was decided before it must not appear any more
  removed INTEGER NOT NULL DEFAULT 0
) STRICT;
CREATE UNIQUE INDEX home_name ON home (name) WHERE removed = 0;

CREATE TABLE person (
  home INTEGER NOT NULL REFERENCES home (id),
  id   INTEGER NOT NULL,
  name TEXT NOT NULL,
  guest INTEGER NOT NULL DEFAULT 0,    -- leaves with their last device
  age  INTEGER NOT NULL DEFAULT 0,     -- 0 unknown, 1 child, 2 teen, 3 adult
  guardians TEXT NOT NULL DEFAULT '[]',   -- JSON array of persons
  languages TEXT NOT NULL DEFAULT '[]',   -- JSON array, BCP 47, the preferred first
  frozen INTEGER NOT NULL DEFAULT 0,   -- nothing is done with what is known about them
  PRIMARY KEY (home, id),
  UNIQUE (home, name)
) STRICT;

CREATE TABLE room (
  home INTEGER NOT NULL REFERENCES home (id),
  id   INTEGER NOT NULL,
  name TEXT NOT NULL,
  PRIMARY KEY (home, id),
  UNIQUE (home, name)
) STRICT;

CREATE TABLE device (
  id         TEXT PRIMARY KEY,
  home       INTEGER NOT NULL REFERENCES home (id),
  class      INTEGER NOT NULL,
  name       TEXT NOT NULL,
  room       INTEGER NOT NULL DEFAULT 0,   -- 0: none
  owner      INTEGER NOT NULL DEFAULT 0,   -- 0: shared
  controller INTEGER NOT NULL,
  until      INTEGER NOT NULL DEFAULT 0,   -- ms: a guest's, which is removed then; 0: it stays
  alarm      INTEGER NOT NULL DEFAULT 0,   -- it last said that its alarm is on: only its own word, or its removal, ends that
  removed    INTEGER NOT NULL DEFAULT 0,   -- a removed device keeps its row: its ID is never given again
  model      TEXT NOT NULL DEFAULT '{}',   -- JSON, from its last birth
  can        TEXT NOT NULL DEFAULT '{}'    -- JSON, from its last birth
) STRICT;
CREATE INDEX device_home ON device (home) WHERE removed = 0;
CREATE INDEX device_until ON device (until) WHERE removed = 0 AND until > 0;

-- Who may log in with what: looked up by the credential, never by a name. A device has two slots,
-- so that a new credential can be tried before the old one goes: what is pending becomes active at
-- its first log-in, and what was active then retires.
CREATE TABLE credential (
  hash   BLOB PRIMARY KEY,              -- SHA-256 of a token, an API key, or a public key as X.509 writes it
  kind   TEXT NOT NULL,                 -- device-token, device-key, brand-key
  device TEXT REFERENCES device (id),
  brand  TEXT REFERENCES brand (id),
  state  TEXT NOT NULL,                 -- pending, active, retiring
  at     INTEGER NOT NULL,              -- ms: when it was issued
  until  INTEGER NOT NULL DEFAULT 0     -- ms: void from then on; 0: no end
) STRICT, WITHOUT ROWID;
CREATE INDEX credential_device ON credential (device);
CREATE INDEX credential_until ON credential (until) WHERE until > 0;

CREATE TABLE brand (
  id       TEXT PRIMARY KEY,
  name     TEXT NOT NULL,               -- as people see it
  legal    TEXT NOT NULL DEFAULT '',    -- the firm behind it
  contact  TEXT NOT NULL DEFAULT '',    -- e-mail address or URL
  domain   TEXT NOT NULL DEFAULT '',
  country  TEXT NOT NULL DEFAULT '',    -- ISO 3166-1, two letters
  purposes TEXT NOT NULL,               -- JSON array: what it declared; nothing else is taken from it
  quota    INTEGER NOT NULL,            -- messages in force at one time
  signs    INTEGER NOT NULL DEFAULT 0,  -- 1: it has, or had, a key in brand_key: what it sends must be signed
  stopped  INTEGER NOT NULL DEFAULT 0,  -- ms: nothing is taken from it since then; 0: it may send
  reason   TEXT NOT NULL DEFAULT '',    -- why it was stopped, in the operator's words
  cleared  INTEGER NOT NULL DEFAULT 0,  -- position in the gateway's book of the last stop: what was accepted before it is never in force again
  removed  INTEGER NOT NULL DEFAULT 0
) STRICT;

-- The keys that brands sign messages with. A revoked one keeps its row: what it signed before can
-- still be verified, and neither its ID nor the key itself is taken again.
CREATE TABLE brand_key (
  brand       TEXT NOT NULL REFERENCES brand (id),
  kid         TEXT NOT NULL,
  alg         TEXT NOT NULL,              -- ES256, EdDSA
  key         BLOB NOT NULL,              -- public, as X.509 writes it
  added       INTEGER NOT NULL,           -- ms
  revoked     INTEGER NOT NULL DEFAULT 0, -- ms, 0: in force
  added_pos   INTEGER NOT NULL,           -- the same as positions in the gateway's book, which no clock can move
  revoked_pos INTEGER NOT NULL DEFAULT 0,
  PRIMARY KEY (brand, kid)
) STRICT, WITHOUT ROWID;
CREATE UNIQUE INDEX brand_key_key ON brand_key (key);

-- What brands want said; the words themselves are in the journal, once.
CREATE TABLE message (
  seq       INTEGER PRIMARY KEY,        -- position in the gateway's book: messages keep this order
  id        BLOB NOT NULL UNIQUE,       -- 16 bytes
  brand     TEXT NOT NULL,
  at        INTEGER NOT NULL,
  not_after INTEGER NOT NULL,
  withdrawn INTEGER NOT NULL DEFAULT 0, -- ms, 0: in force
  key       TEXT NOT NULL,              -- Idempotency-Key
  digest    BLOB NOT NULL               -- SHA-256 of the request: the same key with another digest is refused
) STRICT;
CREATE UNIQUE INDEX message_key ON message (brand, key);
CREATE INDEX message_force ON message (not_after) WHERE withdrawn = 0;

-- What brands said that their messages are worth, by day: so that those who say much of all say nothing.
CREATE TABLE message_value (
  brand TEXT NOT NULL,
  day   INTEGER NOT NULL,               -- since 1970, by UTC
  n     INTEGER NOT NULL,               -- messages accepted
  sum   REAL NOT NULL,                  -- of their values, 0 to 1 each
  PRIMARY KEY (brand, day)
) STRICT, WITHOUT ROWID;

-- What brands say that they want, once each; the notices themselves are in the gateway's book.
CREATE TABLE notice (
  hash     BLOB PRIMARY KEY,            -- SHA-256 of the notice
  brand    TEXT NOT NULL,
  version  INTEGER NOT NULL,            -- one more for each notice of the brand
  purposes INTEGER NOT NULL,            -- bit n is the purpose with the number n
  classes  INTEGER NOT NULL,            -- the same of classes of devices; 0: every class
  pos      INTEGER NOT NULL,            -- in the gateway's book
  UNIQUE (brand, version)
) STRICT, WITHOUT ROWID;

-- The last choice of each subject about each brand and purpose; the choices before it are in the journal.
CREATE TABLE consent (
  home    INTEGER NOT NULL REFERENCES home (id),
  subject INTEGER NOT NULL,             -- person, 0: the home as a whole
  brand   TEXT NOT NULL,
  purpose INTEGER NOT NULL,
  choice  INTEGER NOT NULL,             -- 0: a yes that has expired, or counts for nothing
  state   TEXT NOT NULL,                -- last word of the kind of the event that made it so
  at      INTEGER NOT NULL,             -- of the choice
  pos     INTEGER NOT NULL,             -- of the entry
  said_by INTEGER NOT NULL DEFAULT 0,   -- person, 0: the subject, or it is not known who
  device  TEXT NOT NULL DEFAULT '',     -- on which it was said; '': none of the home's
  method  TEXT NOT NULL DEFAULT '',
  notice  BLOB NOT NULL DEFAULT x'',    -- what it was said to; empty: none
  served  BLOB NOT NULL DEFAULT x'',    -- the ask that it answers; empty: none
  until   INTEGER NOT NULL DEFAULT 0,   -- ms: the yes is over from then on; 0: no end
  classes INTEGER NOT NULL DEFAULT 0,   -- bit n is the class of devices with the number n; 0: every class
  PRIMARY KEY (home, subject, brand, purpose)
) STRICT, WITHOUT ROWID;
CREATE INDEX consent_given ON consent (brand, purpose, home) WHERE choice = 1;
CREATE INDEX consent_until ON consent (until) WHERE choice = 1 AND until > 0;

-- Every question that was put to somebody.
CREATE TABLE consent_ask (
  home    INTEGER NOT NULL REFERENCES home (id),
  id      BLOB NOT NULL,                -- 16 bytes
  subject INTEGER NOT NULL,             -- person, 0: the home as a whole
  brand   TEXT NOT NULL,
  purpose INTEGER NOT NULL,
  notice  BLOB NOT NULL,
  device  TEXT NOT NULL,                -- on which it is, or was last
  asked   INTEGER NOT NULL,             -- ms
  until   INTEGER NOT NULL,             -- ms: without an answer by then it is deferred
  state   TEXT NOT NULL,                -- requested: open; else what became of it, as in consent
  why     TEXT NOT NULL DEFAULT '',     -- of deferred and invalidated
  drawn   INTEGER NOT NULL DEFAULT 0,   -- ms: first on that screen; 0: not that we know
  broken  TEXT NOT NULL DEFAULT '',     -- what made no harder than yes there; '': nothing
  served  BLOB NOT NULL DEFAULT x'',    -- SHA-256 of what was last told of the drawing
  servings INTEGER NOT NULL DEFAULT 0,  -- how often that was
  pos     INTEGER NOT NULL,             -- of the request
  PRIMARY KEY (home, id)
) STRICT, WITHOUT ROWID;
CREATE INDEX consent_ask_open ON consent_ask (home) WHERE state = 'requested';

CREATE TABLE preference (
  home INTEGER NOT NULL REFERENCES home (id),
  name TEXT NOT NULL,                   -- mutes, quiet, caps, moments, languages, signals, frozen, forgotten
  body BLOB NOT NULL,                   -- JSON
  pos  INTEGER NOT NULL,                -- of the event that set it
  PRIMARY KEY (home, name)
) STRICT, WITHOUT ROWID;

-- One message on one screen, from the moment it was claimed for that screen.
CREATE TABLE delivery (
  home      INTEGER NOT NULL REFERENCES home (id),
  message   BLOB NOT NULL,
  device    TEXT NOT NULL,
  brand     TEXT NOT NULL,
  purpose   INTEGER NOT NULL,
  category  TEXT NOT NULL,
  dedupe    TEXT NOT NULL DEFAULT '',   -- what its message has to do with others: see policy.Thread
  journey   TEXT NOT NULL DEFAULT '',
  step      INTEGER NOT NULL DEFAULT 0,
  item      TEXT NOT NULL DEFAULT '',
  who       TEXT NOT NULL DEFAULT '[]', -- JSON array: people in front of it when it was claimed
  others    INTEGER NOT NULL DEFAULT 1, -- 1: perhaps somebody else, too
  epoch     INTEGER NOT NULL DEFAULT 0, -- version of the home's choices and preferences at the claim
  claimed   INTEGER NOT NULL,           -- ms: the reservation counts from here
  presented INTEGER NOT NULL DEFAULT 0, -- ms, 0: no receipt yet
  settled   INTEGER NOT NULL DEFAULT 0, -- ms, 0: open
  outcome   INTEGER NOT NULL DEFAULT 0, -- why it is settled
  counts    INTEGER NOT NULL DEFAULT 1, -- 0: released, it was never on the screen
  act       INTEGER NOT NULL DEFAULT 0, -- what the button does that was pressed
  leaving   INTEGER NOT NULL DEFAULT 0, -- 1: it did not appear in time, and goes so that another screen may have it
  decision  TEXT NOT NULL,              -- JSON: the last one taken about it
  PRIMARY KEY (home, message, device)
) STRICT, WITHOUT ROWID;
CREATE INDEX delivery_open ON delivery (home) WHERE settled = 0;
CREATE INDEX delivery_message ON delivery (message);

-- What somebody here has got, or has ordered, as they said or by the button that they pressed.
CREATE TABLE got (
  home INTEGER NOT NULL REFERENCES home (id),
  item TEXT NOT NULL,
  at   INTEGER NOT NULL,                -- ms: the last time
  pos  INTEGER NOT NULL,                -- of the event that says so
  PRIMARY KEY (home, item)
) STRICT, WITHOUT ROWID;

-- What went wrong with a brand, until it is put right.
CREATE TABLE complaint (
  home  INTEGER NOT NULL REFERENCES home (id),
  brand TEXT NOT NULL,
  at    INTEGER NOT NULL,               -- ms
  pos   INTEGER NOT NULL,               -- of the event that says so
  PRIMARY KEY (home, brand)
) STRICT, WITHOUT ROWID;

-- Each no that somebody said, until nothing that it forbids is on any screen.
CREATE TABLE withdrawal (
  home    INTEGER NOT NULL REFERENCES home (id),
  epoch   INTEGER NOT NULL,             -- position of the choice
  subject INTEGER NOT NULL,
  brand   TEXT NOT NULL,
  purpose INTEGER NOT NULL,
  device  TEXT NOT NULL,                -- on which it was said; '': none of the home's
  at      INTEGER NOT NULL,             -- ms: stopping since then
  stopped INTEGER NOT NULL DEFAULT 0,   -- ms, 0: not yet
  PRIMARY KEY (home, epoch)
) STRICT, WITHOUT ROWID;
CREATE INDEX withdrawal_open ON withdrawal (home) WHERE stopped = 0;

-- What somebody here had agreed to and was not shown, with the last decision about it.
CREATE TABLE held (
  home     INTEGER NOT NULL REFERENCES home (id),
  message  BLOB NOT NULL,
  device   TEXT NOT NULL,               -- the screen that came nearest to showing it
  brand    TEXT NOT NULL,
  purpose  INTEGER NOT NULL,
  at       INTEGER NOT NULL,            -- ms: when it was over
  decision TEXT NOT NULL,               -- JSON
  PRIMARY KEY (home, message)
) STRICT, WITHOUT ROWID;
CREATE INDEX held_at ON held (home, at);
