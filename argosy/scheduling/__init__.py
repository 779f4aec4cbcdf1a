"""Pure rules of where a pod may run: for the scheduler, the node agent's admission, daemon sets and autoscalers."""
