"""A web shop in FastAPI whose thumbnails and e-mails are made by jobs; see ``README.md``."""
