"""What an installation needs: kinds, roles, and reaching the Pod of a hub."""
