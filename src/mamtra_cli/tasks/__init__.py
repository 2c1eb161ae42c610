"""Tasks: one public function a command."""
