"""Language models that answer, and wrappers around them; one file each."""
