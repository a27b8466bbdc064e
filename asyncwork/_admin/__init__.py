"""Find, show and change the jobs of a namespace, and report its status."""
