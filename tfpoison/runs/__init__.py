"""What survives a kill: directories, checkpoints, records."""
