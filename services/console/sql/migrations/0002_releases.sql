-- A release is proposed by one person and approved by another. Those of before are in a form
-- that no router reads any more: they stay, in their order, as withdrawn, and the first rules of
-- the new form need nobody's approval (`casebus rules seed`).
ALTER TABLE console.releases RENAME TO releases_of_before;

CREATE TABLE console.releases (
    number bigint GENERATED ALWAYS AS IDENTITY,
    ruleset text NOT NULL,
    version text NOT NULL,
    state text NOT NULL CHECK (state IN ('proposed', 'shadow', 'live', 'withdrawn')),
    effective_from date NOT NULL,
    note text NOT NULL DEFAULT '',
    rollback_of bigint,
    proposed_by text NOT NULL CHECK (btrim(proposed_by) <> ''),
    proposed_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    approved_by text CHECK (btrim(approved_by) <> ''),
    approved_at timestamptz,
    withdrawn_by text,
    withdrawn_at timestamptz,
    tables jsonb NOT NULL,
    names jsonb NOT NULL DEFAULT '{}',
    CONSTRAINT releases_number PRIMARY KEY (number),
    FOREIGN KEY (rollback_of) REFERENCES console.releases (number),
    CONSTRAINT releases_live_when_approved CHECK (
        (state = 'live') = (approved_by IS NOT NULL)
        AND (approved_by IS NULL) = (approved_at IS NULL)
    ),
    CONSTRAINT releases_withdrawn_by_somebody CHECK (
        (state = 'withdrawn') = (withdrawn_by IS NOT NULL)
        AND (withdrawn_by IS NULL) = (withdrawn_at IS NULL)
    ),
    -- The code compares more closely; this holds also for who writes SQL by hand.
    CONSTRAINT releases_need_two_people CHECK (
        lower(regexp_replace(normalize(approved_by, NFKC), '\s', '', 'g'))
            <> lower(regexp_replace(normalize(proposed_by, NFKC), '\s', '', 'g'))
    )
);

INSERT INTO console.releases (ruleset, version, state, effective_from, note, proposed_by,
    proposed_at, withdrawn_by, withdrawn_at, tables)
SELECT ruleset, version, 'withdrawn', effective_from, 'in the form of before',
    coalesce((SELECT name FROM unnest(approvers) AS name WHERE btrim(name) <> '' LIMIT 1), 'unknown'),
    released_at, 'casebus migrate', now(), tables
FROM console.releases_of_before ORDER BY released_at, version;

DROP TABLE console.releases_of_before;

-- What the releases in shadow decided beside the live rules, counted. An empty `differs`: as the
-- live rules did. `example` is the number of the first case of its kind.
CREATE TABLE console.shadow_moves (
    release bigint NOT NULL,
    service text NOT NULL,
    live_agency text NOT NULL,
    agency text NOT NULL,
    differs text[] NOT NULL,
    cases bigint NOT NULL,
    example text NOT NULL,
    PRIMARY KEY (release, service, live_agency, agency, differs)
);

GRANT SELECT ON console.releases, console.shadow_moves TO operator;
