-- The agencies that review, or are queried, beside the one that has the case: a list of objects
-- with agency, task and document.
ALTER TABLE backoffice.cases ADD COLUMN joint_review jsonb NOT NULL DEFAULT '[]';
