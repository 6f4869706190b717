-- +goose Up

-- Why a message was claimed for a screen is in the home's book alone, sealed; its delivery says where: pos is the
-- claim's position, 0: none says. Of claims before this version the time says which it was. Where several of one home
-- were at one instant only what they say does: Open reads them then.
ALTER TABLE delivery ADD COLUMN pos INTEGER NOT NULL DEFAULT 0;
UPDATE delivery SET pos = coalesce((SELECT CASE count(*) WHEN 1 THEN max(j.pos) ELSE 0 END FROM journal j
  WHERE j.home = delivery.home AND j.kind = 'delivery.claimed' AND j.at = delivery.claimed), 0);
ALTER TABLE delivery DROP COLUMN decision;
