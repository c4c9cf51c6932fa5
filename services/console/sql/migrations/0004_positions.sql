-- Whether the relay's position in Kafka can be one of this database.
ALTER TABLE console.relay_samples ADD COLUMN fits boolean NOT NULL DEFAULT true;
