-- PostgreSQL leaves room on its pages for alerts that change; here a row changes in its place.
SELECT 1;
