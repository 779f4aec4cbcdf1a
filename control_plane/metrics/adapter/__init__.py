"""Custom and external metrics out of Prometheus, by the rules that prometheus-adapter has."""
