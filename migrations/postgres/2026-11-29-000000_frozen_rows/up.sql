-- What a queued notice says, who wrote and approved it, and how many it is for. Its state goes on, and never back to a draft.
DROP TRIGGER notices_frozen ON notices;
CREATE TRIGGER notices_frozen BEFORE UPDATE OF id, incident_id, phase, digest, template_id, frozen, subject, message,
    customer_action, audience, catch_up_of, drafted_by, approved_by, approved_digest, recipients, endpoints, unreachable, episode,
    created_at, queued_at, state ON notices
FOR EACH ROW WHEN (OLD.digest IS NOT NULL AND (NEW.id <> OLD.id OR NEW.incident_id <> OLD.incident_id OR NEW.phase <> OLD.phase
    OR NEW.digest IS DISTINCT FROM OLD.digest OR NEW.template_id IS DISTINCT FROM OLD.template_id
    OR NEW.frozen IS DISTINCT FROM OLD.frozen OR NEW.subject IS DISTINCT FROM OLD.subject OR NEW.message <> OLD.message
    OR NEW.customer_action IS DISTINCT FROM OLD.customer_action OR NEW.audience IS DISTINCT FROM OLD.audience
    OR NEW.catch_up_of IS DISTINCT FROM OLD.catch_up_of OR NEW.drafted_by <> OLD.drafted_by
    OR NEW.approved_by IS DISTINCT FROM OLD.approved_by OR NEW.approved_digest IS DISTINCT FROM OLD.approved_digest
    OR NEW.recipients <> OLD.recipients OR NEW.endpoints <> OLD.endpoints OR NEW.unreachable <> OLD.unreachable
    OR NEW.episode <> OLD.episode OR NEW.created_at <> OLD.created_at OR NEW.queued_at IS DISTINCT FROM OLD.queued_at
    OR NEW.state = 'draft'))
EXECUTE FUNCTION candor_refuse('a queued notice is frozen');

-- Who wrote a part of a notice decides who may approve it.
CREATE TRIGGER notice_authors_no_update BEFORE UPDATE ON notice_authors
FOR EACH ROW EXECUTE FUNCTION candor_refuse('notice_authors is append-only');
CREATE TRIGGER notice_authors_no_delete BEFORE DELETE ON notice_authors
FOR EACH ROW EXECUTE FUNCTION candor_refuse('notice_authors is append-only');
CREATE TRIGGER notice_authors_no_truncate BEFORE TRUNCATE ON notice_authors
FOR EACH STATEMENT EXECUTE FUNCTION candor_refuse('notice_authors is append-only');

-- A delivery changes its state, and neither ends nor goes to somebody else.
CREATE TRIGGER deliveries_frozen BEFORE UPDATE OF id, notice_id, ordinal, channel, address, message_id ON deliveries
FOR EACH ROW WHEN (NEW.id <> OLD.id OR NEW.notice_id <> OLD.notice_id OR NEW.ordinal <> OLD.ordinal OR NEW.channel <> OLD.channel
    OR NEW.address <> OLD.address OR NEW.message_id <> OLD.message_id)
EXECUTE FUNCTION candor_refuse('a delivery is frozen');
CREATE TRIGGER deliveries_no_delete BEFORE DELETE ON deliveries
FOR EACH ROW EXECUTE FUNCTION candor_refuse('a delivery is frozen');
CREATE TRIGGER deliveries_no_truncate BEFORE TRUNCATE ON deliveries
FOR EACH STATEMENT EXECUTE FUNCTION candor_refuse('a delivery is frozen');
