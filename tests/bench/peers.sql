-- What a developer would write in the place of the journal: a table of events, and one with a hash chain by trigger.
DROP SCHEMA IF EXISTS peer CASCADE;
CREATE SCHEMA peer;

CREATE TABLE peer.plain (
  id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  recorded_at timestamptz NOT NULL DEFAULT now(),
  tenant text NOT NULL,
  category text NOT NULL,
  event_id text NOT NULL,
  body text NOT NULL,
  UNIQUE (event_id, tenant)
);

CREATE TABLE peer.head (
  tenant text NOT NULL,
  category text NOT NULL,
  size bigint NOT NULL DEFAULT 0,
  chain_hash bytea NOT NULL DEFAULT sha256(''),
  PRIMARY KEY (tenant, category)
) WITH (fillfactor = 50);

CREATE TABLE peer.chained (
  index bigint NOT NULL,
  recorded_at timestamptz NOT NULL DEFAULT now(),
  tenant text NOT NULL,
  category text NOT NULL,
  event_id text NOT NULL,
  body text NOT NULL,
  chain_hash bytea NOT NULL,
  PRIMARY KEY (tenant, index),
  UNIQUE (event_id, tenant)
);

CREATE FUNCTION peer.extend() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  UPDATE peer.head AS h
     SET size = h.size + 1, chain_hash = sha256(h.chain_hash || sha256(convert_to(NEW.body, 'UTF8')))
   WHERE h.tenant = NEW.tenant AND h.category = NEW.category
  RETURNING h.size - 1, h.chain_hash INTO NEW.index, NEW.chain_hash;
  RETURN NEW;
END
$$;
CREATE TRIGGER extend BEFORE INSERT ON peer.chained FOR EACH ROW EXECUTE FUNCTION peer.extend();
