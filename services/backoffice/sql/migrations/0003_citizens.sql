-- What citizens add to their cases, sealed as it came.
CREATE TABLE backoffice.supplements (
    event_id uuid PRIMARY KEY,
    case_id uuid NOT NULL,
    sealed text NOT NULL,
    at timestamptz NOT NULL
);
CREATE INDEX ON backoffice.supplements (case_id, at);

-- What citizens say of a case whose assignment is still on its way here; it is taken up with that.
CREATE TABLE backoffice.early (
    event_id uuid PRIMARY KEY,
    case_id uuid NOT NULL,
    type text NOT NULL,
    event jsonb NOT NULL,
    seq bigint GENERATED ALWAYS AS IDENTITY
);
CREATE INDEX ON backoffice.early (case_id, seq);

-- Other applications of the same person for the same service, by number.
ALTER TABLE backoffice.cases ADD COLUMN duplicates text[] NOT NULL DEFAULT '{}';
