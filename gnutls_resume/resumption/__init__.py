"""What makes resuming safe: bound to a policy, verified again, counted."""
