"""Several processes of one pool: the parent that keeps them running, and a child's link to it.

The parent never imports the application, so each new child runs the newest code.
"""
