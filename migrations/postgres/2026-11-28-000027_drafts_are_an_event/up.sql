-- Operators who hear of everything hear of the drafts of policies too.
UPDATE operators SET events = '["opened","overdue","sent","unreached","drafted"]'
    WHERE events = '["opened","overdue","sent","unreached"]';
