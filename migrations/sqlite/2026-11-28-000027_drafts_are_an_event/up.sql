-- Operators who hear of everything hear of the drafts of policies too.
UPDATE operators SET events = substr(events, 1, length(events) - 1) || ',"drafted"]'
WHERE events LIKE '%"opened"%' AND events LIKE '%"overdue"%' AND events LIKE '%"sent"%' AND events LIKE '%"unreached"%'
  AND events NOT LIKE '%"drafted"%';
