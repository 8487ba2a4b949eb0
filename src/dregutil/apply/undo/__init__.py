"""What a run removed comes back, as long as the registry has not collected its garbage."""
