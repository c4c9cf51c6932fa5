CREATE SEQUENCE intake.case_sequence CACHE 1;
GRANT USAGE ON SEQUENCE intake.case_sequence TO intake;

CREATE TABLE intake.applications (
    case_id uuid PRIMARY KEY,
    number text NOT NULL UNIQUE,
    service text NOT NULL,
    facts jsonb NOT NULL,
    sealed text NOT NULL,
    received_at timestamptz NOT NULL,
    event_id uuid NOT NULL
);
CREATE INDEX ON intake.applications (received_at);

-- A key that a client sent, and what it was answered: a repeat is answered the same.
CREATE TABLE intake.idempotency (
    key_sha256 bytea PRIMARY KEY,
    body_sha256 bytea NOT NULL,
    case_id uuid NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now()
);

-- What the citizen follows: one row a step, from the events.
CREATE TABLE intake.steps (
    event_id uuid PRIMARY KEY,
    case_id uuid NOT NULL,
    seq bigint GENERATED ALWAYS AS IDENTITY,
    happened_at timestamptz NOT NULL,
    kind text NOT NULL,
    agency text,
    status text,
    detail jsonb NOT NULL DEFAULT '{}'
);
CREATE INDEX ON intake.steps (case_id, seq);

-- The command line shows which case a number is; never what was applied for by whom.
GRANT SELECT (case_id, number, service, received_at, event_id) ON intake.applications TO operator;
