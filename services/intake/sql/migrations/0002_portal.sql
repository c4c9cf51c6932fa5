-- Who applied, by keyed hashes: so that the same person's second application is noticed. `proven`
-- is the address that the application was confirmed from.
ALTER TABLE intake.applications
    ADD COLUMN person bytea,
    ADD COLUMN proven bytea,
    ADD COLUMN duplicates text[] NOT NULL DEFAULT '{}';
-- In the order in which they are looked through: the first five are enough.
CREATE INDEX ON intake.applications (person, (proven IS NULL), received_at DESC)
    WHERE person IS NOT NULL;

-- What citizens have begun. The id is that of the case to come, the key is the case's too; the
-- links are kept as hashes only.
CREATE TABLE intake.drafts (
    case_id uuid PRIMARY KEY,
    token_sha256 bytea NOT NULL UNIQUE,
    service text NOT NULL,
    channel text NOT NULL CHECK (channel IN ('online', 'counter', 'phone')),
    filed_by text NOT NULL DEFAULT '',
    language text NOT NULL,
    sealed text NOT NULL,
    revision integer NOT NULL DEFAULT 1,
    state text NOT NULL DEFAULT 'open' CHECK (state IN ('open', 'sent', 'received')),
    number text UNIQUE,
    confirm_sha256 bytea UNIQUE,
    created_at timestamptz NOT NULL DEFAULT now(),
    expires_at timestamptz NOT NULL
);
CREATE INDEX ON intake.drafts (expires_at);

-- Uploaded documents: each content once, by a keyed hash, under a key of its own; and whose
-- they are.
CREATE TABLE intake.uploads (
    digest bytea PRIMARY KEY,
    key_id uuid NOT NULL UNIQUE,
    media_type text NOT NULL,
    pages integer NOT NULL,
    sealed bytea NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now()
);
CREATE TABLE intake.attachments (
    case_id uuid NOT NULL,
    digest bytea NOT NULL REFERENCES intake.uploads,
    PRIMARY KEY (case_id, digest)
);
CREATE INDEX ON intake.attachments (digest);

-- Wrong passwords, by the hash of what was guessed at: a number or an address of the network.
CREATE TABLE intake.guesses (
    subject bytea NOT NULL,
    at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX ON intake.guesses (subject, at);
