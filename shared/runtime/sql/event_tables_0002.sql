-- More of the tables that the schema of every service has; rendered like event_tables.sql.

-- Where each stream goes on, kept in the transaction of what it did: the group's offsets in Kafka
-- are for show. A database that was restored from an older copy so takes up what it has lost.
-- `mark` tells the record before next_offset from another in its place.
CREATE TABLE {schema}.consumed (
    group_id text NOT NULL,
    topic text NOT NULL,
    partition int NOT NULL,
    next_offset bigint NOT NULL,
    mark text NOT NULL,
    PRIMARY KEY (group_id, topic, partition)
);

-- parked_at is the first time; a replay that fails again changes these, and code and error.
ALTER TABLE {schema}.parked
    ADD COLUMN last_at timestamptz NOT NULL DEFAULT now(),
    ADD COLUMN tries int NOT NULL DEFAULT 1,
    ADD COLUMN mark text NOT NULL DEFAULT '';

-- A topic that was made again has other records at the places of those that are parked.
ALTER TABLE {schema}.parked DROP CONSTRAINT parked_topic_partition_offset_key;
CREATE UNIQUE INDEX ON {schema}.parked
    (topic, partition, "offset", md5(case_id), md5(coalesce(value, '')));
-- A key may be longer than an entry of the other kind of index can be.
DROP INDEX {schema}.parked_case_id_idx, {schema}.outbox_key_idx;
CREATE INDEX ON {schema}.parked USING hash (case_id);
CREATE INDEX ON {schema}.outbox USING hash (key) WHERE refused IS NOT NULL;

-- What operators ordered about events that were set aside, by whom and why, and what came of it.
-- `target`: of a parked event NUMBER:CASE, of an outbox row NUMBER, of a dead letter
-- TOPIC:PARTITION:OFFSET. `settled`: nothing is left to do about it.
CREATE TABLE {schema}.dead_orders (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    kind text NOT NULL CHECK (kind IN ('parked', 'row', 'letter')),
    target text NOT NULL CHECK (target ~ CASE kind WHEN 'parked' THEN '^[0-9]{{1,18}}:'
        WHEN 'row' THEN '^[0-9]{{1,18}}$' ELSE '^[^:]+:[0-9]{{1,9}}:[0-9]{{1,18}}$' END),
    action text NOT NULL CHECK (action IN ('replay', 'drop')),
    ordered_by text NOT NULL CHECK (btrim(ordered_by) <> ''),
    reason text NOT NULL DEFAULT '',
    ordered_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    done_at timestamptz,
    settled boolean NOT NULL DEFAULT false,
    outcome text
);
CREATE INDEX ON {schema}.dead_orders (kind, id) WHERE done_at IS NULL;
CREATE UNIQUE INDEX ON {schema}.dead_orders (target) WHERE kind = 'letter' AND settled;

-- An operator orders; the service itself carries out.
GRANT SELECT ON {schema}.dead_orders TO console, operator;
GRANT INSERT (kind, target, action, ordered_by, reason) ON {schema}.dead_orders TO operator;
GRANT SELECT (last_at, tries) ON {schema}.parked TO console, operator;
GRANT SELECT (topic, key) ON {schema}.outbox TO console, operator;
GRANT SELECT ON {schema}.consumed TO console, operator;
