-- A key for each case, wrapped by the master key, which PostgreSQL never sees. No service reads
-- the tables; it is granted the functions that it needs.
CREATE SCHEMA vault;

CREATE TABLE vault.keys (
    case_id uuid PRIMARY KEY,
    wrapped bytea,
    created_at timestamptz NOT NULL DEFAULT now(),
    shredded_at timestamptz
);

CREATE TABLE vault.openings (
    case_id uuid NOT NULL,
    opened_by text NOT NULL,
    purpose text NOT NULL,
    opened_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX ON vault.openings (case_id);

CREATE FUNCTION vault.create_key(case_id uuid, wrapped bytea) RETURNS void
LANGUAGE sql SECURITY DEFINER SET search_path = vault, pg_temp
AS $$ INSERT INTO vault.keys (case_id, wrapped) VALUES ($1, $2) $$;

CREATE FUNCTION vault.open_key(case_id uuid, purpose text) RETURNS bytea
LANGUAGE sql SECURITY DEFINER SET search_path = vault, pg_temp
AS $$
    INSERT INTO vault.openings (case_id, opened_by, purpose) VALUES ($1, session_user, $2);
    SELECT k.wrapped FROM vault.keys k WHERE k.case_id = $1;
$$;

CREATE FUNCTION vault.shred_key(case_id uuid) RETURNS void
LANGUAGE sql SECURITY DEFINER SET search_path = vault, pg_temp
AS $$ UPDATE vault.keys k SET wrapped = NULL, shredded_at = now() WHERE k.case_id = $1 $$;

REVOKE ALL ON FUNCTION vault.create_key, vault.open_key, vault.shred_key FROM public;
GRANT USAGE ON SCHEMA vault TO intake, backoffice, notifier;
GRANT EXECUTE ON FUNCTION vault.create_key TO intake;
GRANT EXECUTE ON FUNCTION vault.open_key TO intake, backoffice, notifier;
GRANT EXECUTE ON FUNCTION vault.shred_key TO intake;
