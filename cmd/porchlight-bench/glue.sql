CREATE TABLE brand (
  id       text PRIMARY KEY,
  name     text NOT NULL,
  key      text NOT NULL UNIQUE, -- SHA-256 of the API key
  purposes text[] NOT NULL
);
CREATE TABLE home (
  id    integer PRIMARY KEY,
  rules jsonb NOT NULL           -- who lives there, mutes, quiet times, signals, complaints
);
CREATE TABLE device (
  id     text PRIMARY KEY,
  home   integer NOT NULL REFERENCES home,
  class  text NOT NULL,
  owner  text NOT NULL DEFAULT '',
  screen jsonb NOT NULL          -- what it can do
);
CREATE INDEX device_home ON device (home);
CREATE TABLE consent (
  home    integer NOT NULL REFERENCES home,
  subject text NOT NULL,
  brand   text NOT NULL,
  purpose text NOT NULL,
  choice  text NOT NULL,
  at      timestamptz NOT NULL DEFAULT now(),
  PRIMARY KEY (home, subject, brand, purpose)
);
CREATE INDEX consent_given ON consent (brand, purpose) WHERE choice = 'given';
CREATE TABLE message (
  id        uuid PRIMARY KEY DEFAULT gen_random_uuid(),
  brand     text NOT NULL,
  key       text NOT NULL,
  digest    bytea NOT NULL,
  body      jsonb NOT NULL,
  at        timestamptz NOT NULL,
  not_after timestamptz NOT NULL,
  UNIQUE (brand, key)
);
CREATE TABLE delivery (
  message   uuid NOT NULL,
  device    text NOT NULL,
  brand     text NOT NULL,
  decision  jsonb NOT NULL,
  claimed   timestamptz NOT NULL,
  presented timestamptz,
  ended     timestamptz,
  outcome   text,
  PRIMARY KEY (message, device)
);
