"""What every new cluster has: namespaces, roles, priority classes, and the `kubernetes` Service."""
