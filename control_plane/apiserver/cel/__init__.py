"""CEL, the Common Expression Language, as Kubernetes has it; the language itself is Google's (cel-expr-python)."""
