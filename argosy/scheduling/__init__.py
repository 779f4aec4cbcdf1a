"""Pure rules of where a pod may run, shared by the scheduler, kubelet admission, daemon sets and the node autoscaler."""
