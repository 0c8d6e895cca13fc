"""What was answered, and later what came of it: the record of every attempt."""
