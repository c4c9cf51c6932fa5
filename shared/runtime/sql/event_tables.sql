-- Outbox, inbox and parked events: the same three tables in the schema of every service.
-- Rendered once for each service's schema by the migrations.

-- Rows are read by (xid, seq) where xid lies below every running transaction: a sequence alone
-- would let a transaction that commits late slip in behind the relay's position.
CREATE TABLE {schema}.outbox (
    seq bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    xid xid8 NOT NULL DEFAULT pg_current_xact_id(),
    topic text NOT NULL,
    key bytea NOT NULL,
    header_names text[] NOT NULL,
    header_values bytea[] NOT NULL,
    value bytea,
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    refused text
);
CREATE INDEX ON {schema}.outbox (xid, seq);
CREATE INDEX ON {schema}.outbox (key) WHERE refused IS NOT NULL;

-- Up to where rows were purged, and of which cluster: a relay that finds its position missing
-- or of another cluster stops and says so, instead of starting from the beginning.
CREATE TABLE {schema}.outbox_purged (
    one boolean PRIMARY KEY DEFAULT true CHECK (one),
    xid xid8 NOT NULL,
    seq bigint NOT NULL
);

CREATE TABLE {schema}.inbox (
    event_id uuid PRIMARY KEY,
    seen_at timestamptz NOT NULL DEFAULT now()
);

-- An event that could not be handled, and the later ones of its case that wait behind it.
CREATE TABLE {schema}.parked (
    seq bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    topic text NOT NULL,
    partition int NOT NULL,
    "offset" bigint NOT NULL,
    case_id text NOT NULL,
    header_names text[] NOT NULL,
    header_values bytea[] NOT NULL,
    value bytea,
    code text NOT NULL,
    error text NOT NULL,
    parked_at timestamptz NOT NULL DEFAULT now(),
    UNIQUE (topic, partition, "offset")
);
CREATE INDEX ON {schema}.parked (case_id);

-- The console and the command line show what waits here, never what it says.
GRANT USAGE ON SCHEMA {schema} TO console, operator;
GRANT SELECT (xid, seq, created_at, refused) ON {schema}.outbox TO console, operator;
GRANT SELECT (seq, topic, partition, "offset", case_id, code, error, parked_at)
    ON {schema}.parked TO console, operator;
