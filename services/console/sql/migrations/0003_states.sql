-- What tells the state of a consumer beside its lag. An age may be unknown, and is then not 0.
ALTER TABLE console.lag_samples
    ALTER COLUMN seconds DROP NOT NULL,
    ADD COLUMN members int,
    ADD COLUMN beginning bigint NOT NULL DEFAULT 0;
GRANT SELECT ON console.relay_samples TO operator;

-- Dead letters about which nothing was done yet, and which are not parked anywhere: counted.
CREATE TABLE console.dead_letters (
    topic text NOT NULL,
    group_id text NOT NULL,
    code text NOT NULL,
    letters bigint NOT NULL,
    since timestamptz NOT NULL,
    PRIMARY KEY (topic, group_id, code)
);
GRANT SELECT ON console.dead_letters TO operator;

-- The transaction for which every relay waits: no row is sent before all earlier transactions have
-- ended, those of other databases of the server too. Who runs it and who holds it up, but never
-- what it says.
CREATE FUNCTION console.oldest_transaction()
RETURNS TABLE (pid int, owner text, database text, application text, state text, since timestamptz,
    blocked_by int[])
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
    SELECT pid, owner, database, application, state, since,
        CASE WHEN pid IS NULL THEN '{}' ELSE pg_blocking_pids(pid) END
    FROM (
        SELECT pid, usename::text, datname::text, application_name, state, xact_start, backend_xid
        FROM pg_stat_activity WHERE backend_xid IS NOT NULL
        UNION ALL
        SELECT NULL, owner::text, database::text, gid, 'prepared', prepared, transaction
        FROM pg_prepared_xacts
    ) AS running (pid, owner, database, application, state, since, xid)
    ORDER BY age(xid) DESC LIMIT 1
$$;
REVOKE ALL ON FUNCTION console.oldest_transaction FROM public;
GRANT EXECUTE ON FUNCTION console.oldest_transaction TO console, operator;
