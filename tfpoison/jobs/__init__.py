"""What a person runs: one file for each job."""
