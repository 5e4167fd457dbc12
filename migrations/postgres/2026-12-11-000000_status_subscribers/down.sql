DROP TABLE status_mails;
DROP TABLE status_subscribers;
