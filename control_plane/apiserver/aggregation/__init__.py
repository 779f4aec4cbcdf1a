"""APIs that other servers serve: which they are, whether they answer, and how requests reach them (APIService)."""
