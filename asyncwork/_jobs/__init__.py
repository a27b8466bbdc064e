"""What a job is: names, handlers and their arguments, errors as text."""
