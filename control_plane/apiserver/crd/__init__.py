"""Custom resources: from CustomResourceDefinitions in the store to kinds that are served like compiled-in ones."""
