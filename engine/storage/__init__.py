"""What outlives a call (conversation, timings, tool runs) in a database; and how blocking work is run."""
