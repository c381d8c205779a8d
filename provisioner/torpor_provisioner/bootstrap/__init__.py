"""A satellite's first boot: from a few typed inputs to cloud-init's user data, or to an image."""

from torpor_provisioner.bootstrap.machine import Machine, System, Worker
from torpor_provisioner.bootstrap.recipe import Recipe, recipe
from torpor_provisioner.bootstrap.texts import image_script, user_data

__all__ = ["Machine", "Recipe", "System", "Worker", "image_script", "recipe", "user_data"]
