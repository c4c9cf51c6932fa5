-- One row a case: where it stands now. `carried` is what the next agency will need.
CREATE TABLE backoffice.cases (
    case_id uuid PRIMARY KEY,
    number text NOT NULL UNIQUE,
    service text NOT NULL,
    agency text NOT NULL,
    responsible text NOT NULL,
    status text NOT NULL,
    step int NOT NULL,
    chain text[] NOT NULL,
    tried text[] NOT NULL,
    facts jsonb NOT NULL,
    sealed text NOT NULL,
    received_at timestamptz NOT NULL,
    assigned_at timestamptz NOT NULL,
    due_on date NOT NULL,
    changed_at timestamptz NOT NULL
);
CREATE INDEX ON backoffice.cases (agency, status, due_on);

-- Every assignment that an agency ever got: its inbox, and the witness of exactly once.
CREATE TABLE backoffice.assignments (
    assignment_id uuid PRIMARY KEY,
    case_id uuid NOT NULL,
    agency text NOT NULL,
    step int NOT NULL,
    decision jsonb NOT NULL,
    assigned_at timestamptz NOT NULL
);
CREATE INDEX ON backoffice.assignments (case_id);

-- What was done to a case, by whom.
CREATE TABLE backoffice.history (
    seq bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    case_id uuid NOT NULL,
    agency text NOT NULL,
    from_status text NOT NULL,
    to_status text NOT NULL,
    done_by text NOT NULL,
    reason text NOT NULL,
    done_at timestamptz NOT NULL
);
CREATE INDEX ON backoffice.history (case_id, seq);

GRANT SELECT (case_id, number, service, agency, status, step, assigned_at, due_on, changed_at)
    ON backoffice.cases TO operator, console;
GRANT SELECT ON backoffice.assignments, backoffice.history TO operator;
