-- Every release of a rule set, as it was published; a rollback is a release too.
CREATE TABLE console.releases (
    ruleset text NOT NULL,
    version text NOT NULL,
    effective_from date NOT NULL,
    approvers text[] NOT NULL,
    tables jsonb NOT NULL,
    released_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (ruleset, version)
);

-- Lag as it was measured, for the trend; old samples are deleted.
CREATE TABLE console.lag_samples (
    sampled_at timestamptz NOT NULL,
    group_id text NOT NULL,
    topic text NOT NULL,
    partition int NOT NULL,
    committed bigint,
    end_offset bigint NOT NULL,
    records bigint NOT NULL,
    seconds double precision NOT NULL
);
CREATE INDEX ON console.lag_samples (sampled_at);

-- The same of the outboxes: rows that are not in Kafka yet, and those that Kafka refuses.
CREATE TABLE console.relay_samples (
    sampled_at timestamptz NOT NULL,
    outbox text NOT NULL,
    position text NOT NULL,
    rows bigint NOT NULL,
    seconds double precision NOT NULL,
    refused bigint NOT NULL,
    PRIMARY KEY (sampled_at, outbox)
);

-- How many events of each type there were in each minute.
CREATE TABLE console.event_counts (
    minute timestamptz NOT NULL,
    type text NOT NULL,
    count bigint NOT NULL,
    PRIMARY KEY (minute, type)
);

GRANT SELECT ON console.releases, console.lag_samples, console.event_counts TO operator;
