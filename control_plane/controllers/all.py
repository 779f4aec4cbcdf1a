"""Every controller there is: a new one is its file and one line here."""

from __future__ import annotations

from control_plane.controllers.base import Controller
from control_plane.controllers.deployment import DeploymentController
from control_plane.controllers.replicaset import ReplicaSetController

ALL: tuple[type[Controller], ...] = (
    DeploymentController,
    ReplicaSetController,
)
