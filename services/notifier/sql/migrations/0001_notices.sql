-- Where a case's citizen can be reached: sealed, opened at the moment of sending.
CREATE TABLE notifier.recipients (
    case_id uuid PRIMARY KEY,
    sealed text NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE notifier.notices (
    notice_id uuid PRIMARY KEY,
    seq bigint GENERATED ALWAYS AS IDENTITY,
    cause uuid NOT NULL,
    case_id uuid NOT NULL,
    number text NOT NULL,
    channel text NOT NULL,
    template text NOT NULL,
    context jsonb NOT NULL,
    state text NOT NULL DEFAULT 'created',
    tries int NOT NULL DEFAULT 0,
    next_try_at timestamptz NOT NULL DEFAULT now(),
    expires_at timestamptz NOT NULL,
    leased_until timestamptz,
    provider text,
    provider_message_id text,
    reason text NOT NULL DEFAULT '',
    created_at timestamptz NOT NULL DEFAULT now(),
    changed_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX ON notifier.notices (next_try_at)
    WHERE state IN ('created', 'temporary_failure');
CREATE INDEX ON notifier.notices (leased_until) WHERE state = 'sending';
CREATE INDEX ON notifier.notices (case_id);
CREATE UNIQUE INDEX ON notifier.notices (provider, provider_message_id);

-- Receipts as they came, each once; one that nobody waits for yet is matched later.
CREATE TABLE notifier.receipts (
    provider text NOT NULL,
    provider_message_id text NOT NULL,
    state text NOT NULL,
    at timestamptz NOT NULL,
    came_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (provider, provider_message_id, state)
);

GRANT SELECT (notice_id, cause, case_id, number, channel, template, state, tries, provider,
    reason, created_at, changed_at) ON notifier.notices TO operator, console;
