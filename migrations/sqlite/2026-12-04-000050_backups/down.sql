DROP TABLE emergency_recipients;
DROP TABLE emergency_notices;
DROP TABLE contacts_copies;
DROP TABLE backups;
