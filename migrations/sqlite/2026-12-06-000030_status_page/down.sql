DROP TABLE public_posts;
DROP TABLE status_components;
