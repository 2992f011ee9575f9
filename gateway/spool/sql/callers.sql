-- Who has called the receiver, and how it went. One row per calling title, called title and address.

-- name: upsert
-- Counts add up; a time or a reason that this batch does not know keeps what stood there.
INSERT INTO caller (calling_ae, called_ae, peer, first_at, last_at, associations, association_at, contexts, proposed,
  rejections, rejection_at, rejection_reason, echoes, echo_at, stored, stored_at, refused, refused_at, refused_status)
VALUES (:calling_ae, :called_ae, :peer, :last_at, :last_at, :associations, :association_at, :contexts, :proposed,
  :rejections, :rejection_at, :rejection_reason, :echoes, :echo_at, :stored, :stored_at, :refused, :refused_at, :refused_status)
ON CONFLICT (calling_ae, called_ae, peer) DO UPDATE SET
  last_at = excluded.last_at,
  associations = caller.associations + excluded.associations,
  association_at = COALESCE(excluded.association_at, caller.association_at),
  contexts = COALESCE(excluded.contexts, caller.contexts),
  proposed = COALESCE(excluded.proposed, caller.proposed),
  rejections = caller.rejections + excluded.rejections,
  rejection_at = COALESCE(excluded.rejection_at, caller.rejection_at),
  rejection_reason = COALESCE(excluded.rejection_reason, caller.rejection_reason),
  echoes = caller.echoes + excluded.echoes,
  echo_at = COALESCE(excluded.echo_at, caller.echo_at),
  stored = caller.stored + excluded.stored,
  stored_at = COALESCE(excluded.stored_at, caller.stored_at),
  refused = caller.refused + excluded.refused,
  refused_at = COALESCE(excluded.refused_at, caller.refused_at),
  refused_status = COALESCE(excluded.refused_status, caller.refused_status)

-- name: forget_oldest
-- Titles are the caller's own words: without a limit anybody could fill the table.
DELETE FROM caller WHERE last_at < (SELECT last_at FROM caller ORDER BY last_at DESC LIMIT 1 OFFSET :keep)

-- name: listed
SELECT calling_ae, called_ae, peer, first_at, last_at, associations, association_at, contexts, proposed, rejections, rejection_at,
  rejection_reason, echoes, echo_at, stored, stored_at, refused, refused_at, refused_status
FROM caller ORDER BY last_at DESC, calling_ae, called_ae, peer LIMIT :limit
